"""`preview`: what a training would learn, token by token, into preview.json; no weights, no torch.

The examples go through the very code that a training tokenises them with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from finetune import schema
from finetune.bases import load_tokenizer
from finetune.examples import (
    LISTED_LINES,
    Encoded,
    Example,
    ExampleSet,
    Pair,
    Tokenised,
    tokenise,
)
from finetune.failures import RunFailure
from finetune.readers import dataset_folder
from finetune.rows import refusal, refuse_mixture, unusable, write_lines
from finetune.runner import RunContext
from finetune.templates import Template, set_template


def preview(context: RunContext, *, alone: bool = False) -> dict[str, Any]:
    """Preview as run.yaml says; returns the data of the result event.

    `alone`: nothing else will be done in this process, so torch need not be known to it.
    """
    spec, recipe = context.spec, context.spec.recipe
    refuse_mixture(recipe)
    folder = dataset_folder(spec)
    context.progress("load", 0, 0, force=True)
    tokenizer = load_tokenizer(context, without_torch=alone)
    template = set_template(tokenizer, recipe.prompt_form, recipe.opening)
    context.journal.state("running")
    shown: list[schema.PreviewExample] = []
    parts: list[schema.PartPreview] = []
    refused: RunFailure | None = None
    for name, first in (
        (schema.TRAIN_FILE, spec.preview.count),
        (schema.VALID_FILE, spec.preview.valid_count),
    ):
        path = folder / name
        if name == schema.VALID_FILE and not path.is_file():
            continue
        lines = frozenset(spec.preview.lines if name == schema.TRAIN_FILE else ())
        part = _Part(recipe.sequence_length)
        for each in tokenise(tokenizer, path, recipe.prompt_form, recipe.method):
            if part.lines % 64 == 0:
                context.ears.check()
                context.progress("tokenise", 0, 0, examples=part.lines, file=name)
            if part.lines < first or each.line in lines:
                shown.append(example_of(name, each, recipe.sequence_length))
            part.add(each)
        parts.append(part.preview(name, write_lines(context.folder, name, part.found)))
        judge = refusal if name == schema.TRAIN_FILE else unusable
        refused = refused or judge(recipe, name, part.found)
    report = _report(context, template, parts, shown, refused)
    schema.write_document(context.folder / schema.PREVIEW_FILE, report)
    return {
        "preview": schema.PREVIEW_FILE,
        **report.model_dump(mode="json", include={"parts", "refused", "seconds"}),
    }


def _report(
    context: RunContext,
    template: Template,
    parts: list[schema.PartPreview],
    shown: list[schema.PreviewExample],
    refused: RunFailure | None,
) -> schema.PreviewReport:
    spec, recipe = context.spec, context.spec.recipe
    return schema.PreviewReport(
        job_id=spec.job_id,
        base=spec.base,
        dataset_hash=spec.dataset_hash,
        method=recipe.method,
        prompt_form=template.prompt_form,
        template_source=template.source,
        template_fingerprint=template.fingerprint,
        system_message=template.system_message,
        sequence_length=recipe.sequence_length,
        parts=parts,
        examples=shown,
        refused=None if refused is None else refused.as_told(),
        seconds=round(context.elapsed(), 2),
    )


@dataclass
class _Part:
    """What is counted over one file."""

    sequence_length: int
    lines: int = 0
    forms: Counter[schema.LineForm] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    length_lines: list[int] = field(default_factory=list)
    found: ExampleSet = field(default_factory=ExampleSet)
    tokens: int = 0
    trained: int = 0

    def add(self, each: Tokenised) -> None:
        """Take a line in; its tokens are counted and not kept."""
        self.lines += 1
        if each.form is not None:
            self.forms[each.form] += 1
        for chat in each.chats:
            self.lengths.append(len(chat.ids))
            self.length_lines.append(each.line)
        self.found.add(each, self.sequence_length)
        learnt: list[Example | Pair] = [*self.found.examples, *self.found.pairs]
        for example in learnt:
            self.tokens += example.tokens
            self.trained += example.answer_tokens
        self.found.examples.clear()
        self.found.pairs.clear()

    def preview(self, name: str, written: dict[schema.LineReason, str]) -> schema.PartPreview:
        """The file's figures."""
        return schema.PartPreview(
            file=name,
            lines=self.lines,
            examples=self.found.usable,
            forms=dict(self.forms),
            tokens=self.tokens,
            trained_tokens=self.trained,
            lengths=self._lengths() if self.lengths else None,
            listed=[
                schema.ListedLines(
                    reason=reason,
                    count=len(lines),
                    lines=lines[:LISTED_LINES],
                    path=written[reason],
                    trained_tokens_lost=self.found.tokens_lost if reason == "truncated" else 0,
                )
                for reason, lines in self.found.by_reason().items()
                if lines
            ],
            whys=dict(self.found.whys),
        )

    def _lengths(self) -> schema.Lengths:
        ordered = sorted(self.lengths)

        def nearest(percent: int) -> int:
            """The nearest-rank percentile: a length that some example has."""
            return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

        return schema.Lengths(
            mean=round(sum(ordered) / len(ordered), 1),
            p10=nearest(10),
            p50=nearest(50),
            p90=nearest(90),
            p95=nearest(95),
            p99=nearest(99),
            longest=ordered[-1],
            longest_line=self.length_lines[self.lengths.index(ordered[-1])],
        )


def example_of(file: str, found: Tokenised, sequence_length: int) -> schema.PreviewExample:
    """A line as it would be trained on."""
    lone = ExampleSet()
    lone.add(found, sequence_length)
    reasons = {reason for reason, lines in lone.by_reason().items() if lines}
    shown = [segments_of(chat, sequence_length) for chat in found.chats]
    return schema.PreviewExample(
        file=file,
        line=found.line,
        form=found.form,
        segments=shown[0] if shown else [],
        rejected=shown[1] if len(shown) > 1 else None,
        tokens=sum(part.tokens for chat in shown for part in chat),
        trained_tokens=sum(part.tokens for chat in shown for part in chat if part.trained),
        cut_tokens=sum(max(0, len(chat.ids) - sequence_length) for chat in found.chats),
        # Without an answer weighs more than cut, of which it may come.
        problem=next(iter(reasons - {"truncated"}), "truncated" if reasons else None),
        why=found.why,
    )


def segments_of(chat: Encoded, sequence_length: int) -> list[schema.Segment]:
    """The stretches of a chat, up to where it is cut; their texts joined are the whole of it."""
    found: list[schema.Segment] = []
    begun = tokens = 0
    kept = min(len(chat.ids), sequence_length)
    for place in range(kept):
        tokens += 1
        if place + 1 == kept or chat.mask[place + 1] != chat.mask[place]:
            stop = chat.stops[place]
            text = chat.text[begun:stop].replace(chat.guard or "\0\0", "")
            found.append(schema.Segment(text=text, trained=bool(chat.mask[place]), tokens=tokens))
            begun, tokens = stop, 0
    return found
