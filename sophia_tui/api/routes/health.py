"""`GET /health`: whether this process can do its work. The one route without token."""

import asyncio
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from sophia_tui import __version__
from sophia_tui.errors import SophiaError

if TYPE_CHECKING:
    from sophia_tui.wiring import House

PATIENCE_SECONDS = 5.0


class Health(BaseModel):
    """Says nothing about where the store is or why it does not answer: anyone may ask."""

    status: Literal["ok", "unavailable"]
    version: str
    store: Literal["ok", "unavailable"] = Field(description="Whether Sophia's store answers.")


class Pulse:
    """Looks at the store; however many ask at once, it is looked at once."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._looking: asyncio.Task[bool] | None = None

    async def beats(self) -> bool:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        # the first look may start the embedded server: it goes on when the asker has given up
        done, _late = await asyncio.wait([self._looking], timeout=PATIENCE_SECONDS)
        return bool(done) and not self._looking.cancelled() and self._looking.result()

    async def _look(self) -> bool:
        try:
            store = await self._house.store()
            await store.ping()
        except SophiaError:
            return False
        return True

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])


def router(pulse: Pulse) -> APIRouter:
    """The route; 503 while the store does not answer."""
    routes = APIRouter()

    @routes.head(  # as many monitors ask; the server sends no body then
        "/health",
        operation_id="health.head",
        tags=["health"],
        responses={503: {"description": "The store does not answer."}},
    )
    @routes.get(
        "/health",
        response_model=Health,
        operation_id="health",
        tags=["health"],
        responses={503: {"model": Health, "description": "The store does not answer."}},
    )
    async def health(response: Response) -> Health:
        beats = await pulse.beats()
        response.status_code = 200 if beats else 503
        word: Literal["ok", "unavailable"] = "ok" if beats else "unavailable"
        return Health(status=word, version=__version__, store=word)

    return routes
