"""One job's panel: what it shows in each state, and that its events follow the newest."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from sophia_tui.i18n import _, speaking
from sophia_tui.services import waiting
from sophia_tui.services.job_compare import value_text
from sophia_tui.services.queue import QueuedView, QueueView
from sophia_tui.services.views import EventList, JobList
from sophia_tui.tui.screens.job_compare import JobCompareScreen, _pieces
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.widgets.pager import Pager
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import answers, stub
from tests.tui.play_growing import growing
from tests.tui.test_console import screen_text, settled, until


def many_events(count: int) -> list[Any]:
    return [
        stub.EventView(number=number, at=stub.NOW, kind="metric", data={"step": number})
        for number in range(1, count + 1)
    ]


async def opened_job(pilot: Any) -> Any:
    """The Jobs screen with the first job open, and its pane."""
    await pilot.press("4")
    await settled(pilot)
    await pilot.press("enter")
    screen = pilot.app.screen
    await until(pilot, lambda: bool(screen.tail.told.known), "told")
    return screen


async def test_the_events_stay_at_the_newest_until_the_person_scrolls_up() -> None:
    world = stub.full_world()
    world.events = many_events(60)
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)

        def shows(number: int) -> bool:
            return f"step {number}\n" in re.sub(" +\n", "\n", screen.pager.text + "\n")

        await until(pilot, lambda: shows(60), "the newest after opening")
        await pilot.resize_terminal(80, 20)
        await until(pilot, lambda: shows(60), "the newest in a lower window")
        await pilot.resize_terminal(80, 30)
        await until(pilot, lambda: shows(60), "the newest in a higher window")
        world.events = many_events(70)
        await pilot.press("r", "down")  # down at the end is no wish to stay there
        await until(pilot, lambda: shows(70), "what came meanwhile")
        await pilot.press("up", "up", "up")
        await until(pilot, lambda: not shows(70), "scrolled up")
        stood = screen.pager.text
        world.events = many_events(90)
        await pilot.press("r")
        await until(pilot, lambda: len(screen.events) == 90, "more events")
        assert screen.pager.text == stood
        await pilot.press("end")
        await until(pilot, lambda: shows(90), "the newest again")


async def test_older_events_and_lines_come_by_pages_up_to_the_first() -> None:
    world = stub.full_world()
    world.events = many_events(900)
    world.log = [f"line {number}" for number in range(900)]
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        for key, first in (("", "    1 14:02:00"), ("l", "line 0 ")):
            if key:
                await pilot.press(key)
                await until(pilot, lambda: screen.tail.told.known, "the log")
            for _page in range(8):
                before = len(screen.tail.lines)
                await pilot.press("home")
                await until(
                    pilot,
                    lambda before=before: (  # type: ignore[misc]
                        len(screen.tail.lines) > before or not screen.tail.told.first
                    ),
                    "an older page",
                )
            await pilot.press("home")
            await until(pilot, lambda first=first: first in screen_text(app), first)  # type: ignore[misc]
            assert len(screen.tail.lines) == 900
        assert "This is the first line." in screen_text(app)
        await pilot.press("end")
        await until(pilot, lambda: "This is the first line." not in screen_text(app), "it goes")


async def test_a_held_pane_says_how_much_is_new_and_goes_on() -> None:
    world = stub.full_world()
    world.events = many_events(20)
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("h")
        world.events = many_events(34)
        await pilot.press("r")
        await until(pilot, lambda: "paused, 14 new" in screen_text(app), "14 new")
        assert "step 20" in screen.pager.text and "step 34" not in screen.pager.text
        await pilot.press("h")
        await until(pilot, lambda: "step 34" in screen.pager.text, "goes on")
        assert "paused" not in screen_text(app)


async def test_events_and_log_are_filtered_by_text_and_kind_and_esc_clears() -> None:
    world = stub.full_world()
    world.events = many_events(20)
    warning = stub.EventView(number=21, at=stub.NOW, kind="warning", data={"message": "Hot."})
    world.events.append(warning)
    world.log = ["loading", "warning: hot", "step 1"]
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("slash", *"hot", "enter")
        await until(pilot, lambda: len(screen.tail.lines) == 1, "one event")
        assert "Hot." in screen.pager.text and "only with hot" in screen_text(app)
        await pilot.press("l")
        await until(pilot, lambda: "warning: hot" in screen.pager.text, "one line")
        assert "loading" not in screen.pager.text
        await pilot.press("escape")
        await until(pilot, lambda: "loading" in screen.pager.text, "the whole log")
        await pilot.press("l", "e", "e", "e", "e")
        await until(pilot, lambda: "Hot." in screen.pager.text, "warnings alone")
        await until(pilot, lambda: len(screen.tail.lines) == 1, "warnings alone")
        assert screen.opened is not None


async def test_search_goes_from_hit_to_hit_into_older_pages_and_back() -> None:
    world = stub.full_world()
    world.log = [f"line {number}" for number in range(900)]
    world.log[10] = world.log[850] = world.log[890] = "a needle"
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("l")
        await until(pilot, lambda: "line 899" in screen.pager.text, "the log")

        def stands_at(number: int) -> bool:
            lines = screen.tail.lines
            hit = screen.tail.hit
            first = 900 - len(lines)
            return hit is not None and first + hit == number and "needle" in screen.pager.text

        await pilot.press("f", *"NEEDLE", "enter")
        await until(pilot, lambda: stands_at(890), "the last one")
        await pilot.press("f")
        await until(pilot, lambda: stands_at(850), "the one before")
        await pilot.press("f")
        await until(pilot, lambda: stands_at(10), "one of an older page")
        await pilot.press("f")
        await until(pilot, lambda: "There is no further hit." in screen_text(app), "no further")
        await pilot.press("g")
        await until(pilot, lambda: stands_at(850), "back")


async def test_a_hostile_log_shows_marks() -> None:
    world = stub.full_world()
    world.log = [stub.HOSTILE]
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("l")
        await until(pilot, lambda: "ESC" in screen.pager.text, "the log")
        shown = screen_text(app)
    assert "\x1b" not in shown and "\u202e" not in shown and "[red]x[/red]" in shown


async def test_its_settings_and_the_way_to_its_data_set() -> None:
    world = stub.full_world()
    world.answers = answers.full()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("i")
        await until(pilot, lambda: screen.settings is not None, "settings")
        await until(pilot, lambda: "learning_rate" in screen.pager.text, "settings")
        assert "* learning_rate  0.0001  (0.0002)" in screen.pager.text
        await pilot.press("end")
        await until(pilot, lambda: "scheduler" in screen.pager.text, "the rest")
        await pilot.press("o")
        await until(pilot, lambda: app.screen.name_of_screen == "datasets", "its data set")
        assert app.screen.opened == answers.DATASET


async def test_the_other_figures_of_a_job_come_in_turn() -> None:
    world = stub.full_world()
    world.answers = growing(0)
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened_job(pilot)
        curve = app.screen.query_one("#curve", Plate)
        await until(pilot, lambda: "mean of 5" in curve.text and "best" in curve.text, "losses")
        for words in ("learning rate", "tokens/s", "memory, GB", "held-out part"):
            await pilot.press("v")
            await until(pilot, lambda words=words: words in curve.text, words)  # type: ignore[misc]


async def test_marked_jobs_are_compared_by_letters_over_a_chosen_axis() -> None:
    world = stub.full_world()
    world.answers = answers.full()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("x")
        assert "Mark two jobs" in screen_text(app)
        await pilot.press("space", "down", "space", "x")
        await until(pilot, lambda: isinstance(app.screen, JobCompareScreen), "the comparison")
        assert world.got.jobs == [answers.JOB, "ftjob-6c10aa00bb11"]
        screen = app.screen
        curve = screen.query_one("#curve", Plate)
        assert {"a", "b", "*"} <= set("".join(curve.text.split("\n")[1:-1]))
        assert "1.388 *" in screen.query_one(Pager).text
        assert "no losses over steps" in screen_text(app)
        await pilot.press("v")
        assert "held-out part over steps" in curve.text
        await pilot.press("x")
        assert "over examples seen" in curve.text
        await pilot.press("x")
        assert "not known of a, b" in curve.text and "too few points" in curve.text
        kept = screen.memory()
        await pilot.press("a")
        await until(pilot, lambda: getattr(world.got, "all", False), "everything")
        await pilot.press("escape")
        again = JobCompareScreen(app, kept["request"], answers.jobs_compared())
        again.recall(kept)
        assert (again.loss, again.axis) == ("eval_loss", "tokens")


async def test_what_brings_the_panel_back_is_kept_and_nonsense_is_passed_over() -> None:
    world = stub.full_world()
    world.events = many_events(20)
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        await pilot.press("l", "h", "space")
        kept = screen.memory()
        other = JobsScreen(app)
        other.recall(kept)
        assert other.memory() == kept
        other.recall({**kept, "pane": "cellar", "kinds": 99, "match": 3, "series": "nine"})
        assert other.memory() == kept


async def test_a_queued_job_says_its_place_why_it_waits_and_when_it_starts() -> None:
    queued = stub.job("ftjob-queued000002", "queued", step=None, position=2)
    place = QueuedView(
        position=2,
        id=queued.id,
        kind="train",
        base=queued.base,
        queue="local",
        waits_for="turn",
        waiting=waiting.reason(waiting.SLOT, before=1),
        starts_at=stub.NOW,
        created_by="ana",
        created_at=stub.NOW,
    )
    world = stub.full_world()
    world.answers = {
        **answers.full(),
        "jobs.list": JobList(items=[queued]),
        "jobs.show": queued,
        "jobs.events": EventList(job=queued.id, items=[]),
        "jobs.queue": QueueView(items=[place], queued=1, running=1, workers=[]),
    }
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.place is not None, "its place")
        text = " ".join(screen_text(app).split())
    assert "Place in the queue 2 Starts about 2026-11-21" in text
    assert "It waits for its turn. 1 job stands before it or runs now." in text


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize(
    ("state", "there", "absent"),
    [
        ("running", ("jobs.pause", "act.log", "jobs.cancel"), ("jobs.resume",)),
        ("paused", ("jobs.resume", "act.log", "jobs.cancel"), ("jobs.pause",)),
        ("succeeded", ("act.log", "act.filter"), ("jobs.pause", "jobs.resume", "jobs.cancel")),
        ("", ("train.start",), ("act.log", "jobs.pause", "jobs.cancel", "act.open")),
    ],
)
async def test_the_key_line_names_what_can_be_done_with_the_job(
    state: str, there: tuple[str, ...], absent: tuple[str, ...], language: str
) -> None:
    world = stub.full_world()
    found = [stub.job("ftjob-1", state)] if state else []
    world.answers = {**answers.full(), "jobs.list": JobList(items=found)}
    app = stub.make_app(world, whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot, "full" if state else "empty")
        line = app.screen.query_one("#keys", Plate).text
        known = {each.target: f"{each.shown} {_(each.text)}" for each in app.screen.known_keys()}
    assert all(known[each] in line for each in there), line
    assert not any(known[each] in line for each in absent), line


async def test_a_trial_is_called_one_and_tells_what_it_found() -> None:
    found = {
        "step_seconds": 2.34,
        "memory_bytes": 1_240_000_000,
        "planned_steps": 500,
        "whole_seconds": 1180.0,
    }
    tried = stub.job("ftjob-1", "succeeded", step=1, total_steps=1, trial=True, result=found)
    world = stub.full_world()
    world.answers = {
        **answers.full(),
        "jobs.list": JobList(items=[tried]),
        "jobs.show": tried,
    }
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot)
        assert "succeeded     trial" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.told is not None, "told")
        text = " ".join(screen_text(app).split())
    assert "trial of one step" in text
    assert "One step took 2.3 s. Peak memory: 1.2 GB." in text
    assert "The whole training of 500 steps would take about 19 min." in text


async def test_a_panel_does_not_wait_for_a_curve_of_very_many_events() -> None:
    world = stub.full_world()
    world.events = [
        stub.EventView(
            number=number, at=stub.NOW, kind="metric", data={"step": number, "loss": 3 / number}
        )
        for number in range(1, 41)
    ]
    thinned, answer = asyncio.Event(), world.answer

    async def slow(name: str) -> None:
        await answer(name)
        if name == "jobs.curve":
            await thinned.wait()

    world.answer = slow  # type: ignore[method-assign]
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        curve = screen.query_one("#curve", Plate)
        await until(pilot, lambda: "step 40" in screen.pager.text, "the events")
        await until(pilot, lambda: curve.text == "Loading...", "a word in place of the curve")
        assert world.calls.count("jobs.curve") == 1
        await pilot.press("r")
        await settled(pilot)
        thinned.set()
        await until(pilot, lambda: "training" in curve.text, "the curve")
        assert world.calls.count("jobs.curve") == 1  # it was not asked for once more


async def test_a_job_offers_neither_to_hold_what_has_ended_nor_to_go_on_before_it_ran() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_job(pilot)
        row = screen.shown
        offered = {}
        for state in ("running", "validating", "paused", "succeeded"):
            changed = row.data.model_copy(update={"status": state})
            screen._instead = replace(row, data=changed)
            offered[state] = {each.target for each in screen.footer()}
            offered[state] -= {each for each in offered[state] if screen.not_now(each)}
        screen._instead = None
    assert "act.hold" in offered["running"] and "act.hold" not in offered["succeeded"]
    assert "jobs.resume" in offered["paused"] and "jobs.resume" not in offered["validating"]


def test_values_of_a_comparison_are_written_as_the_language_does() -> None:
    with speaking("pt_BR"):
        assert [value_text("x", each) for each in (5.7082, 24900.0, 10.6, 2e-05)] == [
            *("5,7082", "24.900", "10,6", "2e-05")
        ]
    assert value_text("x", 5.7) == "5.7" and value_text("x", 12) == "12"
    assert _pieces("Loss on the held-out part", 16) == ["Loss on the", "held-out part"]
