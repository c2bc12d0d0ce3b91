"""`/api/ai/train/lora/start`, `status` and `cancel`: doors to the adaptive training, in the shapes
that scripts have."""

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sophia_tui.api.routes.sophia import asked_by
from sophia_tui.domain.context import Context, Face
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import get_language
from sophia_tui.services.adaptive import AdaptiveStart, AdaptiveView

if TYPE_CHECKING:
    from sophia_tui.wiring import House

OPERATION = "adaptive.start"
#: How long a start waits for the process that it is asked to name.
PID_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Started(BaseModel):
    """`pid` is null where the process did not start within some seconds: the job waits its turn."""

    ok: bool = True
    pid: int | None
    log: str | None
    job: str | None


class Status(BaseModel):
    running: bool
    pid: int | None
    log: str | None
    job: str | None


class Cancelled(BaseModel):
    ok: bool
    msg: str | None = None
    job: str | None = None


class Failed(BaseModel):
    """`error` says in full what happened, why, and what to do."""

    ok: bool = False
    msg: str
    err: str | None = None
    error: dict[str, Any] | None = None


def router(house: "House") -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/ai/train/lora", tags=["adaptive"])

    def context(request: Request) -> Context:
        role = request.state.role
        return house.context(
            Face.API,
            confirmed=True,  # the scripts have no other way to say it
            actor=f"api:{role.value}",
            role=role,
            language=get_language(),
        )

    async def look(request: Request) -> AdaptiveView:
        view = await house.dispatcher.call("adaptive.status", {}, context(request))
        assert isinstance(view, AdaptiveView)
        return view

    @routes.post(
        "/start",
        operation_id="adaptive.lora.start",
        response_model=Started,
        responses={409: {"model": Failed}, 500: {"model": Failed}, "default": {"model": Failed}},
        openapi_extra={
            "requestBody": {
                "content": {"application/json": {"schema": AdaptiveStart.model_json_schema()}}
            }
        },
    )
    async def start(request: Request) -> Any:
        try:
            asked = await asked_by(request, house.registry.get(OPERATION))
            await house.dispatcher.call(OPERATION, asked.fields, context(request))
        except SophiaError as problem:
            return _failed(problem)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PID_SECONDS
        view = await look(request)
        while view.pid is None and view.running and loop.time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
            view = await look(request)
        return Started(pid=view.pid, log=view.log, job=view.job)

    @routes.get("/status", operation_id="adaptive.lora.status")
    async def status(request: Request) -> Status:
        view = await look(request)
        return Status(running=view.running, pid=view.pid, log=view.log, job=view.job)

    @routes.post(
        "/cancel",
        operation_id="adaptive.lora.cancel",
        response_model=Cancelled,
        response_model_exclude_none=True,
    )
    async def cancel(request: Request) -> Cancelled:
        try:
            view = await house.dispatcher.call("adaptive.cancel", {}, context(request))
        except SophiaError as problem:
            if problem.code == "SOPHIA-J621":
                return Cancelled(ok=False, msg="no job")
            raise
        assert isinstance(view, AdaptiveView)
        return Cancelled(ok=True, job=view.job)

    return routes


def _failed(problem: SophiaError) -> JSONResponse:
    """The two failures that scripts know by their words; others in the same shape."""
    msg, err, status = problem.what, None, problem.http_status
    if problem.code == "SOPHIA-J620":
        msg = "job running"
    elif problem.details.get("stage") == "builder":
        told = (problem.what, problem.why, problem.remedy)
        msg, err, status = "builder failed", " ".join(part for part in told if part), 500
    body = Failed(msg=msg, err=err, error=problem.as_dict())
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status)
