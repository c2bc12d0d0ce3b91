"""`sophia serve api|worker`: long-running processes in the foreground, opened lazily.

The other words behind `serve` are operations.
"""

import asyncio
import os
from typing import TYPE_CHECKING

from sophia_tui.errors import RefusedError, UnavailableError
from sophia_tui.i18n import _, get_language

if TYPE_CHECKING:
    from sophia_tui.cli.options import Globals


def serve(words: list[str], options: "Globals") -> int:
    """Run the `api` or `worker` that `words` begin with until told to stop; the exit code.

    Raises RefusedError R405 for a worker with --readonly.
    """
    if options.help:
        print(
            _(
                "sophia serve api [--host HOST] [--port PORT]   the HTTP API\n"
                "sophia serve worker [--idle-exit SECONDS]      the process that runs jobs"
            ),
            "",
            _(
                "Where neither is given, the API listens at API_URL if that is this machine's own "
                "address (localhost, 127.0.0.1, ::1), else at 127.0.0.1:8000."
            ),
            _(
                "The API answers who sends a token: FINETUNE_TOKEN, SOPHIA_OPERATOR_TOKEN, or for "
                "served models alone SOPHIA_MODEL_TOKEN. Without one it answers only /health. "
                "Training over HTTP needs ALLOW_FINETUNE=true, too."
            ),
            _(
                "The worker takes queued trainings, evaluations and mergings, as many at once as "
                "the machine has slots, follows jobs at providers, keeps the schedules, and brings "
                "back what was cut off. Commands start one where none lives; --idle-exit ends it "
                "after so many seconds without work. Workers on more machines share the queue of "
                "one database; SOPHIA_WORKER_QUEUES says what each one does."
            ),
            sep="\n",
        )
        return 0
    if words[0] == "worker" and options.readonly:
        verb = "serve worker"
        raise RefusedError(
            "R405",
            _("{name} is not allowed in read-only mode.").format(name=verb),
            _("A worker starts trainings and writes what they tell."),
            _("Start again without --readonly."),
        )
    import argparse

    from sophia_tui.cli.grammar import _Parser
    from sophia_tui.wiring import House

    parser: argparse.ArgumentParser = _Parser(prog=f"sophia serve {words[0]}", allow_abbrev=False)
    house = House(os.environ, readonly=options.readonly, language=get_language())
    house.require_folder()
    if words[0] == "worker":
        parser.add_argument("--idle-exit", type=float, default=None)
        parser.add_argument("--background", action="store_true")
        chosen = parser.parse_args(words[1:])
        from sophia_tui.worker.main import run

        idle = chosen.idle_exit if chosen.idle_exit or not chosen.background else 600.0
        return asyncio.run(run(house, idle_exit=idle, background=chosen.background))
    host, port = house.settings.api_place or ("127.0.0.1", 8000)
    parser.add_argument("--host", default=host)
    parser.add_argument("--port", type=int, default=port)
    chosen = parser.parse_args(words[1:])
    try:
        from sophia_tui.api.app import run_api
    except ImportError as problem:
        raise UnavailableError(
            "S050",
            _("The HTTP API can't start."),
            _("The package {name} is not installed.").format(name=problem.name),
            'pip install "sophia-tui[api]"',
        ) from problem
    return run_api(house, chosen.host, chosen.port)
