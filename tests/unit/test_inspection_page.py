"""An inspection's page: whole in itself, nothing interpreted, in both languages; and its costs."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sophia_tui.datasets import destinations
from sophia_tui.datasets.sources import Passed
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.errors import ConflictError, RefusedError
from sophia_tui.i18n import get_language, set_language
from sophia_tui.paths import Paths
from sophia_tui.services import token_costs
from sophia_tui.services.inspect import (
    DestinationView,
    FormCount,
    FoundIssue,
    InspectedFile,
    InspectOutput,
    RoleOrder,
)
from sophia_tui.services.inspection_page import MARK, page
from sophia_tui.services.inspection_report import InspectionReportService, ReportInput
from sophia_tui.services.passed_over import passed_files
from sophia_tui.services.prices import load_prices
from sophia_tui.settings import load

AT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>\x1b[31m\u202e'
CONTEXT = Context("maria", Face.CLI, Role.OPERATOR)


def _tokens(rows: int = 600, tokens: int = 60_000) -> dict[str, Any]:
    lengths = {"mean": 100.0, "p50": 90, "p95": 200, "longest": 300, "longest_line": 5}
    count = {
        "encoding": "o200k_base",
        "context": 65_536,
        "tokens": tokens,
        "content_tokens": tokens - 5_400,
        "answer_tokens": tokens // 2,
        "lengths": lengths,
        "cut": {"count": 1, "lines": [9]},
    }
    return {"rows": rows, "images": 2, "counts": [count], "model": None}


def _inspection(**sections: Any) -> InspectOutput:
    return InspectOutput(
        files=[InspectedFile(file=f"{HOSTILE}.jsonl", bytes=1000, lines=601, rows=601, usable=600)],
        lines=601,
        rows=601,
        usable=600,
        duplicates=3,
        forms=[FormCount(form="chat", rows=600)],
        issues=[
            FoundIssue(
                code="json",
                severity="error",
                count=1,
                reason="Not valid JSON.",
                places=[f"{HOSTILE}:7"],
            )
        ],
        roles=[RoleOrder(roles="user assistant", rows=600)],
        turns=None,
        characters=None,
        sections=sections,
        report="abc",
        kept=False,
    )


def _share(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "count": count, "share": 0.5, "low": 0.4, "high": 0.6, "lines": [1]}


SECTIONS: dict[str, Any] = {
    "tokens": _tokens(),
    "languages": {
        "rows": 600,
        "whole": False,
        "languages": [{**_share("", 300), "language": "pt"}],
        "undecided": _share("", 1),
        "mixed": {
            "count": 1,
            "share": 0.1,
            "lines": [{"line": 4, "asked": "pt", "answered": "en"}],
        },
    },
    "topics": {
        "missing": None,
        "categories": None,
        "topics": {
            "rows": 500,
            "items": [_share(HOSTILE, 250)],
            "rest": {"count": 3, "share": 0.01},
            "balance": 0.8,
            "diversity": 4.5,
        },
    },
    "answers": {
        "answer_characters": {"mean": 50.0, "p5": 5, "p50": 40, "p95": 200},
        "short": {"count": 2, "share": 0.01, "lines": [3, 4]},
        "copied": {"count": 0, "share": 0.0, "lines": []},
    },
    "somebody_elses": {"kinds": [{"kind": HOSTILE, "count": 4}], "of": {"deep": {"er": [1, 2]}}},
}


def _page(found: InspectOutput) -> str:
    report = {
        **found.model_dump(include={"usable", "rows", "duplicates"}),
        "bytes": 1000,
        "forms": {"chat": 600},
        "issues": [{"code": "json", "count": 1}],
        "sections": found.sections,
    }
    hosted = token_costs.hosted(_tokens(), load_prices(load({}), Paths(Path("/nowhere"))))
    return page(found, destinations.verdicts(report, 500), hosted, None, AT)


def test_the_page_needs_nothing_from_outside_and_interprets_nothing() -> None:
    text = _page(_inspection(**SECTIONS))
    assert MARK in text and "default-src 'none'" in text
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"""(src|href)\s*=|url\(|@import|https?://""", text)
    assert "prefers-color-scheme:dark" in text


def test_every_section_is_told_known_or_not() -> None:
    text = _page(_inspection(**SECTIONS))
    for told in ("o200k_base", "60,000", "40 % - 60 %", "line 4", "4.5", "somebody_elses", "deep"):
        assert told in text, told


def test_files_that_were_not_read_are_named() -> None:
    unread = passed_files([Passed("<b>.csv", "unasked")])
    found = _inspection().model_copy(update={"passed_over": unread})
    assert "&lt;b&gt;.csv was not read: packed files and tables" in _page(found)


def test_the_page_speaks_portuguese() -> None:
    before = get_language()
    set_language("pt_BR")
    try:
        text = _page(_inspection(**SECTIONS))
    finally:
        set_language(before)
    assert 'lang="pt-BR"' in text
    for told in ("Para que serve", "Idiomas", "Assuntos e categorias", "Quanto custa", "60.000"):
        assert told in text, told


def test_tags_are_closed() -> None:
    text = _page(_inspection(**SECTIONS))
    for tag in ("table", "tr", "td", "th", "div", "p", "h2"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


# -- costs


def test_a_provider_is_paid_for_its_own_epochs() -> None:
    prices = load_prices(load({}), Paths(Path("/nowhere")))
    found = {each.model: each for each in token_costs.hosted(_tokens(rows=20), prices)}
    mini = found["gpt-4o-mini"]
    assert mini.epochs == 5  # 100 // 20
    assert mini.usd == pytest.approx(60_000 * 5 * 3 / 1e6)
    assert mini.exact and mini.ends == date(2027, 1, 14)
    assert token_costs.hosted(_tokens(rows=0), prices) == []


class _Planner:
    def __init__(self, time: Any) -> None:
        self.time = time
        self.asked: list[Any] = []

    async def forecast(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return self.time


async def _local(time: Any, tokens: dict[str, Any]) -> tuple[Any, _Planner]:
    planner = _Planner(time)
    settings = load({"SOPHIA_MACHINE_USD_PER_HOUR": "2"})
    found = await token_costs.local(CONTEXT, tokens, 1200, "org/m-135M", planner, settings)  # type: ignore[arg-type]
    return found, planner


async def test_a_base_of_this_machine_takes_the_measured_time() -> None:
    time = SimpleNamespace(seconds=1800.0, tokens_per_second=150.0, by="earlier_runs")
    found, planner = await _local(time, _tokens())
    assert (found.usd, found.exact, found.by) == (1.0, False, "earlier_runs")
    assert found.tokens == 54_600 + 5 * 1200
    assert planner.asked[0][2].examples == 600


async def test_its_own_tokenizer_goes_before_the_usual_one() -> None:
    own = {"name": "org/m-135M", "own": {"content_tokens": 109_200}}
    found, planner = await _local(None, {**_tokens(), "model": own})
    assert found.exact and found.tokens == 109_200 + 5 * 1200
    assert planner.asked[0][2].answer_tokens == 60_000
    assert "train plan" in found.told and found.seconds is None


# -- the operation


class _Clock:
    def now(self) -> datetime:
        return AT


def _service(tmp_path: Path, found: InspectOutput) -> InspectionReportService:
    chosen, paths = load({}), Paths(tmp_path / "data")

    async def call(name: str, request: Any, context: Context) -> InspectOutput:
        assert name == "prepare.inspect" and "html" not in request
        return found

    return InspectionReportService(
        call,
        _Planner(None),  # type: ignore[arg-type]
        chosen,
        paths,
        lambda: load_prices(chosen, paths),
        _Clock(),
    )


async def test_the_page_lies_with_the_reports_or_where_it_is_wanted(tmp_path: Path) -> None:
    verdict = DestinationView(
        destination="local", name="Here", verdict="ready", why=[HOSTILE], todo=["Train."]
    )
    inspected = _inspection(**SECTIONS).model_copy(update={"destinations": [verdict]})
    service = _service(tmp_path, inspected)
    kept = await service.report(CONTEXT, ReportInput())
    assert Path(kept.path).parent == tmp_path / "data" / "reports"
    assert kept.destinations == [verdict]
    assert "Train." in Path(kept.path).read_text("utf-8")
    wanted = tmp_path / "page.html"
    for _each in range(2):  # a page of ours is written over
        await service.report(CONTEXT, ReportInput(html=str(wanted)))
    assert MARK in wanted.read_text("utf-8")


async def test_a_file_that_is_no_page_of_ours_stays(tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text("mine")
    with pytest.raises(ConflictError) as caught:
        await _service(tmp_path, _inspection()).report(CONTEXT, ReportInput(html=str(other)))
    assert caught.value.code == "SOPHIA-D577"
    assert other.read_text() == "mine"


async def test_over_http_it_has_no_path_of_its_own(tmp_path: Path) -> None:
    afar = Context("api", Face.API, Role.OPERATOR)
    with pytest.raises(RefusedError) as caught:
        await _service(tmp_path, _inspection()).report(afar, ReportInput(html="/tmp/x.html"))
    assert caught.value.code == "SOPHIA-D576"


async def test_without_tokens_costs_are_asked_for(tmp_path: Path) -> None:
    found = await _service(tmp_path, _inspection()).report(CONTEXT, ReportInput())
    assert found.hosted == [] and "tokens" in found.notes[0]
