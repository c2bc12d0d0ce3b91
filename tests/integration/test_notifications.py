"""Notifications: noted once with the end of a job, sent beside the work, tried again, given up.

The receivers are real servers on loopback: HTTP for webhook and WhatsApp, SMTP for e-mail.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.notifications import Channel
from sophia_tui.domain.operations import NoInput
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import JobError, SophiaError, UnavailableError, UsageError
from sophia_tui.providers.messenger import SIGNATURE, LiveMessenger
from sophia_tui.services.notification_text import message_of
from sophia_tui.services.notifications import NotificationsService
from sophia_tui.settings import Settings, load
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.notify import MOST_TRIES, Notifier, announce
from tests.integration.worker_house import SystemClock, new_job

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)


@dataclass
class Received:
    """What a receiver got; `answers` are statuses to give before 200."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    location: str = ""


@contextmanager
def receiver() -> Iterator[Received]:
    got = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            got.requests.append((self.path, headers, content))
            self.send_response(got.answers.pop(0) if got.answers else 200)
            if got.location:
                self.send_header("location", got.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_given: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        got.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield got
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def mail_server(refusal: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """An SMTP server without TLS, as far as smtplib speaks; `refusal` answers every RCPT."""
    letters: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word in (b"EHLO", b"HELO"):
                    self.wfile.write(b"250 here\r\n")
                elif word == b"RCPT" and refusal:
                    self.wfile.write(refusal + b"\r\n")
                elif word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    letter = b""
                    while (part := self.rfile.readline()) != b".\r\n":
                        letter += part
                    letters.append(letter)
                    self.wfile.write(b"250 taken\r\n")
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 fine\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], letters
        finally:
            server.shutdown()
            thread.join()


async def ended(store: Store, settings: Settings, state: JobState, **more: Any) -> Job:
    """A job that the worker ends so."""
    job = replace(new_job(), state="running", **more)
    await store.jobs.add(job)
    finisher = Finisher(SystemClock(), settings)
    if state is JobState.FAILED:
        error = {"code": "SOPHIA-J506", "what": "It failed.", "remedy": "Look\nat it."}
        await finisher.fail(store, job, error)
    else:
        await finisher.cancel(store, job)
    return job


async def send_all(store: Store, settings: Settings, rounds: int = 1) -> None:
    notifier = Notifier(lambda: LiveMessenger(settings))
    for _each in range(rounds):
        notifier.look(store, settings)
        await notifier.close()


async def test_a_failed_job_is_posted_signed_and_once(store: Store) -> None:
    with receiver() as got:
        settings = load({"SOPHIA_WEBHOOK_URL": got.url + "/hook", "SOPHIA_WEBHOOK_SECRET": "s3"})
        job = await ended(store, settings, JobState.FAILED)
        await announce(store, settings, job, "failed")  # a worker that died here does it again
        await send_all(store, settings, rounds=2)
    [(path, headers, content)] = got.requests
    moment, sign = headers[SIGNATURE].removeprefix("t=").split(",sha256=")
    signed = hmac.new(b"s3", moment.encode() + b"." + content, hashlib.sha256).hexdigest()
    told = json.loads(content)
    assert path == "/hook" and sign == signed
    assert (told["job"], told["status"], told["error"]["code"]) == (job.id, "failed", "SOPHIA-J506")
    assert "falhou" in told["text"]  # the language of notifications, whatever the worker's is
    [kept] = await store.notifications.page()
    assert (kept.state, kept.tries) == ("sent", 1) and kept.sent_at is not None


async def test_a_job_that_fails_again_after_a_resume_is_told_again(store: Store) -> None:
    with receiver() as got:
        settings = load({"SOPHIA_WEBHOOK_URL": got.url})
        job = await ended(store, settings, JobState.FAILED)
        await store.jobs.update(job.id, state="running", resumes=1)
        again = await store.jobs.get(job.id)
        assert again is not None
        await Finisher(SystemClock(), settings).fail(store, again, {"code": "SOPHIA-J506"})
        await send_all(store, settings)
    assert [json.loads(each[2])["event"] for each in got.requests] == ["failed", "failed-1"]


async def test_only_the_ends_that_people_want_are_told(store: Store) -> None:
    settings = load({"SOPHIA_WEBHOOK_URL": "http://127.0.0.1:9", "SOPHIA_NOTIFY_ON": "failed"})
    await ended(store, settings, JobState.CANCELLED)
    await ended(store, load({}), JobState.FAILED)  # no channel is set up
    assert await store.notifications.page() == []


async def test_trouble_that_passes_is_tried_again_later(store: Store, store_url: str) -> None:
    with receiver() as got:
        got.answers = [503, 429]
        settings = load({"SOPHIA_WEBHOOK_URL": got.url})
        await ended(store, settings, JobState.FAILED)
        await send_all(store, settings)
        [waiting] = await store.notifications.page()
        assert (waiting.state, waiting.tries) == ("waiting", 1) and "503" in str(waiting.error)
        assert waiting.next_at > SystemClock().now()
        await send_all(store, settings)
        assert len(got.requests) == 1  # its time has not come
        for _each in range(2):
            _let_time_pass(store_url)
            await send_all(store, settings)
    [sent] = await store.notifications.page()
    assert (sent.state, sent.tries, len(got.requests)) == ("sent", 3, 3)


async def test_what_can_never_go_is_given_up_and_so_is_the_last_try(
    store: Store, store_url: str
) -> None:
    with receiver() as got:
        got.answers = [404]
        settings = load({"SOPHIA_WEBHOOK_URL": got.url})
        await ended(store, settings, JobState.FAILED)
        await send_all(store, settings)
        got.answers = [500]
        await ended(store, settings, JobState.FAILED)
        with psycopg.connect(store_url) as connection:
            connection.execute(
                "UPDATE sophia.notifications SET tries = %s WHERE state = 'waiting'",
                [MOST_TRIES - 1],
            )
        await send_all(store, settings)
    assert {each.state for each in await store.notifications.page()} == {"given_up"}
    assert await store.notifications.waiting() == 0


async def test_two_workers_send_each_message_once(store: Store) -> None:
    with receiver() as got:
        settings = load({"SOPHIA_WEBHOOK_URL": got.url})
        for _each in range(6):
            await ended(store, settings, JobState.FAILED)
        both = [Notifier(lambda: LiveMessenger(settings)) for _each in range(2)]
        for each in both:
            each.look(store, settings)
        await asyncio.gather(*(each.close() for each in both))
    jobs = [json.loads(content)["job"] for _path, _headers, content in got.requests]
    assert len(jobs) == len(set(jobs)) == 6


async def test_a_receiver_that_hangs_keeps_nobody_waiting(store: Store) -> None:
    """`look` begins a task and returns; the worker's rounds go on."""
    hanging = threading.Event()

    class Slow:
        async def send(self, *_given: Any) -> None:
            await asyncio.to_thread(hanging.wait, 20)

    settings = load({"SOPHIA_WEBHOOK_URL": "http://127.0.0.1:9"})
    await ended(store, settings, JobState.FAILED)
    notifier = Notifier(Slow)
    notifier.look(store, settings)
    notifier.look(store, settings)
    assert await store.ping() >= 0 and notifier.busy
    hanging.set()
    await notifier.close()
    [sent] = await store.notifications.page()
    assert (sent.state, sent.tries) == ("sent", 1)


async def test_a_redirect_is_not_followed(store: Store) -> None:
    with receiver() as elsewhere, receiver() as got:
        got.answers, got.location = [302], elsewhere.url
        messenger = LiveMessenger(load({"SOPHIA_WEBHOOK_URL": got.url}))
        with pytest.raises(JobError):
            await messenger.send("webhook", message_of({"test": True}, "en"))
    assert elsewhere.requests == []


async def test_mail_is_sent_with_subject_and_receivers() -> None:
    with mail_server() as (port, letters):
        settings = load(
            {
                "SOPHIA_SMTP_URL": f"smtp://127.0.0.1:{port}?tls=none",
                "SOPHIA_EMAIL_TO": "ana@example.org, rui@example.org",
                "SOPHIA_EMAIL_FROM": "sophia@example.org",
            }
        )
        body = {"job": "ftjob-a\nBcc: x@y", "status": "failed", "kind": "train"}
        await LiveMessenger(settings).send("email", message_of(body, "en"))
    [letter] = letters
    head = letter.partition(b"\r\n\r\n")[0].decode()
    assert "To: ana@example.org, rui@example.org" in head and "\nBcc" not in head
    assert head.startswith("Subject: Sophia: training =?utf-8?q?ftjob-a=E2=90=8ABcc")


@pytest.mark.parametrize(
    ("answer", "kind"), [(b"451 later", UnavailableError), (b"550 nobody", JobError)]
)
async def test_a_mail_servers_refusal_passes_or_not(answer: bytes, kind: type[SophiaError]) -> None:
    with mail_server(answer) as (port, letters):
        settings = load(
            {"SOPHIA_SMTP_URL": f"smtp://127.0.0.1:{port}?tls=none", "SOPHIA_EMAIL_TO": "a@b.org"}
        )
        with pytest.raises(kind):
            await LiveMessenger(settings).send("email", message_of({"test": True}, "en"))
    assert letters == []


async def test_a_server_without_tls_gets_no_mail_unless_asked_for() -> None:
    with mail_server() as (port, letters):
        settings = load(
            {"SOPHIA_SMTP_URL": f"smtp://u:secret@127.0.0.1:{port}", "SOPHIA_EMAIL_TO": "a@b.org"}
        )
        with pytest.raises(JobError) as refused:
            await LiveMessenger(settings).send("email", message_of({"test": True}, "en"))
    assert letters == [] and "secret" not in str(refused.value.as_dict())


async def test_user_and_password_of_a_webhooks_address_are_basic_authentication() -> None:
    with receiver() as got:
        url = got.url.replace("http://", "http://maria:p%40ss@")
        await LiveMessenger(load({"SOPHIA_WEBHOOK_URL": url})).send(
            "webhook", message_of({"test": True}, "en")
        )
    [(_path, headers, _content)] = got.requests
    assert headers["authorization"] == "Basic " + base64.b64encode(b"maria:p@ss").decode()


@pytest.mark.parametrize(
    ("channel", "settings", "told"),
    [
        ("webhook", {"SOPHIA_WEBHOOK_URL": "http://u:pw@127.0.0.1:9"}, "Nobody listens"),
        ("webhook", {"SOPHIA_WEBHOOK_URL": "http://nowhere.invalid"}, "No machine of that name"),
        ("webhook", {"SOPHIA_WEBHOOK_URL": "http://host:pw"}, "no address like"),
        ("email", {"SOPHIA_SMTP_URL": "smtp://u:pw@127.0.0.1:9"}, "Nobody listens"),
        ("email", {"SOPHIA_SMTP_URL": "garbage"}, "no address like"),
        ("email", {"SOPHIA_SMTP_URL": "smtp://host:pw"}, "no address like"),
    ],
)
async def test_why_nothing_went_is_said_in_words_with_the_setting_to_look_at(
    channel: str, settings: dict[str, str], told: str
) -> None:
    messenger = LiveMessenger(load({"SOPHIA_EMAIL_TO": "a@b.org", **settings}))
    with pytest.raises(SophiaError) as caught:
        await messenger.send(channel, message_of({"test": True}, "en"))
    assert told in caught.value.why and "pw" not in str(caught.value.as_dict())
    [key] = settings
    assert key in caught.value.remedy


@pytest.mark.parametrize("template", ["", "job_ended"])
async def test_whatsapp_gets_text_or_the_template(template: str) -> None:
    with receiver() as got:
        settings = load(
            {
                "SOPHIA_WHATSAPP_URL": got.url + "/v23.0/",
                "SOPHIA_WHATSAPP_TOKEN": "the-key",
                "SOPHIA_WHATSAPP_PHONE_ID": "123",
                "SOPHIA_WHATSAPP_TO": "+5511999990000,5521999990000",
                "SOPHIA_WHATSAPP_TEMPLATE": template,
            }
        )
        body = {"job": "ftjob-a", "status": "succeeded", "kind": "train", "model": "sophia-v1"}
        await LiveMessenger(settings).send("whatsapp", message_of(body, "pt_BR"))
    assert [path for path, _headers, _content in got.requests] == ["/v23.0/123/messages"] * 2
    assert got.requests[0][1]["authorization"] == "Bearer the-key"
    first = json.loads(got.requests[0][2])
    assert (first["messaging_product"], first["to"]) == ("whatsapp", "5511999990000")
    if template:
        [part] = first["template"]["components"]
        assert first["template"]["language"] == {"code": "pt_BR"}
        assert "\n" not in part["parameters"][0]["text"] and "sophia-v1" in str(part)
    else:
        assert "ftjob-a" in first["text"]["body"]


async def test_a_test_message_says_of_each_channel_whether_it_went(store: Store) -> None:
    with receiver() as got:
        settings = load(
            {
                "SOPHIA_WEBHOOK_URL": got.url,
                "SOPHIA_SMTP_URL": "smtp://127.0.0.1:9",
                "SOPHIA_EMAIL_TO": "a@b.org",
            }
        )
        service = NotificationsService(store, settings, lambda: LiveMessenger(settings))
        told = await service.test(CONTEXT, NoInput())
    assert {each.channel: each.sent for each in told.items} == {"webhook": True, "email": False}
    assert told.exit_code() == 1 and len(got.requests) == 1
    nothing = NotificationsService(store, load({}), lambda: LiveMessenger(load({})))
    with pytest.raises(UsageError):
        await nothing.test(CONTEXT, NoInput())


def test_every_channel_is_known_to_the_settings() -> None:
    everything = {
        "SOPHIA_WEBHOOK_URL": "http://x",
        "SOPHIA_SMTP_URL": "smtp://x",
        "SOPHIA_EMAIL_TO": "a@b.org",
        "SOPHIA_WHATSAPP_TOKEN": "k",
        "SOPHIA_WHATSAPP_PHONE_ID": "1",
        "SOPHIA_WHATSAPP_TO": "55",
    }
    assert set(load(everything).channels) == set(Channel)
    assert load({}).channels == ()


def _let_time_pass(store_url: str) -> None:
    with psycopg.connect(store_url) as connection:
        connection.execute("UPDATE sophia.notifications SET next_at = now()")
