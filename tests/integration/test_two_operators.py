"""Two people at one record: the second is told who was faster, how long ago and what they did;
nothing of what was typed is lost, and there is a way to go on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Face, Role
from sophia_tui.errors import ConflictError, NotFoundError, SophiaError, UsageError
from sophia_tui.services import changes
from sophia_tui.services.catalogue import registry
from sophia_tui.tui.app import SophiaApp
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.wiring import House
from tests.tui.test_console import until

KEY = "SOPHIA_WINDOW_DAYS"
#: Operations that make something new, or change nothing that another person could change as well.
ADDS = {
    "setup.prune": "what is gone already is passed over",
    "setup.bundle": "a new file",
    "setup.backup": "a new file",
    "collect.run": "new files, written whole",
    "prepare.run": "a new version",
    "prepare.repair": "the same repair twice is one",
    "prepare.clean": "a new version",
    "prepare.split": "a new version",
    "prepare.convert": "a new file; one that is there is refused",
    "prepare.report": "a file with a name of the moment",
    "prepare.holds": "looks only; its asking is kept",
    "prepare.forget": "the same twice is one",
    "prepare.vary": "a new file",
    "datasets.export": "a new file",
    "train.start": "a new job",
    "finetune.run": "a new job",
    "files.add": "a new file",
    "tuning.create": "a new job",
    "adaptive.start": "one at a time",
    "adaptive.cancel": "the same twice is one",
    "personas.handshake": "says that it is there",
    "personas.tune": "a new job",
    "schedules.add": "a name that is taken is refused",
    "evaluate.run": "a new evaluation",
    "evaluate.report": "a file with a name of the moment",
    "models.note": "notes stand one after another",
    "models.verify": "looks, and keeps what it saw",
    "models.gate": "a new check",
    "models.merge": "a new model",
    "models.parity": "a new check",
    "models.export": "a new model",
    "serve.model": "a new deployment",
    "notifications.test": "sends something",
    "store.start": "the same twice is one",
    "store.stop": "the same twice is one",
    "store.migrate": "the same twice is one",
    "samples.load": "the same twice is one",
    "demo.run": "a house of its own",
}


class Office:
    """The house of the people, each with a context of their own."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def does(self, who: str, name: str, seen: int | None = None, /, **asked: Any) -> Any:
        context = self.house.context(
            Face.CONSOLE, actor=who, role=Role.ADMIN, confirmed=True, seen=seen
        )
        return await self.house.dispatcher.call(name, asked, context)

    async def looks(self, who: str, operation: str, target: str | None) -> int:
        found = await self.does(who, "audit.changes", operation=operation, target=target)
        return int(found.number)


@pytest.fixture
async def office(store_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "sophia.env").write_text("")
    house = House(
        {
            "SOPHIA_STORE_URL": store_url,
            "DATABASE_URL": store_url,
            "SOPHIA_DATA_DIR": str(tmp_path / "data"),
            "SOPHIA_ENV_FILE": str(tmp_path / "sophia.env"),
            "FINETUNE_DIR": str(tmp_path / "finetune"),
            "SOPHIA_ROLES": "*=admin",
        }
    )
    yield Office(house)
    await house.close()


def test_every_change_is_watched_or_says_why_not() -> None:
    writing = {each.name for each in registry() if each.writes}
    assert writing == set(changes.WITH) | set(ADDS)
    assert not set(changes.WITH) & set(ADDS)


async def test_a_setting_that_another_changed_is_not_written_over(office: Office) -> None:
    await office.does("ana", "settings.set", key=KEY, value="40")
    await office.does("maria", "settings.set", key=KEY, value="45")
    with pytest.raises(ConflictError, match="R412") as told:
        await office.does("ana", "settings.set", key=KEY, value="50", seen_value="40")
    said = str(told.value)
    assert "It was 40, now it is 45." in said
    assert "Changed by maria " in said and "second" in said and "value=45" in said
    assert told.value.details["seen_value"] == "45"
    assert told.value.details["changed_by"] == "maria"
    with pytest.raises(ConflictError, match="R412"):
        await office.does("ana", "settings.unset", key=KEY, seen_value="40")
    done = await office.does("ana", "settings.set", key=KEY, value="50", seen_value="45")
    assert done.value == "50"


async def test_a_setting_is_replaced_only_as_it_was_seen(office: Office) -> None:
    """The comparison is the database's own: nobody comes between look and write."""
    settings = (await office.house.store()).settings
    assert not await settings.replace(KEY, "40", "41", "ana")
    assert await settings.replace(KEY, None, "41", "ana")
    assert not await settings.replace(KEY, None, "42", "ana")
    assert not await settings.replace(KEY, "40", None, "ana")
    assert await settings.replace(KEY, "41", "43", "ana")
    assert await settings.all() == {KEY: "43"}
    assert await settings.replace(KEY, "43", None, "ana")
    assert await settings.replace(KEY, None, None, "ana")


async def test_what_changed_since_it_was_seen_is_refused_whatever_the_record(
    office: Office,
) -> None:
    seen = await office.looks("ana", "env.set", KEY)
    await office.does("maria", "env.set", key=KEY, value="45")
    with pytest.raises(ConflictError, match="R411") as told:
        await office.does("ana", "env.set", seen, key=KEY, value="50")
    assert told.value.what == f"{KEY} was changed meanwhile."
    assert told.value.why.startswith("Changed by maria ")
    assert told.value.why.endswith(f"`env set {KEY} value=***`")  # env files hold secrets
    again = told.value.details["seen"]
    await office.does("ana", "env.set", again, key="SOPHIA_TIMEZONE", value="UTC")  # another key
    await office.does("ana", "env.set", again, key=KEY, value="50")


async def test_an_own_change_elsewhere_is_told_as_such(office: Office) -> None:
    seen = await office.looks("ana", "env.set", KEY)
    await office.does("ana", "env.set", key=KEY, value="45")
    with pytest.raises(ConflictError, match="by yourself in another place"):
        await office.does("ana", "env.set", seen, key=KEY, value="50")


async def test_what_was_refused_or_only_tried_is_no_change(office: Office) -> None:
    seen = await office.looks("ana", "env.set", KEY)
    with pytest.raises(SophiaError):
        await office.does("maria", "env.set", key=KEY, value="not a number")
    await office.does("ana", "env.set", seen, key=KEY, value="50")


async def test_who_comes_too_late_learns_who_took_it_away(office: Office) -> None:
    added = await office.does("ana", "schedules.add", operation="prepare.run", every="weekly")
    await office.does("maria", "schedules.change", schedule=added.name, every="monthly")
    with pytest.raises(ConflictError, match=r"was changed meanwhile\. Changed by yourself") as own:
        await office.does("maria", "schedules.remove", schedule=added.name, seen_version=1)
    assert "somebody else" not in str(own.value)
    assert (own.value.exit_code, own.value.http_status) == (3, 409)
    with pytest.raises(ConflictError, match="Changed by maria"):
        await office.does(
            "ana", "schedules.change", schedule=added.name, runs="off", seen_version=1
        )
    with pytest.raises(ConflictError, match="Changed by maria"):
        await office.does("ana", "schedules.remove", schedule=added.name, seen_version=1)
    await office.does("maria", "schedules.remove", schedule=added.name)
    with pytest.raises(NotFoundError, match=r"Changed by maria .*schedules remove"):
        await office.does("ana", "schedules.change", schedule=added.name, runs="off")


async def test_what_nobody_else_could_change_has_no_changes(office: Office) -> None:
    with pytest.raises(UsageError, match="U060"):
        await office.looks("ana", "collect.run", None)
    with pytest.raises(UsageError, match="U060"):
        await office.looks("ana", "settings.set", None)


async def test_two_consoles_at_one_setting(office: Office) -> None:
    """The first one's form says it before anything is run; what is typed there stays."""

    def console(who: str) -> SophiaApp:
        def context(**given: Any) -> Any:
            return office.house.context(Face.CONSOLE, actor=who, role=Role.ADMIN, **given)

        return SophiaApp(office.house.dispatcher, context, actor=who)

    await office.does("ana", "settings.set", key=KEY, value="40")
    ana, maria = console("ana"), console("maria")
    async with ana.run_test(size=(80, 24)) as first:
        await until(first, ana.painted.is_set, "painted")
        given = {"key": KEY, "value": "40", "seen_value": "40"}
        ana.open("settings.set", given)
        await until(first, lambda: isinstance(ana.screen, FormScreen), "ana's form")
        mine: Any = ana.screen
        await until(first, lambda: mine.others.number is not None, "ana's look")
        mine.query_one("#field-value").value = "50"
        async with maria.run_test(size=(80, 24)) as second:
            await until(second, maria.painted.is_set, "painted")
            maria.open("settings.set", given)
            await until(second, lambda: isinstance(maria.screen, FormScreen), "maria's form")
            maria.screen.query_one("#field-value").value = "45"  # type: ignore[attr-defined]
            await second.pause()
            await second.press("f2")
            await until(second, lambda: not isinstance(maria.screen, FormScreen), "written")
        mine.look_now()
        await until(first, lambda: "Changed by maria" in shown(mine, "#message"), "the news")
        await first.press("f2")
        await until(first, lambda: "It was 40, now it is 45." in shown(mine, "#outcome"), "told")
        assert mine.typed["value"] == "50"
        await first.press("f2")
        await until(first, lambda: ana.screen is not mine, "written over")
    found = await office.does("ana", "settings.list")
    assert next(each.value for each in found.items if each.key == KEY) == "50"


def shown(screen: Any, widget: str) -> str:
    return " ".join(plate.text for plate in screen.query(widget))
