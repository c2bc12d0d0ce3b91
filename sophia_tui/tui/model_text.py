"""How a model's state, notes, checks, files and times in production look on the console."""

from datetime import datetime
from typing import Any

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.views import ModelView, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.parts import Cell, Part, grid, pairs, title

#: What a state means for who wants to use the model.
_HEALTH = {
    "approved": "ok",
    "conditional": "attention",
    "expired": "problem",
    "rejected": "problem",
    "retired": "empty",
    "candidate": "empty",
}
_MOST_NOTES = 5
_HOW = {
    "promotion": N_("promoted"),
    "rollback": N_("rolled back"),
    "by_hand": N_("changed by hand"),
    "found": N_("before anything was recorded"),
}


def state_sign(state: str, glyphs: words.Glyphs) -> str:
    return glyphs.health[_HEALTH.get(state, "unknown")]


def state_text(state: str, glyphs: words.Glyphs) -> str:
    """Sign and word."""
    return f"{state_sign(state, glyphs)} {worded('state', state)}"


def state_style(state: str) -> str:
    return words.STYLES[_HEALTH.get(state, "unknown")]


def standing(model: ModelView, glyphs: words.Glyphs) -> list[Part]:
    """The state with its reason, conditions and end; nothing where nobody has decided yet."""
    if model.state == "candidate" and model.state_reason is None:
        return []
    decided = [model.state_by or "", words.shown(model.state_at) if model.state_at else ""]
    parts: list[Part] = [*title(_("State"), "  ".join(filter(None, decided)))]
    parts.append((state_text(model.state, glyphs), state_style(model.state)))
    if model.state_until is not None:
        parts.append("  " + _("until {day}").format(day=words.shown(model.state_until)[:10]))
    parts.append("\n")
    if model.state_reason:
        parts.append(visible_lines(model.state_reason) + "\n")
    return [*parts, *(f"- {visible(each)}\n" for each in model.state_conditions)]


def remarks(history: Any) -> list[Part]:
    """The newest notes, and states that were given before."""
    kept = [each for each in history.items if each.kind in ("note", "state")] if history else []
    if not kept:
        return []
    parts = title(_("Notes"), words.zone())
    for each in kept[:_MOST_NOTES]:
        about = [words.shown(each.at)[:16], each.by or ""]
        if each.state:
            about.append(str(worded("state", each.state)))
        parts += [("  ".join(map(visible, about)), "dim"), f"  {visible_lines(each.what)}\n"]
    if len(kept) > _MOST_NOTES:
        more = len(kept) - _MOST_NOTES
        told = ngettext("{n} older one", "{n} older ones", more).format(n=number(more))
        parts.append((told + "\n", "dim"))
    return parts


def checks(history: Any, glyphs: words.Glyphs) -> list[Part]:
    """The newest parity check and the newest verdict of the gate."""
    found: dict[str, Any] = {}
    for each in history.items if history else ():
        if each.kind in ("parity", "gate"):
            found.setdefault(each.kind, each)
    if not found:
        return []
    parts = title(_("Checks"), words.zone())
    for kind, each in found.items():
        health = "ok" if each.state == "done" else "problem"
        sign = (f"{glyphs.health[health]} {worded('kind', kind)}", words.STYLES[health])
        parts += [sign, f"  {words.shown(each.at)[:16]}  {visible_lines(each.what)}\n"]
    return parts


def files(model: ModelView) -> list[Part]:
    """How many files with which bytes, and what says that they are the same."""
    if not model.files:
        return []
    count = len(model.files)
    size = ngettext("{n} file", "{n} files", count).format(n=number(count))
    parts = title(_("Files"), f"{size}  {shown_size(model.size or 0)}")
    found = [
        (each.name, f"{shown_size(each.bytes or 0)}  {(each.sha256 or '')[:16]}")
        for each in model.files[:8]
    ]
    if model.template_fingerprint:
        found.append((_("chat template"), model.template_fingerprint[:16]))
    return [*parts, *pairs(found)]


def times(production: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    """When production named the model, newest first."""
    if production is None or not production.items:
        return []
    rows: list[list[Cell]] = [_span(each) for each in production.items]
    heads = [_("From"), _("Until"), _("Variable"), ""]
    return [*title(_("In production"), words.zone()), *grid(heads, rows, width, glyphs)]


def _span(span: Any) -> list[Cell]:
    near = "" if span.exact else "~ "
    until = _("now") if span.now else _moment(span.until)
    how = " ".join(filter(None, (_(_HOW.get(span.how, span.how)), span.by and f"({span.by})")))
    return [f"{near}{_moment(span.since)}", until, span.key, how]


def _moment(at: datetime | None) -> str:
    return words.shown(at)[:16] if at is not None else "?"
