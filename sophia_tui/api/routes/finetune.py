"""`POST /finetune`, as scripts have it: a thin door to the operation finetune.run.

`{}` merges, prepares and creates; `{"status": ID}` shows; `"watch": true` holds the answer until
the job ends, or streams what happens to who accepts server-sent events. The job goes on in any
case.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from sophia_tui.api import streams
from sophia_tui.api.routes.sophia import Running, asked_by, listening
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import get_language
from sophia_tui.services.finetune import FinetuneRequest, FinetuneView
from sophia_tui.services.operations import as_sophia_error
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.wiring import House

PATH = "/finetune"
OPERATION = "finetune.run"
_PROGRESS = ("id", "status", "step", "total_steps", "loss", "seconds_left")


def router(house: "House", running: Running) -> APIRouter:
    """The route."""
    routes = APIRouter()
    FinetuneView.model_rebuild()

    @routes.post(
        PATH,
        response_model=FinetuneView,
        operation_id="finetune",
        summary="Create a fine-tuning job from FINETUNE_DIR, or show and follow one.",
        tags=["finetune"],
        responses={200: {"content": {streams.MEDIA_TYPE: {}}}},
        openapi_extra={
            "requestBody": {
                "content": {"application/json": {"schema": FinetuneRequest.model_json_schema()}}
            }
        },
    )
    async def finetune(request: Request) -> Any:
        asked = await asked_by(request, house.registry.get(OPERATION))
        fields = asked.fields
        door = _Door(house, request, asked.dry_run)
        try:
            watch = FinetuneRequest.model_validate(fields).watch
        except ValidationError:  # the dispatcher says it, and nothing is begun
            watch = False
        else:
            fields = {**fields, "watch": False}
        with running.one() as cancel:
            # what has begun is finished, whether or not somebody still waits for the answer
            answer = await door.ask(fields, CancelSignal())
            if not watch:
                return answer
            following = {**fields, "status": answer.id, "watch": True}
            following.pop("base", None)
            if not streams.wanted(request):
                async with listening(request, cancel):
                    return await door.ask(following, cancel)
        return streams.respond(_events(door, running, following))

    return routes


class _Door:
    """Asks operations for one request."""

    def __init__(self, house: "House", request: Request, dry_run: bool) -> None:
        self._house = house
        self._dry_run = dry_run
        self._role = request.state.role
        self._language = get_language()

    async def ask(
        self,
        fields: dict[str, Any],
        cancel: CancelSignal,
        tick: asyncio.Event | None = None,
        tell: Callable[[Any], None] = lambda part: None,
    ) -> FinetuneView:
        answer = await self._call(OPERATION, fields, cancel, tick, tell)
        assert isinstance(answer, FinetuneView)
        return answer

    async def look(self, job_id: str) -> dict[str, Any]:
        """Where the job stands, in the neutral words of the API."""
        view = await self._call("jobs.show", {"job": job_id}, CancelSignal(), None)
        assert isinstance(view, JobView)
        return {name: getattr(view, name) for name in _PROGRESS}

    async def _call(
        self,
        name: str,
        fields: dict[str, Any],
        cancel: CancelSignal,
        tick: asyncio.Event | None,
        tell: Callable[[Any], None] = lambda part: None,
    ) -> BaseModel:
        def progress(progress: Progress) -> None:
            if tick is not None:
                tick.set()

        def told(part: Any) -> None:
            tell(part)
            if tick is not None:
                tick.set()

        context: Context = self._house.context(
            Face.API,
            dry_run=self._dry_run,
            cancel=cancel,
            progress=progress,
            tell=told,
            actor=f"api:{self._role.value}",
            role=self._role,
            language=self._language,
        )
        return await self._house.dispatcher.call(name, fields, context)


async def _events(door: _Door, running: Running, fields: dict[str, Any]) -> AsyncIterator[str]:
    """Server-sent events: `event` for each of the run's, `progress` where the job stands after a
    change, `result` with the answer (or `error`)."""
    tick = asyncio.Event()
    told: list[Any] = []
    with running.one() as cancel:
        watching = asyncio.create_task(door.ask(fields, cancel, tick, told.append))
        try:
            tick.set()
            last: dict[str, Any] | None = None
            while not watching.done():
                if tick.is_set():
                    tick.clear()
                    seen = await door.look(fields["status"])
                    if seen != last:
                        last = seen
                        yield streams.event("progress", seen)
                    while told:
                        yield _told(told.pop(0))
                elif not await _heard(watching, tick):
                    yield ": still here\n\n"
            while told:
                yield _told(told.pop(0))
            yield streams.event("result", watching.result().model_dump(mode="json"))
        except Exception as problem:
            error: SophiaError = as_sophia_error(problem)
            yield streams.event("error", {"error": error.as_dict()})
        finally:  # also when the client goes away: only the watching ends
            cancel.request()
            if not watching.done():
                await asyncio.wait({watching}, timeout=2)
                watching.cancel()


async def _heard(watching: "asyncio.Task[FinetuneView]", tick: asyncio.Event) -> bool:
    """Wait until something happens; False where nothing did for a while."""
    ticking = asyncio.create_task(tick.wait())
    try:
        done, _pending = await asyncio.wait(
            {watching, ticking},
            timeout=streams.KEEP_ALIVE_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        ticking.cancel()
    return bool(done)


def _told(part: BaseModel) -> str:
    return streams.event("event", part.model_dump(mode="json"), getattr(part, "number", None))
