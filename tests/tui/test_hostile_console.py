"""What a terminal acts on never reaches it from the console: in answers, forms, questions, errors
and names, seen in the bytes that a real terminal gets."""

import re
from typing import Any

import pytest
from textual.content import Content

from sophia_tui.services.catalogue import registry
from sophia_tui.tui import keys
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.result import result_text
from sophia_tui.tui.widgets.plate import error_text
from tests.hostile_texts import EVERYTHING, TEXTS, harm_in, poisoned
from tests.tui import stub
from tests.tui.test_console import until
from tests.tui.test_screens import whole_world
from tests.tui.test_terminal import Terminal

#: What the console itself sends: movements, colours, modes, questions at start, the pointer.
_OURS = re.compile(
    rb"\x1b\[[0-9:;?<=>$ ]*[A-Za-z~]|\x1b\]22;[a-z]+\x07|\x1b[()=>78]|[\x07\x08\r\n\t]"
)
#: Beginnings that only the hostile texts have.
_THEIRS = (b"\x1b]0", b"\x1b]52", b"\x1b]8", b"\x1bP", b"\x1bc", b"\x1b[8m", b"\x1b[6n")


def harm_on_the_wire(sent: bytes) -> str:
    for each in _THEIRS:
        if each in sent:
            place = sent.index(each)
            return repr(sent[max(0, place - 40) : place + 20])
    return harm_in(_OURS.sub(b"", sent).decode("utf-8", "surrogateescape"), most_marks=20)


def test_the_hostile_texts_would_be_seen_on_the_wire() -> None:
    for name in ("clipboard", "title", "eight-bit", "override", "zero width", "null", "link"):
        text = TEXTS[name].encode("utf-8", "surrogatepass")
        assert harm_on_the_wire(b"\x1b[1;1Hfine " + text), name
    assert not harm_on_the_wire("\x1b[?1049h\x1b[38;5;4mção ✓\x1b[0m\r\n".encode())


def test_no_screen_of_a_real_terminal_brings_it_through() -> None:
    terminal = Terminal(["-m", "tests.tui.play", "hostile", "pt_BR"])
    try:
        sent = terminal.read(60.0, until=b"Sophia")
        for key in [each.key for each in keys.SCREENS]:
            sent += terminal.answer(key.encode(), 0.5)
            terminal.type(b"\r")
            sent += terminal.read(1.0)
            terminal.type(b"\x1b")
            sent += terminal.read(0.5)
        assert "␛".encode() in sent  # it was there, as a mark
        assert not harm_on_the_wire(sent)
    finally:
        terminal.close()


@pytest.mark.parametrize("width", [60, 118])
def test_no_answer_shown_in_full_brings_it_through(width: int) -> None:
    for operation in registry():
        answer: Any = poisoned(operation.output, EVERYTHING)
        assert not harm_in(result_text(answer, width).plain), operation.name


async def test_no_form_and_no_question_brings_it_through() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        for name in ("settings.set", "promote.run", "prepare.run", "models.note"):
            operation = app.dispatcher.registry.get(name)
            given = dict.fromkeys(operation.input.model_fields, EVERYTHING)
            for screen in (
                FormScreen(app, operation, given),
                ConfirmScreen(app, operation, EVERYTHING.replace("\n", " ")),
            ):
                await app.push_screen(screen)
                await pilot.pause()
                for strip in app.screen._compositor.render_strips():
                    assert not harm_in(strip.text, most_marks=20), name
                await app.pop_screen()


@pytest.mark.parametrize("name", TEXTS)
def test_no_error_brings_it_through(name: str) -> None:
    text = TEXTS[name]
    shown = error_text(stub.SophiaError("D999", text, text, text), text)
    assert isinstance(shown, Content) and not harm_in(shown.plain)


async def test_no_name_of_a_person_brings_it_through() -> None:
    for name in TEXTS:
        app = stub.make_app(whole_world(), whole=True, actor=TEXTS[name])
        async with app.run_test(size=(120, 24)) as pilot:
            await until(pilot, app.painted.is_set, "painted")
            for width in (80, 120, 400):
                assert not harm_in(app.head(width, "x").plain), name
