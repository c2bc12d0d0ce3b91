"""A promotion that is killed (kill -9, for real) before or behind any of its acts: the next start
leaves the env files, what the units run with and the records in one of two states."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.protocols import Store
from sophia_tui.services import managed_env
from sophia_tui.services.promotion_views import PromoteRepair
from tests.integration.helper_house import ACCOUNT, ENV, HelperHouse, needs_root
from tests.integration.promotion_child import service_of

NEW = ENV.replace("old", "sophia-v1")
UNITS = ("rag.service", "worker.service")

#: On a restart the unit reads its env file, as a service does.
_LOADS = """
if [ "$verb" = restart ]; then
    file=rag.env
    [ "$unit" = worker.service ] && file=worker.env
    cp "$(dirname "$0")/../srv/$file" "$(dirname "$0")/loaded.$unit"
fi
"""


@dataclass
class Place:
    """Two env files, what their units run with, and the request that the child is given."""

    files: tuple[Path, ...]
    folder: Path
    asked: dict[str, Any]
    loaded: Path | None = None
    points: list[str] = field(default_factory=list)

    def reset(self, content: str) -> None:
        for path in self.files:
            path.write_text(content, newline="")
            path.chmod(0o640)
        for unit in UNITS:
            if self.loaded is not None:
                (self.loaded / f"loaded.{unit}").write_text(content, newline="")

    def contents(self) -> set[str]:
        """What the files hold, and what the units run with: one content where all agree."""
        found = list(self.files)
        if self.loaded is not None:
            found += [self.loaded / f"loaded.{unit}" for unit in UNITS]
        return {each.read_bytes().decode() for each in found}

    def lines(self, promotion: Promotion) -> list[str]:
        """The kinds of lines that the history has of it."""
        path = Path(self.asked["history"])
        told = path.read_text().splitlines() if path.exists() else []
        every = [json.loads(line) for line in told]
        return [each["kind"] for each in every if each["id"] == promotion.id]


class Killer:
    """The process that forks a promotion for each point and tells how that fork ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.promotion_child"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ended(self, asked: dict[str, Any]) -> int:
        """0 where it came through, -9 where it was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._said())

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=30)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.close()


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    store_url: str,
    tmp_path: Path,
    reachable: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """`own`: files of ours and no unit. `server`: files and units of others, by the root helper."""
    asked: dict[str, Any] = {
        "store": store_url,
        "data": str(tmp_path / "data"),
        "history": str(tmp_path / "history.jsonl"),
        "passed": str(tmp_path / "passed"),
        "places": None,
    }
    if request.param == "own":
        files = tuple(tmp_path / name for name in ("rag.env", "worker.env"))
        yield Place(files, tmp_path, {**asked, "files": [str(each) for each in files]})
        return
    house = HelperHouse(reachable)
    second = house.env("worker.env")
    house.declare(
        f"[{house.path}]\nrestart = rag.service\nwrite = yes\n"
        f"[{second}]\nrestart = worker.service\nwrite = yes"
    )
    script = house.systemctl.read_text()
    house.systemctl.write_text(script.replace('[ "$verb" = show ]', _LOADS + '[ "$verb" = show ]'))
    asked["places"] = {
        "conf": str(house.conf),
        "state": str(house.state / "helper"),
        "account": ACCOUNT,
        "own_file": str(house.own),
        "systemctl": str(house.systemctl),
    }
    monkeypatch.setattr(managed_env, "_directly", lambda _path: False)
    yield Place((house.path, second), tmp_path, {**asked, "files": []}, house.systemctl.parent)
    house.close()


async def killed_at(place: Place, killer: Killer, act: str, point: int) -> tuple[int, str]:
    """How the promotion ended that was to die there, and the last point that it passed."""
    passed = Path(place.asked["passed"])
    passed.unlink(missing_ok=True)
    code = killer.ended({**place.asked, "act": act, "point": point})
    labels = passed.read_text().splitlines()
    return code, labels[-1]


async def next_start(store: Store, place: Place) -> None:
    service = service_of(store, place.asked)
    context = Context("sophia", Face.WORKER, Role.ADMIN)
    await service.repair(context, PromoteRepair())
    assert (await service.repair(context, PromoteRepair())).promotion is None


def problems(place: Place, row: Promotion | None, old: str, new: str) -> list[str]:
    """What is amiss after the next start: there are two good states and no third."""
    done = row is not None and row.state is PromotionState.DONE
    found = []
    if row is not None and row.state not in (PromotionState.DONE, PromotionState.UNDONE):
        found.append(f"the row is {row.state}")
    if place.contents() != {new if done else old}:
        found.append(f"done: {done}, but files or units have something else")
    kinds = [] if row is None else place.lines(row)
    told = [each for each in kinds if each in ("promotion", "rollback")]
    taken_back = kinds[-1:] == ["promotion_undone"]
    if len(told) > 1 or (done and not told) or (told and not done and not taken_back):
        found.append(f"the history says {kinds}")
    return found


SIDES = ["own", pytest.param("server", marks=needs_root)]


@pytest.mark.parametrize("place", SIDES, indirect=True)
async def test_wherever_it_is_killed_the_next_start_ends_it_one_way_or_the_other(
    place: Place, killer: Killer, store: Store
) -> None:
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", datetime.now(UTC)))
    ends: dict[str, str] = {}
    known: set[str] = set()
    wrong = []
    for point in range(200):
        place.reset(ENV)
        code, label = await killed_at(place, killer, "run", point)
        assert code in (0, -signal.SIGKILL)
        await next_start(store, place)
        row = next((each for each in await store.promotions.page(1) if each.id not in known), None)
        wrong += [f"{point} {label}: {each}" for each in problems(place, row, ENV, NEW)]
        ends[f"{point} {label}"] = row.state.value if row else "none"
        known |= {row.id} if row else set()
        if code == 0:
            break
    assert wrong == []
    labels = list(ends)
    assert code == 0 and ends[labels[-1]] == "done"
    # undone until the last step is written down; from then on only the record can be missing
    first = next(number for number, each in enumerate(labels) if "before append_line" in each) - 1
    assert "behind update" in labels[first]
    assert {ends[each] for each in labels[:first]} <= {"none", "undone"}
    assert {ends[each] for each in labels[first:]} == {"done"}
    steps = " ".join(labels)
    assert all(each in steps for each in ("write_whole", "write rag.env", "finish", "check"))
    if place.loaded is not None:
        assert "behind restart worker.service" in steps


@pytest.mark.parametrize("place", ["own"], indirect=True)
async def test_a_way_back_that_is_killed_ends_one_way_or_the_other(
    place: Place, killer: Killer, store: Store
) -> None:
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", datetime.now(UTC)))
    place.reset(ENV)
    assert (await killed_at(place, killer, "run", 10**6))[0] == 0
    [first] = await store.promotions.page(1)
    known, seen, wrong = {first.id}, set(), []
    for point in range(200):
        place.reset(NEW)
        await store.promotions.update(first.id, state=PromotionState.DONE)
        code, label = await killed_at(place, killer, "rollback", point)
        await next_start(store, place)
        row = next((each for each in await store.promotions.page(1) if each.id not in known), None)
        wrong += [f"{point} {label}: {each}" for each in problems(place, row, NEW, ENV)]
        target = await store.promotions.get(first.id)
        assert target is not None
        back = row is not None and row.state is PromotionState.DONE
        if target.state is not (PromotionState.ROLLED_BACK if back else PromotionState.DONE):
            wrong.append(f"{point} {label}: the promotion is {target.state}")
        seen |= {back}
        if row is not None:  # the next one is to take the first promotion back again
            known.add(row.id)
        if code == 0:
            break
    assert wrong == [] and code == 0
    assert seen == {True, False}
