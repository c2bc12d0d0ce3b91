"""The set-up's screens beside the list of checks: env keys, one value, the first set-up, the output
of a step."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from textual.events import Paste
from textual.widgets import Input

from sophia_tui.domain.context import Role
from sophia_tui.errors import NotFoundError, UnconfirmedError
from sophia_tui.i18n import speaking
from sophia_tui.services.setup import CheckView, SetupReport
from sophia_tui.services.setup_begin import SetupAnswers
from sophia_tui.services.units import ServiceView
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.env_value import EnvValueScreen
from sophia_tui.tui.screens.environment import EnvironmentScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.overview import OverviewScreen
from sophia_tui.tui.screens.palette import entries
from sophia_tui.tui.screens.setup import SetupScreen
from sophia_tui.tui.screens.step import StepScreen
from sophia_tui.tui.screens.wizard import PAGES, WizardScreen
from sophia_tui.tui.setup_acts import FIRST_SETUP
from sophia_tui.tui.step_run import StepRun
from sophia_tui.tui.widgets.choice import Choice
from tests.representatives import each_size
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import told_text, whole_world


async def at_setup(pilot) -> None:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await pilot.press("2")
    await until(pilot, lambda: isinstance(pilot.app.screen, SetupScreen), "set-up")
    await settled(pilot)


async def at_keys(pilot) -> None:
    await at_setup(pilot)
    await pilot.press("e")
    await until(pilot, lambda: isinstance(pilot.app.screen, EnvironmentScreen), "the keys")
    await settled(pilot)


async def at_wizard(pilot) -> WizardScreen:
    await at_setup(pilot)
    await pilot.press("w")
    await until(pilot, lambda: isinstance(pilot.app.screen, WizardScreen), "the first set-up")
    await until(pilot, lambda: bool(pilot.app.screen.query("#title")), "its first page")
    await pilot.pause()
    return pilot.app.screen


async def page(pilot, number: int) -> None:
    await until(pilot, lambda: getattr(pilot.app.screen, "page", -1) == number, f"page {number}")
    await pilot.pause()


# -- the list of checks


@pytest.mark.parametrize("size", each_size())
async def test_a_check_shows_detail_remedy_and_what_its_key_does(size) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=size) as pilot:
        await at_setup(pilot)
        await pilot.press(*["down"] * 3, "enter")
        await until(pilot, lambda: "restarted 3 times" in told_text(app.screen), "the detail")
        text = told_text(app.screen)
        assert "the step units of the installer" in text
        assert "a  " in text


async def test_a_remedy_that_is_a_command_opens_its_form() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        await pilot.press("down", "down", "a")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        assert app.screen.operation.name == "setup.prune"


async def test_a_check_without_a_remedy_says_so() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        await pilot.press("a")
        await until(pilot, lambda: "There is nothing to apply here." in screen_text(app), "why")
        await pilot.press("o")
        await until(pilot, lambda: "No step was run from here yet." in screen_text(app), "why")


async def test_the_provider_is_asked_at_first_and_on_r_alone() -> None:
    world = whole_world()
    asked: list[bool] = []

    def check(request) -> SetupReport:
        asked.append(request.ask_provider)
        return answers.checks()

    world.answers["setup.check"] = check
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        await until(pilot, lambda: asked == [True], "the first look")
        app.screen.refresh_now()
        await until(pilot, lambda: len(asked) == 2, "a look by itself")
        await pilot.press("r")
        await until(pilot, lambda: len(asked) == 3, "a look that was asked for")
    assert asked == [True, False, True]


async def test_who_may_not_is_told_and_a_read_only_console_offers_nothing() -> None:
    app = stub.make_app(whole_world(), whole=True, role=Role.VIEWER)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        await pilot.press("down", "down", "down", "a")
        await until(pilot, lambda: "setup.apply is not allowed" in screen_text(app), "why")
        await pilot.press("w")
        await until(pilot, lambda: "setup.begin is not allowed" in screen_text(app), "why")
        await pilot.press("e")
        await until(pilot, lambda: "env.list is not allowed" in screen_text(app), "why")


# -- env keys


@pytest.mark.parametrize("size", each_size())
async def test_env_keys_tell_help_and_source_and_hide_secrets(size) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=size) as pilot:
        await at_keys(pilot)
        text = screen_text(app)
        assert "OPENAI_API_KEY" in text
        assert "HTTPS_PROXY" in text
        assert "GEN_MODEL" not in text  # it stands in the file of another service
        await pilot.press("enter")
        await until(pilot, lambda: "***" in told_text(app.screen), "the detail")
        assert "/srv/sophia/.env" in told_text(app.screen)


@pytest.mark.parametrize("size", each_size())
async def test_a_filter_leaves_a_key_marked_that_can_be_changed(size) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=size) as pilot:
        await at_keys(pilot)
        screen = app.screen
        await pilot.press("down", "down", "/", *"https_", "enter")
        await until(pilot, lambda: list(screen.rows) == ["HTTPS_PROXY"], "filtered")
        if screen.wide:
            await until(pilot, lambda: "HTTPS_PROXY" in told_text(screen), "its detail")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EnvValueScreen), "the value")
        assert app.screen._item.key == "HTTPS_PROXY"


async def test_a_filter_that_nothing_matches_shows_nothing_and_gives_the_rows_back() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_keys(pilot)
        screen = app.screen
        await pilot.press("down", "/", *"nowhere")
        await until(pilot, lambda: not screen.rows, "nothing")
        assert "Nothing matches" in told_text(screen)
        assert "Default" not in told_text(screen)
        await pilot.press("escape")
        first = lambda: next(iter(screen.rows), "")  # noqa: E731
        await until(pilot, lambda: bool(first()) and first() in told_text(screen), "a detail")


async def test_what_is_pasted_with_several_lines_is_refused_whole() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_keys(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EnvValueScreen), "the value")
        field = app.screen.query_one("#value", Input)
        field.post_message(Paste("first\nsecond"))
        await until(pilot, lambda: "SOPHIA-S120" in screen_text(app), "why")
        assert field.value == ""
        field.post_message(Paste("whole\r\n"))
        await until(pilot, lambda: field.value == "whole", "one line")


async def test_which_database_is_used_is_asked_in_a_dialog() -> None:
    world = whole_world()
    done = world.answers["env.set"]

    def unsure(request):
        if not world.contexts["env.set"].confirmed:
            raise UnconfirmedError("S453", "Kept in /srv/backups.", "Nobody has confirmed.", "")
        return done

    world.answers["env.set"] = unsure
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_keys(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EnvValueScreen), "the value")
        app.screen.query_one("#value", Input).value = "another"
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        assert "/srv/backups" in screen_text(app)
        assert app.focused.id == "cancel"
        await pilot.press("enter")
        await until(pilot, lambda: "Nothing was done." in screen_text(app), "no")
        assert not world.contexts["env.set"].confirmed
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        app.screen.query_one("#yes").focus()
        await pilot.press("enter")
        await until(pilot, lambda: world.contexts["env.set"].confirmed, "written")


async def test_a_value_is_checked_as_it_is_typed_and_written_with_an_offer_to_restart() -> None:
    world = whole_world()
    looked: list[str] = []

    def validate(request) -> CheckView:
        looked.append(request.value.get_secret_value())
        wrong = looked[-1] == "bad"
        return CheckView(
            name=request.key, state="problem" if wrong else "ok", found="no" if wrong else "fine"
        )

    restarted: list[str] = []

    def restart(request) -> ServiceView:
        restarted.append(request.unit)
        return ServiceView(unit=request.unit, state="ok", found="active")

    world.answers |= {"setup.validate": validate, "setup.restart": restart}
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_keys(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EnvValueScreen), "the value")
        field = app.screen.query_one("#value", Input)
        assert field.password
        assert field.value == ""
        await pilot.press(*"bad")
        await until(pilot, lambda: "problem" in screen_text(app), "what is wrong")
        assert "bad" not in screen_text(app)
        await pilot.press("f2")
        await until(pilot, lambda: "Please correct it first." in screen_text(app), "no")
        assert "env.set" not in world.calls
        field.value = "sk-good"
        await until(pilot, lambda: "fine" in screen_text(app), "its state")
        await pilot.press("f2")
        await until(pilot, lambda: "env.set" in world.calls, "written")
        assert world.entries[-1].request["value"] == "***"
        await until(pilot, lambda: "sophia-worker.service" in screen_text(app), "what restarts")
        assert "sk-good" not in screen_text(app)
        app.screen.query_one("#yes").focus()
        await pilot.press("enter")
        await until(pilot, lambda: restarted == ["sophia-worker.service"], "restarted")
        await until(pilot, lambda: isinstance(app.screen, EnvironmentScreen), "the keys again")


async def test_what_can_not_be_written_is_said_and_what_was_typed_stays() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_keys(pilot)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EnvValueScreen), "the value")

        def gone(request) -> None:
            raise NotFoundError("S444", "There is no env file of Sophia's.", "", "Make one.")

        world.answers["env.set"] = gone
        await pilot.press(*"abc", "f2")
        await until(pilot, lambda: "SOPHIA-S444" in screen_text(app), "why")
        assert app.screen.query_one("#value", Input).value == "abc"
        assert app.screen.dirty


# -- the first set-up


async def test_the_first_set_up_from_its_first_page_to_what_it_wrote(tmp_path: Path) -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        wizard = await at_wizard(pilot)
        await pilot.press("f2")
        await page(pilot, 1)
        wizard.query_one("#field-database_url", Input).value = "postgresql://me:pass@db/prod"
        await pilot.press("f2")
        await until(pilot, lambda: "Leave the password out" in screen_text(app), "what is wrong")
        assert "setup.test" not in world.calls
        wizard.query_one("#field-database_url", Input).value = "postgresql://me@db/prod"
        wizard.query_one("#field-db_pass", Input).value = "very-secret"
        await pilot.press("f2")
        await until(pilot, lambda: "public.qa_cache" in screen_text(app), "the tables found")
        assert "very-secret" not in screen_text(app)
        await pilot.press("f2")
        await page(pilot, 2)
        for number in (3, 4):
            await pilot.press("f2")
            await page(pilot, number)
        wizard.query_one("#field-finetune_base", Input).value = "./nowhere"
        await pilot.press("f2")
        await until(pilot, lambda: "does not exist" in screen_text(app), "what is wrong")
        assert wizard.page == 4
        wizard.query_one("#field-finetune_base", Input).value = ""
        await pilot.press("f2")
        await page(pilot, 5)
        await until(pilot, lambda: "Services" in screen_text(app), "a check")
        await pilot.press("f2")
        await page(pilot, 6)
        await pilot.press("f2")
        await page(pilot, 7)
        await until(pilot, lambda: "DATABASE_URL" in screen_text(app), "the plan")
        assert world.contexts["setup.begin"].dry_run
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        assert app.focused.id == "cancel"
        assert world.contexts["setup.begin"].dry_run  # nothing is written before the yes
        app.screen.query_one("#yes").focus()
        await pilot.press("enter")
        await until(pilot, lambda: not world.contexts["setup.begin"].dry_run, "written")
        await until(pilot, lambda: "sophia-worker.service" in screen_text(app), "what restarts")
        await until(pilot, lambda: bool(app.screen.query("#yes")), "the dialog's buttons")
        await pilot.press("escape")  # later
        await until(pilot, lambda: isinstance(app.screen, SetupScreen), "set-up again")
        assert "setup.restart" not in world.calls
        assert not app.state.draft(FIRST_SETUP).get("database_url")
    assert "very-secret" not in "".join(each.read_text() for each in tmp_path.rglob("*.json"))


async def test_it_can_be_left_and_taken_up_again_and_secrets_are_not_kept(tmp_path: Path) -> None:
    app = stub.make_app(whole_world(), whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        wizard = await at_wizard(pilot)
        await pilot.press("f2")
        await page(pilot, 1)
        wizard.query_one("#field-database_url", Input).value = "postgresql://me@db/prod"
        wizard.query_one("#field-db_pass", Input).value = "very-secret"
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen), "set-up")
        app.remember()  # the wizard was left: it is not what one comes back to
    kept = app.state.draft(FIRST_SETUP)
    assert kept["database_url"] == "postgresql://me@db/prod"
    assert "very-secret" not in str(kept)
    again = stub.make_app(whole_world(), whole=True, folder=tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        wizard = await at_wizard(pilot)
        assert wizard.page == 1
        assert wizard.query_one("#field-database_url", Input).value == "postgresql://me@db/prod"
        assert wizard.query_one("#field-db_pass", Input).value == ""
        await pilot.press("escape")
        await page(pilot, 0)


async def test_another_language_is_spoken_at_once(tmp_path: Path) -> None:
    app = stub.make_app(whole_world(), whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        wizard = await at_wizard(pilot)
        wizard.query_one("#field-language", Choice).value = "pt_BR"
        await pilot.pause()
        await pilot.press("f2")
        await until(
            pilot,
            lambda: isinstance(app.screen, WizardScreen) and "produção" in screen_text(app),
            "Portuguese",
        )
        assert app.screen.page == 1
        assert app.screen.answers()["language"] == "pt_BR"


def fresh(world: stub.World) -> stub.World:
    world.answers["setup.check"] = answers.checks().model_copy(update={"fresh": True})
    return world


async def test_on_a_fresh_install_it_opens_by_itself_and_only_once(tmp_path: Path) -> None:
    app = stub.make_app(fresh(whole_world()), whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WizardScreen), "the first set-up")
        await until(pilot, lambda: bool(app.screen.query("#title")), "its first page")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OverviewScreen), "overview")
    again = stub.make_app(fresh(whole_world()), whole=True, folder=tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        assert isinstance(again.screen, SetupScreen)


@pytest.mark.parametrize("given", [{"role": Role.VIEWER}, {"readonly": True}])
async def test_it_opens_for_nobody_who_may_not_write(tmp_path: Path, given) -> None:
    app = stub.make_app(fresh(whole_world()), whole=True, folder=tmp_path, **given)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        assert isinstance(app.screen, SetupScreen)


def test_every_answer_has_its_page() -> None:
    asked = [name for each in PAGES for name in each.fields]
    assert sorted(asked) == sorted(SetupAnswers.model_fields)
    assert SetupAnswers(db_pass=SecretStr("x")).db_pass is not None


# -- the output of a step


async def test_an_ended_step_costs_nothing_and_hostile_lines_are_marks() -> None:
    app = stub.make_app(whole_world(), whole=True)
    run = StepRun("units")
    for line in ("first", stub.HOSTILE):
        run.take(stub.Done(text="x").model_copy(update={"line": line}))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        app.step_run = run
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, StepScreen), "the pane")
        await until(pilot, lambda: "first" in screen_text(app), "its lines")
        assert "\x1b" not in screen_text(app)
        assert app.screen._timer is not None
        run.ended(problem=stub.database_gone())
        await until(pilot, lambda: "SOPHIA-S001" in screen_text(app), "the end")
        assert app.screen._timer is None


async def test_rows_keep_their_keys_and_the_palette_the_plain_name_in_every_language() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_setup(pilot)
        screen = app.screen
        assert isinstance(screen, SetupScreen)
        for each in screen.data:
            row = screen._row(each)
            if hasattr(each, "table"):
                with speaking("pt_BR"):
                    assert screen._row(each).key == row.key and screen._row(each).cells != row.cells
            else:
                assert row.key == each.id
        assert screen.heading() != "Set-up"  # it counts what is amiss
        named = [each.name for each in entries(app, screen) if each.target == "act.filter"]
        assert named == ["filter: Set-up"]
