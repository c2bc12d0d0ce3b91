"""The mask preview, page by page: what a training would learn of each example."""

from functools import partial
from typing import TYPE_CHECKING, Any

from sophia_tui.i18n import _
from sophia_tui.services.plan_views import PreviewItem, TrainPreview
from sophia_tui.tui.screens.result import ResultScreen

#: Examples that stand on one page, and how many are asked for at once: a look at the data set takes
#: seconds, however few of its examples are told.
PAGE = 5
BLOCK = 100

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class PreviewScreen(ResultScreen):
    """One page of the examples; those that are not known yet are asked for in blocks."""

    scopes: tuple[str, ...] = ("result", "preview")

    def __init__(
        self, sophia: "Console", title: str, result: TrainPreview, request: dict[str, Any]
    ) -> None:
        super().__init__(sophia, title, result)
        self.request = request
        self.per_page = min(PAGE, int(request.get("limit") or PAGE))
        self.known: dict[int, PreviewItem] = {}
        self.page = result
        if not request.get("lines"):  # lines that were named stand on one page
            self._learn(result)
            self.page = self.result = self._page(result.offset)

    def _learn(self, found: TrainPreview) -> None:
        self.known.update(enumerate(found.items, found.offset))

    def _page(self, offset: int) -> TrainPreview:
        places = range(offset, offset + self.per_page)
        items = [self.known[place] for place in places if place in self.known]
        return self.page.model_copy(update={"offset": offset, "items": items})

    @property
    def lines_of_part(self) -> int:
        """Lines of the part that is shown."""
        file = f"{self.page.part}.jsonl"
        return next((each.lines for each in self.page.parts if each.file == file), 0)

    def act(self, name: str) -> bool:
        if name in ("next_page", "previous_page"):
            offset = self.page.offset + (self.per_page if name == "next_page" else -self.per_page)
            if offset < 0 < self.page.offset:
                offset = 0
            if self.request.get("lines") or not 0 <= offset < max(1, self.lines_of_part):
                self.say(_("There is no other page."))
            elif all(
                place in self.known
                for place in range(offset, min(offset + self.per_page, self.lines_of_part))
            ):
                self._show(offset)
            else:
                work: Any = partial(self._turn, offset)
                self.run_worker(work, name="turn", group="turn", exclusive=True)
            return True
        return super().act(name)

    async def _turn(self, offset: int) -> None:
        start = offset if offset > self.page.offset else max(0, offset + self.per_page - BLOCK)
        asked = {**self.request, "offset": start, "limit": BLOCK}
        found = await self.asked_here("train.preview", asked)
        if found is not None:
            self._learn(found)
            self._show(offset)

    def _show(self, offset: int) -> None:
        self.page = self.result = self._page(offset)
        self.say("")
        self.show_anew()
