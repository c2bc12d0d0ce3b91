"""The rules of the gate before production: what passes, what does not, and what is said of it."""

from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune.grading import regression_questions
from sophia_tui.domain.model_gates import DEFAULT_RULES, read_rules
from sophia_tui.domain.models import (
    CheckKind,
    Evaluation,
    Model,
    ModelCheck,
    ModelKind,
    ModelState,
)
from sophia_tui.i18n import set_language, set_zone
from sophia_tui.services.model_gate_rules import Evidence, Judgement, Measured, judge, state_reason
from sophia_tui.services.model_gate_views import ModelGateCheck

NOW = datetime(2026, 11, 25, tzinfo=UTC)
RULES = read_rules(DEFAULT_RULES)
FILES = {"adapter_model.safetensors": "ab" * 32}
RECORDS = {name: {"bytes": 9, "sha256": digest} for name, digest in FILES.items()}
ITEMS = [each.model_dump() for each in regression_questions()]


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("en")


def graded(before: int, after: int, lost: int = 0, count: int = 240) -> list[dict[str, Any]]:
    """So many right before and after; of those right before `lost` are not right any more."""
    kept = range(before - lost)
    gained = range(before, before + after - len(kept))
    return [
        {
            "set": "regression",
            **item,
            "before_right": place < before,
            "after_right": place in kept or place in gained,
        }
        for place, item in enumerate(ITEMS[:count])
    ]


def losses(nats: float, spread: float = 0.0, count: int = 40, tokens: int = 10) -> list[Any]:
    """The same example by example, but for a spread that has no mean."""
    return [
        {
            "line": line,
            "tokens": tokens,
            "before": 30.0,
            "after": nats + spread * (1 if line % 2 else -1),
        }
        for line in range(1, count + 1)
    ]


def evaluation(name: str = "ftjob-mine", days: float = 1, **more: Any) -> Evaluation:
    report = {
        "adapter_files": RECORDS,
        "held_out": {"bytes": 9, "sha256": "cd" * 32},
        "examples": 40,
        "examples_truncated": 0,
        "difference": {"loss": -0.9, "loss_low": -1.1, "loss_high": -0.7},
        "losses": losses(10.0),
        "graded_answers": graded(100, 99, 3),
        **more,
    }
    return Evaluation(name, "sophia-v2", "town@1", report, NOW - timedelta(days=days))


def model(name: str = "sophia-v2", **more: Any) -> Model:
    return Model(name, ModelKind.ADAPTER, "base", NOW, dataset="town@1", path="/nowhere", **more)


def parity(passed: bool = True, days: float = 1, **more: Any) -> ModelCheck:
    report = {"adapter_files": RECORDS, "reasons": [], **more}
    made = NOW - timedelta(days=days)
    return ModelCheck("parity-1", "sophia-v2", CheckKind.PARITY, passed, report, made)


def evidence(**more: Any) -> Evidence:
    """All is well, against the base."""
    made = evaluation()
    mine = Measured(model(), made, made, FILES)
    return replace(Evidence("sophia-v2", mine, None, parity(), NOW), **more)


def mine(made: Evaluation | None, **more: Any) -> Evidence:
    return evidence(mine=Measured(model(), made, made, FILES), **more)


def against(mine_report: dict[str, Any], other_report: dict[str, Any]) -> Evidence:
    """The model and the current one, each by what its report says otherwise."""
    made, other = evaluation(**mine_report), evaluation("ftjob-other", **other_report)
    return evidence(
        mine=Measured(model(), made, made, FILES),
        current=Measured(model("sophia-v1"), other, other, FILES),
    )


def codes(found: Judgement) -> list[str]:
    return [each.code for each in found.reasons]


def check(found: Judgement, name: str) -> ModelGateCheck:
    return next(each for each in found.checks if each.name == name)


def test_what_keeps_all_rules_passes_and_gives_its_figures() -> None:
    found = judge(evidence(), RULES)
    assert (codes(found), found.wants) == ([], [])
    assert [each.state for each in found.checks] == ["ok", "ok", "ok"]
    loss, general = check(found, "loss"), check(found, "lost_base")
    assert (loss.difference, loss.high, loss.count, loss.other) == (-0.9, -0.7, 40, "base")
    assert (general.count, general.figures["right"], general.figures["right_other"]) == (
        240,
        99,
        100,
    )
    assert (general.figures["lost"], general.figures["gained"]) == (3, 2)
    assert found.regression["languages"]["en"]["asked"] == 120
    assert (found.regression["version"], found.regression["asked"]) == (1, 240)


def test_a_better_loss_whose_interval_reaches_over_zero_does_not_pass() -> None:
    difference = {"loss": -0.4, "loss_low": -0.9, "loss_high": 0.1}
    found = judge(mine(evaluation(difference=difference)), RULES)
    assert codes(found) == ["M584"]
    assert "-0.400 nats a token against base (-0.900 to +0.100" in found.reasons[0].what


def test_a_tolerance_lets_a_loss_pass_that_is_a_little_worse() -> None:
    difference = {"loss": 0.01, "loss_low": -0.01, "loss_high": 0.03}
    made = mine(evaluation(difference=difference))
    assert codes(judge(made, RULES)) == ["M584"]
    assert codes(judge(made, {**RULES, "loss": 0.05})) == []


def test_the_loss_is_held_against_that_of_the_current_model_on_the_same_examples() -> None:
    better = judge(against({"losses": losses(9.0)}, {"losses": losses(10.0)}), RULES)
    assert codes(better) == []
    loss = check(better, "loss")
    assert (loss.other, loss.count) == ("sophia-v1", 40)
    assert loss.difference == pytest.approx(-0.1)
    # far better than the base, and no better than what production has
    same = judge(against({"losses": losses(10.0)}, {"losses": losses(10.0)}), RULES)
    assert codes(same) == ["M584"]
    # better in the mean, but as often worse
    unsure = judge(against({"losses": losses(9.9, 5.0)}, {"losses": losses(10.0)}), RULES)
    assert codes(unsure) == ["M584"]
    assert (check(unsure, "loss").difference or 0) < 0 < (check(unsure, "loss").high or 0)


def test_other_tokens_are_compared_by_the_answer() -> None:
    found = judge(against({"losses": losses(9.0, tokens=8)}, {"losses": losses(10.0)}), RULES)
    loss = check(found, "loss")
    assert (codes(found), loss.figures["unit"]) == ([], "answer")
    assert loss.difference == pytest.approx(-1.0)
    assert "nats an answer" in loss.told
    # where examples were cut, it would be of other texts
    cut = against({"losses": losses(9.0, tokens=8), "examples_truncated": 2}, {})
    assert codes(judge(cut, RULES)) == ["M595"]


def test_few_examples_are_not_enough() -> None:
    assert codes(judge(mine(evaluation(examples=9)), RULES)) == ["M585"]
    few = against({"losses": losses(9.0, count=9)}, {})
    assert codes(judge(few, RULES)) == ["M585"]


def test_what_was_not_measured_names_the_command_that_does_it() -> None:
    found = judge(mine(None, parity=None), RULES)
    assert codes(found) == ["M582", "M586", "M590"]
    assert found.wants == ["evaluate", "parity"]
    assert "sophia models gate sophia-v2 --run" in found.reasons[0].remedy
    assert "sophia models parity sophia-v2" in found.reasons[1].remedy
    nothing = Measured(model("sophia-v1"), None, None, FILES)
    found = judge(evidence(current=nothing), RULES)
    assert (codes(found), found.wants) == (["M583", "M594"], ["evaluate_current"])


def test_evidence_that_is_old_or_of_other_files_does_not_count() -> None:
    assert codes(judge(mine(evaluation(days=91), parity=parity(days=91)), RULES)) == [
        "M588",
        "M588",
        "M588",
    ]
    other = {"adapter_model.safetensors": {"bytes": 9, "sha256": "00" * 32}}
    found = judge(mine(evaluation(adapter_files=other), parity=parity(adapter_files=other)), RULES)
    assert codes(found) == ["M589", "M589", "M589"]
    # an evaluation that does not say of which files it was
    assert codes(judge(mine(evaluation(adapter_files={})), RULES)) == ["M589", "M589"]
    assert codes(judge(evidence(changed=("sophia-v2-merged",)), RULES)) == ["M589"]


def test_parity_must_have_passed() -> None:
    found = judge(evidence(parity=failed("merged")), RULES)
    assert codes(found) == ["M587", "M567"]
    assert "merged differs." in found.reasons[1].what
    assert "merged differs." in check(found, "parity").told


def failed(name: str, days: float = 1) -> ModelCheck:
    return parity(
        False,
        days,
        results=[{"name": name, "kind": "merged", "passed": False}, {"name": "ada"}],
        reasons=[{"code": "SOPHIA-M567", "what": f"{name} differs."}],
    )


def test_a_failed_parity_outranks_what_is_missing_and_nobody_overrides_it() -> None:
    for days in (1, 400):  # it did not ask what is served, and is old: it failed all the same
        found = judge(
            evidence(parity=failed("merged", days), served=("merged", "desk"), own=("merged",)),
            RULES,
        )
        assert codes(found) == ["M587", "M567"]
        assert not any(each.overridable for each in found.reasons)
        assert "sophia models parity sophia-v2" in found.reasons[1].remedy


def test_a_relative_that_failed_stands_against_it_and_may_be_overridden() -> None:
    found = judge(evidence(parity=failed("q4"), served=("merged",), own=("merged",)), RULES)
    assert codes(found) == ["M587", "M567"]
    assert all(each.overridable for each in found.reasons)


def test_changed_files_are_not_overridden_and_missing_ones_may_be() -> None:
    def hard(found: Judgement) -> list[str]:
        return [each.code for each in found.reasons if not each.overridable]

    assert hard(judge(evidence(parity=failed("m"), changed=("m",), own=("m",)), RULES)) == ["M589"]
    other = {"adapter_model.safetensors": {"bytes": 9, "sha256": "00" * 32}}
    found = judge(mine(evaluation(adapter_files=other), parity=parity(adapter_files=other)), RULES)
    assert hard(found) == ["M589", "M589", "M589"]
    # nothing says which files it was, or none lie there: not measured, and not changed
    assert hard(judge(mine(evaluation(adapter_files={})), RULES)) == []
    made = evaluation()
    assert hard(judge(evidence(mine=Measured(model(), made, made, {})), RULES)) == []


def test_parity_must_have_asked_what_is_served() -> None:
    found = judge(evidence(served=("desk",)), RULES)
    assert (codes(found), found.wants) == (["M586"], ["parity"])
    assert "did not ask desk." in found.reasons[0].what
    asked = parity(results=[{"name": "merged"}, {"name": "desk", "kind": "served"}])
    assert codes(judge(evidence(form="merged", served=("desk",), parity=asked), RULES)) == []
    # a file of the same name is not what is served
    found = judge(evidence(form="merged", served=("merged",), parity=asked), RULES)
    assert codes(found) == ["M586"]


def test_lost_ground_does_not_pass_and_intervals_decide() -> None:
    found = judge(mine(evaluation(graded_answers=graded(100, 80, 24))), RULES)
    assert codes(found) == ["M593"]
    told = check(found, "lost_base")
    assert (told.figures["lost"], told.figures["gained"]) == (24, 4)
    assert told.figures["p_mcnemar"] < 0.001
    # 1 % lost of 60 is no more than 5 %, but the interval can't exclude 5 %
    few = mine(evaluation(graded_answers=graded(30, 29, 3, count=60)))
    found = judge(few, RULES)
    assert (codes(found), found.wants) == (["M593"], ["evaluate"])  # more can be asked
    assert codes(judge(few, {**RULES, "lost": 0.2})) == []


def test_the_current_model_s_ground_counts_too() -> None:
    """It answers more than the base: what it gained must not be lost."""
    found = judge(
        against(
            {"losses": losses(9.0), "graded_answers": graded(100, 100)},
            {"graded_answers": graded(100, 140)},
        ),
        RULES,
    )
    assert codes(found) == ["M593"]
    assert check(found, "lost_base").state == "ok"
    assert check(found, "lost_current").figures["lost"] == 40


def test_too_few_right_ones_are_too_few_to_judge() -> None:
    found = judge(mine(evaluation(graded_answers=graded(12, 12))), RULES)
    assert codes(found) == ["M592"]
    assert "Too few to judge: base answers 12 of 240 rightly" in found.reasons[0].what
    assert found.wants == []  # all were asked
    assert codes(judge(mine(evaluation(graded_answers=graded(12, 12))), {"lost": 0.05})) == []


def test_few_items_are_said_and_more_asked_for() -> None:
    found = judge(mine(evaluation(graded_answers=graded(30, 30, count=40))), RULES)
    assert (codes(found), found.wants) == (["M591"], ["evaluate"])
    assert "--items 50" in found.reasons[0].remedy


def test_questions_of_the_same_name_that_are_not_sophia_s_count_for_nothing() -> None:
    own = [{**each, "question": f"{each['question']}?"} for each in graded(200, 200)]
    found = judge(mine(evaluation(graded_answers=own)), RULES)
    assert codes(found) == ["M591"]


def test_a_rule_that_is_left_out_is_not_applied() -> None:
    nothing = mine(None, parity=None)
    assert codes(judge(nothing, read_rules("parity"))) == ["M586"]
    assert codes(judge(nothing, read_rules("off"))) == []


@pytest.mark.parametrize(
    "text", ["loss<=0", "parity>=1", "lost<=0.1, lost<=0.2", "lost<=-1", "gain>=3", "loss", "x"]
)
def test_rules_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_rules(text)


def test_rules_are_read_by_name() -> None:
    assert read_rules("loss < -0.05,parity, days<=7") == {"loss": -0.05, "parity": 1, "days": 7}


@pytest.mark.parametrize(
    ("state", "until", "code"),
    [
        (ModelState.CANDIDATE, None, None),
        (ModelState.APPROVED, None, None),
        (ModelState.REJECTED, None, "M580"),
        (ModelState.RETIRED, None, "M580"),
        (ModelState.CONDITIONAL, NOW + timedelta(days=1), None),
        (ModelState.CONDITIONAL, NOW, "M581"),
        (ModelState.CONDITIONAL, None, "M581"),
    ],
)
def test_people_s_word_on_a_model(
    state: ModelState, until: datetime | None, code: str | None
) -> None:
    found = state_reason(model(state=state, state_until=until), NOW)
    assert (found.code if found else None) == code


def test_a_day_is_told_as_people_gave_it() -> None:
    def told() -> str:
        set_zone("America/Sao_Paulo")
        until = datetime(2026, 11, 2, 2, 59, 59, tzinfo=UTC)
        found = state_reason(model(state=ModelState.CONDITIONAL, state_until=until), NOW)
        assert found is not None
        at = datetime(2026, 11, 25, 1, 30, tzinfo=UTC)
        shown = judge(evidence(parity=replace(parity(), created_at=at)), RULES)
        return f"{found.what} {check(shown, 'parity').told}"

    words = copy_context().run(told)
    assert "until 2026-11-01, and" in words
    assert "on 2026-11-24 22:30:00-03:00." in words
