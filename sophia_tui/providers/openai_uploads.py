"""A file that is too large for one request, sent in parts: begun, sent, completed, or cancelled.

A part may be sent twice without harm: only those that the completion names make the file.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.hosted import Sent
from sophia_tui.errors import JobError, NotFoundError, SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.providers.openai_errors import senseless
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Ask = Callable[[Callable[["AsyncOpenAI"], Awaitable[Any]]], Awaitable[dict[str, Any]]]

#: How often a part is sent, and for how many seconds is waited where the server does not say.
PART_TRIES = 4
_WAIT_SECONDS = 1.0
_PART_SECONDS = 600.0
_GOODBYE_SECONDS = 10.0


class Parts:
    """Sends one file by the Uploads of the protocol, one part after the other: so only one of them
    is ever in memory."""

    def __init__(self, ask: Ask, part_bytes: int, single_bytes: int) -> None:
        self._ask = ask
        self._part_bytes = part_bytes
        self._single_bytes = single_bytes

    async def send(self, path: Path, name: str, size: int, sent: Sent | None) -> dict[str, Any]:
        """The file as the completed upload has it. Raises as domain.hosted.HostedTrainer.upload."""
        upload_id = await self._begin(name, size)
        try:
            ids, digest = await self._send_parts(upload_id, path, size, sent)
            done = await self._ask(
                lambda client: client.uploads.with_raw_response.complete(
                    upload_id, part_ids=ids, md5=digest, timeout=_PART_SECONDS
                )
            )
        except BaseException:
            await self._cancel(upload_id)
            raise
        file = done.get("file")
        if not isinstance(file, dict):
            raise senseless(_("A completed upload without a file."))
        return file

    async def _begin(self, name: str, size: int) -> str:
        try:
            begun = await self._ask(
                lambda client: client.uploads.with_raw_response.create(
                    bytes=size, filename=name, mime_type="text/jsonl", purpose="fine-tune"
                )
            )
        except NotFoundError as problem:  # a server without Uploads
            raise too_large(name, size, self._single_bytes) from problem
        if not isinstance(begun.get("id"), str) or not begun["id"]:
            raise senseless(_("An upload without an id."))
        return str(begun["id"])

    async def _send_parts(
        self, upload_id: str, path: Path, size: int, sent: Sent | None
    ) -> tuple[list[str], str]:
        """The ids of all parts in order, and the MD5 of the file, which the protocol asks for."""
        ids: list[str] = []
        whole = hashlib.md5(usedforsecurity=False)
        done = 0
        with path.open("rb") as stream:
            while part := await asyncio.to_thread(stream.read, self._part_bytes):
                whole.update(part)
                ids.append(await self._send_part(upload_id, part))
                done += len(part)
                if sent is not None:
                    await sent(done, size)
        return ids, whole.hexdigest()

    async def _send_part(self, upload_id: str, part: bytes) -> str:
        for number in range(1, PART_TRIES + 1):
            try:
                plain = await self._ask(
                    lambda client: client.uploads.parts.with_raw_response.create(
                        upload_id, data=part, timeout=_PART_SECONDS
                    )
                )
                if not isinstance(plain.get("id"), str) or not plain["id"]:
                    raise senseless(_("A part without an id."))
                return str(plain["id"])
            except UnavailableError as problem:
                if number == PART_TRIES:
                    raise
                asked = problem.details.get("retry_after")
                await asyncio.sleep(asked or _WAIT_SECONDS * 2 ** (number - 1))
        raise AssertionError("not reached")  # the last try returns or raises

    async def _cancel(self, upload_id: str) -> None:
        """What was begun is put away at the provider; there it ends by itself after an hour."""
        with contextlib.suppress(SophiaError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._ask(
                    lambda client: client.uploads.with_raw_response.cancel(
                        upload_id, timeout=_GOODBYE_SECONDS
                    )
                )


def too_large(name: str, size: int, limit: int) -> JobError:
    """The error for a file that this server does not take."""
    return JobError(
        "J536",
        _("{file} is too large for the provider.").format(file=visible(name)),
        _("It has {size} bytes, and {limit} are the most that can be sent.").format(
            size=size, limit=limit
        ),
        _("Prepare a smaller data set, or train on this machine."),
    )
