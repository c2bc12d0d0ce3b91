"""Results as text for people: times, names that are numbers, nested data, titles."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from sophia_tui.cli import output
from sophia_tui.cli.output import ProgressLine, print_result, render
from sophia_tui.domain.context import Progress
from sophia_tui.i18n import money, set_language, set_zone
from sophia_tui.services import waiting
from sophia_tui.services.collect import CollectResult, ExportView
from sophia_tui.services.datasets import DatasetDetails, RejectedRecord
from sophia_tui.services.evaluation_rows import MeasureRow
from sophia_tui.services.evaluation_views import EvaluationView, ScoreView
from sophia_tui.services.finetune import FinetuneView
from sophia_tui.services.overview import NextView, OverviewView
from sophia_tui.services.settings import SettingView
from sophia_tui.services.stages import StageView
from sophia_tui.services.store import StoreView
from sophia_tui.services.train import TrainRequest
from sophia_tui.services.views import DatasetView, EventView, JobView, ModelView
from sophia_tui.tui.event_text import event_lines
from sophia_tui.tui.screens.result import result_text
from sophia_tui.validation import where_and_what
from tests.tui import stub


@pytest.mark.parametrize("plain", [False, True])
def test_a_period_is_shown_in_the_zone_that_stands_beside_it(plain: bool) -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    start = datetime(2026, 10, 22, 10, 30, tzinfo=UTC).astimezone(zone)
    result = CollectResult(
        start=start, end=start, zone=zone.key, folder="f", written=True, items=[]
    )
    for shown in (render(result, plain), result_text(result).plain):
        assert "From: 2026-10-22 07:30:00-03:00" in shown


def test_a_number_that_is_a_name_has_no_separators() -> None:
    store = StoreView(kind="embedded", where="here", running=True, pid=11354)
    record = RejectedRecord(file="a.jsonl", line=12345, code="json", reason="broken")
    for shown in (render(store, False), result_text(store).plain):
        assert "Process: 11354" in shown
    for shown in (render(record, False), result_text(record).plain):
        assert "Line: 12345" in shown


def test_a_reason_to_wait_is_a_sentence() -> None:
    why = waiting.reason(waiting.SLOT, before=1)
    queued = stub.job("ftjob-1", "queued").model_copy(update={"waiting": why})
    for shown in (render(queued, False), render(queued, True), result_text(queued).plain):
        assert "It waits for its turn. 1 job stands before it or runs now." in shown
        assert "J583" not in shown and "what:" not in shown


def test_a_long_manifest_stands_on_lines_of_its_own() -> None:
    manifest: dict[str, Any] = {
        "version": 1,
        "seed": 2147483647,
        "redactions": {},
        "counts": {"rows_in": 1204},
        "sources": [
            {"file": f"{name}.jsonl", "sha256": "0" * 64, "rows": 602, "notes": {"\x1b": "\n"}}
            for name in "ab"
        ],
    }
    version = DatasetView(id="a@1", name="a", hash="1", folder="f", counts={"train": 1})
    shown = render(DatasetDetails(dataset=version, manifest=manifest), False).splitlines()
    begin = shown.index("Manifest:")
    assert shown[begin + 1 :] == [
        "  version: 1",
        "  seed: 2147483647",
        "  redactions: -",
        "  counts: rows_in: 1,204",
        "  sources:",
        "    - file: a.jsonl",
        f"      sha256: {'0' * 64}",
        "      rows: 602",
        "      notes: ␛: ␊",
        "    - file: b.jsonl",
        f"      sha256: {'0' * 64}",
        "      rows: 602",
        "      notes: ␛: ␊",
    ]
    assert "  Counts: train: 1" in shown  # what is short stays on its line


def test_the_next_step_has_one_title() -> None:
    view = OverviewView(
        stages=[],
        running=[],
        models=[],
        lately=[],
        next=NextView(text="Go.", operation="collect.run", command="sophia collect"),
        store_milliseconds=1,
    )
    for shown in (render(view, False), result_text(view).plain):
        assert shown.count("Next") == 1


def test_values_that_are_words_of_ours_are_shown_in_the_persons_language() -> None:
    model = ModelView(id="train", kind="adapter", base="default", created_at=datetime.now(UTC))
    setting = SettingView(key="K", value="default", source="default", changeable=True, help="h")
    stage = StageView(stage="train", health="attention", figure="failed")
    job = JobView(
        id="j", kind="train", status="failed", base="b", created_by="a", created_at=model.created_at
    )
    version = DatasetView(id="a", name="train", hash="1", folder="f", counts={"rows_kept": 3})
    set_language("pt_BR")
    told = {
        "Tipo: adaptador": model,
        "De: padrão": setting,
        "Tipo: treinamento": job,
        "Estado: falhou": job,
        "Estado: atenção": stage,
        "linhas mantidas: 3": version,
    }
    for expected, result in told.items():
        assert expected in render(result, True)
        assert expected.partition(": ")[2] in result_text(result).plain
    assert "Modelo: train" in render(model, True)  # a name stays a name
    assert "Valor: default" in render(setting, True)
    assert "Nome: train" in result_text(version).plain


def test_events_are_told_in_the_persons_language() -> None:
    set_language("pt_BR")
    told = EventView(
        number=1,
        at=datetime.now(UTC),
        kind="state",
        data={"state": "paused", "reason": "asked by the control file", "step": 1204},
    )
    shown = "\n".join(line.plain for line in event_lines(told))
    assert "estado" in shown and "pausada" in shown and "passo 1204" in shown
    assert "control file" not in shown


def test_what_only_machines_need_is_not_shown_twice() -> None:
    score = dict.fromkeys(ScoreView.model_fields, 1.25)
    view = EvaluationView(
        model="sophia-v1",
        base="b",
        examples=4,
        answer_tokens=40,
        rows=[
            MeasureRow(label="Loss", measure="loss", before=1.25, after=0.5, met="not met"),
            MeasureRow(label="BLEU", measure="bleu", target="> 0.6", met="not measured"),
        ],
        before=ScoreView(**score),
    )
    set_language("pt_BR")
    try:
        lines = render(view, False).splitlines()
    finally:
        set_language("en")
    begin = lines.index("Medidas")
    assert [line.split() for line in lines[begin + 1 :]] == [
        ["Medida", "Antes", "Depois", "Meta", "Atingida"],
        ["Loss", "1,2500", "0,5000", "-", "não", "atingida"],
        ["BLEU", "-", "-", ">", "0.6", "não", "medida"],
    ]
    assert view.model_dump()["before"]["loss"] == 1.25


def test_times_are_shown_in_the_zone_of_the_settings_with_its_offset() -> None:
    set_zone("America/Sao_Paulo")
    at = datetime(2026, 11, 25, 20, 54, 8, tzinfo=UTC)
    model = ModelView(id="m", kind="adapter", base="b", created_at=at)
    assert "Created: 2026-11-25 17:54:08-03:00" in render(model, False)
    assert model.model_dump(mode="json")["created_at"] == "2026-11-25T20:54:08Z"


def test_codes_of_rejected_rows_are_sentences_for_people_alone() -> None:
    version = DatasetView(id="a", name="a", hash="1", folder="f", counts={"duplicate": 6})
    export = ExportView(
        name="feedback_pairs",
        available=True,
        rows_read=3,
        exported=0,
        rejected=3,
        rejected_by={"dangling_document": 3},
        bytes_written=0,
    )
    assert "The same as an earlier record: 6" in render(version, False)
    assert "The feedback's doc_id names no row of docs: 3" in render(export, False)
    set_language("pt_BR")
    assert "duplicate" not in render(version, False)
    assert "dangling_document" not in render(export, False)
    assert version.model_dump()["counts"] == {"duplicate": 6}


@pytest.mark.parametrize("provider", [None, "openai"])
def test_a_tuned_model_is_followed_by_the_next_commands(
    provider: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobView(
        id="j",
        kind="train",
        status="succeeded",
        base="b",
        provider=provider,
        resulting_model="sophia-v7",
        created_by="a",
        created_at=datetime.now(UTC),
    )
    view = FinetuneView.of(job, watched=True)
    print_result(view, as_json=False, plain=False)
    told = capsys.readouterr().err
    assert "`sophia promote sophia-v7`" in told
    assert ("`sophia serve model sophia-v7`" in told) == (provider is None)
    print_result(view, as_json=True, plain=False)
    assert capsys.readouterr().err == ""
    fields = {"id", "status", "base", "files", "resulting_model", "error"}
    assert set(view.model_dump()) == fields


def test_the_same_progress_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(quiet=False, plain=True)
    for done in (1, 3, 3, 3):
        line(Progress("evaluate", done, 3))
    assert capsys.readouterr().err.count("3/3") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.0, "8"), (0.4312, "0.4312"), (2.9e-05, "2.9e-05"), (0.0, "0"), (1234.56, "1,234.6")],
)
def test_a_number_has_the_digits_that_say_something(value: float, text: str) -> None:
    assert output.shown(value) == text


def test_small_sums_are_not_nothing_and_can_be_told_apart() -> None:
    assert (money(0.00021), money(0.0), money(12.5)) == ("0.00021", "0.00", "12.50")
    assert (money(1.2341, 1.2344), money(1.2344, 1.2341)) == ("1.2341", "1.2344")


def test_a_number_that_is_none_is_told_as_such() -> None:
    for options in ({"learning_rate": "nan"}, {"epochs": "inf"}):
        with pytest.raises(ValidationError) as wrong:
            TrainRequest.model_validate(options)
        assert "neither infinite nor NaN" in where_and_what(wrong.value.errors())
    with pytest.raises(ValidationError) as wrong:
        TrainRequest.model_validate({"learning_rate": 200})
    assert where_and_what(wrong.value.errors()).endswith("must be at most 100")
