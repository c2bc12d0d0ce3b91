"""What an OpenAI-compatible server says when it says no, made one of our errors.

Texts come from many kinds of servers: the protocol's own, FastAPI's `detail`, a bare string, a web
page. They never hold our key, and are cut to a length that people read.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, Protocol

from sophia_tui.errors import JobError, NotFoundError, OutsideError, SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: A server may ask for more patience than this; it gets this much.
LONGEST_RETRY_AFTER = 120.0
_LONGEST_TEXT = 500
_AGAIN = frozenset({408, 409, 425, 429})
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.S | re.I)


class Response(Protocol):
    """What is needed of an HTTP response."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...


def refused(response: Response, api_key: str) -> SophiaError:
    """The error for an answer with a status of 300 or more."""
    status = response.status_code
    message, code = _told(response.text, api_key)
    why = _("HTTP {status}: {message}").format(status=status, message=message or "-")
    if "insufficient_quota" in code or code == "billing_hard_limit_reached":
        return JobError(
            "J522",
            _("The provider's account has no quota left."),
            why,
            _("Add credit or raise the limit at the provider; waiting does not help. Then resume."),
        )
    if status == 403 and "training_not_available" in code:
        return JobError(
            "J523",
            _("The provider takes no new training jobs from this account."),
            why,
            _("Train on this machine: name a model folder, a GGUF file or a hub id as the base."),
        )
    if status in (401, 403):
        return JobError(
            "J525",
            _("The provider does not accept our key."),
            why,
            _("Check OPENAI_API_KEY and OPENAI_BASE_URL in Sophia's .env."),
        )
    if status == 404:
        return NotFoundError(
            "J526", _("The provider does not know that."), why, _("Check OPENAI_BASE_URL.")
        )
    if status in _AGAIN or status >= 500:
        return OutsideError(
            "J520",
            _("The provider does not answer."),
            why,
            _("Sophia asks again by itself."),
            retry_after=_retry_after(response.headers),
        )
    remedy = _("The address sends us elsewhere: correct OPENAI_BASE_URL.") if status < 400 else ""
    return JobError(
        "J521",
        _("The provider refused it."),
        why,
        remedy or remedy_for(message),
        provider_code=code,
    )


def away(why: str) -> UnavailableError:
    """The error for a request that got no answer: a time-out, a refused connection."""
    return OutsideError(
        "J520", _("The provider does not answer."), why, _("Sophia asks again by itself.")
    )


def senseless(why: str) -> UnavailableError:
    """The error for an answer that is not of this protocol: a web page with status 200, say."""
    return OutsideError(
        "J524",
        _("The provider's answer makes no sense."),
        why,
        _("Check OPENAI_BASE_URL: it often ends with /v1."),
    )


def said(text: str, api_key: str) -> str:
    """A server's text for people: without tags, without our key, short, harmless."""
    plain = unescape(_TAG.sub(" ", text)) if "<" in text else text
    plain = " ".join(plain.split())
    if len(api_key) > 4:
        plain = plain.replace(api_key, "***")
    cut = plain if len(plain) <= _LONGEST_TEXT else plain[:_LONGEST_TEXT] + "…"
    return visible(cut)


def _told(text: str, api_key: str) -> tuple[str, str]:
    """Message and code of an error's body, whatever its form."""
    try:
        plain = json.loads(text)
    except ValueError:
        return said(text, api_key), ""
    error = plain.get("error", plain) if isinstance(plain, dict) else plain
    code = ""
    message: Any = error
    if isinstance(error, dict):
        code = " ".join(str(error[name]) for name in ("code", "type") if error.get(name))
        message = error.get("message") or error.get("detail") or error.get("error") or error
    if not isinstance(message, str):
        message = json.dumps(message, ensure_ascii=False)
    return said(message, api_key), code


def remedy_for(message: str) -> str:
    """What to do about refusals that are well known."""
    lower = message.lower()
    if "moderation" in lower:
        return _("Take the named lines out of the source, then prepare again.")
    if "example" in lower or "jsonl" in lower:
        return _("Look at the named lines of train.jsonl, mend the source, then prepare again.")
    return _("Change what it names, then start a new job.")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks, at most 120; None where it says nothing of use."""
    given = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, unit in zip(given, (1000.0, 1.0), strict=True):
        if not text:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            try:
                at = parsedate_to_datetime(text)
            except ValueError:
                continue
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            seconds = (at - datetime.now(UTC)).total_seconds()
        if math.isfinite(seconds) and seconds > 0:
            return min(seconds, LONGEST_RETRY_AFTER)
    return None
