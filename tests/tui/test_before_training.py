"""Plan, preview, check list and the question about money, as a person meets them on the console."""

from typing import Any

import pytest

from sophia_tui.errors import UnconfirmedError
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.preview import PreviewScreen
from tests.tui import answers, stub
from tests.tui.test_console import settled, until
from tests.tui.test_screens import opened, told_text, whole_world


async def test_the_forms_dry_run_shows_the_plan() -> None:
    world = whole_world()
    view = stub.job("ftjob-new", "draft").model_copy(update={"plan": answers.plan()})
    world.answers["train.start"] = view
    app = stub.make_app(world, whole=True, ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("train.start", {})
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        await pilot.press("f3")
        await until(pilot, lambda: bool(app.screen.query("#result")), "the plan")
        text = told_text(app.screen)
    assert "It would start." in text and "it does not fit" in text
    assert "The nearest setting that fits:" in text and "--change batch_size=1" in text
    assert "[x] all examples valid: ok" in text and "Dry run: nothing was changed." in text


def pages_of(lines: int, asked: list[tuple[int, int]]) -> Any:
    """An answer to train.preview: a part of so many lines."""

    def page(request: Any) -> Any:
        asked.append((request.offset, request.limit))
        whole = answers.preview()
        places = range(request.offset, min(lines, request.offset + request.limit))
        items = [whole.items[place % 2].model_copy(update={"line": place + 1}) for place in places]
        parts = [whole.parts[0].model_copy(update={"lines": lines})]
        changed = {"offset": request.offset, "items": items, "parts": parts}
        return whole.model_copy(update=changed)

    return page


async def test_the_preview_turns_its_pages_without_asking_for_each() -> None:
    world = whole_world()
    asked: list[tuple[int, int]] = []
    world.answers["train.preview"] = pages_of(12, asked)
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("train.preview", {"dataset": "town", "limit": 5})
        await until(pilot, lambda: isinstance(app.screen, PreviewScreen), "the preview")
        text = told_text(app.screen)
        assert "[[At nine, \\[[daily\\]].]]" in text and "! no token to learn" in text
        assert "n next page" in text and "p page before" in text
        await pilot.press("n")
        await until(pilot, lambda: app.screen.page.offset == 5, "the next page")
        assert "line 6:" in told_text(app.screen) and "line 5:" not in told_text(app.screen)
        await pilot.press("n", "n")
        await until(pilot, lambda: "no other page" in told_text(app.screen), "the end")
        assert [each.line for each in app.screen.page.items] == [11, 12]
        await pilot.press("p", "p", "p")
        await until(pilot, lambda: app.screen.page.offset == 0, "the first page again")
    assert asked == [(0, 5), (5, 100)]


async def test_esc_stops_the_turning_of_a_page_and_stays() -> None:
    world = whole_world()
    world.answers["train.preview"] = pages_of(12, [])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("train.preview", {"dataset": "town", "limit": 5})
        await until(pilot, lambda: isinstance(app.screen, PreviewScreen), "the preview")
        preview = app.screen
        world.block.clear()
        await pilot.press("n")
        await until(pilot, lambda: preview.awaited is not None, "the look")
        await pilot.press("escape")
        assert preview.awaited is not None and preview.awaited.requested
        world.block.set()
        await until(pilot, lambda: preview.awaited is None, "the end of it")
        assert app.screen is preview and preview.page.offset == 0


async def test_a_preview_does_not_open_over_the_screen_the_person_has_gone_to() -> None:
    world = whole_world()
    world.answers["train.preview"] = pages_of(12, [])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "datasets")
        below = app.screen
        world.block.clear()
        await pilot.press("v")
        await until(pilot, lambda: "train.preview" in world.calls, "the look")
        await pilot.press("4")
        await until(pilot, lambda: world.contexts["train.preview"].cancel.requested, "stopped")
        world.block.set()
        await until(pilot, lambda: below.awaited is None, "the end of it")
        await settled(pilot)
        assert isinstance(app.screen, JobsScreen)


@pytest.mark.parametrize("answer", ["cancel", "yes"])
async def test_what_costs_is_asked_in_a_dialog_with_the_sum(answer: str) -> None:
    world = whole_world()
    asked: list[Any] = []

    def start(request: Any) -> Any:
        asked.append(request)
        if len(asked) == 1:
            raise UnconfirmedError("J562", "The training costs about 7.73 USD.")
        return stub.job("ftjob-7f2a")

    world.answers["train.start"] = start
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("train.start", {})
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen), "the question")
        assert "7.73 USD" in told_text(app.screen)
        assert app.screen.query_one("#cancel").has_focus
        if answer == "yes":
            app.screen.query_one("#yes").focus()
        await pilot.press("enter")
        if answer == "cancel":
            await until(pilot, lambda: "Nothing was done" in told_text(app.screen), "the word")
        else:
            await until(pilot, lambda: isinstance(app.screen, JobsScreen), "the job")
    assert len(asked) == (2 if answer == "yes" else 1)


async def test_a_jobs_check_list_is_a_key_away_and_needs_no_colour() -> None:
    app = stub.make_app(whole_world(), whole=True, ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "jobs")
        await pilot.press("k")
        await until(pilot, lambda: bool(app.screen.query("#result")), "the list")
        text = told_text(app.screen)
    for line in (
        "[x] all examples valid: ok",
        "[ ] a test-only run passed: still open",
        "[!] loss falling: failed",
        "[-] tribunal above 0.7: not available",
        "[-] token set: not needed",
    ):
        assert line in text
    assert text.isascii()
