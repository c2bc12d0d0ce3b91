"""Two keys move a queued job; the list shows each one's place in the queue."""

from typing import Any

from sophia_tui.services.queue import MovedView, MoveRequest
from sophia_tui.services.views import JobList
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until


async def test_a_queued_job_shows_its_place_and_is_moved_by_two_keys() -> None:
    world = stub.full_world()
    queued = [
        stub.job(f"ftjob-queued00000{place}", "queued", step=None).model_copy(
            update={"position": place}
        )
        for place in (3, 2)
    ]
    asked: list[MoveRequest] = []

    def moved(request: Any) -> MovedView:
        asked.append(request)
        return MovedView(job=request.job, position=2)

    world.answers = {
        **answers.full(),
        "jobs.list": JobList(items=queued),
        "jobs.show": queued[0],
        "jobs.move": moved,
    }
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await settled(pilot)
        assert "#3" in screen_text(app) and "#2" in screen_text(app)
        await pilot.press("b")
        message = app.screen.query_one("#message", Plate)
        await until(pilot, lambda: "number 2 in the queue" in str(message.text), "it was moved")
        await pilot.press("n")
        await until(pilot, lambda: len(asked) == 2, "it was moved back")
    assert [(each.job, each.to) for each in asked] == [
        ("ftjob-queued000003", "up"),
        ("ftjob-queued000003", "down"),
    ]
