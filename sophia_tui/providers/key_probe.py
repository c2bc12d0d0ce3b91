"""Asks an OpenAI-compatible service for its models: whether it takes the key. The standard library
alone, so that it works before any extra is installed; no redirect is followed, proxies count."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from sophia_tui.domain.setup import KeyAnswer
from sophia_tui.i18n import _
from sophia_tui.providers.model_probe import DEFAULT_ADDRESS
from sophia_tui.textsafe import visible

_LONGEST_BODY = 4_000_000
_LONGEST_WORD = 200


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes where it was meant to go, and nowhere else."""

    def redirect_request(self, *given: Any, **options: Any) -> None:
        return None


async def probe_key(base_url: str | None, api_key: str, seconds: float) -> KeyAnswer:
    """What the service at that address says to the key, within so many seconds."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[KeyAnswer] = loop.create_future()
    address = (base_url or DEFAULT_ADDRESS).rstrip("/")

    def take(found: KeyAnswer) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found = _ask(address, api_key, seconds)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(take, found)

    # a server that sends a byte a minute must not hold up the end of the program
    threading.Thread(target=ask, daemon=True, name="sophia-key").start()
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        return KeyAnswer("unreachable", _shown(address), _no_answer(seconds))


def _ask(address: str, api_key: str, seconds: float) -> KeyAnswer:
    shown, begun = _shown(address), time.monotonic()
    try:
        request = urllib.request.Request(f"{address}/models", headers=_headers(api_key))
        if urlsplit(address).scheme not in ("http", "https"):
            return KeyAnswer("strange", shown, _("The address is not one of http or https."))
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=seconds) as response:
            content = response.read(_LONGEST_BODY)
    except urllib.error.HTTPError as problem:
        with problem:
            return _refusal(problem, shown, api_key)
    except Exception as problem:
        # whatever the network does is the answer to the question
        return KeyAnswer("unreachable", shown, _why(problem, seconds))
    milliseconds = 1000 * (time.monotonic() - begun)
    try:
        models = json.loads(content)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        models = None
    if not isinstance(models, list):
        return KeyAnswer("strange", shown, _("It answered, but not with a list of models."))
    return KeyAnswer("accepted", shown, milliseconds=milliseconds)


def _headers(api_key: str) -> dict[str, str]:
    headers = {"accept": "application/json", "user-agent": "sophia"}
    return {**headers, "authorization": f"Bearer {api_key}"} if api_key else headers


def _refusal(problem: urllib.error.HTTPError, shown: str, api_key: str) -> KeyAnswer:
    why = f"HTTP {problem.code}"
    with contextlib.suppress(Exception):  # the status says enough where the body does not
        told = json.loads(problem.read(_LONGEST_BODY))
        error = told.get("error", told)
        word = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        if word:
            said = visible(str(word)).replace(api_key or "\0", "***")
            why += f": {said[:_LONGEST_WORD]}"
    if problem.code in (401, 403):
        return KeyAnswer("refused", shown, why)
    if problem.code == 429:
        return KeyAnswer("limited", shown, why)
    if problem.code >= 500:
        return KeyAnswer("unreachable", shown, why)
    return KeyAnswer("strange", shown, why)


def _why(problem: Exception, seconds: float) -> str:
    cause = problem.reason if isinstance(problem, urllib.error.URLError) else problem
    if isinstance(cause, TimeoutError):
        return _no_answer(seconds)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _("Its certificate is not one that this machine trusts.")
    if isinstance(cause, socket.gaierror):
        return _("No machine of that name was found.")
    if isinstance(cause, ConnectionRefusedError):
        return _("Nobody listens at that address.")
    return type(cause).__name__


def _no_answer(seconds: float) -> str:
    return _("No answer came within {seconds} seconds.").format(seconds=f"{seconds:g}")


def _shown(address: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(address)
    return visible(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
