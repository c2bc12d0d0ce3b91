"""Differences on the console: two versions row by row, and what cleaning would do to a sample.

A removed line begins with -, an added one with +; what differs in it stands between [- and -] or
between {+ and +}, so that it reads without colours. Below each other, long stretches that are the
same are left out, and a sign says so; beside each other the texts are whole.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.clean import PreviewOutput
from sophia_tui.services.version_views import DiffRow, SideOfRow, VersionDiff
from sophia_tui.services.views import key_word
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.columns import beside
from sophia_tui.tui.parts import Part, title

_WORD = re.compile(r"\s+|[^\s\w]|\w+")
#: Words of the longest text that is compared word by word; a longer one is shown as changed whole.
_MOST_WORDS = 2000
#: Characters of what is the same that stay before and after a difference.
_AROUND = 40
_LONGEST = 2000
#: Cells that two columns need.
COLUMNS = 98
KINDS = {
    "changed": N_("changed"),
    "removed": N_("removed"),
    "added": N_("added"),
    "moved": N_("in another part"),
}
#: The texts of a row, by the name of the field.
TEXTS = {
    "question": N_("Question"),
    "answer": N_("Answer"),
    "rejected": N_("Worse answer"),
}


def versions_text(found: VersionDiff) -> Content:
    """Two versions of a data set side by side."""
    return Content.assemble(*_versions(found))


def preview_text(found: PreviewOutput) -> Content:
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
    yield (visible(_(KINDS.get(row.kind, row.kind))), "bold")
    yield (f"  {visible(place)}\n", "dim")
    if row.before and row.after and row.kind != "moved":
        for name in TEXTS:
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


def _preview(found: PreviewOutput) -> Iterator[Part]:
    told = ngettext(
        "{rows} row of a sample; {stay} stay", "{rows} rows of a sample; {stay} stay", found.rows
    ).format(rows=number(found.rows), stay=number(found.stay))
    yield (f"{told}\n", "bold")
    yield from _by_step(found)
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


def _by_step(found: PreviewOutput) -> Iterator[Part]:
    """How many rows each step saw, changed and turned away."""
    heads = ["", _("Rows"), _("Changed"), _("Leave")]
    rows = [
        [visible(each.step), number(each.rows), number(each.changed), number(each.leave)]
        for each in found.steps
    ]
    wide = [max(cell_len(row[column]) for row in [heads, *rows]) for column in range(4)]
    for place, row in enumerate([heads, *rows]):
        line = [row[0] + " " * (wide[0] - cell_len(row[0]))]
        line += [" " * (wide[at] - cell_len(row[at])) + row[at] for at in (1, 2, 3)]
        yield ("  ".join(line) + "\n", "dim" if not place else "")


def difference(before: str, after: str) -> Iterator[Part]:
    """Both texts, a line each, long stretches of the same left out."""
    pieces = list(compared(before[:_LONGEST], after[:_LONGEST]))
    for sign, style in (("-", "$error"), ("+", "$success")):
        yield (f"{sign} ", f"bold {style}")
        for place, (same, old, new) in enumerate(pieces):
            text = old if sign == "-" else new
            if same:
                yield (visible(_trimmed(text, place == 0, place == len(pieces) - 1)), style)
            elif text:
                yield _changed(sign, visible(text), style)
        yield "\n"


def sides(before: str, after: str) -> tuple[Content, Content]:
    """Both texts whole, with what differs between signs."""
    made = []
    pieces = list(compared(before, after))
    for sign, style in (("-", "$error"), ("+", "$success")):
        parts: list[Part] = []
        for same, old, new in pieces:
            text = old if sign == "-" else new
            if same:
                parts.append(visible_lines(text))
            elif text:
                parts.append(_changed(sign, _breaks_shown(text), style))
        made.append(Content.assemble(*parts))
    return made[0], made[1]


def side_by_side(before: str | None, after: str | None, width: int) -> Content:
    """Before and after in two columns; below each other where there is no room for two. None: that
    side has no such text."""
    if before is None or after is None:
        old, new = (Content(visible_lines(each or "")) for each in (before, after))
    else:
        old, new = sides(before, after)
    heads = (("-", _("before"), before, old), ("+", _("after"), after, new))
    told = [
        Content.assemble((f"{sign} {head}", "bold"), "\n", text if there is not None else "-")
        for sign, head, there, text in heads
    ]
    if width >= COLUMNS:
        return beside(told[0], told[1], width)
    return Content.assemble(told[0], "\n\n", told[1])


def compared(before: str, after: str) -> Iterator[tuple[bool, str, str]]:
    """Stretches of both texts, word by word: (whether they are the same, the old, the new)."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    first = _shared(old, new)
    last = _shared(old[first:][::-1], new[first:][::-1])
    if first:
        yield True, "".join(old[:first]), "".join(new[:first])
    middle = old[first : len(old) - last], new[first : len(new) - last]
    if len(middle[0]) + len(middle[1]) > _MOST_WORDS:
        yield False, "".join(middle[0]), "".join(middle[1])
    elif middle[0] or middle[1]:
        found = SequenceMatcher(None, *middle, autojunk=False).get_opcodes()
        for kind, old_from, old_to, new_from, new_to in found:
            was, now = middle[0][old_from:old_to], middle[1][new_from:new_to]
            yield kind == "equal", "".join(was), "".join(now)
    if last:
        yield True, "".join(old[len(old) - last :]), "".join(new[len(new) - last :])


def _shared(one: list[str], other: list[str]) -> int:
    """How many words both begin with."""
    same = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        same += 1
    return same


def _changed(sign: str, text: str, style: str) -> tuple[str, str]:
    marked = f"[-{text}-]" if sign == "-" else f"{{+{text}+}}"
    return marked, f"bold reverse {style}"


def _breaks_shown(text: str) -> str:
    """A line break that differs is seen, and is one."""
    return "\n".join(visible(each) for each in re.split(r"(?<=\n)", text))


def _trimmed(text: str, first: bool, last: bool) -> str:
    """A stretch that is the same, without what lies far from a difference."""
    head, tail = ("" if first else text[:_AROUND]), ("" if last else text[-_AROUND:])
    if len(text) <= len(head) + len(tail) + 5 or (first and last):
        return text
    return f"{head} ... {tail}".strip() if first or last else f"{head} ... {tail}"


def _short(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= 400 else shown[:400] + " ..."
