"""A person is found wherever they are held, and data sets are made anew without them: over a real
source, what collect writes of it, and versions that prepare made.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.datasets.version import check_version
from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobKind
from sophia_tui.domain.models import Evaluation, Model, ModelKind
from sophia_tui.domain.protocols import DatasetStore, Store
from sophia_tui.errors import CancelledError, RefusedError, UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.browse import BrowseService
from sophia_tui.services.browse_views import EditInput, UndoInput
from sophia_tui.services.collect import CollectRequest, CollectService
from sophia_tui.services.forget import ForgetInput, ForgetService, PersonInput
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.services.train import dataset_version
from sophia_tui.services.version_views import TagInput
from sophia_tui.services.versions import VersionsService
from sophia_tui.settings import Settings, load
from sophia_tui.store.source import open_source

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONTEXT = Context("ana", Face.CLI, Role.ADMIN, confirmed=True)
EMAIL, PHONE, CPF = "zulmira@example.org", "+55 11 98765-4321", "529.982.247-25"
#: The customer's conversations are 30 and 31; 5 tells her e-mail though it is another's.
WORDS = ("zulmira", "98765", "982.247", "Zanzibar")


class Later:
    def __init__(self) -> None:
        self._at = NOW

    def now(self) -> datetime:
        self._at += timedelta(minutes=1)
        return self._at


@pytest.fixture
def source_url(postgres_url: str) -> str:
    """Forty conversations of as many customers; the last ones are of customer 900."""
    with psycopg.connect(postgres_url) as connection:
        run = connection.execute
        run("CREATE TABLE customers (id int, name text, email text, phone text, status text)")
        run("CREATE TABLE conversations (id int, customer_id int, channel text, status text)")
        run(
            "CREATE TABLE messages (id int, conversation_id int, content text, sender_type text,"
            " created_at timestamptz)"
        )
        run("INSERT INTO customers VALUES (900, 'Zulmira', %s, '(11) 98765-4321', 'x')", [EMAIL])
        for number in range(32):
            customer = 900 if number >= 30 else number
            asked = f"When does office {number} open?"
            if number == 30:
                asked = f"I am Zulmira of Zanzibar, CPF {CPF}. When does office 30 open?"
            if number == 5:
                asked = f"Please write to {EMAIL.upper()} about office 5."
            run("INSERT INTO conversations VALUES (%s, %s, 'site', 'closed')", [number, customer])
            for place, (sender, words) in enumerate(
                (("customer", asked), ("assistant", f"At {7 + number % 4} o'clock."))
            ):
                run(
                    "INSERT INTO messages VALUES (%s, %s, %s, %s, %s)",
                    [number * 2 + place, number, words, sender, NOW - timedelta(hours=number + 1)],
                )
    return postgres_url


class Desk:
    """The services over one store and one source."""

    def __init__(self, store: Store, url: str, paths: Paths, folder: Path) -> None:
        self.store, self.paths, self.clock = store, paths, Later()
        self.settings: Settings = load(
            {
                "DATABASE_URL": url,
                "FINETUNE_DIR": str(folder / "finetune"),
                "AION_TRAIN_ROOT": str(folder / "trainer"),
                "AION_EVENTS_JSONL": str(folder / "trainer" / "events.jsonl"),
            }
        )
        (folder / "finetune").mkdir()
        self.folder = folder
        self.forget = ForgetService(store, self.source, self.settings, paths, self.clock)

    async def source(self) -> Any:
        return await open_source(self.settings, self.paths)

    async def prepare(self, **request: Any) -> DatasetVersion:
        service = PrepareService(self.store.datasets, self.settings, self.paths, self.clock)
        made = await service.run(CONTEXT, PrepareInput(name="town", **request))
        found = await self.store.datasets.get(made.dataset.id)
        assert found is not None
        return found

    async def collect(self) -> None:
        asked = CollectRequest(what=["conversations"], since=NOW - timedelta(days=9))
        await CollectService(self.source, self.settings, self.clock).run(CONTEXT, asked)


@pytest.fixture
async def desk(
    store: Store, source_url: str, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    desk = Desk(store, source_url, paths, tmp_path)
    await desk.collect()
    return desk


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in (folder / name).read_text().splitlines()]


def whole_text(folder: Path) -> str:
    return "".join(each.read_text() for each in folder.iterdir()).casefold()


@pytest.mark.parametrize(
    "typed", ["customer:900", EMAIL, PHONE, f"900; {CPF}", "name: Zulmira of Zanzibar\n900"]
)
async def test_a_person_is_found_by_whatever_names_them(desk: Desk, typed: str) -> None:
    version = await desk.prepare(redact=False)
    found = await desk.forget.holds(CONTEXT, PersonInput(person=typed))
    [held] = found.versions
    assert (held.dataset, held.rows, held.by_source, held.by_value) == (version.id, 3, 2, 1)
    assert found.source_rows == {"customers": 1, "conversations": 2, "messages": 4}
    told = found.model_dump_json()
    assert [word for word in (*WORDS, "900") if word.casefold() in told.casefold()] == []


async def test_rows_whose_values_were_replaced_are_found_by_their_source_row(desk: Desk) -> None:
    await desk.prepare()
    [held] = (await desk.forget.holds(CONTEXT, PersonInput(person=EMAIL))).versions
    assert (held.rows, held.by_source, held.by_value) == (2, 2, 0)


async def test_the_new_version_is_whole_without_them_and_names_no_word_of_theirs(
    desk: Desk,
) -> None:
    old = await desk.prepare(redact=False)
    report = await desk.forget.forget(CONTEXT, ForgetInput(person="900"))
    [held] = report.versions
    new = await desk.store.datasets.get(held.successor or "")
    assert new is not None and report.forgotten == 3 and report.complete
    folder = Path(new.folder)
    check_version(folder, new.hash)
    counts = new.counts
    assert counts["rows_kept"] == old.counts["rows_kept"] - 3
    assert counts["forgotten"] == 3
    assert counts["rows_in"] == counts["rows_kept"] + counts["rows_rejected"]
    assert sum(counts[part] for part in ("train", "valid", "test")) == counts["rows_kept"]
    gone = [each for each in lines(folder, "rejected.jsonl") if each["code"] == "forgotten"]
    assert len(gone) == 3
    assert all("source" not in each and each["file"] == "conversations.jsonl" for each in gone)
    assert [word for word in WORDS if word.casefold() in whole_text(folder)] == []
    for part in ("train", "valid"):  # who stays keeps their side
        kept = set((folder / f"{part}.jsonl").read_text().splitlines())
        assert kept <= set((Path(old.folder) / f"{part}.jsonl").read_text().splitlines())
    origins = lines(folder, "provenance.jsonl")
    assert len(origins) == counts["rows_kept"]
    assert {each["source"]["key"]["id"] for each in origins} == set(range(30)) - {5}
    again = await desk.forget.forget(CONTEXT, ForgetInput(person="900"))
    assert [each.successor for each in again.versions] == [new.id]  # the old one is still there


async def test_the_old_version_is_marked_and_no_training_takes_it(desk: Desk) -> None:
    old = await desk.prepare()
    report = await desk.forget.forget(CONTEXT, ForgetInput(person=EMAIL))
    successor = report.versions[0].successor
    assert (await dataset_version(desk.store, "town")).id == successor
    with pytest.raises(RefusedError, match="D602") as refused:
        await dataset_version(desk.store, old.id)
    assert str(successor) in refused.value.why
    marked = await desk.store.datasets.get(old.id)
    assert marked is not None and marked.notice is not None
    assert marked.notice["rows"] == 2 and "zulmira" not in json.dumps(marked.notice)


async def test_a_dry_run_finds_and_changes_nothing(desk: Desk) -> None:
    old = await desk.prepare()
    dry = replace(CONTEXT, dry_run=True)
    report = await desk.forget.forget(dry, ForgetInput(person=EMAIL, delete_old=True))
    assert (report.forgotten, report.file, report.versions[0].rows) == (0, None, 2)
    assert [each.id for each in await desk.store.datasets.page()] == [old.id]
    assert await desk.store.datasets.get(old.id) == old
    assert not desk.paths.reports.exists()


async def test_old_versions_go_where_nothing_protects_them(desk: Desk) -> None:
    free = await desk.prepare()
    kept = await desk.prepare(seed=7)
    tags = VersionsService(desk.store, desk.settings, desk.paths, desk.clock)
    await tags.tag(CONTEXT, TagInput(dataset=kept.id, tag="production", protect=True))
    report = await desk.forget.forget(CONTEXT, ForgetInput(person=EMAIL, delete_old=True))
    told = {each.dataset: each for each in report.versions}
    assert told[free.id].deleted and not Path(free.folder).exists()
    assert not told[kept.id].deleted and Path(kept.folder).exists()
    assert "production" in told[kept.id].protected_by[0]
    left = {each.id for each in await desk.store.datasets.page()}
    assert left == {kept.id, *(str(each.successor) for each in report.versions)}


async def test_all_that_else_holds_them_is_listed_with_what_to_do(desk: Desk) -> None:
    version = await desk.prepare()
    store, folder = desk.store, desk.folder
    run = desk.paths.runs / "ftjob-aaaaaaaaaaaa"
    run.mkdir(parents=True)
    (run / "answers.jsonl").write_text(json.dumps({"text": f"ask {EMAIL}"}) + "\n")
    hosted = {"training_file": "file-abc", "base": "b", "dataset_hash": "", "training": ""}
    await store.jobs.add(
        Job(
            "ftjob-aaaaaaaaaaaa", JobKind.TRAIN, "succeeded", "base", version.id,
            {"hosted": {**hosted, "base_url": None}}, "ana", NOW, run_folder=str(run),
        )
    )  # fmt: skip
    said = JobEvent("ftjob-aaaaaaaaaaaa", 1, NOW, "answer", {"text": f"É {EMAIL.upper()}"})
    await store.jobs.append_events("ftjob-aaaaaaaaaaaa", [said], 10)
    for name, kind in (("sophia-v1", ModelKind.ADAPTER), ("ft:b::x", ModelKind.HOSTED)):
        await store.models.add(Model(name, kind, "base", NOW, "ftjob-aaaaaaaaaaaa", version.id))
    asked = {"answers": [{"prompt": "Call 11 8765-4321?"}]}
    await store.evaluations.add(Evaluation("ftjob-e", "sophia-v1", version.id, asked, NOW))
    for place in (desk.paths.uploads, desk.paths.previews, folder / "trainer"):
        place.mkdir(parents=True)
        (place / "held.jsonl").write_text(f"{EMAIL}\n{EMAIL}\nnobody\n")
    (desk.settings.history_file).write_text(json.dumps({"id": "x", "by": EMAIL}) + "\n")
    found = await desk.forget.holds(CONTEXT, PersonInput(person=EMAIL))
    assert sorted(found.models) == ["ft:b::x", "sophia-v1"]
    held = {(each.kind, Path(each.where).name): each for each in found.elsewhere}
    assert {
        ("model", "sophia-v1"),
        ("model", "ft:b::x"),
        ("provider", "file-abc"),
        ("run", "ftjob-aaaaaaaaaaaa"),
        ("run", "answers.jsonl"),
        ("raw", "conversations.jsonl"),
        ("upload", "held.jsonl"),
        ("cache", "held.jsonl"),
        ("trainer", "held.jsonl"),
        ("history", "history.jsonl"),
        ("row", "sophia.evaluations ftjob-e"),
        ("row", "sophia.job_events ftjob-aaaaaaaaaaaa"),
        ("source", "customers"),
        ("source", "messages"),
    } <= set(held)
    assert held["upload", "held.jsonl"].count == 2
    assert "sophia provider delete" in held["model", "ft:b::x"].advice
    assert all(each.advice and each.removable for each in found.elsewhere)
    assert found.elsewhere[-1].kind == "backup"
    assert "zulmira" not in found.model_dump_json().casefold()


async def test_edits_that_were_undone_hold_them_until_they_are_dropped(desk: Desk) -> None:
    file = desk.folder / "finetune" / "conversations.jsonl"
    file.write_text('{"question": "When?", "answer": "At 7."}\n')

    async def datasets() -> DatasetStore:
        return desk.store.datasets

    browse = BrowseService(datasets, desk.settings, desk.paths, desk.clock)
    record = json.dumps({"question": "A line\nJosé Zanzibar", "answer": "Yes."})  # escapes
    edited = EditInput(file=file.name, line=1, record=record)
    await browse.edit(CONTEXT, edited)

    async def held() -> list[int | None]:
        found = await desk.forget.holds(CONTEXT, PersonInput(person="name: José Zanzibar"))
        return [each.count for each in found.elsewhere if each.kind == "edits"]

    assert await held() == [1]
    await browse.undo(CONTEXT, UndoInput(file=file.name))
    assert await held() == [1]
    await browse.undo(CONTEXT, UndoInput(file=file.name, all=True))
    assert await held() == []


async def test_a_source_that_is_away_is_told_and_values_are_still_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.prepare(redact=False)

    async def away() -> Any:
        raise UnavailableError("D102", "The source does not answer.")

    monkeypatch.setattr(desk.forget, "_source", away)
    report = await desk.forget.forget(CONTEXT, ForgetInput(person=f"{EMAIL};{CPF}"))
    assert report.not_looked_at == ["The source does not answer."]
    assert not report.complete
    assert report.versions[0].rows == 2  # 5 by the e-mail, 30 by the CPF; 31 only the source knows
    by_row = await desk.forget.holds(CONTEXT, PersonInput(person="conversations:31"))
    assert [each.by_source for each in by_row.versions] == [1, 1]


async def test_a_data_set_of_them_alone_leaves_no_version(desk: Desk) -> None:
    file = desk.folder / "finetune" / "conversations.jsonl"
    rows = file.read_text().splitlines()
    file.write_text("".join(f"{each}\n" for each in rows if "office 30" in each))
    await desk.prepare(redact=False)
    report = await desk.forget.forget(CONTEXT, ForgetInput(person=CPF, delete_old=True))
    assert (report.versions[0].successor, report.versions[0].deleted) == (None, True)
    assert await desk.store.datasets.page() == []


async def test_stopped_it_leaves_whole_versions_alone(desk: Desk) -> None:
    await desk.prepare()
    cancel = CancelSignal()
    cancel.request()
    with pytest.raises(CancelledError):
        await desk.forget.forget(replace(CONTEXT, cancel=cancel), ForgetInput(person=EMAIL))
    assert len(await desk.store.datasets.page()) == 1
    left = [each.name for each in (desk.paths.datasets / "town").iterdir()]
    assert len(left) == 1


@pytest.mark.parametrize("typed", ["", " ; ", "phone:1"])
async def test_nobody_is_no_person(desk: Desk, typed: str) -> None:
    with pytest.raises(UsageError, match="D601"):
        await desk.forget.holds(CONTEXT, PersonInput(person=typed))


async def test_the_command_reads_standard_input_and_neither_log_nor_audit_knows_who(
    desk: Desk, store_url: str, source_url: str
) -> None:
    await desk.prepare(redact=False)
    environment = {
        **os.environ,
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": source_url,
        "SOPHIA_DATA_DIR": str(desk.paths.data),
        "FINETUNE_DIR": str(desk.folder / "finetune"),
        "AION_TRAIN_ROOT": str(desk.folder / "trainer"),
        "SOPHIA_ROLES": "*=admin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "sophia_tui.cli.main", "prepare", "forget", "--json", "--yes"]
    done = subprocess.run(
        command, input=f"{EMAIL}\n900\n", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["forgotten"], len(report["sought"])) == (3, 2)
    kept = Path(report["file"])
    assert json.loads(kept.read_text()) == report
    assert kept.stat().st_mode & 0o777 == 0o600
    entries = await desk.store.audit.page()
    assert entries[0].operation == "prepare.forget"
    logs = [each.read_text() for each in desk.paths.logs.glob("*")]
    told = json.dumps([each.request for each in entries]) + "".join(logs) + kept.read_text()
    assert [word for word in WORDS if word.casefold() in (told + done.stderr).casefold()] == []
