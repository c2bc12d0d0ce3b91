"""Runs the console over the stand-ins in a real terminal: `python -m tests.tui.play full|idle|whole
[language]`; `whole` has every real operation, with fixed answers."""

import asyncio
import sys

from tests.tui import answers, stub


async def main(world: str, language: str) -> None:
    made = stub.World() if world == "idle" else stub.full_world()
    made.answers = answers.full()
    await stub.make_app(made, language=language, whole=world == "whole").run_async()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "en"))
