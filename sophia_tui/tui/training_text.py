"""How the plan of a training, its preview and its check lists look on the console.

Nothing is told by colour alone: words and signs stand beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel
from textual.content import Content

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.plan_views import (
    CheckItem,
    CheckList,
    PreviewItem,
    TrainPlan,
    TrainPreview,
)
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part

_STATES = {
    "done": ("x", "$success"),
    "open": (" ", ""),
    "failed": ("!", "bold $error"),
    "not_available": ("-", "dim"),
    "not_needed": ("-", "dim"),
}
_STATE_WORDS = {
    "done": N_("ok"),  # in Portuguese "done" has a gender, and checks have either
    "open": N_("still open"),
    "failed": N_("failed"),
    "not_available": N_("not available"),
    "not_needed": N_("not needed"),
}


def told_otherwise(result: BaseModel, width: int) -> Content | None:
    """The text of a document that has a shape of its own here; None for all others."""
    if isinstance(result, TrainPlan):
        return Content.assemble(*_plan(result))
    if isinstance(result, TrainPreview):
        return Content.assemble(*_preview(result))
    if isinstance(result, CheckList):
        return Content.assemble(*_check_list(result))
    return None


def trial_text(result: Mapping[str, Any]) -> str:
    """What a trial of one step found, in words; empty where it found nothing yet."""
    said = []
    if _is_number(step := result.get("step_seconds")):
        said.append(_("One step took {seconds} s.").format(seconds=number(step, 1)))
    for name, text in (
        ("memory_bytes", N_("Peak memory: {size}.")),
        ("gpu_memory_bytes", N_("Peak memory of the GPU: {size}.")),
    ):
        if _is_number(size := result.get(name)):
            said.append(_(text).format(size=shown_size(size)))
    planned, whole = result.get("planned_steps"), result.get("whole_seconds")
    if _is_number(planned) and _is_number(whole):
        text = ngettext(
            "The whole training of {count} step would take about {time}.",
            "The whole training of {count} steps would take about {time}.",
            int(planned),
        )
        said.append(text.format(count=number(planned), time=words.duration(whole)))
    return " ".join(said)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plan(plan: TrainPlan) -> Iterator[Part]:
    about = [plan.dataset, plan.base, plan.recipe or plan.provider or ""]
    yield (visible("  ".join(each for each in about if each)) + "\n", "dim")
    if plan.ready is None:
        yield (_("Whether it would start can't be known now."), "bold $warning")
    else:
        verdict = _("It would start.") if plan.ready else _("It would be refused.")
        yield (verdict, "bold $success" if plan.ready else "bold $error")
    steps = ""
    if plan.steps:
        steps = "  " + ngettext("{count} step", "{count} steps", plan.steps).format(
            count=number(plan.steps)
        )
    yield f"{steps}\n"
    for each in plan.refusals:
        yield (f"! {visible(each)}\n", "$error")
    yield "\n"
    for each in plan.summary:
        yield f"{visible(each)}\n"
    if plan.changes:
        yield ("\n" + _("The nearest setting that fits:") + "\n", "bold $warning")
        for each in plan.changes:
            yield f"  {visible(each)}\n"
    if plan.command:
        yield (f"  {visible(plan.command)}\n", "$accent")
    for each in plan.warnings:
        yield (f"\n! {visible(each)}\n", "$warning")
    yield from _checks(plan.checks)


def _check_list(found: CheckList) -> Iterator[Part]:
    about = [found.job or "", found.dataset or "", found.base or ""]
    yield (visible("  ".join(each for each in about if each)) + "\n", "dim")
    yield from _checks(found.items)


def _checks(items: Sequence[CheckItem]) -> Iterator[Part]:
    for stage, heading in (("before", N_("Before the training")), ("after", N_("After it"))):
        mine = [each for each in items if each.stage == stage]
        if mine:
            yield ("\n" + _(heading) + "\n", "bold")
        for each in mine:
            sign, style = _STATES[each.state]
            word = _(_STATE_WORDS[each.state])
            yield (f"[{sign}] {visible(each.what)}: {word}\n", style)
            if each.evidence:
                yield (f"    {visible(each.evidence)}\n", "dim")


def _preview(found: TrainPreview) -> Iterator[Part]:
    yield (visible(f"{found.dataset}  {found.base}") + "\n", "dim")
    form = _("{form}, cut at {length} tokens; {marks} stand around what is trained").format(
        form=visible(found.prompt_form),
        length=number(found.sequence_length),
        marks=visible(found.marks),
    )
    yield f"{form}\n"
    for part in found.parts:
        told = ngettext(
            "{file}: {examples} example, {tokens} tokens, {trained} trained",
            "{file}: {examples} examples, {tokens} tokens, {trained} trained",
            part.examples,
        ).format(
            file=visible(part.file),
            examples=number(part.examples),
            tokens=number(part.tokens),
            trained=number(part.trained_tokens),
        )
        yield f"{told}\n"
    if found.refused:
        yield (f"! {_('It would be refused.')} {visible(found.refused)}\n", "bold $error")
    for each in found.listed:
        lines = ", ".join(str(line) for line in each.lines[:12])
        yield (
            f"! {visible(each.file)}: {number(each.count)} {visible(each.reason)}: {lines}\n",
            "$warning",
        )
    for item in found.items:
        yield from _example(item)
    if not found.items:
        yield "\n" + _("No example here.") + "\n"


def _example(item: PreviewItem) -> Iterator[Part]:
    told = _("line {line}: {tokens} tokens, {trained} trained").format(
        line=item.line, tokens=number(item.tokens), trained=number(item.trained_tokens)
    )
    yield (f"\n{told}", "bold")
    if item.problem:
        yield (f"  ! {visible(item.problem)}", "bold $warning")
    yield f"\n{visible_lines(item.text)}\n"
