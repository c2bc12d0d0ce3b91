"""Sends what people are told: a webhook, an e-mail, a WhatsApp message (Cloud API).

With the standard library alone: a worker has these without any extra. Each channel has a time-out;
no redirect is followed (a message goes where it was sent to), and no secret is put into an error.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from sophia_tui.domain.notifications import Channel, Message
from sophia_tui.errors import JobError, OutsideError, SophiaError, UnavailableError
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

SECONDS = 15.0
#: Answers after which the same message may go later: too early, too many, or a server's trouble.
_PASSING = frozenset({408, 409, 425, 429})
SIGNATURE = "x-sophia-signature"
#: What a person looks at where a channel fails.
_KEYS = {
    Channel.WEBHOOK: "SOPHIA_WEBHOOK_URL",
    Channel.EMAIL: "SOPHIA_SMTP_URL, SOPHIA_EMAIL_FROM, SOPHIA_EMAIL_TO",
    Channel.WHATSAPP: "SOPHIA_WHATSAPP_TOKEN, SOPHIA_WHATSAPP_PHONE_ID, SOPHIA_WHATSAPP_TO",
}
#: The first that fits counts: certificates are a kind of ssl.SSLError, and that of OSError.
_TROUBLES: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLCertVerificationError, N_("Its certificate is not one that this machine trusts.")),
    (ssl.SSLError, N_("No secure connection came about.")),
    (socket.gaierror, N_("No machine of that name was found.")),
    (ConnectionRefusedError, N_("Nobody listens at that address.")),
    (TimeoutError, N_("It did not answer in time.")),
    (smtplib.SMTPServerDisconnected, N_("It ended the connection.")),
    (ConnectionError, N_("It ended the connection.")),
)


class LiveMessenger:
    """Implements domain.notifications.Messenger by the settings in force."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    async def send(self, channel: str, message: Message) -> None:
        """Raises UnavailableError J640 (try again) or JobError J641 (it will never go)."""
        await asyncio.to_thread(self._send, Channel(channel), message)

    def _send(self, channel: Channel, message: Message) -> None:
        if channel is Channel.WEBHOOK:
            self._webhook(message)
        elif channel is Channel.EMAIL:
            self._email(message)
        else:
            self._whatsapp(message)

    def _webhook(self, message: Message) -> None:
        address = self._settings.webhook_url
        if address is None:
            raise _not_set(Channel.WEBHOOK, "SOPHIA_WEBHOOK_URL")
        content = json.dumps({**message.facts, "text": message.text}, ensure_ascii=False).encode()
        headers = {"content-type": "application/json"}
        if self._settings.webhook_secret is not None:
            moment = str(int(time.time()))
            key = self._settings.webhook_secret.get_secret_value().encode()
            signed = hmac.new(key, moment.encode() + b"." + content, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"t={moment},sha256={signed}"
        url, login = _without_login(address.get_secret_value())
        if login is not None:
            headers["authorization"] = "Basic " + base64.b64encode(login.encode()).decode("ascii")
        _post(Channel.WEBHOOK, url, content, headers)

    def _whatsapp(self, message: Message) -> None:
        settings = self._settings
        if settings.whatsapp_token is None or not settings.whatsapp_phone_id:
            raise _not_set(Channel.WHATSAPP, "SOPHIA_WHATSAPP_TOKEN, SOPHIA_WHATSAPP_PHONE_ID")
        url = f"{settings.whatsapp_url.rstrip('/')}/{settings.whatsapp_phone_id}/messages"
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {settings.whatsapp_token.get_secret_value()}",
        }
        for receiver in receivers(settings.whatsapp_to):
            content = whatsapp_message(settings.whatsapp_template, receiver, message)
            _post(Channel.WHATSAPP, url, json.dumps(content).encode(), headers)

    def _email(self, told: Message) -> None:
        settings = self._settings
        to = receivers(settings.email_to)
        if settings.smtp_url is None or not to:
            raise _not_set(Channel.EMAIL, "SOPHIA_SMTP_URL, SOPHIA_EMAIL_TO")
        message = EmailMessage()
        message["Subject"] = told.subject
        message["From"] = settings.email_from or "sophia@localhost"
        message["To"] = ", ".join(to)
        message["Date"] = formatdate(localtime=False)
        message["Message-ID"] = make_msgid(domain="sophia.invalid")
        message.set_content(told.text)
        _mail(settings.smtp_url.get_secret_value(), message)


def receivers(text: str) -> list[str]:
    """A comma-separated setting's entries as they are."""
    return [each.strip() for each in text.split(",") if each.strip()]


def whatsapp_message(template: str | None, receiver: str, told: Message) -> dict[str, Any]:
    """The Cloud API's message: a template where one is named (a person who has not written for 24
    hours gets nothing else), with the text as its one parameter; else plain text."""
    message: dict[str, Any] = {"messaging_product": "whatsapp", "to": receiver.lstrip("+")}
    if not template:
        return {**message, "type": "text", "text": {"body": told.text, "preview_url": False}}
    parameter = {"type": "text", "text": " ".join(told.text.split())}  # no line break may be in one
    content = {
        "name": template,
        "language": {"code": told.language},
        "components": [{"type": "body", "parameters": [parameter]}],
    }
    return {**message, "type": "template", "template": content}


def _without_login(url: str) -> tuple[str, str | None]:
    """The address without user and password, and these as `user:password`."""
    parts = urlsplit(url)
    login, _at, place = parts.netloc.rpartition("@")
    if not login:
        return url, None
    return parts._replace(netloc=place).geturl(), unquote(login)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_given: Any) -> None:
        return None


def _post(channel: Channel, url: str, content: bytes, headers: Mapping[str, str]) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        usable = False
    if not usable:
        raise _never(channel, _("It is no address like https://host/path."))
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, content, dict(headers), method="POST")
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            answer.read(65536)
    except urllib.error.HTTPError as problem:
        with problem:
            why = _("It answered {status}.").format(status=problem.code)
            if problem.code in _PASSING or problem.code >= 500:
                raise _later(channel, why) from None
            raise _never(channel, why) from None
    except (OSError, ValueError, http.client.HTTPException) as problem:  # also URLError
        reason = getattr(problem, "reason", problem)
        raise _later(channel, _in_words(reason)) from None


def _mail(url: str, message: EmailMessage) -> None:
    """By smtps:// (TLS from the start) or smtp:// (STARTTLS, unless ?tls=none says otherwise)."""
    try:
        parts = urlsplit(url)
        port = parts.port or (465 if parts.scheme == "smtps" else 587)
        usable = parts.scheme in ("smtp", "smtps") and parts.hostname
    except ValueError:  # a port that is none, a bracket that is not closed
        usable = None
    if not usable:
        raise _never(Channel.EMAIL, _("SOPHIA_SMTP_URL is no address like smtp://host:587."))
    plain = parse_qs(parts.query).get("tls") == ["none"]
    context = ssl.create_default_context()
    try:
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(usable, port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(usable, port, timeout=SECONDS)
        with server:
            if parts.scheme == "smtp" and not plain:
                server.starttls(context=context)
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except smtplib.SMTPResponseException as problem:
        why = _("It answered {status}.").format(status=problem.smtp_code)
        if 400 <= problem.smtp_code < 500:
            raise _later(Channel.EMAIL, why) from None
        raise _never(Channel.EMAIL, why) from None
    except smtplib.SMTPRecipientsRefused as problem:
        codes = {code for code, _said in problem.recipients.values()}
        why = _("It answered {status}.").format(status=", ".join(map(str, sorted(codes))))
        error = _later if all(400 <= code < 500 for code in codes) else _never
        raise error(Channel.EMAIL, why) from None
    except smtplib.SMTPNotSupportedError:
        raise _never(
            Channel.EMAIL, _("The server has no STARTTLS; ?tls=none in the address does without.")
        ) from None
    except (OSError, smtplib.SMTPException) as problem:
        raise _later(Channel.EMAIL, _in_words(problem)) from None


def _in_words(problem: object) -> str:
    """What went wrong on the way; never the exception's own text, which may hold the address."""
    for kinds, words in _TROUBLES:
        if isinstance(problem, kinds):
            return _(words)
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    return _("It did not answer in its protocol.")


def _later(channel: Channel, why: str) -> UnavailableError:
    return OutsideError(
        "J640",
        _("The message could not be sent by {channel}.").format(channel=channel.value),
        visible(why),
        _("Check {keys} and the network; what is told of jobs is tried again by itself.").format(
            keys=_KEYS[channel]
        ),
    )


def _never(channel: Channel, why: str) -> JobError:
    return JobError(
        "J641",
        _("The message can't be sent by {channel}.").format(channel=channel.value),
        visible(why),
        _("Correct {keys}, then try `sophia notifications test`.").format(keys=_KEYS[channel]),
    )


def _not_set(channel: Channel, keys: str) -> SophiaError:
    return _never(channel, _("Not set: {keys}.").format(keys=keys))
