"""Prepare as people meet it: the operations on a real store and a real process."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets.process import locked
from sophia_tui.datasets.repair import SUFFIX
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    DataError,
    NotFoundError,
    SetupError,
    UnavailableError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.datasets import (
    DatasetReference,
    DatasetsPage,
    DatasetsService,
    RejectedInput,
)
from sophia_tui.services.operations import Registry
from sophia_tui.services.prepare import PrepareInput, PrepareService, RepairInput
from sophia_tui.settings import Settings, load


class Now:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 12, tzinfo=UTC)


def context(**options: Any) -> Context:
    return Context("ana", Face.CLI, Role.OPERATOR, **options)


def qa(question: Any, answer: Any) -> str:
    return json.dumps({"question": question, "answer": answer}) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "finetune"
    folder.mkdir()
    (folder / "qa_cache.jsonl").write_text(
        "".join(qa(f"q{number}", f"a{number}") for number in range(20))
        + qa("q", None)
        + qa("q", "ana@example.com")
        + "broken\n"
    )
    return folder


@pytest.fixture
def finetune(data: Path) -> Settings:
    return load({"FINETUNE_DIR": str(data)})


@pytest.fixture
def service(store: Store, finetune: Settings, paths: Paths) -> PrepareService:
    return PrepareService(store.datasets, finetune, paths, Now())


def left_behind(paths: Paths) -> list[str]:
    """Everything below the data sets' folder but locks, which hold nothing."""
    found = paths.datasets.rglob("*")
    return sorted(str(each.relative_to(paths.datasets)) for each in found if each.suffix != ".lock")


def many_rows(data: Path, rows: int = 60_000) -> None:
    with (data / "many.jsonl").open("w") as stream:
        for number in range(rows):
            stream.write(qa(f"question {number}", f"answer {number}"))


async def test_a_version_is_written_recorded_and_found_again(
    service: PrepareService, store: Store, paths: Paths
) -> None:
    output = await service.run(context(), PrepareInput())
    assert output.sum == "23 = 21 + 2"
    assert {each.code: each.examples for each in output.rejected} == {
        "no_answer": ["qa_cache.jsonl:21"],
        "json": ["qa_cache.jsonl:23"],
    }
    assert output.redactions == {"email": 1}
    assert (output.written, output.existed) == (True, False)
    recorded = await store.datasets.get("default")
    assert recorded is not None
    assert recorded.id == output.dataset.id
    assert recorded.created_by == "ana"
    assert recorded.manifest["sum"] == output.sum
    assert Path(recorded.folder).parent == paths.datasets / "default"
    assert [Path(recorded.folder).name] == os.listdir(paths.datasets / "default")


async def test_a_second_time_gives_the_same_version(service: PrepareService, store: Store) -> None:
    first = await service.run(context(), PrepareInput())
    second = await service.run(context(), PrepareInput())
    assert (second.existed, second.written) == (True, False)
    assert second.dataset.id == first.dataset.id
    assert len(await store.datasets.page()) == 1


async def test_a_dry_run_reports_the_same_and_leaves_nothing(
    service: PrepareService, store: Store, paths: Paths
) -> None:
    dry = await service.run(context(dry_run=True), PrepareInput())
    assert not dry.written
    assert not paths.datasets.exists()
    assert await store.datasets.page() == []
    real = await service.run(context(), PrepareInput())
    assert (dry.dataset.id, dry.dataset.counts) == (real.dataset.id, real.dataset.counts)


async def test_few_examples_and_unredacted_data_are_warned_of(
    service: PrepareService, data: Path
) -> None:
    assert (await service.run(context(), PrepareInput())).warnings == [
        "21 usable examples; 500 or more are advised."
    ]
    (data / "qa_cache.jsonl").write_text(qa("q", "one") + qa("q", "two"))
    assert (await service.run(context(), PrepareInput(redact=False))).warnings == [
        "Only 2 usable examples: hosted providers refuse fewer than 10.",
        "Nothing is held out: all examples ask the same question.",
        "Personal data was not replaced: this version must not leave the machine.",
    ]


async def test_files_that_nobody_named_are_warned_of(service: PrepareService, data: Path) -> None:
    (data / "table.csv").write_text("question,answer\n")
    told = "table.csv was not read: packed files and tables are read when they are named."
    assert told in (await service.run(context(), PrepareInput())).warnings
    named = await service.run(context(), PrepareInput(files=["qa_cache.jsonl"]))
    assert not any("not read" in each for each in named.warnings)


async def test_the_history_file_is_never_data(service: PrepareService, data: Path) -> None:
    (data / "history.jsonl").write_text('{"id": "ftjob-1"}\n')
    output = await service.run(context(), PrepareInput())
    assert [each.file for each in output.files] == ["qa_cache.jsonl"]
    assert output.passed_over == [{"file": "history.jsonl", "code": "history"}]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "Ä", "A", "x" * 64])
def test_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        PrepareInput(name=name)


async def test_what_the_engine_refuses_is_raised_here_in_the_persons_language(
    service: PrepareService, data: Path, paths: Paths
) -> None:
    (data / "qa_cache.jsonl").write_text("broken\n")
    with pytest.raises(DataError, match="D307") as refused:
        await service.run(context(), PrepareInput())
    assert refused.value.details["rejected"] == {"json": 1}
    with pytest.raises(DataError, match="D301"):
        await service.run(context(), PrepareInput(folder=str(data / "none")))
    with pytest.raises(NotFoundError, match="D305"):
        await service.run(context(), PrepareInput(files=["other.jsonl"]))
    assert left_behind(paths) == []


async def test_stopping_leaves_everything_as_it_was(
    service: PrepareService, data: Path, paths: Paths, store: Store
) -> None:
    many_rows(data)
    cancel = CancelSignal()
    stopped = context(cancel=cancel, progress=lambda told: cancel.request())
    with pytest.raises(CancelledError):
        await service.run(stopped, PrepareInput())
    assert left_behind(paths) == []
    assert engines() == []
    assert await store.datasets.page() == []


async def test_a_cancelled_task_ends_its_process(
    service: PrepareService, data: Path, paths: Paths
) -> None:
    many_rows(data)
    begun = asyncio.Event()
    running = asyncio.ensure_future(
        service.run(context(progress=lambda told: begun.set()), PrepareInput())
    )
    await begun.wait()
    assert len(engines()) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engines() == []
    assert left_behind(paths) == []


def engines(parent: int | None = None) -> list[int]:
    """The engine processes below this one, or below another."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) == (parent or os.getpid()) and b"sophia_tui.datasets" in command:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("stage", ["Reading", "Finding duplicates", "Writing"])
async def test_kill_in_the_middle_leaves_nothing_and_says_so(
    service: PrepareService, data: Path, paths: Paths, stage: str
) -> None:
    def kill(told: Progress) -> None:
        if told.stage == stage:
            for engine in engines():
                with contextlib.suppress(ProcessLookupError):  # killed at an earlier word
                    os.kill(engine, signal.SIGKILL)

    died: DataError | None = None
    for rows in (60_000, 120_000, 240_000, 480_000):
        many_rows(data, rows)
        before = left_behind(paths)
        try:
            await service.run(context(progress=kill), PrepareInput())
        except DataError as problem:
            died = problem
            break
        # the engine was done before word of this stage reached us: more rows take longer
    assert died is not None and died.code == "SOPHIA-D311"
    assert "9" in died.why
    assert left_behind(paths) == before


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Makes every write beyond so many bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 3_000, 30_000, 1_000_000])
async def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    service: PrepareService,
    data: Path,
    paths: Paths,
    size: int,
    small_files: Callable[[int], None],
) -> None:
    many_rows(data, 15_000)
    small_files(size)
    with pytest.raises(SetupError, match="S101") as full:
        await service.run(context(), PrepareInput())
    assert "disk space" in full.value.remedy
    assert left_behind(paths) == []


async def test_who_waits_for_a_lock_keeps_nobody_else_waiting(paths: Paths) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    working = asyncio.ensure_future(others())
    async with locked(paths.datasets / "town"):
        with pytest.raises(ConflictError, match="D312"):
            async with locked(paths.datasets / "town"):
                pass
    working.cancel()
    assert turns > 5


async def test_two_at_once_on_one_name_are_kept_apart(service: PrepareService, data: Path) -> None:
    many_rows(data)
    begun = asyncio.Event()
    first = asyncio.ensure_future(
        service.run(context(progress=lambda told: begun.set()), PrepareInput())
    )
    await begun.wait()
    (engine,) = engines()
    os.kill(engine, signal.SIGSTOP)  # else it might be done before it is asked again
    with pytest.raises(ConflictError, match="D312"):
        await service.run(context(), PrepareInput())
    os.kill(engine, signal.SIGCONT)
    other = await service.run(context(), PrepareInput(name="other", files=["qa_cache.jsonl"]))
    assert other.written
    assert (await first).written


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.unit.test_prepare_service import Broken, Now, context
from sophia_tui.paths import Paths
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.settings import load
service = PrepareService(
    Broken(), load({"FINETUNE_DIR": sys.argv[1]}), Paths(Path(sys.argv[2])), Now()
)
heard = context(progress=lambda told: print("begun", flush=True))
asyncio.run(service.run(heard, PrepareInput()))
"""


async def test_the_engine_ends_with_who_asked_and_the_next_one_sweeps(
    service: PrepareService, data: Path, paths: Paths
) -> None:
    many_rows(data, 200_000)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data), str(paths.data)], stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == b"begun\n"
        (engine,) = engines(program.pid)
        workers = engines(engine)
        program.kill()
        program.wait()
    for process in (engine, *workers):
        while Path(f"/proc/{process}").exists() and b"sophia" in _command(process):
            await asyncio.sleep(0.05)  # the test's own time limit ends this
    assert left_behind(paths) != []
    (data / "many.jsonl").unlink()
    output = await service.run(context(), PrepareInput(name="other"))
    assert os.listdir(paths.datasets / "other") == [output.dataset.hash[:12]]
    assert sorted(os.listdir(paths.datasets)) == [".default.lock", ".other.lock", "other"]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


class Broken:
    """A store that has gone away."""

    async def add(self, version: DatasetVersion) -> None:
        raise UnavailableError("S001", "The store does not answer.")

    async def get(self, reference: str) -> DatasetVersion | None:
        return None

    async def page(self, limit: int = 100, offset: int = 0) -> list[DatasetVersion]:
        return []


async def test_what_the_store_does_not_take_is_not_left_on_disk(
    finetune: Settings, paths: Paths
) -> None:
    service = PrepareService(Broken(), finetune, paths, Now())
    with pytest.raises(UnavailableError):
        await service.run(context(), PrepareInput())
    assert left_behind(paths) == []


async def test_repair_runs_on_the_folder_and_keeps_the_original(
    service: PrepareService, data: Path
) -> None:
    damaged = qa("q", 'say "x"').replace("\\", "\\\\")
    (data / "old.jsonl").write_text(damaged)
    dry = await service.repair(context(dry_run=True), RepairInput())
    assert (data / "old.jsonl").read_text() == damaged
    done = await service.repair(context(), RepairInput())
    verdicts = {each.file: each.verdict for each in done.items}
    assert verdicts == {"old.jsonl": "certain", "qa_cache.jsonl": "no"}
    assert [each.lines_changed for each in dry.items] == [each.lines_changed for each in done.items]
    assert (data / "old.jsonl").read_text() == qa("q", 'say "x"')
    assert (data / f"old.jsonl{SUFFIX}").read_text() == damaged


async def test_versions_are_listed_shown_and_their_rejected_records_paged(
    service: PrepareService, store: Store
) -> None:
    made = await service.run(context(), PrepareInput())
    datasets = DatasetsService(store.datasets)
    assert [each.id for each in (await datasets.list(context(), DatasetsPage())).items] == [
        made.dataset.id
    ]
    shown = await datasets.show(context(), DatasetReference(dataset="default"))
    assert shown.manifest["sum"] == made.sum
    rejected = await datasets.rejected(context(), RejectedInput(dataset=made.dataset.id))
    assert [(each.line, each.reason) for each in rejected.items] == [
        (21, "No answer."),
        (23, "Not valid JSON at character 1."),
    ]
    second = RejectedInput(dataset="default", offset=1, limit=1)
    assert [each.line for each in (await datasets.rejected(context(), second)).items] == [23]
    one = await datasets.rejected(context(), RejectedInput(dataset="default", code="json"))
    assert (one.total, len(one.items)) == (1, 1)


async def test_what_is_not_there_is_named(service: PrepareService, store: Store) -> None:
    datasets = DatasetsService(store.datasets)
    with pytest.raises(NotFoundError, match="D404"):
        await datasets.show(context(), DatasetReference(dataset="nothing"))
    made = await service.run(context(), PrepareInput())
    for each in Path(made.dataset.folder).iterdir():
        each.unlink()
    with pytest.raises(NotFoundError, match="D405"):
        await datasets.rejected(context(), RejectedInput(dataset="default"))


def test_the_operations_are_declared_as_the_faces_need_them() -> None:
    declared = {each.name: each for each in Registry([PrepareService, DatasetsService])}
    assert set(declared) == {
        "prepare.run",
        "prepare.repair",
        "datasets.list",
        "datasets.show",
        "datasets.rejected",
        "datasets.rows",
    }
    for name, each in declared.items():
        assert each.writes == each.dry_run == name.startswith("prepare.")
        assert each.role == (Role.OPERATOR if each.writes else Role.VIEWER)
