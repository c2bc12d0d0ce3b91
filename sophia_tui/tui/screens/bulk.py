"""One operation on all marked rows: one form, one question, then one after the other as each would
be done alone, so that each is allowed, audited and refused for itself."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from textual.content import Content
from textual.widgets import Input

from sophia_tui.domain.context import CancelSignal
from sophia_tui.domain.operations import Danger, Operation, Output
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services import fields
from sophia_tui.services.views import JobView
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.effects import effect_of
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.form import GUARDS, FormScreen, typed_text
from sophia_tui.tui.state import Origin
from sophia_tui.tui.widgets.plate import Plate, error_text
from sophia_tui.tui.with_keys import with_keys

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Command lines that the form shows; F7 copies all of them.
_LINES_SHOWN = 3
#: The draft of a form for several rows is kept under this and their names.
_MARKED = "marked:"
#: Names that the form shows; the question lists all of them.
_NAMES_SHOWN = 12


@dataclass(frozen=True)
class Target:
    """A marked row: what the list knows of it for the operation, or why it is left out."""

    key: str
    request: dict[str, Any]
    left_out: str = ""


class BulkItem(Output):
    """What became of one target."""

    table_columns: ClassVar[tuple[str, ...]] = ("target", "outcome", "why")

    target: str = Field(title=N_("Target"))
    outcome: str = Field(title=N_("Outcome"))
    code: str | None = Field(default=None, title=N_("Code"))
    why: str = Field(default="", title=N_("Why"))
    command: str = Field(default="", title=N_("Command"))


class BulkResult(Output):
    """What became of each, in the order in which they were done."""

    done: int | None = Field(default=None, title=N_("Targets done"))
    queued: int | None = Field(default=None, title=N_("Jobs that wait or run"))
    items: list[BulkItem] = Field(title=N_("Targets"))


class BulkScreen(FormScreen):
    """`targets` are the marked rows, `unmark` takes the marks of those that are done away."""

    def __init__(
        self,
        sophia: "Console",
        operation: Operation,
        targets: Sequence[Target],
        unmark: Callable[[Iterable[str]], None],
        of_list: str = "",
    ) -> None:
        """`of_list`: the list in which they are marked, where a draft opens the form again."""
        self.targets = [each for each in targets if not each.left_out]
        self.left_out = [each for each in targets if each.left_out]
        self._unmark = unmark
        requests = [each.request for each in self.targets]
        first = requests[0]
        super().__init__(sophia, operation, first)
        self._all = self.fields
        #: Fields in which the rows differ: left empty, each keeps its own.
        self._own = {
            name
            for name in self._all
            if name != operation.target
            and any(each.get(name) != first.get(name) for each in requests)
        }
        self.fields = {name: info for name, info in self._all.items() if name != operation.target}
        for name in self._own:
            if not fields.is_switch(self._all[name]):
                self._fresh[name] = ""
        #: What brings the form back: the marks of its list.
        self.origin = Origin(
            "bulk", operation.name, {"list": of_list, "marked": [each.key for each in targets]}
        )
        # what was typed for these is not for others
        self._target = f"{_MARKED} {' '.join(sorted(each.key for each in targets))}"
        found = sophia.state.draft(operation.name, self._target)
        draft = {name: found[name] for name in found if name in self.fields and name not in GUARDS}
        typed = {name: self._start(name, self.fields[name], draft, {}) for name in draft}
        self.typed = {**self._fresh, **typed}
        self._drafted = {name for name in typed if typed[name] != self._fresh[name]}
        self._began = dict(self.typed)

    def on_mount(self) -> None:
        self.query_one("#help", Plate).draw(self._told())
        for name in self._own:
            for field in self.query(f"#field-{name}").results(Input):
                field.placeholder = _("as each has it")

    def _told(self) -> Content:
        count = len(self.targets)
        said = ngettext("{n} marked: {names}", "{n} marked: {names}", count)
        names = [visible(each.key) for each in self.targets]
        told = ", ".join(names[:_NAMES_SHOWN])
        if len(names) > _NAMES_SHOWN:
            told += ", " + _("and {n} more").format(n=number(len(names) - _NAMES_SHOWN))
        parts: list[str | tuple[str, str]] = [_(self.operation.help), "\n"]
        parts.append((said.format(n=number(count), names=told), "bold $warning"))
        for each in self.left_out:
            text = _("{target} is left out: {why}")
            parts.append("\n" + text.format(target=visible(each.key), why=each.left_out))
        return Content.assemble(*parts)

    def reopened_with(self) -> Mapping[str, Any]:
        return self.origin.request if self.origin is not None else {}

    async def _look_for_changes(self) -> None:
        """Who was faster is told by each target's own refusal."""

    # -- what is asked for

    def request(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What all targets are asked with, checked with the first of them."""
        shown, typed = self.fields, self.typed
        first = {name: typed_text(value) for name, value in self.targets[0].request.items()}
        empty = {
            name: first.get(name, "")
            for name in self._all
            if name not in shown or (name in self._own and typed[name] == "")
        }
        self.fields, self.typed = self._all, {**typed, **empty}
        try:
            asked, wrong = super().request()
        finally:
            self.fields, self.typed = shown, typed
        common = {name: value for name, value in asked.items() if name not in empty}
        return common, {name: text for name, text in wrong.items() if name in ("", *shown)}

    def _request_of(self, target: Target, common: dict[str, Any]) -> dict[str, Any]:
        """A target's own values, and what was typed for all of them."""
        own = {
            name: value
            for name, value in target.request.items()
            if name not in self.fields or (name in self._own and name not in common)
        }
        return {**own, **common}

    def asks(self) -> list[tuple[str, dict[str, Any]]]:
        """The same for each target."""
        common, _wrong = self.request()
        asked = (self._request_of(each, common) for each in self.targets)
        return [
            (self.operation.name, {name: one[name] for name in one if name in self._all})
            for one in asked
        ]

    def lines(self) -> list[str]:
        """The same from a shell, a line for each target."""
        return [fields.equivalent(self.operation, asked) for _name, asked in self.asks()]

    def _check(self) -> bool:
        good = super()._check()
        lines = self.lines()
        shown = [visible(each) for each in lines[:_LINES_SHOWN]]
        if len(lines) > _LINES_SHOWN:
            rest = len(lines) - _LINES_SHOWN
            shown.append(
                ngettext(
                    "and {n} line more; F7 copies all", "and {n} lines more; F7 copies all", rest
                ).format(n=number(rest))
            )
        _asked, wrong = self.request()
        general = f"\n{wrong['']}" if wrong.get("") else ""
        self.query_one("#command", Plate).draw(
            Content.assemble(("\n".join(shown), "$accent"), (general, "$error"))
        )
        return good

    def copied(self) -> str:
        return "\n".join(self.lines())

    # -- doing it

    async def _run(self, dry_run: bool, detach: bool = False) -> None:
        if self.running is not None:
            return
        common, wrong = self.request()
        if wrong:
            self._show_wrong(wrong)
            return
        if (dry_run and not self.operation.dry_run) or (detach and not self.operation.detaches):
            self.say(
                _("This can't run dry.") if dry_run else _("This can't run in the background.")
            )
            return
        self.running = CancelSignal()
        try:
            refused = await self.sophia.refusal(self.operation, dry_run)
            if refused is not None:
                self._show("outcome", error_text(refused))
                return
            planned = [(each, self._request_of(each, common)) for each in self.targets]
            items: list[BulkItem] = []
            if self.operation.danger is not Danger.NONE and not dry_run:
                effects, items = await self._effects(planned)
                planned = [each for each in planned if each[0].key in effects]
                if not planned and not self.running.requested:
                    self._end(items)
                    return
                if self.running.requested or not await self._confirmed(effects, items):
                    self.say(_("Nothing was done."))
                    return
            items += await self._one_by_one(planned, dry_run, detach)
        finally:
            self.running = None
            self._say_how_far("")
        self._end(items, dry_run)

    async def _effects(
        self, planned: Sequence[tuple[Target, dict[str, Any]]]
    ) -> tuple[dict[str, list[str]], list[BulkItem]]:
        """What each would change; and those that would be refused, which are not asked for."""
        self.say(_("Looking at what it would change..."))
        effects: dict[str, list[str]] = {}
        refused: list[BulkItem] = []
        for place, (target, asked) in enumerate(planned):
            if self.running is not None and self.running.requested:
                break
            self._tell_place(place, len(planned), target)
            try:
                effects[target.key] = await effect_of(self.sophia, self.operation, asked)
            except SophiaError as problem:
                refused.append(self._item(target, asked, problem))
        self.say("")
        return effects, refused

    async def _confirmed(self, effects: dict[str, list[str]], refused: list[BulkItem]) -> bool:
        """One question that lists every target and what it means for it."""
        count = len(effects)
        said = ngettext("{n} target:", "{n} targets:", count).format(n=number(count))
        parts: list[str | tuple[str, str]] = [(_(self.operation.help), "bold"), "\n\n", said]
        for key, lines in effects.items():
            parts += ["\n  ", (visible(key), "bold $warning")]
            parts += [f"\n    {line}" for line in lines]
        if not any(effects.values()):
            parts += ["\n\n", _("This changes what is hard to change back.")]
        for each in refused:
            text = _("{target} would be refused and is left out: {why}")
            parts.append("\n" + text.format(target=visible(each.target), why=each.why))
        # marks may be out of sight: how many there are is what a person gets wrong, and names of
        # many are pasted, not read
        typed = f"{count} {self.operation.verb}"
        name = typed if self.operation.danger is Danger.TYPE_NAME else ""
        question = Content.assemble(*parts)
        return await self.app.push_screen_wait(
            QuestionScreen(question, words.act_word(self.operation), name)
        )

    async def _one_by_one(
        self, planned: Sequence[tuple[Target, dict[str, Any]]], dry_run: bool, detach: bool
    ) -> list[BulkItem]:
        """Each as it would be done alone; esc stops after the one that runs."""
        self.say(_("Running; esc stops after this one."))
        confirmed = self.operation.danger is not Danger.NONE and not dry_run
        items = []
        for place, (target, asked) in enumerate(planned):
            stopped = self.running is not None and self.running.requested
            if stopped or not self.is_mounted:
                items.append(self._item(target, asked, None, "skipped"))
                continue
            self._tell_place(place, len(planned), target)
            try:
                result = await self.sophia.call(
                    self.operation.name,
                    asked,
                    dry_run=dry_run,
                    confirmed=confirmed,
                    detach=detach,
                )
            except SophiaError as problem:
                items.append(self._item(target, asked, problem))
            else:
                failed = isinstance(result, Output) and bool(result.exit_code())
                outcome = "failed" if failed else "dry_run" if dry_run else "done"
                job = _open_job(result)
                if outcome == "done" and job and job != target.key:
                    outcome = "queued"
                items.append(
                    self._item(target, asked, None, outcome, job if outcome == "queued" else "")
                )
            await asyncio.sleep(0)  # esc and the others get their turn
        return items

    def _tell_place(self, place: int, count: int, target: Target) -> None:
        self._say_how_far(f"{number(place + 1)}/{number(count)}  {visible(target.key)}")

    def _item(
        self,
        target: Target,
        asked: dict[str, Any],
        problem: SophiaError | None,
        outcome: str = "refused",
        job: str = "",
    ) -> BulkItem:
        known = {name: value for name, value in asked.items() if name in self._all}
        why = self._job_told(job) if job else ""
        if problem is not None:
            told = (problem.what, problem.why, with_keys(self.sophia)(problem.remedy))
            why = " ".join(filter(None, told))
        return BulkItem(
            target=target.key,
            outcome=outcome,
            code=problem.code if problem else None,
            why=visible(why),
            command=fields.equivalent(self.operation, known),
        )

    def _job_told(self, job: str) -> str:
        """The job that works on it, and the digit of the screen that shows it."""
        found = [each.shown for each in self.sophia.keys if each.target == "screen.jobs"]
        if not found or not self.sophia.may(keys.SHOWS["jobs"]):
            return _("job {job}").format(job=job)
        return _("job {job} ({key} shows it)").format(job=job, key=found[0])

    def _end(self, items: list[BulkItem], dry_run: bool = False) -> None:
        """Say what became of each; marks of those that are done are taken away."""
        done = [each.target for each in items if each.outcome == "done"]
        queued = [each.target for each in items if each.outcome == "queued"]
        self._unmark([*done, *queued])
        if not self.is_mounted:
            return
        self._began = dict(self.typed)
        if done:
            self.sophia.state.drop_draft(self.operation.name, self._target)
        left = [
            BulkItem(target=each.key, outcome="skipped", why=each.left_out)
            for each in self.left_out
        ]
        told = len(items) if dry_run else len(done)
        title = words.operation_title(self.operation)
        result = BulkResult(
            done=told if told or not queued else None,
            queued=len(queued) or None,
            items=[*items, *left],
        )
        self.sophia.finished(self, title, result)


def _open_job(result: Any) -> str:
    """The job that an operation began and that has not ended, by its id; else nothing."""
    if not isinstance(result, JobView) or result.status in ("succeeded", "failed", "cancelled"):
        return ""
    return result.id
