"""A record as a person types it: laid out, checked at each sign, compared with what it was."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sophia_tui.i18n import N_, _, number
from sophia_tui.textsafe import HOSTILE, visible

#: What Python's reader says of a text that is no JSON.
_WRONG = {
    "Expecting value": N_("a value is missing"),
    "Expecting property name enclosed in double quotes": N_('a name in " is missing'),
    "Expecting ':' delimiter": N_("a : is missing"),
    "Expecting ',' delimiter": N_("a , is missing, or a bracket that closes"),
    "Unterminated string starting at": N_('the text that begins here has no " at its end'),
    "Invalid control character at": N_("this sign has to be written with a backslash"),
    "Invalid \\escape": N_("this means nothing after a backslash"),
    "Invalid \\uXXXX escape": N_("\\u needs four digits from 0 to f"),
    "Extra data": N_("the record is over before this"),
    "Illegal trailing comma before end of object": N_("a , too many"),
    "Illegal trailing comma before end of array": N_("a , too many"),
}
#: Places of differences that are named.
_NAMED = 4


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a text; `line` and `column` count from 1, 0: nowhere in particular."""

    what: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.what
        where = _("line {line}, column {column}: {what}")
        return where.format(line=self.line, column=self.column, what=self.what)


def editable(text: str) -> str:
    """The record to type in: laid out, and signs that a terminal acts on as JSON's escapes."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
        laid_out = json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return _escaped(text)
    return _escaped(laid_out)


def mistake(text: str) -> Mistake | None:
    """What keeps a text from being a record; None where nothing does."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as problem:
        told = _WRONG.get(problem.msg)
        return Mistake(_(told) if told else problem.msg, problem.lineno, problem.colno)
    except _Twice as problem:
        return Mistake(_("the name {name} stands there twice").format(name=visible(str(problem))))
    except (ValueError, RecursionError):
        return Mistake(_("it nests too deep, or holds a number that is too long"))
    if not isinstance(value, dict):
        return Mistake(_("one object in { } is wanted"), 1, 1)
    return None


def what_differs(before: str, after: str) -> str:
    """Where two records differ, by names and places; empty where they don't."""
    try:
        old, new = json.loads(before), json.loads(after)
        found = list(_different(old, new, ""))
    except (ValueError, RecursionError):
        return _("the whole text") if before != after else ""
    named = ", ".join(visible(each) for each in found[:_NAMED])
    rest = len(found) - _NAMED
    return named + (_(" and {n} more").format(n=number(rest)) if rest > 0 else "")


def _different(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            here = f"{place}.{name}" if place else str(name)
            if name not in new:
                yield f"-{here}"
            elif name not in old:
                yield f"+{here}"
            else:
                yield from _different(old[name], new[name], here)
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            here = f"{place}[{at + 1}]"
            if at >= len(new):
                yield f"-{here}"
            elif at >= len(old):
                yield f"+{here}"
            else:
                yield from _different(old[at], new[at], here)
    elif old != new or type(old) is not type(new):
        yield place or _("the whole text")


class _Twice(ValueError):
    """A name stands twice in one object: one of its values would be lost."""


def _once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in found:
        if name in made:
            raise _Twice(name)
        made[name] = value
    return made


def _escaped(text: str) -> str:
    def escape(found: re.Match[str]) -> str:
        return found.group() if found.group() == "\n" else json.dumps(found.group())[1:-1]

    return HOSTILE.sub(escape, text)
