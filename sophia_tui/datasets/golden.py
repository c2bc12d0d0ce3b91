"""Golden prompts: questions that people asked in production, drawn by a seed, no personal data in
them; and the answers to them as a file that a data set is held out by."""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.formats import convert, encode
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.datasets.redact import Pseudonyms, redact
from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.split import plain
from sophia_tui.domain.datasets import Example
from sophia_tui.files import write_whole

#: A longer question would cost more than it tells.
_LONGEST = 8000


@dataclass(frozen=True)
class Prompt:
    """A question as it is asked, and what production answered to it; `source` is the file."""

    question: str
    cached: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        return {"question": self.question, "cached": self.cached, "source": self.source}


def draw(paths: Sequence[Path], count: int, seed: int, key: str = "") -> list[Prompt]:
    """So many different questions of files of collected examples, the same ones for the same rows
    and seed whatever their order; personal data replaced, as in every data set.

    Raises DataError D306 for a file that can't be read, D521 for a key of pseudonyms.
    """
    pseudonyms = Pseudonyms(key) if key else None
    best: dict[str, tuple[int, Prompt]] = {}
    limit = 1 << 64
    for path in paths:
        for example in _examples(path):
            found = _asked(example)
            if found is None:
                continue
            question = plain(found[0])
            rank = int.from_bytes(hashlib.sha256(f"{seed}\0{question}".encode()).digest()[:8])
            if question in best or rank >= limit:
                continue
            clean, _counts = redact(example, encode(example), pseudonyms)
            asked = _asked(clean) if isinstance(clean, Example) else None
            if asked is None:
                continue
            best[question] = rank, Prompt(*asked, path.name)
            if len(best) > 2 * count:
                best = _kept(best, count)
                limit = max(rank for rank, _prompt in best.values())
    return [prompt for _rank, prompt in sorted(_kept(best, count).values(), key=lambda x: x[0])]


def _kept(best: dict[str, tuple[int, Prompt]], count: int) -> dict[str, tuple[int, Prompt]]:
    return dict(heapq.nsmallest(count, best.items(), key=lambda each: each[1][0]))


def _examples(path: Path) -> Iterator[Example]:
    """Every usable example of a file; lines that are none are the data set's to name."""
    try:
        with path.open("rb") as stream:
            for line in LineReader(stream):
                if line.value is None:
                    continue
                try:
                    found = convert(line.value)
                except Unusable:
                    continue
                if isinstance(found, Example):
                    yield found
    except ReadFailed as failed:
        raise unreadable(path, failed.problem) from failed.problem
    except OSError as problem:
        raise unreadable(path, problem) from problem


def _asked(example: Example) -> tuple[str, str] | None:
    """The first question and the answer to it; none where it stands on what was said before."""
    turns = [each for each in example.messages if each.role != "system"]
    if len(turns) < 2 or (turns[0].role, turns[1].role) != ("user", "assistant"):
        return None
    question, answer = turns[0].content.strip(), turns[1].content.strip()
    return (question, answer) if question and answer and len(question) <= _LONGEST else None


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    lines = (json.dumps(each.as_dict(), ensure_ascii=False) + "\n" for each in prompts)
    write_whole(path, "".join(lines).encode("utf-8"))


def read_prompts(path: Path) -> list[Prompt] | None:
    """None where nothing was drawn yet."""
    found = read_lines(path)
    return [Prompt(**each) for each in found] if found is not None else None


def read_lines(path: Path) -> list[dict[str, Any]] | None:
    """The objects of a file of ours; a line that was cut off is left out."""
    if not path.is_file():
        return None
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def write_answers(path: Path, answers: Iterable[dict[str, Any]]) -> None:
    """Questions and answers as training data has them."""
    lines = (
        json.dumps({"question": each["prompt"], "answer": each["answer"]}, ensure_ascii=False)
        + "\n"
        for each in answers
    )
    write_whole(path, "".join(lines).encode("utf-8"))
