"""Standard input as a file: for operations that read files, asked for at the command line."""

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sophia_tui.domain.context import Context, Face
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import _

#: What a file is called that is read from standard input.
STANDARD_INPUT = "-"


@asynccontextmanager
async def standard_input(context: Context, asks: str = "") -> AsyncIterator[Path]:
    """A file with what standard input says, in a folder of its own, removed at the end. `asks` is
    said to a person who types.

    Raises RefusedError D518 where nobody sits at it, SetupError S101 where it can't be kept.
    """
    import asyncio

    from sophia_tui.datasets.compressed import spool
    from sophia_tui.files import write_problem

    if context.face is not Face.CLI:
        raise RefusedError(
            "D518",
            _("Standard input is read at the command line alone."),
            remedy=_("Name a file."),
        )
    if asks and sys.stdin.isatty():
        print(asks, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="sophia-input-") as name:
        folder = Path(name)
        try:
            path = await asyncio.to_thread(spool, sys.stdin.buffer, folder)
        except OSError as problem:
            raise write_problem(folder, problem) from problem
        yield path
