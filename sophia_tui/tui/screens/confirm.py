"""Asks before a dangerous act: target and effect are said, and the way back has the focus; where a
name must be typed, its field has it: nothing but the name leads on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class QuestionScreen(ModalScreen[bool]):
    """A question with Back focused; where `name` is given it must be typed, and its field is
    focused. `yes` names the act. What is long scrolls: field and buttons are always in sight."""

    CSS_PATH = "confirm.tcss"

    def __init__(self, question: Content, yes: str, name: str = "") -> None:
        super().__init__()
        self._question = question
        self._yes = yes
        self._name = name
        self._bindings.bind("escape", "answer(False)", show=False)
        self._bindings.bind("left", "app.focus_previous", show=False)
        self._bindings.bind("right", "app.focus_next", show=False)
        for key, lines in (("up", -1), ("down", 1), ("pageup", -5), ("pagedown", 5)):
            self._bindings.bind(key, f"read({lines})", show=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            with VerticalScroll(id="reading", can_focus=False):
                yield Plate(self._question, id="text")
            if self._name:
                ask = _("Type {name} to confirm").format(name=visible(self._name))
                yield Plate(Content.styled(f"{ask}:", "bold"), id="ask")
                field = Field(id="name", compact=True, placeholder=ask)
                field.cursor_blink = False
                yield field
                yield Plate(id="wrong")
            with Horizontal(id="answers"):
                yield Button(_("Back"), id="cancel", compact=True)
                yield Button(
                    self._yes, id="yes", compact=True, variant="error", disabled=bool(self._name)
                )
            hint = _("enter: the marked button   left, right: the other one   esc: back")
            if self._name:
                hint = _("enter: confirm   tab: the buttons   up, down: read on   esc: back")
            yield Plate(Content.styled(hint, "dim"), id="hint")

    def on_mount(self) -> None:
        (self.query_one("#name", Input) if self._name else self.query_one("#cancel")).focus()
        self.call_after_refresh(self._fit)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """What is read has the room that field and buttons leave."""
        reading = self.query_one("#reading")
        rest = sum(
            each.virtual_region_with_margin.height
            for each in self.query_one("#question").children
            if each is not reading
        )
        reading.styles.max_height = max(2, self.size.height - rest - 1)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self._name
        self.query_one("#wrong", Plate).draw("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._name:
            self.dismiss(True)
            return
        told = _("That is not the name: {typed}").format(typed=visible(event.value.strip()) or "-")
        self.query_one("#wrong", Plate).draw(told)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "yes")

    def action_read(self, lines: int) -> None:
        self.query_one("#reading").scroll_relative(y=lines, animate=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class ConfirmScreen(QuestionScreen):
    """The question before one operation; TYPE_NAME asks for its target's name."""

    def __init__(
        self, sophia: "Console", operation: Operation, target: str, effect: Sequence[str] = ()
    ) -> None:
        parts: list[str | tuple[str, str]] = [(_(operation.help), "bold")]
        if target:
            parts += ["\n\n", _("Target: "), (visible(target), "bold $warning")]
        if effect:
            parts += ["\n\n", "\n".join(effect)]
        else:
            parts += ["\n\n", _("This changes what is hard to change back.")]
        name = ""
        if operation.danger is Danger.TYPE_NAME or target in operation.typed:
            name = target or operation.name
        super().__init__(Content.assemble(*parts), words.act_word(operation), name)
        self.sophia = sophia
