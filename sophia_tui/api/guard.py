"""The outermost layer of the API: token, body limits, language, access log, figures, the last net.

Plain ASGI, so that nothing inside it runs for a request without a token.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sophia_tui import networks
from sophia_tui.api import problems
from sophia_tui.api.auth import Tokens
from sophia_tui.api.metrics import Traffic
from sophia_tui.errors import CancelledError, SophiaError, TooLargeError, TooSlowError
from sophia_tui.i18n import DEFAULT_LANGUAGE, _, match_language, set_language
from sophia_tui.services.operations import logged_error
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.wiring import House

OPEN_PATHS = frozenset({"/health"})
#: Bytes of a request's body; nothing that Sophia is asked for needs more.
MAXIMUM_BODY = 10_000_000
#: A body is waited for so long, and one second more for so many bytes that have come: who sends
#: less holds a connection for nothing. One that is read whole has an end in any case.
BODY_PATIENCE_SECONDS = 30.0
BODY_BYTES_A_SECOND = 4096
LONGEST_BODY_SECONDS = 300.0
SAFE_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

_log = logging.getLogger("sophia.api")


def wanted_language(accept: str, default: str) -> str:
    """The first language of ours by the weights of an Accept-Language header."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept.split(",")[:20]):
        tag, _sign, weight = part.strip().partition(";q=")
        language = match_language(tag.strip())
        try:
            rank = float(weight) if weight else 1.0
        except ValueError:
            continue
        if language and rank > 0:
            ranked.append((-rank, place, language))
    return min(ranked)[2] if ranked else default


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


class Guard:
    """Wraps the application; the role of the caller goes on in `request.state.role`."""

    def __init__(self, app: ASGIApp, house: "House", tokens: Tokens, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic
        self._house = house
        self._tokens = tokens
        self._proxies = networks.read(house.settings.api_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        language = DEFAULT_LANGUAGE  # whole, where the protocol itself has English words
        if not problems.is_openai(scope["path"]):
            accept = _header(scope["headers"], b"accept-language")
            language = wanted_language(accept, self._house.language)
        set_language(language)
        started = time.monotonic()
        status = 0
        scope.setdefault("state", {})["client"] = self._client_of(scope)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *SAFE_HEADERS]
            await send(message)

        try:
            await self._admit(scope, receive, sending)
        except Exception as problem:
            error = logged_error(problem, visible(scope["path"]))
            if not status:
                await problems.answer(error, scope["path"])(scope, receive, sending)
        finally:
            seconds = time.monotonic() - started
            self._traffic.answered(scope, status, seconds)
            self._tell(scope, status, seconds)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            state = scope["state"]
            if scope["path"] not in OPEN_PATHS:
                asks_model = problems.asks_model(scope["method"], scope["path"])
                client = networks.counted_as(state["client"])
                state["role"] = self._tokens.role_of(scope["headers"], asks_model, client)
            if problems.is_streamed(scope["method"], scope["path"]):
                receive = _Paced(receive).receive
            else:
                receive = await _within_limit(scope, receive)
        except SophiaError as problem:
            await problems.answer(problem, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _client_of(self, scope: Scope) -> str:
        """Who asks, also behind a proxy that SOPHIA_API_PROXIES names."""
        peer = (scope.get("client") or ("-",))[0]
        if not self._proxies:
            return str(peer)
        said = [
            value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for"
        ]
        return networks.client_of(peer, said, self._proxies)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """One line of access log: never a query string, a header or a body."""
        role = scope["state"].get("role")
        _log.info(
            "%s %s %s %d %d ms %s",
            visible(scope["state"]["client"]),
            visible(scope["method"]),
            visible(scope["path"])[:200],
            status,
            round(1000 * seconds),
            role.value if role else "-",
        )


class _Paced:
    """Hands a body's pieces on while they come fast enough; after it nothing is hurried."""

    def __init__(self, receive: Receive, longest: float = float("inf")) -> None:
        self._receive = receive
        self._longest = longest
        self._began = time.monotonic()
        self._bytes = 0
        self._whole = False

    async def receive(self) -> Message:
        """Raises TooSlowError U470."""
        if self._whole:
            return await self._receive()
        allowed = min(self._longest, BODY_PATIENCE_SECONDS + self._bytes / BODY_BYTES_A_SECOND)
        try:
            async with asyncio.timeout(self._began + allowed - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise TooSlowError(
                "U470",
                _("The request's body did not come in time."),
                _("It may take {seconds} s, and longer only while bytes come.").format(
                    seconds=round(BODY_PATIENCE_SECONDS)
                ),
                _("Send it again, whole."),
            ) from None
        self._bytes += len(message.get("body", b""))
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message


async def _within_limit(scope: Scope, receive: Receive) -> Receive:
    """Read the body and hand it on in one piece. Raises TooLargeError U462, TooSlowError U470."""
    announced = _header(scope["headers"], b"content-length")
    if announced.isdigit() and int(announced) > MAXIMUM_BODY:
        raise _too_large()
    paced = _Paced(receive, LONGEST_BODY_SECONDS)
    body = bytearray()
    more = True
    while more:
        message = await paced.receive()
        if message["type"] == "http.disconnect":  # half a request must do nothing
            raise CancelledError("J614", _("The client went away."))
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAXIMUM_BODY:
            raise _too_large()
    pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _too_large() -> TooLargeError:
    return TooLargeError(
        "U462",
        _("The request's body is too large."),
        _("At most {bytes} bytes are read.").format(bytes=MAXIMUM_BODY),
        _("Send less at once, or name a file on the server."),
    )
