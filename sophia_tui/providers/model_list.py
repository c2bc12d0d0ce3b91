"""Asks an OpenAI-compatible address for its models, with the official client, and reads the answer
loosely. Implements domain.calendar.Lister."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from sophia_tui.domain.calendar import Listing
from sophia_tui.errors import OutsideError
from sophia_tui.i18n import _
from sophia_tui.providers.model_probe import DEFAULT_ADDRESS

#: The client refuses a blank key, and a server without keys takes any.
_NO_KEY = "no-key"
_PAGES = 20  # of a list whose server says for ever that there is more
_LONGEST_BODY = 8_000_000
#: So many names that the list lacks are asked for one by one.
_MOST_NAMES = 20


class _Strange(Exception):
    """What came is no list of models."""


async def list_models(
    base_url: str | None, api_key: str | None, names: Sequence[str], seconds: float
) -> Listing:
    """See domain.calendar.Lister."""
    try:
        import openai
    except ImportError as problem:
        raise OutsideError(
            "M600",
            _("A provider can't be asked for its models: the package openai is not installed."),
            remedy='pip install "sophia-tui[hosted]"',
        ) from problem
    try:
        async with asyncio.timeout(seconds):
            async with openai.AsyncOpenAI(
                base_url=base_url or DEFAULT_ADDRESS,
                api_key=api_key or _NO_KEY,
                max_retries=0,
                timeout=seconds,
                http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=seconds),
            ) as client:
                return await _Asking(client, base_url).all(names)
    except (TimeoutError, openai.APITimeoutError):
        why = _("No answer came within {seconds} seconds.").format(seconds=f"{seconds:g}")
    except openai.APIStatusError as problem:
        why = f"HTTP {problem.status_code}"
        if problem.status_code in (401, 403):
            why = _("It does not take the key ({status}).").format(status=why)
    except openai.APIConnectionError as problem:
        cause = type(problem.__cause__ or problem).__name__
        why = _("Nobody listens there, or the way is barred ({kind}).").format(kind=cause)
    except _Strange:
        why = _("It answered, but not with a list of models.")
    except (openai.OpenAIError, ValueError, AttributeError, TypeError, UnicodeError) as problem:
        # what is no OpenAI-compatible answer surprises the client in many ways
        why = _("It answered, but not with a list of models.") + f" ({type(problem).__name__})"
    return Listing(why=why)


class _Asking:
    """One address, asked page by page, then for single names."""

    def __init__(self, client: Any, base_url: str | None) -> None:
        self._client = client
        self._azure = (urlsplit(base_url or "").hostname or "").endswith(".azure.com")
        self._found: dict[str, date | None] = {}

    async def all(self, names: Sequence[str]) -> Listing:
        ended = await self._pages()
        if not self._found:
            return Listing(why=_("Its list of models is empty."))
        for name in [each for each in names if each not in self._found][:_MOST_NAMES]:
            await self._single(name)
        if not ended:
            return Listing(self._found, False, _("Its list of models does not end."))
        if self._azure:
            return Listing(self._found, False, _("Azure lists models, and answers to deployments."))
        return Listing(self._found, True)

    async def _pages(self) -> bool:
        """Read the list; whether it came to an end."""
        after: str | None = None
        for _page in range(_PAGES):
            plain = await self._body(after)
            entries = plain.get("data")
            if not isinstance(entries, list):
                raise _Strange
            before = len(self._found)
            for each in entries:
                self._take(each)
            if not plain.get("has_more"):
                return True
            after = next(reversed(self._found), None)
            if len(self._found) == before or after is None:
                return False  # the same again, for ever
        return False

    async def _body(self, after: str | None) -> dict[str, Any]:
        query = {"after": after, "after_id": after} if after else {}
        content = bytearray()
        asked = self._client.models.with_streaming_response.list(extra_query=query)
        async with asked as answer:
            if answer.status_code >= 300:  # it sends us elsewhere, and the key stays here
                raise _Strange
            async for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _LONGEST_BODY:
                    raise _Strange
        try:
            plain = json.loads(content)
        except (ValueError, RecursionError):
            raise _Strange from None
        if not isinstance(plain, dict):
            raise _Strange
        return plain

    async def _single(self, name: str) -> None:
        """Whether it answers to a name that its list lacks: an alias, say."""
        import openai

        try:
            answer = await self._client.models.with_raw_response.retrieve(name)
            plain = json.loads(answer.http_response.text)
        except (openai.APIStatusError, ValueError):
            return
        if isinstance(plain, dict) and plain.get("id") == name:
            self._take(plain)

    def _take(self, plain: Any) -> None:
        if isinstance(plain, dict) and isinstance(plain.get("id"), str) and plain["id"]:
            self._found[plain["id"]] = day_of(plain.get("shutdown_date"))


def day_of(value: Any) -> date | None:
    """A date as ISO 8601 or seconds since 1970 have it; whatever else is none."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value[:10])
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
    return None
