"""Fine-tuning jobs at any OpenAI-compatible address: one request each call, answers read loosely.

The client's own retries are off and its models are not used: a repeated create makes a second job,
and other servers leave fields out, add words, or answer with a web page. See domain.hosted.
"""

import json
import math
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.hosted import (
    DPO,
    METADATA_KEY,
    MOST_BYTES,
    PART_BYTES,
    SINGLE_BYTES,
    HostedCheckpoint,
    HostedEvent,
    HostedFailure,
    HostedFile,
    HostedJob,
    HostedModel,
    HostedOrder,
    Sent,
)
from sophia_tui.i18n import _
from sophia_tui.providers import openai_errors
from sophia_tui.providers.openai_errors import said, senseless
from sophia_tui.providers.openai_uploads import Parts, too_large

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: A server that is asked for no key still gets one: the client refuses to be built without.
NO_KEY = "none"
_SECONDS = 60.0
_CONNECT_SECONDS = 10.0
_EVENTS_SECONDS = 20.0  # a server may stream them until the job ends
_UPLOAD_SECONDS = 600.0  # a server may look a whole file through before it answers
_PAGE = 100
_LONGEST_WORD = 64
_PAGES = 20  # of a list whose server says for ever that there is more

_ENDINGS = {
    "succeeded": "succeeded",
    "success": "succeeded",
    "completed": "succeeded",
    "failed": "failed",
    "error": "failed",
    "expired": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


class OpenAITrainer:
    """Implements domain.hosted.HostedTrainer."""

    def __init__(self, base_url: str | None, api_key: str | None) -> None:
        self.single_bytes, self.part_bytes = SINGLE_BYTES, PART_BYTES
        self._base_url = base_url
        self._api_key = (api_key or "").strip() or NO_KEY
        self._opened: AsyncOpenAI | None = None

    async def upload(self, path: Path, name: str, sent: Sent | None = None) -> HostedFile:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise too_large(name, size, MOST_BYTES)
        if size > self.single_bytes:
            parts = Parts(self._ask, self.part_bytes, self.single_bytes)
            return _file(await parts.send(path, name, size, sent))
        with path.open("rb") as stream:  # read while it is sent, so that memory stays flat
            plain = await self._ask(
                lambda client: client.files.with_raw_response.create(
                    file=(name, stream), purpose="fine-tune", timeout=_UPLOAD_SECONDS
                )
            )
        return _file(plain)

    async def file(self, file_id: str) -> HostedFile:
        plain = await self._ask(lambda client: client.files.with_raw_response.retrieve(file_id))
        return _file(plain)

    async def files(self) -> list[HostedFile]:
        def page(after: str | None) -> Awaitable[dict[str, Any]]:
            more: dict[str, Any] = {"after": after} if after else {}
            return self._ask(
                lambda client: client.files.with_raw_response.list(
                    purpose="fine-tune", limit=_PAGE, **more
                )
            )

        return [_file(plain) async for plain in _Pages(page)]

    async def delete_file(self, file_id: str) -> None:
        plain = await self._ask(lambda client: client.files.with_raw_response.delete(file_id))
        _require_deleted(plain)

    async def model(self, name: str) -> HostedModel:
        plain = await self._ask(lambda client: client.models.with_raw_response.retrieve(name))
        if not _text(plain.get("id")):
            raise senseless(_("A model without an id."))
        return HostedModel(
            id=str(plain["id"]),
            owner=_text(plain.get("owned_by")) or "",
            shutdown_at=_day(plain.get("shutdown_date")),
        )

    async def delete_model(self, name: str) -> None:
        plain = await self._ask(lambda client: client.models.with_raw_response.delete(name))
        _require_deleted(plain)

    async def knock(self) -> None:
        plain = await self._ask(
            lambda client: client.fine_tuning.jobs.with_raw_response.list(limit=1)
        )
        if not isinstance(plain.get("data"), list):
            raise senseless(_("A list without entries."))

    async def find(self, order: HostedOrder, job_id: str) -> list[HostedJob]:
        found: dict[str, HostedJob] = {}
        async for plain in _Pages(self._jobs_page):
            job = _job(plain)
            if job.order_id == job_id or (
                job.training_file is not None and job.training_file == order.training_file
            ):
                found[job.id] = job
        earliest = datetime.fromtimestamp(0, UTC)
        return sorted(found.values(), key=lambda each: each.created_at or earliest)

    async def create(self, order: HostedOrder, job_id: str) -> HostedJob:
        settings: dict[str, Any] = {
            "n_epochs": order.n_epochs,
            "batch_size": order.batch_size,
            "learning_rate_multiplier": order.learning_rate_multiplier,
            **({"beta": order.beta} if order.method == DPO else {}),
        }
        given = {name: "auto" if value is None else value for name, value in settings.items()}
        more: dict[str, Any] = {
            "validation_file": order.validation_file,
            "suffix": order.suffix,
            "seed": order.seed,
        }
        body: dict[str, Any] = {
            "model": order.base,
            "training_file": order.training_file,
            "method": {"type": order.method, order.method: {"hyperparameters": given}},
            "metadata": {METADATA_KEY: job_id},
            **{name: value for name, value in more.items() if value is not None},
        }
        return _job(
            await self._ask(lambda client: client.fine_tuning.jobs.with_raw_response.create(**body))
        )

    async def show(self, provider_job_id: str) -> HostedJob:
        return _job(
            await self._ask(
                lambda client: client.fine_tuning.jobs.with_raw_response.retrieve(provider_job_id)
            )
        )

    async def cancel(self, provider_job_id: str) -> HostedJob:
        return _job(
            await self._ask(
                lambda client: client.fine_tuning.jobs.with_raw_response.cancel(provider_job_id)
            )
        )

    async def pause(self, provider_job_id: str) -> HostedJob:
        return _job(
            await self._ask(
                lambda client: client.fine_tuning.jobs.with_raw_response.pause(provider_job_id)
            )
        )

    async def resume(self, provider_job_id: str) -> HostedJob:
        return _job(
            await self._ask(
                lambda client: client.fine_tuning.jobs.with_raw_response.resume(provider_job_id)
            )
        )

    async def events(self, provider_job_id: str, known: Collection[str]) -> list[HostedEvent]:
        def page(after: str | None) -> Awaitable[dict[str, Any]]:
            more: dict[str, Any] = {"after": after} if after else {}
            return self._ask(
                lambda client: client.fine_tuning.jobs.with_raw_response.list_events(
                    provider_job_id, limit=_PAGE, timeout=_EVENTS_SECONDS, **more
                )
            )

        found: list[HostedEvent] = []
        async for plain in _Pages(page):
            event = _event(plain)
            if event.id in known:  # newest first: what follows is known as well
                break
            found.append(event)
        found.reverse()
        return sorted(found, key=lambda each: each.at)  # stable: within one second as they came

    async def checkpoints(self, provider_job_id: str) -> list[HostedCheckpoint]:
        def page(after: str | None) -> Awaitable[dict[str, Any]]:
            more: dict[str, Any] = {"after": after} if after else {}
            return self._ask(
                lambda client: client.fine_tuning.jobs.checkpoints.with_raw_response.list(
                    provider_job_id, limit=_PAGE, timeout=_EVENTS_SECONDS, **more
                )
            )

        found = [_checkpoint(plain) async for plain in _Pages(page)]
        return sorted(found, key=lambda each: each.step)

    async def close(self) -> None:
        if self._opened is not None:
            client, self._opened = self._opened, None
            await client.close()

    async def _jobs_page(self, after: str | None) -> dict[str, Any]:
        more: dict[str, Any] = {"after": after} if after else {}
        return await self._ask(
            lambda client: client.fine_tuning.jobs.with_raw_response.list(limit=_PAGE, **more)
        )

    def _client(self) -> "AsyncOpenAI":
        if self._opened is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

            self._opened = AsyncOpenAI(
                api_key=self._api_key,
                base_url=self._base_url or "https://api.openai.com/v1",
                max_retries=0,
                # a redirect would carry training data to an address that nobody chose
                http_client=DefaultAsyncHttpxClient(
                    follow_redirects=False, timeout=Timeout(_SECONDS, connect=_CONNECT_SECONDS)
                ),
            )
        return self._opened

    async def _ask(self, call: Callable[["AsyncOpenAI"], Awaitable[Any]]) -> dict[str, Any]:
        """The answer to one request, as a JSON object. Raises as domain.hosted.HostedTrainer."""
        import openai

        try:
            response = (await call(self._client())).http_response
            text: str = response.text
        except openai.APIStatusError as problem:
            raise openai_errors.refused(problem.response, self._api_key) from problem
        except openai.OpenAIError as problem:
            why = type(problem.__cause__ or problem).__name__
            raise openai_errors.away(why) from problem
        try:
            plain = json.loads(text)
        except ValueError:
            plain = None
        if not isinstance(plain, dict):
            raise senseless(said(text, self._api_key))
        return plain


class _Pages:
    """The entries of a paged list. Ends where the server says so, where a page brings nothing new,
    and after a bounded number of pages: some servers say for ever that there is more."""

    def __init__(self, page: Callable[[str | None], Awaitable[dict[str, Any]]]) -> None:
        self._page = page

    async def __aiter__(self) -> Any:
        seen: set[str] = set()
        after: str | None = None
        for _number in range(_PAGES):
            plain = await self._page(after)
            entries = plain.get("data")
            if not isinstance(entries, list):
                raise senseless(_("A list without entries."))
            new = [
                each
                for each in entries
                if isinstance(each, dict) and each.get("id") and str(each["id"]) not in seen
            ]
            for each in new:
                seen.add(str(each["id"]))
                yield each
            if not new or plain.get("has_more") is not True:
                return
            after = str(new[-1]["id"])


def _file(plain: dict[str, Any]) -> HostedFile:
    if not _text(plain.get("id")):
        raise senseless(_("A file without an id."))
    return HostedFile(
        id=str(plain["id"]),
        status=_text(plain.get("status")),
        problem=_text(plain.get("status_details")) or "",
        name=_text(plain.get("filename")) or "",
        bytes=_whole(plain.get("bytes")),
        purpose=_text(plain.get("purpose")) or "",
        created_at=_moment(plain.get("created_at")),
        expires_at=_moment(plain.get("expires_at")),
    )


def _require_deleted(plain: dict[str, Any]) -> None:
    if plain.get("deleted") is not True:
        raise senseless(_("It does not say that it is deleted."))


def _checkpoint(plain: dict[str, Any]) -> HostedCheckpoint:
    metrics = plain.get("metrics")
    return HostedCheckpoint(
        id=str(plain["id"]),
        at=_moment(plain.get("created_at")) or datetime.fromtimestamp(0, UTC),
        step=_whole(plain.get("step_number")) or 0,
        model=_text(plain.get("fine_tuned_model_checkpoint")) or "",
        metrics={
            str(name): float(value)
            for name, value in (metrics.items() if isinstance(metrics, dict) else ())
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and name != "step"
        },
    )


def _job(plain: dict[str, Any]) -> HostedJob:
    if not _text(plain.get("id")):
        raise senseless(_("A job without an id."))
    failure = _failure(plain.get("error"))
    model = _text(plain.get("fine_tuned_model"))
    metadata = plain.get("metadata")
    status = (_text(plain.get("status")) or "running")[:_LONGEST_WORD]
    ended = _ENDINGS.get(status.lower())
    if ended is None and _moment(plain.get("finished_at")) and status.lower() not in _UNDER_WAY:
        # a word that we don't know, with the marks of an end
        ended = "succeeded" if model else "failed" if failure else None
    return HostedJob(
        id=str(plain["id"]),
        status=status,
        ended=ended,
        model=model,
        failure=failure,
        created_at=_moment(plain.get("created_at")),
        estimated_finish=_moment(plain.get("estimated_finish")),
        trained_tokens=_whole(plain.get("trained_tokens")),
        training_file=_text(plain.get("training_file")),
        order_id=_text(metadata.get(METADATA_KEY)) if isinstance(metadata, dict) else None,
        facts={
            name: plain[name]
            for name in ("hyperparameters", "seed", "result_files", "method")
            if plain.get(name) not in (None, [], {})
        },
    )


_UNDER_WAY = frozenset({"validating_files", "queued", "running", "pausing", "paused"})


def _failure(error: Any) -> HostedFailure | None:
    """`{}` and an object of nulls mean that nothing is wrong."""
    if isinstance(error, str) and error.strip():
        return HostedFailure(error.strip())
    if isinstance(error, dict) and _text(error.get("message")):
        return HostedFailure(
            str(error["message"]), _text(error.get("code")) or "", _text(error.get("param")) or ""
        )
    return None


def _event(plain: dict[str, Any]) -> HostedEvent:
    data = plain.get("data")
    return HostedEvent(
        id=str(plain["id"]),
        at=_moment(plain.get("created_at")) or datetime.fromtimestamp(0, UTC),
        level=_text(plain.get("level")) or "info",
        message=_text(plain.get("message")) or "",
        data=data if isinstance(data, dict) else {},
    )


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(value: Any) -> datetime | None:
    """A Unix time in seconds; 0, null and what is no number are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _day(value: Any) -> date | None:
    """A date as ISO 8601 has it; whatever else is none."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
