"""Runs the console over the stand-ins in a real terminal: `python -m tests.tui.play full|idle|whole
[language [folder]]`; `whole` has every real operation, with fixed answers. What the console
remembers lies in the folder, where one is named."""

import asyncio
import sys
from pathlib import Path

from tests.tui import answers, stub


async def main(world: str, language: str, folder: Path | None) -> None:
    made = stub.World() if world == "idle" else stub.full_world()
    made.answers = answers.full()
    app = stub.make_app(made, folder=folder, language=language, whole=world == "whole")
    await app.run_async()


if __name__ == "__main__":
    asyncio.run(
        main(
            sys.argv[1],
            sys.argv[2] if len(sys.argv) > 2 else "en",
            Path(sys.argv[3]) if len(sys.argv) > 3 else None,
        )
    )
