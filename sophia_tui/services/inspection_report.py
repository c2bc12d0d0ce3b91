"""An inspection told to people: verdicts for each destination, costs, and a page for a browser."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Output
from sophia_tui.domain.passages import Passage
from sophia_tui.domain.protocols import Clock
from sophia_tui.errors import ConflictError, RefusedError, SophiaError
from sophia_tui.files import usable_folder, write_problem, write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services import inspection_page, inspection_words, token_costs
from sophia_tui.services.inspect import DestinationView, InspectedInput, InspectOutput
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load
from sophia_tui.services.token_costs import HostedTokens, LocalTokens
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.services.train_plan import Planner
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]


class ReportInput(InspectedInput):
    html: str | None = Field(
        default=None,
        description=N_("The page to write; default: in reports/ of the data folder."),
    )
    base: str | None = Field(
        default=None,
        description=N_("The base whose training here is estimated; default FINETUNE_BASE."),
    )


class InspectionReport(Output):
    path: str = Field(title=N_("File"))
    bytes: int = Field(title=N_("Bytes"))
    report: str = Field(title=N_("Report"))
    destinations: list[DestinationView] = Field(title=N_("What it can be used for"))
    hosted: list[HostedTokens] = Field(title=N_("Training at a provider"))
    local: LocalTokens | None = Field(default=None, title=N_("Training on this machine"))
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))

    def passages(self, name: str) -> Sequence[Passage] | None:
        if name != "destinations" or not self.destinations:
            return None
        return [Passage("", tuple(inspection_words.destinations(self.destinations)))]


class InspectionReportService:
    """`call` is the dispatcher's: the inspection itself is prepare.inspect."""

    def __init__(
        self,
        call: Call,
        planner: "Planner",
        settings: "Settings",
        paths: Paths,
        prices: Load,
        clock: Clock,
    ) -> None:
        self._call = call
        self._planner = planner
        self._settings = settings
        self._paths = paths
        self._prices = prices
        self._clock = clock

    @operation(
        "prepare.report",
        N_("Write an inspection as one page for a browser: verdicts, issues, topics, costs."),
        detaches=True,
        role=Role.OPERATOR,
        writes=True,
        target="path",
        positional=("path",),
    )
    async def report(self, context: Context, request: ReportInput) -> InspectionReport:
        """Raises what prepare.inspect raises, RefusedError D576, ConflictError D577, SetupError
        S101."""
        if request.html is not None and context.from_afar:
            raise RefusedError(
                "D576",
                _("Over HTTP a page has no path of its own."),
                _("It would write a file anywhere on the server."),
                _("Leave html out: the page lies in reports/ of the data folder."),
            )
        asked = request.model_dump(exclude={"html", "base"})
        found: InspectOutput = await self._call("prepare.inspect", asked, context)
        notes: list[str] = []
        hosted: list[HostedTokens] = []
        local = None
        tokens = found.sections.get("tokens")
        if tokens is None:
            notes.append(_("Costs want the section tokens: --also tokens, or --everything."))
        else:
            hosted = token_costs.hosted(tokens, self._prices())
            local = await self._local(context, request, found, tokens, notes)
        page = inspection_page.page(found, found.destinations, hosted, local, self._clock.now())
        content = page.encode("utf-8", errors="replace")
        path = self._path(request.html, found)
        write_whole(path, content, mode=0o644 if request.html else 0o600)
        return InspectionReport(
            path=str(path),
            bytes=len(content),
            report=found.report,
            destinations=found.destinations,
            hosted=hosted,
            local=local,
            notes=notes,
        )

    async def _local(
        self,
        context: Context,
        request: ReportInput,
        found: InspectOutput,
        tokens: Mapping[str, Any],
        notes: list[str],
    ) -> LocalTokens | None:
        from sophia_tui.services.train import is_hosted, resolve_base

        named = request.base or self._settings.finetune_base
        try:
            if not named or is_hosted(named, None, self._settings):
                return None
            base = resolve_base(named, self._settings)
        except SophiaError as problem:
            notes.append(f"{problem.what} {problem.why}".strip())
            return None
        turns = token_costs.turns_of(found.roles)
        return await token_costs.local(context, tokens, turns, base, self._planner, self._settings)

    def _path(self, given: str | None, found: InspectOutput) -> Path:
        if given is None:
            usable_folder(self._paths.reports)
            return self._paths.reports / f"inspection-{found.report}.html"
        path = Path(given).expanduser().absolute()
        try:
            with path.open("rb") as stream:
                ours = inspection_page.MARK.encode() in stream.read(2048)
        except FileNotFoundError:
            return path
        except OSError as problem:
            raise write_problem(path, problem) from problem
        if not ours:
            raise ConflictError(
                "D577",
                _("{path} is there already, and is no inspection of Sophia's.").format(
                    path=visible(str(path))
                ),
                remedy=_("Name another file, or take that one away."),
            )
        return path
