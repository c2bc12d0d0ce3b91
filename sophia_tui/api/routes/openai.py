"""/v1: the served models by the OpenAI protocol, for any client of it.

Only names, keys and counting are ours; the answers are the engines'. One thing is set for who does
not say it: the temperature is 0, so that the same question gets the same answer.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sophia_tui.api import asked
from sophia_tui.api.engine_use import Turn
from sophia_tui.api.front import EngineRefused, Figures, Front, Target, error_code
from sophia_tui.api.problems import openai_status
from sophia_tui.domain.context import Role
from sophia_tui.domain.serving import PROBE_HEADER, DeploymentState
from sophia_tui.errors import (
    CancelledError,
    NotFoundError,
    RefusedError,
    SophiaError,
    UnavailableError,
    UsageError,
)
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    import httpx


def router(front: Front) -> APIRouter:
    """The routes; every one needs a token, and asking a model the role operator or its own key."""
    routes = APIRouter(prefix="/v1", tags=["models"])

    @routes.get("/models", operation_id="v1.models")
    async def models() -> dict[str, Any]:
        found = (await front.targets()).values()
        return {"object": "list", "data": [_described(each) for each in found if _is_ready(each)]}

    @routes.get("/models/{name:path}", operation_id="v1.model")
    async def model(name: str) -> dict[str, Any]:
        return _described(_known(name, await front.targets()))

    @routes.post("/chat/completions", operation_id="v1.chat")
    async def chat(request: Request) -> Response:
        return await _generate(front, request, "chat/completions")

    @routes.post("/completions", operation_id="v1.completions")
    async def completions(request: Request) -> Response:
        return await _generate(front, request, "completions")

    return routes


def _is_ready(target: Target) -> bool:
    return target.deployment.state is DeploymentState.READY


def _described(target: Target) -> dict[str, Any]:
    return {
        "id": target.deployment.name,
        "object": "model",
        "created": int(target.deployment.created_at.timestamp()),
        "owned_by": "sophia",
    }


def _known(name: str, targets: dict[str, Target]) -> Target:
    target = targets.get(name)
    if target is None:
        raise NotFoundError(
            "M439",
            _("No model is served as {name}.").format(name=visible(name)[:200]),
            remedy=_("GET /v1/models lists them."),
            openai={"code": "model_not_found", "param": "model"},
        )
    return target


async def _generate(front: Front, request: Request, path: str) -> Response:
    figures = Figures(model="")
    handed_on = False
    try:
        _require_operator(request)
        # only who may ask may say so: what is refused to others is counted
        figures.probe = PROBE_HEADER in request.headers
        body = asked.read(await request.body(), path)
        figures.streamed = bool(body.get("stream"))
        target = _known(body["model"], await front.targets())
        figures.model = target.deployment.name
        figures.deployment_id = target.deployment.id
        asked.require_heeded(body, target.access, path)
        body = asked.fitted(body, target.access.context)
        if figures.streamed:
            response = await _streamed(front, target, path, body, figures)
            handed_on = True  # the stream counts itself when it ends
            return response
        return JSONResponse(await _whole(front, request, target, path, body, figures))
    except EngineRefused as refused:
        problem = _of_engine(refused)
        figures.failed(openai_status(problem), error_code(problem))
        raise problem from None
    except SophiaError as problem:
        figures.failed(openai_status(problem), error_code(problem))
        raise
    except Exception:
        figures.failed(500, "X500")
        raise
    finally:
        if not handed_on:
            front.count(figures)


async def _whole(
    front: Front, request: Request, target: Target, path: str, body: Any, figures: Figures
) -> dict[str, Any]:
    """The whole answer; nobody waits for it once the client has gone away."""
    answering = asyncio.create_task(front.whole(target, path, body, figures))
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise CancelledError("M450", _("The client went away."))
        return answering.result()
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.wait({answering, leaving})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _streamed(
    front: Front, target: Target, path: str, body: dict[str, Any], figures: Figures
) -> Response:
    """The stream, begun: what the engine refuses is still answered by a status."""
    opened, turn = await front.open(target, path, body)
    events = front.chunks(opened, turn, figures, body)
    return _Stream(front, opened, turn, events, figures)


class _Stream(StreamingResponse):
    """Passes events on, and whatever happens then lets the engine go and counts the request."""

    def __init__(
        self,
        front: Front,
        opened: "httpx.Response",
        turn: Turn,
        events: AsyncIterator[bytes],
        figures: Figures,
    ) -> None:
        super().__init__(self._passed_on(events), media_type="text/event-stream")
        self._front = front
        self._opened = opened
        self._turn = turn
        self._figures = figures
        self._whole = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._whole:  # the client went away: the engine must not go on for nobody
                self._figures.failed(499, "M450")
                self._turn.left()
            self._turn.end()
            self._front.count(self._figures)
            await self._opened.aclose()

    async def _passed_on(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for event in events:
            yield event
        self._whole = True


def _require_operator(request: Request) -> None:
    role: Role = request.state.role
    if not role.allows(Role.OPERATOR):
        raise RefusedError(
            "M453",
            _("Asking a model is not allowed for this token."),
            _("It stands for somebody who only looks."),
            _("Use SOPHIA_MODEL_TOKEN as the API key."),
        )


def _of_engine(refused: EngineRefused) -> SophiaError:
    """The engine's refusal in our words; its own are passed on to who asked, and to nobody else."""
    if refused.too_long:
        return UsageError(
            "M495",
            _("The text does not fit into the model's context."),
            visible(refused.detail),
            _("Ask with less text."),
            openai={"code": "context_length_exceeded", "param": "messages"},
        )
    if 400 <= refused.status < 500:
        return UsageError("M452", _("The engine refuses this request."), visible(refused.detail))
    return UnavailableError(
        "M446",
        _("The engine failed at this request."),
        _("It answered with status {status}.").format(status=refused.status),
        _("The model's template may not take these messages; the engine's log has the place."),
    )
