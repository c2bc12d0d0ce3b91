"""The record browser, the editor, the report of an inspection, and versions compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from sophia_tui.datasets.sources import Passed
from sophia_tui.domain.context import Progress
from sophia_tui.errors import ConflictError, DataError
from sophia_tui.services.browse_views import (
    EditOutput,
    EditsView,
    SearchHit,
    SearchOutput,
    UndoOutput,
)
from sophia_tui.services.datasets import KeptList, KeptRecord
from sophia_tui.services.passed_over import passed_files
from sophia_tui.services.quality_gate import GateCheck, GateReport
from sophia_tui.tui import keys
from sophia_tui.tui.diff_text import compared, difference, preview_text, sides, versions_text
from sophia_tui.tui.editing import editable, mistake, what_differs
from sophia_tui.tui.screens.browser import BrowserScreen
from sophia_tui.tui.screens.browser_edits import _first_words
from sophia_tui.tui.screens.changes import ChangesScreen
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.editor import EditorScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.help import HelpScreen
from sophia_tui.tui.screens.inspection import InspectionScreen
from sophia_tui.tui.screens.result import ResultScreen, result_text
from sophia_tui.tui.widgets.plate import Plate
from tests.representatives import each_size
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import told_text, whole_world

FILE = {"file": "/data/pairs.jsonl"}


async def browser(pilot, request: dict[str, Any] | None = None, state: str = "full"):
    app = pilot.app
    await until(pilot, lambda: app.painted.is_set(), "painted")
    app.show(BrowserScreen(app, request or FILE))
    await settled(pilot, state)
    return app.screen


async def inspection(pilot, state: str = "full"):
    app = pilot.app
    await until(pilot, lambda: app.painted.is_set(), "painted")
    await pilot.press("3")
    await settled(pilot, "error" if state == "error" else "full")
    await pilot.press("i")
    await until(pilot, lambda: isinstance(app.screen, InspectionScreen), "the inspection")
    await settled(pilot, state)
    return app.screen


def message(screen) -> str:
    return screen.query_one("#message", Plate).text


def asked(world: stub.World) -> dict[str, Any]:
    return world.got.model_dump(exclude_defaults=True)


# -- the browser


@pytest.mark.parametrize("size", each_size())
async def test_a_page_says_where_it_is_and_what_is_wrong(size: tuple[int, int]) -> None:
    app = stub.make_app(whole_world(), whole=True, ascii_only=True)
    async with app.run_test(size=size) as pilot:
        screen = await browser(pilot)
        text = screen_text(app)
        for word in ("lines 1 to 4 of 8,214,003", "1 record edited", "no_answer", "*"):
            assert word in text
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "No answer." in told_text(screen), "the reason")
        assert screen_text(app).isascii()


async def test_a_record_in_full_says_who_edited_it() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "edited by rui, 12 min ago" in told_text(screen), "who")
        assert "Second floor." in told_text(screen)
        await pilot.press("escape")
        assert screen.opened is None
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, BrowserScreen), "back")


async def test_a_jump_asks_for_the_line_and_says_that_it_is_estimated() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("g", *"5,000,000", "enter")
        await until(pilot, lambda: "~5000000" in screen_text(app), "the place")
        assert "estimated: x makes it exact" in screen_text(app)
        await pilot.press("e")
        await until(pilot, lambda: "x makes it exact, then edit" in message(screen), "why")
        world.answers["prepare.browse"] = lambda request: answers.page(
            request.model_copy(update={"exact": True})  # the index stands from now on
        )
        await pilot.press("x")
        await until(pilot, lambda: "~" not in screen.query_one("#where", Plate).text, "exact")
        await until(pilot, lambda: " 5000000" in screen_text(app), "the line")
        await pilot.press("g", *"nowhere", "enter")
        await until(pilot, lambda: "whole number" in message(screen), "what a line is")


async def test_what_is_typed_faster_than_the_line_opens_is_not_lost() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        for key in "g78":
            app.post_message(events.Key(key, key))
        await until(pilot, lambda: screen.query_one("#filter", Input).value == "78", "all of it")
        await pilot.press("enter")
        await until(pilot, lambda: screen.line == 78, "the line")


async def test_pages_follow_by_the_byte_and_lead_back() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("n")
        await until(pilot, lambda: screen.line == 5, "the next page")
        assert asked(world)["at"] == 500
        await pilot.press("n")
        await until(pilot, lambda: screen.line == 9, "the third page")
        await pilot.press("p")
        await until(pilot, lambda: screen.line == 5, "the page before")
        await pilot.press("p")
        await until(pilot, lambda: screen.line == 1, "the first page")
        await pilot.press("p")
        await until(pilot, lambda: "no other page" in message(screen), "none before")


async def test_issues_are_stepped_through_by_code() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("i")
        await until(pilot, lambda: screen.line == 4, "the issue")  # the third from line 2 on
        requests: list[dict[str, Any]] = []

        def none_left(request: Any) -> Any:
            requests.append(request.model_dump(exclude_defaults=True))
            found = answers.page(request)
            return (
                found.model_copy(update={"found": False, "items": []}) if request.issue else found
            )

        world.answers["prepare.browse"] = none_left
        await pilot.press("c", *"json", "enter")
        await until(pilot, lambda: "no such issue" in message(screen), "none")
        assert [each for each in requests if "issue" in each][-1]["code"] == "json"
        assert "only json" in screen_text(app)


async def test_search_goes_to_the_next_record_that_has_the_text() -> None:
    world = whole_world()
    hit = SearchHit(line=700, before="…", found="office", after=" hours")
    world.answers["prepare.search"] = SearchOutput(file="f", more=True, next_line=701, items=[hit])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("slash", *"re:off.ce", "enter")
        await until(pilot, lambda: screen.line == 700, "the hit")
        assert "office hours" in message(screen)
        requests: list[dict[str, Any]] = []
        nothing = SearchOutput(file="f", more=False, items=[])
        world.answers["prepare.search"] = lambda request: requests.append(asked(world)) or nothing
        await pilot.press("f")
        await until(pilot, lambda: "No record has it." in message(screen), "nothing more")
        assert requests[0] | {"line": 701, "regex": True, "text": "off.ce"} == requests[0]


@pytest.mark.parametrize("slowly", [False, True])
async def test_another_search_takes_the_place_of_the_last_one(slowly: bool) -> None:
    world = whole_world()
    requests: list[Any] = []
    nothing = SearchOutput(file="f", more=False, items=[])
    world.answers["prepare.search"] = lambda request: requests.append(request) or nothing
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        shown = screen.table.row_count
        for count, text in enumerate(("first", "other"), start=1):
            await pilot.press("slash")
            if slowly:
                await until(pilot, lambda: screen.query_one("#filter").has_focus, "the line")
            await pilot.press(*text)
            await pilot.pause()
            assert screen.table.row_count == shown  # what is typed filters nothing
            await pilot.press("enter")
            await until(pilot, lambda count=count: len(requests) == count, "asked")
            await until(pilot, lambda: screen.running is None, "over")
    assert [each.text for each in requests] == ["first", "other"]


async def test_long_work_is_stopped_by_esc_and_the_page_stays() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        world.block.clear()
        await pilot.press("i")
        await until(pilot, lambda: screen.running is not None, "work")
        await pilot.press("n")
        await until(pilot, lambda: "esc stops it" in message(screen), "busy")
        await pilot.press("escape")
        await until(pilot, lambda: screen.running is None or screen.running.requested, "stopped")
        world.block.set()
        await until(pilot, lambda: screen.running is None, "over")
        assert app.screen is screen


async def test_undo_says_which_line_and_sends_the_version_that_was_seen() -> None:
    world = whole_world()
    edits = EditsView(version=4, records=0, can_undo=0, can_redo=1, stale=False)
    requests: list[Any] = []

    def undone(request: Any) -> Any:
        requests.append(request)
        return UndoOutput(
            file="f",
            what="undone",
            line=2,
            edited_by="rui",
            edited_at=answers.NOW,
            before='{"answer": "At ten."}',
            after='{"answer": "At nine."}',
            edits=edits,
        )

    world.answers["prepare.undo"] = undone
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("u")
        await until(pilot, lambda: "The edit of line 2 is undone." in message(screen), "undone")
        assert "undone. It was made by rui" in message(screen) and "[-ten-] {+nine+}" in message(
            screen
        )
    assert requests[0].seen_version == 3 and not requests[0].redo


async def test_save_opens_its_form_with_the_file() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await browser(pilot)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        assert app.screen.typed["file"] == FILE["file"]


async def test_a_version_is_looked_into_and_never_edited() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "the browser")
        await settled(pilot)
        assert app.screen.of == {"file": answers.DATASET, "part": "train"}
        await pilot.press("e")
        await until(pilot, lambda: "A version never changes" in message(app.screen), "why")


@pytest.mark.parametrize("state", ["empty", "error", "loading"])
async def test_the_browser_has_its_states(state: str) -> None:
    world = whole_world()
    nothing = answers.page().model_copy(update={"items": []})
    if state == "empty":
        world.answers["prepare.browse"] = nothing
    world.trouble = stub.database_gone() if state == "error" else None
    if state == "loading":
        world.block.clear()
    shown = {"empty": "no lines", "error": "SOPHIA-S001", "loading": "Loading"}
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await browser(pilot, state=state)
        assert shown[state] in screen_text(app)


async def test_hostile_text_of_records_stays_text() -> None:
    world = whole_world()
    world.answers["prepare.browse"] = answers.hostile(answers.page())
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("enter")
        await pilot.pause()
        seen = screen_text(app) + told_text(screen)
    assert "[red]x" in seen and "␛" in seen
    assert not {"\x1b", "\x07", "\u202e"} & set(seen)


async def test_a_search_goes_both_ways_round_the_end_and_says_which_of_how_many() -> None:
    world = whole_world()
    lines = (3, 40, 500)

    def found(request: Any) -> SearchOutput:
        requests.append(request.model_dump(exclude_defaults=True))
        passed = [each for each in lines if each < request.line]
        rest = passed[::-1] if request.backwards else [each for each in lines if each not in passed]
        hits = [SearchHit(line=each, before="", found="office", after="") for each in rest[:1]]
        return SearchOutput(file="f", more=len(rest) > 1, total=3, passed=len(passed), items=hits)

    requests: list[dict[str, Any]] = []
    world.answers["prepare.search"] = found
    world.answers["prepare.browse"] = lambda request: answers.page(
        request.model_copy(update={"exact": True})
    ).model_copy(update={"bytes": 4_000})
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await browser(pilot)
        where = screen.query_one("#where", Plate)

        async def step(key: str, line: int, told: str, said: str = "office") -> None:
            await pilot.press(key)
            await until(pilot, lambda: screen.line == line and told in where.text, told)
            await until(pilot, lambda: said in message(screen), said)
            await until(pilot, lambda: screen.running is None, "over")

        await pilot.press("slash", *"office")
        await step("enter", 3, "/office/ text, any case  1 of 3")
        assert "»3" in screen_text(app)
        await step("f", 40, "2 of 3")
        await step("h", 3, "1 of 3")
        await step("h", 500, "3 of 3", "from the end again")
        await step("f", 3, "1 of 3", "from the beginning again")
        assert all(each["count"] for each in requests)
        await pilot.press("f7", "slash", "enter")
        await until(pilot, lambda: requests[-1].get("match_case") is True, "capitals count")


async def test_what_is_wrong_with_a_pattern_is_said_as_it_is_typed() -> None:
    world = whole_world()
    requests: list[Any] = []
    nothing = SearchOutput(file="f", more=False, items=[])
    world.answers["prepare.search"] = lambda request: requests.append(request) or nothing
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("slash", *"of(f")
        assert "text, any case   F6 text or pattern" in message(screen)
        await pilot.press("f6")
        await until(pilot, lambda: "at character 3" in message(screen), "what and where")
        assert "regular expression" in message(screen)
        await pilot.press("enter")
        await pilot.pause()
        assert screen.query_one("#filter", Input).value == "of(f" and not requests
        await pilot.press(")", "enter")
        await until(pilot, lambda: len(requests) == 1, "asked")
        assert requests[0].regex and requests[0].text == "of(f)"


async def test_a_record_is_turned_from_laid_out_to_raw_and_read_page_by_page() -> None:
    world = whole_world()
    text = '{"answer": "' + "word " * 12_000 + 'end"}'

    def page(request: Any) -> Any:
        found = answers.page(request)
        first = found.items[0].model_copy(update={"text": text, "chars": len(text)})
        return found.model_copy(update={"items": [first, *found.items[1:]]})

    world.answers["prepare.browse"] = page
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "60,017 characters, laid out" in told_text(screen), "laid out")
        assert "page 1 of 4" in told_text(screen)
        await pilot.press("m", "m", "m")
        await until(pilot, lambda: "page 4 of 4" in told_text(screen), "the last page")
        assert "word end\n" in told_text(screen)
        await pilot.press("v", "k")
        await until(pilot, lambda: "raw, on several lines" in told_text(screen), "pretty")
        await until(pilot, lambda: 'word end"' in told_text(screen), "its last page")
        await pilot.press("v")
        await until(pilot, lambda: "raw, as it stands" in told_text(screen), "exact")
        assert '{"answer": "word' in told_text(screen)
        hit = SearchHit(line=1, before="", found="end", after="")
        world.answers["prepare.search"] = SearchOutput(file="f", more=False, items=[hit])
        await pilot.press("slash", *"end", "enter")
        await until(pilot, lambda: "page 4 of 4" in told_text(screen), "where it was found")
        assert "» Line 1" in told_text(screen) and "word end" in told_text(screen)
        assert "»end" not in told_text(screen)  # as it stands the text has no signs of ours


async def test_the_browser_comes_back_as_it_was_left() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("g", *"40", "enter")
        await until(pilot, lambda: screen.line == 40, "the line")
        await pilot.press("down", "enter", "v")
        await until(pilot, lambda: "raw" in told_text(screen), "raw")
        screen.code = "json"
        kept = json.loads(json.dumps({"request": screen.request, "kept": screen.memory()}))
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        again = BrowserScreen(app, kept["request"])
        again.recall(kept["kept"])
        app.show(again)
        await settled(pilot)
        await until(pilot, lambda: "Line 41" in told_text(again), "the record")
        assert "raw, on several lines" in told_text(again) and again.code == "json"
        await pilot.press("escape")
        await until(pilot, lambda: again.line == 41 and again.opened is None, "its row")
        assert again.memory() == kept["kept"] | {"opened": False}
        again.recall({"place": "x", "row": "1", "part": -1, "view": "odd", "search": [1]})
        assert again.line == 41 and again.view == "rendered"


async def test_a_record_of_a_version_says_what_it_was_made_of_and_leads_there() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot, {"file": answers.DATASET, "part": "train"})
        kept = KeptRecord(
            part="train",
            file="pairs.jsonl",
            line=77,
            question="q",
            answer="a",
            source={"table": "conversations", "key": {"id": 42}},
        )
        world.answers["datasets.rows"] = KeptList(dataset=answers.DATASET, items=[kept])
        await pilot.press("down", "enter")
        await until(pilot, lambda: "made of pairs.jsonl:77" in told_text(screen), "its file")
        assert "conversations" in told_text(screen)
        await pilot.press("l")
        await until(pilot, lambda: app.screen is not screen, "there")
        assert app.screen.of == {"file": "pairs.jsonl"} and app.screen.line == 77


async def test_a_rejected_record_leads_to_the_line_it_stood_in() -> None:
    world = whole_world()
    text = json.dumps({"file": "pairs.jsonl", "line": 9, "code": "too_short", "reason": "Short."})

    def page(request: Any) -> Any:
        found = answers.page(request)
        first = found.items[0].model_copy(update={"text": text, "chars": len(text)})
        return found.model_copy(update={"items": [first, *found.items[1:]]})

    world.answers["prepare.browse"] = page
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot, {"file": answers.DATASET, "part": "rejected"})
        await pilot.press("enter")
        await until(pilot, lambda: "made of pairs.jsonl:9" in told_text(screen), "its file")
        assert "Short." in told_text(screen)
        await pilot.press("l")
        await until(pilot, lambda: app.screen is not screen, "there")
        assert (app.screen.of, app.screen.line) == ({"file": "pairs.jsonl"}, 9)


async def test_the_ends_of_a_file_are_a_key_away() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("z")
        await until(pilot, lambda: screen.line == 8_214_003 - 99, "the last page")
        await pilot.press("a")
        await until(pilot, lambda: screen.line == 1, "the first page")


# -- the editor


async def editor(pilot):
    screen = await browser(pilot)
    await pilot.press("e")
    await until(pilot, lambda: isinstance(pilot.app.screen, EditorScreen), "the editor")
    return screen, pilot.app.screen


def taken(usable: bool = True) -> EditOutput:
    edits = EditsView(version=4, records=2, can_undo=2, can_redo=0, stale=False)
    issues = [] if usable else answers.page().items[2].issues
    return EditOutput(
        file="f", line=1, before="{}", after="{}", usable=usable, issues=issues, edits=edits
    )


async def test_an_edit_is_taken_with_the_version_that_was_seen() -> None:
    world = whole_world()
    requests: list[Any] = []
    world.answers["prepare.edit"] = lambda request: requests.append(request) or taken()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, form = await editor(pilot)
        form.query_one("#record").text = '{"question": "Why?"}'
        await pilot.press("f2")
        await until(pilot, lambda: app.screen is screen, "back in the browser")
        await until(pilot, lambda: "Line 1 is edited" in message(screen), "told")
    assert len(requests) == 2  # dry first: what is no use is not taken unseen
    assert requests[1].model_dump() == {
        "file": FILE["file"],
        "line": 1,
        "record": '{"question": "Why?"}',
        "seen_version": 3,
    }


async def test_what_is_wrong_with_an_edit_is_said_and_nothing_typed_is_lost(tmp_path: Path) -> None:
    def refuse(request: Any) -> Any:
        raise DataError("D564", "This is no record.", "A number is too long.", "Mend it.")

    world = whole_world()
    world.answers["prepare.edit"] = refuse
    app = stub.make_app(world, whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        _screen, form = await editor(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: "Nothing was changed." in message(form), "nothing to take")
        form.query_one("#record").text = '{\n  "a": 1\n  "b": 2}'
        wrong = "line 3, column 3: a , is missing"
        await until(pilot, lambda: wrong in screen_text(app), "said as it is typed")
        await pilot.press("f2")
        await until(pilot, lambda: "no record yet" in message(form), "not sent")
        assert form.query_one("#record").cursor_location == (2, 2)
        form.query_one("#record").text = '{"question": "Why?", "answer": "So."}'
        await until(pilot, lambda: "changed: question, answer" in screen_text(app), "what changes")
        await pilot.press("f2")
        await until(pilot, lambda: "A number is too long." in screen_text(app), "what is wrong")
    app = stub.make_app(world, whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, form = await editor(pilot)
        assert "So." in form.typed and "Your draft" in message(form)
        await pilot.press("escape", "right", "enter")
        await until(pilot, lambda: app.screen is screen, "left")
        await pilot.press("down", "e")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen), "another record")
        assert "So." not in app.screen.typed


async def test_what_is_typed_is_kept_at_once_and_the_editor_comes_back(tmp_path: Path) -> None:
    app = stub.make_app(whole_world(), whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, form = await editor(pilot)
        form.query_one("#record").text = '{"half":'
        await until(pilot, lambda: bool(list(tmp_path.rglob("draft-*"))), "kept")
        kept = screen.memory()
        assert kept["editing"]
        (draft,) = app.state.drafts()
        assert draft.request == {"file": FILE["file"], "line": 1, "record": '{"half":'}
    app = stub.make_app(whole_world(), whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        again = BrowserScreen(app, FILE)
        again.recall(kept)
        app.show(again)
        await until(pilot, lambda: isinstance(app.screen, EditorScreen), "the editor")
        assert app.screen.typed == '{"half":'


async def test_an_edit_that_ruins_a_record_is_shown_and_taken_at_the_second_word() -> None:
    world = whole_world()
    requests: list[Any] = []
    bad = taken(usable=False).model_copy(update={"before": '{"a": "b c"}', "after": '{"a": "b d"}'})
    world.answers["prepare.edit"] = lambda request: requests.append(request) or bad
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, form = await editor(pilot)
        form.query_one("#record").text = '{"question": "Why?"}'
        await pilot.press("f3")
        await until(pilot, lambda: "[-c-]" in screen_text(app), "what changes")
        assert "no_answer" in screen_text(app) and len(requests) == 1
        await pilot.press("f2")
        await until(pilot, lambda: "F2 once more" in message(form), "asked")
        await pilot.press("f2")
        await until(pilot, lambda: app.screen is screen, "taken")


async def test_two_editors_of_a_record_see_both_and_nothing_is_lost(tmp_path: Path) -> None:
    world = whole_world()
    requests: list[Any] = []

    def faster(request: Any) -> Any:
        requests.append(request)
        if request.seen_version == 3:
            raise ConflictError("D569", "Somebody was faster.", "rui edited line 2 12 seconds ago.")
        return taken()

    world.answers["prepare.edit"] = faster
    app = stub.make_app(world, whole=True, folder=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        await pilot.press("down", "e")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen), "the editor")
        form = app.screen
        form.query_one("#record").text = '{"question": "Where?", "answer": "Mine."}'
        moved = answers.page().edits.model_copy(update={"version": 9})
        world.answers["prepare.browse"] = lambda request: answers.page(
            request.model_copy(update={"line": 2})
        ).model_copy(update={"edits": moved})
        await pilot.press("f2")
        await until(pilot, lambda: "Changed by another operator" in screen_text(app), "both")
        shown = form.query_one("#outcome", Plate).text
        assert "{+Mine" in shown and "12 seconds ago" in shown and "Mine." in form.typed
        await pilot.press("f2")
        await until(pilot, lambda: app.screen is screen, "taken after a look at both")
    assert [each.seen_version for each in requests] == [3, 9, 9]


def test_what_differs_is_named_by_its_place() -> None:
    assert what_differs('{"a": [{"b": 1}, 2]}', '{"a": [{"b": 2}], "c": 1}') == "a[1].b, -a[2], +c"
    assert what_differs('{"a": 1}', '{ "a":1}') == ""
    assert what_differs("oh", "{}") == "the whole text"


@pytest.mark.parametrize(
    ("typed", "line", "column"),
    [
        ("{", 1, 2),
        ('{"a": 1,\n "b" 2}', 2, 6),
        ('{"a": 1}}', 1, 9),
        ("[1]", 1, 1),
        ('{"a": "x', 1, 7),
    ],
)
def test_a_mistake_has_its_line_and_column(typed: str, line: int, column: int) -> None:
    found = mistake(typed)
    assert found is not None and (found.line, found.column) == (line, column)
    assert mistake('{"a": 1}') is None
    assert "a stands there twice" in str(mistake('{"a": 1, "a": 2}'))
    assert "too deep" in str(mistake('{"a": ' + "[" * 100_000))


async def test_leaving_an_edit_that_was_not_taken_asks_first() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, form = await editor(pilot)
        form.query_one("#record").text = "{}"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        await pilot.press("enter")  # back has the focus
        await until(pilot, lambda: app.screen is form, "the editor again")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        await pilot.press("right", "enter")
        await until(pilot, lambda: app.screen is screen, "left")


def test_a_record_to_type_in_has_no_sign_that_a_terminal_acts_on() -> None:
    shown = editable('{"a": "x\\u001b[31m\u202ey\u009b"}')
    assert shown == '{\n  "a": "x\\u001b[31m\\u202ey\\u009b"\n}'
    assert editable("no json \x1b[31m") == "no json \\u001b[31m"


# -- what cleaning changed


@pytest.mark.parametrize("size", each_size())
async def test_changes_are_gone_through_before_and_after(size: tuple[int, int]) -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        request = {"source": "/data/pairs.jsonl"}
        screen = ChangesScreen(app, "t", answers.clean_preview(), request)
        screen.recall({"place": 7, "search": {"text": 1}})  # nothing of it fits any more
        app.show(screen)
        await until(pilot, lambda: app.screen is screen, "the screen")
        await pilot.press("n")
        await until(pilot, lambda: "change 1 of 2" in told_text(screen), "the first")
        text = told_text(screen)
        assert "changed by redact  pairs.jsonl:7" in text and "assistant, turn 2" in text
        beside = "| + after" in text
        assert beside == (size[0] >= 100)
        assert "Write to [[-..-]] or call us." in text and "{+EMAIL_1+}" in text
        again = ChangesScreen(app, "t", answers.clean_preview(), request)
        again.recall(screen.memory())
        assert again.place == 1
        await pilot.press("t")
        await until(pilot, lambda: "turned away by length: too_short" in told_text(screen), "next")
        assert "Too short." in told_text(screen)
        await pilot.press("n")
        await until(pilot, lambda: "no other change" in message(screen), "the end")
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "its line")
        assert app.screen.of == {"file": "/data/pairs.jsonl"} and app.screen.line == 9


async def test_more_changes_are_asked_for_where_there_are_more() -> None:
    world = whole_world()
    requests: list[Any] = []
    few = answers.version_diff().model_copy(update={"more": True})
    world.answers["prepare.diff"] = lambda request: (
        requests.append(request) or (few.model_copy(update={"more": False, "items": few.items[:1]}))
    )
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        app.show(ChangesScreen(app, "t", few, {"first": "a", "second": "b"}))
        await pilot.press("n", "n", "n", "n")
        await until(pilot, lambda: "change 4 of 4+" in told_text(app.screen), "the last one")
        assert "in another part: train > valid" in told_text(app.screen)
        await pilot.press("n")
        await until(pilot, lambda: "change 4 of 5" in told_text(app.screen), "one more is here")
        assert (requests[0].offset, requests[0].first) == (4, "a")
        await pilot.press("m")
        await until(pilot, lambda: "All of them are here." in message(app.screen), "all")


def test_a_difference_reads_without_colours_and_loses_nothing() -> None:
    old, new = sides("one two\nthree", "one 2\n\nthree")
    assert (old.plain, new.plain) == ("one [-two␊\n-]three", "one {+2␊\n␊\n+}three")
    long = "word " * 3_000
    old, new = sides(f"{long}a b {long}", f"{long}a c {long}")
    assert old.plain == f"{long}a [-b-] {long}" and new.plain == f"{long}a {{+c+}} {long}"
    kept = "".join(before for _same, before, _after in compared("ab cd " * 50, "cd ab " * 70))
    assert kept == "ab cd " * 50


# -- a result in full


async def test_a_long_result_is_searched_and_filtered() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        items = [
            KeptRecord(part="train", file="f", line=n, source=None, question=f"q{n}", answer="a")
            for n in range(200)
        ]
        app.show(ResultScreen(app, "t", KeptList(dataset="d", items=items)))
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the screen")
        screen = app.screen
        for key in ("slash", *"q15", "enter"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: "/q15/ text, any case  1 of 11" in message(screen), "counted")
        assert "»q15" in screen_text(app)
        await pilot.press("f")
        await until(pilot, lambda: "2 of 11" in message(screen), "the next")
        await pilot.press("h", "h")
        await until(pilot, lambda: "11 of 11  from the end again" in message(screen), "round")
        assert "»q159" in screen_text(app)
        await pilot.press("o")
        await until(pilot, lambda: "q14" not in told_text(screen), "only these lines")
        await pilot.press("f6")
        await pilot.press("slash", *"q1(5", "enter")
        await until(pilot, lambda: "at character 3" in message(screen), "a bad pattern")
        await pilot.press("escape")
        await until(pilot, lambda: "q14" in told_text(screen), "all of it again")
        assert app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen, "left")


# -- the report


@pytest.mark.parametrize("size", each_size())
async def test_the_report_lists_files_issues_and_sections(size: tuple[int, int]) -> None:
    app = stub.make_app(whole_world(), whole=True, ascii_only=True)
    async with app.run_test(size=size) as pilot:
        screen = await inspection(pilot)
        text = screen_text(app)
        for word in ("308 rows, 302 usable, 9 exact duplicates", "pairs.jsonl", "no_answer"):
            assert word in text
        await pilot.press("enter")
        await until(pilot, lambda: "half up to 4" in told_text(screen), "the figures")
        assert screen_text(app).isascii()


async def test_an_issue_leads_to_its_first_record() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await inspection(pilot)
        await pilot.press(*["down"] * 5, "b")
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "the browser")
        assert app.screen.of == {"file": "/data/pairs.jsonl"}
        assert app.screen.code == "no_answer"
        await until(pilot, lambda: app.screen.line == 3, "its line")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, InspectionScreen), "the report")


async def test_a_verdict_says_why_and_what_to_do() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await inspection(pilot)
        assert "once it is prepared" in screen_text(app)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "6 rows can't be used." in told_text(screen), "why")
        assert "Prepare a version" in told_text(screen)


async def test_b_on_all_together_looks_into_the_first_file() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await inspection(pilot)
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "the browser")
        assert app.screen.of == {"file": answers.inspection().files[0].file}


async def test_everything_is_looked_at_when_asked_for() -> None:
    world = whole_world()
    requests: list[Any] = []
    report = answers.inspection()
    world.answers["prepare.inspect"] = lambda request: requests.append(request) or report
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await inspection(pilot)
        await pilot.press("a")
        await until(pilot, lambda: len(requests) == 2, "asked again")
        await settled(pilot)
    assert [each.everything for each in requests] == [False, True]


async def test_what_cleaning_would_change_is_shown_as_a_difference() -> None:
    text = preview_text(answers.clean_preview()).plain
    for word in (
        "redact",
        "- Write to [[-..-]] or call us.",
        "+ Write to [{+EMAIL_1+}]",
        "too_short",
    ):
        assert word in text
    hostile = preview_text(answers.hostile(answers.clean_preview())).plain
    assert "[red]x" in hostile and not {"\x1b", "\x07", "\u202e"} & set(hostile)


def test_a_row_that_says_nothing_leaves_without_a_line_of_text() -> None:
    found = answers.clean_preview()
    silent = [
        step.model_copy(
            update={"leaving": [row.model_copy(update={"text": ""}) for row in step.leaving]}
        )
        for step in found.steps
    ]
    assert any(step.leaving for step in silent)
    text = preview_text(found.model_copy(update={"steps": silent})).plain
    assert "too_short" in text and "- \n" not in text


def test_the_gate_tells_the_range_of_a_sample_in_words_alone() -> None:
    check = GateCheck(
        name="topics", what="Topics", state="attention", low=1.0, high=2.0, told="1 (1 to 2)"
    )
    report = GateReport(subject="a", passed=False, refused=False, items=[check])
    text = result_text(report).plain
    assert "1 (1 to 2)" in text and "low" not in text and "high" not in text


async def test_a_version_tells_its_tags_and_what_was_trained_on_it() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "production (protected), v2" in told_text(app.screen), "tags")
        assert answers.JOB in told_text(app.screen) and answers.MODEL in told_text(app.screen)


async def test_a_section_is_shown_whatever_it_holds() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await inspection(pilot)
        await pilot.press("end", "enter")
        await until(pilot, lambda: "cpf" in told_text(screen), "one that has no words")
        await pilot.press("escape", "up", "enter")
        await until(pilot, lambda: "e-mail address" in told_text(screen), "one that has")
        assert "5, 8, 9, 14, 15 and 5 more" in told_text(screen)  # all are lines of the first file
        await pilot.press("b")
        await until(
            pilot, lambda: "Nothing to look into here" in message(screen), "nothing to look into"
        )


@pytest.mark.parametrize("state", ["error", "loading"])
async def test_the_report_has_its_states(state: str) -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    shown = {"error": "SOPHIA-S001", "loading": "Loading"}
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        world.trouble = stub.database_gone() if state == "error" else None
        if state == "loading":
            world.block.clear()
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, InspectionScreen), "the inspection")
        await settled(pilot, state)
        assert shown[state] in screen_text(app)


async def test_leaving_a_report_that_is_still_read_stops_it_and_leads_back() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        below = app.screen
        world.block.clear()
        await pilot.press("i")
        await until(pilot, lambda: "prepare.inspect" in world.contexts, "reading")
        reading = world.contexts["prepare.inspect"]
        reading.progress(Progress("Reading", 5, 5, "bytes"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is below, "back")
        assert reading.cancel.requested
        world.block.set()
        reading.progress(Progress("Reading", 5, 5, "bytes"))  # news for nobody
        await pilot.pause(0.1)
        assert app.screen is below and app.is_running


async def test_esc_while_everything_is_read_leads_back_to_the_report() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await inspection(pilot)
        world.block.clear()
        await pilot.press("a")
        await until(pilot, lambda: screen.running is not None, "reading")
        await pilot.press("escape")
        assert world.contexts["prepare.inspect"].cancel.requested and app.screen is screen
        world.block.set()
        await until(pilot, lambda: "Stopped." in message(screen), "stopped")
        await settled(pilot)
        assert "308 rows, 302 usable" in screen_text(app)
        assert not screen.request.get("everything")  # the key offers it again


async def test_leaving_a_page_that_is_still_read_stops_it() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        world.block.clear()
        app.show(BrowserScreen(app, FILE))
        await until(pilot, lambda: "prepare.browse" in world.contexts, "reading")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, BrowserScreen), "back")
        assert world.contexts["prepare.browse"].cancel.requested
        world.block.set()


@pytest.mark.parametrize("leave", ["escape", "4", "question_mark"])
async def test_the_gate_tells_how_far_it_is_runs_once_and_is_stopped_by_leaving(
    leave: str,
) -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        below = app.screen
        world.block.clear()
        await pilot.press("a")
        await until(pilot, lambda: "prepare.gate" in world.contexts, "the gate")
        gate = world.contexts["prepare.gate"]
        gate.progress(Progress("Reading", 2, 5, "bytes"))
        await until(pilot, lambda: "2/5" in message(below), "how far")
        await pilot.press("a")
        await until(pilot, lambda: "esc stops it" in message(below), "busy")
        assert world.calls.count("prepare.gate") == 1
        await pilot.press(leave)
        await until(pilot, lambda: gate.cancel.requested, "stopped")
        world.block.set()
        await until(pilot, lambda: below.awaited is None, "over")
        assert not isinstance(app.screen, ResultScreen)
        if leave == "escape":
            await until(pilot, lambda: "Stopped." in message(below), "said")
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, ResultScreen), "asked again")


async def test_files_that_were_not_read_stand_in_the_report() -> None:
    world = whole_world()
    unread = passed_files([Passed("table.csv", "unasked")])
    report = answers.inspection().model_copy(update={"passed_over": unread})
    world.answers["prepare.inspect"] = report
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await inspection(pilot)
        assert "table.csv" in screen_text(app) and "not read" in screen_text(app)
        screen.follow("passed table.csv")
        await until(pilot, lambda: "when they are named" in told_text(screen), "why")


async def test_a_page_says_that_the_file_changed_since_it_was_inspected() -> None:
    world = whole_world()
    world.answers["prepare.browse"] = lambda request: answers.page(request).model_copy(
        update={"inspection_outdated": True}
    )
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await browser(pilot)
        assert "changed since the inspection" in screen_text(app)


async def test_what_cleaning_changes_has_a_heading_of_its_own() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await inspection(pilot)
        await pilot.press("p")
        named = "what cleaning changes"
        await until(pilot, lambda: app.screen.heading() == named, "the screen of its own")


async def test_hostile_text_of_a_report_stays_text() -> None:
    world = whole_world()
    world.answers["prepare.inspect"] = answers.hostile(answers.inspection())
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await inspection(pilot)
        seen = screen_text(app) + told_text(screen)
        await pilot.press("end", "enter")
        await pilot.pause()
        seen += screen_text(app)
    assert "[red]x" in seen and "␛" in seen
    assert not {"\x1b", "\x07", "\u202e"} & set(seen)


# -- versions


async def test_two_versions_are_compared_the_older_first() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "Mark a version" in message(app.screen), "how")
        await pilot.press("space", "down", "d")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the difference")
        text = told_text(app.screen)
    assert asked(world) == {"first": "ground@99aa88bb77cc", "second": answers.DATASET}
    for word in ("- ground@99aa88bb77cc", "11 added", "- At [-nine-].", "+ At {+ten, daily+}."):
        assert word in text


def test_a_difference_leaves_out_what_is_the_same_far_from_it() -> None:
    same = "word " * 60
    shown = "".join(
        str(part[0])
        for part in difference(f"{same}old {same}", f"{same}new {same}")
        if isinstance(part, tuple)
    )
    assert "old" in shown and "new" in shown and " ... " in shown and len(shown) < 400


def test_hostile_text_of_a_difference_stays_text() -> None:
    text = versions_text(answers.hostile(answers.version_diff())).plain
    assert "[red]x" in text and not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize("scope", ["browser", "inspection"])
@pytest.mark.parametrize("language", ["en", "pt_BR"])
async def test_help_tells_the_keys_and_the_commands(scope: str, language: str) -> None:
    from sophia_tui.i18n import _
    from sophia_tui.tui.pages import PAGES

    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await (browser(pilot) if scope == "browser" else inspection(pilot))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "help")
        text = told_text(app.screen)
        for sentence in PAGES[scope].about:
            assert _(sentence) in text
        for operation in PAGES[scope].twins:
            assert f"sophia {operation.replace('.', ' ')}" in text
        for key in [each for each in keys.KEYS if each.scope == scope]:
            assert _(key.text) in text


def test_the_news_of_an_undo_shows_the_words_and_not_the_blanks_between() -> None:
    compact, laid_out = '{"a":"At ten. XYZ"}', '{"a": "At ten."}'
    assert _first_words(compact, laid_out, "~") == "[- XYZ-]"
    assert _first_words(laid_out, compact, "~") == "{+ XYZ+}"
    assert _first_words('{"a":1}', '{"a": 1}', "~") == "{+ +}"
    assert _first_words("same", "same", "~") == ""


async def test_one_record_in_place_of_the_list_has_its_own_keys_in_the_footer() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await browser(pilot)
        listed = {each.target for each in screen.footer()}
        await pilot.press("enter")
        await until(pilot, lambda: screen.opened is not None, "a record")
        own = {each.target for each in screen.footer()}
        assert {"act.next_page", "act.search"} <= listed
        assert not {"act.next_page", "act.go_to_line", "act.search"} & own
        assert {"act.view", "act.edit"} <= own
