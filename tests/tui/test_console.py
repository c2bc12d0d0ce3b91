"""Pilots over the stand-ins: what a person sees and does on the console."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from textual.content import Content
from textual.widgets import Button, Input

from sophia_tui import i18n
from sophia_tui.domain.context import Role
from sophia_tui.services.prices import Ending
from sophia_tui.tui import words
from sophia_tui.tui.app import spell_plainly
from sophia_tui.tui.screens.confirm import ConfirmScreen, QuestionScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.help import HelpScreen
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.overview import OverviewScreen
from sophia_tui.tui.screens.palette import PaletteScreen
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.widgets.choice import Choice
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.tui.widgets.rows import Rows
from tests.representatives import each_size, every
from tests.tui import stub


def screen_text(app) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def until(pilot, condition: Callable[[], bool], what: str) -> None:
    for _attempt in range(200):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"never happened: {what}\n{screen_text(pilot.app)}")


async def settled(pilot, state: str = "full") -> None:
    await until(pilot, lambda: getattr(pilot.app.screen, "state", "") == state, state)


async def open_form(pilot, operation: str, given: dict[str, str] | None = None) -> FormScreen:
    pilot.app.open(operation, given or {})
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen), operation)
    return pilot.app.screen


@pytest.mark.parametrize("size", each_size())
async def test_overview_shows_stages_jobs_models_and_the_next_step(size) -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        text = screen_text(app)
    for word in ("Collect", "8,112 rows", "62 %", "ftjob-7f2a9c0d1e2f", "gpt-4o-mini", "Next"):
        assert word in text


async def test_enter_on_overview_takes_the_next_step() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen), "jobs")
        await settled(pilot)
        assert app.screen.opened == "ftjob-7f2a9c0d1e2f"


async def test_next_step_that_writes_opens_its_form_filled_in() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        assert app.screen.query_one("#field-name", Input).value == "a"


@pytest.mark.parametrize("size", each_size())
async def test_jobs_lists_and_opens_one_with_events_and_log(size) -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        assert app.screen.query_one("#table", Rows).row_count == 2
        await pilot.press("enter")
        await until(pilot, lambda: "metric" in screen_text(app), "events")
        assert "310/500" in screen_text(app)
        await pilot.press("l")
        await until(pilot, lambda: "step 310 of 500" in screen_text(app), "log")


async def test_new_events_are_added_without_asking_for_the_old_ones() -> None:
    world = stub.full_world()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen.events) == 13, "events")
        late = stub.EventView(number=14, at=stub.NOW, kind="warning", data={"text": "late"})
        world.events = [late]
        await pilot.press("r")
        await until(pilot, lambda: len(app.screen.events) == 14, "the new event")
        assert [each.number for each in app.screen.events] == list(range(1, 15))


async def test_filter_keeps_matching_rows_and_escape_shows_all() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        table = app.screen.query_one("#table", Rows)
        await pilot.press("slash", *"6c10")
        await until(pilot, lambda: table.row_count == 1, "filtered")
        await pilot.press("escape")
        await until(pilot, lambda: table.row_count == 2, "all again")
        assert isinstance(app.screen, JobsScreen)


@pytest.mark.parametrize("size", each_size())
async def test_hostile_text_stays_text_everywhere(size) -> None:
    world = stub.full_world()
    world.jobs = [
        stub.job(stub.HOSTILE, base=stub.HOSTILE, dataset=stub.HOSTILE, status=stub.HOSTILE)
    ]
    world.events = [
        stub.EventView(number=1, at=stub.NOW, kind=stub.HOSTILE, data={stub.HOSTILE: stub.HOSTILE})
    ]
    world.log = [stub.HOSTILE]
    view = world.overview
    stages = [each.model_copy(update={"figure": stub.HOSTILE}) for each in view.stages]
    running = [view.running[0].model_copy(update={"job": stub.HOSTILE, "about": stub.HOSTILE})]
    models = [view.models[0].model_copy(update={"model": stub.HOSTILE, "used_as": [stub.HOSTILE]})]
    lately = [view.lately[0].model_copy(update={"text": stub.HOSTILE})]
    world.overview = view.model_copy(
        update={"stages": stages, "running": running, "models": models, "lately": lately}
    )
    app = stub.make_app(world)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        seen = screen_text(app)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "[red]" in app.screen.query_one("#told", Plate).text, "event")
        seen += screen_text(app)
        await pilot.press("l")
        await until(
            pilot, lambda: app.screen.tail.pane == "log" and bool(app.screen.tail.lines), "log"
        )
        await pilot.pause()
        seen += screen_text(app)
    assert "[red]x" in seen and "␛" in seen
    assert not {"\x1b", "\x07", "\u202e"} & set(seen)


async def test_keys_that_write_are_hidden_in_readonly() -> None:
    app = stub.make_app(stub.full_world(), readonly=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        assert "cancel" not in screen_text(app)
        await pilot.press("c")
        assert isinstance(app.screen, JobsScreen)
        assert "read-only" in screen_text(app)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, PaletteScreen), "palette")
        assert not {"things.make", "jobs.cancel"} & {each.target for each in app.screen._entries}


async def test_operations_above_the_role_are_not_offered() -> None:
    app = stub.make_app(stub.full_world(), role=Role.VIEWER)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "things.make" not in {each.name for each in app.permitted()}
        app.open("things.make", {})
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)
        assert "not allowed" in screen_text(app)


async def test_form_of_every_operation_opens() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for operation in app.dispatcher.registry:
            form = FormScreen(app, operation)
            await app.push_screen(form)
            await pilot.pause()
            assert f"sophia {operation.subject}" in form.query_one("#command", Plate).text
            await app.pop_screen()


async def test_every_operation_of_sophia_has_a_form() -> None:
    from sophia_tui.services.catalogue import registry

    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        # tests/faces opens those of all that a form asks for
        for operation in every([*registry()], everyday=30):
            form = FormScreen(app, operation)
            await app.push_screen(form)
            await pilot.pause()
            shown = operation.input.model_fields.keys() - {"seen_version", "seen_value"}
            assert len(form.query(".label")) == len(shown)
            await app.pop_screen()


async def test_form_shows_defaults_checks_as_typed_and_says_the_command() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 40)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        assert form.query_one("#field-count", Input).value == "3"
        form.query_one("#field-count", Input).value = "12"
        await until(
            pilot,
            lambda: "at most 9" in form.query_one("#wrong-count", Plate).text,
            "the limit is told",
        )
        form.query_one("#field-count", Input).value = "4"
        form.query_one("#field-name", Input).value = "it's"
        form.query_one("#field-words", Input).value = "one 'two three'"
        form.query_one("#field-loud", Choice).focus()
        await pilot.press("left")
        form.query_one("#field-token", Input).value = "geheim"
        command = form.query_one("#command", Plate)
        await until(pilot, lambda: "two three" in command.text, "command line")
        assert "--count 4" in command.text and "--loud" in command.text
        assert "--words one --words 'two three'" in command.text
        assert "geheim" not in command.text


async def test_form_runs_and_shows_the_result() -> None:
    world = stub.World()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await open_form(pilot, "things.make")
        await pilot.press(*"box", "f2")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "result")
        assert "made box" in screen_text(app)
        assert "[red]x[/red]" in screen_text(app)
        assert world.got.name == "box" and world.got.count == 3


async def test_dry_run_says_so_and_leaves_the_form() -> None:
    world = stub.World()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press(*"box", "f3")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "result")
        assert "would make box" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is form


async def test_a_missing_field_is_named_and_nothing_is_called() -> None:
    world = stub.World()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press("f2")
        await until(pilot, lambda: "needed" in form.query_one("#wrong-name", Plate).text, "told")
        assert world.got is None


async def test_a_failure_is_shown_with_its_code_and_keeps_what_was_typed() -> None:
    world = stub.World()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        world.trouble = stub.NotFoundError("D404", "The box is gone.", "Why.", "Find it.")
        await pilot.press(*"box", "f2")
        outcome = form.query_one("#outcome", Plate)
        await until(pilot, lambda: "SOPHIA-D404" in outcome.text, "error")
        assert "Find it." in outcome.text
        assert form.query_one("#field-name", Input).value == "box"


async def test_confirm_starts_on_the_way_back_and_enter_does_nothing_dangerous() -> None:
    world = stub.full_world()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        assert app.screen.focused.id == "cancel"
        text = screen_text(app)
        assert "ftjob-7f2a9c0d1e2f" in text and "esc: back" in text
        labels = [str(each.label) for each in app.screen.query(Button)]
        assert labels == ["Back", "Cancel the job"]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "back")
        assert world.got is None
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        await pilot.press("right", "left", "right", "enter")
        await until(pilot, lambda: world.got is not None, "done")
        assert world.got.job == "ftjob-7f2a9c0d1e2f"


async def test_the_worst_acts_ask_for_the_name_typed() -> None:
    world = stub.World()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await open_form(pilot, "things.drop")
        await pilot.press(*"box", "f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        assert app.screen.focused.id == "name"
        assert app.screen.query_one("#yes", Button).disabled
        await pilot.press("b", "o", "enter")
        assert app.screen.query_one("#wrong", Plate).text == "That is not the name: bo"
        assert world.got is None
        await pilot.press("x")
        assert app.screen.query_one("#wrong", Plate).text == ""
        assert not app.screen.query_one("#yes", Button).disabled
        await pilot.press("enter")
        await until(pilot, lambda: world.got is not None, "dropped")


async def test_palette_finds_in_english_and_opens() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, PaletteScreen), "palette")
        await pilot.press(*"things make", "enter")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")


async def test_the_palette_marks_the_chosen_line_and_tells_it_in_full() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, PaletteScreen), "palette")
        palette = app.screen

        def marked() -> str:
            lines = [line for line in screen_text(app).split("\n") if line.startswith("> ")]
            assert len(lines) == 1
            return lines[0]

        first = marked()
        await pilot.press("down")
        await until(pilot, lambda: marked() != first, "one further")
        for key, place in (("end", len(palette._entries) - 1), ("home", 0)):
            await pilot.press(key)
            await until(pilot, lambda at=place: palette._marked == at, key)
            entry = palette._entries[place]
            assert entry.name in palette.query_one("#chosen", Plate).text
            assert marked().startswith(f"> {entry.name[:20]}")
        await pilot.press("pagedown")
        await until(pilot, lambda: palette._marked > 1, "a page further")
        await pilot.press(*"qqqq")
        await until(pilot, lambda: "Nothing matches" in screen_text(app), "nothing")


@pytest.mark.parametrize("keys", [[], ["f3"], ["f1"]], ids=["form", "result", "help"])
async def test_forms_results_and_help_name_the_keys_that_work_there(keys: list[str]) -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(120, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press(*"box", *keys)
        await until(pilot, lambda: not keys or app.screen is not form, "opened")
        line = app.screen.query_one("#keys", Plate).text
    assert "esc back" in line
    if not keys:
        for told in ("F1 help", "F2 run", "F3 dry run", "ctrl+p commands", "F10 quit"):
            assert told in line
        assert "q quit" not in line and "1" not in line.replace("F1", "")


async def test_the_head_says_at_once_that_the_store_is_away_and_when_it_is_back() -> None:
    world = stub.full_world()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        world.trouble = stub.database_gone()
        await pilot.press("r")
        await until(pilot, lambda: "db away" in screen_text(app), "away")
        world.block.clear()  # the next one asks, and has no answer yet
        await pilot.press("1")
        await settled(pilot, "stale")
        world.trouble = None
        world.block.set()
        await until(pilot, lambda: "db < 50 ms" in screen_text(app), "back")


async def test_the_head_keeps_the_store_on_whatever_screen_and_in_any_language(
    tmp_path: Path,
) -> None:
    (tmp_path / "state" / "ana").mkdir(parents=True)
    (tmp_path / "state" / "ana" / "console.json").write_text('{"screen": "jobs"}')
    app = stub.make_app(stub.full_world(), folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen, JobsScreen)
        await until(pilot, lambda: "db < 50 ms" in screen_text(app), "measured")
        app.go("act.language", app.screen)
        await until(pilot, lambda: "pt_BR" in screen_text(app), "another language")
        assert "50 ms" in screen_text(app)


async def test_a_dry_run_says_at_its_top_that_nothing_was_changed() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await open_form(pilot, "things.make")
        await pilot.press(*"box", "f3")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "result")
        assert app.screen.query_one("#result", Plate).text.startswith("Dry run: nothing was")


async def test_what_was_said_of_an_act_goes_with_the_next_one() -> None:
    app = stub.make_app(stub.full_world(), readonly=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "not allowed in read-only" in screen_text(app), "said")
        await pilot.press("1")
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        assert "not allowed" not in screen_text(app)


async def test_lists_have_a_first_and_a_last_row_and_a_cursor_without_colour() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        table = app.screen.query_one("#table", Rows)
        assert table.get_component_styles("rows--cursor").text_style.reverse
        await pilot.press("end")
        await until(pilot, lambda: table.cursor_row == 1, "last")
        # an ended job is not cancelled
        assert "cancel" not in app.screen.query_one("#keys", Plate).text
        await pilot.press("c")
        await until(pilot, lambda: "is succeeded" in screen_text(app), "why not")
        await pilot.press("home")
        await until(pilot, lambda: table.cursor_row == 0, "first")
        assert "cancel" in app.screen.query_one("#keys", Plate).text
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: "Nothing matches; esc clears." in screen_text(app), "said")
        assert "enter open" not in app.screen.query_one("#keys", Plate).text
        await pilot.press("enter", "escape")
        await until(pilot, lambda: table.row_count == 2, "all again")


async def test_a_form_that_starts_a_job_leads_to_its_panel() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        app.finished(form, "start: training", stub.job("ftjob-6c10aa00bb11"))
        await until(pilot, lambda: isinstance(app.screen, JobsScreen), "jobs")
        await until(pilot, lambda: app.screen.told_of == "ftjob-6c10aa00bb11", "its panel")
        assert app.screen.opened == "ftjob-6c10aa00bb11"


async def test_only_signs_become_ascii_letters_stay() -> None:
    glyphs = words.Glyphs(True)
    assert glyphs.fit("versão nº 2 … ✓", 15) == "versão nº 2 ~ +"


def test_a_terminal_without_the_letter_gets_the_nearest_one(tmp_path: Path) -> None:
    with open(tmp_path / "screen", "w", encoding="ascii") as terminal:
        spell_plainly(terminal)
        terminal.write("versão, não: ✓")
    assert (tmp_path / "screen").read_text() == "versao, nao: ?"


def test_ages_have_minutes_and_figures_their_plural() -> None:
    assert words.age(stub.NOW, stub.NOW - timedelta(minutes=7)) == "7 min ago"
    assert words.ends(stub.NOW, stub.NOW + timedelta(days=1, hours=1)) == "in 1 day"
    first_without = datetime(2027, 1, 14, tzinfo=UTC)
    for hour in (0, 9, 23):  # as the calendar counts, whatever the hour
        now = datetime(2026, 11, 26, hour, 30, tzinfo=UTC)
        assert Ending(at=first_without.date()).days_left(now) == 49
        assert words.ends(now, first_without) == "in 49 days"
    assert words.ends(first_without, first_without) == "ended"
    assert words.money(1.5) == "1.50" and words.money(0.0012) == "0.00120"


async def test_an_operation_without_input_shows_its_result_at_once() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("colon", *"things count", "enter")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "result")
        assert "three" in screen_text(app)


async def test_help_lists_keys_and_permitted_operations() -> None:
    app = stub.make_app(stub.World(), role=Role.VIEWER)
    async with app.run_test(size=(80, 60)) as pilot:
        await settled(pilot)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "help")
        assert "sophia overview show" in screen_text(app)
        assert "sophia jobs list" not in screen_text(app)  # all there is comes behind a key
        await pilot.press("o")
        text = screen_text(app)
        assert "sophia jobs list" in text and "sophia things make" not in text


async def test_q_asks_while_a_form_is_unfinished_and_starts_on_cancel() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press(*"box")
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "question")
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is form and app.is_running


async def test_a_draft_is_kept_as_typed_without_secrets(tmp_path: Path) -> None:
    app = stub.make_app(stub.World(), folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press(*"box")
        form.query_one("#field-token", Input).value = "geheim"
        draft = tmp_path / "state" / "ana" / "draft-things.make.json"
        await until(pilot, lambda: draft.exists() and "box" in draft.read_text(), "draft")
        place = draft.with_name("console.json")
        await until(pilot, lambda: place.exists() and "things.make" in place.read_text(), "kept")
    assert "geheim" not in draft.read_text()
    again = stub.make_app(stub.World(), folder=tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(again.screen, FormScreen), "open as before")
        form = again.screen
        assert form.query_one("#field-name", Input).value == "box"
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(again.screen, ResultScreen), "result")
    assert not draft.exists()


async def test_a_draft_is_of_one_target_and_never_sets_a_safeguard_aside(tmp_path: Path) -> None:
    app = stub.make_app(stub.World(), folder=tmp_path, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "promote.run", {"model": "sophia-v2"})
        form.query_one("#field-override", Input).value = "the town wants it now"
        form.query_one("#field-probe", Choice).value = "False"
        form.query_one("#field-bounds", Input).value = "median=2"
        await pilot.pause()
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not form, "left")
        other = await open_form(pilot, "promote.run", {"model": "sophia-v3"})
        assert other.typed["override"] == other.typed["bounds"] == ""
        assert other.typed["probe"] is True and not other.from_draft
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not other, "left")
        again = await open_form(pilot, "promote.run", {"model": "sophia-v2"})
        assert again.typed["bounds"] == "median=2"
        assert again.typed["override"] == "" and again.typed["probe"] is True
        assert "F8 clear the draft" in again.query_one("#keys", Plate).text
        again.query_one("#field-bounds").focus()
        await pilot.pause()
        await pilot.press("x")
        assert again.typed["bounds"] == "x"  # in place of the draft, not behind it
        await pilot.press("f8")
        await pilot.pause()
        assert again.typed["bounds"] == "" and again.typed["model"] == "sophia-v2"
        assert not again.from_draft
        assert not app.state.draft("promote.run", "sophia-v2")


async def test_left_and_right_choose_and_space_leaves_what_they_chose() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        form.query_one("#field-shape").focus()
        await pilot.press("right", "space")
        assert form.typed["shape"] == "round"
        form.query_one("#field-loud").focus()
        await pilot.press("space")
        assert form.typed["loud"] is True


async def test_reopening_returns_to_the_screen_and_the_watched_job(tmp_path: Path) -> None:
    app = stub.make_app(stub.full_world(), folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.screen.opened == "ftjob-6c10aa00bb11", "opened")
    again = stub.make_app(stub.full_world(), folder=tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(again.screen, JobsScreen)
        assert "ftjob-6c10aa00bb11" in screen_text(again)
        assert again.screen.has_class("-detail")


async def test_loading_error_stale_and_recovery() -> None:
    world = stub.full_world()
    world.block.clear()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.1)
        assert app.screen.state == "loading" and "Loading" in screen_text(app)
        world.trouble = stub.database_gone()
        world.block.set()
        await settled(pilot, "error")
        text = screen_text(app)
        assert "SOPHIA-S001" in text and "Start it again." in text
        world.trouble = None
        await pilot.press("r")
        await settled(pilot)
        world.trouble = stub.database_gone()
        await pilot.press("r")
        await settled(pilot, "stale")
        assert "stale, " in screen_text(app) and "8,112 rows" in screen_text(app)
        app.open("things.make", {"name": "box"})
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        await pilot.press("f2")
        await until(
            pilot, lambda: "R503" in app.screen.query_one("#outcome", Plate).text, "writes wait"
        )
        assert world.got is None
        world.trouble = None
        await pilot.press("f2")  # the form asks by itself whether the store is back
        await until(pilot, lambda: world.got is not None, "made")


async def test_empty_jobs_name_what_fills_them() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot, "empty")
        assert "Nothing here yet." in screen_text(app)


async def test_a_hidden_screen_asks_nothing() -> None:
    world = stub.full_world()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.screen.interval = 0.02
        await pilot.press("4")
        await settled(pilot)
        await pilot.pause(0.1)
        before = world.calls.count("overview.show")
        await pilot.pause(0.2)
        assert world.calls.count("overview.show") == before


async def test_too_small_a_window_asks_for_a_larger_one() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(50, 12)) as pilot:
        await settled(pilot)
        assert "60x15" in screen_text(app)
        assert "Collect" not in screen_text(app)


async def test_ascii_only_draws_ascii_only() -> None:
    app = stub.make_app(stub.full_world(), ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        text = screen_text(app)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "metric" in screen_text(app), "events")
        await pilot.press("escape")
        await pilot.pause()
        text += screen_text(app)
        app.open("things.drop", {"name": "box"})
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        text += screen_text(app)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        await pilot.pause()
        text += screen_text(app)
    assert text.isascii()


@pytest.mark.parametrize("size", each_size())
async def test_every_word_of_overview_follows_the_language(size, monkeypatch) -> None:
    words = {"Collect": "Coleta", "Open jobs": "Tarefas abertas", "Next": "Próximo", "quit": "sair"}

    class Tiny:
        def gettext(self, message: str) -> str:
            return words.get(message, message)

        def ngettext(self, one: str, many: str, count: int) -> str:
            return one if count == 1 else many

    monkeypatch.setattr(i18n, "_catalogue", lambda language: Tiny())
    app = stub.make_app(stub.full_world(), language="pt_BR")
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        text = screen_text(app)
        assert "pt_BR" in text
        for english, portuguese in words.items():
            assert portuguese in text and f" {english} " not in text


async def test_the_palette_switches_the_language(monkeypatch) -> None:
    class Tiny:
        def gettext(self, message: str) -> str:
            return "Tarefas abertas" if message == "Open jobs" else message

        def ngettext(self, one: str, many: str, count: int) -> str:
            return one if count == 1 else many

    monkeypatch.setattr(i18n, "_catalogue", lambda language: Tiny())
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Open jobs" in screen_text(app)
        await pilot.press("colon", *"switch language", "enter")
        await until(pilot, lambda: "Tarefas abertas" in screen_text(app), "Portuguese")
        await pilot.press("4")
        await settled(pilot)


async def test_a_defect_is_shown_without_local_variables() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        secret = "-".join(("hunter", "2"))
        try:
            raise ZeroDivisionError(len(secret))
        except ZeroDivisionError:
            app._fatal_error()
        shown = "".join(segment.text for each in app._exit_renderables for segment in each.segments)
        app._exit_renderables.clear()
    assert "ZeroDivisionError" in shown and secret not in shown


async def test_keys_can_be_remapped() -> None:
    app = stub.make_app(stub.full_world(), key_changes="screen.jobs=0")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)
        await pilot.press("0")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen), "jobs")


async def test_copy_sends_the_selected_id_to_the_terminal(monkeypatch) -> None:
    app = stub.make_app(stub.full_world())
    sent: list[str] = []
    monkeypatch.setattr(type(app), "copy_to_clipboard", lambda self, text: sent.append(text))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("y")
        await until(pilot, lambda: "Sent to the terminal" in screen_text(app), "said")
    assert sent == ["ftjob-7f2a9c0d1e2f"]


async def test_of_a_text_of_the_same_shape_only_the_lines_that_differ_are_sent() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        plate = app.screen.query_one("#board", Plate)
        before, after = Content("one\ntwo\nthree"), Content("one\ntvo\nthree")
        assert [each.y for each in plate._changed(before, after)] == [1]
        long = Content("x" * 200 + "\none")
        assert plate._changed(long, Content("x" * 200 + "\ntwo")) == []  # rows are not lines
        plate.draw(before)
        await pilot.pause()
        plate.draw(after)
        await pilot.pause()
        assert "tvo" in screen_text(app) and "three" in screen_text(app)


async def test_what_a_screen_forgot_to_make_harmless_is_made_so_when_drawn() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.screen.query_one("#board", Plate).draw(stub.HOSTILE)
        await pilot.pause()
        assert "␛" in screen_text(app) and "\x1b" not in screen_text(app)


async def test_one_slow_answer_of_the_store_is_no_news_and_two_are() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for milliseconds, shown in ((300.0, "db < 50 ms"), (3.0, "db < 50 ms")):
            app.measured(milliseconds)
            await pilot.pause()
            assert shown in screen_text(app)
        for _look in range(2):
            app.measured(300.0)
        await pilot.pause()
        assert "db > 200 ms" in screen_text(app)


async def test_an_old_error_goes_as_soon_as_a_field_changes() -> None:
    world = stub.World()
    world.trouble = stub.SophiaError("D301", "There is no such folder.")
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        form = await open_form(pilot, "things.make")
        await pilot.press("a", "f2")
        await until(pilot, lambda: "There is no such folder." in screen_text(app), "the error")
        await pilot.press("b")
        await until(pilot, lambda: "There is no such folder." not in screen_text(app), "gone")
        assert form.query_one("#message", Plate).text == ""


async def test_a_mark_below_the_fold_is_scrolled_to() -> None:
    app = stub.make_app(stub.World())
    async with app.run_test(size=(80, 15)) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "things.make")
        await pilot.press("a", "tab", "tab", "tab")
        await pilot.press("x")
        mark = form.query_one("#wrong-since", Plate)
        await until(pilot, lambda: mark.has_class("-shown"), "the mark")
        area = form.query_one("#form").content_region
        await until(pilot, lambda: area.contains_region(mark.region), "the mark in sight")
