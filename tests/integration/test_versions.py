"""Versions as people keep them: tags, what was trained on each, comparing, exporting, deleting.

On a real store, with versions that prepare made of real files.
"""

import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import xxhash
import zstandard

from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    DataError,
    NotFoundError,
    RefusedError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.catalogue import registry
from sophia_tui.services.datasets import DatasetReference, DatasetsService, RowsInput
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.services.version_views import (
    DeleteInput,
    DiffInput,
    ExportInput,
    TagInput,
    UntagInput,
    VersionsInput,
)
from sophia_tui.services.versions import VersionsService
from sophia_tui.settings import Settings, load
from sophia_tui.tui.effects import effect_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONTEXT = Context("ana", Face.CLI, Role.ADMIN)
YES = replace(CONTEXT, confirmed=True)


class Now:
    def now(self) -> datetime:
        return NOW


class Later:
    """Each version is made a minute after the one before."""

    def __init__(self) -> None:
        self._at = NOW

    def now(self) -> datetime:
        self._at += timedelta(minutes=1)
        return self._at


def write_pairs(folder: Path, pairs: dict[int, tuple[str, str]], name: str = "qa_cache") -> None:
    """Question/answer lines with the provenance that collect writes; keys are the rows' own."""
    (folder / "provenance").mkdir(parents=True, exist_ok=True)
    lines, origins = [], []
    for line, (key, (question, answer)) in enumerate(sorted(pairs.items()), 1):
        text = json.dumps({"question": question, "answer": answer})
        lines.append(text)
        origin = {"line": line, "hash": xxhash.xxh3_128_hexdigest(text.encode())}
        origins.append(json.dumps({**origin, "table": f"public.{name}", "key": {"id": key}}))
    (folder / f"{name}.jsonl").write_text("".join(f"{each}\n" for each in lines))
    (folder / "provenance" / f"{name}.jsonl").write_text("".join(f"{e}\n" for e in origins))


PAIRS = {n: (f"When does office {n} open?", f"At {7 + n % 4} o'clock.") for n in range(30)}
Prepare = Callable[..., Awaitable[DatasetVersion]]


@pytest.fixture
def settings_here(tmp_path: Path) -> Settings:
    return load({"FINETUNE_DIR": str(tmp_path / "finetune")})


@pytest.fixture
def prepare(store: Store, settings_here: Settings, paths: Paths, tmp_path: Path) -> Prepare:
    service = PrepareService(store.datasets, settings_here, paths, Later())

    async def make(pairs: dict[int, tuple[str, str]], **request: Any) -> DatasetVersion:
        write_pairs(tmp_path / "finetune", pairs)
        made = await service.run(CONTEXT, PrepareInput(name="town", **request))
        found = await store.datasets.get(made.dataset.id)
        assert found is not None
        return found

    return make


@pytest.fixture
def service(store: Store, settings_here: Settings, paths: Paths) -> VersionsService:
    return VersionsService(store, settings_here, paths, Now())


async def train_on(store: Store, version: DatasetVersion, state: str, job_id: str) -> None:
    run = {"run": {"dataset_path": version.folder}}
    await store.jobs.add(Job(job_id, JobKind.TRAIN, state, "base", version.id, run, "ana", NOW))


# --- tags


async def test_a_tag_stands_for_its_version_wherever_one_is_named(
    prepare: Prepare, service: VersionsService, store: Store
) -> None:
    old = await prepare(PAIRS)
    await service.tag(CONTEXT, TagInput(dataset=old.id, tag="production", protect=True))
    new = await prepare({**PAIRS, 30: ("Where?", "Here.")})
    assert (await store.datasets.get("town")) == new
    found = await store.datasets.get("town@production")
    assert found is not None
    assert (found.id, found.tags, found.protected) == (old.id, ("production",), ("production",))
    shown = await DatasetsService(store.datasets).show(
        CONTEXT, DatasetReference(dataset="town@production")
    )
    assert (shown.dataset.id, shown.tags) == (old.id, ["production"])


async def test_a_tag_that_moves_says_where_it_stood(
    prepare: Prepare, service: VersionsService
) -> None:
    old = await prepare(PAIRS)
    await service.tag(CONTEXT, TagInput(dataset=old.id, tag="best"))
    new = await prepare({**PAIRS, 30: ("Where?", "Here.")})
    moved = await service.tag(CONTEXT, TagInput(dataset="town", tag="best"))
    assert (moved.dataset, moved.moved_from) == (new.id, old.id)
    again = await service.tag(CONTEXT, TagInput(dataset="town", tag="best"))
    assert again.moved_from is None
    gone = await service.untag(CONTEXT, UntagInput(dataset="town@best"))
    assert gone.removed
    with pytest.raises(NotFoundError, match="D552"):
        await service.untag(CONTEXT, UntagInput(dataset="town", tag="best"))


@pytest.mark.parametrize("tag", ["cafe12", "7", "Two", "a b", "x" * 41, "-a"])
async def test_what_could_be_a_hash_or_is_no_word_is_no_tag(
    prepare: Prepare, service: VersionsService, tag: str
) -> None:
    await prepare(PAIRS)
    with pytest.raises(UsageError, match="D551"):
        await service.tag(CONTEXT, TagInput(dataset="town", tag=tag))


# --- listing


async def test_versions_tell_sizes_tags_and_what_was_trained_on_each(
    prepare: Prepare, service: VersionsService, store: Store
) -> None:
    version = await prepare(PAIRS)
    await train_on(store, version, "succeeded", "ftjob-aaaaaaaaaaaa")
    await store.models.add(
        Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, "ftjob-aaaaaaaaaaaa", version.id)
    )
    await service.tag(CONTEXT, TagInput(dataset="town", tag="v1"))
    [told] = (await service.versions(CONTEXT, VersionsInput(name="town"))).items
    assert (told.jobs, told.models, told.tags) == (["ftjob-aaaaaaaaaaaa"], ["sophia-v1"], ["v1"])
    files = [each for each in Path(version.folder).iterdir() if each.name != "manifest.json"]
    assert told.bytes == sum(each.stat().st_size for each in files)
    assert (told.rows, told.redacted) == (30, True)
    assert (await service.versions(CONTEXT, VersionsInput(name="other"))).items == []


# --- comparing


async def test_rows_added_removed_changed_and_moved_are_told_with_their_texts(
    prepare: Prepare, service: VersionsService
) -> None:
    old = await prepare(PAIRS)
    after = dict(PAIRS)
    del after[3]
    after[5] = ("When does office 5 open?", "Never.")  # the same row, another answer
    after[7] = ("Is office 7 open?", "No.")  # the same row, another question
    after[31] = ("Who runs it?", "Dona Rosa.")
    new = await prepare(after)
    found = await service.diff(CONTEXT, DiffInput(first=old.id, second=new.id, limit=500))
    assert (found.added, found.removed, found.changed) == (1, 1, 2)
    assert found.same + found.moved + found.changed + found.removed == 30
    changed = {
        (each.before.answer, each.after.question, each.after.answer)  # type: ignore[union-attr]
        for each in found.items
        if each.kind == "changed"
    }
    assert changed == {
        ("At 8 o'clock.", "When does office 5 open?", "Never."),
        ("At 10 o'clock.", "Is office 7 open?", "No."),
    }
    [added] = [each.after for each in found.items if each.kind == "added"]
    assert added is not None and added.source == {"table": "public.qa_cache", "key": {"id": 31}}
    [removed] = [each.before for each in found.items if each.kind == "removed"]
    assert removed is not None and removed.question == "When does office 3 open?"
    assert found.steps == []


async def test_the_same_question_pairs_rows_where_no_source_row_is_known(
    prepare: Prepare, service: VersionsService, tmp_path: Path
) -> None:
    await prepare(PAIRS)
    old = (await service.versions(CONTEXT, VersionsInput())).items[0]
    after = {**PAIRS, 5: ("when does  OFFICE 5 open?", "Never.")}
    write_pairs(tmp_path / "finetune", after)
    (tmp_path / "finetune" / "provenance" / "qa_cache.jsonl").unlink()
    made = await PrepareService(
        service._store.datasets, service._settings, service._paths, Now()
    ).run(CONTEXT, PrepareInput(name="town"))
    found = await service.diff(CONTEXT, DiffInput(first=old.id, second=made.dataset.id))
    assert (found.changed, found.added, found.removed) == (1, 0, 0)


async def test_another_split_moves_rows_and_names_the_step(
    prepare: Prepare, service: VersionsService
) -> None:
    old = await prepare(PAIRS)
    new = await prepare(PAIRS, seed=7)
    found = await service.diff(CONTEXT, DiffInput(first=old.id, second=new.id, kind="moved"))
    assert (found.added, found.removed, found.changed) == (0, 0, 0)
    assert found.moved > 0 and found.same + found.moved == 30
    assert all(each.before.part != each.after.part for each in found.items)  # type: ignore[union-attr]
    [step] = found.steps
    assert step.step == "split"
    assert (step.first or {})["settings"]["seed"] == 42
    assert [(each.first, each.second) for each in found.parts if each.part == "test"] == [(0, 0)]


async def test_pages_of_a_comparison_join_to_the_whole_and_need_no_second_reading(
    prepare: Prepare, service: VersionsService, paths: Paths
) -> None:
    old = await prepare({n: PAIRS[n] for n in range(10)})
    new = await prepare({n: PAIRS[n] for n in range(4, 30)})
    whole = await service.diff(CONTEXT, DiffInput(first=old.id, second=new.id, limit=500))
    assert (whole.added, whole.removed, whole.more) == (20, 4, False)
    [index] = list(paths.previews.glob("*.sqlite"))
    made = index.stat().st_mtime_ns
    pages = []
    for offset in range(0, 30, 7):
        page = await service.diff(
            CONTEXT, DiffInput(first=old.id, second=new.id, limit=7, offset=offset)
        )
        pages += page.items
        assert page.more is (offset + 7 < len(whole.items))
    assert pages == whole.items
    assert index.stat().st_mtime_ns == made
    assert b"office" not in index.read_bytes()  # hashes and places, no word of the data


async def test_a_comparison_that_is_stopped_leaves_nothing(
    prepare: Prepare, service: VersionsService, paths: Paths
) -> None:
    old, new = await prepare(PAIRS), await prepare(PAIRS, seed=7)
    cancel = CancelSignal()
    cancel.request()
    with pytest.raises(CancelledError):
        await service.diff(replace(CONTEXT, cancel=cancel), DiffInput(first=old.id, second=new.id))
    assert not paths.previews.exists() or list(paths.previews.iterdir()) == []


# --- exporting


def content(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with zstandard.open(path, "rb") as stream:
            return stream.read()
    return path.read_bytes()


@pytest.mark.parametrize("compression", ["none", "gz", "zst"])
async def test_all_parts_are_exported_with_a_manifest_that_fits(
    prepare: Prepare, service: VersionsService, tmp_path: Path, compression: str
) -> None:
    version = await prepare(PAIRS)
    target = tmp_path / "out"
    done = await service.export(
        CONTEXT, ExportInput(dataset="town", to=str(target), compression=compression)
    )
    assert done.warnings == []
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["hash"] == version.hash and manifest["counts"] == version.counts
    assert {each.name for each in target.iterdir()} == {*manifest["files"], "manifest.json"}
    for part in ("train", "valid", "rejected", "provenance"):
        [file] = target.glob(f"{part}.*")
        assert content(file) == (Path(version.folder) / f"{part}.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"])
async def test_one_part_is_exported_into_a_file_of_the_named_kind(
    prepare: Prepare, service: VersionsService, tmp_path: Path, name: str
) -> None:
    version = await prepare(PAIRS)
    await service.export(
        CONTEXT, ExportInput(dataset="town", part="train", to=str(tmp_path / name))
    )
    assert content(tmp_path / name) == (Path(version.folder) / "train.jsonl").read_bytes()
    manifest = json.loads((tmp_path / f"{name}.manifest.json").read_text())
    assert manifest["files"][name]["rows"] == version.counts["train"]
    with pytest.raises(UsageError, match="D553"):  # all parts do not fit into one file
        await service.export(CONTEXT, ExportInput(dataset="town", to=str(tmp_path / name)))


async def test_an_export_replaces_another_one_only_with_a_yes(
    prepare: Prepare, service: VersionsService, tmp_path: Path
) -> None:
    await prepare(PAIRS)
    asked = ExportInput(dataset="town", to=str(tmp_path / "out"))
    await service.export(CONTEXT, asked)
    (tmp_path / "out" / "train.jsonl").write_text("mine\n")
    with pytest.raises(UnconfirmedError, match="D554"):
        await service.export(CONTEXT, asked)
    assert (tmp_path / "out" / "train.jsonl").read_text() == "mine\n"
    assert (await service.export(YES, asked)).replaced
    assert (tmp_path / "out" / "train.jsonl").read_text() != "mine\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "finetune", "out"]


async def test_what_is_no_export_is_never_replaced(
    prepare: Prepare, service: VersionsService, tmp_path: Path
) -> None:
    await prepare(PAIRS)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(RefusedError, match="D558"):
        await service.export(YES, ExportInput(dataset="town", to=str(tmp_path / "home")))
    with pytest.raises(RefusedError, match="D557"):
        far = replace(YES, face=Face.API)
        await service.export(far, ExportInput(dataset="town", to="/tmp/x"))


async def test_what_is_not_redacted_says_so_and_what_is_damaged_is_not_exported(
    prepare: Prepare, service: VersionsService, tmp_path: Path
) -> None:
    version = await prepare(PAIRS, redact=False)
    done = await service.export(CONTEXT, ExportInput(dataset="town", to=str(tmp_path / "a")))
    assert "must not leave the machine" in done.warnings[0]
    with (Path(version.folder) / "valid.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(DataError, match="D309"):
        await service.export(CONTEXT, ExportInput(dataset="town", to=str(tmp_path / "b")))
    assert not (tmp_path / "b").exists()
    assert list(tmp_path.glob(".*")) == []


# --- deleting


async def test_a_deleted_version_is_gone_and_known_to_have_been(
    prepare: Prepare, service: VersionsService, store: Store
) -> None:
    version = await prepare(PAIRS)
    await service.tag(CONTEXT, TagInput(dataset="town", tag="v1"))
    await train_on(store, version, "succeeded", "ftjob-aaaaaaaaaaaa")
    await store.models.add(
        Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, "ftjob-aaaaaaaaaaaa", version.id)
    )
    plan = await service.delete(replace(YES, dry_run=True), DeleteInput(dataset="town"))
    assert (plan.deleted, Path(version.folder).is_dir()) == (False, True)
    done = await service.delete(YES, DeleteInput(dataset="town@v1"))
    assert (done.jobs, done.models, done.tags) == (["ftjob-aaaaaaaaaaaa"], ["sophia-v1"], ["v1"])
    assert not Path(version.folder).exists()
    for reference in (version.id, "town", "town@v1", version.hash[:12]):
        assert await store.datasets.get(reference) is None
    assert (await service.versions(CONTEXT, VersionsInput())).items == []
    [known] = (await service.versions(CONTEXT, VersionsInput(deleted=True))).items
    assert (known.id, known.deleted_by, known.deleted_at) == (version.id, "ana", NOW)
    shown = await DatasetsService(store.datasets).show(
        CONTEXT, DatasetReference(dataset=version.id)
    )
    assert shown.deleted_at == NOW
    back = await prepare(PAIRS)  # the same again: it is there again
    assert (back.id, back.deleted_at) == (version.id, None)


@pytest.mark.parametrize("state", ["draft", "queued", "running", "paused", "interrupted"])
async def test_a_version_that_a_job_needs_is_not_deleted_even_when_pressed(
    prepare: Prepare, service: VersionsService, store: Store, state: str
) -> None:
    version = await prepare(PAIRS)
    await train_on(store, version, state, "ftjob-aaaaaaaaaaaa")
    with pytest.raises(ConflictError, match="D555"):
        await service.delete(YES, DeleteInput(dataset="town", regardless=True))
    assert Path(version.folder).is_dir()


async def test_a_job_that_comes_between_look_and_act_keeps_the_files(
    prepare: Prepare, service: VersionsService, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await prepare(PAIRS)
    monkeypatch.setattr("sophia_tui.services.versions.jobs_at_work", lambda users: [])
    await train_on(store, version, "queued", "ftjob-aaaaaaaaaaaa")
    with pytest.raises(ConflictError, match="D555"):
        await service.delete(YES, DeleteInput(dataset="town"))
    assert (Path(version.folder) / "train.jsonl").is_file()
    assert await store.datasets.get("town") is not None


async def test_protected_or_in_production_is_deleted_only_regardless(
    prepare: Prepare, service: VersionsService, store: Store
) -> None:
    version = await prepare(PAIRS)
    await service.tag(CONTEXT, TagInput(dataset="town", tag="production", protect=True))
    with pytest.raises(RefusedError, match="D556") as refused:
        await service.delete(YES, DeleteInput(dataset="town"))
    assert "production" in refused.value.why
    await service.untag(CONTEXT, UntagInput(dataset="town@production"))
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, None, version.id))
    await store.deployments.add(
        Deployment(
            "deploy-aaaaaaaaaaaa", "sophia-v1", "sophia-v1", "x", DeploymentState.READY, "ana",
            NOW, "/x",
        )
    )  # fmt: skip
    with pytest.raises(RefusedError, match="D556") as refused:
        await service.delete(YES, DeleteInput(dataset="town"))
    assert "sophia-v1" in refused.value.why
    done = await service.delete(YES, DeleteInput(dataset="town", regardless=True))
    assert done.deleted and "sophia-v1" in done.kept_by[0]


# --- from the source row


async def test_the_records_of_a_source_row_are_found(prepare: Prepare, store: Store) -> None:
    await prepare(PAIRS)
    rows = DatasetsService(store.datasets)
    for named in ("qa_cache:7", "public.qa_cache:7", "qa_cache:id=7"):
        [found] = (await rows.rows(CONTEXT, RowsInput(dataset="town", source=named))).items
        assert found.question == "When does office 7 open?"
    for named in ("qa_cache:777", "messages:7", "qa_cache:qhash=7"):
        assert (await rows.rows(CONTEXT, RowsInput(dataset="town", source=named))).items == []
    with pytest.raises(UsageError, match="D559"):
        await rows.rows(CONTEXT, RowsInput(dataset="town", source="qa_cache"))


async def test_the_question_before_a_version_goes_says_what_was_made_of_it(
    prepare: Prepare, service: VersionsService, store: Store
) -> None:
    version = await prepare(PAIRS)
    await train_on(store, version, "succeeded", "ftjob-aaaaaaaaaaaa")
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, None, version.id))

    class Console:
        async def call(self, name: str, request: Any, dry_run: bool) -> Any:
            assert name == "datasets.delete"
            return await service.delete(replace(YES, dry_run=dry_run), DeleteInput(**request))

    operation = next(each for each in registry() if each.name == "datasets.delete")
    told = await effect_of(Console(), operation, {"dataset": "town"})  # type: ignore[arg-type]
    assert version.folder in told[0]
    assert told[1:] == ["Jobs on it: ftjob-aaaaaaaaaaaa", "Models of it: sophia-v1"]
    assert Path(version.folder).is_dir()
