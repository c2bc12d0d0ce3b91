"""Set-up: each check with its state and remedy, and the source's tables, column by column."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.content import Content

from sophia_tui.domain.operations import Operation
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.effects import effect_of
from sophia_tui.tui.parts import Cell, Part, grid, pairs, title
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row
from sophia_tui.tui.widgets.plate import error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

APPLY = "setup.apply"
_COMMAND = "sophia "
_GRAVEST = ("problem", "attention", "unknown", "empty", "ok")
_STATE_WIDTH = 14  # the longest word of a state, in any language, with its sign


class SetupScreen(DetailScreen):
    """Rows are the checks, then the tables that the source has or lacks."""

    scopes = ("table", "list", "setup")
    name_of_screen = "setup"
    interval = 30.0

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self._ask_provider = True  # once, and on r; what it said is kept in between
        self._offered = False

    def heading(self) -> str:
        """With how many checks are a problem, or want a look: it is read first."""
        states = [_state(each) for each in self.data or () if not hasattr(each, "table")]
        parts = [_("Set-up")]
        for state in ("problem", "attention"):
            if count := states.count(state):
                parts.append(f"{state_sign(state, self.sophia.glyphs)}: {number(count)}")
        return "  ".join(parts)

    def columns(self) -> Sequence[tuple[str, int]]:
        name = 24 if not self.wide else 26
        shape = [(_("State"), _STATE_WIDTH), (_("Check"), name)]
        return shape if self.wide else [*shape, (_("Found"), self.room - name - _STATE_WIDTH - 4)]

    async def rows_of(self) -> list[Any]:
        asked, self._ask_provider = self._ask_provider, False
        checked: Any = await self.sophia.call("setup.check", {"ask_provider": asked})
        found = list(checked.items)
        store = next((each for each in found if each.id == "store"), None)
        if store is not None and store.state == "problem":
            self.sophia.store_away()
        if checked.fresh:
            self._offer()
        try:
            tables: Any = await self.sophia.call("source.inspect", {})
        except SophiaError:
            return found  # why the source does not answer stands in its check
        return [*found, *tables.items]

    def _offer(self) -> None:
        """The first set-up opens by itself where nobody has set anything, once for each person."""
        if not self._offered and self.app.screen is self:
            self._offered = True
            self.sophia.offer_first_setup()

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [("state", _("State")), ("name", _("Check"))]

    def sort_value(self, row: Row, name: str) -> Any:
        """The gravest first."""
        return _GRAVEST.index(_state(row.data)) if name == "state" else _name(row.data).casefold()

    def to_rows(self, data: list[Any]) -> list[Row]:
        return [self._row(each) for each in data]

    def _row(self, item: Any) -> Row:
        """Its key is the same in every language: the row stays when the language changes."""
        if hasattr(item, "table"):
            key, found = f"table {item.table}", item.problem or item.note or _about(item)
        else:
            key, found = item.id or item.name, item.found
        cells = (state_sign(_state(item), self.sophia.glyphs), _name(item))
        return Row(key, cells if self.wide else (*cells, found), item)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        glyphs, state = self.sophia.glyphs, _state(told)
        parts: list[Part] = [(visible(_name(told)), "bold"), "  "]
        parts += [(state_sign(state, glyphs), words.STYLES[state]), "\n\n"]
        if not hasattr(told, "table"):
            return Content.assemble(*parts, *self._of_check(told))
        rows = None if told.rows_estimate is None else number(told.rows_estimate)
        parts += pairs(
            [
                (_("Found as"), told.found or ""),
                (_("Kind"), worded("kind", told.kind) or ""),
                (_("Rows, about"), rows or ""),
                (_("Problem"), told.problem),
                (_("Note"), told.note),
            ]
        )
        if told.columns:
            lines: list[list[Cell]] = [
                [
                    each.column,
                    each.found or "-",
                    _("needed") if each.required else "",
                    each.problem or (_("ok") if each.usable else _("not usable")),
                ]
                for each in told.columns
            ]
            parts += title(_("Columns"))
            parts += grid([_("Column"), _("Type"), "", _("State")], lines, width, glyphs)
        return Content.assemble(*parts)

    def _of_check(self, told: Any) -> list[Part]:
        parts: list[Part] = [visible(told.found) + "\n"]
        if told.detail:
            parts += ["\n", *(visible(each) + "\n" for each in told.detail)]
        if told.remedy:
            parts += ["\n", (_("What to do") + "\n", "bold"), visible(told.remedy), "\n"]
        if told.remedy_step:
            by = told.remedy_step
            if not by.startswith(_COMMAND):
                by = _("the step {step} of the installer").format(step=by)
            parts += ["\n", (self._key("act.apply"), "bold $accent"), "  ", visible(by), "\n"]
        run = self.sophia.step_run
        if run is not None and run.step == told.remedy_step:
            state = _("is running") if run.running else _("has ended")
            parts += [
                (self._key("act.output"), "bold $accent"),
                "  ",
                _("its output") + f" ({state})\n",
            ]
        return [*parts, ("\n" + visible(told.id), "dim")] if told.id else parts

    def _key(self, target: str) -> str:
        """The key that leads there, however it is bound."""
        return next(each.shown for each in self.sophia.keys if each.target == target)

    def not_now(self, operation: str) -> str:
        if operation == "act.output" and self.sophia.step_run is None:
            return _("No step was run from here yet.")
        if operation != "act.apply":
            return ""
        row = self.shown
        if row is None or not getattr(row.data, "remedy_step", ""):
            return _("There is nothing to apply here.")
        return ""

    def act(self, name: str) -> bool:
        if name == "refresh":
            self._ask_provider = True
            self.refresh_now()
        elif name == "apply":
            self._apply(str(getattr(self.shown and self.shown.data, "remedy_step", "")))
        elif name == "output":
            self.sophia.show_step()
        elif name == "environment":
            self.sophia.show_environment()
        elif name == "first_setup":
            self.sophia.show_first_setup()
        else:
            return super().act(name)
        return True

    def _apply(self, remedy: str) -> None:
        run = self.sophia.step_run
        if remedy.startswith(_COMMAND):
            self._open_command(remedy)
        elif run is not None and run.running:
            self.sophia.show_step()  # one at a time: the one that runs
        elif remedy:
            work: Any = partial(self._confirm, remedy)
            self.run_worker(work, name="apply", group="apply", exclusive=True)

    def _open_command(self, remedy: str) -> None:
        every = self.sophia.dispatcher.registry
        found = next((each for each in every if each.command == remedy), None)
        # one that names what it is about: sophia models succeed gpt-4o
        begins, _space, about = remedy.rpartition(" ")
        of_one = next((each for each in every if each.command == begins), None)
        if found is None and of_one is not None and len(of_one.positional) == 1:
            self.sophia.open(of_one.name, {of_one.positional[0]: about})
        elif found is None:
            self.say(_("Run it in a shell: {command}").format(command=visible(remedy)))
        elif found.name == "env.list":
            self.sophia.show_environment()
        else:
            self.sophia.open(found.name, self.prefill(found.name))

    async def _confirm(self, step: str) -> None:
        """The effect is told, the way back has the focus; the firewall asks for its name typed."""
        from sophia_tui.tui.screens.confirm import ConfirmScreen

        operation: Operation = self.sophia.dispatcher.registry.get(APPLY)
        if not self.sophia.may(APPLY):
            self.say(_("{name} is not allowed for you.").format(name=APPLY))
            return
        self.say(_("Looking at what it would change..."))
        try:
            effect = await effect_of(self.sophia, operation, {"step": step})
        except SophiaError as problem:
            self.say(error_text(problem))
            return
        self.say("")
        if await self.app.push_screen_wait(ConfirmScreen(self.sophia, operation, step, effect)):
            self.sophia.begin_step(step)
        else:
            self.say(_("Nothing was done."))


def state_sign(state: str, glyphs: words.Glyphs) -> str:
    """A state as a sign and its word: never by colour alone."""
    return f"{glyphs.health.get(state, '?')} {worded('state', state)}"


def _name(item: Any) -> str:
    if hasattr(item, "table"):
        return _("table {name}").format(name=item.table)
    return str(item.name)


def _state(item: Any) -> str:
    if not hasattr(item, "table"):
        return str(item.state) if item.state in words.STYLES else "unknown"
    if item.usable:
        return "ok"
    return "empty" if item.found is None else "attention"


def _about(table: Any) -> str:
    if table.found is None:
        return _("not there")
    rows = "" if table.rows_estimate is None else number(table.rows_estimate)
    return " ".join(
        each
        for each in (
            table.found,
            rows
            and ngettext("about {n} row", "about {n} rows", table.rows_estimate).format(n=rows),
        )
        if each
    )
