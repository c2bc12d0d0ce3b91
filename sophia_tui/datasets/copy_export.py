r"""Recognises and repairs files that were exported by Postgres' COPY in its text format.

That format writes `\\` for each backslash, so of the JSON `"a\nb \"c\""` becomes
`"a\\nb \\"c\\""`: broken where there was a quote, silently altered where there was a newline.

The rule, line by line, for lines with a backslash:

- proof: the line is no JSON object, but is one once taken out of COPY's format;
- against: the line is a JSON object and holds a run of an odd number of backslashes (`\n`, `\"`),
  which COPY never leaves inside a string; or it is an object, but is none once taken out;
- neither: it is an object both ways, as `"C:\\temp"` is and `"two\\nlines"` is.

A file with proof and nothing against is a COPY export (CERTAIN). A file without proof and with
nothing against is SUSPECTED where a `\\n`, `\\r`, `\\t` or `\\uXXXX` stands outside of what looks
like a Windows path: such text is legitimate (LaTeX, regular expressions, code), so that only a
person can tell, and nothing is repaired unless they say so. Everything else is NO.
"""

import json
import re
from enum import StrEnum
from pathlib import Path

from sophia_tui.datasets.compressed import is_table, open_lines

NULL = rb"\N"
END_OF_DATA = rb"\."


class Verdict(StrEnum):
    NO = "no"
    CERTAIN = "certain"
    SUSPECTED = "suspected"


_ODD_RUN = re.compile(rb"(?<!\\)(?:\\\\)*\\(?!\\)")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_MEANING = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}
_WINDOWS_PATH = re.compile(rb"(?:\b[A-Za-z]:|\\\\\\\\[\w.$-]+)(?:\\\\[\w.$~%@-]+(?: [\w.$~-]+)*)+")
_DOUBLED_ESCAPE = re.compile(rb"(?<!\\)\\\\(?:[nrt]|u[0-9A-Fa-f]{4})")


def unescape(line: bytes) -> bytes:
    """One line taken out of COPY's text format."""
    if b"\\" not in line:
        return line
    return _ESCAPE.sub(lambda match: _MEANING.get(match.group(1), match.group(1)), line)


def damage(line: bytes) -> bool:
    """Whether a line that is no JSON object is one once taken out of COPY's format (a proof)."""
    return b"\\" in line and _is_object(unescape(line))


def judge(path: Path, max_bytes: int) -> Verdict:
    """The verdict on a file, by the rule above. Raises OSError.

    Ends at the first line that speaks against; lines longer than `max_bytes` are passed over. A
    table is none.
    """
    if is_table(path):
        return Verdict.NO
    proof = suspicion = False
    with open_lines(path) as stream:
        while raw := stream.readline(max_bytes + 2):
            if b"\\" not in raw or len(raw) > max_bytes:
                continue
            line = raw.strip()
            if line in (NULL, END_OF_DATA):
                continue
            after = _is_object(unescape(line))
            if not _is_object(line):
                proof = proof or after
            elif not after or _ODD_RUN.search(line):
                return Verdict.NO
            elif _DOUBLED_ESCAPE.search(_WINDOWS_PATH.sub(b"", line)):
                suspicion = True
    if proof:
        return Verdict.CERTAIN
    return Verdict.SUSPECTED if suspicion else Verdict.NO


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False
