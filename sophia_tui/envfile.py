"""Env files: the one parser and the one writer. They are parsed, never sourced.

The dialect is what bash's `source`, systemd's EnvironmentFile= and this parser read alike:
`KEY=VALUE` lines, `#` comment lines, values bare or in single or double quotes. We write the
simplest form that all three read alike, and refuse values that none can hold.

What others write is read by three rules. `export X=` is `X=`, as in bash (systemd passes such a
line over, so we write none; one that stands keeps its word). A carriage return at the end of a line
belongs to the line's end, never to the value, as in systemd. A byte order mark at the beginning is
no part of the first key. All three stay where they are when another line is changed.

The installer and the root helper load this module with `python3 -I` from root's own files: it and
what it imports need the standard library alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sophia_tui.errors import UsageError
from sophia_tui.i18n import _

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./^-]*")
_ESCAPED = ("\\", '"', "$", "`")
_NEVER = re.compile("[\x00-\x1f\x7f]")
#: What may not stand in a line of a file that is checked; a tab may.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
#: An assignment as all readers see one: no blank before `=`, none but blanks and tabs before it.
_STRICT = re.compile(r"[ \t]*(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*=")
_MARK = "\ufeff"
#: How many wrong lines an error names.
_TOLD = 10


@dataclass(frozen=True)
class EnvLine:
    """One line as it stands, or several where a quoted value has line feeds in it.

    `key` is None for comments, blanks and what is not an assignment. `head` is what stands before
    the value (`export KEY=`), `tail` what follows it (blanks, a comment, a carriage return).
    `open`: a quote is never closed.
    """

    raw: str
    key: str | None = None
    value: str | None = None
    head: str = ""
    tail: str = ""
    open: bool = False


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line of an env file. `why` names the key at most, never a value."""

    line: int
    why: str


class _Value:
    """Reads the right-hand side of an assignment from `start` on.

    Double quotes: backslash escapes `\\`, `"`, `$` and the backtick, as in bash. Single quotes hold
    everything. Quoted and bare parts may follow each other directly, as in `'it'\\''s'`. A trailing
    ` # comment` is no part of it. Only a value that begins with a quote may go over several lines:
    a lone apostrophe inside a bare word must not swallow the rest of the file.
    """

    def __init__(self, content: str, start: int) -> None:
        self._content = content
        self._line_end = _end_of_line(content, start)
        self._parts: list[str] = []
        self._blanks = ""  # bare white space counts only where something follows it
        self.first = start
        while content[self.first : self.first + 1] in (" ", "\t"):
            self.first += 1
        self.last = self.first
        self.open = False
        self._read()
        self.text = "".join(self._parts)
        self.end = self._line_end

    def _read(self) -> None:
        position = self.first
        while position < self._line_end:
            sign = self._content[position]
            if sign in "'\"":
                position = self._quoted(position, sign)
            elif sign == "\\" and position + 1 < self._line_end:
                position = self._take(position + 2, self._content[position + 1])
            elif sign == "\\" and position + 1 < len(self._content):
                # a line that ends in a backslash goes on in the next one
                self._line_end = _end_of_line(self._content, position + 2)
                position += 2
            elif sign.isspace():
                # bash would run the rest as a command, systemd keeps it; only a comment may follow
                if self._content[position : self._line_end].lstrip().startswith("#"):
                    return
                self._blanks += sign
                position += 1
            else:
                position = self._take(position + 1, sign)

    def _take(self, position: int, text: str) -> int:
        self._parts += [self._blanks, text]
        self._blanks = ""
        self.last = position
        return position

    def _quoted(self, position: int, sign: str) -> int:
        """The position behind the closing quote; an open one ends with its line."""
        limit = len(self._content) if position == self.first else self._line_end
        found = self._inside(position + 1, sign, limit)
        if found is None:
            self.open = True
            found = self._inside(position + 1, sign, self._line_end, closed=False)
        assert found is not None
        text, behind = found
        self._line_end = max(self._line_end, _end_of_line(self._content, behind))
        return self._take(behind, text)

    def _inside(
        self, position: int, sign: str, limit: int, closed: bool = True
    ) -> tuple[str, int] | None:
        found: list[str] = []
        while position < limit and self._content[position] != sign:
            if sign == '"' and self._content[position] == "\\" and position + 1 < limit:
                if self._content[position + 1] == "\n":
                    position += 2
                    continue
                if self._content[position + 1] in _ESCAPED:
                    position += 1
            found.append(self._content[position])
            position += 1
        if position >= limit and closed:
            return None
        return "".join(found), min(position + 1, limit)


def _end_of_line(content: str, start: int) -> int:
    end = content.find("\n", start)
    return len(content) if end < 0 else end


def quote(value: str) -> str:
    """`value` so that bash, systemd and our parser all read it back.

    Raises UsageError S120 for control characters (a line feed would be a second assignment).
    """
    if _NEVER.search(value):
        raise UsageError(
            "S120",
            _("A value with control characters can't be written into an env file."),
            _("A line feed or another control character is in it."),
            _("Use a value of one line."),
        )
    if _BARE.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    escaped = re.sub(r'([\\"$`])', r"\\\1", value)
    return f'"{escaped}"'


def _as_written(value: str, line: EnvLine) -> str:
    """`value` in the quotes that the line had, where it can stand in them as it is."""
    before = line.raw[len(line.head) : len(line.raw) - len(line.tail)]
    quoted = len(before) > 1 and before[0] == before[-1] and before[0] in "'\""
    return f"{before[0]}{value}{before[0]}" if quoted and _BARE.fullmatch(value) else quote(value)


def parse(content: str) -> list[EnvLine]:
    """The lines of an env file, in order; joined by line feeds they are the file again."""
    if not content.startswith(_MARK):
        return _parse(content)
    first, *rest = _parse(content[1:])
    return [replace(first, raw=_MARK + first.raw, head=_MARK + first.head), *rest]


def _parse(content: str) -> list[EnvLine]:
    lines = []
    position = 0
    while position <= len(content):
        end = _end_of_line(content, position)
        raw = content[position:end]
        match = None if raw.lstrip().startswith("#") else _LINE.match(raw)
        if match is None:
            lines.append(EnvLine(raw))
        else:
            value = _Value(content, position + match.end())
            end = value.end
            head, tail = content[position : value.first], content[value.last : end]
            lines.append(
                EnvLine(content[position:end], match.group(1), value.text, head, tail, value.open)
            )
        position = end + 1
    return lines


def faults(content: str) -> list[Fault]:
    """Every line that is no env file's, or that two readers could take differently.

    Refused are what is neither assignment, comment nor blank; keys that are none; a value over
    several lines; a quote that is never closed; control characters, NUL among them; and a key that
    stands twice. The three rules of the module's docstring are no faults.
    """
    found: list[Fault] = []
    seen: dict[str, int] = {}
    number = 1
    for line in parse(content):
        found += [Fault(number, why) for why in _wrong(line, seen)]
        if line.key is not None:
            seen.setdefault(line.key, number)
        number += 1 + line.raw.count("\n")
    return found


def strange_lines(content: str) -> list[int]:
    """The numbers of the lines that are neither assignment, comment nor blank."""
    found = []
    number = 1
    for line in parse(content):
        text = line.raw.removeprefix(_MARK).strip()
        if line.key is None and text and not text.startswith("#"):
            found.append(number)
        number += 1 + line.raw.count("\n")
    return found


def _wrong(line: EnvLine, seen: dict[str, int]) -> Iterator[str]:
    raw = line.raw.removeprefix(_MARK).removesuffix("\r")
    if _CONTROL.search(raw):
        yield _("A control character or NUL stands in it.")
    if line.key is None:
        if raw.strip() and not raw.lstrip().startswith("#"):
            yield _("It is no KEY=VALUE line.")
        return
    if not _STRICT.match(raw):
        yield _("Its key is not written as KEY=, without blanks.")
    if "\n" in raw:
        yield _("Its value goes over several lines.")
    if line.open:
        yield _("A quote is not closed.")
    if line.key in seen:
        yield _("{key} stands in line {line} already.").format(key=line.key, line=seen[line.key])


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UsageError(
            "S441",
            _("{name} is no text in UTF-8.").format(name=name),
            _("Line {line} has other bytes.").format(
                line=content.count(b"\n", 0, problem.start) + 1
            ),
            _("Save it as UTF-8."),
        ) from None


def check(content: bytes | str, name: str) -> dict[str, str]:
    """Key to value of an env file without a fault; `name` is what errors call it.

    Raises UsageError S440 naming every wrong line by its number and never by its text, S441 where
    it is not UTF-8.
    """
    text = content if isinstance(content, str) else _decoded(content, name)
    wrong = faults(text)
    if wrong:
        told = [
            _("Line {line}: {why}").format(line=each.line, why=each.why) for each in wrong[:_TOLD]
        ]
        if len(wrong) > _TOLD:
            told.append(_("And {count} more.").format(count=len(wrong) - _TOLD))
        raise UsageError(
            "S440",
            _("{name} is no clean env file.").format(name=name),
            " ".join(told),
            _("Correct these lines: KEY=VALUE, each key once, each value in one line."),
            lines=sorted({each.line for each in wrong}),
        )
    return values(text)


def values(content: str) -> dict[str, str]:
    """Key to value; the last assignment wins, as it does in bash and systemd."""
    return {line.key: line.value or "" for line in parse(content) if line.key}


def change(content: str, changes: dict[str, str | None]) -> str:
    """`content` with `changes` applied: None removes a key, an unknown key is appended.

    Every other line, comments and line ends included, stays byte for byte. A key that stands more
    than once is changed wherever it stands, so that no reader sees the old value.
    """
    pending = dict(changes)
    kept: list[str] = []
    for line in parse(content):
        if line.key is None or line.key not in changes:
            kept.append(line.raw)
            continue
        new = changes[line.key]
        pending.pop(line.key, None)
        if new is None:
            continue
        kept.append(f"{line.head}{_as_written(new, line)}{line.tail}")
    additions = [f"{key}={quote(value)}" for key, value in pending.items() if value is not None]
    if additions:
        if kept and kept[-1] == "":
            kept.pop()
        kept.extend(additions)
        kept.append("")
    return "\n".join(kept)
