"""What every screen has: head line, body, message line, key line, and a word for small windows."""

from collections.abc import Iterable
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.content import Content
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from sophia_tui.domain.context import CancelSignal
from sophia_tui.i18n import _
from sophia_tui.tui import keys
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console
    from sophia_tui.tui.state import Origin


#: Fewer screens than these are not listed one by one: gaps would only puzzle.
_LEAST_SCREENS = 6

StylePath = str | PurePath | list[str | PurePath] | None


class SophiaScreen(Screen[Any]):
    """A screen whose keys come from the registry, by its scopes."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (15, "-high")]  # noqa: RUF012
    CSS_PATH: ClassVar[StylePath] = None
    #: The key scopes that hold here, most special first.
    scopes: tuple[str, ...] = ()
    #: Whether digits, refresh and the like count here.
    everywhere = True
    #: Whether people type here what is done later: then only keys that type nothing lead elsewhere.
    holds_work = False
    #: Whether it asks the store again and again, so that it can say how far that is.
    looks = False
    #: What runs here, or nothing.
    running: Any = None
    #: How it was opened, where it can be opened again so; see state.Origin.
    origin: "Origin | None" = None
    #: The signal that stops what was asked from here and opens when it is answered, or nothing.
    awaited: CancelSignal | None = None

    def __init__(self, sophia: "Console") -> None:
        super().__init__()
        self.sophia = sophia
        for key in self.known_keys():
            for each in (key.key, *key.others):
                self._bindings.bind(each, f"go('{key.target}')", show=False)

    def known_keys(self) -> list[keys.Key]:
        scopes = (*self.scopes, "") if self.everywhere else self.scopes
        found = keys.for_scopes(self.sophia.keys, scopes)
        if not self.holds_work:
            return found
        # on a button a digit that was meant for a field would leave what is typed
        return [each for each in found if not (each.target.startswith("screen.") and each.types)]

    def compose(self) -> ComposeResult:
        yield Plate(id="small")
        yield Plate(id="head")
        yield Plate(id="trouble")
        yield from self.body()
        yield Plate(id="message")
        yield Plate(id="keys")

    def body(self) -> Iterable[Widget]:
        """The widgets between head and message."""
        return ()

    def on_mount(self) -> None:
        self.set_class(self.sophia.glyphs.ascii_only, "-ascii")
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    def on_screen_resume(self) -> None:
        self.redraw()

    def on_screen_suspend(self) -> None:
        self.say("")
        self.stop_waiting()

    def on_unmount(self) -> None:
        self.stop_waiting()

    def run_worker(self, work: Any, *args: Any, **kwargs: Any) -> Worker[Any]:
        """As textual's, of coroutines. What is answered while the screen is taken down misses its
        widgets; it ends there, and not the console with it."""
        return super().run_worker(partial(self._while_it_stands, work), *args, **kwargs)

    async def _while_it_stands(self, work: Any) -> Any:
        try:
            return await (work() if callable(work) else work)
        except NoMatches:
            if self.display:  # false from when it is being removed on
                raise
            return None

    def stop_waiting(self) -> bool:
        """Stop what was asked from here and is not answered yet; False where nothing is, or it
        was stopped before and still takes its time."""
        if self.awaited is None or self.awaited.requested:
            return False
        self.awaited.request()
        return True

    @property
    def composed(self) -> bool:
        """Whether its widgets are there. Asked at each step of a cursor, so not by a query, which
        goes through all of them."""
        try:
            self.get_child_by_id("head")
        except NoMatches:
            return False
        return True

    def redraw(self) -> None:
        """Draw head and key line; cheap, and silent where nothing changed."""
        if not self.composed:
            return
        width = self.size.width
        self.query_one("#small", Plate).draw(
            _("Please enlarge the window to 60x15 or more; now {width}x{height}.").format(
                width=width, height=self.size.height
            )
        )
        self.query_one("#head", Plate).draw(self.sophia.head(width, self.heading()))
        self.query_one("#keys", Plate).draw(self.key_line(width))

    def heading(self) -> str:
        """What stands in the head beside the program's name."""
        return ""

    def footer(self) -> list[keys.Key]:
        """The keys that the key line may name; those without rank are left out."""
        return [each for each in self.known_keys() if each.target != "act.refresh"]

    def not_now(self, operation: str) -> str:
        """Why an operation makes no sense on what is selected here; empty where it does."""
        return ""

    def key_line(self, width: int) -> Content:
        """The keys that matter here, as many as fit; help has them all."""
        offered = [
            each
            for each in self.footer()
            if each.rank and self.sophia.offers(each) and not self.not_now(each.target)
        ]
        offered.sort(key=lambda each: each.rank)
        digits = [each for each in offered if each.target.startswith("screen.")]
        late = digits[-1].rank if digits else 0
        early = [each for each in offered if each not in digits and each.rank <= late]
        # where the screens have no room each, one word stands for all of them
        all_digits = f"{digits[0].shown}-{max(each.shown for each in digits)}" if digits else ""
        short = (all_digits, _("screens"))
        least = cell_len("".join(short)) + 3 if digits else 0
        # the last one needs no space behind it; screens stand a cell apart
        kept, room = _fitting(early, width + 2 - least, 3)
        some, left = _fitting(digits, room + least - 1, 2)
        parts: list[str | tuple[str, str]] = []
        if len(some) < min(_LEAST_SCREENS, len(digits)):
            parts += _told(*short)
        else:
            room = left
            for each in sorted(some, key=lambda each: each.key):
                parts += [(each.shown, "bold $accent"), f" {_(each.text)} "]
            parts.append(" ")
        kept += _fitting([each for each in offered if each.rank > late], room, 3)[0]
        own = [each for each in kept if each.scope]
        for each in [*own, *reversed([each for each in kept if not each.scope])]:
            parts += _told(each.shown, _(each.text))
        return Content.assemble(*parts)

    def say(self, text: Content | str) -> None:
        """One line of news above the keys; stays until the next one. Nothing on a screen that is
        not composed yet."""
        for plate in self.query("#message").results(Plate):
            plate.draw(text)

    def action_go(self, target: str) -> None:
        # a key acts on what is selected; who opens the same from the palette may mean another
        why = self.not_now(target)
        if why:
            self.say(why)
        else:
            self.sophia.go(target, self)

    def prefill(self, operation: str) -> dict[str, Any]:
        """What this screen knows for the input of an operation (the selected job, say)."""
        return {}

    def asks(self) -> list[tuple[str, dict[str, Any]]]:
        """The operations that a form here would run, each with what is typed."""
        return []

    def act_on_marked(self, target: str) -> bool:
        """Do what `target` names on all marked rows; False where none is marked, or it is nothing
        that goes to many."""
        return False

    def copied(self) -> str:
        """What `y` sends to the terminal's clipboard."""
        return ""

    @property
    def dirty(self) -> bool:
        """Whether something is typed here that is not done yet."""
        return False

    def keep_draft(self) -> None:
        """Write what is typed to disk, where there is anything."""

    def memory(self) -> dict[str, Any]:
        """What brings this screen back as it is (row, filter, order, place), as plain JSON data."""
        return {}

    def recall(self, kept: dict[str, Any]) -> None:
        """Be as `memory` told, before or after it is mounted. What no longer fits is passed over:
        it comes from a file of an earlier version, maybe."""

    def act(self, name: str) -> bool:
        """Do an act of this screen's own; False where it has none of that name."""
        return False


def _told(key: str, text: str) -> list[str | tuple[str, str]]:
    return [(key, "bold $accent"), f" {text}  "] if key else []


def _fitting(found: list[keys.Key], room: int, blanks: int) -> tuple[list[keys.Key], int]:
    """The first of these that fit with so many blanks each, and the cells that are left."""
    kept = []
    for each in found:
        taken = cell_len(each.shown) + cell_len(_(each.text)) + blanks
        if taken > room:
            break
        room -= taken
        kept.append(each)
    return kept, room
