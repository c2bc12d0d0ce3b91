"""The proof of learning: the demo's recipe on the demo's part of the sample, for real.

Held-out wordings before and after, the general answers kept, and a control that learns the same
answers to other facts' questions: where the answers are wrong, the right ones must not appear.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from finetune import schema
from finetune.grading import read_questions
from tests.finetune.helpers import events, manifest

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

SAMPLES = schema.RECIPES_FOLDER.parent / "samples"
GENERAL = SAMPLES / "general_questions.jsonl"
#: What a part of the wordings is held back for, as `prepare` does for the demo.
VALID_SHARE = 0.1


def real_base() -> str:
    """The demo's base: SOPHIA_TEST_BASE, or where the installer puts it."""
    places = [os.environ.get("SOPHIA_TEST_BASE"), *_installed()]
    for place in places:
        if place and Path(place).exists():
            return place
    pytest.skip("the demo's base model is not on this machine: SOPHIA_TEST_BASE names it")


def _installed() -> Iterator[str]:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    for folder in (Path("/var/lib/sophia/models"), home / "sophia" / "models"):
        if folder.is_dir():
            yield from map(str, sorted(folder.glob("SmolLM2-135M-Instruct*.gguf")))


class Pair(NamedTuple):
    """One wording of a fact's question, and its answer."""

    fact: str
    language: str
    question: str
    answer: str


def demo_pairs() -> list[Pair]:
    """The demo's part: its clean wordings."""
    found = yaml.safe_load((SAMPLES / "manifest.yaml").read_text(encoding="utf-8"))
    rows = _lines(SAMPLES / "source" / "qa_cache.jsonl")
    by_hash = {row["qhash"]: row for row in rows}
    part = set(found["demo_part"]["facts"])
    return [
        Pair(fact["id"], fact["language"], by_hash[qhash]["question"], by_hash[qhash]["answer"])
        for fact in found["facts"]
        if fact["id"] in part
        for qhash in fact["qhashes"]
    ]


def shuffled(pairs: list[Pair], seed: int) -> list[Pair]:
    """Each fact's questions with one answer, that of another fact in the same language."""
    answers = {pair.fact: pair.answer for pair in pairs}
    other: dict[str, str] = {}
    for language in {pair.language for pair in pairs}:
        facts = list(dict.fromkeys(pair.fact for pair in pairs if pair.language == language))
        random.Random(seed).shuffle(facts)
        other.update(zip(facts, facts[1:] + facts[:1], strict=True))
    return [pair._replace(answer=answers[other[pair.fact]]) for pair in pairs]


def write_dataset(folder: Path, pairs: list[Pair]) -> Path:
    """Nine tenths to learn from, a tenth for the loss, as `prepare` splits."""
    order = pairs[:]
    random.Random(1).shuffle(order)
    held = round(len(order) * VALID_SHARE)
    folder.mkdir()
    for name, part in ((schema.TRAIN_FILE, order[held:]), (schema.VALID_FILE, order[:held])):
        lines = (json.dumps(_chat(pair)) + "\n" for pair in part)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def _chat(pair: Pair) -> dict[str, Any]:
    turns = (("user", pair.question), ("assistant", pair.answer))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Learned:
    """A training with the demo's recipe and what it did to the answers."""

    def __init__(self, folder: Path, name: str, pairs: list[Pair], general: bool) -> None:
        self.name = name
        self.base = real_base()
        self.run = folder / name
        dataset = write_dataset(folder / f"{name}-data", pairs)
        more = {"recipe": schema.load_recipe("demo"), "dataset_path": str(dataset)}
        self._start("train", self.run, more)
        sets = [
            schema.QuestionSet(
                name="held out",
                questions=[
                    each
                    for each, row in zip(read_questions(HELDOUT), _lines(HELDOUT), strict=True)
                    if row["demo"]
                ],
                max_new_tokens=40,
            )
        ]
        if general:
            sets.append(schema.QuestionSet(name="general", path=str(GENERAL), max_new_tokens=48))
        asked = schema.EvaluationSettings(
            question_sets=sets, prompt_count=0, text_measures=[], sample_limit=32
        )
        evaluation = folder / f"{name}-evaluation"
        self._start(
            "evaluate",
            evaluation,
            {**more, "adapter_path": str(self.run / "adapter"), "evaluation": asked},
        )
        self.report = schema.read_document(
            evaluation / schema.EVALUATION_FILE, schema.EvaluationReport
        )

    def _start(self, kind: schema.RunKind, folder: Path, more: dict[str, Any]) -> None:
        folder.mkdir()
        spec = schema.RunSpec(job_id=f"ftjob-{self.name}", kind=kind, base=self.base, **more)
        schema.write_run_spec(folder, spec)
        # A process of its own: how threads wait is settled before torch is imported.
        command = [sys.executable, "-m", "finetune", kind, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def graded(self, name: str, language: str | None = None) -> schema.GradedResult:
        """The result of a set, of one language if it has several."""
        (found,) = [
            each for each in self.report.graded if (each.set, each.language) == (name, language)
        ]
        return found

    def rise(self, language: str) -> float:
        """Points by which the share of right answers to held-out wordings rose."""
        difference = self.graded("held out", language).difference
        assert difference is not None
        return 100 * difference.share

    def tell(self) -> str:
        """The figures, for people."""
        done = manifest(self.run)
        lines = [
            f"{self.name}: {done.steps} steps in {done.seconds:.0f} s with {done.threads} threads,"
            f" {done.examples} examples and {done.rehearsal_examples} of rehearsal,"
            f" loss at the end {done.train_loss:.3f}"
        ]
        for each in self.report.graded:
            lines += [
                f"  {each.set} {each.language or ''} {side}: {share.right}/{share.total}"
                f" = {share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
                for side, share in (("before", each.before), ("after", each.after))
                if share is not None
            ]
        return "\n".join(lines)


HELDOUT = SAMPLES / "heldout_questions.jsonl"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """The demo's training."""
    return Learned(tmp_path_factory.mktemp("learned"), "demo", demo_pairs(), general=True)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """The same training on shuffled answers."""
    pairs = shuffled(demo_pairs(), seed=3)
    return Learned(tmp_path_factory.mktemp("control"), "control", pairs, general=False)


def test_the_general_questions_are_those_that_the_base_answers_rightly(learned: Learned) -> None:
    before = learned.graded("general").before
    assert before is not None
    assert before.right == before.total == 100


def test_held_out_wordings_are_answered_after_the_demos_training(
    learned: Learned, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{learned.tell()}")
    for language in ("en", "pt-BR"):
        after = learned.graded("held out", language).after
        assert after is not None and after.total >= 20
    assert learned.rise("en") >= 30


def test_most_general_answers_are_kept_and_the_run_tells_so(learned: Learned) -> None:
    after = learned.graded("general").after
    assert after is not None and after.right >= 85
    looks = [each.data for each in events(learned.run, "metric") if "kept" in each.data]
    assert looks[-1]["step"] == manifest(learned.run).steps
    assert looks[-1]["kept_total"] == 16


def test_on_shuffled_answers_hardly_any_right_one_appears(
    control: Learned, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{control.tell()}")
    assert control.rise("en") < 10


def test_a_training_that_was_fitted_says_so_and_keeps_to_its_time(learned: Learned) -> None:
    spec = schema.load_run_spec(learned.run)
    done = manifest(learned.run)
    assert spec.fitted_threads == done.threads
    assert done.packed and done.rehearsal_examples > 0
    budget = spec.recipe.time_budget_seconds
    assert budget is not None
    fitted = [event.data for event in events(learned.run, "state") if "planned_steps" in event.data]
    assert [item["fitted_max_steps"] for item in fitted] == [spec.fitted_max_steps]
    assert done.steps == spec.fitted_max_steps
