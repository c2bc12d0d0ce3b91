"""One job's panel: what it shows in each state, and that its events follow the newest."""

from typing import Any

import pytest

from sophia_tui.i18n import _
from sophia_tui.services import waiting
from sophia_tui.services.queue import QueuedView, QueueView
from sophia_tui.services.views import EventList, JobList
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.tui.widgets.tail import Tail
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until


def many_events(count: int) -> list[Any]:
    return [
        stub.EventView(number=number, at=stub.NOW, kind="metric", data={"step": number})
        for number in range(1, count + 1)
    ]


async def test_the_events_stay_at_the_newest_until_the_person_scrolls_up() -> None:
    world = stub.full_world()
    world.events = many_events(60)
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        tail = app.screen.query_one(Tail)

        def at_end() -> bool:
            return tail.max_scroll_y > 0 and tail.scroll_y == tail.max_scroll_y

        await until(pilot, at_end, "the newest after opening")
        await pilot.resize_terminal(80, 20)
        await until(pilot, at_end, "the newest in a lower window")
        await pilot.resize_terminal(80, 30)
        await until(pilot, at_end, "the newest in a higher window")
        await pilot.press("question_mark", "escape")
        world.events = many_events(70)
        await pilot.press("r", "down")  # down at the end is no wish to stay there
        await until(pilot, lambda: len(app.screen.events) == 70 and at_end(), "what came meanwhile")
        await pilot.press("escape", "down", "enter")
        await until(pilot, lambda: len(app.screen.events) == 70 and at_end(), "the other job's")
        await pilot.press("up", "up", "up")
        await until(pilot, lambda: not at_end(), "scrolled up")
        stood = tail.scroll_y
        world.events = many_events(90)
        await pilot.press("r")
        await until(pilot, lambda: len(app.screen.events) == 90, "more events")
        assert tail.scroll_y == stood
        await pilot.press("end")
        await until(pilot, at_end, "the newest again")


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
