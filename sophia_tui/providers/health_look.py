"""Asks an HTTP health address of somebody's service, once."""

import asyncio

from sophia_tui.errors import OutsideError
from sophia_tui.i18n import _


async def look(url: str, seconds: float) -> str:
    """What is wrong with it, within so many seconds; empty where it answers 2xx. A redirect is no
    such answer.

    Raises UnavailableError P080 where the client is not installed.
    """
    try:
        import httpx
    except ImportError as problem:
        raise OutsideError(
            "P080",
            _("Health addresses can't be asked: the package httpx is not installed."),
            remedy=_('pip install "sophia-tui[api]", or empty SOPHIA_PROMOTION_HEALTH_URLS.'),
        ) from problem
    try:
        # the body is nobody's business, and may have no end
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(timeout=seconds) as client,
            client.stream("GET", url) as answer,
        ):
            return "" if answer.is_success else f"HTTP {answer.status_code}"
    except (TimeoutError, httpx.TimeoutException):
        return _("No answer came within {seconds} seconds.").format(seconds=f"{seconds:g}")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        return _("Nobody listens there, or the way is barred ({kind}).").format(
            kind=type(problem).__name__
        )
