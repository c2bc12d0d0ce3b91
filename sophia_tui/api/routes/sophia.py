"""Our own protocol: a route for each operation of the registry, under /api/v1/SUBJECT/VERB.

What only reads is a GET with its input as query parameters; what changes something is a POST with
its input as JSON body. `confirm` and `dry_run` may stand in the query or in the body: there the
boolean itself, in the query the word `true` or `false`; what is nearly that is refused. What is
told bit by bit (jobs.watch) goes as server-sent events to who accepts them.
"""

import asyncio
import contextlib
import json
import types
import typing
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from sophia_tui.api import streams
from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.operations import Operation
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _, get_language
from sophia_tui.services.changes import MOST_NUMBER
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.wiring import House

PREFIX = "/api/v1"
SEEN = "seen"
CONTROLS = ("confirm", "dry_run", "detach")
#: What controls may be in a query, which knows words alone.
_WORDS = {"true": True, "false": False}
_NUMBER: TypeAdapter[int | None] = TypeAdapter(Annotated[int, Field(ge=0, le=MOST_NUMBER)] | None)


def path_of(chosen: Operation) -> str:
    return f"{PREFIX}/{chosen.subject}/{chosen.verb}"


def method_of(chosen: Operation) -> str:
    """GET for what only reads and fits into a query; secrets and nested inputs never do."""
    flat = all(_fits_query(info.annotation) for info in chosen.input.model_fields.values())
    return "GET" if not chosen.writes and flat else "POST"


def _fits_query(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple):
        return all(_fits_query(each) for each in typing.get_args(annotation))
    if typing.get_origin(annotation) is dict or annotation in (dict, SecretStr, Any):
        return False
    return not (isinstance(annotation, type) and issubclass(annotation, BaseModel))


@dataclass(frozen=True)
class Asked:
    """A request taken apart: the operation's fields and the controls."""

    fields: dict[str, Any]
    confirm: bool
    dry_run: bool
    detach: bool = False
    seen: int | None = None


async def asked_by(request: Request, chosen: Operation) -> Asked:
    """What a request asks for, not yet checked against the operation's input.

    Raises UsageError U463 for a body that is no JSON object, U465 for a control that is no boolean,
    U062 for `seen` that is no number.
    """
    query = _from_query(request, chosen)
    body = _from_body(await request.body()) if request.method == "POST" else {}
    fields, controls = {**query, **body}, {}
    for name in CONTROLS:
        if name not in chosen.input.model_fields:
            controls[name] = _flag(name, fields.pop(name, False), name in body)
    seen = None
    if SEEN not in chosen.input.model_fields:
        seen = _whole(SEEN, fields.pop(SEEN, None))
    return Asked(fields, **{"confirm": False, "dry_run": False, **controls}, seen=seen)


async def body_of(request: Request) -> Mapping[str, Any]:
    """The body as an object. Raises UsageError U463."""
    return _from_body(await request.body())


def _from_query(request: Request, chosen: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in request.query_params:
        every = request.query_params.getlist(name)
        info = chosen.input.model_fields.get(name)
        found[name] = every if info and _is_list(info.annotation) else every[-1]
    return found


def _is_list(annotation: Any) -> bool:
    options = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_list(each) for each in options)
    return typing.get_origin(annotation) in (list, tuple)


def _from_body(content: bytes) -> Mapping[str, Any]:
    if not content.strip():
        return {}
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError):  # also bytes that are no text, and bottomless nesting
        plain = None
    if not isinstance(plain, dict):
        raise UsageError(
            "U463",
            _("The request's body is not a JSON object."),
            remedy=_('Send an object such as {"limit": 10}, or {}.'),
        )
    return plain


def _flag(name: str, value: Any, in_body: bool) -> bool:
    """Nothing is guessed: who deletes means it, and a dry run that is misspelt never runs."""
    if not in_body:
        value = _WORDS.get(value, value)
    if isinstance(value, bool):
        return value
    raise UsageError(
        "U465",
        _("{name} must be true or false.").format(name=name),
        _("In the body it is a JSON boolean without quotes, in the query the word true or false."),
    )


def _whole(name: str, value: Any) -> int | None:
    try:
        found: int | None = _NUMBER.validate_python(value)
    except ValidationError:
        raise UsageError("U062", _("{name} must be a whole number.").format(name=name)) from None
    return found


@contextlib.asynccontextmanager
async def listening(request: Request, cancel: CancelSignal) -> AsyncIterator[None]:
    """Ask to stop when the client goes away."""

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue
        cancel.request()

    listener = asyncio.create_task(listen())
    try:
        yield
    finally:
        listener.cancel()
        await asyncio.wait([listener])


class Running:
    """The cancel signals of the requests under way, for a server that is told to stop."""

    def __init__(self) -> None:
        self._signals: set[CancelSignal] = set()

    @contextlib.contextmanager
    def one(self) -> typing.Iterator[CancelSignal]:
        signal = CancelSignal()
        self._signals.add(signal)
        try:
            yield signal
        finally:
            self._signals.discard(signal)

    def stop_all(self) -> None:
        for signal in tuple(self._signals):
            signal.request()


def _endpoint(house: "House", chosen: Operation, running: Running) -> Any:
    streaming = chosen.streams and not chosen.writes

    async def endpoint(request: Request) -> Any:
        asked = await asked_by(request, chosen)
        role: Role = request.state.role

        def context_of(cancel: CancelSignal, tell: typing.Callable[[Any], None]) -> Context:
            return house.context(
                Face.API,
                dry_run=asked.dry_run,
                detach=asked.detach,
                confirmed=asked.confirm,
                seen=asked.seen,
                cancel=cancel,
                tell=tell,
                actor=f"api:{role.value}",
                role=role,
                language=get_language(),
            )

        if streaming and streams.wanted(request):
            return streams.respond(_parts(house, chosen, running, request, asked, context_of))
        with running.one() as cancel:
            context = context_of(cancel, lambda _part: None)
            # a change that has begun is finished whether or not somebody still waits for the answer
            waiting = contextlib.nullcontext() if chosen.writes else listening(request, cancel)
            async with waiting:
                answer = await house.dispatcher.call(chosen.name, asked.fields, context)
        if asked.detach:  # the job that does it, which is no answer of the operation yet
            return JSONResponse(answer.model_dump(mode="json"), 202)
        return answer

    endpoint.__name__ = chosen.name.replace(".", "_")
    return endpoint


async def _parts(
    house: "House",
    chosen: Operation,
    running: Running,
    request: Request,
    asked: Asked,
    context_of: typing.Callable[[CancelSignal, typing.Callable[[Any], None]], Context],
) -> AsyncIterator[str]:
    """The operation's parts and its answer. Who comes back after a cut goes on behind the last one
    that was seen."""
    seen = streams.last_seen(request)
    after = "after" in chosen.input.model_fields and seen is not None
    fields = {**asked.fields, "after": seen} if after else asked.fields
    with running.one() as cancel:

        def work(tell: typing.Callable[[Any], None]) -> typing.Awaitable[BaseModel]:
            return house.dispatcher.call(chosen.name, fields, context_of(cancel, tell))

        async for part in streams.stream(work, cancel):
            yield part


def router(house: "House", running: Running) -> APIRouter:
    """A route for each operation of the house's registry."""
    routes = APIRouter()
    for chosen in house.registry:
        chosen.output.model_rebuild()
        routes.add_api_route(
            path_of(chosen),
            _endpoint(house, chosen, running),
            methods=[method_of(chosen)],
            response_model=chosen.output,
            operation_id=chosen.name,
            summary=chosen.help,
            tags=[chosen.subject],
            responses={**_streamed(chosen), **_detached(chosen)},
        )
    return routes


def _detached(chosen: Operation) -> dict[int | str, dict[str, Any]]:
    if not chosen.detaches:
        return {}
    return {202: {"model": JobView, "description": "The job that does it in the background."}}


def _streamed(chosen: Operation) -> dict[int | str, dict[str, Any]]:
    """That an answer may also come bit by bit, for the API's description."""
    if not chosen.streams or chosen.writes:
        return {}
    return {200: {"content": {streams.MEDIA_TYPE: {}}}}
