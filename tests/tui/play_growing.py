"""The console in a real terminal over a job that tells two events at each look:
`python -m tests.tui.play_growing COUNT`. Looks follow each other fast; what is sent for so many
events is the same as with the pauses of every day, since drawing keeps time by looks."""

import asyncio
import sys
from datetime import timedelta
from typing import Any

from sophia_tui.services.views import EventView, JobList
from sophia_tui.tui.screens.jobs import JobsScreen
from tests.tui import answers, stub

TOTAL = 5000
STEPS = 10


def event(number: int) -> EventView:
    """A training that tells of each ten steps, and looks at the held-out part now and then."""
    step = number * STEPS
    data: dict[str, Any] = {
        "step": step,
        "loss": round(1.2 + 3 / (1 + number / 20) + 0.05 * (number * 7 % 11 - 5), 4),
        "learning_rate": 2e-4 * (1 - step / TOTAL),
        "tokens_per_second": 1200.5 + number % 7,
        "memory_bytes": 1_240_000_000 + 1000 * number,
    }
    if number % 25 == 0:
        data["eval_loss"] = round(1.5 + 3 / (1 + number / 20), 4)
    at = stub.NOW + timedelta(seconds=number)
    return EventView(number=number, at=at, kind="metric", data=data)


def growing(count: int) -> dict[str, Any]:
    """Answers of a house with one such job; after `count` more events nothing new comes."""
    told = [event(number) for number in range(1, 121)]
    last = len(told) + count

    def events(request: Any) -> Any:
        if request.after and not request.kind and not request.match:
            told.extend(event(len(told) + 1) for _each in range(2 * (len(told) < last)))
        return stub.pages_of(told, request)

    def job(request: Any = None) -> Any:
        step = told[-1].number * STEPS
        return stub.job(
            answers.JOB, step=step, total_steps=TOTAL, loss=told[-1].data["loss"], seconds_left=900
        )

    return {
        **answers.full(),
        "jobs.list": lambda request: JobList(items=[job()]),
        "jobs.show": job,
        "jobs.events": events,
        "jobs.curve": lambda request: stub.curve_of(told, request),
    }


async def main(count: int) -> None:
    JobsScreen.interval = 0.1
    world = stub.full_world()
    world.answers = growing(count)
    await stub.make_app(world, whole=True).run_async()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
