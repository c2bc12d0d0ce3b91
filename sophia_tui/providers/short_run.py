"""Short runs of `python -m finetune` that somebody waits for: a preview, a probe of the speed.

They are children of the process that asks, go through no queue, and end with it.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_tui.errors import OutsideError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.settings import Settings

_POLL_SECONDS = 0.1
_LINES_TOLD = 3


@dataclass(frozen=True)
class Ended:
    """How a short run ended, and the last lines of what it said where it failed."""

    code: int
    said: str
    complaint: str


class ShortRuns:
    """Starts the program and waits for it; `check` is asked meanwhile and may raise."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self._launcher = LocalLauncher(paths, settings)

    async def preview(self, folder: Path, check: Callable[[], None], seconds: float) -> Ended:
        """`preview RUN_FOLDER`. Raises UnavailableError J571 (too slow)."""
        environment = self._launcher.environment(folder)
        return await self._run(["preview", str(folder)], environment, check, seconds)

    async def probe(self, check: Callable[[], None], seconds: float) -> dict[str, Any]:
        """Operations per second that a linear layer reaches here, as the program's JSON; empty
        where it does not say."""
        environment = self._launcher.environment(None)
        ended = await self._run(["probe"], environment, check, seconds)
        with contextlib.suppress(ValueError):
            found = json.loads(ended.said.strip().splitlines()[-1] if ended.said.strip() else "")
            if ended.code == 0 and isinstance(found, dict):
                return found
        return {}

    async def _run(
        self,
        words: list[str],
        environment: dict[str, str],
        check: Callable[[], None],
        seconds: float,
    ) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "finetune",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd="/",
        )
        talk = asyncio.create_task(process.communicate())
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            while not talk.done():
                await asyncio.wait([talk], timeout=_POLL_SECONDS)
                check()
                if not talk.done() and asyncio.get_running_loop().time() > deadline:
                    raise _too_slow(words[0], seconds)
            said, complaint = talk.result()
        finally:
            if process.returncode is None:
                process.kill()
            await asyncio.wait([talk])
        lines = complaint.decode("utf-8", errors="replace").strip().splitlines()
        return Ended(
            process.returncode or 0,
            said.decode("utf-8", errors="replace"),
            "\n".join(lines[-_LINES_TOLD:]),
        )


def _too_slow(verb: str, seconds: float) -> UnavailableError:
    return OutsideError(
        "J571",
        _("`{verb}` did not end in {seconds} seconds.").format(verb=verb, seconds=f"{seconds:g}"),
        _("The data set is large, or the machine is busy."),
        _("Try again later, or look at fewer examples."),
    )
