"""Asks before a dangerous act: target and effect are said, the way back has the focus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class QuestionScreen(ModalScreen[bool]):
    """A question with Back focused; `name` must be typed where it is given. `yes` names the act."""

    CSS_PATH = "confirm.tcss"

    def __init__(self, question: Content, yes: str, name: str = "") -> None:
        super().__init__()
        self._question = question
        self._yes = yes
        self._name = name
        self._bindings.bind("escape", "answer(False)", show=False)
        self._bindings.bind("left", "app.focus_previous", show=False)
        self._bindings.bind("right", "app.focus_next", show=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Plate(self._question, id="text")
            if self._name:
                yield Plate(_("Type {name} to confirm:").format(name=visible(self._name)), id="ask")
                field = Input(id="name", compact=True)
                field.cursor_blink = False
                yield field
            with Horizontal(id="answers"):
                yield Button(_("Back"), id="cancel", compact=True)
                yield Button(
                    self._yes, id="yes", compact=True, variant="error", disabled=bool(self._name)
                )
            hint = _("enter: the marked button   left, right: the other one   esc: back")
            yield Plate(Content.styled(hint, "dim"), id="hint")

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self._name

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "yes")

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
