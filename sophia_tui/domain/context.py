"""Who asks for an operation, from where, with which rights, and how to tell them or stop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sophia_tui.errors import CancelledError
from sophia_tui.i18n import _


class Role(StrEnum):
    """Rising rights: a viewer looks, an operator runs the loop, an admin promotes and sets up."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Face(StrEnum):
    CLI = "cli"
    CONSOLE = "console"
    API = "api"
    WORKER = "worker"


class CancelSignal:
    """Set once by a face; asked by services between steps."""

    def __init__(self) -> None:
        self._requested = False

    def request(self) -> None:
        self._requested = True

    @property
    def requested(self) -> bool:
        return self._requested

    def check(self, left: str = "") -> None:
        """Raise CancelledError U499 once stopping was asked for; `left` says what remains of it."""
        if self._requested:
            raise CancelledError(
                "U499", _("Stopped on request."), left or _("Everything is as it was before.")
            )


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is. `total` None means unknown."""

    stage: str
    done: int
    total: int | None = None
    unit: str = ""
    message: str = ""


def _silent(progress: Progress) -> None:
    """Nobody listens."""


def _deaf(part: Any) -> None:
    """Nobody takes parts of an answer."""


@dataclass(frozen=True)
class Context:
    """Given to every operation. `confirmed` says that a person confirmed a dangerous act; `inner`
    that an operation of Sophia's own asks, with paths of its own. `tell` takes parts of the answer
    (outputs, such as a job's events) as they come, before the answer itself. `detach`: a job shall
    do it, which outlives who asks."""

    actor: str
    face: Face
    role: Role
    language: str = "en"
    readonly: bool = False
    dry_run: bool = False
    confirmed: bool = False
    detach: bool = False
    cancel: CancelSignal = field(default_factory=CancelSignal)
    progress: Callable[[Progress], None] = _silent
    tell: Callable[[Any], None] = _deaf
    inner: bool = False
    #: The newest entry of the audit that the person knew of, where a face says it: what another
    #: changed since is told before it is changed again.
    seen: int | None = None

    @property
    def from_afar(self) -> bool:
        """Whether paths in the request are those of somebody who need not know this machine."""
        return self.face is Face.API and not self.inner
