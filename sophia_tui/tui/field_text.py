"""How the fields of an input are told to who fills in a form: labels, what may stand there, which
come first. What a field is, services/fields.py says."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from pydantic.fields import FieldInfo

from sophia_tui.domain.operations import Operation
from sophia_tui.i18n import _, number
from sophia_tui.services import fields
from sophia_tui.textsafe import visible

#: A form with more fields than this folds those that are seldom needed.
_LONG = 10
#: So many stand unfolded, in the order of the declaration, where fewer must.
_FIRST = 6
#: A sentence is cut no shorter than this: "Hosted only" alone would be no label.
_LEAST_LABEL = 12
_KEY = r"([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b"
#: Where a sentence names the setting that counts while the field is empty: one that it only
#: mentions is no default.
_SETTING = re.compile(
    rf"\bdefault:? (?:[^.;]*, else )?{_KEY}"
    rf"|\b{_KEY} by default"
    rf"|\bin place of {_KEY}"
    rf"|\bOther \w+ than {_KEY}"
)


def label_of(info: FieldInfo) -> str:
    """What a field is, in so few words as its sentence begins with; the whole stands elsewhere."""
    text = _(info.title or info.description or "").removesuffix(".")
    for sign in ("; ", ": ", " ("):
        head = text.partition(sign)[0]
        text = head if len(head) >= _LEAST_LABEL else text
    return text


def whole_text(info: FieldInfo) -> str:
    """The field's sentence, then what may stand there."""
    text = _(info.description or info.title or "").strip()
    said = [each for each in (text, limits_text(info)) if each]
    return " ".join(each if each.endswith(".") else f"{each}." for each in said)


def limits_text(info: FieldInfo) -> str:
    """The kind of value and its limits; empty where any text may stand."""
    plain = fields.plain_type(info.annotation)
    if fields.is_switch(info) or fields.choices_of(info):
        return ""
    if fields.is_list(info):
        return _("Several: separate by spaces; quote what holds some.")
    kinds = {int: _("A whole number"), float: _("A number"), datetime: _("A date and time"),
             date: _("A date")}  # fmt: skip
    kind = kinds.get(plain, "")
    low, high = _limits(info)
    if not kind or (low is None and high is None):
        return kind
    if low is not None and high is not None:
        return _("{kind}, {low} to {high}").format(kind=kind, low=low, high=high)
    if low is not None:
        return _("{kind}, {low} or more").format(kind=kind, low=low)
    return _("{kind}, {high} at most").format(kind=kind, high=high)


def _limits(info: FieldInfo) -> tuple[str | None, str | None]:
    """The least and the greatest value as people read them; what only must be more is told so."""
    low: str | None = None
    high: str | None = None
    for each in info.metadata:
        for name in ("ge", "gt"):
            if (found := getattr(each, name, None)) is not None:
                figure = _figure(found)
                low = figure if name == "ge" else _("more than {n}").format(n=figure)
        for name in ("le", "lt"):
            if (found := getattr(each, name, None)) is not None:
                high = _figure(found)
    return low, high


def _figure(value: Any) -> str:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return number(int(value))
    return str(value)


def settings_of(info: FieldInfo) -> list[str]:
    """The keys of settings that a field's sentence names: its default comes from there."""
    if fields.default_of(info) not in (None, "", []):
        return []
    found = _SETTING.finditer(info.description or "")
    return [next(filter(None, each.groups())) for each in found]


def in_force(info: FieldInfo, values: Mapping[str, str]) -> str:
    """The value that a setting puts where the field stays empty; empty where there is none."""
    return next((visible(values[key]) for key in settings_of(info) if key in values), "")


def placeholder(info: FieldInfo, values: Mapping[str, str] | None = None) -> str:
    """What counts while the field is empty, and where that comes from; it says that it is a
    default, since a value that stands there looks the same without colours."""
    for key in settings_of(info):
        value = (values or {}).get(key)
        told = f"{visible(value)}  ({key})" if value else key
        return _("default: {value}").format(value=told)
    text = _(info.description or "")
    _head, found, told = text.partition(_("default: "))
    if found:
        told = visible(told.partition(". ")[0].removesuffix("."))
        return _("default: {value}").format(value=told)
    return _("several, separated by spaces") if fields.is_list(info) else "-"


def folded(
    operation: Operation, known: Mapping[str, FieldInfo], kept: set[str]
) -> tuple[list[str], list[str]]:
    """The fields to show, needed ones first, and those to fold away; `kept` hold something."""
    needed = [name for name, info in known.items() if info.is_required()]
    told = [each for each in known if each in kept or each in operation.positional]
    first = list(dict.fromkeys([*needed, *(each for each in told if each not in needed)]))
    if len(known) <= _LONG:
        return [*needed, *(each for each in known if each not in needed)], []
    first += [each for each in known if each not in first][: max(0, _FIRST - len(first))]
    return first, [each for each in known if each not in first]
