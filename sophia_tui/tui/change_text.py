"""What cleaning changed, one change after the other: of a sample, or between two versions."""

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content

from sophia_tui.i18n import _
from sophia_tui.services.clean import PreviewedStep, PreviewOutput
from sophia_tui.services.version_views import DiffRow, VersionDiff
from sophia_tui.services.views import key_word
from sophia_tui.textsafe import visible
from sophia_tui.tui.diff_text import KINDS, TEXTS, side_by_side
from sophia_tui.tui.parts import Part


@dataclass(frozen=True)
class Change:
    """`texts` are (what it is, before, after); `told` says in words what happened, `reason` why a
    row leaves. `group` is the step, or the kind of difference."""

    group: str
    told: str
    file: str
    line: int
    texts: tuple[tuple[str, str | None, str | None], ...]
    reason: str = ""


def changes_of(found: PreviewOutput | VersionDiff) -> list[Change]:
    """All that was told of, in its order."""
    if isinstance(found, VersionDiff):
        return [_of_versions(row) for row in found.items]
    return [change for step in found.steps for change in _of_step(step)]


def change_text(change: Change, width: int) -> Content:
    """One change in full, before and after beside each other where there is room."""
    parts: list[Part] = [(visible(change.told), "bold")]
    if change.file:
        parts.append((f"  {visible(change.file)}:{change.line}", "dim"))
    parts.append("\n")
    if change.reason:
        parts.append((visible(change.reason) + "\n", "$warning"))
    for what, before, after in change.texts:
        parts += ["\n", (visible(what) + "\n", "bold $accent") if what else ""]
        parts += [side_by_side(before, after, width), "\n"]
    return Content.assemble(*parts)


def _of_step(step: PreviewedStep) -> Iterator[Change]:
    for each in step.changes:
        turn = _("turn {n}").format(n=each.turn)
        text = (f"{each.role}, {turn}", each.before, each.after)
        told = _("changed by {step}").format(step=step.step)
        yield Change(step.step, told, each.file, each.line, (text,))
    for row in step.leaving:
        told = _("turned away by {step}: {code}").format(step=step.step, code=row.code)
        texts = (("", row.text, None),) if row.text else ()
        yield Change(step.step, told, row.file, row.line, texts, row.reason)


def _of_versions(row: DiffRow) -> Change:
    side = row.after or row.before
    texts = []
    for name, title in TEXTS.items():
        before = getattr(row.before, name) if row.before else None
        after = getattr(row.after, name) if row.after else None
        if before is not None or after is not None:
            texts.append((_(title), before, after))
    told = _(KINDS.get(row.kind, row.kind))
    if row.kind == "moved" and row.before and row.after:
        told += f": {key_word(row.before.part)} > {key_word(row.after.part)}"
    return Change(row.kind, told, side.file if side else "", side.line if side else 0, tuple(texts))
