"""Fixtures of all layers: a real Postgres (the embedded one), fresh databases, an opened store."""

import faulthandler
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import psutil
import psycopg
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from psycopg import sql

from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import set_language
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings, keys, load
from sophia_tui.store.embedded import DATABASE, EmbeddedServer, Postmaster

# How long an example takes says nothing here: machines are shared. The everyday run is the same
# each time, so that who changes nothing sees no other result; `tests/run --long` looks elsewhere.
hypothesis.settings.register_profile(
    "everyday",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "long", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


_GRACE_SECONDS = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "write the pictures of tests/tui anew, in place of comparing them"
    parser.addoption("--renew-pictures", action="store_true", help=told)


def pytest_configure(config: pytest.Config) -> None:
    everyday = config.option.markexpr == "not long"
    hypothesis.settings.load_profile("everyday" if everyday else "long")


#: The files that take longest, longest first: a process takes whole files, and one that began its
#: longest at the end would keep the others waiting.
LONGEST = (
    "faces/test_every_operation.py",
    "integration/test_demo_interrupted.py",
    "hosted/test_hosted_jobs.py",
    "integration/test_chaos.py",
    "integration/test_trainer_contract.py",
    "integration/test_worker_survival.py",
    "tui/test_snapshots.py",
    "tui/test_console.py",
    "tui/test_screens.py",
    "finetune/test_memory.py",
    "unit/test_prepare_service.py",
    "integration/test_queue_scale.py",
    "integration/test_serving.py",
    "integration/test_promote_by_helper.py",
    "unit/test_quality_gate.py",
    "tui/test_data_screens.py",
    "tui/test_terminal.py",
    "hosted/test_finetune_door.py",
    "hosted/test_hosted_doors.py",
    "integration/test_worker_limits.py",
    "hosted/test_hosted_survival.py",
    "integration/test_worker_jobs.py",
    "finetune/test_exact_resume.py",
    "finetune/test_forgetting.py",
    "tui/test_setup_screens.py",
    "finetune/test_ranks.py",
    "api/test_fuzz.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    folder = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(folder).as_posix()
        return places.get(name, len(places))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process of a test that its time-out could not end: it waits in C code, for a thread
    that never returns, for a task that swallows it. It is named as crashed, with all threads."""
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker and marker.args else float(item.config.getini("timeout"))
    stream = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(seconds + _GRACE_SECONDS, file=stream, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> pytest.TestReport | None:
    """Tell a failed test also where Python's parser breaks off, and the whole run with it.

    Before CPython 3.11.9 two threads that parse at a time can fail with a SystemError of the parser
    (python/cpython#106905), and telling a failure parses the sources. The bare traceback does not.
    """
    try:
        return pytest.TestReport.from_item_and_call(item, call)
    except SystemError:
        style = item.config.option.tbstyle
        item.config.option.tbstyle = "native"
        try:
            return pytest.TestReport.from_item_and_call(item, call)
        finally:
            item.config.option.tbstyle = style


#: A server for tests may lose its data with the machine.
FAST = {"fsync": "off", "full_page_writes": "off"}
_COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has set must not reach them (a production database!)."""
    for key in [*keys(), "HF_TOKEN", "XDG_DATA_HOME", "SUDO_USER", "LC_ALL", "LC_MESSAGES"]:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    set_language("en")


#: What all servers and houses of a run may fill, with room to spare.
_MEMORY_BYTES = 4 << 30


@functools.cache
def _quickest_place() -> str:
    """Memory, where programs may be run from it and enough is left: a database is copied there in
    a fifth of the time; else the usual place."""
    memory = "/dev/shm"
    try:
        found = os.statvfs(memory)
    except OSError:
        return tempfile.gettempdir()
    available = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    fits = available >= _MEMORY_BYTES and not found.f_flag & os.ST_NOEXEC
    return memory if fits and os.access(memory, os.W_OK | os.X_OK) else tempfile.gettempdir()


def reachable_folder(place: str | None = None) -> Path:
    """A new private folder that also root's server account can pass through: short, and not below
    pytest's own, which only root may enter."""
    folder = Path(tempfile.mkdtemp(prefix="sophia-test-", dir=place or _quickest_place()))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    return folder


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A temporary folder in which an embedded server can be started, also as root. On a disk: the
    root helper knows no env file below /dev."""
    folder = reachable_folder(tempfile.gettempdir())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class RunningServer(EmbeddedServer):
    """Stays where it is until the session ends: where that is is found once. For each address the
    server is looked for among all processes else."""

    @functools.cached_property
    def _found(self) -> Postmaster:
        found = self._postmaster()
        assert found is not None
        return found

    def url(self, database: str = DATABASE) -> str:
        return self._url(self._found, database)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """One running embedded server for the whole session; `postgres.url(database)` is an address."""
    folder = reachable_folder()
    server = RunningServer(folder / "postgres", FAST)
    server.start()
    yield server
    server.halt()
    shutil.rmtree(folder, ignore_errors=True)


def administer(server: EmbeddedServer, command: str, *names: str) -> None:
    """Run one statement outside transactions; `{}` in it stand for the quoted names."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


@pytest.fixture
def postgres_url(postgres: EmbeddedServer) -> Iterator[str]:
    """The address of a fresh, empty database; its role is a superuser."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    administer(postgres, "CREATE DATABASE {}", name)
    yield postgres.url(name)
    administer(postgres, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedServer) -> str:
    """The name of a database with our migrated schema, to be copied."""
    from sophia_tui.store.migrate import migrate

    administer(postgres, "CREATE DATABASE {}", "migrated_template")
    migrate(postgres.url("migrated_template"))
    return "migrated_template"


@pytest.fixture
def store_url(postgres: EmbeddedServer, migrated_template: str) -> Iterator[str]:
    """The address of a fresh database with our migrated, empty schema."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    administer(postgres, _COPY, name, migrated_template)
    yield postgres.url(name)
    administer(postgres, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture
def settings(store_url: str) -> Settings:
    """Settings with nothing set but the store's address; of few examples nobody is asked."""
    return load({"SOPHIA_STORE_URL": store_url, "SOPHIA_QUALITY_GATE": "examples>=0"})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "data")


@pytest.fixture
async def store(settings: Settings, paths: Paths) -> AsyncIterator[Store]:
    """An opened, migrated, empty store on a database of its own."""
    from sophia_tui.store.own import open_store

    opened = await open_store(settings, paths)
    yield opened
    await opened.close()
