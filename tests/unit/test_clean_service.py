"""prepare.clean, prepare.preview and prepare.split as the faces call them: over real processes,
with nothing left of what was cancelled, killed or met a full disk.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import (
    CancelledError,
    DataError,
    NotFoundError,
    RefusedError,
    SetupError,
    UsageError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.clean import CleanInput, CleanService, PreviewInput, ResplitInput
from sophia_tui.services.prepare import PrepareInput, PrepareService, RepairInput
from sophia_tui.settings import Settings, load
from tests.unit.test_prepare_service import Now, engines, left_behind


def context(**options: Any) -> Context:
    return Context("ana", Face.CLI, Role.OPERATOR, **options)


def qa(number: int) -> str:
    return json.dumps({"question": f"pergunta {number}?", "answer": f"resposta {number}"}) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "finetune"
    folder.mkdir()
    (folder / "pairs.jsonl").write_text("".join(map(qa, range(40))) + qa(3) + "broken\n")
    return folder


@pytest.fixture
def finetune(data: Path) -> Settings:
    return load({"FINETUNE_DIR": str(data)})


@pytest.fixture
def service(store: Store, finetune: Settings, paths: Paths) -> CleanService:
    return CleanService(store.datasets, finetune, paths, Now())


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More than one process is worth: some 9 MB."""
    path = tmp_path / "many.jsonl"
    write_many(path, 60_000)
    return path


def write_many(path: Path, rows: int) -> None:
    with path.open("w") as stream:
        for number in range(rows):
            row = {"question": f"pergunta {number}?", "answer": f"resposta {number} " + "x" * 100}
            stream.write(json.dumps(row) + "\n")


async def test_a_file_becomes_a_version_by_a_recipe(
    service: CleanService, data: Path, store: Store, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- normalise\n- length: {max_characters: 21}\n- exact_duplicates\n")
    source = str(data / "pairs.jsonl")
    output = await service.clean(
        context(), CleanInput(source=source, name="clean", recipe=str(recipe), split="60/20/20")
    )
    assert output.sum == "42 = 10 + 32"
    assert {each.code: each.count for each in output.rejected} == {
        "duplicate": 1,
        "json": 1,
        "many_characters": 30,
    }
    assert [each.step for each in output.steps][2:] == [
        "normalise",
        "length",
        "exact_duplicates",
        "split",
    ]
    counts = output.dataset.counts
    assert (counts["train"], counts["valid"], counts["test"]) == (6, 2, 2)
    recorded = await store.datasets.get("clean")
    assert recorded is not None and recorded.id == output.dataset.id


async def test_without_steps_texts_are_normalised_redacted_and_once(service: CleanService) -> None:
    output = await service.clean(context(dry_run=True), CleanInput())
    steps = [each.step for each in output.steps]
    assert steps == ["read", "convert", "normalise", "redact", "exact_duplicates", "split"]
    assert not output.written


async def test_a_wrong_step_and_two_recipes_are_refused_before_anything_is_read(
    service: CleanService, paths: Paths
) -> None:
    with pytest.raises(UsageError, match="D543") as refused:
        await service.clean(context(), CleanInput(step=["normalize"]))
    assert "normalise" in refused.value.remedy
    with pytest.raises(UsageError, match="D540"):
        await service.clean(context(), CleanInput(step=["redact"], recipe="x.yaml"))
    with pytest.raises(DataError, match="D306"):
        await service.clean(context(), CleanInput(recipe="/nowhere.yaml"))
    with pytest.raises(DataError, match="D542"):
        await service.clean(context(), CleanInput(split="0/20"))
    assert left_behind(paths) == []


async def test_a_bare_name_is_looked_for_in_the_data_folder_too(
    service: CleanService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dry = context(dry_run=True)
    output = await service.clean(dry, CleanInput(source="pairs.jsonl"))
    assert [(each.file, each.rows) for each in output.files] == [("pairs.jsonl", 42)]
    again = await service.split(dry, ResplitInput(file="pairs.jsonl"))
    assert [each.file for each in again.files] == ["pairs.jsonl"]
    assert (await service.preview(dry, PreviewInput(source="pairs.jsonl"))).rows == 42
    for asked in (
        service.clean(dry, CleanInput(source="table.csv")),
        service.preview(dry, PreviewInput(source="table.csv")),
        service.split(dry, ResplitInput(file="table.csv")),
    ):
        with pytest.raises(NotFoundError, match="D550") as refused:
            await asked
        assert "table.csv" in refused.value.what and "collect" not in refused.value.remedy


async def test_the_preview_tells_reasons_and_leaves_nothing(
    service: CleanService, data: Path, paths: Paths
) -> None:
    with (data / "pairs.jsonl").open("a") as stream:
        stream.write(json.dumps({"question": "Sou ana@example.com  ", "answer": "ok"}) + "\n")
    output = await service.preview(context(), PreviewInput(rows=100))
    by_step = {each.step: each for each in output.steps}
    assert (output.rows, output.stay, output.of_all) == (43, 42, ["exact_duplicates"])
    assert list(by_step) == ["read", "redact"]  # what prepare.run does, where nothing is said
    thorough = await service.preview(context(), PreviewInput(rows=100, steps_of="clean"))
    assert [each.step for each in thorough.steps] == ["read", "normalise", "redact"]
    assert by_step["read"].leaving[0].reason == "Not valid JSON at character 1."
    [change] = by_step["redact"].changes
    assert (change.before, change.after) == ("Sou •••••••••••••••  ", "Sou [EMAIL_1]  ")
    assert left_behind(paths) == []


async def test_a_version_is_split_anew_and_a_file_as_it_is(
    service: CleanService, data: Path, store: Store
) -> None:
    made = await service.clean(context(), CleanInput(name="town"))
    again = await service.split(context(), ResplitInput(dataset="town", split="50/50", seed=1))
    assert again.dataset.name == "town"
    assert (again.dataset.counts["train"], again.dataset.counts["valid"]) == (20, 20)
    assert again.sum == "40 = 40 + 0"
    assert [each.step for each in again.steps] == [each.step for each in made.steps]
    assert [each.file for each in again.files] == ["train.jsonl", "valid.jsonl"]
    plain = await service.split(
        context(), ResplitInput(file=str(data / "pairs.jsonl"), name="plain", split="90/10")
    )
    assert plain.sum == "42 = 41 + 1"
    assert [each.step for each in plain.steps] == ["read", "convert", "split"]
    assert any("not replaced" in warning for warning in plain.warnings)
    with pytest.raises(NotFoundError, match="D404"):
        await service.split(context(), ResplitInput(dataset="nothing"))
    with pytest.raises(UsageError, match="D549"):
        await service.split(context(), ResplitInput())


async def test_cancelled_nothing_is_left(service: CleanService, many: Path, paths: Paths) -> None:
    cancel = CancelSignal()
    heard = context(cancel=cancel, progress=lambda told: cancel.request())
    with pytest.raises(CancelledError):
        await service.clean(heard, CleanInput(source=str(many)))
    assert left_behind(paths) == []
    assert engines() == []


def is_engine(process: int) -> bool:
    """Whether that process lives and is one of the engine's: its number may be another's by now."""
    try:
        return b"sophia_tui.datasets" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("stage", ["Reading", "Finding duplicates"])
@pytest.mark.parametrize("victim", ["engine", "worker"])
async def test_killed_nothing_is_left_and_nobody_works_on(
    service: CleanService, many: Path, paths: Paths, victim: str, stage: str
) -> None:
    workers: set[int] = set()

    def kill(told: Progress) -> None:
        for engine in engines():
            below = children(engine)
            workers.update(below)
            for process in [engine] if victim == "engine" else below:
                if told.stage == stage:
                    with contextlib.suppress(ProcessLookupError):  # it was done a moment ago
                        os.kill(process, signal.SIGKILL)

    died: DataError | None = None
    before: list[str] = []
    for rows in (60_000, 240_000, 960_000):
        write_many(many, rows)
        before = left_behind(paths)
        try:
            await service.clean(context(progress=kill), CleanInput(source=str(many)))
        except DataError as problem:
            died = problem
            break
        # the engine was done before word of this stage reached us: more rows take longer
    expected = {"engine": "SOPHIA-D311", "worker": "SOPHIA-D501"}
    assert died is not None and died.code == expected[victim]
    assert left_behind(paths) == before
    while any(is_engine(each) for each in workers):
        await asyncio.sleep(0.05)  # the test's own time limit ends this


def children(process: int) -> list[int]:
    try:
        told = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in told.split()]


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Makes every write beyond so many bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 300_000, 700_000, 5_000_000])
async def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    service: CleanService,
    many: Path,
    paths: Paths,
    size: int,
    small_files: Callable[[int], None],
) -> None:
    small_files(size)
    with pytest.raises(SetupError, match="S101") as full:
        await service.clean(context(), CleanInput(source=str(many)))
    assert "disk space" in full.value.remedy
    assert left_behind(paths) == []


async def test_a_relative_file_is_meant_from_where_one_stands(
    store: Store, finetune: Settings, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooted = finetune.model_copy(update={"env_file": tmp_path / ".env"})
    service = CleanService(store.datasets, rooted, paths, Now())
    standing = tmp_path / "elsewhere"
    standing.mkdir()
    (standing / "mine.jsonl").write_text(qa(3))
    monkeypatch.chdir(standing)
    found = await service.preview(context(), PreviewInput(source="mine.jsonl"))
    assert found.rows == 1


async def test_from_afar_only_names_in_the_folder_count(
    store: Store, service: CleanService, finetune: Settings, paths: Paths, data: Path
) -> None:
    outside = data.parent / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_text(qa(1))
    (data / "link.jsonl").symlink_to(outside / "secret.jsonl")
    (data / "folder").mkdir()
    recipe = outside / "recipe.yaml"
    recipe.write_text("- normalise\n")
    afar = Context("ana", Face.API, Role.OPERATOR, dry_run=True)
    prepare = PrepareService(store.datasets, finetune, paths, Now())
    names = (str(outside), f"{outside}/secret.jsonl", "../outside", "..", "link.jsonl", "folder")
    for name in (*names, f"{data}/pairs.jsonl", "a\0b"):
        for asked in (
            service.clean(afar, CleanInput(source=name)),
            service.preview(afar, PreviewInput(source=name)),
            service.split(afar, ResplitInput(file=name)),
            prepare.run(afar, PrepareInput(folder=name)),
            prepare.repair(afar, RepairInput(folder=name)),
            service.preview(afar, PreviewInput(step=[f"leakage:file={name}"])),
            service.clean(afar, CleanInput(step=[f"feedback:file={name},drop=negative"])),
            prepare.run(afar, PrepareInput(step=[f"leakage:file={name}"])),
        ):
            with pytest.raises(RefusedError, match="SOPHIA-D505"):
                await asked
    for asked in (
        service.clean(afar, CleanInput(recipe=str(recipe))),
        service.preview(afar, PreviewInput(recipe="recipe.yaml")),
        prepare.run(afar, PrepareInput(recipe=str(recipe))),
    ):
        with pytest.raises(RefusedError, match="SOPHIA-D522"):
            await asked


async def test_from_afar_files_of_the_folder_are_named(service: CleanService, data: Path) -> None:
    (data / "asked.jsonl").write_text(qa(7))
    afar = Context("ana", Face.API, Role.OPERATOR, dry_run=True)
    request = CleanInput(source="pairs.jsonl", step=["leakage:file=asked.jsonl"])
    assert (await service.clean(afar, request)).sum == "42 = 40 + 2"
    assert (await service.split(afar, ResplitInput(file="asked.jsonl"))).sum == "1 = 1 + 0"
    with pytest.raises(NotFoundError, match="SOPHIA-D305"):
        await service.clean(afar, CleanInput(source="missing.jsonl"))
