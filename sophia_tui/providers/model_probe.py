"""Asks a model for one token by its name, with the official client: what a service will do."""

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from sophia_tui.domain.serving import PROBE_HEADERS, Probe
from sophia_tui.errors import OutsideError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

DEFAULT_ADDRESS = "https://api.openai.com/v1"
#: The client refuses a blank key, and a server without keys takes any.
_NO_KEY = "no-key"
_LONGEST = 300


async def probe(base_url: str | None, api_key: str | None, model: str, seconds: float) -> Probe:
    """Whether the model answers there within so many seconds, and nobody else in its name.

    Raises UnavailableError P015 where the client is not installed.
    """
    try:
        import openai
    except ImportError as problem:
        raise OutsideError(
            "P015",
            _("A model can't be asked: the package openai is not installed."),
            remedy=_('pip install "sophia-tui[hosted]", or promote with --no-probe.'),
        ) from problem
    shown = _shown(base_url or DEFAULT_ADDRESS)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            async with openai.AsyncOpenAI(
                base_url=base_url or DEFAULT_ADDRESS,
                api_key=api_key or _NO_KEY,
                max_retries=0,
                default_headers=PROBE_HEADERS,
                timeout=seconds,
            ) as client:
                why = await _ask(client, model)
    except (TimeoutError, openai.APITimeoutError):
        why = _("No answer came within {seconds} seconds.").format(seconds=f"{seconds:g}")
    except openai.APIStatusError as problem:
        why = _told(problem).replace(api_key or _NO_KEY, "***")
    except openai.APIConnectionError as problem:
        cause = type(problem.__cause__ or problem).__name__
        why = _("Nobody listens there, or the way is barred ({kind}).").format(kind=cause)
    except (openai.OpenAIError, ValueError, AttributeError, TypeError, UnicodeError) as problem:
        # what is no OpenAI-compatible answer surprises the client in many ways
        why = _("What came is no answer of the OpenAI protocol ({kind}).").format(
            kind=type(problem).__name__
        )
    return Probe(not why, shown, why, round(time.monotonic() - begun, 3))


async def _ask(client: Any, model: str) -> str:
    """What is wrong with the answer; nothing where it is the model's."""
    import openai

    try:
        answer = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "."}], max_tokens=1
        )
    except (openai.BadRequestError, openai.UnprocessableEntityError) as problem:
        # a model that takes no max_tokens, say: then its listing must do
        return "" if await _is_listed(client, model) else _told(problem)
    if not getattr(answer, "choices", None):
        return _("What came is no answer of the OpenAI protocol ({kind}).").format(
            kind=type(answer).__name__
        )
    named = str(getattr(answer, "model", "") or "")
    # a provider answers an alias by its dated name: gpt-4o by gpt-4o-2024-08-06
    if named in ("", model) or named.startswith(f"{model}-") or await _is_listed(client, model):
        return ""
    return _("Another model answered: {model}.").format(model=visible(named)[:_LONGEST])


async def _is_listed(client: Any, model: str) -> bool:
    import openai

    try:
        found = await client.models.retrieve(model)
    except openai.APIStatusError:
        return False
    return getattr(found, "id", None) == model


def _told(problem: Any) -> str:
    """Status and message; some servers leave the message to the body."""
    message = str(getattr(problem, "message", "") or "")
    body = problem.body if isinstance(problem.body, dict) else {}
    told = body.get("message") or body.get("detail") or message
    return f"HTTP {problem.status_code}: {visible(str(told))[:_LONGEST]}"


def _shown(address: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
