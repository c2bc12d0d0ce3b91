"""Sizes, quiet hours and floors: what the machine and its people allow."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sophia_tui.domain.limits import quiet_until, read_hours, read_size
from sophia_tui.errors import UsageError
from sophia_tui.providers import resources
from sophia_tui.settings import load
from sophia_tui.worker.limits import Limits, memory_limit
from sophia_tui.worker.main import served_queues

ZONE = ZoneInfo("America/Sao_Paulo")


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("12G", 12 << 30), ("800m", 800 << 20), ("1.5 GiB", 3 << 29), ("512", 512)]
    + [(each, None) for each in ("", "0", "G", "-1G", "12X", "1e9")],
)
def test_a_size_is_read(text: str, bytes_: int | None) -> None:
    assert read_size(text) == bytes_


@pytest.mark.parametrize(
    ("hours", "clock", "end"),
    [
        ("08:00-12:00", "07:59", None),
        ("08:00-12:00", "08:00", "12:00"),
        ("08:00-12:00", "12:00", None),
        ("08:00-12:00,13:00-18:00", "12:30", None),
        ("08:00-12:00,12:00-18:00", "09:00", "18:00"),
        ("22:00-06:00", "23:30", "06:00"),
        ("22:00-06:00", "05:00", "06:00"),
        ("22:00-24:00", "23:00", "00:00"),
        ("", "12:00", None),
    ],
)
def test_quiet_hours_end(hours: str, clock: str, end: str | None) -> None:
    now = datetime(2026, 11, 25, int(clock[:2]), int(clock[3:]), tzinfo=ZONE)
    found = quiet_until(read_hours(hours), now)
    assert (found and found.strftime("%H:%M")) == end
    if found is not None:
        assert (found.date() > now.date()) == (found.time() <= now.time())


@pytest.mark.parametrize("text", ["8-12", "08:00-08:00", "25:00-26:00", "08:00", "08:00-12:61"])
def test_hours_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SOPHIA_QUIET_HOURS"):
        load({"SOPHIA_QUIET_HOURS": text})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOPHIA_TRAINING_SLOTS", "0"),
        ("SOPHIA_TRAINING_SLOTS", "many"),
        ("SOPHIA_TRAINING_MEMORY_LIMIT", "much"),
        ("SOPHIA_DISK_FLOOR_MB", "-1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        load({key: value})


def test_after_a_floor_was_crossed_a_quarter_more_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 0
    monkeypatch.setattr(resources, "free_disk", lambda folder: free << 20)
    monkeypatch.setattr(resources, "available_memory", lambda: 1 << 40)
    limits, settings = Limits(tmp_path), load({"SOPHIA_DISK_FLOOR_MB": "1000"})

    def stopped(megabytes: int) -> bool:
        nonlocal free
        free = megabytes
        limits.look(settings, datetime.now(UTC))
        return limits.floor is not None

    assert [stopped(each) for each in (1100, 999, 1100, 1249, 1250, 1001)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_memory_of_a_run_is_a_share_of_the_machine() -> None:
    all_of_it = resources.all_memory()
    assert memory_limit(load({}), 2) == int(0.8 * all_of_it / 2)
    assert memory_limit(load({"SOPHIA_TRAINING_MEMORY_LIMIT": "off"}), 1) is None
    assert memory_limit(load({"SOPHIA_TRAINING_MEMORY_LIMIT": "2G"}), 8) == 2 << 30
    assert 0 < resources.available_memory() <= all_of_it


def test_a_worker_serves_what_its_machine_can_or_what_it_is_told() -> None:
    assert served_queues("auto", ()) == ("training", "evaluation", "merge", "data", "hosted")
    assert served_queues("auto", ("0",))[-1] == "gpu"
    assert served_queues("gpu, Own", ()) == ("gpu", "own")


async def test_gpus_are_those_that_may_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await resources.find_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}) == ("2", "3")
    assert await resources.find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert await resources.find_gpus({"PATH": str(tmp_path)}) == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert await resources.find_gpus({"PATH": f"{tmp_path}:/usr/bin:/bin"}) == ("0", "1")
