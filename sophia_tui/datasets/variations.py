"""Variations of constitutional examples (mission section 4) by six techniques: what is asked of a
model, what its answer must be, and what is kept so that a killed work goes on.

Knows no network: a service asks the model.
"""

import contextlib
import fcntl
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import xxhash

from sophia_tui.datasets import constitutional, formats, redact
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.reader import Line, LineReader, ReadFailed
from sophia_tui.datasets.split import place_of
from sophia_tui.domain.datasets import Example, Message
from sophia_tui.files import append_line, whole_file, write_whole

FORMAT_VERSION = 1
#: What the example is turned into; the words are the document's.
TECHNIQUES = {
    "depth": "explain in depth: go further into causes, consequences and nuances",
    "simplification": "in simple words: as one would explain it to somebody new to the subject",
    "application": "how to apply it: a concrete situation of everyday life or work",
    "history": "how it developed: where the idea comes from and how it changed",
    "comparison": "compare and contrast: beside another idea, school or practice",
    "critique": "limits and criticism: what speaks against it, and where it fails",
}
#: So often each technique is tried on each example, at most.
ROUNDS = 20
#: Texts whose runs of three words are the same by this share say the same again.
NEAR = 0.7
_RUN = 3
_SKETCH = 8
_TEXT_FIELDS = ("prompt", "response_initial", "critique", "response_revised", "reasoning")
_STATE, _RESULTS, _LOCK = "state.json", "results.jsonl", "lock"

_SYSTEM = (
    "You write training examples for an assistant that reviews its own answers. You are given one "
    "example and write ONE new example that is a variation of it by the technique named. Write in "
    "the language of the example. The new example stands by itself: its question is another one, "
    "and it never mentions the original. Placeholders such as [EMAIL_1] stay as they are. Answer "
    "with one JSON object and nothing else, with exactly these fields: prompt (at least 10 "
    "characters), response_initial (a plausible, flawed first answer), critique (three lines that "
    "begin with [VERITAS], [SOPHIA] and [DIKE]), response_revised (at least 50 characters, the "
    "improved answer), reasoning (why it is better), values_applied (a list of one or more of "
    "{values}), difficulty (easy, medium or hard)."
)


@dataclass(frozen=True)
class Original:
    """An example to vary, with personal data replaced; `line` is where it stands in its file."""

    id: str
    line: int
    record: dict[str, Any]


@dataclass(frozen=True)
class Order:
    """One variation to be asked for."""

    original: Original
    technique: str
    round: int

    @property
    def id(self) -> str:
        return f"{self.original.id}_{self.technique}_{self.round}"


def read_originals(path: Path) -> tuple[list[Original], list[tuple[int, Problem]], str]:
    """The examples of a file that pass all rules, redacted; the lines that do not, with what is
    wrong; and the file's SHA-256. Variations in the file are no originals. Raises OSError."""
    found: list[Original] = []
    wrong: list[tuple[int, Problem]] = []
    ids = constitutional.Ids()
    with path.open("rb") as stream:
        reader = LineReader(stream)
        for line in _read(reader):
            try:
                if line.value is None:
                    wrong.append((line.number, line.problem or Problem("json")))
                    continue
                if line.value.get("variation_of"):
                    continue
                constitutional.check(line.value, _text)
                ids.see(line.value, line.number)
            except Unusable as unusable:
                wrong.append((line.number, unusable.problem))
                continue
            found.append(Original(line.value["id"], line.number, _redacted(line.value)))
        return found, wrong, reader.sha256


def _read(reader: LineReader) -> Iterator[Line]:
    try:
        yield from reader
    except ReadFailed as failed:
        raise failed.problem from failed


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"{name}_type" if value is not None else f"no_{name}")
    if not value.strip():
        raise Unusable(f"no_{name}")
    formats.refuse_special(value, 1)
    return value


def _redacted(record: dict[str, Any]) -> dict[str, Any]:
    """The same value has one placeholder in the whole example."""
    example = Example(tuple(Message("user", record[name]) for name in _TEXT_FIELDS))
    clean, _counts = redact.redact(example, formats.encode(example))
    texts = (message.content for message in clean.messages)
    return {**record, **dict(zip(_TEXT_FIELDS, texts, strict=True))}


def orders(originals: Sequence[Original], techniques: Sequence[str], seed: int) -> Iterator[Order]:
    """Every technique on every example, then again, up to ROUNDS times. The order is the seed's, so
    that whatever number is made is spread over examples and techniques."""
    for number in range(1, ROUNDS + 1):
        every = [Order(each, technique, number) for each in originals for technique in techniques]
        yield from sorted(every, key=lambda order: place_of(seed, order.id))


def messages_for(order: Order) -> list[dict[str, str]]:
    """What the model is asked."""
    values = ", ".join(sorted(constitutional.VALUES))
    record = order.original.record
    shown = {name: record[name] for name in constitutional.FIELDS if name != "id"}
    asked = f"Technique: {TECHNIQUES[order.technique]}.\n"
    if order.round > 1:
        asked += f"This is attempt {order.round}: choose another aspect than the obvious one.\n"
    asked += "Example:\n" + json.dumps(shown, ensure_ascii=False, indent=1)
    return [
        {"role": "system", "content": _SYSTEM.replace("{values}", values)},
        {"role": "user", "content": asked},
    ]


def read_answer(order: Order, text: str) -> dict[str, Any]:
    """The variation in a model's answer, whole. Raises Unusable with the rule that it breaks."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        told = json.loads(text[begin : end + 1]) if begin >= 0 else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Unusable("not_object")
    if isinstance(told.get("critique"), dict):  # the three lines as an object: said all the same
        lines = [f"[{str(key).strip('[]')}] {each}" for key, each in told["critique"].items()]
        told["critique"] = "\n".join(lines)
    record = {
        "id": order.id,
        "category": order.original.record["category"],
        **{
            name: told.get(name) for name in constitutional.FIELDS if name not in ("id", "category")
        },
        "variation_of": order.original.id,
        "technique": order.technique,
    }
    constitutional.check(record, _text)
    return record


class Seen:
    """The examples that are there: says which new one is the same as one of them, or nearly."""

    def __init__(self) -> None:
        self._prompts: set[int] = set()
        self._texts: list[frozenset[int]] = []
        self._by_sketch: dict[int, list[int]] = {}

    def check(self, record: dict[str, Any]) -> None:
        """Raises Unusable `same_prompt` or `nearly_same`."""
        if self._prompt(record) in self._prompts:
            raise Unusable("same_prompt")
        runs = _runs(record)
        near = {text for each in _sketch(runs) for text in self._by_sketch.get(each, ())}
        for text in sorted(near):
            other = self._texts[text]
            if len(runs & other) >= NEAR * len(runs | other):
                raise Unusable("nearly_same")

    def add(self, record: dict[str, Any]) -> None:
        self._prompts.add(self._prompt(record))
        runs = _runs(record)
        for each in _sketch(runs):
            self._by_sketch.setdefault(each, []).append(len(self._texts))
        self._texts.append(runs)

    @staticmethod
    def _prompt(record: dict[str, Any]) -> int:
        return _hash(_words(record["prompt"]))


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign if sign.isalnum() else " " for sign in plain).split()


def _runs(record: dict[str, Any]) -> frozenset[int]:
    words = _words(f"{record['prompt']} {record['response_revised']}")
    last = max(1, len(words) - _RUN + 1)
    return frozenset(_hash(words[place : place + _RUN]) for place in range(last))


def _hash(words: Sequence[str]) -> int:
    return xxhash.xxh3_64_intdigest(" ".join(words).encode("utf-8", "replace"))


def _sketch(runs: frozenset[int]) -> list[int]:
    """The lowest hashes: two texts that share most runs share some of these."""
    return sorted(runs)[:_SKETCH]


@dataclass
class Result:
    """What came of one order: `record` where it was made, else the code of why not."""

    order: str
    technique: str
    record: dict[str, Any] | None = None
    code: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Tally:
    """All results so far, added up."""

    made: list[dict[str, Any]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)
    techniques: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, result: Result) -> None:
        if result.order in self.done:
            return
        self.done.add(result.order)
        self.prompt_tokens += result.prompt_tokens
        self.completion_tokens += result.completion_tokens
        if result.record is None:
            self.codes[result.code] += 1
        else:
            self.made.append(result.record)
            self.techniques[result.technique] += 1


class Ledger:
    """The folder of one work: what it is (state.json, written whole) and a line for each answer
    (results.jsonl). A process that is killed loses the answers under way, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Whether the work is ours until the end; else another process does it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock: IO[bytes] = (self.folder / _LOCK).open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def begin(self, about: dict[str, Any]) -> None:
        """Write down what the work is. Raises SetupError S101."""
        text = json.dumps({"format_version": FORMAT_VERSION, **about}, ensure_ascii=False, indent=2)
        write_whole(self.folder / _STATE, text.encode() + b"\n")

    def add(self, result: Result) -> None:
        """One answer for good. Raises SetupError S101."""
        text = json.dumps(vars(result), ensure_ascii=False, separators=(",", ":"))
        append_line(self.folder / _RESULTS, text.encode())

    def read(self) -> Tally:
        """All answers so far; a line that a kill tore is none."""
        tally = Tally()
        try:
            stream = (self.folder / _RESULTS).open("rb")
        except FileNotFoundError:
            return tally
        with stream:
            for line in stream:
                try:
                    tally.add(Result(**json.loads(line)))
                except (ValueError, TypeError):
                    continue
        return tally


def work_folder(root: Path, stem: str, **about: Any) -> Path:
    """Where a work lies: the same examples, model and settings go on in the same folder."""
    text = json.dumps([FORMAT_VERSION, about], sort_keys=True, ensure_ascii=False)
    return root / f"{stem[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def write_file(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """The variations as a data file, whole or not at all. Raises SetupError S101."""
    with whole_file(path) as stream:
        for record in sorted(records, key=lambda each: str(each["id"])):
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            stream.write(line.encode() + b"\n")
