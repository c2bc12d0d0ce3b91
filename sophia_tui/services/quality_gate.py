"""The quality gate: whether a data set is fit to be learnt from, each figure against its bound."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from sophia_tui.domain.context import Context, Face
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.gates import CHECKS, Bound, read_bounds
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, DatasetStore
from sophia_tui.errors import NotFoundError, UnconfirmedError
from sophia_tui.files import usable_folder, write_whole
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import Paths
from sophia_tui.services.data_files import as_given
from sophia_tui.services.operations import operation
from sophia_tui.services.prepare import PROVIDER_MINIMUM
from sophia_tui.services.quality import percent
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_LISTED = 20
#: What each check asks, for people.
_LABELS = {
    "examples": N_("Examples"),
    "topics": N_("Diversity of topics"),
    "largest_topic": N_("Largest topic"),
    "balance": N_("Balance of types"),
    "near_duplicates": N_("Near-duplicates"),
    "short_answers": N_("Short answers"),
    "repeated_answers": N_("The same answer again"),
    "copied": N_("Copied answers"),
    "unusable": N_("Lines of wrong form"),
}
#: What to do where a check fails.
_REMEDIES = {
    "examples": N_("Collect more, or make variations of what is there."),
    "topics": N_("Collect conversations about other subjects too."),
    "largest_topic": N_("Take fewer examples of the largest topic, or more of the others."),
    "balance": N_("Cap the largest categories when cleaning."),
    "near_duplicates": N_("Remove near-duplicates when cleaning."),
    "short_answers": N_("Look at those answers: a model learns to be as short."),
    "repeated_answers": N_("Keep a few of the rows with that answer."),
    "copied": N_("Look at those answers: a model learns to repeat what it is given."),
    "unusable": N_("Mend those lines, or leave them out when cleaning."),
}
#: Checks whose figure is a count or an index; the others are shares.
_PLAIN = frozenset({"examples", "topics", "balance"})


class GateInput(Input):
    dataset: str | None = Field(
        default=None,
        description=N_(
            "name@hash, a name (its newest version) or the beginning of a hash; default: the "
            "newest that was prepared."
        ),
    )
    file: str | None = Field(
        default=None, description=N_("A JSON Lines file in place of a data set.")
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of the sample: a whole number.")
    )


class GateCheck(Output):
    """One figure against its bound. `lines` are the first of those that it names; `low` and `high`
    where the share of the whole lies, where the figure is that of a sample."""

    table_columns: ClassVar[tuple[str, ...]] = ("what", "state", "told", "where")
    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"name", "figure", "bound", "low", "high", "lines"}
    )

    name: str
    what: str = Field(title=N_("Check"))
    state: Literal["ok", "attention", "refused", "unknown"] = Field(title=N_("State"))
    figure: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    told: str = Field(title=N_("Reason"))
    where: str = Field(default="", title=N_("Lines"))
    lines: list[int] = Field(default_factory=list)


class GateReport(Output):
    """`passed` is true where nothing failed, false where something has to be accepted or mended."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"topics", "categories", "figures"})

    subject: str = Field(title=N_("Data set"))
    passed: bool = Field(title=N_("Passed"))
    refused: bool = Field(title=N_("Refused"))
    items: list[GateCheck] = Field(title=N_("Checks"))
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))
    topics: dict[str, Any] | None = Field(default=None, title=N_("Topics"))
    categories: dict[str, Any] | None = Field(default=None, title=N_("Categories"))
    figures: dict[str, Any] = Field(default_factory=dict, title=N_("Figures"))

    def exit_code(self) -> int:
        """3 where the data set is refused: no provider would take it."""
        return 3 if self.refused else 0


class QualityGateService:
    def __init__(
        self, datasets: DatasetStore, settings: "Settings", paths: Paths, clock: Clock
    ) -> None:
        self._datasets = datasets
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "prepare.gate",
        N_("Hold a data set to the quality gate: examples, topics, balance, answers, copies."),
        target="dataset",
        positional=("dataset",),
        detaches=True,
    )
    async def gate(self, context: Context, request: GateInput) -> GateReport:
        """Raises NotFoundError D571 (no file), D573 (no version), RefusedError D572, DataError
        D306, D311, CancelledError."""
        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.quality import GateTask

        version, path = await self._subject(context, request)
        task = GateTask(context.language, str(path), request.seed)
        figures = await run_engine(task, context)
        examples = version.counts.get("rows_kept", figures["rows"]) if version else figures["rows"]
        report = judged(
            version.id if version else path.name,
            examples,
            figures,
            read_bounds(self._settings.quality_gate),
        )
        if version is not None:
            keep(self._paths, version, report)
        return report

    async def _subject(
        self, context: Context, request: GateInput
    ) -> tuple[DatasetVersion | None, Path]:
        if request.file:
            return None, self._file(context, request.file)
        version = (
            await self._datasets.get(request.dataset)
            if request.dataset
            else await self._datasets.newest_prepared()
        )
        if version is None:
            raise NotFoundError(
                "D573",
                _("There is no data set to look at.")
                if request.dataset is None
                else _("There is no data set {reference}.").format(
                    reference=visible(request.dataset)
                ),
                remedy=_("`sophia datasets list` lists the versions; --file names a file."),
            )
        return version, Path(version.folder) / "train.jsonl"

    def _file(self, context: Context, text: str) -> Path:
        """From afar only what lies in FINETUNE_DIR, by its name."""
        remedy = _("Prepare it, and name the data set.")
        found = as_given(context, self._settings.finetune_folder, text, "D572", remedy)
        if found is None:
            raise NotFoundError(
                "D571",
                _("There is no file {path}.").format(path=visible(text)),
                remedy=_("Correct the path, or name a data set."),
            )
        return found


def judged(
    subject: str, examples: int, figures: Mapping[str, Any], bounds: Mapping[str, Bound]
) -> GateReport:
    """The figures against their bounds."""
    known = _figures(examples, figures)
    items = [_check(bounds[name], *known[name]) for name in CHECKS if name in bounds]
    notes = []
    if missing := figures.get("missing"):
        text = _("Topics are not known: {package} is not installed. In the checkout: {command}")
        notes.append(text.format(package=missing["package"], command=missing["install"]))
    if figures["near"] is None:
        notes.append(
            _("Near-duplicates were not searched: it would take too much memory for a gate.")
        )
    if figures["sample"] < figures["rows"]:
        notes.append(
            _(
                "Topics, balance and repeated answers are those of {rows} rows drawn by the seed."
            ).format(rows=number(figures["sample"]))
        )
    return GateReport(
        subject=subject,
        passed=not any(each.state in ("attention", "refused") for each in items),
        refused=any(each.state == "refused" for each in items),
        items=items,
        notes=notes,
        topics=figures.get("topics"),
        categories=figures.get("categories"),
        figures={
            name: figures[name]
            for name in ("rows", "answer_characters", "copy_rate", "turns", "languages")
        },
    )


#: A figure, its interval where it has one, and lines to look at.
_Known = tuple[float | None, tuple[float, float] | None, list[int]]


def _figures(examples: int, figures: Mapping[str, Any]) -> dict[str, _Known]:
    topics, categories = figures.get("topics"), figures.get("categories")
    items = (topics or {}).get("items") or []
    largest = items[0] if items else None
    types = categories or topics
    return {
        "examples": (examples, None, []),
        "topics": (topics["diversity"], _between(topics), []) if topics else _UNKNOWN,
        "largest_topic": (
            (largest["share"], _between(largest), largest["lines"])
            if largest
            else (0.0, None, [])
            if topics
            else _UNKNOWN
        ),
        "balance": (types["balance"], None, []) if types else _UNKNOWN,
        "near_duplicates": (
            (figures["near"]["share"], None, figures["near"]["lines"])
            if figures.get("near")
            else _UNKNOWN
        ),
        "short_answers": _counted(figures["short"]),
        "repeated_answers": _counted(figures["repeated"]),
        "copied": _counted(figures["copied"]),
        "unusable": _counted(figures["unusable"]),
    }


_UNKNOWN: _Known = (None, None, [])


def _counted(found: Mapping[str, Any]) -> _Known:
    return found["share"], None, found["lines"]


def _between(found: Mapping[str, Any]) -> tuple[float, float] | None:
    return (found["low"], found["high"]) if "low" in found else None


def _check(
    bound: Bound, figure: float | None, between: tuple[float, float] | None, lines: list[int]
) -> GateCheck:
    name = bound.name
    state: Literal["ok", "attention", "refused", "unknown"] = "ok"
    if figure is None:
        state = "unknown"
    elif not bound.holds(figure):
        refused = name == "examples" and figure < PROVIDER_MINIMUM
        state = "refused" if refused else "attention"
    failed = state in ("attention", "refused")
    return GateCheck(
        name=name,
        what=_(_LABELS[name]),
        state=state,
        figure=figure,
        bound=bound.value,
        low=between[0] if between else None,
        high=between[1] if between else None,
        told=" ".join(_told(bound, figure, between, failed)),
        where=", ".join(map(str, lines[:_LISTED])) if failed else "",
        lines=lines[:_LISTED] if failed else [],
    )


def _told(
    bound: Bound, figure: float | None, between: tuple[float, float] | None, failed: bool
) -> Iterator[str]:
    if figure is None:
        yield _("Not known.")
        return
    template = _("{figure}; at least {bound} wanted.")
    if CHECKS[bound.name] == "<=":
        template = _("{figure}; at most {bound} wanted.")
    said = _shown(bound.name, figure)
    if between is not None:
        said += " " + _("({low} to {high})").format(
            low=_shown(bound.name, between[0]), high=_shown(bound.name, between[1])
        )
    yield template.format(figure=said, bound=_shown(bound.name, bound.value))
    if failed:
        if bound.name == "examples" and figure < PROVIDER_MINIMUM:
            yield _("Hosted providers refuse fewer than {least}.").format(least=PROVIDER_MINIMUM)
        yield _(_REMEDIES[bound.name])


def _shown(name: str, figure: float) -> str:
    if name not in _PLAIN:
        return percent(figure)
    return number(int(figure)) if figure == int(figure) else number(figure, 2)


# -- what a training asks of it


def keep(paths: Paths, version: DatasetVersion, report: GateReport) -> None:
    """Remember the report of a version, for the trainings that are started on it."""
    usable_folder(paths.previews)
    write_whole(_kept_file(paths, version), report.model_dump_json().encode())


def kept(paths: Paths, version: DatasetVersion) -> GateReport | None:
    """What the last look at the version said; None where there was none."""
    try:
        return GateReport.model_validate_json(_kept_file(paths, version).read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError):
        return None


def _kept_file(paths: Paths, version: DatasetVersion) -> Path:
    return paths.previews / f"gate-{version.hash}.json"


def before_training(
    context: Context,
    version: DatasetVersion,
    settings: "Settings",
    paths: Paths,
    accepted: bool,
    now: datetime,
) -> dict[str, Any]:
    """What a training of the version should remember of the gate: warnings, and who accepted that
    there are few examples. Nothing where all is well.

    Raises UnconfirmedError D574 where there are fewer examples than the gate wants and nobody
    accepted that. Where nobody can be asked (a worker, Sophia's own work), it is a warning alone.
    """
    found: dict[str, Any] = {}
    warnings: list[str] = []
    least = read_bounds(settings.quality_gate).get("examples")
    count = version.counts.get("rows_kept")
    if least is not None and count is not None and not least.holds(count):
        few = ngettext(
            "The data set {dataset} has {count} example; {least} or more are advised.",
            "The data set {dataset} has {count} examples; {least} or more are advised.",
            count,
        ).format(dataset=version.id, count=number(count), least=number(int(least.value)))
        asks = context.face is not Face.WORKER and not (context.dry_run or context.inner)
        if asks and not (accepted or context.confirmed):
            raise UnconfirmedError(
                "D574",
                few,
                _("Nobody has accepted that yet."),
                _("Accept it: --accept-few, or --yes on the command line."),
                examples=count,
                minimum=int(least.value),
            )
        warnings.append(few)
        if asks:
            found["accepted_few"] = {
                "examples": count,
                "minimum": int(least.value),
                "by": context.actor,
                "at": now.isoformat(),
            }
    report = kept(paths, version)
    if report is not None:
        warnings += [
            _("Quality gate, {check}: {told}").format(check=each.what, told=each.told)
            for each in report.items
            if each.state in ("attention", "refused") and each.name != "examples"
        ]
    if warnings:
        found["warnings"] = warnings
    return found
