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
    assert "[x] all examples valid: done" in text and "Dry run: nothing was changed." in text


async def test_the_preview_turns_its_pages_and_says_where_they_end() -> None:
    world = whole_world()
    asked: list[Any] = []

    def page(request: Any) -> Any:
        asked.append(request.offset)
        return answers.preview().model_copy(update={"offset": request.offset})

    world.answers["train.preview"] = page
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("train.preview", {"dataset": "town", "limit": 5})
        await until(pilot, lambda: isinstance(app.screen, PreviewScreen), "the preview")
        text = told_text(app.screen)
        assert "[[At nine, \\[[daily\\]].]]" in text and "! no token to learn" in text
        assert "n next page" in text and "p page before" in text
        await pilot.press("n")
        await until(pilot, lambda: asked == [0, 5], "the next page")
        await until(pilot, lambda: app.screen.page.offset == 5, "the page drawn")
        await pilot.press("n")
        await until(pilot, lambda: "no other page" in told_text(app.screen), "the end")
        await pilot.press("p")
        await until(pilot, lambda: asked == [0, 5, 0], "the page before")


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
        "[x] all examples valid: done",
        "[ ] a test-only run passed: still open",
        "[!] loss falling: failed",
        "[-] tribunal above 0.7: not available",
        "[-] token set: not needed",
    ):
        assert line in text
    assert text.isascii()
