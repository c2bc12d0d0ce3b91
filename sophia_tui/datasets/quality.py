"""How good the answers of a data set are to learn from, as far as can be seen without a model:
their length, and how much of them is copied from what stands before them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.datasets.blocks import Block, BlockRow
from sophia_tui.datasets.sample import (
    SampleCollector,
    SampledRow,
    SampleProbe,
    SampleSettings,
    percentile,
)
from sophia_tui.datasets.sources import size_of
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.domain.datasets import Message, Pair

if TYPE_CHECKING:
    from sophia_tui.datasets.inspection import Asked

#: An answer of fewer characters teaches little.
SHORT_CHARACTERS = 20
#: Words in a row that an answer shares with what stands before it, to count as copied.
RUN_WORDS = 5
#: From this share of its words on, an answer is a copy.
COPIED_SHARE = 0.8
#: Bytes that the search for near-duplicates may take: a gate is asked often, and on small machines.
MOST_MEMORY = 600_000_000
_LISTED_LINES = 1000


def copy_rate(answer: str, before: str) -> float:
    """The share of the answer's words that stand in runs of RUN_WORDS or more that stand before
    it too; 0 for an answer shorter than a run. Words are what white space parts, in any case."""
    return _rate(answer.lower().split(), before.lower().split())


def is_copied(answer: str, before: str) -> bool:
    """Whether the copy rate reaches COPIED_SHARE; fast where single words say that it can't."""
    words = answer.lower().split()
    if len(words) < RUN_WORDS:
        return False
    known = before.lower().split()
    if sum(map(set(known).__contains__, words)) < COPIED_SHARE * len(words):
        return False
    return _rate(words, known) >= COPIED_SHARE


def _rate(words: Sequence[str], before: Sequence[str]) -> float:
    if len(words) < RUN_WORDS:
        return 0.0
    known = set(_runs(before))
    if not known:
        return 0.0
    copied, reached = 0, 0
    for at, run in enumerate(_runs(words)):
        if run in known:
            copied += at + RUN_WORDS - max(at, reached)
            reached = at + RUN_WORDS
    return copied / len(words)


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[each:] for each in range(RUN_WORDS)), strict=False)


def probe(asked: "Asked") -> "QualityProbe":
    return QualityProbe()


def collector(asked: "Asked") -> "QualityCollector":
    return QualityCollector()


class QualityProbe:
    """Answers of every row: characters, and which are short or copied."""

    name = "quality"

    def look(self, block: Block) -> dict[str, Any]:
        lengths: Counter[int] = Counter()
        short: list[int] = []
        copied: list[int] = []
        turns: Counter[int] = Counter()
        for row in block.rows:
            roles, before, answer = _last(row)
            lengths[len(answer)] += 1
            turns[roles.count("user")] += 1
            if len(answer.strip()) < SHORT_CHARACTERS:
                short.append(row.line)
            if is_copied(answer, before):
                copied.append(row.line)
        return {
            "rows": len(block.rows),
            "lengths": list(lengths.items()),
            "turns": list(turns.items()),
            "short": short,
            "copied": copied,
            "unusable": [(line, problem.code) for line, problem in block.unusable],
        }


def _last(row: BlockRow) -> tuple[Sequence[str], str, str]:
    """The roles; what stands before the last answer that is learnt, and that answer; of a pair the
    better one."""
    if row.plain is not None:
        roles, texts = row.plain
        return roles, "\n".join(texts[:-1]), texts[-1]
    messages = row.example.messages
    if isinstance(row.example, Pair):
        messages = (*messages, row.example.chosen)
    learnt = [at for at, each in enumerate(messages) if _is_learnt(each)]
    at = learnt[-1] if learnt else len(messages) - 1
    before = "\n".join(each.content for each in messages[:at])
    return [each.role for each in messages], before, messages[at].content


def _is_learnt(message: Message) -> bool:
    return message.role == "assistant" and message.weight != 0 and bool(message.content)


class QualityCollector:
    """Adds up what QualityProbe found. Counts are whole, lines the first thousand of each kind."""

    def __init__(self) -> None:
        self._rows = 0
        self._lengths: Counter[int] = Counter()
        self._turns: Counter[int] = Counter()
        self._listed: dict[str, list[int]] = {"short": [], "copied": [], "unusable": []}
        self._counts: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()

    def add(self, first_line: int, found: dict[str, Any]) -> None:
        self._rows += found["rows"]
        for length, count in found["lengths"]:
            self._lengths[length] += count
        for turns, count in found["turns"]:
            self._turns[turns] += count
        for name in ("short", "copied"):
            self._note(name, [first_line + line - 1 for line in found[name]])
        self._note("unusable", [first_line + line - 1 for line, _code in found["unusable"]])
        self._codes.update(code for _line, code in found["unusable"])

    def _note(self, name: str, lines: list[int]) -> None:
        self._counts[name] += len(lines)
        kept = self._listed[name]
        kept.extend(lines[: _LISTED_LINES - len(kept)])

    def report(self) -> dict[str, Any]:
        rows = self._rows
        seen = rows + self._counts["unusable"]
        return {
            "rows": rows,
            "turns": sorted(self._turns.items()),
            "answer_characters": {
                "mean": round(sum(n * count for n, count in self._lengths.items()) / rows, 1)
                if rows
                else 0.0,
                **{f"p{each}": percentile(self._lengths, each) for each in (5, 50, 95)},
            },
            "short": self._told("short", rows),
            "copied": self._told("copied", rows),
            "unusable": {
                **self._told("unusable", seen),
                "codes": dict(sorted(self._codes.items())),
            },
        }

    def _told(self, name: str, of: int) -> dict[str, Any]:
        count = self._counts[name]
        return {
            "count": count,
            "share": round(count / of, 4) if of else 0.0,
            "lines": self._listed[name],
        }


def repeated(sample: Sequence[SampledRow]) -> dict[str, Any]:
    """The answer that most rows of the sample give, word for word, and to how many of them."""
    answers = Counter(row.said("assistant").strip() for row in sample)
    if not answers:
        return {"count": 0, "share": 0.0, "answer": "", "lines": []}
    [(answer, count)] = answers.most_common(1)
    lines = [row.line for row in sample if row.said("assistant").strip() == answer]
    return {
        "count": count,
        "share": round(count / len(sample), 4) if count > 1 else 0.0,
        "answer": answer[:200],
        "lines": lines[:20],
    }


def _mean_rate(sample: Sequence[SampledRow]) -> float:
    """The mean copy rate of answers to what is asked and to the system's words."""
    rates = [
        copy_rate(row.said("assistant"), row.said("system", "developer", "user")) for row in sample
    ]
    return round(sum(rates) / len(rates), 4) if rates else 0.0


class GateTask(Task):
    """Every figure that the gate asks for, of one file."""

    path: str
    seed: int = 42
    most_memory: int = MOST_MEMORY

    def run(self, tell: Tell) -> Any:
        from sophia_tui.datasets import languages, topics
        from sophia_tui.datasets.looking import looked

        path = Path(self.path)
        size = size_of(path)
        chosen = SampleSettings(self.seed, size=size)
        quality, sample = QualityProbe(), SampleProbe(chosen)
        answers, rows = QualityCollector(), SampleCollector(chosen)
        first = 1
        for _file, lines, seen in looked(
            [(path, size)], lambda block: (quality.look(block), sample.look(block)), tell
        ):
            answers.add(first, seen[0])
            rows.add(first, seen[1])
            first += lines
        told, drawn, whole = answers.report(), rows.drawn(), rows.whole
        return {
            **told,
            "near": self._near(path, told["rows"], size, tell),
            "copy_rate": _mean_rate(drawn),
            "sample": len(drawn),
            "repeated": repeated(drawn),
            "languages": languages.report(drawn, whole),
            **topics.report(drawn, whole, self.seed),
        }

    def _near(self, path: Path, rows: int, size: int, tell: Tell) -> dict[str, Any] | None:
        """Rows that say what another says; None where the search would take too much memory."""
        from sophia_tui.datasets.near import memory_needed
        from sophia_tui.datasets.near_files import NEAR, NearRows

        if memory_needed(rows, size) > self.most_memory:
            return None
        clusters = NearRows([path], tell).collected(NEAR).clusters()
        lines = sorted(line for each in clusters for line in each.others)
        return {
            "count": len(lines),
            "share": round(len(lines) / rows, 4) if rows else 0.0,
            "lines": lines[:_LISTED_LINES],
        }
