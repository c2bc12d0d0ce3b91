"""Inspecting as people meet it: the operations on real files, in real processes."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets.found import find_report, outdated
from sophia_tui.datasets.process import run_engine
from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.errors import CancelledError, DataError, NotFoundError, RefusedError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.inspect import InspectInput, InspectService, IssuesInput
from sophia_tui.settings import load

MOST_MB = 300


def context(face: Face = Face.CLI, **options: Any) -> Context:
    return Context("ana", face, Role.OPERATOR, **options)


def row(question: str, answer: str = "a") -> bytes:
    return json.dumps({"question": question, "answer": answer}).encode() + b"\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "finetune"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(row("one") + b"broken\n" + row("two"))
    (folder / "b.jsonl").write_bytes(b"\n" + row("three") + row("two") + row("one") + b"[]\n")
    return folder


@pytest.fixture
def service(data: Path, paths: Paths) -> InspectService:
    return InspectService(load({"FINETUNE_DIR": str(data)}), paths)


async def test_duplicates_are_found_across_files(service: InspectService, data: Path) -> None:
    found = await service.inspect(context(), InspectInput())
    assert [(each.lines, each.rows, each.usable) for each in found.files] == [(3, 3, 2), (5, 4, 3)]
    assert (found.rows, found.usable, found.duplicates) == (7, 5, 2)
    places = {each.code: (each.severity, each.count, each.places) for each in found.issues}
    assert places == {
        "json": ("error", 1, ["a.jsonl:2"]),
        "not_object": ("error", 1, ["b.jsonl:5"]),
        "duplicate": ("warning", 2, ["b.jsonl:3", "b.jsonl:4"]),
        "blank": ("note", 1, ["b.jsonl:1"]),
    }
    page = await service.issues(context(), IssuesInput(code=["duplicate"], limit=1, offset=1))
    assert page.total == 2
    [last] = page.items
    assert last.details == {"first_line": 1, "first_file": "a.jsonl"}
    assert (last.file, last.line) == ("b.jsonl", 4)


async def test_a_report_is_kept_until_a_file_changes(service: InspectService, data: Path) -> None:
    first = await service.inspect(context(), InspectInput())
    assert not first.kept
    again = await service.inspect(context(), InspectInput())
    assert again.kept
    assert again.model_dump(exclude={"kept"}) == first.model_dump(exclude={"kept"})
    assert not (await service.inspect(context(), InspectInput(again=True))).kept
    (data / "a.jsonl").write_bytes(row("one"))
    changed = await service.inspect(context(), InspectInput())
    assert not changed.kept
    assert changed.rows == 5
    kept = service._paths.inspections
    assert [each.name for each in kept.iterdir()] == [changed.report]


async def test_a_file_that_changes_while_it_is_read_is_not_known_by_its_new_state(
    service: InspectService, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_then_changed(*told: Any) -> Any:
        found = await run_engine(*told)
        (data / "a.jsonl").write_bytes(row("one"))
        return found

    monkeypatch.setattr("sophia_tui.datasets.process.run_engine", read_then_changed)
    assert (await service.inspect(context(), InspectInput(path="a.jsonl"))).rows == 3
    assert find_report(service._paths.inspections, data / "a.jsonl") is None
    assert outdated(service._paths.inspections, data / "a.jsonl")


async def test_every_line_of_every_issue_is_written(
    service: InspectService, data: Path, tmp_path: Path
) -> None:
    (data / "a.jsonl").write_bytes(b"x\r\n" * 1000)
    target = tmp_path / "issues.jsonl"
    request = InspectInput(path="a.jsonl", issues=str(target))
    found = await service.inspect(context(), request)
    lines = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert {each.code: each.count for each in found.issues} == {"json": 1000, "crlf": 1000}
    assert [(each["line"], each["code"]) for each in lines] == [
        (line, code) for line in range(1, 1001) for code in ("crlf", "json")
    ]
    assert lines[1]["file"] == str(data / "a.jsonl")
    assert lines[1]["reason"] == "Not valid JSON at character 1."


async def test_what_does_not_exist_is_said(service: InspectService, data: Path) -> None:
    with pytest.raises(NotFoundError) as missing:
        await service.inspect(context(), InspectInput(path="nowhere.jsonl"))
    assert missing.value.code == "SOPHIA-D502"
    with pytest.raises(UsageError) as unknown:
        await service.inspect(context(), InspectInput(also=["horoscope"]))
    assert unknown.value.code == "SOPHIA-D503"


async def test_over_http_files_have_names_and_nothing_is_written(
    service: InspectService, data: Path, tmp_path: Path
) -> None:
    afar = context(Face.API)
    assert (await service.inspect(afar, InspectInput(path="a.jsonl"))).rows == 3
    for path in (str(data / "a.jsonl"), "../finetune/a.jsonl", str(data)):
        with pytest.raises(RefusedError) as refused:
            await service.inspect(afar, InspectInput(path=path))
        assert refused.value.code == "SOPHIA-D505"
    with pytest.raises(RefusedError) as written:
        await service.inspect(afar, InspectInput(issues=str(tmp_path / "x")))
    assert written.value.code == "SOPHIA-D504"


async def test_what_was_not_read_is_told_with_the_reason(
    service: InspectService, data: Path
) -> None:
    (data / "table.csv").write_text("question,answer\n")
    told = (await service.inspect(context(), InspectInput())).passed_over
    assert [(each.file, each.code) for each in told] == [("table.csv", "unasked")]
    assert "when they are named" in told[0].reason
    kept = await service.inspect(context(), InspectInput())
    assert kept.kept and kept.passed_over == told
    named = await service.inspect(context(), InspectInput(files=["a.jsonl"]))
    assert not named.passed_over


async def test_a_file_that_cannot_be_read_is_named(service: InspectService, data: Path) -> None:
    request = InspectInput(path=str(data / "a.jsonl"))
    asked, passed = await service._asked(context(), request)
    assert not passed
    (data / "a.jsonl").unlink()
    with pytest.raises(DataError) as unreadable:
        await service._read(context(), asked, {}, service._paths.inspections / "x")
    assert unreadable.value.code == "SOPHIA-D306"
    assert list(service._paths.inspections.iterdir()) == []


def big(path: Path, megabytes: int) -> None:
    """Chats, 1 in 7 of them the same as one before."""
    turns = [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "é " * 400}]
    line = json.dumps({"messages": turns}, ensure_ascii=False) + "\n"
    with path.open("w") as stream:
        for number in range(megabytes * 1_000_000 // len(line.encode())):
            stream.write(line.replace("{}", str(number - number % 7 % 2)))


def below(process: int) -> list[int]:
    """All processes that this one has started, and they in turn."""
    found = [process]
    for each in found:
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found[1:]


async def test_a_cancelled_inspection_leaves_nothing(service: InspectService, data: Path) -> None:
    big(data / "c.jsonl", 30)
    others = set(below(os.getpid()))  # of earlier tests in this process
    cancel = CancelSignal()
    with pytest.raises(CancelledError):
        await service.inspect(
            context(cancel=cancel, progress=lambda told: cancel.request()), InspectInput()
        )
    assert set(below(os.getpid())) <= others
    assert list(service._paths.inspections.iterdir()) == []
    begun = asyncio.Event()
    running = asyncio.ensure_future(
        service.inspect(context(progress=lambda told: begun.set()), InspectInput())
    )
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert set(below(os.getpid())) <= others
    assert list(service._paths.inspections.iterdir()) == []


async def test_memory_stays_flat(service: InspectService, data: Path) -> None:
    big(data / "c.jsonl", 120)
    others = set(below(os.getpid()))  # of earlier tests in this process
    with Watched(lambda: memory_of([*(set(below(os.getpid())) - others)])) as peak:
        found = await service.inspect(context(), InspectInput(path="c.jsonl"))
    assert found.duplicates > 0
    assert 10 < peak.most < MOST_MB


def memory_of(processes: list[int]) -> float:
    """MB, what they share counted once."""
    total = 0
    for each in processes:
        try:
            told = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:"))
    return total / 1024


class Watched:
    """Looks at a figure, again and again, while something goes on."""

    def __init__(self, look: Callable[[], float]) -> None:
        self.most = 0.0
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.is_set():
            self.most = max(self.most, self._look())
            time.sleep(0.02)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._over.set()
        self._thread.join()


async def test_who_only_looks_is_told_what_is_wrong_and_writes_nothing(
    service: InspectService, tmp_path: Path
) -> None:
    viewer = Context("ana", Face.CLI, Role.VIEWER)
    assert (await service.inspect(viewer, InspectInput())).rows == 7
    assert (await service.issues(viewer, IssuesInput())).total == 5
    wanted = InspectInput(issues=str(tmp_path / "issues.jsonl"))
    for who in (viewer, context(readonly=True)):
        with pytest.raises(RefusedError, match="D509"):
            await service.inspect(who, wanted)
    assert not (tmp_path / "issues.jsonl").exists()
    await service.inspect(context(), wanted)
    assert (tmp_path / "issues.jsonl").exists()
