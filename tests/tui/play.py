"""Runs the console over the stand-ins in a real terminal: `python -m tests.tui.play
full|idle|whole|hostile [language [folder]]`; `whole` has every real operation, with fixed answers,
`hostile` hostile text in each place of them. What the console
remembers lies in the folder, where one is named."""

import asyncio
import sys
from pathlib import Path

from tests.hostile_texts import EVERYTHING
from tests.tui import answers, stub


async def main(world: str, language: str, folder: Path | None) -> None:
    made = stub.World() if world == "idle" else stub.full_world()
    made.answers = answers.full()
    if world == "hostile":
        found = {name: answers.hostile(each, EVERYTHING) for name, each in made.answers.items()}
        made.answers = found | {"jobs.events": answers.hostile(answers.events(), EVERYTHING)}
    whole = world in ("whole", "hostile")
    app = stub.make_app(made, folder=folder, language=language, whole=whole)
    await app.run_async()


if __name__ == "__main__":
    asyncio.run(
        main(
            sys.argv[1],
            sys.argv[2] if len(sys.argv) > 2 else "en",
            Path(sys.argv[3]) if len(sys.argv) > 3 else None,
        )
    )
