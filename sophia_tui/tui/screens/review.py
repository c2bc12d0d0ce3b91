"""Review: the place kept for people's judgement of conversations, and what there is meanwhile."""

from collections.abc import Iterable

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.i18n import N_, _
from sophia_tui.tui.parts import Part
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.plate import Plate

#: What can be looked at meanwhile, by the operation that its key leads to.
_MEANWHILE = {
    "monitor.show": N_("How people judged the answers, day by day: Monitor."),
    "datasets.list": N_("What was collected and prepared, down to the source row: Data sets."),
    "prepare.browse": N_("Conversations and answers of a file, one by one."),
    "evaluate.compare": N_("Two models by their measures, and what each answered."),
    "serve.ask": N_("What a served model answers to a question of yours."),
}


class ReviewScreen(SophiaScreen):
    """It has no data, so it is never loading, empty or stale: it says what is not there."""

    CSS_PATH = "overview.tcss"
    scopes = ("review",)
    name_of_screen = "review"

    def heading(self) -> str:
        return _("Review")

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body") as scroll:
            scroll.can_focus = True
            yield Plate(id="board")

    def redraw(self) -> None:
        super().redraw()
        for plate in self.query("#board").results(Plate):
            plate.draw(self._told())  # what is offered is known after the first paint

    def _told(self) -> Content:
        parts: list[Part] = [
            (_("People's review of conversations is not part of this version.") + "\n\n", "bold"),
            _(
                "Its place is here: people will read conversations, judge the answers, and what"
                " they correct will become training data."
            ),
            "\n",
        ]
        offered = [
            each
            for each in self.known_keys()
            if each.target in _MEANWHILE and self.sophia.offers(each)
        ]
        if offered:
            parts += ["\n", (_("Meanwhile there is") + "\n", "bold")]
        for each in offered:
            parts += [(f"{each.shown:<3}", "bold $accent"), _(_MEANWHILE[each.target]) + "\n"]
        return Content.assemble(*parts)

    def copied(self) -> str:
        return self.query_one("#board", Plate).text
