"""What a screen may ask of the app that shows it, so that screens and app need not import each
other."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from textual.content import Content
from textual.screen import Screen

from sophia_tui.errors import SophiaError
from sophia_tui.tui.keys import Key
from sophia_tui.tui.state import ConsoleState, Origin
from sophia_tui.tui.step_run import StepRun
from sophia_tui.tui.words import Glyphs

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sophia_tui.domain.operations import Operation
    from sophia_tui.services.operations import Dispatcher


class Console(Protocol):
    """The app as screens know it; console.py has it."""

    keys: tuple[Key, ...]
    glyphs: Glyphs
    state: ConsoleState
    log_path: str
    unreachable: SophiaError | None
    painted: asyncio.Event
    now: Callable[[], datetime]
    step_run: StepRun | None
    pictures: int

    @property
    def dispatcher(self) -> "Dispatcher": ...

    async def call(
        self, operation: str, request: "Mapping[str, Any] | BaseModel", **given: Any
    ) -> "BaseModel": ...

    def permitted(self) -> "list[Operation]": ...

    def may(self, operation: str) -> bool: ...

    def offers(self, key: Key) -> bool: ...

    async def refusal(self, operation: "Operation", dry_run: bool) -> SophiaError | None: ...

    def measured(self, milliseconds: float) -> None: ...

    def store_away(self) -> None: ...

    def answered(self) -> None: ...

    def remember(self) -> None: ...

    def asked(self, screen: Screen[Any]) -> "tuple[Operation, dict[str, Any]] | None": ...

    def resume(self, origin: Origin) -> None: ...

    def head(self, width: int, heading: str) -> Content: ...

    def go(self, target: str, screen: Screen[Any]) -> None: ...

    def open(self, operation: str, request: dict[str, Any]) -> None: ...

    def show(self, screen: Screen[Any]) -> None: ...

    def tell(self, text: str) -> None: ...

    def begin_step(self, step: str) -> None: ...

    def show_step(self) -> None: ...

    def show_environment(self) -> None: ...

    def show_first_setup(self) -> None: ...

    def offer_first_setup(self) -> None: ...

    def offer_restart(self, units: list[str]) -> None: ...

    def speak(self, language: str) -> None: ...

    def finished(self, form: Screen[Any], title: str, result: "BaseModel") -> None: ...
