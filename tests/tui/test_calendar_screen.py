"""Models that end, on the console: Overview's lines, the list, one in full, and the keys that lead
off a model."""

from datetime import UTC, date, datetime
from typing import Any

from sophia_tui.domain.successions import Succession
from sophia_tui.services.calendar_looks import EndingModelView
from sophia_tui.services.calendar_views import CalendarEntry, CalendarView
from sophia_tui.services.checks.views import CheckView, SetupReport
from sophia_tui.services.succession_shown import shown
from sophia_tui.services.succession_views import SuccessionList
from sophia_tui.tui import words
from sophia_tui.tui.screens.calendar import CalendarScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.overview import board
from tests.tui import stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import opened, whole_world

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def entry(**more: Any) -> CalendarEntry:
    given: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "file": "/srv/rag.env",
        "key": "GEN_MODEL",
        "use": "asked",
        "address": "https://api.openai.com/v1",
        "state": "ends",
        "severity": "warning",
        "ends": date(2027, 1, 14),
        "days_left": 49,
        "told": "gpt-4o-mini stops answering on 2027-01-14, in 49 days; /srv/rag.env names it.",
        "command": "sophia models succeed gpt-4o-mini",
    }
    return CalendarEntry(**{**given, **more})


def world_with(*entries: CalendarEntry) -> stub.World:
    world = whole_world()
    world.answers["models.calendar"] = CalendarView(
        now=NOW,
        bounds=[90, 30, 7],
        dates_as_of=NOW.date(),
        files=["prices.yaml"],
        items=list(entries),
        lists=[],
    )
    return world


def test_overview_shows_what_ends_at_eighty_columns_and_the_way_out() -> None:
    ends = EndingModelView(
        model="gpt-4o-mini",
        keys=["GEN_MODEL", "EXPANSION_MODEL"],
        state="ends",
        severity="warning",
        days_left=49,
        told="",
        command="sophia models succeed gpt-4o-mini",
    )
    gone = ends.model_copy(update={"state": "gone", "severity": "error", "days_left": None})
    view = stub.empty_overview().model_copy(update={"endings": [gone, ends]})
    lines = board(view, 79, NOW, words.Glyphs(True)).plain.splitlines()
    found = [each for each in lines if "gpt-4o-mini" in each]
    assert found[0].startswith("x gpt-4o-mini") and "not listed" in found[0]
    assert found[1].startswith("! gpt-4o-mini") and "in 49 days" in found[1]
    assert all(len(each) <= 79 for each in found)


async def test_the_list_opens_from_models_and_leads_off_a_model_by_a_form_filled_in() -> None:
    app = stub.make_app(world_with(entry()), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "models")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, CalendarScreen), "the calendar")
        await settled(pilot)
        assert "! in 49 days" in screen_text(app) and "n move off it" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "stops answering" in screen_text(app), "the model in full")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        assert app.screen.typed["model"] == "gpt-4o-mini"


async def test_one_in_full_shows_how_far_the_way_off_it_is() -> None:
    world = world_with(entry(succession="succession-1"))
    way = Succession(
        "succession-1",
        "gpt-4o-mini",
        NOW,
        steps={
            "golden": {
                "state": "done",
                "facts": {"answers": 50, "address": "https://api.openai.com/v1", "usd": 0.01},
            }
        },
    )
    world.answers["models.succession"] = SuccessionList(items=[shown(way)])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 30)) as pilot:
        await opened(pilot, "models")
        await pilot.press("d")
        await until(pilot, lambda: "50 answers of the old" in screen_text(app), "the steps")
        text = screen_text(app)
        assert "build a data set from production" in text
        assert "sophia models succeed gpt-4o-mini" in text


async def test_a_base_offers_no_way_off() -> None:
    app = stub.make_app(world_with(entry(use="base", key="FINETUNE_BASE")), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "models")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, CalendarScreen), "the calendar")
        await settled(pilot)
        await pilot.press("n")
        await pilot.pause()
        assert "nothing to move off" in screen_text(app)


async def test_the_remedy_of_the_set_ups_check_opens_the_form() -> None:
    world = world_with(entry())
    check = CheckView(
        id="models_end",
        name="Models that end",
        state="problem",
        found="gpt-4o-mini: ended",
        remedy="Begin the way out.",
        remedy_step="sophia models succeed gpt-4o-mini",
    )
    world.answers["setup.check"] = SetupReport(ready=False, items=[check])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "setup")
        await settled(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        assert app.screen.typed["model"] == "gpt-4o-mini"
