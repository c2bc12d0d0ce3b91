"""The command palette: what it finds by what is typed, what stands first, what it says of it."""

from pathlib import Path

import pytest

from sophia_tui.domain.context import Role
from sophia_tui.i18n import speaking
from sophia_tui.services.catalogue import registry
from sophia_tui.tui import keys
from sophia_tui.tui.screens.palette import Entry, PaletteScreen, entries
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import stub
from tests.tui.test_console import settled, until
from tests.tui.test_screens import digit, whole_world


def found(app, wanted: str) -> list[str]:
    ranked = [(each.rank(wanted), each.target) for each in entries(app)]
    return [target for rank, target in sorted(each for each in ranked if each[0] is not None)]


async def opened(pilot) -> PaletteScreen:
    await pilot.press("colon")
    await until(pilot, lambda: isinstance(pilot.app.screen, PaletteScreen), "palette")
    return pilot.app.screen


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("promocao", "promote.history"),
        ("PROMOÇÃO historico", "promote.history"),
        ("promote run", "promote.run"),
        ("cancelar", "jobs.cancel"),
        ("jbcncl", "jobs.cancel"),
        ("settings.set", "settings.set"),
        ("abrir monitor", "screen.monitor"),
        ("open monitor", "screen.monitor"),
        ("amostra", "samples.load"),
        ("banco de dados", "store.start"),
        ("idioma", "act.language"),
        ("switch language", "act.language"),
    ],
)
async def test_it_finds_in_both_languages_without_accents_and_by_letters(
    wanted: str, target: str
) -> None:
    app = stub.make_app(whole_world(), whole=True, language="pt_BR")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        with speaking("pt_BR"):
            assert target in found(app, wanted)[:8]


def test_what_begins_so_stands_before_what_only_holds_it() -> None:
    names = ["prepare: data", "repair: data", "paper trail"]
    ranks = [Entry(name, name, "").rank("pre") for name in names]
    assert ranks == [0, None, None]
    assert Entry("x", "repair: data", "").rank("pair") == 2
    assert Entry("x", "repair: data", "").rank("rpd") == 7
    assert Entry("x", "repair: data", "").rank("z") is None


async def test_it_has_every_screen_act_and_operation_that_is_permitted() -> None:
    app = stub.make_app(whole_world(), whole=True, role=Role.ADMIN)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        for each in keys.SCREENS:
            await pilot.press(each.key)
            await until(pilot, lambda at=each: app.state.screen in at.target, each.target)
            targets = {entry.target for entry in entries(app, app.screen)}
            assert {operation.name for operation in registry()} <= targets
            assert {key.target for key in keys.SCREENS} <= targets
            acts = {key.target for key in app.screen.known_keys() if "act." in key.target}
            assert acts - {"act.back", "act.open"} <= targets | {"act.back"}


async def test_what_was_chosen_last_stands_first_and_is_kept(tmp_path: Path) -> None:
    app = stub.make_app(whole_world(), folder=tmp_path, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        for wanted in ("settings set", "open monitor"):
            await opened(pilot)
            await pilot.press(*wanted, "enter")
            await until(pilot, lambda: not isinstance(app.screen, PaletteScreen), "chosen")
            await pilot.press("escape")
            await pilot.pause()
    again = stub.make_app(whole_world(), folder=tmp_path, whole=True)
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, again.painted.is_set, "painted")
        first = [each.target for each in entries(again)][:2]
        assert first == ["screen.monitor", "settings.set"]


async def test_it_shows_the_key_and_the_command_line_of_the_chosen_one() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        await pilot.press(digit("jobs"))
        await settled(pilot)
        palette = await opened(pilot)
        await pilot.press(*"jobs cancel")
        await until(pilot, lambda: palette._matching[0].target == "jobs.cancel", "found")
        told = palette.query_one("#chosen", Plate).text
        assert "key: c" in told and "sophia jobs cancel JOB --yes" in told


async def test_a_viewer_is_offered_nothing_that_changes() -> None:
    app = stub.make_app(whole_world(), whole=True, role=Role.VIEWER)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        operations = {each.name: each for each in registry()}
        offered = [operations[each.target] for each in entries(app) if each.target in operations]
        assert offered and not any(each.writes for each in offered)
