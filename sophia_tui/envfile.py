"""Env files: the one parser and the one writer. They are parsed, never sourced.

The dialect is what bash's `source`, systemd's EnvironmentFile= and this parser read alike:
`KEY=VALUE` lines, optional `export `, `#` comment lines, values bare or in single or double quotes.
We write the simplest form that all three read alike, and refuse values that none can hold.
"""

import re
from dataclasses import dataclass

from sophia_tui.errors import UsageError
from sophia_tui.i18n import _

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./^-]*")
_ESCAPED = ("\\", '"', "$", "`")
_NEVER = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class EnvLine:
    """One line as it stands, or several where a quoted value has line feeds in it.

    `key` is None for comments, blanks and what is not an assignment. `head` is what stands before
    the value (`export KEY=`), `tail` what follows it (blanks, a comment, a carriage return).
    """

    raw: str
    key: str | None = None
    value: str | None = None
    head: str = ""
    tail: str = ""


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
        found = self._inside(position + 1, sign, limit) or self._inside(
            position + 1, sign, self._line_end, closed=False
        )
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
            lines.append(EnvLine(content[position:end], match.group(1), value.text, head, tail))
        position = end + 1
    return lines


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
