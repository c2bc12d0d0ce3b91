"""The steps of cleaning that look at one row by itself: what each does, and what is recorded of it.

`exact_duplicates`, `near_duplicates` and `balance` look at all rows together and are only described
here; `pipeline` does them.
"""

import difflib
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from sophia_tui.datasets import dedupe, redact
from sophia_tui.datasets.clean import Item
from sophia_tui.datasets.codes import REASONS, Unusable
from sophia_tui.datasets.personal import may_hold
from sophia_tui.datasets.personal_kinds import Kind
from sophia_tui.datasets.sources import unreadable
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Changes a row or leaves it; returns what is counted. Raises Unusable if the row must leave.
Look = Callable[[Item], Counter[str] | None]


class Step(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One step with its settings. `OF_ALL` steps look at all rows together."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    OF_ALL: ClassVar[bool] = False

    def wrong(self) -> str | None:
        """What is wrong with the settings taken together, in words for people."""
        return None

    def recorded(self) -> dict[str, Any]:
        """What stands in the manifest and counts for the version's hash: no path, no secret."""
        told = msgspec.to_builtins(self)
        return {name: value for name, value in told.items() if value not in (None, [], {})}

    def ready(self) -> Look:
        """What looks at each row. Raises DataError where a file that it needs can't be used."""
        raise NotImplementedError


# --- normalise ---

_BREAKS = re.compile("\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
#: Control characters but tab and line feed; bidirectional marks and overrides; zero width but for
#: the joiners that scripts and emoji need; soft hyphens.
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_LINE_ENDS = re.compile("[ \t]+(?=\n|\\Z)")
_BLANK_LINES = re.compile("\n{4,}")
#: Whether a canonical line may hold something to do: not plain ASCII, an escaped control
#: character but the line feed, or space at the edge of a text or line.
_ODD = re.compile(rb'\\[rfbu]|[ ](?:"|\\n|\\t)|\\t(?:"|\\n)|"(?: |\\n|\\t)|\\n"|(?:\\n){4}|\x7f')


class Normalise(Step):
    """NFC, line ends, spaces, control and bidirectional characters."""

    NAME = "normalise"

    def ready(self) -> Look:
        def look(item: Item) -> Counter[str] | None:
            row = item.row
            if row.isascii():
                if not _ODD.search(row):
                    return None
            elif not _may_change(row.decode()):
                return None
            before = item.changed
            item.changed = False
            item.rewrite(normalised)
            told = Counter(rows=1) if item.changed else None
            item.changed = item.changed or before
            return told

        return look


_ODD_TEXT = re.compile(
    _ODD.pattern.decode()
    + "|"
    + _REMOVED.pattern.replace("\x00-\x08\x0e-\x1f", "")
    + "|"
    + _SPACES.pattern
    + "|[\u2028\u2029\x85]"
)


def _may_change(row: str) -> bool:
    return not unicodedata.is_normalized("NFC", row) or _ODD_TEXT.search(row) is not None


def normalised(text: str) -> str:
    """The text as `normalise` leaves it; that again changes nothing. Indentation and runs of spaces
    within a line stay, since code and tables need them."""
    if not text.replace("\n", "").replace("\t", "").isprintable():  # whatever is sought here is not
        text = _SEQUENCE.sub("", _BREAKS.sub("\n", text))
        text = _SPACES.sub(" ", _REMOVED.sub("", text))
    text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text:
        text = _LINE_ENDS.sub("", text)
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text.strip()


# --- personal data ---


class Redact(Step):
    """Personal data becomes placeholders such as [EMAIL_1]."""

    NAME = "redact"
    VERSION = redact.VERSION

    def ready(self) -> Look:
        return self.by(None)

    def by(self, pseudonyms: redact.Pseudonyms | None) -> Look:
        """With pseudonyms a value has the same placeholder in all rows."""

        def look(item: Item) -> Counter[str] | None:
            if not (item.suspect or item.changed) or not may_hold(item.row):
                return None
            example, counts = redact.redact(item.example, item.row, pseudonyms)
            if not counts:
                return None
            item.example = example
            return counts

        return look


# --- issues ---


#: Issues that an inspection finds in the texts of a row, told by the same codes.
_PERSONAL = frozenset({"personal_data", "secret"})


def _issues(item: Item, asked: frozenset[str]) -> set[str]:
    found = set(item.notes)
    if asked & _PERSONAL:
        counts = redact.redact(item.example, item.row)[1]
        secrets = counts.pop(Kind.SECRET.value, 0)
        found |= {"secret"} if secrets else set()
        found |= {"personal_data"} if counts else set()
    return found & asked


#: Issues that are no matter of the row alone, and the step that finds such rows.
_OTHERS = {
    "duplicate": "exact_duplicates",
    "near_duplicate": "near_duplicates",
    "leakage": "leakage",
    "cut": "length",
}


def _no_issue(codes: Iterable[str]) -> str | None:
    for code in codes:
        if code in _OTHERS:
            text = _("Rows with {code} are found by the step {step} alone.")
            return text.format(code=code, step=_OTHERS[code])
    unknown = [code for code in codes if code not in REASONS]
    if not unknown:
        return None
    told = _("There is no issue {code}.").format(code=visible(unknown[0]))
    near = difflib.get_close_matches(unknown[0], REASONS, 1)
    return told + " " + _("Did you mean {name}?").format(name=near[0]) if near else told


class Drop(Step):
    """Rows that have one of these issues leave."""

    NAME = "drop"
    codes: tuple[str, ...] = ()

    def wrong(self) -> str | None:
        return _no_issue(self.codes)

    def ready(self) -> Look:
        asked = frozenset(self.codes)

        def look(item: Item) -> None:
            found = _issues(item, asked)
            if found:
                raise Unusable("dropped", issue=min(found))

        return look


class Keep(Step):
    """Only rows that have one of these issues stay."""

    NAME = "keep"
    codes: tuple[str, ...] = ()

    def wrong(self) -> str | None:
        return _no_issue(self.codes)

    def ready(self) -> Look:
        asked = frozenset(self.codes)

        def look(item: Item) -> None:
            if not _issues(item, asked):
                raise Unusable("not_kept")

        return look


# --- length ---


class Length(Step):
    """Limits of characters and tokens of all texts together, and of turns."""

    NAME = "length"
    min_characters: int | None = None
    max_characters: int | None = None
    min_turns: int | None = None
    max_turns: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    encoding: str = "o200k_base"

    def recorded(self) -> dict[str, Any]:
        told = super().recorded()
        if self.min_tokens is None and self.max_tokens is None:
            told.pop("encoding", None)
        return told

    def ready(self) -> Look:
        tokens: Callable[[str], int] | None = None
        if self.min_tokens is not None or self.max_tokens is not None:
            from sophia_tui.datasets.tokens import counter

            tokens = counter(self.encoding)

        def look(item: Item) -> None:
            texts = [text for _role, text in item.texts]
            characters = sum(map(len, texts))
            _within("characters", characters, self.min_characters, self.max_characters)
            _within("turns", len(texts), self.min_turns, self.max_turns)
            if tokens is not None:
                _within("tokens", sum(map(tokens, texts)), self.min_tokens, self.max_tokens)

        return look


def _within(what: str, found: int, least: int | None, most: int | None) -> None:
    if least is not None and found < least:
        raise Unusable(f"few_{what}", found=found, limit=least)
    if most is not None and found > most:
        raise Unusable(f"many_{what}", found=found, limit=most)


# --- language ---


class Language(Step):
    """Only rows in these languages (ISO 639-1) stay; those too short to tell, too, unless asked."""

    NAME = "language"
    keep: tuple[str, ...] = ()
    unknown: Literal["keep", "drop"] = "keep"

    def ready(self) -> Look:
        asked = frozenset(self.keep)

        def look(item: Item) -> None:
            language = language_of(item)
            if language is None:
                if self.unknown == "drop":
                    raise Unusable("unknown_language")
            elif language not in asked:
                raise Unusable("other_language", language=language)

        return look


def language_of(item: Item) -> str | None:
    """The language of what is said in a row, the system's turns left out."""
    from sophia_tui.datasets.languages import language_of

    return language_of("\n".join(text for role, text in item.texts if role != "system"))


def category_of(item: Item, field: str) -> int:
    """A number for the row's category, the same for the same one; 0 for none. `field` stands beside
    the text or in its metadata; `language` is found out where it does not stand there."""
    value = None
    if item.besides:
        metadata = item.besides.get("metadata")
        value = item.besides.get(field)
        if value is None and isinstance(metadata, dict):
            value = metadata.get(field)
    if value is None and field == "language":
        value = language_of(item)
    return category(value) if isinstance(value, str | int | float) else 0


def category(value: str | float) -> int:
    digest = hashlib.blake2b(str(value).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") or 1


# --- files to compare with ---


def _sha256(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise unreadable(Path(file), problem) from problem


class Feedback(Step):
    """Join with what people said of answers: lines with a question or conversation_id, and signal,
    reaction or rating. `drop=negative`: what was judged badly leaves; `keep=positive`: only what
    was judged well stays."""

    NAME = "feedback"
    file: str
    drop: Literal["negative"] | None = None
    keep: Literal["positive"] | None = None

    def wrong(self) -> str | None:
        if (self.drop is None) == (self.keep is None):
            return _("Say either drop=negative or keep=positive.")
        return None

    def recorded(self) -> dict[str, Any]:
        return {**super().recorded(), "file": _sha256(self.file)}

    def ready(self) -> Look:
        from sophia_tui.datasets.judgements import Judgements

        judged = Judgements.of_file(Path(self.file))

        def look(item: Item) -> None:
            signal = judged.signal_of(item)
            if self.drop and signal < 0:
                raise Unusable("judged_badly")
            if self.keep and signal <= 0:
                raise Unusable("not_judged_well")

        return look


class Leakage(Step):
    """What stands in an evaluation set too leaves."""

    NAME = "leakage"
    file: str

    def recorded(self) -> dict[str, Any]:
        return {**super().recorded(), "file": _sha256(self.file)}

    def ready(self) -> Look:
        from sophia_tui.datasets.leakage import Leakage as Evaluation

        evaluation = Evaluation.of_files([Path(self.file)])

        def look(item: Item) -> None:
            where = evaluation.holds(item.example)
            if where is not None:
                raise Unusable("leakage", eval_file=where.file, eval_line=where.line)

        return look


# --- of all rows together ---


class ExactDuplicates(Step):
    """Of rows that are the same the first one stays."""

    NAME = "exact_duplicates"
    VERSION = dedupe.VERSION
    OF_ALL = True


class NearDuplicates(Step):
    """Of rows that say the same in nearly the same words the best written one stays."""

    NAME = "near_duplicates"
    OF_ALL = True
    threshold: float | None = None
    memory_mb: int = 1000

    def recorded(self) -> dict[str, Any]:
        told = super().recorded()
        del told["memory_mb"]
        return told


class Balance(Step):
    """No more rows of a category than `cap`, or than its weight against the others' allows."""

    NAME = "balance"
    OF_ALL = True
    field: str = "category"
    cap: int | None = None
    weights: dict[str, float] = {}

    def wrong(self) -> str | None:
        if (self.cap is None) == (not self.weights):
            return _("Say either cap or weights.")
        if self.cap is not None and self.cap < 1:
            return _("The cap is 1 or more.")
        if any(weight <= 0 for weight in self.weights.values()):
            return _("Weights are above 0.")
        return None


#: In the order in which they are told; those of all rows come last, in this order.
STEPS: tuple[type[Step], ...] = (
    Normalise,
    Redact,
    Drop,
    Keep,
    Length,
    Language,
    Feedback,
    Leakage,
    ExactDuplicates,
    NearDuplicates,
    Balance,
)
