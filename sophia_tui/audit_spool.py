"""Audit entries that could not reach the store yet: a file, brought in when the store answers."""

import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from sophia_tui.domain.models import AuditEntry
from sophia_tui.errors import SophiaError
from sophia_tui.files import append_line, usable_folder

_log = logging.getLogger("sophia")


class AuditSpool:
    """Entries as JSON Lines in `path`; each reaches the store at least once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entry: AuditEntry) -> None:
        """Append one entry. Raises SetupError S101, S102."""
        usable_folder(self._path.parent)
        plain = {**asdict(entry), "at": entry.at.isoformat()}
        append_line(self._path, json.dumps(plain).encode())

    async def drain(self, bring: Callable[[AuditEntry], Awaitable[None]]) -> None:
        """Hand every entry to `bring`; what it does not take stays for the next time."""
        taken = self._path.with_name(
            f"{self._path.stem}.{os.getpid()}-{secrets.token_hex(4)}.taken"
        )
        # nothing new is no reason to stop: a process that died while draining may have left a part
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._path, taken)  # whoever writes from now on begins a new file
        for part in sorted(self._path.parent.glob(f"{self._path.stem}.*.taken")):
            await self._drain_part(part, bring)

    async def _drain_part(self, part: Path, bring: Callable[[AuditEntry], Awaitable[None]]) -> None:
        try:
            stream = part.open("rb")
        except FileNotFoundError:
            return
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is at it
            try:
                for line in stream.read().splitlines():
                    entry = _read(line)
                    if entry is not None:
                        await bring(entry)
            except SophiaError as problem:
                _log.warning("audit stays in the spool: %s", problem.code)
                return
            part.unlink(missing_ok=True)


def _read(line: bytes) -> AuditEntry | None:
    """None for a line that a crash or a full disk tore; it is told in the log, without its text."""
    try:
        plain = json.loads(line)
        plain["at"] = datetime.fromisoformat(plain["at"])
        return AuditEntry(**plain)
    except (ValueError, TypeError, KeyError):
        _log.warning("a line of the audit's spool can't be read (%d bytes)", len(line))
        return None
