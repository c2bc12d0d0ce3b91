"""When an answer counts as the reference's: ties, other tokens, texts, half characters."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from finetune.parity import engine_key, judged_precision
from finetune.parity_bounds import BOUNDS, OTHER, bound_for
from finetune.parity_compare import Forced, Reference, Tally
from finetune.parity_documents import ParityBound, ParityResult, ParityTarget
from finetune.parity_http import Client
from finetune.parity_served import Served

WORDS = {1: "Ana", 2: " lives", 3: " in", 4: " Recife", 5: "", 6: "\ufffd"}
BOUND = ParityBound(mean=0.1, tie=0.5, equal=1.0)


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[each] for each in tokens)


def reference(answer: tuple[int, ...] = (1, 2, 3, 4, 5), gap: float = 2.0) -> Reference:
    """An answer whose first choices are all as far ahead of the second as `gap` says."""
    size = len(answer)
    forced = Forced((-0.2,) * size, answer, (gap,) * size)
    return Reference(
        "p", "Where?", ({"role": "user", "content": "Where?"},), 8, "", (9,), answer, forced
    )


def judged(tally: Tally) -> ParityResult:
    return tally.judged(
        ParityResult(
            name="x",
            kind="merged",
            precision="float32",
            engine="e",
            bound=tally.bound,
            log_probabilities=True,
        )
    )


def test_another_token_at_a_tie_is_none_and_elsewhere_it_is() -> None:
    for gap, passed in ((0.4, True), (0.6, False)):
        tally = Tally(BOUND, decode)
        tally.along(reference(gap=gap), [-0.2] * 5, [1, 2, 4, 4, 5])
        found = judged(tally)
        assert (found.passed, found.ties, found.equal) == (passed, int(passed), int(passed))
        if not passed:
            assert found.diverging is not None
            assert (found.diverging.place, found.diverging.answer) == (3, "Ana lives Recife")
            assert [each.code for each in found.reasons] == ["greedy"]


@pytest.mark.parametrize("off", [0.11, -0.11, math.nan])
def test_log_probabilities_beyond_the_bound_fail(off: float) -> None:
    tally = Tally(BOUND, decode)
    tally.along(reference(), [-0.2 + off] * 5, [1, 2, 3, 4, 5])
    found = judged(tally)
    assert not found.passed
    assert [each.code for each in found.reasons] == ["difference"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Ana lives in Recife", None),
        (" Ana lives in Recife\n", None),
        ("Ana lives in Natal", 4),
        ("Ana lives", 3),
        ("Ana lives in Recife, Brazil", 5),
        ("", 1),
    ],
)
def test_a_text_is_held_against_the_tokens(text: str, place: int | None) -> None:
    tally = Tally(BOUND, decode)
    tally.text(reference(), text)
    found = judged(tally)
    assert found.passed is (place is None)
    assert (found.diverging and found.diverging.place) == place
    assert found.mean_difference is None


def test_half_a_character_that_an_engine_leaves_out_is_no_other_answer() -> None:
    asked = reference((1, 6, 5))
    for text in ("Ana", "Ana\ufffd"):
        tally = Tally(BOUND, decode)
        tally.text(asked, text)
        assert judged(tally).passed


def test_another_way_within_a_character_is_judged_by_its_nearest_tie() -> None:
    size = 4
    for gap, passed in ((0.4, True), (0.6, False)):
        forced = Forced((-0.2,) * size, (1, 6, 4, 5), (2.0, gap, 2.0, 2.0))
        asked = dataclasses.replace(reference((1, 6, 4, 5)), forced=forced)
        ending = dataclasses.replace(
            reference((1, 6, 5)), forced=Forced((-0.2,) * 3, (1, 6, 5), (2.0, gap, 2.0))
        )
        for each in (asked, ending):
            tally = Tally(BOUND, decode)
            tally.text(each, "Ana lives")
            assert judged(tally).passed is passed


def test_figures_that_an_engine_leaves_out_within_a_character_shift_none() -> None:
    asked = reference((1, 6, 4, 5))
    tally = Tally(BOUND, decode)
    content = [
        {"id": 1, "token": "Ana", "logprob": -0.2},
        {"id": 4, "token": "x", "logprob": -0.25},
    ]
    served = Served(Client("http://127.0.0.1:1/v1", 1), "x", frozenset({5}))
    values, tops = served._along(asked, content, False, tally)
    assert (values, tops) == ([-0.2, None, -0.25], [1, 6, 4])


def test_nothing_asked_is_nothing_passed() -> None:
    assert not judged(Tally(BOUND, decode)).passed


def test_a_precision_that_nobody_measured_gets_the_widest_bound() -> None:
    assert bound_for("q3_k_s", {}) == BOUNDS[OTHER]
    own = ParityBound(mean=9, tie=9, equal=0.1)
    assert bound_for("q3_k_s", {"q3_k_s": own}) == own
    assert max(BOUNDS.values(), key=lambda each: each.mean) == BOUNDS[OTHER]


def test_a_served_model_is_judged_by_the_coarsest_of_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "engine.json").write_text('{"key": "k"}')

    def target(engine_name: str) -> ParityTarget:
        return ParityTarget(
            name="x",
            kind="served",
            path=str(tmp_path),
            engine=engine_name,
            engine_folder=str(engine),
        )

    assert judged_precision(target("transformers")) == "bfloat16"
    for told, judged_as in (("q4_0", "q4_0"), ("f32", "bfloat16")):
        (engine / "served.json").write_text(json.dumps({"precision": told}))
        assert judged_precision(target("llamacpp")) == judged_as
    assert engine_key(target("llamacpp")) == "k"
    (tmp_path / "config.json").write_text('{"dtype": "float32"}')
    (engine / "served.json").write_text('{"precision": "f32"}')
    assert judged_precision(target("llamacpp")) == "float16"  # its cache
    made = target("transformers").model_copy(update={"kind": "exported", "made_of": "bfloat16"})
    assert judged_precision(made) == "bfloat16"  # what was rounded before stays so
