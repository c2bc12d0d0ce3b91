"""Runs the console over the stand-ins in a real terminal: `python -m tests.tui.play full|idle`."""

import asyncio
import sys

from tests.tui import stub


async def main(world: str, language: str) -> None:
    made = stub.full_world() if world == "full" else stub.World()
    await stub.make_app(made, language=language).run_async()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "en"))
