"""Lists: filter, order and pages are asked of the service; marks stay; what is done goes to all."""

from typing import Any

import pytest
from textual.widgets import Input

from sophia_tui.domain.context import Role
from sophia_tui.i18n import set_language
from sophia_tui.services.version_views import DeletedDataset
from sophia_tui.tui.screens.bulk import BulkScreen
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.tui.widgets.rows import Row, Rows
from sophia_tui.tui.with_keys import with_keys
from sophia_tui.tui.words import Glyphs
from tests.tui import stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import digit, whole_world

NAMES = ("ftjob-aaa", "ftjob-bbb", "ftjob-ccc")


def three_jobs() -> stub.World:
    world = stub.full_world()
    states = ("running", "queued", "failed")
    losses = (1.5, None, 0.5)
    world.jobs = [
        stub.job(name, state, loss=loss)
        for name, state, loss in zip(NAMES, states, losses, strict=True)
    ]
    return world


async def at_jobs(pilot: Any) -> JobsScreen:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await pilot.press(digit("jobs"))
    await until(pilot, lambda: isinstance(pilot.app.screen, JobsScreen), "jobs")
    await until(pilot, lambda: pilot.app.screen.state == "full", "rows")
    return pilot.app.screen


def shown(screen: Any) -> list[str]:
    return list(screen.rows)


def found(screen: Any) -> str:
    return str(screen.query_one("#found", Plate).text)


async def test_a_column_is_chosen_by_its_sign_and_turned_round_by_the_same() -> None:
    app = stub.make_app(three_jobs())
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("equals_sign")
        await until(pilot, lambda: "Sort by" in screen_text(app), "the columns")
        await pilot.press("6")  # no screen is opened by it now
        await until(pilot, lambda: shown(screen)[0] == "ftjob-ccc", "by loss")
        assert shown(screen) == ["ftjob-ccc", "ftjob-aaa", "ftjob-bbb"]
        assert "loss↑" in screen_text(app)
        assert "Sort by" not in screen_text(app)
        await pilot.press("equals_sign", "6")
        await until(pilot, lambda: shown(screen)[0] == "ftjob-aaa", "the other way")
        assert shown(screen)[-1] == "ftjob-bbb"  # what has no loss stays last
        assert "by loss ↓" in found(screen)
        await pilot.press("equals_sign", "escape")
        assert app.screen is screen
        await pilot.press("equals_sign", "0")
        await until(pilot, lambda: shown(screen) == list(NAMES), "its own order")
        assert found(screen) == ""


async def test_ascii_alone_has_signs_for_order_and_marks() -> None:
    app = stub.make_app(three_jobs(), ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_jobs(pilot)
        await pilot.press("equals_sign", "2", "space")
        await until(pilot, lambda: "Job^" in screen_text(app), "the order")
        await until(pilot, lambda: "*ftjob-aaa" in screen_text(app), "the mark")


async def test_what_is_typed_is_asked_of_the_service_and_counted() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        before = world.calls.count("jobs.list")
        await pilot.press("slash", *"ANA")  # by whom they were made stands in no column here
        await until(pilot, lambda: found(screen) == "3 of 3 match", "counted")
        assert world.calls.count("jobs.list") == before + 1  # not once for each letter
        await pilot.press(*"x")
        await until(pilot, lambda: not screen.rows, "nothing")
        assert "Nothing matches; esc clears." in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.rows) == 3, "all again")


async def test_marks_are_seen_counted_and_stay_with_their_rows() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("space", "down", "down", "space")
        await until(pilot, lambda: screen_text(app).count("●ftjob") == 2, "signs")
        assert found(screen) == "2 marked"
        world.jobs = [stub.job("ftjob-new"), *world.jobs]
        await pilot.press("r")
        await until(pilot, lambda: "ftjob-new" in shown(screen), "a new one")
        assert screen.table.key == "ftjob-ccc"  # the cursor went with its row
        await pilot.press("equals_sign", "2")
        await until(pilot, lambda: shown(screen)[0] == "ftjob-aaa", "sorted")
        await pilot.press("slash", *"bbb")
        await until(pilot, lambda: shown(screen) == ["ftjob-bbb"], "filtered")
        assert screen.marked == ["ftjob-aaa", "ftjob-ccc"]
        await pilot.press("escape")
        await until(pilot, lambda: screen_text(app).count("●ftjob") == 2, "still there")
        await pilot.press("asterisk")
        await until(pilot, lambda: len(screen.marked) == 4, "all")
        await pilot.press("asterisk")
        await until(pilot, lambda: screen.marked == [], "none")


async def test_every_row_of_a_long_list_is_reached() -> None:
    world = stub.full_world()
    world.jobs = [stub.job(f"ftjob-{n:04}") for n in range(1200)]
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        assert found(screen) == "1-500 of 1,200"
        await pilot.press("end", "greater_than_sign")
        await until(pilot, lambda: found(screen) == "501-1,000 of 1,200", "the next ones")
        assert (screen.table.key, screen.table.cursor_row) == ("ftjob-0500", 0)
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: found(screen) == "1,001-1,200 of 1,200", "the last ones")
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: "no more rows" in screen_text(app), "said")
        await pilot.press("less_than_sign", "less_than_sign")
        await until(pilot, lambda: found(screen) == "1-500 of 1,200", "the first ones")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_row_further_down_is_opened_too(size: tuple[int, int]) -> None:
    world = stub.full_world()
    world.jobs = [stub.job(f"ftjob-{n:04}") for n in range(300)]
    app = stub.make_app(world)
    async with app.run_test(size=size) as pilot:
        screen = await at_jobs(pilot)
        assert len(screen.rows) == 100  # the others come as the cursor nears them
        screen.follow("ftjob-0250")
        await until(pilot, lambda: screen.told_of == "ftjob-0250", "opened")
        assert screen.table.key == "ftjob-0250"
        await pilot.press("escape", "home")
        screen.sort_by("created_at")
        await until(pilot, lambda: len(screen.rows) == 100, "anew")
        await pilot.press("asterisk")
        await until(pilot, lambda: len(screen.marked) == 300, "all of the page")
        screen.sort_by("created_at")
        await until(pilot, lambda: len(screen.rows) == 100, "anew")
        await pilot.press("end")
        await until(pilot, lambda: screen.table.cursor_row == 299, "the last one")


async def test_an_act_goes_to_all_marked_rows_and_says_what_became_of_each() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("asterisk", "c")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        told = screen_text(app)
        assert "3 marked: ftjob-aaa, ftjob-bbb, ftjob-ccc" in told
        assert "sophia jobs cancel --yes ftjob-bbb" in told
        assert not app.screen.query("#field-job")
        del world.jobs[1]  # it will be refused
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "one question")
        assert all(name in screen_text(app) for name in NAMES)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the result")
        result = app.screen.result
        assert [(each.target, each.outcome) for each in result.items] == [
            ("ftjob-aaa", "done"),
            ("ftjob-bbb", "refused"),
            ("ftjob-ccc", "done"),
        ]
        assert result.done == 2
        assert (result.items[1].code, result.items[1].why) == (
            "SOPHIA-J404",
            "There is no such job.",
        )
        assert screen.marked == ["ftjob-bbb"]
        targets = [each.target for each in world.entries if each.operation == "jobs.cancel"]
        assert targets == list(NAMES)  # each is in the audit for itself


async def test_back_in_the_question_does_nothing() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("asterisk", "c")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: "Nothing was done." in screen_text(app), "said")
        assert world.got is None
        assert len(screen.marked) == 3


async def test_esc_stops_after_the_one_that_runs() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_jobs(pilot)
        await pilot.press("asterisk", "c")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        await pilot.press("right")
        world.block.clear()
        await pilot.press("enter")
        await until(pilot, lambda: "1/3  ftjob-aaa" in screen_text(app), "the first one")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.running.requested, "asked to stop")
        world.block.set()
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the result")
        assert [each.outcome for each in app.screen.result.items] == ["done", "skipped", "skipped"]


async def test_what_can_not_be_undone_asks_for_how_many_and_what() -> None:
    world = whole_world()
    deleted: list[str] = []

    def delete(request: Any) -> DeletedDataset:
        if not world.contexts["datasets.delete"].dry_run:
            deleted.append(request.dataset)
        folder = f"/data/{request.dataset}"
        return DeletedDataset(
            dataset=request.dataset, deleted=True, folder=folder, size="2 MB", jobs=[], models=[],
            tags=[],
        )  # fmt: skip

    world.answers["datasets.delete"] = delete
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("datasets"))
        await settled(pilot)
        screen = app.screen
        await pilot.press("asterisk", "x")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        marked = screen.marked
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        await until(pilot, lambda: f"in /data/{marked[0]}" in screen_text(app), "its effect")
        typed = app.screen.query_one("#name", Input)
        typed.value = str(len(marked))
        await pilot.press("enter")
        await until(pilot, lambda: "That is not the name" in screen_text(app), "not enough")
        assert deleted == []
        typed.value = f"{len(marked)} delete"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "done")
        assert deleted == marked
        assert screen.marked == []


async def test_rows_keep_what_is_theirs_and_share_what_is_typed() -> None:
    """A model's state is decided on with the version that the person saw of each."""
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("models"))
        await settled(pilot)
        screen = app.screen
        await pilot.press("space", "down", "space", "j")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        form = app.screen
        form.query_one("#field-reason", Input).value = "measured"
        await until(pilot, lambda: form.typed["reason"] == "measured", "typed")
        common, _wrong = form.request()
        asked = [form._request_of(each, common) for each in form.targets]
        assert [each["model"] for each in asked] == screen.marked
        assert all(each["reason"] == "measured" and "seen_version" in each for each in asked)


async def test_what_is_done_on_one_at_a_time_goes_to_the_row_under_the_cursor() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("models"))
        await settled(pilot)
        assert app.screen.bulk("promote.run") is None
        await pilot.press("space", "down", "space")
        assert len(app.screen.marked) == 2
        assert app.screen.bulk("promote.run") is None
        assert app.screen.bulk("models.note") is not None
        assert app.screen.bulk("models.list") is None


async def test_who_may_not_do_it_alone_may_not_do_it_on_many() -> None:
    app = stub.make_app(three_jobs(), role=Role.VIEWER)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("asterisk", "c")
        await until(pilot, lambda: "not allowed for you" in screen_text(app), "said")
        assert app.screen is screen


async def test_a_list_is_brought_back_as_it_was_left() -> None:
    world = three_jobs()
    app = stub.make_app(world)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("space", "equals_sign", "2", "slash", *"ftjob", "enter")
        await until(pilot, lambda: found(screen).startswith("3 of 3"), "answered")
        await pilot.press("down", "down")
        await until(pilot, lambda: screen.table.key == "ftjob-ccc", "the last one")
        kept = screen.memory()
    of_list = {"filter": "ftjob", "sort": "id", "row": "ftjob-ccc", "marked": ["ftjob-aaa"]}
    assert {name: kept[name] for name in of_list} == of_list
    again = stub.make_app(world)
    async with again.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        screen.recall({**kept, "sort": "id", "offset": "x", "unknown": 1})
        await until(pilot, lambda: screen.table.key == "ftjob-ccc", "its row")
        assert screen.query_one("#filter", Input).value == "ftjob"
        assert screen.memory() == kept
        screen.recall({"sort": "colour", "marked": "x", "filter": 7, "offset": "y"})
        assert screen.memory() == kept  # what does not fit is passed over


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize("name", ["jobs", "datasets", "models", "settings", "audit"])
async def test_the_choice_of_columns_is_read_in_full_at_80_columns(
    name: str, language: str
) -> None:
    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit(name))
        await settled(pilot)
        screen = app.screen
        await pilot.press("equals_sign")
        await until(pilot, lambda: screen.query_one("#sorts").has_class("-shown"), "shown")
        told = " ".join(screen_text(app).replace("\u00a0", " ").split())
        for sign, (_column, title) in zip("123456789abcdef", screen.sorts(), strict=False):
            assert f"{sign} {title}" in told
    set_language("en")


def test_only_rows_in_sight_are_made() -> None:
    made: list[str] = []

    class Counting(Glyphs):
        def fit(self, text: str, width: int) -> str:
            made.append(text)
            return super().fit(text, width)

    async def filled(size: int) -> int:
        from textual.app import App

        class Bare(App[None]):
            def compose(self) -> Any:
                yield Rows(Counting(False), id="table")

        app = Bare()
        async with app.run_test(size=(80, 24)) as pilot:
            table = app.query_one(Rows)
            rows = [Row(str(n), (f"job {n}", "running"), None) for n in range(size)]
            table.show([("Job", 18), ("State", 12)], rows)
            await pilot.pause()
            made.clear()
            table.show([("Job", 18), ("State", 12)], [Row("new", ("new", ""), None), *rows])
            await pilot.pause()
            return len(made)

    import asyncio

    assert asyncio.run(filled(10_000)) == asyncio.run(filled(100))


async def test_a_step_of_the_cursor_seeks_no_widget_in_the_whole_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = stub.make_app(three_jobs())
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await at_jobs(pilot)
        sought: list[Any] = []
        query = JobsScreen.query

        def counting(self: JobsScreen, *given: Any) -> Any:
            sought.append(given)
            return query(self, *given)

        monkeypatch.setattr(JobsScreen, "query", counting)
        await pilot.press("down", "down")
        await until(pilot, lambda: screen.selected_key == "ftjob-ccc", "the last row")
        assert screen.not_now("jobs.cancel") and not screen.not_now("jobs.resume")
        assert sought == []


async def test_marks_and_what_goes_to_one_alone_and_jobs_that_only_begin() -> None:
    world = whole_world()
    world.answers["evaluate.run"] = lambda request: stub.job(f"ftjob-of-{request.model}", "queued")
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("models"))
        await settled(pilot)
        screen = app.screen
        await pilot.press("space", "down", "m")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        first = screen.marked[0]
        assert app.screen.typed["model"] == first != screen.selected_key
        await until(pilot, lambda: f"For one alone: {first}" in screen_text(app), "said")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen, "back")
        await pilot.press("escape")
        await until(pilot, lambda: "Marks cleared." in screen_text(app), "cleared")
        assert screen.marked == []
        await pilot.press("up", "space", "down", "space")
        both = screen.marked
        app.go("evaluate.run", screen)
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "for both")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the result")
        result = app.screen.result
        assert (result.done, result.queued) == (None, 2)
        assert [each.outcome for each in result.items] == ["queued", "queued"]
        assert result.items[0].why == f"job ftjob-of-{both[0]} (4 shows it)"


async def test_lists_have_more_room_and_telling_columns_in_wide_windows() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        wanted = {"jobs": ("Kind", "State", "left"), "audit": ("Outcome", "Who"),
                  "models": ("State", "in use")}  # fmt: skip
        for name, titles in wanted.items():
            await pilot.press(digit(name))
            await settled(pilot)
            assert app.screen.query_one("#list").size.width == 60
            assert set(titles) <= {title for title, _width in app.screen.columns()}


async def test_remedies_name_the_key_beside_the_command() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        keyed = with_keys(app)
        assert keyed("`sophia models merge v1`!") == "`sophia models merge v1` (5 g)!"
        assert keyed("`sophia serve model v1`.") == "`sophia serve model v1` (5 s)."
        assert keyed("`sophia env show`.") == "`sophia env show`."
