"""Answers that come bit by bit, as server-sent events, to who accepts text/event-stream.

`event` for each part that an operation tells, with its number as the id: a client that reconnects
sends it as Last-Event-ID and misses none. `result` is the whole answer, `error` what went wrong.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.responses import Response

from sophia_tui.services.operations import as_sophia_error

if TYPE_CHECKING:
    from sophia_tui.domain.context import CancelSignal

MEDIA_TYPE = "text/event-stream"
#: A proxy that hears nothing for so long closes the connection.
KEEP_ALIVE_SECONDS = 15.0
#: How long what is watched may take to hear that nobody listens any more.
_GOODBYE_SECONDS = 2.0

Work = Callable[[Callable[[Any], None]], Awaitable[BaseModel]]


def wanted(request: Request) -> bool:
    """Whether the client accepts server-sent events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def last_seen(request: Request) -> int | None:
    """The number of the last event that a client which comes back has."""
    given = request.headers.get("last-event-id", "")
    return int(given) if given.isdecimal() and len(given) < 10 else None


def event(name: str, data: Any, number: int | None = None) -> str:
    """One event as it goes over the wire; JSON has no line breaks that could end it early."""
    identifier = "" if number is None else f"id: {number}\n"
    return f"event: {name}\n{identifier}data: {json.dumps(data, default=str)}\n\n"


def respond(parts: AsyncIterator[str]) -> Response:
    """An answer that no proxy should hold back."""
    return StreamingResponse(parts, media_type=MEDIA_TYPE, headers={"x-accel-buffering": "no"})


async def stream(work: Work, cancel: "CancelSignal") -> AsyncIterator[str]:
    """The parts that `work` tells, then its answer. When the client goes away only this ends."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    working = asyncio.ensure_future(work(told.put_nowait))
    try:
        while not (working.done() and told.empty()):
            part = await _next(working, told)
            if part is not None:
                yield event("event", part.model_dump(mode="json"), getattr(part, "number", None))
            elif not working.done():
                yield ": still here\n\n"
        yield event("result", working.result().model_dump(mode="json"))
    except Exception as problem:
        yield event("error", {"error": as_sophia_error(problem).as_dict()})
    finally:
        cancel.request()
        if not working.done():
            await asyncio.wait({working}, timeout=_GOODBYE_SECONDS)
            working.cancel()


async def _next(working: "asyncio.Future[BaseModel]", told: asyncio.Queue[Any]) -> Any:
    """The next part; None where none came for a while or the work is done."""
    getting = asyncio.ensure_future(told.get())
    try:
        await asyncio.wait(
            {getting, working}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        return getting.result() if getting.done() else None
    finally:
        if not getting.done():
            getting.cancel()
