"""The first set-up over the real house: answers tried out against a real database, written into a
real env file; and what becomes of the own store where the source gets another address."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.setup import KeyAnswer
from sophia_tui.errors import RefusedError, SetupError, UnavailableError, UsageError
from sophia_tui.services.setup_begin import SetupAnswers, SetupBeginService
from sophia_tui.settings import load
from sophia_tui.wiring import House
from tests import seeded

SECRET = "p w'\"$\\#%`ü"


@pytest.fixture
async def house(store_url: str, tmp_path: Path) -> AsyncIterator[House]:
    env = tmp_path / "sophia.env"
    env.write_text(f"# mine\nSOPHIA_STORE_URL={envfile.quote(store_url)}\n")
    env.chmod(0o600)
    made = House({"SOPHIA_ENV_FILE": str(env), "SOPHIA_DATA_DIR": str(tmp_path / "data")})
    yield made
    await made.close()


async def ask(house: House, name: str, request: dict[str, Any], **given: Any) -> Any:
    context = house.context(Face.CLI, role=Role.ADMIN, **given)
    return await house.dispatcher.call(name, request, context)


async def test_a_database_is_tried_out_live_and_its_tables_are_told(
    house: House, store_url: str
) -> None:
    seeded.fill_source(store_url)
    found = await ask(house, "setup.test", {"database_url": store_url})
    assert found.good
    assert "qa_cache" in found.items[0].found
    assert any("qa_cache: " in line for line in found.items[0].detail)
    wrong = await ask(
        house, "setup.test", {"database_url": "postgresql://x@127.0.0.1:9/db", "db_pass": SECRET}
    )
    assert not wrong.good
    assert wrong.items[0].state == "problem"
    assert SECRET not in wrong.model_dump_json()


async def test_folders_and_bases_are_looked_at(house: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = {
        "finetune_dir": str(tmp_path / "new" / "folder"),
        "backup_dir": str(tmp_path / "file"),
        "finetune_base": "./nowhere.gguf",
    }
    found = {each.id: each for each in (await ask(house, "setup.test", asked)).items}
    assert found["finetune_dir"].state == "ok"
    assert found["backups"].state == "problem"
    assert found["base"].state == "problem"
    assert not (tmp_path / "new").exists()  # trying out makes nothing


async def test_nothing_is_written_before_it_is_confirmed_and_then_all_is(
    house: House, tmp_path: Path
) -> None:
    env = tmp_path / "sophia.env"
    before = env.read_bytes()
    asked = {
        "language": "en",
        "database_url": "postgresql://me@db.example/prod",
        "db_pass": SECRET,
        "finetune_dir": str(tmp_path / "ft"),
        "openai_api_key": "sk-1",
    }
    plan = await ask(house, "setup.begin", asked, dry_run=True)
    assert not plan.written
    with pytest.raises(RefusedError, match="R428"):
        await ask(house, "setup.begin", asked)
    assert env.read_bytes() == before
    told = plan.model_dump_json()
    assert "sk-1" not in told and SECRET not in told
    done = await ask(house, "setup.begin", asked, confirmed=True)
    assert done.written
    values = envfile.values(env.read_text())
    assert values["DB_PASS"] == SECRET
    assert values["DATABASE_URL"] == "postgresql://me@db.example/prod"
    assert values["OPENAI_API_KEY"] == "sk-1"
    assert env.read_text().startswith("# mine\n")
    assert env.stat().st_mode & 0o777 == 0o600
    store = await house.store()
    assert (await store.settings.all())["SOPHIA_NOTIFICATION_LANGUAGE"] == "en"
    entries = await store.audit.page(limit=20)
    assert "sk-1" not in str([each.request for each in entries])


async def test_a_value_is_judged_by_the_setting_it_is_for(house: House) -> None:
    async def state(key: str, value: str) -> tuple[str, str]:
        found = await ask(house, "setup.validate", {"key": key, "value": value})
        return found.state, found.found

    assert (await state("SOPHIA_WINDOW_DAYS", "30"))[0] == "ok"
    assert (await state("SOPHIA_WINDOW_DAYS", "0"))[0] == "problem"
    assert (await state("SOPHIA_TIMEZONE", "Mars"))[0] == "problem"
    assert (await state("SOPHIA_WINDOW_DAY", "30"))[0] == "attention"
    assert (await state("OPENAI_API_KEY", "a\nb"))[0] == "problem"


# -- where the own store stays


class Machine:
    installed = True


class Asked(BaseModel):
    restart: list[str] = []


def service(environment: dict[str, str], fail_at: str = "") -> tuple[SetupBeginService, list[Any]]:
    """The service, and what it asks to be written."""
    written: list[tuple[str, str | None]] = []

    async def call(name: str, request: Any, context: Context) -> BaseModel:
        assert context.confirmed
        if request["key"] == fail_at:
            raise UnavailableError("S440", "The disk is full.")
        written.append((request["key"], request.get("value")))
        return Asked(restart=["sophia-api.service"])

    async def probe(base: str | None, key: str, seconds: float) -> KeyAnswer:
        return KeyAnswer("accepted", "x")

    async def source(url: str, password: str | None) -> Any:
        raise AssertionError("nobody asked for one")

    made = SetupBeginService(call, load(environment), environment, Machine(), probe, source)
    return made, written


ADMIN = Context("ana", Face.CLI, Role.ADMIN, confirmed=True)
OWN = {"DATABASE_URL": "postgresql://sophia@127.0.0.1:5433/sophia", "DB_PASS": "own"}


async def test_another_source_leaves_the_own_store_and_its_password_where_they_are() -> None:
    made, written = service(OWN)
    answers = SetupAnswers(database_url="postgresql://me@db/prod", db_pass="theirs")
    done = await made.begin(ADMIN, answers)
    assert written == [
        ("SOPHIA_STORE_PASS", "own"),
        ("SOPHIA_STORE_URL", OWN["DATABASE_URL"]),
        ("DB_PASS", "theirs"),
        ("DATABASE_URL", "postgresql://me@db/prod"),
    ]
    assert done.restart == ["sophia-api.service"]


async def test_the_own_password_is_not_told_to_another_database() -> None:
    made, written = service(OWN)
    await made.begin(ADMIN, SetupAnswers(database_url="postgresql://me:in@db/prod"))
    assert ("DB_PASS", None) in written


async def test_which_database_is_used_is_not_answered_over_http() -> None:
    made, written = service(OWN)
    afar = Context("api:admin", Face.API, Role.ADMIN, confirmed=True)
    with pytest.raises(RefusedError, match="S451"):
        await made.begin(afar, SetupAnswers(database_url="postgresql://me@db/prod"))
    assert written == []
    await made.begin(afar, SetupAnswers(finetune_base="some/base"))
    assert written == [("FINETUNE_BASE", "some/base")]


async def test_an_embedded_store_stays_embedded() -> None:
    made, written = service({})
    await made.begin(ADMIN, SetupAnswers(database_url="postgresql://me@db/prod"))
    assert written == [
        ("SOPHIA_STORE_URL", "embedded"),
        ("DATABASE_URL", "postgresql://me@db/prod"),
    ]


async def test_what_breaks_off_says_what_was_written() -> None:
    made, written = service({}, fail_at="FINETUNE_BASE")
    answers = SetupAnswers(finetune_dir="/data/ft", finetune_base="./b")
    with pytest.raises(SetupError, match="S423") as broken:
        await made.begin(ADMIN, answers)
    assert written == [("FINETUNE_DIR", "/data/ft")]
    assert "FINETUNE_DIR" in broken.value.remedy
    with pytest.raises(UsageError, match="S422"):
        await made.begin(ADMIN, SetupAnswers())
    with pytest.raises(UsageError, match="S120"):
        await service({})[0].begin(ADMIN, SetupAnswers(finetune_dir="/a\nb"))
