"""A process that promotes and is killed on the way, at a point that the test names.

It loads everything once, then forks for each line it reads: a request with the `point` at which the
fork is to die by SIGKILL. A point lies before and behind every act that changes something: a row,
a snapshot, a file, a unit, a line of the history. The forks write the points that they pass into a
file, and the answer is the signal that ended the fork, or its exit code.
"""

import asyncio
import inspect
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sophia_tui import settings
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.model_gates import GateVerdict, Reason
from sophia_tui.domain.models import Model
from sophia_tui.paths import Paths
from sophia_tui.providers import root_helper
from sophia_tui.providers.root_helper import SocketHelper
from sophia_tui.root import units as root_units
from sophia_tui.root.server import Helper, Places
from sophia_tui.services import managed_env, promotion_record, promotion_steps
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_health import HealthCheck
from sophia_tui.services.promotion_views import PromoteRollback, PromoteRun
from sophia_tui.store.own import open_store
from tests.integration.test_promote import Clock, World


class RefusingGate:
    """Every model lacks something, so that a promotion keeps the reason of its override."""

    async def verdict(self, model: Model, current: Model | str | None = None) -> GateVerdict:
        return GateVerdict(False, (Reason("M580", "No parity report."),), datetime.now(UTC))


class DirectHelper(SocketHelper):
    """The root helper itself in this process, without its socket."""

    def __init__(self, places: dict[str, Any]) -> None:
        super().__init__(Path(places["conf"]))
        given = {**places, "own_units": ("sophia-api.service",), "settle": 0.0}
        root_units.LOOK_SECONDS = 0.005
        self._helper = Helper(Places(**given), "test", lambda _line: None)

    async def _ask(self, message: Any) -> dict[str, Any]:
        answer = self._helper.answer(json.dumps(message).encode())
        return root_helper._answer(json.dumps(answer).encode())


def service_of(store: Any, asked: dict[str, Any]) -> PromoteService:
    """The service over one data folder, its files owned by us or reached by the root helper."""
    chosen = settings.load(
        {
            "SOPHIA_MANAGED_ENV_FILES": ":".join(asked["files"]),
            "FINETUNE_HISTORY": asked["history"],
            "OPENAI_BASE_URL": "http://models.test/v1",
        }
    )
    helper = DirectHelper(asked["places"]) if asked["places"] else None
    paths = Paths(Path(asked["data"]))
    outside = World().outside
    gate = RefusingGate()
    return PromoteService(store, chosen, paths, Clock(), outside, None, helper, gate, "here")


class Death:
    """Comes at the point with that number."""

    def __init__(self, point: int, passed: Path) -> None:
        self._point = point
        self._passed = passed
        self._number = 0

    def pass_by(self, label: str) -> None:
        with self._passed.open("a") as out:
            out.write(f"{label}\n")
        if self._number == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
        self._number += 1

    def around(self, place: Any, name: str) -> None:
        """Let an async method or a function have a point before and behind it."""
        real = getattr(place, name)

        def label(given: tuple[Any, ...], more: dict[str, Any]) -> str:
            told = [more.get("step"), *(getattr(each, "path", None) for each in given), *given]
            what = next((each for each in told if isinstance(each, str) and each), "")
            return f"{name} {os.path.basename(what)}".strip()

        async def later(*given: Any, **more: Any) -> Any:
            self.pass_by(f"before {label(given, more)}")
            result = await real(*given, **more)
            self.pass_by(f"behind {label(given, more)}")
            return result

        def now(*given: Any, **more: Any) -> Any:
            self.pass_by(f"before {name}")
            result = real(*given, **more)
            self.pass_by(f"behind {name}")
            return result

        setattr(place, name, later if inspect.iscoroutinefunction(real) else now)


async def promote(asked: dict[str, Any]) -> None:
    if asked["places"]:
        managed_env._directly = lambda _path: False
    found = settings.load({"SOPHIA_STORE_URL": asked["store"]})
    store = await open_store(found, Paths(Path(asked["data"])))
    death = Death(asked["point"], Path(asked["passed"]))
    for name in ("add", "update", "finish"):
        death.around(store.promotions, name)
    death.around(store.remarks, "add")
    death.around(promotion_steps, "write_whole")
    for place, name in ((ManagedEnv, "write"), (ManagedEnv, "restart"), (HealthCheck, "check")):
        death.around(place, name)
    death.around(promotion_record, "append_line")
    service = service_of(store, asked)
    context = Context("maria", Face.CLI, Role.ADMIN, confirmed=True)
    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "run": lambda: service.run(
            context, PromoteRun(model="sophia-v1", override="We know it better.")
        ),
        "rollback": lambda: service.rollback(context, PromoteRollback()),
    }
    await acts[asked["act"]]()
    await store.close()


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(promote(json.loads(line)))
                code = 0
            finally:
                os._exit(code)
        _pid, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
