"""`evaluate`: the held-out part and chosen questions, before and after, into evaluation.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.answers import (
    Prompt,
    answers,
    plain_prompts,
    sides_of,
    warn_if_foreign,
    weights_of,
    with_adapter,
    without_adapter,
)
from finetune.bases import load_base
from finetune.examples import Example, ExampleSet, read_chats
from finetune.failures import DataFailure
from finetune.grading import is_right, questions_of, results
from finetune.provenance import file_records
from finetune.runner import RunContext
from finetune.scoring import ExampleLoss, compare, read_part, score, summarise
from finetune.speed import choose_threads
from finetune.templates import set_template
from finetune.train import dataset_folder, run_facts


def evaluate(context: RunContext) -> dict[str, Any]:
    """Evaluate as run.yaml says; returns the data of the result event."""
    spec = context.spec
    path = dataset_folder(spec) / schema.VALID_FILE
    chosen = [(each, questions_of(each)) for each in spec.evaluation.question_sets]
    context.progress("load", 0, 0, force=True)
    base = load_base(context)
    template = set_template(base.tokenizer, spec.recipe.prompt_form)
    part = read_part(context, base.tokenizer, path, limit=spec.evaluation.sample_limit)
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
    context.journal.state(
        "running",
        examples=len(part.examples),
        device=str(base.device),
        weights=weights_of(context, base, template),
        **threads,
    )
    before, after = _score_both(context, base, model, part.examples)
    shown = plain_prompts(
        context, spec.evaluation.prompts or first_questions(path, spec.evaluation.prompt_count)
    )
    graded = graded_prompts(context, chosen, len(shown))
    given = answers(context, base, model, [*shown, *(prompt for prompt, _ in graded)])
    report = _report(context, part, before, after).model_copy(
        update={
            "answers": [given[each.number] for each in shown],
            **_graded(graded, given),
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
        **report.model_dump(
            mode="json", exclude={"answers", "graded_answers", "format_version", "job_id"}
        ),
    }


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
    )


def graded_prompts(
    context: RunContext, chosen: list[tuple[schema.QuestionSet, list[schema.Question]]], start: int
) -> list[tuple[Prompt, schema.Question]]:
    """The graded questions of all sets, numbered on from `start`."""
    found: list[tuple[Prompt, schema.Question]] = []
    for asked, questions in chosen:
        for question in questions:
            prompt = Prompt(
                number=start + len(found) + 1,
                text=question.question,
                max_new_tokens=asked.max_new_tokens or context.spec.evaluation.max_new_tokens,
                sides=sides_of(context, asked.grade),
                set=asked.name,
                id=question.id,
                accepted=tuple(question.accepted),
                stop=asked.stop,
            )
            found.append((prompt, question))
    return found


def _graded(
    graded: list[tuple[Prompt, schema.Question]], given: dict[int, schema.Answer]
) -> dict[str, Any]:
    verdicts = [
        schema.GradedAnswer(
            set=prompt.set or "",
            **question.model_dump(),
            before=answer.before,
            after=answer.after,
            before_right=_verdict(answer.before, question),
            after_right=_verdict(answer.after, question),
        )
        for prompt, question in graded
        for answer in (given[prompt.number],)
    ]
    return {"graded": results(verdicts), "graded_answers": verdicts}


def _verdict(answer: str | None, question: schema.Question) -> bool | None:
    return None if answer is None else is_right(answer, question.accepted)


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
