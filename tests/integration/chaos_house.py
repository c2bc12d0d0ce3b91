"""Programs for the chaos test, whose clock can jump: `python -m tests.integration.chaos_house …`.

`worker` is the real worker over the real house; `finetune …` the real program on weights. Both add
the seconds that stand in the file CHAOS_CLOCK to the wall clock, anew at each look.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCK = "CHAOS_CLOCK"


def jumped() -> datetime:
    """The wall clock of this test's world."""
    try:
        seconds = float(Path(os.environ[CLOCK]).read_text() or 0)
    except (OSError, ValueError):
        seconds = 0.0
    return datetime.now(UTC) + timedelta(seconds=seconds)


def worker() -> int:
    from sophia_tui import wiring
    from sophia_tui.domain.protocols import RunLauncher
    from sophia_tui.providers.local import LocalLauncher
    from sophia_tui.worker.main import run

    class Clock:
        def now(self) -> datetime:
            return jumped()

    class House(wiring.House):
        def launcher(self) -> RunLauncher:
            launcher = LocalLauncher(self.paths, self.settings)
            clock = os.environ[CLOCK]
            launcher.program = (sys.executable, str(Path(__file__).resolve()), clock)
            return launcher

    house = House(os.environ)
    house.clock = Clock()  # type: ignore[assignment]
    return asyncio.run(run(house))


def finetune(arguments: list[str]) -> int:
    from finetune import cli, journal, runner, schema, train, vitals

    for module in (schema, runner, journal, train, vitals):
        if hasattr(module, "now"):
            module.now = jumped  # type: ignore[attr-defined]
    return cli.main(arguments)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        sys.exit(worker())
    os.environ[CLOCK] = sys.argv[1]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(finetune(sys.argv[2:]))
