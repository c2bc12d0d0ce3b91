"""What cleaning changes or changed: all of it as a list, then change by change, before and after
beside each other from 100 columns on.
"""

from typing import TYPE_CHECKING, Any

from textual.content import Content

from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.clean import PreviewOutput
from sophia_tui.services.version_views import VersionDiff
from sophia_tui.tui import keys
from sophia_tui.tui.change_text import Change, change_text, changes_of
from sophia_tui.tui.screens.result import ResultScreen, result_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: So many of each step are told when more are asked for; and rows of a comparison at once.
_MORE = 100


class ChangesScreen(ResultScreen):
    """Page 0 is the list; `place` counts the changes from 1. `request` is what was asked: it is
    asked once more for those that were not told yet."""

    scopes: tuple[str, ...] = ("result", "changes")

    def __init__(
        self,
        sophia: "Console",
        title: str,
        result: PreviewOutput | VersionDiff,
        request: dict[str, Any],
    ) -> None:
        super().__init__(sophia, title, result)
        self.found: PreviewOutput | VersionDiff = result
        self.request = request
        self.changes: list[Change] = changes_of(result)
        self.place = 0

    @property
    def change(self) -> Change | None:
        """The one that is shown."""
        return self.changes[self.place - 1] if self.place else None

    def lay_out(self, width: int) -> Content:
        change = self.change
        if change is None:
            return result_text(self.found, width)
        where = _("change {n} of {total}").format(
            n=number(self.place), total=number(len(self.changes)) + ("+" if self._more else "")
        )
        return Content.assemble((where + "\n", "dim"), change_text(change, width))

    @property
    def _more(self) -> bool:
        """Whether there are some that were not told yet."""
        if isinstance(self.found, VersionDiff):
            return self.found.more
        if int(self.request.get("shown") or 0) >= _MORE:
            return False
        return any(
            step.leave > len(step.leaving) or step.changed > len({c.line for c in step.changes})
            for step in self.found.steps
        )

    def memory(self) -> dict[str, Any]:
        return {**super().memory(), "place": self.place}

    def recall(self, kept: dict[str, Any]) -> None:
        place = kept.get("place")
        if type(place) is int and 0 <= place <= len(self.changes):
            self.place = place
        super().recall(kept)

    def footer(self) -> list[keys.Key]:
        able = {
            "act.more": self._more,
            "act.look_into": bool(self.change and self.change.file and self._place()),
            "act.next_step": len({each.group for each in self.changes}) > 1,
        }
        return [each for each in super().footer() if able.get(each.target, True)]

    def _place(self) -> dict[str, Any] | None:
        """Where the record browser would begin: a line of a file that can be named."""
        change = self.change
        if change is None or not change.file:
            return None
        given = str(self.request.get("source") or "")
        whole = given if given.rsplit("/", 1)[-1] == change.file else ""
        return {"file": whole or change.file, "line": change.line, "exact": True}

    def act(self, name: str) -> bool:
        if name == "next_change" and self.place == len(self.changes) and self._more:
            self._ask_for_more()
        elif name in ("next_change", "previous_change"):
            self._go(self.place + (1 if name == "next_change" else -1))
        elif name == "next_step":
            self._next_step()
        elif name == "more":
            if self._more:
                self._ask_for_more()
            else:
                self.say(_("All of them are here."))
        elif name == "look_into":
            place = self._place()
            if place is None:
                self.say(_("n goes to a change; then its line can be looked into."))
            else:
                from sophia_tui.tui.screens.browser import BrowserScreen

                self.sophia.show(BrowserScreen(self.sophia, place))
        else:
            return super().act(name)
        return True

    def _go(self, place: int) -> None:
        if not 0 <= place <= len(self.changes):
            self.say(_("There is no other change."))
            return
        self.place = place
        self.say("")
        self.show_anew()

    def _next_step(self) -> None:
        """The first change of the next step (of the next kind, between versions)."""
        group = self.change.group if self.change else None
        for place, each in enumerate(self.changes, start=1):
            if place > self.place and each.group != group:
                self._go(place)
                return
        self.say(_("There is no other step with changes."))

    def _ask_for_more(self) -> None:
        if self.awaited is not None:
            self.say(_("Something is running here; esc stops it."))
            return
        work: Any = self._asked_for_more
        self.run_worker(work, name="more", group="more", exclusive=True)

    async def _asked_for_more(self) -> None:
        among = isinstance(self.found, VersionDiff)
        asked = {**self.request, **({"limit": _MORE} if among else {"shown": _MORE})}
        if among:
            begin = int(self.request.get("offset") or 0)
            asked["offset"] = begin + len(self.changes)
        found = await self.asked_here("prepare.diff" if among else "prepare.preview", asked)
        if found is not None:
            self._learn(found)

    def _learn(self, found: PreviewOutput | VersionDiff) -> None:
        at = self.change
        if isinstance(self.found, VersionDiff) and isinstance(found, VersionDiff):
            items = [*self.found.items, *found.items]
            found = found.model_copy(update={"items": items})
        else:
            self.request = {**self.request, "shown": _MORE}
        self.found = self.result = found
        self.changes = changes_of(found)
        # the one that was looked at, and on to the next where that was asked for
        self.place = self.changes.index(at) + 1 if at in self.changes else 0
        many = len(self.changes)
        told = ngettext("{n} change is here now.", "{n} changes are here now.", many)
        self.say(told.format(n=number(many)))
        self.show_anew()
