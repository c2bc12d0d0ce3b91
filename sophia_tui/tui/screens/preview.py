"""The mask preview, page by page: what a training would learn of each example."""

from functools import partial
from typing import TYPE_CHECKING, Any

from textual.containers import VerticalScroll

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.plan_views import TrainPreview
from sophia_tui.textsafe import visible
from sophia_tui.tui.screens.result import ResultScreen, result_text
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class PreviewScreen(ResultScreen):
    """One page; the request that made it is asked again for the others."""

    scopes: tuple[str, ...] = ("preview", "result")

    def __init__(
        self, sophia: "Console", title: str, result: TrainPreview, request: dict[str, Any]
    ) -> None:
        super().__init__(sophia, title, result)
        self.request = request
        self.page: TrainPreview = result

    @property
    def lines_of_part(self) -> int:
        """Lines of the part that is shown."""
        file = f"{self.page.part}.jsonl"
        return next((each.lines for each in self.page.parts if each.file == file), 0)

    def act(self, name: str) -> bool:
        size = int(self.request.get("limit") or 5)
        if name in ("next_page", "previous_page"):
            offset = self.page.offset + (size if name == "next_page" else -size)
            if self.request.get("lines") or not 0 <= offset < max(1, self.lines_of_part):
                self.say(_("There is no other page."))
            elif self.running is None:
                work: Any = partial(self._turn, offset)
                self.run_worker(work, name="turn", group="turn")
            return True
        return super().act(name)

    async def _turn(self, offset: int) -> None:
        self.say(_("Loading..."))
        try:
            found: Any = await self.sophia.call("train.preview", {**self.request, "offset": offset})
        except SophiaError as problem:
            self.say(visible(str(problem)))
            return
        self.page = self.result = found
        self.say("")
        self.query_one("#result", Plate).draw(result_text(found, self.app.size.width - 2))
        self.query_one(VerticalScroll).scroll_home(animate=False)
