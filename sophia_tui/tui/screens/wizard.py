"""The first set-up, page by page. Each answer is tried out before the next page; nothing is written
before the plan on the last one is confirmed. It can be left and taken up again: what was typed is
kept, secrets are not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import LANGUAGES, N_, _, get_language
from sophia_tui.services import fields
from sophia_tui.services.setup_begin import SetupAnswers
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.parts import Part, grid
from sophia_tui.tui.screens.base import SophiaScreen, StylePath
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.setup import state_sign
from sophia_tui.tui.setup_acts import FIRST_SETUP
from sophia_tui.tui.widgets.choice import Choice
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


@dataclass(frozen=True)
class WizardPage:
    """`fields` are those of SetupAnswers; `stays`: what was found is read before going on."""

    title: str
    about: str
    fields: tuple[str, ...] = ()
    stays: bool = False


PAGES = (
    WizardPage(
        N_("Language"),
        N_("The language of the console, and in which people are written to."),
        ("language",),
    ),
    WizardPage(
        N_("Your production database"),
        N_(
            "Where questions, answers and feedback are. It is only read, never altered. Leave it"
            " empty to go on without; the password has a field of its own."
        ),
        ("database_url", "db_pass"),
        stays=True,
    ),
    WizardPage(
        N_("Training data"),
        N_("The folder whose *.jsonl files are merged for a training."),
        ("finetune_dir",),
    ),
    WizardPage(
        N_("Provider"),
        N_(
            "Only for trainings at an OpenAI-compatible service, and for judging answers. Leave it"
            " empty to train on this machine."
        ),
        ("openai_api_key", "openai_base_url"),
        stays=True,
    ),
    WizardPage(
        N_("Base model"),
        N_("What trainings begin with: a folder, a hub id, a GGUF file, or a hosted name."),
        ("finetune_base",),
    ),
    WizardPage(
        N_("Firewall"),
        N_("How it stands now. Nothing is changed here: Set-up has its remedy."),
    ),
    WizardPage(
        N_("Backups"),
        N_("The folder that backups are written to. Keep copies on another machine as well."),
        ("backup_dir",),
    ),
    WizardPage(N_("The plan"), N_("What will be written. Nothing was changed so far.")),
)
_FIREWALL, _PLAN = 5, len(PAGES) - 1
#: The setting that stands for a field now, to begin with.
_NOW = {
    "finetune_dir": "FINETUNE_DIR",
    "openai_base_url": "OPENAI_BASE_URL",
    "finetune_base": "FINETUNE_BASE",
    "backup_dir": "SOPHIA_BACKUP_DIR",
}
_LANGUAGE_WORDS = {"en": "English", "pt_BR": "Português (Brasil)"}


class WizardScreen(SophiaScreen):
    CSS_PATH: ClassVar[StylePath] = "wizard.tcss"
    scopes: tuple[str, ...] = ("wizard",)
    holds_work = True

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        draft = sophia.state.draft(FIRST_SETUP)
        names = SetupAnswers.model_fields
        self.typed: dict[str, str] = {name: str(draft.get(name) or "") for name in names}
        self.typed["language"] = self.typed["language"] or get_language()
        kept = draft.get("page")
        self.page = kept if isinstance(kept, int) and 0 <= kept < len(PAGES) else 0
        self._now: dict[str, str] = {}
        #: What was tried and found good enough, to go on with a second press.
        self._tried: dict[str, str] | None = None
        self._busy = False
        self._leaving = False
        self.finished = False

    def heading(self) -> str:
        place = _("{page} of {pages}").format(page=self.page + 1, pages=len(PAGES))
        return _("First set-up") + f"  {place}"

    def footer(self) -> list[keys.Key]:
        return keys.while_typing(super().footer())

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body", id="wizard"):
            yield Plate(id="title")
            for name in SetupAnswers.model_fields:
                yield Plate(_label(name), classes="label", id=f"label-{name}")
                yield self._widget(name)
            yield Plate(id="found")
        with Horizontal(id="buttons"):
            yield Button(_("Go on"), id="next", compact=True, variant="primary")
            yield Button(_("Page before"), id="before", compact=True)
            yield Button(_("Leave"), id="leave", compact=True)

    def _widget(self, name: str) -> Widget:
        if name == "language":
            options = [(each, _LANGUAGE_WORDS[each]) for each in LANGUAGES]
            return Choice(options, self.typed[name], f"field-{name}")
        made = Field(
            value=self.typed[name],
            password=_hidden(name),
            id=f"field-{name}",
            compact=True,
            select_on_focus=False,
        )
        made.cursor_blink = False  # a blinking cursor is sent over the line for ever
        return made

    def on_mount(self) -> None:
        super().on_mount()
        self._turn_to(self.page)
        work: Any = self._begin
        self.run_worker(work, name="now")

    async def _begin(self) -> None:
        """What is set now stands in the fields that nothing was typed into."""
        try:
            listed: Any = await self.sophia.call("settings.list", {})
        except SophiaError as problem:
            self.say(visible(str(problem)))
            return
        values = {each.key: each.value or "" for each in listed.items}
        self._now = {name: values.get(key, "") for name, key in _NOW.items()}
        for name, value in self._now.items():
            for field in self.query(f"#field-{name}").results(Input):
                if not self.typed[name] and value:
                    field.value = value

    # -- pages

    def _turn_to(self, page: int) -> None:
        self.page, self._tried = page, None
        chosen = PAGES[page]
        about = Content.assemble((_(chosen.title), "bold"), "\n\n", _(chosen.about))
        self.query_one("#title", Plate).draw(about)
        for name in SetupAnswers.model_fields:
            for each in self.query(f"#label-{name}, #field-{name}"):
                each.display = name in chosen.fields
        self._show_found("")
        self.query_one("#next", Button).label = _("Write them") if page == _PLAN else _("Go on")
        self.query_one("#before").display = page > 0
        first = [f"#field-{name}" for name in chosen.fields] or ["#next"]
        self.query_one(first[0]).focus()
        self.redraw()
        self.keep_draft()
        if page in (_FIREWALL, _PLAN):
            work: Any = self._firewall if page == _FIREWALL else self._plan
            self.run_worker(work, name="page", group="page", exclusive=True)

    def _show_found(self, content: Content | str) -> None:
        for plate in self.query("#found").results(Plate):
            plate.draw(content)

    async def _firewall(self) -> None:
        self._show_found(_("Loading..."))
        try:
            found: Any = await self.sophia.call("setup.check", {"only": ["firewall"]})
        except SophiaError as problem:
            self._show_found(error_text(problem))
            return
        self._show_found(Content.assemble(*self._of_checks(found.items)))

    async def _plan(self) -> None:
        self._show_found(_("Loading..."))
        asked = self.answers()
        if not asked:
            self._show_found(_("Nothing is to be written: everything stays as it is."))
            return
        try:
            planned: Any = await self.sophia.call("setup.begin", asked, dry_run=True)
        except SophiaError as problem:
            self._show_found(error_text(problem, self.sophia.log_path))
            return
        rows = [[each.key, each.place, each.value] for each in planned.items]
        titles = [_("Setting"), _("Written to"), _("Value")]
        width = max(40, self.size.width - 4)
        self._show_found(Content.assemble(*grid(titles, rows, width, self.sophia.glyphs)))

    def _of_checks(self, items: Iterable[Any]) -> Iterator[Part]:
        for each in items:
            yield (f"{visible(each.name)}  ", "bold")
            sign = state_sign(each.state, self.sophia.glyphs)
            yield (sign, words.STYLES.get(each.state, ""))
            yield f"  {visible(each.found)}\n"
            yield from (f"  {visible(line)}\n" for line in each.detail)
            if each.remedy:
                yield f"  {visible(each.remedy)}\n"

    # -- answers

    def answers(self, names: Iterable[str] = tuple(SetupAnswers.model_fields)) -> dict[str, str]:
        """What was answered and is not so already."""
        found = {name: self.typed[name].strip() for name in names}
        return {name: each for name, each in found.items() if each and each != self._now.get(name)}

    def on_input_changed(self, event: Input.Changed) -> None:
        self._took((event.input.id or "").removeprefix("field-"), event.value)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self._took((event.choice.id or "").removeprefix("field-"), event.value)

    def _took(self, name: str, value: str) -> None:
        if name in self.typed and self.typed[name] != value:
            self.typed[name] = value
            self._tried = None
            if self.page not in (_FIREWALL, _PLAN):
                self._show_found(_wrong(name, value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        names = PAGES[self.page].fields
        if event.input.id == f"field-{names[-1]}":
            self.act("run")
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        acts = {"next": "run", "before": "page_before", "leave": "leave"}
        self.act(acts.get(event.button.id or "", ""))

    def act(self, name: str) -> bool:
        if name == "run":
            if not self._busy:
                work: Any = self._write if self.page == _PLAN else self._next
                self.run_worker(work, name="next", group="next", exclusive=True)
        elif name == "page_before" or (name == "back" and self.page > 0 and not self._leaving):
            self._turn_to(max(0, self.page - 1))
        elif name == "leave":
            self._leave()
        else:
            return False
        return True

    async def _next(self) -> None:
        """Try the page's answers; go on where they are good, else say what was found."""
        chosen = PAGES[self.page]
        wrong = next(
            (
                _wrong(each, self.typed[each])
                for each in chosen.fields
                if _wrong(each, self.typed[each])
            ),
            "",
        )
        if wrong:
            self._show_found(wrong)
            self.say(_("Please correct what is marked."))
            return
        asked = self.answers(chosen.fields)
        tested = {name: value for name, value in asked.items() if name != "language"}
        if tested and self._tried != tested and not await self._good(tested, chosen.stays):
            return
        if "language" in chosen.fields and self.typed["language"] != get_language():
            self.page += 1  # the screen is made anew, at its next page
            self.keep_draft()
            self.sophia.speak(self.typed["language"])
            return
        self.say("")
        self._turn_to(self.page + 1)

    async def _good(self, asked: dict[str, str], stays: bool) -> bool:
        """Whether to go on at once."""
        self._busy = True
        self.say(_("Trying it out..."))
        try:
            report: Any = await self.sophia.call("setup.test", asked)
        except SophiaError as problem:
            self.say("")
            self._show_found(error_text(problem, self.sophia.log_path))
            return False
        finally:
            self._busy = False
        self._show_found(Content.assemble(*self._of_checks(report.items)))
        if not report.good:
            self.say(_("Please correct it, or leave it empty."))
            return False
        self._tried = asked
        if stays or any(each.state != "ok" for each in report.items):
            self.say(_("F2 goes on; or change it."))
            self.query_one("#next").focus()
            return False
        return True

    async def _write(self) -> None:
        asked = self.answers()
        if not asked:
            self._end()
            return
        question = Content(_("Write what the plan says? Each file is kept as it was beside it."))
        if not await self.app.push_screen_wait(QuestionScreen(question, _("Write them"))):
            self.say(_("Nothing was done."))
            return
        self._busy = True
        self.say(_("Writing..."))
        try:
            done: Any = await self.sophia.call("setup.begin", asked, confirmed=True)
        except SophiaError as problem:
            self.say(_("It failed."))
            self._show_found(error_text(problem, self.sophia.log_path))
            return
        finally:
            self._busy = False
        self._end()
        self.sophia.offer_restart(list(done.restart))

    def _end(self) -> None:
        self.finished = True
        self.sophia.state.keep_draft(FIRST_SETUP, {"left": True, "done": True})
        self._leave()

    def _leave(self) -> None:
        self.keep_draft()
        self._leaving = True
        self.sophia.go("act.back", self)

    # -- what is kept

    @property
    def dirty(self) -> bool:
        return False  # what was typed is kept as it is typed

    def keep_draft(self) -> None:
        if self.finished:
            return
        kept: dict[str, Any] = {
            name: value for name, value in self.typed.items() if value and not _hidden(name)
        }
        if _password_in(kept.get("database_url", "")):
            del kept["database_url"]
        kept |= {"left": True, "page": self.page}
        self.sophia.state.keep_draft(FIRST_SETUP, kept)

    def on_unmount(self) -> None:
        super().on_unmount()
        self.keep_draft()


def _hidden(name: str) -> bool:
    """An address without its password may be seen; a secret never."""
    return name != "database_url" and fields.is_secret(SetupAnswers.model_fields[name])


def _label(name: str) -> Content:
    text = _(SetupAnswers.model_fields[name].description or "").removesuffix(".")
    key = _NOW.get(name, name.upper() if name != "language" else "")
    return Content.assemble((text, "bold"), (f"  {key}", "dim"))


def _password_in(url: str) -> bool:
    try:
        return bool(urlsplit(url.strip()).password)
    except ValueError:
        return False


def _wrong(name: str, value: str) -> str:
    """What is wrong with an answer as it stands there."""
    if name == "database_url" and _password_in(value):
        return _("Leave the password out of the address: the field below masks it.")
    if name == "database_url" and value.strip() and "://" not in value:
        return _("An address is like postgresql://user@host:5432/database.")
    if name == "openai_base_url" and value.strip() and "://" not in value:
        return _("An address is like https://host/v1.")
    return ""
