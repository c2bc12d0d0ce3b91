"""Greedy answers to prompts, by the base and by the base with an adapter in one process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.bases import Base
from finetune.failures import Unavailable, WorkFailure
from finetune.runner import RunContext
from finetune.templates import Template, TemplateRefuses, render

log = logging.getLogger(__name__)


def with_adapter(context: RunContext, base: Base) -> Any:
    """The base with run.yaml's adapter on it, or the base as it is where none is named."""
    if context.spec.adapter_path is None:
        return base.model
    from peft import PeftModel

    folder = Path(context.spec.adapter_path).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise Unavailable(
            304,
            "The adapter is not there.",
            f"{folder} holds no adapter_config.json.",
            "Correct adapter_path in run.yaml: the adapter/ folder of a training that succeeded.",
        )
    try:
        model = PeftModel.from_pretrained(base.model, str(folder), is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        raise WorkFailure(
            303,
            "The adapter does not fit the base.",
            f"{type(error).__name__} while loading {folder}.",
            "Use the base that the adapter was trained on; its manifest.json names it.",
        ) from error
    model.eval()
    return model


def warn_if_foreign(context: RunContext, base: Base, template: Template) -> None:
    """Warn where the adapter's own run, if it lies beside it, had another base or template."""
    if context.spec.adapter_path is None:
        return
    path = Path(context.spec.adapter_path).expanduser().parent / schema.MANIFEST_FILE
    if not path.is_file():
        return
    try:
        trained = schema.read_document(path, schema.RunManifest)
    except schema.ContractError as error:  # another program's file of that name
        log.info("no word on the adapter's training: %s", error)
        return
    for what, here, there in (
        ("base", base.fingerprint, trained.base_fingerprint),
        ("template", template.fingerprint, trained.template_fingerprint),
    ):
        if here != there:
            context.journal.warning(
                f"the adapter was trained with another {what} than this run uses",
                reason=f"other_{what}",
                trained_with=there,
                used=here,
            )


def without_adapter(model: Any) -> AbstractContextManager[Any]:
    """A context in which the model answers as the bare base."""
    if hasattr(model, "disable_adapter"):
        context: AbstractContextManager[Any] = model.disable_adapter()
        return context
    return nullcontext()


def answer(context: RunContext, base: Base, model: Any, prompt: str) -> str:
    """The greedy answer to one prompt as a user's first turn."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Asked(StoppingCriteria):  # type: ignore[misc]
        """Ends the generation when the run is to end; asked at every token."""

        def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
            stop = context.ears.requested() is not None
            return torch.full((input_ids.shape[0],), stop, device=input_ids.device)

    tokenizer = base.tokenizer
    try:
        text = render(tokenizer, [{"role": "user", "content": prompt}], prompt=True)
    except TemplateRefuses as error:
        raise WorkFailure(
            303,
            "The base's template cannot render a question.",
            str(error),
            "Set prompt_form: plain in the recipe.",
        ) from error
    encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(base.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=context.spec.evaluation.max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end_tokens(base),
            stopping_criteria=StoppingCriteriaList([Asked()]),
        )
    context.ears.check()
    new = output[0, encoded["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def end_tokens(base: Base) -> list[int]:
    """Token ids that end an answer: the base's own and the tokenizer's."""
    named = getattr(base.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [] if named is None else [named])
    return sorted(ends | {int(base.tokenizer.eos_token_id)})


def answers(
    context: RunContext, base: Base, model: Any, prompts: list[str]
) -> Iterator[schema.Answer]:
    """Each prompt answered before and, with an adapter, after; an answer event for each."""
    for number, prompt in enumerate(prompts, start=1):
        context.progress("answer", number - 1, len(prompts))
        with without_adapter(model):
            before = answer(context, base, model, prompt)
        after = answer(context, base, model, prompt) if context.spec.adapter_path else None
        given = schema.Answer(prompt=prompt, before=before, after=after)
        context.journal.write(
            "answer", {"index": number, **given.model_dump(exclude={"format_version"})}
        )
        yield given
    context.progress("answer", len(prompts), len(prompts), force=True)
