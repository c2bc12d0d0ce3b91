"""The front of the served models: which engine answers to a name, and the way to it and back.

Names are ours: what a client asked for stands in every answer, whatever the engine calls itself.
Bodies pass through and are never logged.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from sophia_tui.api.engine_use import EngineUse, Turn
from sophia_tui.domain.serving import Access, Deployment, DeploymentState, ServedRequest
from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.i18n import _

if TYPE_CHECKING:
    from sophia_tui.api.counting import Counter
    from sophia_tui.wiring import House

#: How long a look at the store counts; a name that was just served is known after that.
_FRESH_SECONDS = 1.0
#: An engine answers some requests at once at most, so a client may wait for those before it.
_ANSWER_SECONDS = 600.0
_CONNECT_SECONDS = 5.0
_DONE = b"data: [DONE]\n\n"

_log = logging.getLogger("sophia.api")


@dataclass(frozen=True)
class Target:
    """A living deployment, and how its engine is asked for the model."""

    deployment: Deployment
    access: Access

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.deployment.port}/v1"


@dataclass
class Figures:
    """What is known of one request while it is answered; becomes a ServedRequest."""

    model: str
    deployment_id: str | None = None
    streamed: bool = False
    begun: float = field(default_factory=time.monotonic)
    status: int = 200
    error: str | None = None
    #: One of Sophia's own questions: no traffic of production, so it is not counted.
    probe: bool = False
    first_token_seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def usage(self, usage: Any) -> None:
        """Take the engine's own count of tokens."""
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.completion_tokens = _count(usage.get("completion_tokens"))

    def first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self.begun

    def failed(self, status: int, error: str) -> None:
        self.status, self.error = status, error


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**31 else None


class EngineRefused(Exception):
    """The engine answered with an error; `detail` is for the client alone. `too_long` says that
    its tokenizer found the text longer than its context."""

    def __init__(self, status: int, detail: str, too_long: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail
        self.too_long = too_long


class Front:
    """Names, engines and the counting of what passes."""

    def __init__(self, house: "House", counter: "Counter") -> None:
        self._house = house
        self._counter = counter
        self._engines = house.engines()
        self._targets: dict[str, Target] = {}
        self._looked = float("-inf")
        #: By process: the watcher must know who waits for an engine.
        self.uses: dict[str, EngineUse] = {}
        #: Whether the watcher of this process is the one that looks after the engines.
        self.watched = False
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def targets(self) -> dict[str, Target]:
        """What is served on this machine, by name. While the store is away, what it said last.

        Raises UnavailableError where it named nothing: then nobody knows whether anything is.
        """
        now = time.monotonic()
        if now - self._looked >= _FRESH_SECONDS:
            try:
                self._targets = await self._look()
            except UnavailableError as problem:
                if not self._targets:
                    raise
                _log.warning("served names are from memory: %s", problem.code)
            self._looked = now
        return self._targets

    async def _look(self) -> dict[str, Target]:
        store = await self._house.store()
        found: dict[str, Target] = {}
        for deployment in await store.deployments.page(limit=500, living=True):
            identity = deployment.identity
            if identity is not None and identity.host != self._engines.host:
                continue
            known = self._targets.get(deployment.name)
            # a process that was started anew may have other adapters, and has another key
            if known is not None and _same_process(known.deployment, deployment):
                found[deployment.name] = replace(known, deployment=deployment)
                continue
            model = await store.models.get(deployment.model_id)
            if model is not None:
                access = self._engines.access(deployment.engine, model, deployment.folder or "")
                found[deployment.name] = Target(deployment, access)
        living = {_process_of(each.deployment) for each in found.values()}
        self.uses = {key: use for key, use in self.uses.items() if key in living or use.under_way}
        return found

    def count(self, figures: Figures) -> None:
        """Hand the figures of a request that has ended on to the counter."""
        if figures.probe:
            return
        self._counter.take(
            ServedRequest(
                at=self._house.clock.now(),
                model=figures.model,
                status=figures.status,
                seconds=time.monotonic() - figures.begun,
                deployment_id=figures.deployment_id,
                streamed=figures.streamed,
                first_token_seconds=figures.first_token_seconds,
                prompt_tokens=figures.prompt_tokens,
                completion_tokens=figures.completion_tokens,
                error=figures.error,
            )
        )

    async def whole(
        self, target: Target, path: str, body: dict[str, Any], figures: Figures
    ) -> dict[str, Any]:
        """The engine's answer under the client's name. Raises EngineRefused, UnavailableError."""
        turn = self._turn(target)
        try:
            async with self._reached(target, turn):
                response = await self._http().post(
                    f"{target.base}/{path}",
                    json=_asked(target, body),
                    headers=target.access.headers,
                )
                answer = _json(response.content)
                if response.status_code != 200 or not isinstance(answer, dict):
                    raise _refused(response.status_code, answer)
            turn.heard()
        finally:
            turn.end()
        figures.usage(answer.get("usage"))
        return {**_without_timings(_as_many(answer, body)), "model": figures.model}

    async def open(
        self, target: Target, path: str, body: dict[str, Any]
    ) -> tuple[httpx.Response, Turn]:
        """A stream that the engine has begun; closing it tells the engine to stop. Who closes it
        ends the turn too.

        Raises EngineRefused, UnavailableError.
        """
        asked = {**_asked(target, body), "stream_options": {"include_usage": True}}
        turn = self._turn(target)
        try:
            async with self._reached(target, turn):
                request = self._http().build_request(
                    "POST", f"{target.base}/{path}", json=asked, headers=target.access.headers
                )
                response = await self._http().send(request, stream=True)
                if response.status_code != 200:
                    content = await response.aread()  # which closes it
                    raise _refused(response.status_code, _json(content))
                return response, turn
        except BaseException:
            turn.end()
            raise

    async def chunks(
        self, response: httpx.Response, turn: Turn, figures: Figures, body: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        """The engine's events as they come, under the client's name, with usage as OpenAI gives it:
        in an event of its own, for those who asked in `body`. Always ends in [DONE], or in an error
        event."""
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        last: dict[str, Any] | None = None
        usage: Any = None
        try:
            async for line in response.aiter_lines():
                chunk = _json(line[5:].strip().encode()) if line.startswith("data:") else None
                if not isinstance(chunk, dict):
                    continue
                if chunk.get("error"):
                    raise EngineRefused(500, "")
                usage = chunk.pop("usage", None) or usage
                last = {**_without_timings(_as_many(chunk, body)), "model": figures.model}
                if _has_text(chunk):
                    figures.first_token()
                    turn.heard()
                if chunk.get("choices"):
                    yield _event(last)
        except (httpx.HTTPError, EngineRefused) as problem:
            code = "M446" if isinstance(problem, EngineRefused) else "M447"
            if isinstance(problem, httpx.TimeoutException):
                turn.left()
            figures.failed(502, code)
            what = _("The engine broke off in the middle of the answer.")
            error = {"message": what, "type": "server_error", "param": None}
            yield _event({"error": {**error, "code": f"SOPHIA-{code}"}})
            return
        figures.usage(usage)
        if wants_usage and last is not None:
            yield _event({**last, "choices": [], "usage": usage})
        yield _DONE

    def _turn(self, target: Target) -> Turn:
        """Raises UnavailableError M448, M497 where it can't be asked now."""
        name = target.deployment.name
        if target.deployment.state is not DeploymentState.READY or target.deployment.port is None:
            raise UnavailableError(
                "M448",
                _("The model {name} is not ready yet.").format(name=name),
                _("Its engine is starting."),
                _("Ask again in some seconds."),
            )
        use = self.uses.setdefault(_process_of(target.deployment), EngineUse())
        use.deployment_id = target.deployment.id
        # or there would always be somebody who waits in vain, and it could never be started again
        if self.watched and use.silent_for() > self._house.settings.serving_stuck_seconds:
            raise UnavailableError(
                "M497",
                _("The model {name} is busy and has not answered for long.").format(name=name),
                _("Its engine works at a request whose client has gone."),
                _("It is started again by itself if it does not recover; ask again in a minute."),
            )
        return use.begin()

    @contextlib.asynccontextmanager
    async def _reached(self, target: Target, turn: Turn) -> AsyncIterator[None]:
        name = target.deployment.name
        try:
            yield
        except asyncio.CancelledError:  # the client went away
            turn.left()
            raise
        except httpx.TimeoutException as problem:
            turn.left()
            raise UnavailableError(
                "M449",
                _("The model {name} did not answer in time.").format(name=name),
                type(problem).__name__,
                _("It may have other requests to answer; ask for fewer tokens, or later."),
            ) from None
        except httpx.HTTPError as problem:
            raise UnavailableError(
                "M447",
                _("The engine of {name} does not answer.").format(name=name),
                type(problem).__name__,
                self._way_out(target.deployment),
            ) from None

    def _way_out(self, deployment: Deployment) -> str:
        """What becomes of an engine that broke off: only one that is gone is started again."""
        identity = deployment.identity
        gone = identity is not None and not self._engines.alive(identity)
        left = deployment.restarts < self._house.settings.serving_restarts
        if gone and left and not self._house.readonly:
            return _("It is started again by itself; ask again in some seconds.")
        return _("Ask again; if it stays so, `sophia serve model` starts it again.")

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
                # Each request gets a connection of its own: an engine closes an idle one when it
                # likes, and on loopback a new one costs nothing beside an answer.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                trust_env=False,  # a proxy has no business between us and our own loopback
            )
        return self._client


def error_code(problem: SophiaError) -> str:
    return problem.code.removeprefix("SOPHIA-")


def _event(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _has_text(chunk: dict[str, Any]) -> bool:
    for choice in chunk.get("choices") or []:
        delta = choice.get("delta") or {}
        if choice.get("text") or any(value for key, value in delta.items() if key != "role"):
            return True
    return False


def _refused(status: int, answer: Any) -> EngineRefused:
    """transformers says `detail`, llama.cpp and vLLM say `error` with a message and a type."""
    told = answer if isinstance(answer, dict) else {}
    error = told.get("error")
    error = error if isinstance(error, dict) else {}
    detail = told.get("detail") or error.get("message")
    too_long = error.get("type") == "exceed_context_size_error"
    return EngineRefused(status, detail if isinstance(detail, str) else "", too_long)


def _asked(target: Target, body: dict[str, Any]) -> dict[str, Any]:
    """The body as the engine wants it; what it needs beside goes before what a client says."""
    return {**body, **target.access.body, "model": target.access.model}


def _as_many(answer: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The answer with as many alternatives of each token as were asked for: llama.cpp gives 20 to
    those who asked for none."""
    wanted = body.get("top_logprobs") or 0
    for choice in answer.get("choices") or []:
        for token in (choice.get("logprobs") or {}).get("content") or []:
            if isinstance(token.get("top_logprobs"), list):
                token["top_logprobs"] = token["top_logprobs"][:wanted]
    return answer


def _without_timings(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without what llama.cpp tells of its own work."""
    return {key: value for key, value in answer.items() if key != "timings"}


def _process_of(deployment: Deployment) -> str:
    return deployment.folder or deployment.id


def _same_process(one: Deployment, other: Deployment) -> bool:
    """Whether the same model is asked of the same process."""
    known = (one.id, one.identity, one.port, one.state)
    return known == (other.id, other.identity, other.port, other.state)
