"""Greedy answers to prompts, by the base and by the base with an adapter in one process.

Prompts are answered many at a time: a small model's step costs on a processor nearly the same for
one as for thirty (measured: 135M parameters, two cores, 36 questions: 70 s one by one, 8 s at
once, the same answers). In bfloat16 it would take half of that, but 16 of the 36 answers changed.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from finetune import schema
from finetune.bases import Base
from finetune.examples import prompt_ids
from finetune.failures import Unavailable, WorkFailure
from finetune.grading import is_right
from finetune.provenance import file_records
from finetune.runner import RunContext
from finetune.templates import Template, TemplateRefuses, set_adapter_template, set_template

log = logging.getLogger(__name__)

Side = Literal["before", "after"]
#: Prompts answered at once at most, and tokens that their caches hold at most.
MOST_PROMPTS, MOST_TOKENS = 48, 8192
#: Tokens that all prompts of a batch begin with, from which on they are read once.
_WORTH_SHARING = 4


@dataclass(frozen=True)
class Prompt:
    """One question, and how far its answer goes. `number` is its place among all of a run.

    `earlier` are the messages of the chat before it, if there are any.
    """

    number: int
    text: str
    max_new_tokens: int
    sides: tuple[Side, ...] = ("before", "after")
    set: str | None = None
    id: str | None = None
    accepted: tuple[str, ...] = ()
    stop: schema.StopAt = "end"
    earlier: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer, its tokens, and the seconds from the question to its end."""

    text: str
    tokens: int
    seconds: float


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


def template_of(context: RunContext, tokenizer: Any) -> Template:
    """Give the tokenizer the template of this run: the adapter's own, whatever run.yaml says.

    An adapter without a record of its form takes run.yaml's. Raises WorkFailure for a record that
    can't be read: a form that is guessed would measure another model.
    """
    recipe = context.spec.recipe
    folder = Path(context.spec.adapter_path or "").expanduser()
    if context.spec.adapter_path is None or not (folder / schema.ADAPTER_FORM_FILE).is_file():
        return set_template(tokenizer, recipe.prompt_form, recipe.opening)
    try:
        form = schema.read_document(folder / schema.ADAPTER_FORM_FILE, schema.AdapterForm)
    except schema.ContractError as error:
        raise WorkFailure(
            213,
            "The adapter's prompt form is not known.",
            str(error),
            "Copy the adapter's folder whole from the training that made it.",
        ) from error
    if (form.prompt_form, form.system_message) != (recipe.prompt_form, recipe.opening):
        context.journal.warning(
            f"the adapter's own prompt form is used ({form.prompt_form}), not run.yaml's",
            reason="adapter_form",
            prompt_form=form.prompt_form,
        )
    return set_adapter_template(tokenizer, folder, form)


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


@dataclass
class _Row:
    """A prompt while it is answered."""

    prompt: Prompt
    place: int
    ids: list[int]
    new: list[int]

    def ended(self, tokenizer: Any) -> bool:
        """Whether this answer needs no further token."""
        if len(self.new) >= self.prompt.max_new_tokens:
            return True
        if self.prompt.stop == "end":
            return False
        text = str(tokenizer.decode(self.new, skip_special_tokens=True)).lstrip()
        if self.prompt.stop == "line":
            return "\n" in text
        # Without the last word, which may still grow into another.
        whole = (
            text[: len(text) - len(text.split()[-1])] if text and text == text.rstrip() else text
        )
        return is_right(whole, self.prompt.accepted)


def reply_to(context: RunContext, base: Base, model: Any, prompts: Sequence[Prompt]) -> list[Reply]:
    """The greedy answers to prompts as users' first turns, all at once, in the order given.

    Asks between two tokens whether the run is to end, and raises Stopped then.
    """
    tokenizer = base.tokenizer
    rows = [
        _Row(prompt, place, prompt_tokens(tokenizer, prompt), [])
        for place, prompt in enumerate(prompts)
    ]
    replies: dict[int, Reply] = {}
    started = time.monotonic()

    def end(row: _Row) -> None:
        text = str(tokenizer.decode(row.new, skip_special_tokens=True)).strip()
        if row.prompt.stop == "line":
            text = text.split("\n", 1)[0].rstrip()
        replies[row.place] = Reply(text, len(row.new), time.monotonic() - started)

    ends = frozenset(end_tokens(base))
    with torch.inference_mode():
        for living, chosen in _steps(context, base, model, rows):
            for row, token in zip(living, chosen, strict=True):
                row.new.append(token)
                if token in ends or row.ended(tokenizer):
                    end(row)
            living[:] = [row for row in living if row.place not in replies]
    return [replies[place] for place in range(len(rows))]


def greedy_tokens(
    context: RunContext, base: Base, model: Any, prompts: Sequence[Prompt]
) -> list[list[int]]:
    """The tokens of the greedy answers, the end token too, all at once, in the order given."""
    rows = [
        _Row(prompt, place, prompt_tokens(base.tokenizer, prompt), [])
        for place, prompt in enumerate(prompts)
    ]
    ends = frozenset(end_tokens(base))
    with torch.inference_mode():
        for living, chosen in _steps(context, base, model, rows):
            for row, token in zip(living, chosen, strict=True):
                row.new.append(token)
            living[:] = [
                row
                for row in living
                if row.new[-1] not in ends and len(row.new) < row.prompt.max_new_tokens
            ]
    return [row.new for row in rows]


def _steps(
    context: RunContext, base: Base, model: Any, rows: list[_Row]
) -> Iterator[tuple[list[_Row], list[int]]]:
    """Token by token: the rows still answering and the likeliest next token of each.

    The receiver takes the rows that ended out of the list; they leave the batch and its cache.
    """
    from transformers import DynamicCache

    living = list(rows)
    cache = DynamicCache(config=base.model.config)
    shared = _read_once(model, base, living, cache)
    ids, mask = _padded_left([row.ids[shared:] for row in living], base)
    mask = torch.cat([mask.new_ones(len(living), shared), mask], dim=1)
    named = inspect.signature(base.model.forward).parameters
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
    more: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in named else {}
    while True:
        context.ears.check()
        if "position_ids" in named:
            more["position_ids"] = positions
        output = model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more
        )
        chosen = output.logits[:, -1].argmax(-1)
        before = list(living)
        yield living, chosen.tolist()
        if not living:
            return
        positions = positions[:, -1:] + 1
        if len(living) < len(before):
            staying = {row.place for row in living}
            kept = torch.tensor(
                [index for index, row in enumerate(before) if row.place in staying],
                device=base.device,
            )
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            cache.batch_select_indices(kept)
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(living), 1)], dim=1)


def _read_once(model: Any, base: Base, rows: list[_Row], cache: Any) -> int:
    """Read into the cache what all prompts begin with (a template's opening); returns its tokens.

    Reading prompts is half of the work where answers are short.
    """
    if len(rows) == 1:
        return 0
    shared = 0
    for column in zip(*(row.ids[:-1] for row in rows), strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    window = getattr(base.model.config, "sliding_window", None)
    longest = max(len(row.ids) + row.prompt.max_new_tokens for row in rows)
    if shared < _WORTH_SHARING or (window and longest >= window):
        return 0
    opening = torch.tensor([rows[0].ids[:shared]], device=base.device)
    model(input_ids=opening, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(rows))
    return shared


def _padded_left(prompts: list[list[int]], base: Base) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask [prompts, longest]; all end at the same column."""
    length = max(len(each) for each in prompts)
    ids = torch.full((len(prompts), length), base.tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), length), dtype=torch.long)
    for index, each in enumerate(prompts):
        ids[index, length - len(each) :] = torch.tensor(each, dtype=torch.long)
        mask[index, length - len(each) :] = 1
    return ids.to(base.device), mask.to(base.device)


def prompt_tokens(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The tokens of a question, with what came before it and the opening of the answer."""
    messages = [*prompt.earlier, {"role": "user", "content": prompt.text}]
    try:
        return prompt_ids(tokenizer, messages)
    except TemplateRefuses as error:
        raise WorkFailure(
            303,
            "The base's template cannot render a question.",
            str(error),
            "Set prompt_form: plain in the recipe.",
        ) from error


@contextmanager
def _adapter_merged(model: Any) -> Iterator[None]:
    """The adapter inside the base's weights while it answers: a fifth less work, measured, and the
    same answers. In fewer bits than 32 the weights would be rounded twice, so there it stays apart.
    """
    merges = hasattr(model, "merge_adapter") and model.dtype == torch.float32
    if merges:
        model.merge_adapter()
    try:
        yield
    finally:
        if merges:
            model.unmerge_adapter()


def end_tokens(base: Base) -> list[int]:
    """Token ids that end an answer: the base's own and the tokenizer's."""
    named = getattr(base.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [] if named is None else [named])
    return sorted(ends | {int(base.tokenizer.eos_token_id)})


def sides_of(context: RunContext, grade: Literal["before", "after", "both"]) -> tuple[Side, ...]:
    """Who answers: without an adapter there is the base alone."""
    if context.spec.adapter_path is None or grade == "before":
        return ("before",)
    return ("after",) if grade == "after" else ("before", "after")


def plain_prompts(context: RunContext, texts: Sequence[str]) -> list[Prompt]:
    """Questions whose answers are shown and not graded, numbered from 1."""
    most, sides = context.spec.evaluation.max_new_tokens, sides_of(context, "both")
    return [Prompt(number, text, most, sides) for number, text in enumerate(texts, start=1)]


def weights_of(context: RunContext, base: Base, template: Template) -> str:
    """A fingerprint of what answers: base, template and the adapter's weights."""
    digest = hashlib.sha256(f"{base.fingerprint} {template.fingerprint}".encode())
    for record in adapter_files(context).values():
        digest.update(record.sha256.encode())
    return digest.hexdigest()[:16]


def adapter_files(context: RunContext) -> dict[str, schema.FileRecord]:
    """The adapter's weights, by the name of their file; nothing where the base answers alone."""
    if context.spec.adapter_path is None:
        return {}
    folder = Path(context.spec.adapter_path).expanduser()
    return file_records(sorted(folder.glob("adapter_model.*")))


def batches(tokenizer: Any, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """Prompts of alike length, of the same sides, as many at once as their caches may hold."""
    sized = [(len(prompt_tokens(tokenizer, each)), each) for each in prompts]
    for sides in dict.fromkeys(each.sides for each in prompts):
        batch: list[Prompt] = []
        longest = 0
        for length, prompt in sorted(
            ((length, each) for length, each in sized if each.sides == sides),
            key=lambda pair: (pair[1].max_new_tokens, pair[0]),
        ):
            most = max(longest, length + prompt.max_new_tokens)
            if batch and (len(batch) >= MOST_PROMPTS or most * (len(batch) + 1) > MOST_TOKENS):
                yield batch
                batch, most = [], length + prompt.max_new_tokens
            batch.append(prompt)
            longest = most
        if batch:
            yield batch


def answer_alone(
    context: RunContext, base: Base, model: Any, prompts: Sequence[Prompt]
) -> dict[Side, list[Reply]]:
    """Each prompt answered by itself, as a person would wait for it; no events."""
    found: dict[Side, list[Reply]] = {}
    sides = list(dict.fromkeys(side for each in prompts for side in each.sides))
    total = len(sides) * len(prompts)
    for side in sides:
        for each in prompts:
            context.progress("latency", sum(map(len, found.values())), total)
            with without_adapter(model) if side == "before" else _adapter_merged(model):
                found.setdefault(side, []).extend(reply_to(context, base, model, [each]))
    context.progress("latency", total, total, force=True)
    return found


def answers(
    context: RunContext, base: Base, model: Any, prompts: Sequence[Prompt]
) -> dict[int, schema.Answer]:
    """Each prompt answered on its sides, by number; an answer event for each.

    Answers of an attempt that was cut off stand in the events and are not asked again.
    """
    given = earlier_answers(context, prompts)
    missing = [each for each in prompts if each.number not in given]
    for batch in batches(base.tokenizer, missing):
        context.progress("answer", len(given), len(prompts))
        replies: dict[Side, list[Reply]] = {}
        if "before" in batch[0].sides:
            with without_adapter(model):
                replies["before"] = reply_to(context, base, model, batch)
        if "after" in batch[0].sides:
            with _adapter_merged(model):
                replies["after"] = reply_to(context, base, model, batch)
        for place, prompt in enumerate(batch):
            answer = _answer(prompt, {side: found[place] for side, found in replies.items()})
            context.journal.write("answer", {"index": prompt.number, **_plain(answer)})
            given[prompt.number] = answer
    context.progress("answer", len(prompts), len(prompts), force=True)
    return given


def _plain(answer: schema.Answer) -> dict[str, Any]:
    return answer.model_dump(exclude={"format_version"})


def _answer(prompt: Prompt, replies: dict[Side, Reply]) -> schema.Answer:
    return schema.Answer(
        set=prompt.set,
        id=prompt.id,
        prompt=prompt.text,
        before=replies["before"].text if "before" in replies else None,
        after=replies["after"].text if "after" in replies else None,
        tokens={side: reply.tokens for side, reply in replies.items()},
    )


def earlier_answers(context: RunContext, prompts: Sequence[Prompt]) -> dict[int, schema.Answer]:
    """Answers to these prompts in the events, of the last attempts with the same weights."""
    wanted = {(each.number, each.set, each.id, each.text) for each in prompts}
    found: dict[int, schema.Answer] = {}
    weights: object = None
    if not context.spec.resume:
        return found
    for event in schema.read_events(context.folder / schema.EVENTS_FILE).events:
        if event.kind == "state" and event.data.get("state") == "running":
            if event.data.get("weights") != weights:
                found.clear()
            weights = event.data.get("weights")
        elif event.kind == "answer":
            data = dict(event.data)
            number = data.pop("index")
            answer = schema.Answer.model_validate(data)
            if (number, answer.set, answer.id, answer.prompt) in wanted:
                found[number] = answer
    return found
