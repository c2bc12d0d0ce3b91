"""The HTTP API's application, and the server that runs it in the foreground."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sophia_tui import __version__
from sophia_tui.api import openapi, problems
from sophia_tui.api.auth import Tokens
from sophia_tui.api.counting import Counter
from sophia_tui.api.front import Front
from sophia_tui.api.guard import Guard
from sophia_tui.api.metrics import Metrics, Traffic
from sophia_tui.api.routes import (
    adaptive,
    fine_tuning,
    finetune,
    health,
    metrics,
    openai,
    personas,
    sophia,
)
from sophia_tui.api.watch import Watch
from sophia_tui.domain.context import Face
from sophia_tui.errors import UnavailableError
from sophia_tui.i18n import _
from sophia_tui.services.promotion_recovery import LOOK_SECONDS

if TYPE_CHECKING:
    from sophia_tui.wiring import House

#: Seconds that requests under way get when the server is told to stop.
GRACE_SECONDS = 10
#: Seconds that the head of a request may take.
HEAD_SECONDS = 20.0


class SophiaAPI(FastAPI):
    """FastAPI with the guard outside of everything, FastAPI's own net for errors included."""

    def __init__(self, house: "House", running: sophia.Running) -> None:
        pulse = health.Pulse(house)
        traffic = Traffic()
        counter = Counter(house, traffic=traffic)
        front = Front(house, counter)
        watch = Watch(house, front)

        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            counter.start()
            watch.start()
            mending = asyncio.create_task(_mend(house))
            yield
            mending.cancel()
            await asyncio.wait([mending])
            await watch.stop()
            await pulse.stop()
            await front.close()
            await counter.stop()
            await house.close()

        super().__init__(
            title="Sophia",
            version=__version__,
            lifespan=lifespan,
            redoc_url=None,
            redirect_slashes=False,
        )
        self._operations = house.registry
        problems.install(self)
        self.include_router(health.router(pulse))
        self.include_router(metrics.router(Metrics(house, traffic)))
        self.include_router(sophia.router(house, running))
        offered = {each.name for each in house.registry}
        if finetune.OPERATION in offered:
            self.include_router(finetune.router(house, running))
        if adaptive.OPERATION in offered:
            self.include_router(adaptive.router(house))
        if offered >= personas.OPERATIONS:
            self.include_router(personas.router(house))
        if offered >= fine_tuning.OPERATIONS:
            self.include_router(fine_tuning.router(house))
        self.include_router(openai.router(front))
        self._guard = Guard(super().__call__, house, Tokens(house.settings), traffic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guard(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = openapi.describe(self, self._operations)
        return self.openapi_schema


async def _mend(house: "House") -> None:
    """At the start, and then now and then: end a promotion that was cut off."""
    while True:
        await house.mend(Face.API)
        await asyncio.sleep(LOOK_SECONDS)


def create_app(house: "House", running: sophia.Running | None = None) -> FastAPI:
    """The API over one house, which is closed when the server stops.

    Raises UsageError T423 where SOPHIA_API_ROLE is no role.
    """
    return SophiaAPI(house, running or sophia.Running())


class _Protocol(H11Protocol):
    """Closes a connection on which a request's head does not come: uvicorn only ends those that
    are idle after an answer."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._no_more()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def tell_systemd(state: str) -> None:
    """A word by the protocol of sd_notify(3); nothing where no service manager waits for one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(state.encode(), address)
    except OSError as problem:  # requests are answered all the same
        logging.getLogger("uvicorn.error").warning("systemd was not told: %s", problem)


class _Server(uvicorn.Server):
    """A server that tells systemd when it answers, and asks long reads to end as soon as it is told
    to stop."""

    def __init__(self, config: uvicorn.Config, running: sophia.Running) -> None:
        super().__init__(config)
        self._running = running

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            tell_systemd("READY=1")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._running.stop_all()
        super().handle_exit(sig, frame)


def run_api(house: "House", host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    Raises UnavailableError S051 where the address is taken, S052 where it can't be used.
    """
    running = sophia.Running()
    app = create_app(house, running)
    with _listener(host, port) as listener:
        _log_to_stderr()
        named, bound = listener.getsockname()[:2]
        where = f"http://[{named}]:{bound}" if ":" in named else f"http://{named}:{bound}"
        print(_("The HTTP API listens at {address}.").format(address=where), file=sys.stderr)
        config = uvicorn.Config(
            app,
            http=_Protocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = _Server(config, running)
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn raises the signal again when it has stopped: to be told to stop is no failure
            signal.signal(number, lambda *_ignored: None)
        server.run(sockets=[listener])
    return 0 if server.started else 1


def _listener(host: str, port: int) -> socket.socket:
    try:
        if not 0 < port < 65536:  # the resolver would quietly take it modulo 65536
            raise OverflowError(_("Ports are numbers from 1 to 65535."))
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
            raise UnavailableError(
                "S051",
                _("Port {port} on {host} is taken.").format(port=port, host=host),
                _("Another program listens there, perhaps another `sophia serve api`."),
                _("Stop it, or choose another port with --port."),
            ) from problem
        why = (
            os.strerror(problem.errno or 0)
            if isinstance(problem, PermissionError)
            else str(problem)
        )
        raise UnavailableError(
            "S052",
            _("Sophia can't listen on {host}, port {port}.").format(port=port, host=host),
            why,
            _("Choose another --host or --port; ports below 1024 need root."),
        ) from problem
    return listener


def _log_to_stderr() -> None:
    """uvicorn's few words and our access log; uvicorn's own access log would hold queries."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("uvicorn.error", "sophia.api"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").propagate = False
