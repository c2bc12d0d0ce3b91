"""Differences on the console: two versions row by row, and what cleaning would do to a sample.

A removed line begins with -, an added one with +; what differs in it is bold. Long stretches that
are the same are left out, and a sign says so.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from textual.content import Content

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.version_views import DiffRow, SideOfRow, VersionDiff
from sophia_tui.services.views import key_word
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part, title

_WORD = re.compile(r"\s+|[^\s\w]|\w+")
#: Words of the longest text that is compared word by word; a longer one is shown as changed whole.
_MOST_WORDS = 2000
#: Characters of what is the same that stay before and after a difference.
_AROUND = 40
_LONGEST = 2000
_KINDS = {
    "changed": N_("changed"),
    "removed": N_("removed"),
    "added": N_("added"),
    "moved": N_("in another part"),
}


def versions_text(found: VersionDiff) -> Content:
    """Two versions of a data set side by side."""
    return Content.assemble(*_versions(found))


def preview_text(found: Any) -> Content:
    """What each step of cleaning would change, and which rows would leave."""
    return Content.assemble(*_preview(found))


def _versions(found: VersionDiff) -> Iterator[Part]:
    yield (f"- {visible(found.first)}\n", "$error")
    yield (f"+ {visible(found.second)}\n", "$success")
    told = _("{same} the same, {added} added, {removed} removed, {changed} changed, {moved} moved")
    yield (
        told.format(
            same=number(found.same),
            added=number(found.added),
            removed=number(found.removed),
            changed=number(found.changed),
            moved=number(found.moved),
        )
        + "\n"
    )
    for part in found.parts:
        if part.first or part.second:
            yield f"{visible(key_word(part.part))}: {number(part.first)} > {number(part.second)}\n"
    if found.steps:
        yield from title(_("Steps that differ"))
    for step in found.steps:
        yield (f"{visible(step.step)}\n", "bold")
        for sign, side, style in (("-", step.first, "$error"), ("+", step.second, "$success")):
            if side is not None:
                yield (f"{sign} {words.shown(side)}\n", style)
    if found.items:
        yield from title(_("Rows"))
    for row in found.items:
        yield from _row(row)
    if found.more:
        yield (_("There are more: ask for the next ones by offset.") + "\n", "dim")


def _row(row: DiffRow) -> Iterator[Part]:
    side = row.after or row.before
    place = f"{side.file}:{side.line}" if side and side.file else ""
    yield (visible(_(_KINDS.get(row.kind, row.kind))), "bold")
    yield (f"  {visible(place)}\n", "dim")
    if row.before and row.after and row.kind != "moved":
        for name in ("question", "answer", "rejected"):
            before, after = getattr(row.before, name), getattr(row.after, name)
            if before != after:
                yield from difference(before or "", after or "")
            elif name == "question":
                yield f"  {_short(before)}\n"
        return
    if row.before and row.after:
        yield f"  {_short(row.after.question)}\n"
        parts = f"{key_word(row.before.part)} > {key_word(row.after.part)}"
        yield f"  {visible(parts)}\n"
        return
    for sign, each, style in (("-", row.before, "$error"), ("+", row.after, "$success")):
        if each is not None:
            yield from _whole(sign, each, style)


def _whole(sign: str, side: SideOfRow, style: str) -> Iterator[Part]:
    for text in (side.question, side.answer, side.rejected):
        if text:
            yield (f"{sign} {_short(text)}\n", style)


def _preview(found: Any) -> Iterator[Part]:
    told = ngettext(
        "{rows} row of a sample; {stay} stay", "{rows} rows of a sample; {stay} stay", found.rows
    ).format(rows=number(found.rows), stay=number(found.stay))
    yield (f"{told}\n", "bold")
    for step in found.steps:
        counts = ngettext(
            "{rows} row: {changed} changed, {leave} leave",
            "{rows} rows: {changed} changed, {leave} leave",
            step.rows,
        ).format(rows=number(step.rows), changed=number(step.changed), leave=number(step.leave))
        yield from title(visible(step.step), counts)
        for change in step.changes:
            yield (f"{visible(change.file)}:{change.line} {visible(change.role)}\n", "dim")
            yield from difference(change.before, change.after)
        for row in step.leaving:
            yield (f"{visible(row.file)}:{row.line} ", "dim")
            yield (f"{visible(row.code)}", "bold $warning")
            yield f"  {visible(row.reason)}\n"
            if row.text:
                yield (f"- {_short(row.text)}\n", "$error")
    if found.of_all:
        yield "\n"
        steps = ", ".join(found.of_all)
        text = _("A sample can't tell of these steps, which compare all rows: {steps}")
        yield (visible(text.format(steps=steps)) + "\n", "dim")


def difference(before: str, after: str) -> Iterator[Part]:
    """Both texts, a line each; what differs is bold, long stretches of the same are left out."""
    old, new = _WORD.findall(before[:_LONGEST]), _WORD.findall(after[:_LONGEST])
    if len(old) + len(new) > _MOST_WORDS:
        yield (f"- {_short(before)}\n", "bold $error")
        yield (f"+ {_short(after)}\n", "bold $success")
        return
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for sign, side, style in (("-", old, "$error"), ("+", new, "$success")):
        yield (f"{sign} ", f"bold {style}")
        for place, (kind, old_from, old_to, new_from, new_to) in enumerate(blocks):
            span = side[old_from:old_to] if sign == "-" else side[new_from:new_to]
            text = "".join(span)
            if kind == "equal":
                yield (visible(_trimmed(text, place == 0, place == len(blocks) - 1)), style)
            elif text:
                yield (visible(text), f"bold reverse {style}")
        yield "\n"


def _trimmed(text: str, first: bool, last: bool) -> str:
    """A stretch that is the same, without what lies far from a difference."""
    head, tail = ("" if first else text[:_AROUND]), ("" if last else text[-_AROUND:])
    if len(text) <= len(head) + len(tail) + 5 or (first and last):
        return text
    return f"{head} ... {tail}".strip() if first or last else f"{head} ... {tail}"


def _short(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= 400 else shown[:400] + " ..."
