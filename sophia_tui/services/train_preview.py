"""The mask preview: what a training would learn of each example, token by token, and what not.

The weights' program looks (a short process, outside of the queue); its totals are kept by data set,
base, prompt form and sequence length, so that a start can refuse without a look of its own.
"""

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sophia_tui.domain.context import Context, Progress
from sophia_tui.errors import DataError, OutsideError, UnavailableError, UsageError
from sophia_tui.files import usable_folder, write_whole
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import Paths
from sophia_tui.providers.short_run import Ended, ShortRuns
from sophia_tui.services.plan_views import (
    PreviewItem,
    PreviewLines,
    PreviewPart,
    SegmentView,
    TrainPreview,
)
from sophia_tui.services.train import LocalOrder
from sophia_tui.textsafe import visible, visible_lines

if TYPE_CHECKING:
    from finetune.schema import PreviewReport, PreviewSettings, Recipe

#: The longest that a person waits for a preview.
PREVIEW_SECONDS = 300.0
#: What stands around text that is trained on, and how such a sign in the text itself is shown.
MARKS = ("⟦", "⟧")
ASCII_MARKS = ("[[", "]]")
#: Why a line teaches nothing, or less than it holds.
REASONS = {
    "no_answer_token": N_("no token to learn"),
    "truncated": N_("cut at the sequence length"),
    "unreadable": N_("unreadable"),
    "template_refuses": N_("refused by the chat template"),
    "other_form": N_("of another form"),
}


class Previews:
    """Asks the weights' program for previews, and keeps their totals."""

    def __init__(self, paths: Paths, runs: ShortRuns) -> None:
        self._folder = paths.previews
        self._runs = runs

    def kept(self, order: LocalOrder) -> "PreviewReport | None":
        """The totals of an earlier look at the same; None where there was none."""
        from finetune.schema import ContractError, PreviewReport, read_document

        try:
            return read_document(self._file(order), PreviewReport)
        except ContractError:
            return None

    async def totals(self, context: Context, order: LocalOrder) -> "PreviewReport":
        """The totals, by a look of its own where there is none yet. Raises as `look`."""
        from finetune.schema import PreviewSettings

        found = self.kept(order)
        if found is not None:
            return found
        return await self.look(context, order, PreviewSettings(count=0))

    async def look(
        self, context: Context, order: LocalOrder, wanted: "PreviewSettings"
    ) -> "PreviewReport":
        """A look at the chosen examples. Raises DataError J572, UnavailableError J571, J573 (the
        program did not do it), CancelledError."""
        from finetune.schema import (
            PREVIEW_FILE,
            ContractError,
            PreviewReport,
            RunSpec,
            read_document,
            write_run_spec,
        )

        usable_folder(self._folder)
        folder = Path(tempfile.mkdtemp(prefix=".look-", dir=self._folder))
        try:
            spec = RunSpec(
                job_id="preview",
                kind="preview",
                base=order.base,
                dataset_path=order.version.folder,
                dataset_hash=order.version.hash,
                recipe=order.recipe,
                preview=wanted,
            )
            write_run_spec(folder, spec)
            context.progress(Progress(_("looking at what is trained"), 0))
            ended = await self._runs.preview(folder, context.cancel.check, PREVIEW_SECONDS)
            try:
                report = read_document(folder / PREVIEW_FILE, PreviewReport)
            except ContractError as problem:
                raise _not_looked(ended, str(problem)) from problem
            if ended.code:
                raise _not_looked(ended, "")
            kept = report.model_copy(update={"examples": []})
            write_whole(self._file(order), kept.model_dump_json().encode() + b"\n")
            return report
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _file(self, order: LocalOrder) -> Path:
        recipe = order.recipe
        known = [
            order.version.hash,
            order.base,
            _stamp(order.base),
            recipe.method,
            recipe.prompt_form,
            recipe.system_message,
            recipe.sequence_length,
            recipe.rows_without_answer,
        ]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:24]}.json"


def _stamp(base: str) -> list[int]:
    """Tells a base apart from another one that took its place."""
    path = Path(base).expanduser()
    for each in (path / "config.json", path / "tokenizer.json", path):
        if each.is_file():
            about = each.stat()
            return [about.st_size, about.st_mtime_ns]
    return []


def _not_looked(ended: Ended, more: str) -> DataError | UnavailableError:
    """The program's own words: code and what, why, remedy, a line each."""
    lines = [visible(each) for each in ended.complaint.splitlines() if each.strip()]
    what = _("The preview could not be made.")
    why = " ".join(lines[:2]) or visible(more)
    remedy = lines[2] if len(lines) > 2 else _("Look at the base and at the data set.")
    if ended.code == 5 or not lines:
        return OutsideError("J573", what, why, remedy)
    return DataError("J572", what, why, remedy)


def chosen_lines(
    part: Literal["train", "valid"], offset: int, limit: int, lines: Sequence[int]
) -> "PreviewSettings":
    """What the program is asked to show. Raises UsageError J574 for lines of valid.jsonl."""
    from finetune.schema import PreviewSettings

    if part == "valid":
        if lines:
            raise UsageError(
                "J574",
                _("Single lines can be shown of the training part alone."),
                remedy=_("Leave --lines out, or take --part train."),
            )
        return PreviewSettings(count=0, valid_count=min(1000, offset + limit))
    wanted = list(lines) or list(range(offset + 1, offset + limit + 1))
    return PreviewSettings(count=0, lines=wanted)


def preview_view(
    order: LocalOrder,
    report: "PreviewReport",
    part: Literal["train", "valid"],
    offset: int,
    limit: int,
    ascii_only: bool,
) -> TrainPreview:
    """The report for people and programs; of valid.jsonl the examples behind `offset`."""
    file = f"{part}.jsonl"
    shown = [each for each in report.examples if each.file == file]
    if part == "valid":
        shown = shown[offset : offset + limit]
    marks = ASCII_MARKS if ascii_only else MARKS
    return TrainPreview(
        dataset=order.version.id,
        base=order.base,
        prompt_form=report.prompt_form,
        template=report.template_source,
        sequence_length=report.sequence_length,
        marks=" ".join(marks),
        parts=[
            PreviewPart(
                file=each.file,
                lines=each.lines,
                examples=each.examples,
                tokens=each.tokens,
                trained_tokens=each.trained_tokens,
                longest=each.lengths.longest if each.lengths else None,
            )
            for each in report.parts
        ],
        listed=[
            PreviewLines(
                file=each.file,
                reason=_(REASONS.get(listed.reason, listed.reason)),
                count=listed.count,
                lines=listed.lines,
            )
            for each in report.parts
            for listed in each.listed
        ],
        refused=" ".join(refusal_of(report, order.recipe)) or None,
        part=part,
        offset=offset,
        items=[_item(each, marks) for each in shown],
    )


def _item(example: Any, marks: tuple[str, str]) -> PreviewItem:
    segments = [SegmentView(**each.model_dump()) for each in example.segments]
    rejected = None
    text = marked_text(segments, marks)
    if example.rejected is not None:
        rejected = [SegmentView(**each.model_dump()) for each in example.rejected]
        text += "\n" + _("Rejected:") + "\n" + marked_text(rejected, marks)
    if example.cut_tokens:
        text += "\n" + _("(cut here: {count} tokens more)").format(count=example.cut_tokens)
    problem = _(REASONS.get(example.problem, example.problem)) if example.problem else None
    if example.why:
        problem = f"{problem}: {visible(example.why)}"
    return PreviewItem(
        line=example.line,
        form=example.form,
        tokens=example.tokens,
        trained_tokens=example.trained_tokens,
        cut_tokens=example.cut_tokens,
        problem=problem,
        text=text,
        segments=segments,
        rejected=rejected,
    )


def marked_text(segments: Sequence[SegmentView], marks: tuple[str, str]) -> str:
    """The example with marks around what is trained; a mark in its own text stands behind a
    backslash, and what a terminal could act on is shown."""
    parts = []
    for each in segments:
        text = each.text
        for mark in marks:
            text = text.replace(mark, "\\" + mark)
        text = visible_lines(text)
        parts.append(f"{marks[0]}{text}{marks[1]}" if each.trained else text)
    return "".join(parts)


def refusal_of(report: "PreviewReport", recipe: "Recipe") -> list[str]:
    """Why a training would be refused for its data, in sentences; none where it would begin."""
    told = []
    part = report.parts[0]
    for listed in part.listed:
        if listed.reason != "no_answer_token" or recipe.rows_without_answer == "leave_out":
            continue
        told.append(
            ngettext(
                "{count} line of {file} has no token to learn: {lines}.",
                "{count} lines of {file} have no token to learn: {lines}.",
                listed.count,
            ).format(
                count=number(listed.count),
                file=part.file,
                lines=some_lines(listed.lines, listed.count),
            )
        )
    if not told and not part.examples:
        told.append(_("There is nothing to learn in {file}.").format(file=part.file))
    if not told and report.refused:
        told += [report.refused[key] for key in ("what", "why") if report.refused.get(key)]
    return [visible(each) for each in told]


def some_lines(lines: Sequence[int], count: int, most: int = 20) -> str:
    """Line numbers for a sentence: 3, 8, 9 … (12 more)."""
    text = ", ".join(str(each) for each in lines[:most])
    more = count - min(most, len(lines))
    return text + (" " + _("and {count} more").format(count=more) if more > 0 else "")
