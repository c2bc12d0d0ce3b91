"""Forgetting, noticed while it happens: general questions asked again while a model is tuned.

Only those count that the base answers rightly. It is asked once; its verdict stands in the run
folder, so that a resume does not ask it again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune import schema
from finetune.answers import Prompt, batches, reply_to, without_adapter
from finetune.bases import Base
from finetune.failures import DataFailure
from finetune.grading import is_right, questions_of
from finetune.runner import RunContext
from finetune.templates import Template

if TYPE_CHECKING:
    from finetune.training import Trainer

#: Tokens of an answer; most right ones hold what is asked within the first ten.
ANSWER_TOKENS = 24


@dataclass
class GeneralLook:
    """Asks what the base knows at each validation. The base itself is asked at the first one at the
    latest, with its adapter off: so no first step waits for it.

    The adapter stays apart from the weights meanwhile: taken in and out again it would leave them
    rounded otherwise, and a resume would not be exact.
    """

    context: RunContext
    base: Base
    template: Template
    questions: Sequence[schema.Question]
    every: int | None
    _known: list[schema.Question] | None = None

    def look(self, trainer: Trainer) -> dict[str, float]:
        """`kept` and `kept_total`: questions still answered rightly, of those asked; neither where
        the base answers none rightly."""
        known = self.known_to_base(trainer.model)
        if not known:
            return {}
        right = _rightly_answered(self.context, self.base, trainer.model, known)
        return {"kept": len(right), "kept_total": len(known)}

    def known_to_base(self, model: Any) -> list[schema.Question]:
        """The questions that the base answers rightly; it is asked at the first call alone."""
        if self._known is None:
            self._known = self._ask_base(model)
        return self._known

    def _ask_base(self, model: Any) -> list[schema.Question]:
        verdict = _verdict(self.context, self.base, model, self.template, self.questions)
        if not verdict.right:
            self.context.journal.warning(
                "the base answers none of the general questions; forgetting is not watched",
                reason="no_general_answer",
                asked=verdict.asked,
            )
        known = set(verdict.right)
        return [each for each in self.questions if each.id in known]


def forgets(recipe: schema.Recipe, seen: Mapping[str, float]) -> bool:
    """Whether a validation found less general knowledge than the recipe allows."""
    if recipe.general_floor is None or "kept" not in seen:
        return False
    return seen["kept"] / seen["kept_total"] < recipe.general_floor


def warn_of_forgetting(context: RunContext, seen: Mapping[str, float], step: int) -> None:
    """Say that too little is kept."""
    recipe = context.spec.recipe
    kept, total = int(seen["kept"]), int(seen["kept_total"])
    context.journal.warning(
        f"{kept} of {total} general questions are still answered rightly, fewer than general_floor "
        "allows",
        reason="forgetting",
        step=step,
        kept=kept,
        kept_total=total,
        general_floor=recipe.general_floor,
        general_below=recipe.general_below,
    )


def general_look(context: RunContext, base: Base, template: Template) -> GeneralLook | None:
    """The look that the recipe's general questions ask for; None where it names none.

    Raises DataFailure 250.
    """
    recipe = context.spec.recipe
    path = schema.general_path(recipe)
    if path is None:
        return None
    try:
        questions = questions_of(schema.QuestionSet(name="general", path=str(path)))
    except schema.ContractError as error:
        raise DataFailure(
            250,
            "The recipe's general questions cannot be used.",
            str(error),
            "Correct `general_questions` in the recipe, or leave it out: then a training does not "
            "tell what it forgets.",
        ) from error
    return GeneralLook(context, base, template, questions, recipe.eval_steps)


def _verdict(
    context: RunContext,
    base: Base,
    model: Any,
    template: Template,
    questions: Sequence[schema.Question],
) -> schema.GeneralVerdict:
    """The base's verdict: that of an earlier sitting where it is about the same, else a new one."""
    path = context.folder / schema.GENERAL_FILE
    about = _about(context.spec.recipe, base, template, questions)
    if path.is_file():
        found = schema.read_document(path, schema.GeneralVerdict)
        if found.about == about:
            return found
    wanted = context.spec.recipe.general_sample
    order = list(questions)
    random.Random(context.spec.recipe.seed).shuffle(order)
    right: list[str] = []
    asked = 0
    with without_adapter(model):
        while asked < len(order) and len(right) < wanted:
            context.progress("general", 0, 0, questions=asked, of=len(order))
            some = order[asked : asked + wanted - len(right)]
            right += _rightly_answered(context, base, model, some)
            asked += len(some)
    verdict = schema.GeneralVerdict(about=about, asked=asked, right=right)
    schema.write_document(path, verdict)
    return verdict


def _about(
    recipe: schema.Recipe, base: Base, template: Template, questions: Sequence[schema.Question]
) -> str:
    """A fingerprint of all that the verdict hangs on."""
    content = [
        base.fingerprint,
        template.fingerprint,
        [recipe.general_sample, recipe.seed, ANSWER_TOKENS],
        [each.model_dump(mode="json") for each in questions],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _rightly_answered(
    context: RunContext, base: Base, model: Any, questions: Sequence[schema.Question]
) -> list[str]:
    """The ids of the questions whose greedy answer is right, many asked at once."""
    prompts = [
        Prompt(
            number,
            each.question,
            ANSWER_TOKENS,
            id=each.id,
            accepted=tuple(each.accepted),
            stop="answered",
        )
        for number, each in enumerate(questions)
    ]
    was_training = model.training
    model.eval()
    right: list[str] = []
    try:
        for batch in batches(base.tokenizer, prompts):
            replies = reply_to(context, base, model, batch)
            right += [
                prompt.id or ""
                for prompt, reply in zip(batch, replies, strict=True)
                if is_right(reply.text, prompt.accepted)
            ]
    finally:
        model.train(was_training)
    return right
