"""Results as text for people: times, names that are numbers, nested data, titles."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sophia_tui.cli.output import render
from sophia_tui.services.collect import CollectResult
from sophia_tui.services.datasets import DatasetDetails, RejectedRecord
from sophia_tui.services.overview import NextView, OverviewView
from sophia_tui.services.store import StoreView
from sophia_tui.services.views import DatasetView
from sophia_tui.tui.screens.result import result_text


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
        stages=[], running=[], models=[], lately=[], next=NextView(text="Go."), store_milliseconds=1
    )
    for shown in (render(view, False), result_text(view).plain):
        assert shown.count("Next") == 1
