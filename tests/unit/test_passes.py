"""Passes: every line once, wherever ranges are cut; workers end with who asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets import passes
from sophia_tui.errors import DataError, NotFoundError

ASKER = """
import sys, time
from sophia_tui.datasets import passes

class Slow(passes.Worker):
    def work(self, item):
        time.sleep(60)

print("started", flush=True)
for found in passes.deal(range(4), lambda number: Slow(), 2):
    pass
"""


class Doubling(passes.Worker[int, int]):
    def work(self, item: int) -> int:
        return 2 * item


@given(st.binary().map(lambda each: each.replace(b"a", b"\n")), st.integers(1, 9))
def test_ranges_give_every_line_once(data: bytes, size: int) -> None:
    found = b""
    for start in range(0, len(data), size):
        first, lines = passes.read_range(BytesIO(data), start, min(start + size, len(data)))
        assert not lines or first == len(found)
        assert not lines or lines.endswith(b"\n") or len(found) + len(lines) == len(data)
        found += lines
    assert found == data


def test_of_a_line_that_is_too_long_only_the_beginning_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "MAX_LINE_BYTES", 1000)
    data = b"x" * 500_000 + b"\nshort\n"
    first, lines = passes.read_range(BytesIO(data), 0, 10)
    assert first == 0
    assert 1002 < len(lines) < 200_000
    assert b"\n" not in lines
    assert passes.read_range(BytesIO(data), 10, len(data)) == (500_001, b"short\n")


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    found = passes.deal(range(100), lambda _number: Doubling(), processes)
    assert list(found) == list(range(0, 200, 2))


@pytest.mark.timeout(60)  # both ends might wait for each other
def test_items_and_what_is_found_may_be_larger_than_a_pipe() -> None:
    class Saying(passes.Worker[bytes, bytes]):
        def work(self, item: bytes) -> bytes:
            return item

    items = [bytes([number]) * 2_000_000 for number in range(20)]
    found = passes.deal(items, lambda _number: Saying(), 2)
    assert list(found) == items


def failing(problem: Exception) -> Callable[[int], passes.Worker[int, int]]:
    class Failing(passes.Worker[int, int]):
        def work(self, item: int) -> int:
            if item == 3:
                raise problem
            return item

    return lambda _number: Failing()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_worker_raises_is_raised(processes: int) -> None:
    with pytest.raises(OSError, match="No space"):
        list(passes.deal(range(9), failing(OSError(28, "No space left")), processes))
    problem = NotFoundError("D999", "Nothing.", "Why.", "Do.", line=3)
    with pytest.raises(NotFoundError) as raised:
        list(passes.deal(range(9), failing(problem), processes))
    assert raised.value.as_dict() == problem.as_dict()


def test_a_worker_that_is_killed_ends_the_pass() -> None:
    class Dying(passes.Worker[int, int]):
        def work(self, item: int) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return item

    before = children_of(os.getpid())
    with pytest.raises(DataError) as raised:
        list(passes.deal(range(9), lambda _number: Dying(), 2))
    assert raised.value.code == "SOPHIA-D501"
    assert children_beside(before) == []


def test_who_stops_asking_leaves_no_process() -> None:
    before = children_of(os.getpid())
    found = passes.deal(range(1000), lambda _number: Doubling(), 2)
    assert next(found) == 0
    assert len(children_beside(before)) == 2
    found.close()
    assert children_beside(before) == []


def test_workers_end_with_an_asker_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(passes.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", ASKER], stdout=subprocess.PIPE, env=environment
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"started\n"
        workers = wait_for(lambda: children_of(asker.pid), 2)
        asker.kill()
    wait_for(lambda: [each for each in workers if Path(f"/proc/{each}").exists()], 0)


def children_of(process: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def children_beside(before: list[int]) -> list[int]:
    """Of this process, without those that an earlier test left."""
    return [each for each in children_of(os.getpid()) if each not in before]


def wait_for(look: Callable[[], list[int]], count: int) -> list[int]:
    """What is seen once there are so many; a minute is more than any machine needs."""
    until = time.monotonic() + 60
    while len(found := look()) != count:
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found
