"""Forms in use: what a field takes, what stands where it is empty, what the command would be."""

from pathlib import Path
from typing import Any

from textual.app import App
from textual.content import Content
from textual.widgets import Button, Input

from sophia_tui.domain.context import Role
from sophia_tui.errors import DataError, NotFoundError
from sophia_tui.services import catalogue
from sophia_tui.services.settings import SettingList, SettingView
from sophia_tui.services.ways_back import way_back
from sophia_tui.tui import field_text
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.pick import DraftsScreen, TypedScreen
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.suggestions import Names
from sophia_tui.tui.typed_line import line, lines_of, listed
from sophia_tui.tui.widgets.choice import Choice
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import answers, stub
from tests.tui.test_console import open_form, screen_text, settled, until

SIZE = (80, 24)


def whole(folder: Path | None = None, **options: Any) -> Any:
    world = stub.full_world()
    world.answers = answers.full()
    return stub.make_app(world, folder=folder, whole=True, **options), world


def setting(key: str, value: str) -> SettingView:
    return SettingView(key=key, value=value, source="sophia", changeable=True, help="x")


def text_of(form: FormScreen, where: str) -> str:
    return form.query_one(where, Plate).text


def operation(name: str) -> Any:
    return catalogue.registry().get(name)


async def test_a_long_form_shows_what_is_needed_first_and_folds_the_rest() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start", {"seed": "7"})
        shown = [each.id for each in form.query("#form > .row Input, #form > .row Choice")]
        assert shown[:2] == ["field-dataset", "field-seed"]  # what is given lies never folded
        assert str(form.query_one("#more", Button).label) == "14 more settings"
        # all of it fits: fields, help, command and buttons
        for where in ("#more", "#about", "#command", "#run"):
            assert form.query_one(where).region.bottom <= 22, where
        assert not form.query_one("#field-budget").region
        form.query_one("#more", Button).focus()
        await pilot.press("enter")
        await until(pilot, lambda: bool(form.query_one("#field-budget").region), "unfolded")
        assert str(form.query_one("#more", Button).label) == "fewer settings"


async def test_a_folded_field_that_is_wrong_is_unfolded() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        form.query_one("#field-budget", Input).value = "much"
        await pilot.pause()
        assert not form.query_one("#field-budget").region
        await pilot.press("f2")
        await until(pilot, lambda: bool(form.query_one("#wrong-budget").region), "in sight")
        assert form.focused.id == "field-budget"


async def test_up_down_and_enter_go_from_field_to_field() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        await until(pilot, lambda: form.focused is not None, "a field")
        seen = [form.focused.id]
        for key in ("down", "enter", "enter", "up"):
            await pilot.press(key)
            seen.append(form.focused.id)
        expected = ["dataset", "base", "provider", "recipe", "provider"]
        assert seen == [f"field-{name}" for name in expected]
        assert isinstance(form.focused, Choice)


async def test_the_focused_field_is_told_in_full_with_what_may_stand_there() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        form.query_one("#field-max_steps").focus()
        await until(pilot, lambda: "max_steps" in text_of(form, "#about"), "told")
        told = text_of(form, "#about")
        assert "Optimizer steps, in place of epochs." in told
        assert "A whole number, 1 to 100,000,000." in told


async def test_an_empty_field_shows_the_value_in_force_and_its_setting() -> None:
    app, world = whole()
    world.answers["settings.list"] = SettingList(
        items=[setting("FINETUNE_BASE", "SmolLM2"), setting("SOPHIA_TRAINING_PROVIDER", "local")]
    )
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        base = form.query_one("#field-base", Input)
        await until(pilot, lambda: "SmolLM2" in base.placeholder, "the base in force")
        assert base.placeholder == "default: SmolLM2  (FINETUNE_BASE)"
        provider = form.query_one("#field-provider", Choice)
        await until(pilot, lambda: "default: local" in str(provider.render()), "the provider")
        assert form.request()[0] == {}  # shown, not asked for


async def test_names_of_the_store_are_offered_while_typing_and_right_takes_the_first() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        await until(pilot, lambda: "ground@0f3a5c9b1d2e" in text_of(form, "#about"), "offered")
        await pilot.press(*"ground@9")
        await until(pilot, lambda: "ground@0f3a5c9b1d2e" not in text_of(form, "#about"), "narrowed")
        field = form.query_one("#field-dataset", Input)
        await until(pilot, lambda: field._suggestion == "ground@99aa88bb77cc", "the rest of it")
        await pilot.press("right")
        assert field.value == "ground@99aa88bb77cc"


async def test_files_are_completed_in_the_folder_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    (tmp_path / "old").mkdir()
    app, world = whole()
    world.answers["settings.list"] = SettingList(items=[setting("FINETUNE_DIR", str(tmp_path))])
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "prepare.browse")
        await until(pilot, lambda: form._names.folder == tmp_path, "the folder is known")
        await pilot.press("p")
        await until(pilot, lambda: "pairs.jsonl" in text_of(form, "#about"), "a file")
        assert await form._names.matching("file", f"{tmp_path}/o") == [f"{tmp_path}/old/"]
        assert await form._names.matching("file", "/nowhere/at/all") == []


async def test_f7_sends_the_command_and_never_a_secret(monkeypatch) -> None:
    app, _world = whole()
    sent: list[str] = []
    monkeypatch.setattr(type(app), "copy_to_clipboard", lambda self, text: sent.append(text))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "env.set", {"key": "DB_PASS"})
        form.query_one("#field-value", Input).value = "geheim"
        await pilot.pause()
        await pilot.press("f7")
        await until(pilot, lambda: "Sent to the terminal" in screen_text(app), "said")
        assert "asks for value, or reads them from standard input" in screen_text(app)
        assert "geheim" not in screen_text(app)
    assert sent == ["sophia env set DB_PASS"]


async def test_an_error_marks_the_fields_it_names_and_what_was_typed_stays() -> None:
    app, world = whole()

    def refuse(request: Any) -> Any:
        raise DataError("D404", "There is no data set twon.", "--budget is too small.")

    world.answers["train.start"] = refuse
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start", {"dataset": "twon"})
        form.query_one("#field-budget", Input).value = "3"
        await pilot.pause()
        await pilot.press("f2")
        await until(pilot, lambda: bool(form.query("#wrong-dataset.-shown")), "marked")
        assert text_of(form, "#wrong-dataset") == "There is no data set twon."
        assert form.query("#wrong-budget.-shown") and not form.query("#wrong-base.-shown")
        assert form.typed["budget"] == "3"
        form.query_one("#field-dataset", Input).value = "town"
        await until(pilot, lambda: not form.query("#wrong-dataset.-shown"), "taken away")


async def test_a_form_refused_while_the_store_is_away_is_sent_again() -> None:
    app, world = whole(role=Role.ADMIN)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await open_form(pilot, "jobs.pause", {"job": "ftjob-7f2a9c0d1e2f"})
        world.trouble = stub.database_gone()
        await pilot.press("f2")
        await until(pilot, lambda: "SOPHIA-S001" in screen_text(app), "away")
        world.trouble = None
        world.answers["jobs.pause"] = stub.job("ftjob-7f2a9c0d1e2f", "paused")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen), "done")
        undo = "To undo it: sophia jobs resume ftjob-7f2a9c0d1e2f"
        await until(pilot, lambda: undo in screen_text(app), "the way back")


async def test_what_would_i_type_tells_the_list_as_it_is_and_the_selected_row(
    tmp_path: Path, monkeypatch
) -> None:
    app, _world = whole(tmp_path)
    sent: list[str] = []
    monkeypatch.setattr(type(app), "copy_to_clipboard", lambda self, text: sent.append(text))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        app.go("screen.jobs", app.screen)
        await settled(pilot)
        await pilot.press("slash", *"7f2a", "enter")
        await settled(pilot)
        await until(pilot, lambda: len(app.screen.rows) == 1, "filtered")
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, TypedScreen), "told")
        told = [each.command for each in app.screen.found]
        assert told[0].startswith("sophia jobs list")
        assert "sophia jobs show ftjob-7f2a9c0d1e2f" in told
        assert "sophia jobs cancel --yes ftjob-7f2a9c0d1e2f" in told
        assert len(told) == len(set(told))
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(sent), "copied")
        assert sent == [told[1]]
        await pilot.press("w")
        await until(pilot, lambda: "Saved to" in screen_text(app), "saved")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen), "back")
    (saved,) = (tmp_path / "state" / "ana" / "saved").iterdir()
    assert told[2] in saved.read_text()


def test_a_list_is_typed_with_its_filter_and_its_order_where_it_takes_them() -> None:
    class Declared:
        input = operation("models.list").input

    memory = {"filter": "a b", "sort": "-name", "row": "x", "marked": ["y"]}
    told = listed(Declared, memory)  # type: ignore[arg-type]
    assert told["sort"] == "-name"
    assert set(told) <= {"match", "sort"}
    assert line(operation("jobs.show"), {}) == "sophia jobs show JOB"


async def test_every_screen_has_commands_for_what_it_shows() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        for name in ("overview", "datasets", "models", "settings", "audit", "monitor"):
            app.go(f"screen.{name}", app.screen)
            await settled(pilot)
            told = lines_of(app, app.screen)
            assert told and told[0].command.startswith("sophia "), name


async def test_drafts_are_listed_opened_and_thrown_away(tmp_path: Path) -> None:
    app, _world = whole(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "prepare.split", {"dataset": "town"})
        form.query_one("#field-seed", Input).value = "7"
        await pilot.pause()
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not form, "left")
        await pilot.press("colon", *"drafts of forms", "enter")
        await until(pilot, lambda: isinstance(app.screen, DraftsScreen), "drafts")
        assert "seed=7" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "opened")
        assert (app.screen.typed["dataset"], app.screen.typed["seed"]) == ("town", "7")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DraftsScreen), "back")
        await pilot.press("x")
        await until(pilot, lambda: "No draft is kept" in screen_text(app), "thrown away")
    assert not app.state.drafts()


async def test_an_act_that_can_be_taken_back_says_how() -> None:
    app, world = whole()
    world.answers["schedules.add"] = answers.schedule()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        given = {"operation": "collect.run", "every": "day at 03:00"}
        await open_form(pilot, "schedules.add", given)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "done")
        assert "To undo it: sophia schedules remove --yes weekly-ground" in screen_text(app)


def test_the_way_back_of_a_promotion_is_its_rollback() -> None:
    done = answers.promotions().items[0]
    found = way_back("promote.run", {}, done)
    assert found is not None
    assert line(operation(found.operation), found.request) == (
        f"sophia promote rollback --yes {done.id}"
    )
    assert way_back("datasets.delete", {}, done) is None


def test_labels_are_short_and_the_whole_sentence_is_kept() -> None:
    known = operation("train.start").input.model_fields
    assert field_text.label_of(known["dataset"]) == "The data set version"
    assert field_text.label_of(known["suffix"]).startswith("Hosted only: what")
    assert "none that an upload" in field_text.whole_text(known["dataset"])
    assert field_text.placeholder(known["threads"]) == "default: chosen by a short probe"


# -- filling it in


async def test_a_digit_takes_the_place_of_a_default_and_goes_on_after_what_was_typed() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.preview")
        name, told = next(
            (name, str(form.typed[name]))
            for name in form.fields
            if isinstance(form.query_one(f"#field-{name}"), Input) and form.typed[name]
        )
        field = form.query_one(f"#field-{name}", Input)
        form._unfold_for(name)
        await pilot.pause()
        field.focus()
        await until(pilot, lambda: field.has_focus, "the field")
        assert f"default: {told}" in text_of(form, "#about")
        await pilot.press("8")
        await until(pilot, lambda: form.typed[name] == "8", "in its place")
        await pilot.press("tab", "shift+tab", "9")
        await until(pilot, lambda: form.typed[name] == "89", "goes on")


async def test_a_wrong_field_is_left_out_of_the_command_and_the_rest_stays() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start", {"seed": "7"})
        good = text_of(form, "#command")
        assert "--seed 7" in good
        form.query_one("#field-max_steps", Input).value = "abc"
        await until(pilot, lambda: form.typed["max_steps"] == "abc", "typed")
        assert "max_steps" in form.request()[1]
        assert text_of(form, "#command") == good


async def test_f9_shows_the_command_of_the_form() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await open_form(pilot, "train.start", {"seed": "7"})
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, TypedScreen), "the commands")
        assert "--seed 7" in app.screen.found[0].command


async def test_a_long_refusal_leaves_the_fields_in_sight_and_can_be_read_to_its_end() -> None:
    app, world = whole()
    last = "and this is the end of it"

    def refused(_request: Any) -> Any:
        raise DataError("D002", "Too few.", " ".join(["There are few of them."] * 40), last)

    world.answers["train.start"] = refused
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        await pilot.press("f2")
        reading = form.query_one("#outcome-scroll")
        await until(pilot, lambda: reading.max_scroll_y > 0, "refused")
        assert reading.region.height <= 6
        shown = form.query_one("#form")
        await until(pilot, lambda: shown.region.height >= 6, "fields in sight")
        while form.focused is not reading:
            await pilot.press("shift+tab")
        await pilot.press("end")
        await until(pilot, lambda: last in screen_text(app), "the end of it")


async def test_f8_takes_an_old_refusal_away_with_the_draft(tmp_path: Path) -> None:
    app, world = whole(tmp_path)
    app.state.keep_draft("train.start", {"seed": "9"})

    def refused(_request: Any) -> Any:
        raise DataError("D002", "Too few.")

    world.answers["train.start"] = refused
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "train.start")
        await pilot.press("f2")
        await until(pilot, lambda: "Too few." in text_of(form, "#outcome"), "refused")
        await pilot.press("f8")
        await until(pilot, lambda: "The draft is cleared." in screen_text(app), "cleared")
        assert text_of(form, "#outcome") == ""
        assert form.typed["seed"] == form._default_text("seed")


async def test_a_promotion_to_take_back_is_told_wrong_as_typed_and_by_the_service() -> None:
    app, world = whole()

    def unknown(request: Any) -> Any:
        raise NotFoundError("P405", f"There is no promotion {request.to}.")

    world.answers["promote.rollback"] = unknown
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "promote.rollback")
        field = form.query_one("#field-to", Input)
        field.value = "yesterday"
        await until(pilot, lambda: "promotion-" in text_of(form, "#wrong-to"), "as typed")
        field.value = "promotion-0123456789ab"
        await until(pilot, lambda: text_of(form, "#wrong-to") == "", "may be right")
        await pilot.press("f2")
        await until(pilot, lambda: "There is no" in text_of(form, "#wrong-to"), "marked")
        assert text_of(form, "#wrong-promotion") == ""


async def test_words_to_choose_from_break_between_them_only() -> None:
    options = [("", "default: local"), ("local", "local"), ("openai", "openai"), ("auto", "auto")]

    class Words(App[None]):
        def compose(self) -> Any:
            yield Choice(options, "openai", "words")

    for width in (20, 24, 60):
        app = Words()
        async with app.run_test(size=(width, 9)) as pilot:
            await pilot.pause()
            shown = [each.rstrip() for each in screen_text(app).splitlines() if each.strip()]
            told = "  ".join(each.strip() for each in shown)
            assert told == "( ) default: local  ( ) local  (x) openai  ( ) auto", width


def test_only_a_setting_that_is_the_default_is_told_as_one() -> None:
    def keys(name: str, field: str) -> list[str]:
        return field_text.settings_of(operation(name).input.model_fields[field])

    assert keys("models.state", "until") == []
    assert keys("prepare.vary", "model") == []
    assert keys("collect.run", "window_days") == ["SOPHIA_WINDOW_DAYS"]
    assert keys("collect.run", "folder") == ["FINETUNE_DIR"]
    assert keys("prepare.clean", "source") == ["FINETUNE_DIR"]
    assert keys("personas.tune", "model_name") == ["FINETUNE_BASE"]
    assert keys("promote.run", "bounds") == ["SOPHIA_PROMOTION_BOUNDS"]


async def test_an_env_file_is_completed_with_env_files_alone(tmp_path: Path) -> None:
    for name in ("good.jsonl", "house.env", "notes.txt"):
        (tmp_path / name).write_text("")
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        names = Names(app, operation("promote.run"))
        names.folder, names.managed = tmp_path, ["/etc/house/one.env"]
        assert await names.matching("env_file", "") == ["/etc/house/one.env"]
        assert await names.matching("env_file", f"{tmp_path}/") == [f"{tmp_path}/house.env"]


async def test_the_question_says_in_the_field_what_to_type() -> None:
    app, _world = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await app.push_screen(QuestionScreen(Content("Really?"), "promote", "sophia-v2"))
        await until(pilot, lambda: bool(app.screen.query("#name")), "the question")
        field = app.screen.query_one("#name", Input)
        assert field.has_focus
        assert field.placeholder == "Type sophia-v2 to confirm"
        above = app.screen.query_one("#ask", Plate)
        assert above.text == "Type sophia-v2 to confirm:"
        assert above.region.bottom == field.region.y
