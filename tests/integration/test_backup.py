"""Backups and the way back, on a real store with data beside it."""

import asyncio
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import zstandard

from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.managed import Declared, FileText, ManagedFile
from sophia_tui.errors import (
    CancelledError,
    DataError,
    RefusedError,
    SetupError,
    SophiaError,
)
from sophia_tui.paths import SERVER_ENV
from sophia_tui.services import backup as service
from sophia_tui.services.backup_archive import MANIFEST, check
from sophia_tui.services.backup_views import BackupInput, BackupsInput, BackupView, RestoreInput
from sophia_tui.store.own import open_store
from sophia_tui.wiring import House
from tests import seeded
from tests.integration.test_backup_store import everything

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3t-of-the-provider"


@dataclass
class Machine:
    """One installation: a data folder, an env file and a store."""

    folder: Path
    url: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SOPHIA_DATA_DIR": str(self.data),
            "SOPHIA_ENV_FILE": str(self.folder / "sophia.env"),
            "FINETUNE_DIR": str(self.data / "finetune"),
        }

    def write_env(self, **keys: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        given = {"SOPHIA_STORE_URL": f"'{self.url}'", **keys}
        text = "# ours\n" + "".join(f"{key}={value}\n" for key, value in given.items())
        (self.folder / "sophia.env").write_text(text)

    @contextmanager
    def house(self) -> Iterator[House]:
        yield House(self.environment)

    async def call(self, name: str, request: Any, **context: Any) -> Any:
        house = House(self.environment)
        try:
            given = Context(
                actor="ana",
                face=context.pop("face", Face.CLI),
                role=Role.ADMIN,
                confirmed=True,
                **context,
            )
            return await house.dispatcher.call(name, request, given)
        finally:
            await house.close()

    async def backup(self, **request: Any) -> BackupView:
        made = await self.call("setup.backup", BackupInput(**request))
        assert isinstance(made, BackupView)
        return made

    async def restore(self, file: str | Path, **more: Any) -> Any:
        context = {key: more.pop(key) for key in ("dry_run", "cancel", "face") if key in more}
        return await self.call("setup.restore", RestoreInput(file=str(file), **more), **context)

    def files(self) -> dict[str, bytes]:
        """What lies in the data folder, but for logs, backups and the audit's spool."""
        skipped = ("logs", "backups", "restored", "restoring", "audit-spool.jsonl")
        return {
            str(each.relative_to(self.data)): each.read_bytes()
            for each in sorted(self.data.rglob("*"))
            if each.is_file() and each.relative_to(self.data).parts[0] not in skipped
        }


@pytest.fixture
async def old(tmp_path: Path, store_url: str) -> Machine:
    """A machine with a life behind it."""
    machine = Machine(tmp_path / "old", store_url)
    machine.write_env(OPENAI_API_KEY=SECRET, FINETUNE_BASE="models/base")
    house = House(machine.environment)
    store = await open_store(house.settings, house.paths)
    await seeded.fill(store, machine.data)
    await store.close()
    uploads = machine.data / "data" / "uploads"
    shutil.move(uploads, machine.data / "uploads")  # where the program keeps them
    with psycopg.connect(store_url) as connection:
        connection.execute(
            "UPDATE sophia.uploaded_files SET path = replace(path, '/data/data/', '/data/')"
        )
        connection.execute(
            "UPDATE sophia.jobs SET heartbeat_at = now() - interval '1 day'"
            " WHERE heartbeat_at IS NOT NULL"
        )
    (machine.data / "finetune").mkdir()
    (machine.data / "finetune" / "history.jsonl").write_text('{"kind": "job"}\n')
    (machine.data / "prices.yaml").write_text("exchange: {}\n")
    return machine


@pytest.fixture
def fresh(tmp_path: Path, postgres_url: str) -> Machine:
    """A machine that was just set up, with nothing in its database."""
    machine = Machine(tmp_path / "fresh", postgres_url)
    machine.write_env(DB_PASS="of-this-machine")
    return machine


def killed(machine: Machine, words: list[str], script: str = "") -> subprocess.Popen[bytes]:
    """`sophia WORDS` as a process of its own, to be killed."""
    code = f"{script}\nimport sys\nfrom sophia_tui.cli.main import main\nsys.exit(main({words!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **machine.environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, (process.stdout or io.BytesIO()).read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waits_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return found is not None and found[0] > 0


async def test_a_restored_machine_is_the_one_that_was_backed_up(
    old: Machine, fresh: Machine
) -> None:
    made = await old.backup()
    rows, files = everything(old.url), old.files()
    done = await fresh.restore(made.path)
    found = everything(fresh.url)
    restored = [each for each in found["audit"] if json.loads(each)["operation"] == "setup.restore"]
    found["audit"] = [each for each in found["audit"] if each not in restored]
    rows["audit"] = [each for each in rows["audit"] if "setup.backup" not in each]
    for table in rows:
        moved = [each.replace(str(fresh.data), str(old.data)) for each in found[table]]
        assert sorted(moved) == sorted(rows[table]), table
    assert done.rows == sum(done.tables.values()) > 200
    assert (done.schema_version, done.backup_before) == ("0007", None)
    there = fresh.files()
    for name in ("finetune/history.jsonl", "prices.yaml"):
        assert there[name] == files[name]
    versions = {name for name in files if name.startswith(("datasets/", "uploads/"))}
    assert len(versions) > 8
    assert {name: there.get(name) for name in versions} == {name: files[name] for name in versions}
    assert done.files >= len(versions)


async def test_adapters_in_use_come_along_and_the_rest_is_listed(
    old: Machine, fresh: Machine
) -> None:
    made = await old.backup()
    adapter = f"runs/{seeded.SUCCEEDED}/adapter/adapter_config.json"
    await fresh.restore(made.path)
    assert adapter in fresh.files()
    told = {each.what: each for each in made.left_out}
    assert any("run " in what for what in told)
    assert all(each.files > 0 and each.why for each in made.left_out)
    with psycopg.connect(fresh.url) as connection:
        [path] = connection.execute(
            "SELECT path FROM sophia.models WHERE id = %s", [seeded.NEWEST_MODEL]
        ).fetchone() or [None]
    assert path == str(fresh.data / "runs" / seeded.SUCCEEDED / "adapter")


async def test_run_folders_come_along_on_request(old: Machine, fresh: Machine) -> None:
    await fresh.restore((await old.backup(runs=True)).path)
    log = f"runs/{seeded.FAILED}/log.txt"
    assert fresh.files()[log] == old.files()[log]


async def test_the_archive_is_its_owners_alone_and_says_that_it_holds_secrets(
    old: Machine,
) -> None:
    made = await old.backup()
    assert Path(made.path).stat().st_mode & 0o777 == 0o600
    assert made.secrets
    assert "0600" in made.remarks()[0]
    without = await old.backup(secrets=False)
    assert not without.secrets
    plain = zstandard.ZstdDecompressor().stream_reader(Path(without.path).read_bytes()).read()
    assert SECRET.encode() not in plain
    assert SECRET not in made.model_dump_json()


async def test_the_env_file_is_merged_and_keeps_this_machines_connection(
    old: Machine, fresh: Machine
) -> None:
    old.write_env(OPENAI_API_KEY=SECRET, DB_PASS="of-the-old-machine", FINETUNE_BASE="b")
    done = await fresh.restore((await old.backup()).path)
    text = (fresh.folder / "sophia.env").read_text()
    assert f"OPENAI_API_KEY={SECRET}" in text
    assert "DB_PASS=of-this-machine" in text
    assert fresh.url in text
    assert text.startswith("# ours\n")
    assert "DB_PASS" in " ".join(done.notes)
    aside = fresh.data / "restored" / "sophia.env"
    assert "of-the-old-machine" in aside.read_text()
    assert aside.stat().st_mode & 0o077 == 0


async def test_an_env_file_of_roots_gets_its_keys_by_the_installer(
    old: Machine, fresh: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not be written lies ready, without the keys of another machine's store."""
    monkeypatch.setattr(
        "sophia_tui.services.restoring._writable", lambda path: path.name != "sophia.env"
    )
    before = (fresh.folder / "sophia.env").read_bytes()
    done = await fresh.restore((await old.backup()).path)
    assert (fresh.folder / "sophia.env").read_bytes() == before
    ready = fresh.data / "restored" / "sophia.env"
    assert SECRET in ready.read_text()
    assert "SOPHIA_STORE_URL" not in ready.read_text()
    assert "SOPHIA_STORE_URL" in (fresh.data / "restored" / "whole.env").read_text()
    assert ready.stat().st_mode & 0o077 == 0
    assert str(ready) in " ".join(done.notes)


async def test_backups_are_listed_newest_first_and_strangers_are_told(old: Machine) -> None:
    first = await old.backup()
    second = await old.backup()
    (old.data / "backups" / "sophia-broken.tar.zst").write_bytes(b"no")
    found = await old.call("setup.backups", BackupsInput())
    paths = [each.path for each in found.items]
    assert paths[:2] == [second.path, first.path]
    assert "S403" in found.items[2].state


def damaged_archives(path: Path, tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Archives that are wrong in one way each, with the code that says so."""
    whole = path.read_bytes()
    made: dict[str, tuple[Path, str]] = {}

    def keep(name: str, content: bytes, code: str) -> None:
        place = tmp_path / f"{name}.tar.zst"
        place.write_bytes(content)
        made[name] = (place, code)

    keep("cut", whole[: len(whole) // 2], "S403")
    keep("without-its-last-byte", whole[:-1], "S403")
    keep("empty", b"", "S403")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x40
    keep("flipped", bytes(flipped), "S40[37]")
    plain = zstandard.ZstdDecompressor().stream_reader(whole).read()

    def rewritten(change: Callable[[str, bytes], tuple[str, bytes] | None]) -> bytes:
        target = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(plain)) as source,
            tarfile.open(fileobj=target, mode="w") as changed,
        ):
            for member in source:
                content = (source.extractfile(member) or io.BytesIO()).read()
                new = change(member.name, content)
                if new is not None:
                    info = tarfile.TarInfo(new[0])
                    info.size = len(new[1])
                    changed.addfile(info, io.BytesIO(new[1]))
        return zstandard.ZstdCompressor().compress(target.getvalue())

    def edited(**values: Any) -> Callable[[str, bytes], tuple[str, bytes]]:
        def change(name: str, content: bytes) -> tuple[str, bytes]:
            if name in ("head.json", MANIFEST):
                content = json.dumps({**json.loads(content), **values}).encode()
            return name, content

        return change

    def row(name: str, content: bytes) -> tuple[str, bytes]:
        return name, content.replace(b"maria", b"mario") if "store/jobs/" in name else content

    def climbing(name: str, content: bytes) -> tuple[str, bytes]:
        if name == MANIFEST:
            told = json.loads(content)
            for unit in told["units"]:
                if unit["kind"] == "dataset":
                    unit["name"] = "../../../../tmp/climbed"
            content = json.dumps(told).encode()
        elif name.startswith("files/datasets/"):
            name = "files/../../../../tmp/climbed/" + name.split("/")[-1]
        return name, content

    keep("row-changed", rewritten(row), "S407")
    keep("newer-format", rewritten(edited(format_version=99)), "S405")
    keep("newer-store", rewritten(edited(revision="9999")), "S406")
    keep("no-manifest", rewritten(lambda n, c: None if n == MANIFEST else (n, c)), "S403")
    keep("file-missing", rewritten(lambda n, c: None if "/train.jsonl" in n else (n, c)), "S407")
    keep("climbing", rewritten(climbing), "S40[78]")
    return made


async def test_a_wrong_archive_is_refused_before_anything_changes(
    old: Machine, tmp_path: Path
) -> None:
    made = await old.backup()
    rows, files = everything(old.url), old.files()
    name = os.uname().nodename
    for what, (path, code) in damaged_archives(Path(made.path), tmp_path).items():
        with pytest.raises((DataError, SetupError), match=code):
            await old.restore(path, replace=name)
        found = everything(old.url)
        found["audit"] = rows["audit"]  # the refusals themselves stand there
        assert found == rows, what
        assert old.files() == files, what


async def test_a_store_that_is_not_empty_is_replaced_by_who_types_the_machines_name(
    old: Machine,
) -> None:
    made = await old.backup()
    with psycopg.connect(old.url) as connection:
        connection.execute("INSERT INTO sophia.settings VALUES ('SOPHIA_LANG', 'en', 'ana')")
    with pytest.raises(RefusedError, match="S410"):
        await old.restore(made.path)
    with pytest.raises(RefusedError, match="S410"):
        await old.restore(made.path, replace="another-machine")
    assert len(everything(old.url)["settings"]) == 1
    done = await old.restore(made.path, replace=os.uname().nodename)
    assert everything(old.url)["settings"] == []
    assert done.backup_before is not None
    again = await old.restore(done.backup_before, replace=os.uname().nodename)
    assert len(everything(old.url)["settings"]) == 1
    assert again.backup_before != done.backup_before


async def test_jobs_at_work_that_the_backup_does_not_know_keep_the_store(old: Machine) -> None:
    made = await old.backup()
    with psycopg.connect(old.url) as connection:
        connection.execute(
            "INSERT INTO sophia.jobs (id, kind, state, base, request, created_by, heartbeat_at)"
            " VALUES ('ftjob-new', 'train', 'running', 'b', '{}', 'x', now())"
        )
    with pytest.raises(RefusedError, match="ftjob-new"):
        await old.restore(made.path, replace=os.uname().nodename)


async def test_a_dry_run_checks_all_and_changes_nothing(old: Machine, fresh: Machine) -> None:
    made = await old.backup()
    done = await fresh.restore(made.path, dry_run=True)
    assert done.rows > 200
    assert fresh.files() == {}
    assert everything(fresh.url) == {}


async def test_a_backup_killed_half_way_leaves_no_archive(old: Machine) -> None:
    folder = old.data / "backups"
    script = (
        "import os, signal\n"
        "from sophia_tui.services.backup_archive import Writer\n"
        "Writer.file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = killed(old, ["setup", "backup"], script)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    left = list(folder.iterdir())
    assert [each.suffix for each in left] == [".tmp"]
    made = await old.backup()
    assert [str(each) for each in folder.iterdir()] == [made.path]


async def test_a_cancelled_backup_leaves_nothing(old: Machine) -> None:
    cancel = CancelSignal()
    cancel.request()
    with pytest.raises(CancelledError):
        await old.call("setup.backup", BackupInput(), cancel=cancel)
    assert list((old.data / "backups").iterdir()) == []


async def test_a_restore_killed_before_its_commit_changes_nothing_and_can_be_done_again(
    old: Machine,
) -> None:
    made = await old.backup()
    rows, files = everything(old.url), old.files()
    shutil.rmtree(old.data / "datasets")
    words = ["setup", "restore", made.path, "--yes", "--replace", os.uname().nodename]
    with psycopg.connect(old.url) as holder:
        holder.execute("LOCK TABLE sophia.workers IN ACCESS SHARE MODE")
        process = killed(old, words)
        until(lambda: waits_for_a_lock(old.url), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        holder.rollback()
    assert everything(old.url)["jobs"] == rows["jobs"]
    assert not (old.data / "datasets").exists()
    await old.restore(made.path, replace=os.uname().nodename)
    assert everything(old.url)["jobs"] == rows["jobs"]
    there = old.files()
    assert {name: there.get(name) for name in files} == files
    assert list((old.data / "restoring").iterdir()) == []


async def test_a_restore_killed_after_its_commit_goes_on(old: Machine, fresh: Machine) -> None:
    made = await old.backup()
    script = (
        "import os, signal\n"
        "from sophia_tui.services.restoring import Unfinished\n"
        "Unfinished.finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = killed(fresh, ["setup", "restore", made.path, "--yes"], script)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(everything(fresh.url)["jobs"]) == len(everything(old.url)["jobs"])
    assert not (fresh.data / "datasets").exists()
    done = await fresh.restore(made.path)
    assert done.resumed
    assert (fresh.data / "datasets" / "town").is_dir()
    assert list((fresh.data / "restoring").iterdir()) == []


async def test_what_stands_in_the_way_is_moved_aside(old: Machine, fresh: Machine) -> None:
    made = await old.backup()
    [version] = [each for each in (old.data / "datasets" / "town").iterdir()][:1]
    there = fresh.data / "datasets" / "town" / version.name
    there.mkdir(parents=True)
    (there / "train.jsonl").write_text("damaged\n")
    done = await fresh.restore(made.path)
    assert (there / "train.jsonl").read_bytes() == (version / "train.jsonl").read_bytes()
    [aside] = [Path(each) for each in done.moved_aside if version.name in each]
    assert (aside / "train.jsonl").read_text() == "damaged\n"


async def test_a_version_that_is_damaged_already_is_told(old: Machine, fresh: Machine) -> None:
    [version] = [each for each in (old.data / "datasets" / "town").iterdir()][:1]
    (version / "train.jsonl").write_text("{}\n")
    made = await old.backup()
    assert len(made.damaged) == 1
    assert "train.jsonl" in made.damaged[0]
    done = await fresh.restore(made.path)
    assert any("train.jsonl" in each for each in done.notes)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_is_seen_before_and_leaves_nothing_half_way(
    old: Machine, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SetupError, match="S400"):
        await old.backup(folder=str(small_disk))
    (old.data / "uploads" / "noise.jsonl").write_bytes(os.urandom(300_000))
    monkeypatch.setattr(service, "_require_room", lambda *_: None)
    with pytest.raises(SetupError, match="S101"):
        await old.backup(folder=str(small_disk))
    assert list(small_disk.iterdir()) == []


async def test_over_http_only_the_own_folder_is_named(old: Machine, tmp_path: Path) -> None:
    made = await old.backup()
    with pytest.raises(RefusedError, match="S409"):
        await old.call("setup.backup", BackupInput(folder="/tmp"), face=Face.API)
    with pytest.raises(SophiaError, match="S409"):
        await old.restore(made.path, face=Face.API)
    found = await old.restore(Path(made.path).name, face=Face.API, dry_run=True)
    assert found.rows > 200


async def test_memory_stays_flat(old: Machine) -> None:
    """A hundred megabytes that can't be packed cost no more memory than none."""
    with (old.data / "uploads" / "noise.jsonl").open("wb") as stream:
        for _number in range(100):
            stream.write(os.urandom(1_000_000))
    # by VmHWM, which begins anew with a program: ru_maxrss is inherited from who forked it
    script = (
        "import atexit\n"
        "def told():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    [most] = [line.split()[1] for line in lines if line.startswith('VmHWM')]\n"
        "    print('\\npeak', int(most) // 1024)\n"
        "atexit.register(told)\n"
    )
    process = killed(old, ["setup", "backup"], script)
    told = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, told
    assert int(told.rsplit("peak", 1)[1]) < 200
    [archive] = (old.data / "backups").iterdir()
    manifest = await asyncio.to_thread(
        check, archive, ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
    )
    assert manifest.file_bytes > 100_000_000


class Helper:
    """A root helper that may write one file, and what it was asked to write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = ""

    async def declared(self) -> Declared:
        return Declared((ManagedFile(str(SERVER_ENV), writable=True, own=True),))

    async def read(self, path: str) -> FileText:
        text = self.path.read_text()
        return FileText(text, hashlib.sha256(text.encode()).hexdigest())

    async def replace(self, path: str, expected: str, content: str) -> FileText:
        assert path == str(SERVER_ENV)
        self.written = content
        return FileText(content, expected)


async def test_on_a_server_the_root_helper_writes_the_env_file(
    old: Machine, fresh: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = Helper(fresh.folder / "sophia.env")
    monkeypatch.setattr(House, "helper", lambda _house: helper)
    monkeypatch.setattr(
        "sophia_tui.services.restoring._writable", lambda path: path.name != "sophia.env"
    )
    done = await fresh.restore((await old.backup()).path)
    assert f"OPENAI_API_KEY={SECRET}" in helper.written
    assert "DB_PASS=of-this-machine" in helper.written
    assert old.url not in helper.written
    assert not (fresh.data / "restored" / "sophia.env").exists()
    assert "setup restart" in " ".join(done.notes)
