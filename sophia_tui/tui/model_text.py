"""How a model's state, notes, checks, files and times in production look on the console."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from textual.content import Content

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.views import ModelView, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.parts import Cell, Part, grid, pairs, title
from sophia_tui.tui.screens.datasets import source_text

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
    rows = [_span(each) for each in production.items]
    heads = [_("From"), _("Until"), _("Variable"), ""]
    return [*title(_("In production"), words.zone()), *grid(heads, rows, width, glyphs)]


def _span(span: Any) -> list[Cell]:
    near = "" if span.exact else "~ "
    until = _("now") if span.now else _moment(span.until)
    how = " ".join(filter(None, (_(_HOW.get(span.how, span.how)), span.by and f"({span.by})")))
    return [f"{near}{_moment(span.since)}", until, span.key, how]


def _moment(at: datetime | None) -> str:
    return words.shown(at)[:16] if at is not None else "?"


def production_text(told: Any, width: int) -> Content:
    """Which model production named when; a sign stands before times that are not exact."""
    glyphs = words.Glyphs(ascii_only=False)
    rows = [[each.model, *_span(each), each.file] for each in told.items]
    heads = [_("Model"), _("From"), _("Until"), _("Variable"), _("How"), _("File")]
    parts: list[Part] = [(words.zone() + "\n", "dim"), *grid(heads, rows, width, glyphs)]
    attempts = [
        [each.promotion, each.model, str(worded("state", each.state)), _moment(each.at), each.why]
        for each in told.attempts
    ]
    if attempts:
        parts += title(_("Failed and pending"))
        parts += grid([_("Promotion"), _("Model"), _("State"), "", ""], attempts, width, glyphs)
    served = [
        [each.name, each.model, words.state_word(each.state), _moment(each.since)]
        for each in told.deployed
    ]
    if served:
        parts += title(_("Served now"))
        parts += grid([_("Name"), _("Model"), _("State"), _("From")], served, width, glyphs)
    if told.notes:
        parts += title(_("Notes"))
    return Content.assemble(*parts, *(f"{visible(each)}\n" for each in told.notes))


def lineage_text(told: Any, width: int) -> Content:
    """From what was asked for to the rows, then what was measured of it and done with it."""
    glyphs = words.Glyphs(ascii_only=False)
    parts: list[Part] = [(visible(told.asked) + "\n", "bold")]
    parts += [f"{visible(each)}\n" for each in told.notes]
    if told.gaps:
        parts += [(f"! {visible(each)}\n", words.STYLES["attention"]) for each in told.gaps]
    models: list[list[Cell]] = [
        [
            str(worded("relation", each.relation)),
            each.id,
            str(worded("kind", each.kind)) + (f" ({_('deleted')})" if each.deleted_at else ""),
            (state_text(each.state, glyphs), state_style(each.state)),
        ]
        for each in told.chain
    ]
    parts += _listed(_("Models"), ["", _("Model"), _("Kind"), _("State")], models, width)
    jobs: list[list[Cell]] = [
        [each.id, str(worded("kind", each.kind)), words.state_word(each.status), _moment(each.at)]
        for each in told.jobs
    ]
    parts += _listed(_("Jobs"), [_("Job"), _("Kind"), _("State"), _("Created")], jobs, width)
    parts += _dataset(told.dataset)
    if told.rows:
        parts += title(_("Source rows"))
    for each in told.rows:
        place = source_text(each.source) or f"{each.file}:{each.line}"
        parts += [(visible(place) + "\n", "dim"), f"  {visible_lines(each.question)}\n"]
        parts.append((f"  {visible_lines(each.answer)}\n", "dim"))
    parts += _measured(told, width)
    return Content.assemble(*parts, *_times_of(told.production, width, glyphs))


def _times_of(spans: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    rows = [[each.model, *_span(each)] for each in spans]
    heads = [_("Model"), _("From"), _("Until"), _("Variable"), ""]
    return _listed(_("In production"), heads, rows, width)


def _listed(name: str, heads: list[str], rows: Sequence[Sequence[Cell]], width: int) -> list[Part]:
    """A table below its title; nothing where there are no rows."""
    if not rows:
        return []
    return [*title(name), *grid(heads, rows, width, words.Glyphs(ascii_only=False))]


def _dataset(dataset: Any) -> list[Part]:
    if dataset is None:
        return []
    counts = dataset.counts
    kept = ngettext(
        "{kept} of {rows_in} row kept", "{kept} of {rows_in} rows kept", counts.get("rows_in", 0)
    ).format(kept=number(counts.get("rows_kept", 0)), rows_in=number(counts.get("rows_in", 0)))
    parts = [*title(_("Data set")), f"{visible(dataset.id)}  {kept}\n"]
    if dataset.deleted_at is not None:
        parts.append((_("deleted") + "\n", words.STYLES["attention"]))
    if dataset.notice:
        parts.append((visible(dataset.notice) + "\n", words.STYLES["attention"]))
    return [*parts, (visible("  ".join(dataset.sources)) + "\n", "dim")]


def _measured(told: Any, width: int) -> list[Part]:
    evaluations = [
        [
            each.id,
            each.model,
            _moment(each.at),
            " > ".join(
                number(figure, 1)
                for figure in (each.perplexity_before, each.perplexity_after)
                if figure is not None
            ),
        ]
        for each in told.evaluations
    ]
    heads = [_("Evaluation"), _("Model"), _("Time"), _("perplexity")]
    parts = _listed(_("Evaluations"), heads, evaluations, width)
    checks = [
        [
            str(worded("kind", each.kind)),
            each.model,
            _moment(each.at),
            _("passed") if each.passed else _("failed"),
        ]
        for each in told.checks
    ]
    parts += _listed(_("Checks"), [_("Kind"), _("Model"), _("Time"), ""], checks, width)
    served = [
        [each.name, each.model, words.state_word(each.state), _moment(each.since)]
        for each in told.deployments
    ]
    heads = [_("Name"), _("Model"), _("State"), _("From")]
    return [*parts, *_listed(_("Deployments"), heads, served, width)]
