"""The rules that a hosted provider has for a training file, held before a byte of it is sent.

Rules and estimates as the providers' documentation has them; see hosted_lines for those of a line.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets import hosted_lines
from sophia_tui.datasets.codes import Problem, Unusable, explain
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.domain.datasets import PAIRS
from sophia_tui.domain.hosted import MOST_BYTES
from sophia_tui.errors import DataError
from sophia_tui.i18n import _, ngettext

MINIMUM_EXAMPLES = 10
#: Tokens of one example that gpt-4o and gpt-4.1 learn from; what is longer is cut at its end.
CONTEXT_TOKENS = 65_536
#: Oddities that other readers bear, and a provider does not.
_ODD = ("bom", "crlf", "blank")
_LISTED = 100
_SAID = 5


@dataclass(frozen=True)
class FileReport:
    """What is known of a file that may be sent. `tokens` is an estimate; `too_long` are the lines
    of examples that would be cut."""

    examples: int
    tokens: int
    too_long: tuple[int, ...]
    digests: frozenset[bytes]


def check_file(path: Path, form: str, least: int = MINIMUM_EXAMPLES) -> FileReport:
    """Read the file through; `form` is domain.datasets.CHAT or PAIRS.

    Raises DataError J518 (too few examples), J519 (a rule is broken; the lines are in `details`),
    D381 (larger than a provider takes).
    """
    check_line = hosted_lines.check_pair if form == PAIRS else hosted_lines.check_chat
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _too_large(path, size)
        with path.open("rb") as stream:
            report, broken = _read(LineReader(stream), check_line)
    except (OSError, ReadFailed) as problem:
        cause = problem.problem if isinstance(problem, ReadFailed) else problem
        raise _broken(path, cause.strerror or type(cause).__name__) from problem
    if broken:
        raise _broken_lines(path, broken)
    if report.examples < least:
        raise DataError(
            "J518",
            _("{file} has too few examples for a hosted provider.").format(file=path.name),
            _("It has {count}, and {least} are needed; 50 to 100 are advised.").format(
                count=report.examples, least=least
            ),
            _("Collect more, then prepare again; or train on this machine."),
        )
    return report


def _read(
    reader: LineReader, check_line: Callable[[dict[str, Any]], int]
) -> tuple[FileReport, list[tuple[int, Problem]]]:
    examples = tokens = 0
    too_long: list[int] = []
    digests: set[bytes] = set()
    broken: list[tuple[int, Problem]] = []
    for line in reader:
        examples += 1
        digests.add(hashlib.blake2b(line.raw.strip(), digest_size=16).digest())
        try:
            if line.value is None:
                raise Unusable((line.problem or Problem("json")).code)
            estimate = check_line(line.value)
        except Unusable as unusable:
            if len(broken) < _LISTED:
                broken.append((line.number, line.problem or unusable.problem))
            continue
        tokens += estimate
        if estimate > CONTEXT_TOKENS:
            too_long.append(line.number)
    for code in _ODD:
        note = reader.notes.get(code)
        broken += [(number, Problem(code)) for number in note.lines] if note else []
    broken.sort(key=lambda each: each[0])
    return FileReport(examples, tokens, tuple(too_long), frozenset(digests)), broken


def write_hosted_pairs(source: Path, target: Path) -> None:
    """Canonical pairs as the protocol wants them, line by line: line n stays line n."""
    encoder = msgspec.json.Encoder()
    with source.open("rb") as lines, target.open("xb") as stream:
        for line in lines:
            record = msgspec.json.decode(line)
            stream.write(encoder.encode(hosted_lines.hosted_pair(record)) + b"\n")


def has_critiques(source: Path) -> bool:
    """Whether lines hold critiques, a field that the protocol does not know."""
    with source.open("rb") as lines:
        return any(b'"critique":' in line for line in lines)


def write_hosted_chats(source: Path, target: Path) -> None:
    """Canonical chats without their critiques, line by line: line n stays line n."""
    encoder = msgspec.json.Encoder()
    with source.open("rb") as lines, target.open("xb") as stream:
        for line in lines:
            record = msgspec.json.decode(line)
            record.pop("critique", None)
            stream.write(encoder.encode(record) + b"\n")


def check_apart(training: FileReport, validation: FileReport) -> None:
    """Raises DataError J519 where both files hold the same example."""
    if shared := len(training.digests & validation.digests):
        told = ngettext(
            "{count} example is in train.jsonl too.",
            "{count} examples are in train.jsonl too.",
            shared,
        )
        raise _broken(Path("valid.jsonl"), told.format(count=shared))


def default_epochs(examples: int) -> int:
    """How often the provider goes over the data where it is left to it."""
    if examples * 3 < 100:
        return min(25, 100 // examples)
    if examples * 3 > 25_000:
        return max(1, 25_000 // examples)
    return 3


def _too_large(path: Path, size: int) -> DataError:
    return DataError(
        "D381",
        _("{file} is too large for a hosted provider.").format(file=path.name),
        _("It has {size} bytes, and {limit} are the most that can be sent.").format(
            size=size, limit=MOST_BYTES
        ),
        _("Prepare a smaller data set, or train on this machine."),
    )


def _broken_lines(path: Path, broken: list[tuple[int, Problem]]) -> DataError:
    said = [
        _("line {number}: {why}").format(number=number, why=explain(each.code, each.details))
        for number, each in broken[:_SAID]
    ]
    rest = len(broken) - len(said)
    if rest:
        said.append(
            ngettext("and {count} more line", "and {count} more lines", rest).format(count=rest)
        )
    lines = [{"line": number, "code": each.code} for number, each in broken]
    return _broken(path, "; ".join(said), lines=lines)


def _broken(path: Path, why: str, **details: Any) -> DataError:
    return DataError(
        "J519",
        _("{file} can't be sent to a hosted provider.").format(file=path.name),
        why,
        _("Mend the source, then prepare the data set again."),
        **details,
    )
