"""What a data set can be used for as it stands, and what to do: a hosted provider by OpenAI's
rules, training on this machine, a constitutional training (mission section 4).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from sophia_tui.datasets.blocks import Block
from sophia_tui.datasets.constitutional import CATEGORIES, FIELDS, Figures
from sophia_tui.datasets.hosted_rules import MINIMUM_EXAMPLES
from sophia_tui.domain.hosted import MOST_BYTES
from sophia_tui.i18n import N_, _, ngettext, number

if TYPE_CHECKING:
    from sophia_tui.datasets.inspection import Asked

#: Ready as it is, once it is prepared, or not at all as far as can be seen.
READY, PREPARE, UNFIT = "ready", "after_preparing", "unfit"
NAMES = {
    "openai": N_("Hosted provider (OpenAI's rules)"),
    "local": N_("Training on this machine"),
    "constitutional": N_("Constitutional training"),
}
#: What readers of ours bear, and a provider does not.
_ODD = ("bom", "crlf", "blank")
#: Forms that a provider takes as they are.
_HOSTED_FORMS = frozenset({"chat"})
_FEW_TO_LEARN = 10
_MARK = b'"response_revised"'


def probe(asked: "Asked") -> "ConstitutionalProbe":
    return ConstitutionalProbe()


def collector(asked: "Asked") -> "ConstitutionalCollector":
    return ConstitutionalCollector()


class ConstitutionalProbe:
    """Examples of the constitutional form: category, difficulty and id of each, and whether it
    keeps all rules for one line."""

    name = "constitutional"

    def look(self, block: Block) -> list[tuple[int, str, str, int, bool]]:
        if _MARK not in block.data:
            return []
        rows = [(row.line, row.raw, True) for row in block.rows]
        if block.unusable:
            lines = block.data.split(b"\n")
            rows += [(line, lines[line - 1], False) for line, _problem in block.unusable]
        return [(line, *_parts(raw), valid) for line, raw, valid in sorted(rows) if _is_one(raw)]


def _is_one(raw: bytes) -> bool:
    return _MARK in raw and all(f'"{field}"'.encode() in raw for field in ("prompt", "critique"))


def _parts(raw: bytes) -> tuple[str, str, int]:
    """Category, difficulty, and the id's digest; empty where they can't be read."""
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if not isinstance(record, dict):
        return "", "", 0
    texts = [record.get(field) for field in ("category", "difficulty", "id")]
    category, difficulty, name = [each if isinstance(each, str) else "" for each in texts]
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=7).digest()
    return category, difficulty, int.from_bytes(digest) if name else 0


class ConstitutionalCollector:
    """The set's figures; an id that an earlier line has makes an example invalid."""

    def __init__(self) -> None:
        self._figures = Figures()
        self._seen: dict[int, int] = {}
        self._same: list[tuple[int, int]] = []

    def add(self, first_line: int, found: list[tuple[int, str, str, int, bool]]) -> None:
        for line, category, difficulty, digest, valid in found:
            at = first_line + line - 1
            first = self._seen.setdefault(digest, at) if digest else at
            if first != at:
                self._same.append((at, first))
            record = {"category": category, "difficulty": difficulty}
            self._figures.add(record, valid and first == at)

    def report(self) -> dict[str, Any]:
        return {**self._figures.report(), "same_ids": len(self._same)}

    def issues(self) -> Iterable[tuple[str, int, Mapping[str, str | int]]]:
        for line, first in self._same:
            yield "same_id", line, {"first_line": first}


@dataclass(frozen=True)
class Verdict:
    """`why` are sentences, `todo` what to do, in order; commands stand in back quotes."""

    destination: str
    name: str
    verdict: str
    why: tuple[str, ...]
    todo: tuple[str, ...]


def verdicts(report: Mapping[str, Any], advised: int) -> list[Verdict]:
    """One for each destination, of an inspection's report. `advised` is how many examples the
    quality gate wants.

    What may only be said after all lines were seen by a rule (moderation, duplicates between parts)
    is not said here.
    """
    return [_hosted(report, advised), _local(report, advised), _constitutional(report)]


def _verdict(destination: str, verdict: str, why: list[str], todo: list[str]) -> Verdict:
    return Verdict(destination, _(NAMES[destination]), verdict, tuple(why), tuple(todo))


def _hosted(report: Mapping[str, Any], advised: int) -> Verdict:
    usable = report["usable"]
    if usable < MINIMUM_EXAMPLES:
        return _verdict(
            "openai", UNFIT, [_too_few(usable, MINIMUM_EXAMPLES)], [_("Collect more examples.")]
        )
    why = _unusable(report)
    if other := sorted(set(report["forms"]) - _HOSTED_FORMS):
        why.append(_("Rows of other forms than chat: {forms}.").format(forms=", ".join(other)))
    counts = {each["code"]: each["count"] for each in report["issues"]}
    if odd := sum(counts.get(code, 0) for code in _ODD):
        why.append(
            ngettext(
                "{count} line has a mark or line end that a provider refuses.",
                "{count} lines have marks or line ends that a provider refuses.",
                odd,
            ).format(count=number(odd))
        )
    if report["bytes"] > MOST_BYTES:
        why.append(
            _("Larger than a provider takes: {limit} bytes.").format(limit=number(MOST_BYTES))
        )
    why += _personal(report)
    verdict = PREPARE if why else READY
    todo = [_("Prepare it, with personal data replaced: `sophia prepare`.")]
    return _verdict("openai", verdict, why + _worth_a_look(report, advised), todo)


def _local(report: Mapping[str, Any], advised: int) -> Verdict:
    usable = report["usable"]
    if usable < _FEW_TO_LEARN:
        return _verdict(
            "local", UNFIT, [_too_few(usable, _FEW_TO_LEARN)], [_("Collect more examples.")]
        )
    todo = [
        _("Prepare it: `sophia prepare`."),
        _("Look at what it would take: `sophia train plan`."),
    ]
    return _verdict("local", PREPARE, _unusable(report) + _worth_a_look(report, advised), todo)


def _constitutional(report: Mapping[str, Any]) -> Verdict:
    figures = report["sections"].get("constitutional")
    if figures is None:
        return _verdict(
            "constitutional",
            UNFIT if not report["forms"].get("constitutional") else PREPARE,
            [_("Its figures were not asked for.")],
            [_("Inspect it with the section constitutional.")],
        )
    if not figures["total"]:
        fields = ", ".join(FIELDS)
        return _verdict(
            "constitutional",
            UNFIT,
            [_("No row has its form.")],
            [_("Write examples with the fields {fields}.").format(fields=fields)],
        )
    why, todo = [], []
    if not figures["all_valid"]:
        why.append(
            _("{valid} of {total} examples keep all rules; all should.").format(
                valid=number(figures["valid"]), total=number(figures["total"])
            )
        )
        todo.append(_("Mend the lines that the issues name."))
    if not figures["categories_enough"]:
        why.append(
            ngettext(
                "{count} category; {least} to {most} are wanted.",
                "{count} categories; {least} to {most} are wanted.",
                figures["category_count"],
            ).format(count=figures["category_count"], least=CATEGORIES[0], most=CATEGORIES[1])
        )
        todo.append(_("Add categories, or merge small ones."))
    if not figures["difficulty_balanced"]:
        shares = " / ".join(f"{100 * each:.0f}" for each in figures["difficulty_shares"].values())
        why.append(
            _("Hard, medium and easy are {shares} %; about 60 / 30 / 10 are wanted.").format(
                shares=shares
            )
        )
        todo.append(_("Add examples of the difficulties that are missing."))
    return _verdict("constitutional", PREPARE if why else READY, why, todo)


def _too_few(usable: int, least: int) -> str:
    return ngettext(
        "Only {count} usable example; {least} are needed.",
        "Only {count} usable examples; {least} are needed.",
        usable,
    ).format(count=number(usable), least=least)


def _unusable(report: Mapping[str, Any]) -> list[str]:
    count = report["rows"] - report["usable"]
    if not count:
        return []
    return [
        ngettext(
            "{count} row can't be used; preparing lists it with its reason.",
            "{count} rows can't be used; preparing lists each with its reason.",
            count,
        ).format(count=number(count))
    ]


def _personal(report: Mapping[str, Any]) -> list[str]:
    """What the section of personal data found, where it was asked for."""
    found = report["sections"].get("personal")
    if not isinstance(found, dict) or not found.get("rows"):
        return []
    rows = int(found["rows"])
    told = ngettext("Personal data in {count} row.", "Personal data in {count} rows.", rows)
    return [told.format(count=number(rows))]


def _worth_a_look(report: Mapping[str, Any], advised: int) -> list[str]:
    found = []
    if report["usable"] < advised:
        found.append(
            ngettext(
                "{count} usable example; {least} or more are advised.",
                "{count} usable examples; {least} or more are advised.",
                report["usable"],
            ).format(count=number(report["usable"]), least=number(advised))
        )
    if report["duplicates"]:
        found.append(
            ngettext(
                "{count} exact duplicate; preparing keeps the first.",
                "{count} exact duplicates; preparing keeps the first.",
                report["duplicates"],
            ).format(count=number(report["duplicates"]))
        )
    cut = next((each["count"] for each in report["issues"] if each["code"] == "cut"), 0)
    if cut:
        found.append(
            ngettext(
                "{count} example is longer than the model's context, and is cut.",
                "{count} examples are longer than the model's context, and are cut.",
                cut,
            ).format(count=number(cut))
        )
    return found
