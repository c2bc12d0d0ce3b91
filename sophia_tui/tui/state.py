"""What the console remembers on disk between two openings: screen, watched job, drafts of forms.

Small JSON files below paths.state; a disk that can't be written never disturbs the person's work.
"""

import hashlib
import json
import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.errors import SophiaError
from sophia_tui.files import write_whole
from sophia_tui.paths import Paths

_log = logging.getLogger("sophia")


class ConsoleState:
    """One person's memory. Without `paths` nothing is kept."""

    def __init__(self, paths: Paths | None, actor: str) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", actor) or "someone"
        self._folder = paths.state / name if paths else None
        known = self._read("console.json")
        #: Whether this person opens the console for the first time.
        self.first = self._folder is not None and not known
        self.screen: str = str(known.get("screen") or "overview")
        self.watched: str | None = known.get("watched") or None
        self.left_at: datetime | None = _moment(known.get("left_at"))

    def remember(self, now: datetime) -> None:
        """Write screen, watched job and the time of the last look."""
        plain = {"screen": self.screen, "watched": self.watched, "left_at": now.isoformat()}
        self._write("console.json", plain)

    def draft(self, operation: str, target: str = "") -> dict[str, Any]:
        """What was typed into an operation's form for this target and not yet run."""
        return self._read(_draft_name(operation, target))

    def keep_draft(self, operation: str, typed: dict[str, Any], target: str = "") -> None:
        self._write(_draft_name(operation, target), typed)

    def drop_draft(self, operation: str, target: str = "") -> None:
        if self._folder:
            (self._folder / _draft_name(operation, target)).unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        if self._folder is None:
            return {}
        try:
            found = json.loads((self._folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as problem:
            _log.warning("console state %s can't be read: %s", name, type(problem).__name__)
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, plain: dict[str, Any]) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._folder / name, json.dumps(plain, ensure_ascii=False).encode())
        except (OSError, SophiaError) as problem:
            _log.warning("console state %s can't be written: %s", name, type(problem).__name__)

    def save(self, name: str, content: str) -> Path:
        """A file for the person, below saved/. Raises SetupError S101."""
        folder = (self._folder or Path.cwd()) / "saved"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(folder / name, content.encode("utf-8"))
        return folder / name


def _draft_name(operation: str, target: str) -> str:
    """A file's name whatever the target is called; no two targets share one."""
    told = f"-{hashlib.sha256(target.encode()).hexdigest()[:16]}" if target else ""
    return f"draft-{operation}{told}.json"


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
