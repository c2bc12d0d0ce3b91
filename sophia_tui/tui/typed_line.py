"""What a person would type for what a screen shows and for what can be done on it: one rule for all
screens, made from the registry of keys and the declarations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.operations import Operation
from sophia_tui.i18n import _
from sophia_tui.services import fields
from sophia_tui.tui import keys, words

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console
    from sophia_tui.tui.screens.base import SophiaScreen

#: What a list's memory calls what its operation's input calls otherwise.
_ASKED_AS = {"filter": "match", "sort": "sort"}


@dataclass(frozen=True)
class TypedLine:
    """One command line, and what it does."""

    what: str
    command: str


def lines_of(sophia: "Console", screen: "SophiaScreen") -> list[TypedLine]:
    """What the screen shows, then the selected row, then what its keys do; no line twice."""
    found = {each.command: each for each in reversed(list(_lines(sophia, screen)))}
    return list(reversed(found.values()))


def _lines(sophia: "Console", screen: "SophiaScreen") -> Iterator[TypedLine]:
    registry = sophia.dispatcher.registry
    for name, request in [*_shown(sophia, screen), *_of_keys(sophia, screen)]:
        if name in registry and sophia.may(name):
            declared = registry.get(name)
            secrets = about_secrets(declared)
            what = words.operation_title(declared) + (f". {secrets}" if secrets else "")
            yield TypedLine(what, line(declared, request))


def _shown(sophia: "Console", screen: "SophiaScreen") -> Iterator[tuple[str, dict[str, Any]]]:
    yield from screen.asks()
    asked = sophia.asked(screen)
    if asked is not None:
        yield asked[0].name, asked[1]
    name = getattr(screen, "name_of_screen", "")
    row = getattr(screen, "opened", None) or getattr(screen, "selected_key", None)
    for operation, (place, field) in keys.SHOWN_BY.items():
        if place == name and field and row:
            yield operation, {field: row}


def _of_keys(sophia: "Console", screen: "SophiaScreen") -> Iterator[tuple[str, dict[str, Any]]]:
    for key in screen.known_keys():
        known = key.scope and key.target in sophia.dispatcher.registry
        if known and not screen.not_now(key.target):
            yield key.target, screen.prefill(key.target)


def listed(declared: Operation, memory: Mapping[str, Any]) -> dict[str, Any]:
    """The request behind a list as it is filtered and sorted now."""
    known = declared.input.model_fields
    told = {_ASKED_AS[name]: value for name, value in memory.items() if name in _ASKED_AS and value}
    return {name: value for name, value in told.items() if name in known}


def line(declared: Operation, request: Mapping[str, Any]) -> str:
    """The command line; what is needed and not known stands there in capitals."""
    known = declared.input.model_fields
    asked = {name: value for name, value in request.items() if name in known}
    asked = fields.changed_from_default(declared.input, asked)
    for name, info in known.items():
        if info.is_required() and not fields.is_secret(info) and asked.get(name) in (None, ""):
            asked[name] = name.upper()
    return fields.equivalent(declared, asked)


def about_secrets(declared: Operation) -> str:
    """How the command takes what never stands in it; empty where there is nothing of the kind."""
    names = [name for name, info in declared.input.model_fields.items() if fields.is_secret(info)]
    if not names:
        return ""
    return _("It asks for {names}, or reads them from standard input, a line for each.").format(
        names=", ".join(names)
    )
