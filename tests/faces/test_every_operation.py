"""Every operation by console, command line and HTTP: the same answer, and the same rows.

Each face finds the same seeded store and the same folder of files, in the state of before any other
face came. Nobody works on what is queued: no worker is started. At the console an operation is
performed from the palette, and by its key where it has one: everyday a third of the keys.
"""

import asyncio
import io
import json
import re
import shlex
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList

from sophia_tui.api.routes.sophia import method_of, path_of
from sophia_tui.cli import grammar
from sophia_tui.cli.main import main
from sophia_tui.domain.context import Face
from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.domain.setup import Memory, Volume
from sophia_tui.errors import SophiaError
from sophia_tui.paths import Paths
from sophia_tui.services import fields
from sophia_tui.services.catalogue import registry
from sophia_tui.settings import load
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.own import open_store
from sophia_tui.tui import keys
from sophia_tui.tui.app import SophiaApp
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.form import FormScreen, typed_text
from sophia_tui.tui.screens.palette import PaletteScreen
from sophia_tui.tui.screens.table import TableScreen
from sophia_tui.tui.widgets.choice import Choice
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.wiring import House
from tests import seeded
from tests.api.server import serving
from tests.conftest import administer, reachable_folder
from tests.faces.cases import CASES
from tests.representatives import is_long

NAMES = [each.name for each in registry()]
TOKEN = "a-token-for-this-test"
STORE = "every_operation"
PERSON = "ana"


@dataclass
class Town:
    """A seeded store and the folder that each face works in; the folder's untouched copy and the
    store's rows by table, as they were seeded. `touched`: something may be otherwise now."""

    server: EmbeddedServer
    folder: Path
    untouched: Path
    rows: dict[str, list[str]]
    touched: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SOPHIA_STORE_URL": self.url,
            "DATABASE_URL": self.url,
            "SOPHIA_DATA_DIR": str(self.folder / "data"),
            "FINETUNE_DIR": str(self.folder / "finetune"),
            "AION_TRAIN_ROOT": str(self.folder / "trainer"),
            "FINETUNE_TOKEN": TOKEN,
            "ALLOW_FINETUNE": "true",
            "SOPHIA_MANAGED_ENV_FILES": str(self.folder / "rag.env"),
            "API_URL": "http://127.0.0.1:9",  # nobody answers there
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    @property
    def url(self) -> str:
        return self.server.url(STORE)

    def reset(self) -> None:
        """Store and files as they were seeded. What changed is written back: a new copy of the
        template takes a quarter of a second."""
        found = rows_of(self.url)
        changed = [table for table, rows in found.items() if rows != self.rows[table]]
        with psycopg.connect(self.url) as connection:
            connection.execute("SET session_replication_role = replica")  # the audit is for good
            for table in changed:
                _write_back(connection, table, self.rows[table])
        assert rows_of(self.url) == self.rows
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.untouched, self.folder)


def _write_back(connection: psycopg.Connection, table: str, rows: list[str]) -> None:
    """The rows and the numbers that come next."""
    name = sql.Identifier("sophia", table)
    connection.execute(sql.SQL("DELETE FROM {}").format(name))
    connection.execute(
        sql.SQL(
            "INSERT INTO {name} OVERRIDING SYSTEM VALUE"
            " SELECT * FROM jsonb_populate_recordset(NULL::{name}, %s)"
        ).format(name=name),
        [f"[{','.join(rows)}]"],
    )
    columns = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE is_identity = 'YES'"
        " AND table_schema = 'sophia' AND table_name = %s",
        [table],
    )
    for (column,) in columns.fetchall():
        connection.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({name}, {column}),"
                " coalesce(max({identifier}), 1), max({identifier}) IS NOT NULL) FROM {table}"
            ).format(
                name=sql.Literal(f"sophia.{table}"),
                column=sql.Literal(column),
                identifier=sql.Identifier(column),
                table=name,
            )
        )


@pytest.fixture(scope="module")
def town(postgres: EmbeddedServer, migrated_template: str) -> Iterator[Town]:
    place = reachable_folder()
    folder = place / "town"
    administer(postgres, "CREATE DATABASE {} TEMPLATE {}", STORE, migrated_template)
    url = postgres.url(STORE)
    asyncio.run(_seed(url, folder))
    seeded.fill_source(url)
    (folder / "finetune").mkdir()
    pairs = [{"question": f"Who runs office {n}?", "answer": f"Dona {n}."} for n in range(30)]
    lines = "".join(json.dumps(each) + "\n" for each in [*pairs, {"question": "", "answer": "x"}])
    (folder / "finetune" / "pairs.jsonl").write_text(lines)
    (folder / "data").mkdir(exist_ok=True)
    shutil.copytree(folder, place / "untouched")
    yield Town(postgres, folder, place / "untouched", rows_of(url))
    administer(postgres, "DROP DATABASE {} WITH (FORCE)", STORE)
    shutil.rmtree(place)


def _keep_probe(folder: Path) -> None:
    """The speed of this machine as if it was just measured: each face counts with the same."""
    folder.mkdir()
    kept = {"device": "cpu", "gflops": 100.0, "host": socket.gethostname(), "at": time.time()}
    (folder / "speed.json").write_text(json.dumps(kept))


async def _seed(url: str, folder: Path) -> None:
    store = await open_store(load({"SOPHIA_STORE_URL": url}), Paths(folder / "data"))
    folder.mkdir()
    await seeded.fill(store, folder)
    await store.settings.set("SOPHIA_IDLE_HOURS", "12", PERSON)
    await store.close()


@pytest.fixture(autouse=True)
def surroundings(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every face finds the same environment."""
    for key, value in town.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(town.folder.parent)


@pytest.fixture(scope="module", autouse=True)
def machine() -> Iterator[None]:
    """The same person and the same machine, and nobody who starts a worker."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sophia_tui.wiring.system_user", lambda environment: PERSON)
        # sockets of other programs come and go, and what they leave of memory and disk
        server = "sophia_tui.providers.surroundings.ThisServer"
        patched.setattr(f"{server}.listeners", lambda _machine: [])
        patched.setattr(f"{server}.memory", lambda _machine: Memory(8 << 30, 6 << 30, 0, 0))
        patched.setattr(
            f"{server}.volume", lambda _machine, path: Volume(path, 9 << 40, 8 << 40, 9000, 8000)
        )
        patched.setattr("sophia_tui.services.checks.database._MILLISECONDS", (10**9,))
        patched.setattr("sophia_tui.worker.spawn.ensure_worker", lambda *_given: None)
        yield


# -- what is compared


def rows_of(url: str) -> dict[str, list[str]]:
    """Every row of every table of schema sophia, as JSON; asked for in one statement."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'sophia'")
        rows: dict[str, list[str]] = {table: [] for (table,) in found.fetchall()}
        each = sql.SQL("SELECT {} AS name, to_jsonb(t)::text AS line FROM {} t")
        parts = [each.format(sql.Literal(name), sql.Identifier("sophia", name)) for name in rows]
        told = connection.execute(sql.SQL(" UNION ALL ").join(parts) + sql.SQL(" ORDER BY 1, 2"))
        for name, line in told.fetchall():
            rows[name].append(line)
        return rows


@dataclass(frozen=True)
class Outcome:
    """The answer, or the error's code; and what changed in each table."""

    answer: Any
    error: str
    changes: dict[str, list[str]]


class Plain:
    """Takes out what differs between two runs of the same: new times and ids, who asked by which
    face, what was measured. What was seeded is left as it is."""

    #: Values of these keys are measured, or say where the request came from.
    MEASURED = frozenset(
        {"seconds", "milliseconds", "store_milliseconds", "face", "heartbeat_at"}
        | {"free_bytes", "size"}
    )
    _ID = re.compile(r"\b[a-z]+-[a-z0-9]{12}\b")
    _TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:?\d\d)?")
    _ASKED = re.compile(rf"\b(asked by) (?:{PERSON}|api:admin)\b")
    _MEASURE = re.compile(r"\b[\d.,]+ (ms\b|GB\b|%)")

    def __init__(self, seeded_rows: Mapping[str, list[str]]) -> None:
        self._text = "\n".join(row for rows in seeded_rows.values() for row in rows)
        self._times = {self._moment(each) for each in self._TIME.findall(self._text)}

    @staticmethod
    def _moment(text: str) -> datetime:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.astimezone()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                self(key): "<measured>" if key in self.MEASURED and each is not None else self(each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self(each) for each in value]
        if not isinstance(value, str):
            return value
        text = self._ID.sub(self._id, value)
        text = self._TIME.sub(self._time, text)
        text = self._ASKED.sub(r"\1 <actor>", text)
        return "<actor>" if text in (PERSON, "api:admin") else self._MEASURE.sub(r"<n> \1", text)

    def _id(self, found: re.Match[str]) -> str:
        return found.group() if found.group() in self._text else "<id>"

    def _time(self, found: re.Match[str]) -> str:
        moment = self._moment(found.group())
        return moment.astimezone().isoformat() if moment in self._times else "<time>"

    def changes(
        self, before: Mapping[str, list[str]], after: Mapping[str, list[str]]
    ) -> dict[str, list[str]]:
        """The rows that are new (+) and gone (-), by table."""
        found = {}
        for table, rows in after.items():
            was, now = Counter(before[table]), Counter(rows)
            lines = [f"+ {self._row(each)}" for each in (now - was).elements()]
            lines += [f"- {self._row(each)}" for each in (was - now).elements()]
            if lines:
                found[table] = sorted(lines)
        return found

    def _row(self, text: str) -> str:
        return json.dumps(self(json.loads(text)), sort_keys=True, ensure_ascii=False)


def changes_now(town: Town, plain: Plain) -> dict[str, list[str]]:
    """What changed in the store, with the audit of an operation that left no store open (those on
    the store itself): it lies in the spool until the next one opens the store."""
    if (house := House(town.environment)).paths.audit_spool.exists():
        asyncio.run(_open_and_close(house))
    found = plain.changes(town.rows, rows_of(town.url))
    if "audit" in found:
        # the console looks at the plan of a dangerous act before it asks, and that is audited too;
        # so the serial numbers of what follows differ
        told = [json.loads(each[2:]) for each in found["audit"]]
        found["audit"] = [
            json.dumps({**each, "id": "<n>"}) for each in told if each["outcome"] != "dry_run"
        ]
    return found


async def _open_and_close(house: House) -> None:
    await house.store()
    await house.close()


# -- the three faces


def by_command_line(
    chosen: Operation,
    request: Mapping[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Any, str]:
    words = shlex.split(fields.equivalent(chosen, request))[1:]
    secrets = [request[name] for name in grammar.secret_fields(chosen.input) if name in request]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{each}\n" for each in secrets)))
    with pytest.raises(SystemExit) as ended:
        main(["--json", *words])
    told = capsys.readouterr()
    if ended.value.code and not told.out:  # else it ends as what it shows did: a watched job
        return None, json.loads(told.err.splitlines()[-1])["error"]["code"]
    return json.loads(told.out.splitlines()[-1]), ""  # parts of the answer come before it


@pytest.fixture(scope="module")
def http(town: Town, machine: None) -> Iterator[httpx.Client]:
    """A client of the real server on loopback."""
    with (
        serving(House(town.environment)) as address,
        httpx.Client(
            base_url=address, headers={"x-admin-token": TOKEN}, timeout=60, verify=False
        ) as client,
    ):
        yield client


def by_http(chosen: Operation, request: Mapping[str, Any], http: httpx.Client) -> tuple[Any, str]:
    asked: dict[str, Any] = {"params": dict(request)}
    if method_of(chosen) == "POST":
        asked = {"json": {**request, "confirm": True}}
    found = http.request(method_of(chosen), path_of(chosen), **asked)
    if found.is_success:
        return found.json(), ""
    return None, found.json()["error"]["code"]


async def until(pilot: Pilot[Any], condition: Callable[[], bool], what: str) -> None:
    """Long enough for a machine that others use too; a condition that holds takes no time."""
    for _attempt in range(3000):
        if condition():
            return
        await pilot.pause(0.02)
    screen = pilot.app.screen
    told = [each.text for each in screen.query(Plate) if each.text]
    raise AssertionError(f"never happened: {what}; on {screen}, {screen.focused}: {told}")


class NotNow(AssertionError):
    """The screen refuses the key, and says why, where the operation would."""


class Person:
    """Sits at one console all the time; knows its keys and its palette, and hears all it asks."""

    pilot: Pilot[Any]

    def __init__(self, app: Any) -> None:
        self.app = app
        self.asked: dict[str, dict[str, Any]] = {}
        self.told: dict[str, BaseModel | SophiaError] = {}
        call = app.call

        async def overheard(operation: str, request: Any, **given: Any) -> BaseModel:
            try:
                answer: BaseModel = await call(operation, request, **given)
            except SophiaError as problem:
                self.asked[operation], self.told[operation] = dict(request), problem
                raise
            if not given.get("dry_run"):  # what a dialog asks before the person does
                self.asked[operation], self.told[operation] = dict(request), answer
            return answer

        app.call = overheard
        app.remember = lambda: None  # each operation is the first one of a new console

    async def begin(self, screen: str) -> None:
        """At that screen and as if the console was just opened: every screen is made anew."""
        self.app.state.screen = screen
        self.app.state.watched = None  # nor does it show the job that was opened last
        await self.app._speak("en")
        await self._wait(lambda: self.app.screen.state != "loading", screen)

    async def by_palette(self, chosen: Operation, request: Mapping[str, Any]) -> dict[str, Any]:
        """From the palette to the answer on the screen; what was asked. It begins where no form
        is filled in by the screen beneath."""
        settings = keys.SHOWN_BY.get(chosen.name, ("",))[0] == "settings"
        await self.begin("audit" if settings else "settings")
        await self.pilot.press("colon")
        await self._wait(lambda: isinstance(self.app.screen, PaletteScreen), "the palette")
        self.app.screen.query_one("#wanted", Input).value = chosen.name
        await self.pilot.pause()
        found = self.app.screen.query_one("#found", OptionList)
        for _attempt in range(found.option_count):
            if found.get_option_at_index(found.highlighted or 0).id == chosen.name:
                break
            await self.pilot.press("down")
        beneath = self.app.screen_stack[-2]
        self.told.clear()
        await self.pilot.press("enter")
        return await self._answered(chosen, request, beneath)

    async def by_key(
        self, chosen: Operation, key: keys.Key, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The same by the operation's key, on the row that is meant."""
        await self._come_to(key, request)
        if why := self.app.screen.not_now(key.target):
            raise NotNow(f"{key.key} on {key.scope or 'any screen'}: {why}")
        beneath = self.app.screen
        self.told.clear()
        await self.pilot.press(key.key)
        return await self._answered(chosen, request, beneath)

    async def _come_to(self, key: keys.Key, request: Mapping[str, Any]) -> None:
        """The screen of the key's scope, and there the rows that the request names."""
        if not key.scope:
            await self.begin("audit" if key.target == "screen.settings" else "settings")
            return
        over, path = WAYS.get(key.scope, (key.scope, ""))
        await self.begin(over)
        if path:
            last = self.app.screen
            await self._at_full()
            await self.pilot.press(path)
            await self._wait(lambda: self.app.screen is not last, key.scope)
        await self._at_full()
        screen = self.app.screen
        if not isinstance(screen, TableScreen):
            return
        values = [
            each
            for value in request.values()
            for each in (value if isinstance(value, list) else [value])
        ]
        found = [
            next((row for row in screen.rows if row == each or row.startswith(f"{each}@")), None)
            for each in values
        ]
        meant = [row for row in dict.fromkeys(found) if row is not None]
        for row in [*meant[:1], *screen.rows]:
            await self._go_to(screen, row)
            if not screen.not_now(key.target):
                return
        for row in meant if len(meant) > 1 else [*screen.rows][:2]:  # several are meant
            await self._go_to(screen, row)
            await self.pilot.press("space")

    async def _at_full(self) -> None:
        await self._wait(lambda: getattr(self.app.screen, "state", "full") == "full", "its rows")

    async def _go_to(self, screen: TableScreen, row: str) -> None:
        screen.table.move_cursor(row=list(screen.rows).index(row))
        await self._wait(lambda: screen.selected_key == row, row)

    async def _answered(
        self, chosen: Operation, request: Mapping[str, Any], beneath: Any
    ) -> dict[str, Any]:
        """Fill in and run the form, where there is one, and wait for the answer on the screen."""

        def form() -> bool:
            return isinstance(self.app.screen, FormScreen) and bool(
                self.app.screen.query("#command")
            )

        await self._wait(lambda: form() or chosen.name in self.told, "a form or the answer")
        asks = form() and chosen.name not in self.told
        filled: set[str] = set()
        if asks:
            filled = set(self.app.screen.fields)
            await self._fill(self.app.screen, request)
            self.told.clear()
            await self._run(chosen, request)
            await self._wait(lambda: chosen.name in self.told, "the answer")
        if not isinstance(self.told[chosen.name], SophiaError):
            before = None if asks else beneath  # a form gives way to the job's panel, say
            await self._wait(lambda: self._shows(before), "the answer on the screen")
        sent = self.asked[chosen.name]
        if not asks:
            return sent
        # as it was typed, and what the form knows of the rows that it was opened for
        typed = {name: value for name, value in request.items() if name in filled}
        known = {*SEEN, *request} - filled
        return {**typed, **{name: sent[name] for name in sent if name in known}}

    def _shows(self, beneath: Any) -> bool:
        """Whether a screen other than before has its data: an answer, or one of its own."""
        screen = self.app.screen
        asking = isinstance(screen, FormScreen | PaletteScreen | ConfirmScreen)
        return screen is not beneath and not asking and getattr(screen, "state", "") != "loading"

    async def _fill(self, form: FormScreen, request: Mapping[str, Any]) -> None:
        """As the request says; what the screen beneath had filled in besides is taken out."""
        for name, info in form.fields.items():
            default = "" if info.is_required() else fields.default_of(info)
            value = typed_text(request.get(name, default))
            if name not in request and typed_text(form.typed[name]) == value:
                continue
            field = form.query_one(f"#field-{name}")
            assert isinstance(field, Input | Choice)
            field.value = value
        await self.pilot.pause()  # the form learns of it by a message

    async def _run(self, chosen: Operation, request: Mapping[str, Any]) -> None:
        await self.pilot.press("f2")
        if chosen.danger is Danger.NONE:
            return
        refused = lambda: isinstance(self.told.get(chosen.name), SophiaError)  # noqa: E731
        await self._wait(
            lambda: isinstance(self.app.screen, ConfirmScreen) or refused(), "the question"
        )
        if refused():
            return
        await self._wait(lambda: bool(self.app.screen.query("#yes")), "the dialog's buttons")
        if self.app.screen.query("#name"):
            target = str(request.get(chosen.target or "", chosen.name))
            self.app.screen.query_one("#name", Input).value = target
        yes = self.app.screen.query_one("#yes", Button)
        await self._wait(lambda: not yes.disabled, "the right to go on")
        # the dialog gives the focus when it is mounted: what took it before would lose it again
        await self._wait(lambda: self.app.screen.is_mounted, "the dialog's own focus")
        yes.focus()
        await self._wait(lambda: yes.has_focus, "the focus on yes")
        await self.pilot.press("enter")

    async def _wait(self, condition: Callable[[], bool], what: str) -> None:
        await until(self.pilot, condition, what)


#: What forms send of the row they were opened for, without asking for it.
SEEN = ("seen_version", "seen_value")
#: Screens that are opened from another one, and by which of its keys.
WAYS = {
    "schedules": ("jobs", "d"),
    "calendar": ("models", "d"),
    "environment": ("setup", "e"),
    "inspection": ("datasets", "i"),
    "browser": ("datasets", "b"),
}


def key_of(name: str) -> keys.Key | None:
    """The key that performs an operation, or opens the screen that shows it."""
    targets = [name, *(f"screen.{screen}" for screen, shown in keys.SHOWS.items() if shown == name)]
    return next((each for each in keys.KEYS if each.target in targets), None)


@dataclass
class Console:
    """One console for all operations; it lives while it is asked."""

    person: Person
    runner: asyncio.Runner

    def perform(
        self, chosen: Operation, request: Mapping[str, Any], key: keys.Key | None = None
    ) -> tuple[Any, str, dict[str, Any]]:
        """By the key, else by the palette: the answer, the error's code, and what was asked."""
        person = self.person
        if key is None:
            asked = self.runner.run(person.by_palette(chosen, request))
        else:
            asked = self.runner.run(person.by_key(chosen, key, request))
        told = person.told[chosen.name]
        if isinstance(told, SophiaError):
            return None, told.code, asked
        return told.model_dump(mode="json"), "", asked


@pytest.fixture(scope="module")
def console(town: Town, machine: None) -> Iterator[Console]:
    house = House(town.environment)
    app = SophiaApp(
        house.dispatcher,
        lambda **given: house.context(Face.CONSOLE, **given),
        actor=PERSON,
    )
    app.state.screen = "settings"
    with asyncio.Runner() as runner:
        person = Person(app)
        running = app.run_test(size=(80, 24))
        person.pilot = runner.run(running.__aenter__())
        runner.run(person._wait(lambda: "overview.show" in person.told, "how far the store is"))
        yield Console(person, runner)
        runner.run(running.__aexit__(None, None, None))
        runner.run(house.close())


# -- the tests


def test_every_operation_has_its_case() -> None:
    assert [name for name in NAMES if name not in CASES] == [], "see tests/faces/cases.py"


PERFORMED = [each for each in NAMES if each in CASES and not CASES[each].left_out]


@pytest.mark.parametrize("name", PERFORMED)
def test_key_palette_command_line_and_http_do_the_same(
    name: str,
    town: Town,
    console: Console,
    http: httpx.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen, case, key = registry().get(name), CASES[name], key_of(name)
    plain = Plain(town.rows)

    def outcome(perform: Callable[[], tuple[Any, ...]]) -> tuple[Outcome, Any]:
        if town.touched:
            town.reset()
        town.touched = chosen.writes
        answer, error, *asked = perform()
        return Outcome(plain(answer), error, changes_now(town, plain)), asked

    def typed(request: Mapping[str, Any]) -> Outcome:
        return outcome(lambda: by_command_line(chosen, request, capsys, monkeypatch))[0]

    first, (request,) = outcome(lambda: console.perform(chosen, case.request))
    found = {"command line": typed(request)}
    found["http"] = outcome(lambda: by_http(chosen, request, http))[0]
    if key is not None and (is_long() or NAMES.index(name) % 3 == 0):
        try:
            by_key, (asked,) = outcome(lambda: console.perform(chosen, case.request, key))
        except NotNow:
            assert case.error, "what can be done can be done by its key"
        else:  # the screen of the key may ask for more, or for the row alone
            assert by_key == (first if asked == request else typed(asked))
    assert found == dict.fromkeys(found, first)
    assert first.error == case.error
    audited = ("audit",) if chosen.writes else ()
    assert set(first.changes) == {*case.changes, *audited}
    if not case.error:
        assert first.answer
