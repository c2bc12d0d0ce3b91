"""The rules that a hosted provider has for a training file, held before a byte of it is sent.

Rules and estimates as the providers' documentation has them; see also formats.convert, which knows
the rules for one example.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Unusable, summary
from sophia_tui.errors import DataError
from sophia_tui.i18n import _

MINIMUM_EXAMPLES = 10
#: Above this a file has to be sent in parts, which this version does not do.
MAXIMUM_BYTES = 512 * 1024 * 1024
#: Tokens of one example that gpt-4o and gpt-4.1 learn from; what is longer is cut at its end.
CONTEXT_TOKENS = 65_536
_BYTES_A_TOKEN = 4


@dataclass(frozen=True)
class FileReport:
    """What is known of a file that may be sent. `tokens` is an estimate; `too_long` are the lines
    of examples that would be cut."""

    examples: int
    tokens: int
    too_long: tuple[int, ...]
    digests: frozenset[bytes]


def check_file(path: Path, least: int = MINIMUM_EXAMPLES) -> FileReport:
    """Read the file through. Raises DataError J518 (too few examples), J519 (a rule is broken)."""
    examples = tokens = 0
    too_long: list[int] = []
    digests: set[bytes] = set()
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            why = _("It has {size} bytes, and {limit} are the most that can be sent.")
            raise _broken(path, why.format(size=size, limit=MAXIMUM_BYTES))
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                estimate = _tokens(_record(path, number, line))
                examples += 1
                tokens += estimate
                digests.add(hashlib.blake2b(line.strip(), digest_size=16).digest())
                if estimate > CONTEXT_TOKENS:
                    too_long.append(number)
    except OSError as problem:
        raise _broken(path, problem.strerror or type(problem).__name__) from problem
    if examples < least:
        raise DataError(
            "J518",
            _("{file} has too few examples for a hosted provider.").format(file=path.name),
            _("It has {count}, and {least} are needed; 50 to 100 are advised.").format(
                count=examples, least=least
            ),
            _("Collect more, then prepare again; or train on this machine."),
        )
    return FileReport(examples, tokens, tuple(too_long), frozenset(digests))


def check_apart(training: FileReport, validation: FileReport) -> None:
    """Raises DataError J519 where both files hold the same example."""
    if shared := len(training.digests & validation.digests):
        raise _broken(
            Path("valid.jsonl"), _("{count} examples are in train.jsonl too.").format(count=shared)
        )


def default_epochs(examples: int) -> int:
    """How often the provider goes over the data where it is left to it."""
    if examples * 3 < 100:
        return min(25, 100 // examples)
    if examples * 3 > 25_000:
        return max(1, 25_000 // examples)
    return 3


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
        if not isinstance(record, dict):
            raise Unusable("not_object")
        formats.convert(record)
    except Unusable as unusable:
        why = summary(unusable.problem.code)
    except (msgspec.DecodeError, UnicodeDecodeError):
        why = summary("json")
    else:
        return record
    raise _broken(path, _("line {number}: {why}").format(number=number, why=why))


def _tokens(record: dict[str, Any]) -> int:
    """3 for an example, 3 for each message, and its content, estimated by bytes."""
    contents = sum(len(str(each["content"]).encode()) for each in record["messages"])
    return 3 + 3 * len(record["messages"]) + -(-contents // _BYTES_A_TOKEN)


def _broken(path: Path, why: str) -> DataError:
    return DataError(
        "J519",
        _("{file} can't be sent to a hosted provider.").format(file=path.name),
        why,
        _("Mend the source, then prepare the data set again."),
    )
