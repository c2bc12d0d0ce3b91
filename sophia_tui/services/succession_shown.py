"""The way off a model as people see it: each step with what was done and what goes on with it."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sophia_tui.domain.successions import Stage, Succession
from sophia_tui.i18n import _, ngettext
from sophia_tui.services.succession_views import STAGES, ComparisonView, StageView, SuccessionView
from sophia_tui.textsafe import visible


def shown(found: Succession, notes: Sequence[str] = ()) -> SuccessionView:
    facts = {each: found.of(each).get("facts", {}) for each in Stage}
    comparison = facts[Stage.COMPARE].get("comparison")
    waiting = found.next
    return SuccessionView(
        id=found.id,
        model=visible(found.model_id),
        new_model=found.new_model,
        state=found.state,
        at_step=waiting.value if waiting else "",
        base=facts[Stage.TRAIN].get("base") or found.options.get("base"),
        dataset=facts[Stage.DATASET].get("dataset"),
        golden=facts[Stage.GOLDEN].get("golden"),
        options=dict(found.options),
        steps=[_step(found, each) for each in Stage],
        comparison=ComparisonView(**comparison) if comparison else None,
        notes=list(notes),
        next=next_command(found),
        created_by=found.created_by,
        created_at=found.created_at,
    )


def next_command(found: Succession) -> str:
    """What a person types now; empty where all is done."""
    stage = found.next
    return _command(found, stage) if stage else ""


def _command(found: Succession, stage: Stage) -> str:
    step = found.of(stage)
    model = shlex.quote(found.model_id)
    if step.get("state") == "running":
        return f"sophia jobs watch {step['job']}"
    if stage is Stage.PROMOTE:
        name = shlex.quote(found.new_model or "MODEL")
        return f"sophia models succeed {model} --promote {name} --yes"
    if step.get("state") == "failed":
        return f"sophia models succeed {model} --step {stage.value}"
    return f"sophia models succeed {model}"


def _step(found: Succession, stage: Stage) -> StageView:
    step = found.of(stage)
    state = str(step.get("state") or "waiting")
    return StageView(
        step=stage.value,
        title=_(STAGES[stage.value]),
        state=state,
        told=_told(stage, state, step.get("facts", {})),
        job=step.get("job"),
        at=datetime.fromisoformat(step["at"]) if step.get("at") else None,
        by=str(step.get("by") or ""),
        command=_command(found, stage) if stage is found.next else "",
    )


def _told(stage: Stage, state: str, facts: Mapping[str, Any]) -> str:
    """What was done, in a sentence, from its facts."""
    if state == "waiting":
        return ""
    if state == "failed":
        return " ".join(str(facts[name]) for name in ("code", "why") if facts.get(name))
    return {
        Stage.GOLDEN: _golden,
        Stage.DATASET: _dataset,
        Stage.TRAIN: _train,
        Stage.COMPARE: _compare,
        Stage.PROMOTE: _promote,
    }[stage](facts)


def _golden(facts: Mapping[str, Any]) -> str:
    kept = facts.get("kept") or 0
    own, parts = facts["answers"] - kept, []
    if own:
        told = ngettext(
            "{count} answer of the old model at {address}.",
            "{count} answers of the old model at {address}.",
            own,
        )
        parts.append(told.format(count=own, address=facts["address"]))
        if facts.get("usd") is not None:
            parts.append(_("Cost: {usd:.4f} USD.").format(usd=facts["usd"]))
    if kept:
        told = _("{count} answers that production kept, not the old model's own now: {why}")
        parts.append(told.format(count=kept, why=visible(str(facts["cached"]))))
    return " ".join(parts)


def _dataset(facts: Mapping[str, Any]) -> str:
    return _(
        "{dataset}: {rows} rows to train on, {held_out} golden ones held out, {left_out} left out "
        "since they ask the same."
    ).format(**facts)


def _train(facts: Mapping[str, Any]) -> str:
    if facts.get("model"):
        return _("{model} was trained from {base}.").format(
            model=facts["model"], base=visible(str(facts["base"]))
        )
    return _("Training from {base} on {dataset}.").format(
        base=visible(str(facts["base"])), dataset=facts["dataset"]
    )


def _compare(facts: Mapping[str, Any]) -> str:
    found = facts.get("comparison")
    if not found:
        return _("{model} answers the golden prompts.").format(model=facts.get("model"))
    parts = [
        ngettext("{count} golden prompt", "{count} golden prompts", found["prompts"]).format(
            count=found["prompts"]
        )
    ]
    for name, word in (("chrf", "chrF"), ("similarity", _("similarity"))):
        if found.get(name) is not None:
            base = found.get(f"{name}_base")
            parts.append(
                f"{word} {found[name]:.2f}" + (f" ({base:.2f})" if base is not None else "")
            )
    return ", ".join(parts) + "; " + _("in brackets: the base before training")


def _promote(facts: Mapping[str, Any]) -> str:
    return _("{model} is in production: {promotion}.").format(**facts)
