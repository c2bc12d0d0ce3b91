"""Env files: the one parser and the one writer. They are parsed, never sourced.

The dialect is what bash's `source`, systemd's EnvironmentFile= and this parser read alike:
`KEY=VALUE` lines, optional `export `, `#` comment lines, values bare or in single or double quotes.
We write the simplest form that all three read alike, and refuse values that none can hold.
"""

import re
from dataclasses import dataclass

from sophia_tui.errors import UsageError
from sophia_tui.i18n import _

_LINE = re.compile(r"^(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_]*)(\s*=)(.*)$", re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./^-]*")
_NEVER = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class EnvLine:
    """One line as it stands; `key` is None for comments, blanks and what is not an assignment."""

    raw: str
    key: str | None = None
    value: str | None = None


def unquote(text: str) -> str:
    """The value of the right-hand side of an assignment; a trailing ` # comment` is dropped.

    Double quotes: backslash escapes `\\`, `"`, `$` and the backtick, as in bash. Single quotes hold
    everything. Quoted and bare parts may follow each other directly, as in `'it'\\''s'`.
    """
    result: list[str] = []
    text = text.strip()
    position = 0
    while position < len(text):
        character = text[position]
        if character == "'":
            end = text.find("'", position + 1)
            end = len(text) if end < 0 else end
            result.append(text[position + 1 : end])
            position = end + 1
        elif character == '"':
            position += 1
            while position < len(text) and text[position] != '"':
                if text[position] == "\\" and text[position + 1 : position + 2] in (
                    "\\",
                    '"',
                    "$",
                    "`",
                ):
                    position += 1
                result.append(text[position])
                position += 1
            position += 1
        elif character == "\\" and position + 1 < len(text):
            result.append(text[position + 1])
            position += 2
        elif character.isspace():
            # bash would run the rest as a command, systemd keeps it; only a comment may follow
            rest = text[position:]
            if rest.lstrip().startswith("#"):
                break
            result.append(character)
            position += 1
        else:
            result.append(character)
            position += 1
    return "".join(result)


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


def parse(content: str) -> list[EnvLine]:
    """The lines of an env file, in order; unreadable lines are kept as they are."""
    lines = []
    for raw in content.split("\n"):
        match = None if raw.lstrip().startswith("#") else _LINE.match(raw.rstrip("\r"))
        if match:
            lines.append(EnvLine(raw, match.group(2), unquote(match.group(4))))
        else:
            lines.append(EnvLine(raw))
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
        match = _LINE.match(line.raw.rstrip("\r"))
        prefix = match.group(1) if match else ""
        kept.append(f"{prefix}{line.key}={quote(new)}" + ("\r" if line.raw.endswith("\r") else ""))
    additions = [f"{key}={quote(value)}" for key, value in pending.items() if value is not None]
    if additions:
        if kept and kept[-1] == "":
            kept.pop()
        kept.extend(additions)
        kept.append("")
    return "\n".join(kept)
