"""What every screen has: head line, body, message line, key line, and a word for small windows."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

from sophia_tui.i18n import _
from sophia_tui.tui import keys
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp


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

    def __init__(self, sophia: "SophiaApp") -> None:
        super().__init__()
        self.sophia = sophia
        for key in self.known_keys():
            for each in (key.key, *key.others):
                self._bindings.bind(each, f"go('{key.target}')", show=False)

    def known_keys(self) -> list[keys.Key]:
        scopes = (*self.scopes, "") if self.everywhere else self.scopes
        return keys.for_scopes(self.sophia.keys, scopes)

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

    def redraw(self) -> None:
        """Draw head and key line; cheap, and silent where nothing changed."""
        if not self.query("#head"):
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

    def key_line(self, width: int) -> Content:
        """The keys that matter here, as many as fit; help has them all."""
        offered = [each for each in self.known_keys() if each.rank and self.sophia.offers(each)]
        kept: list[keys.Key] = []
        room = width
        for each in sorted(offered, key=lambda each: each.rank):
            room -= len(each.shown) + len(_(each.text)) + 3
            if room < 0:
                break
            kept.append(each)
        screens = [each for each in kept if each.target.startswith("screen.")]
        rest = [each for each in kept if each.scope]
        rest += reversed([each for each in kept if not each.scope and each not in screens])
        parts: list[str | tuple[str, str]] = []
        for each in [*sorted(screens, key=lambda each: each.key), *rest]:
            parts += [(each.shown, "bold $accent"), f" {_(each.text)}  "]
        return Content.assemble(*parts)

    def say(self, text: Content | str) -> None:
        """One line of news above the keys; stays until the next one."""
        self.query_one("#message", Plate).draw(text)

    def action_go(self, target: str) -> None:
        self.sophia.go(target, self)

    def prefill(self, operation: str) -> dict[str, Any]:
        """What this screen knows for the input of an operation (the selected job, say)."""
        return {}

    def copied(self) -> str:
        """What `y` sends to the terminal's clipboard."""
        return ""

    def act(self, name: str) -> bool:
        """Do an act of this screen's own; False where it has none of that name."""
        return False
