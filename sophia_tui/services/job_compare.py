"""Two or more jobs side by side: in what they differ, and which came out better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.models import Model
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.passages import Passage, Table
from sophia_tui.i18n import N_, _, number
from sophia_tui.services.job_curves import CurveView
from sophia_tui.services.job_settings import JobSettings, told
from sophia_tui.services.views import JobView, worded

LETTERS = "abcdefgh"
Part = Literal["hyperparameters", "data", "machine", "result"]
PARTS: dict[Part, str] = {
    "result": N_("Result"),
    "hyperparameters": N_("Hyperparameters"),
    "data": N_("Data set and base"),
    "machine": N_("Machine"),
}


class CompareRequest(Input):
    jobs: list[str] = Field(
        min_length=2,
        max_length=len(LETTERS),
        description=N_("Two to eight jobs, by our ids or the provider's."),
    )
    all: bool = Field(default=False, description=N_("What is the same in all of them, too."))
    points: int = Field(
        default=150, ge=2, le=2000, description=N_("How many points of each figure at most.")
    )


class ComparedJob(Output):
    """One of the jobs, and the letter it has in curves and table. `examples_per_step` and
    `tokens_per_step` turn steps into examples and tokens seen; None where that is not known. `note`
    says why it has no curve."""

    table_columns: ClassVar[tuple[str, ...]] = ("letter", "id", "kind", "status", "dataset", "note")

    letter: str = Field(title=N_("Letter"))
    id: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    status: str = Field(title=N_("State"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    step: int | None = Field(default=None, title=N_("Step"))
    total_steps: int | None = Field(default=None, title=N_("Steps"))
    examples_per_step: float | None = Field(default=None, title=N_("Examples in a step"))
    tokens_per_step: float | None = Field(default=None, title=N_("Tokens in a step"))
    note: str = Field(default="", title=N_("Note"))
    curve: CurveView = Field(title=N_("Curve"))


class DifferenceRow(Output):
    """One setting or figure of each job, in the order of the jobs; None where it has none. `better`
    is the letter of the better one, where it is known which is better."""

    part: Part = Field(title=N_("Part"))
    name: str = Field(title=N_("Name"))
    values: list[Any] = Field(title=N_("Values"))
    same: bool = Field(title=N_("The same"))
    better: str | None = Field(default=None, title=N_("Better"))


class JobsCompared(Output):
    jobs: list[ComparedJob] = Field(title=N_("Jobs"))
    rows: list[DifferenceRow] = Field(title=N_("Differences"))

    def passages(self, name: str) -> "list[Passage] | None":
        """The jobs without their points; then a table for each part, the better value marked."""
        if name == "jobs":
            titles = (_("Letter"), _("Job"), _("Kind"), _("State"), _("Note"))
            known = tuple(
                (each.letter, each.id, worded("kind", each.kind), _(each.status), each.note)
                for each in self.jobs
            )
            return [Passage(_("Jobs"), (Table(titles, known),))]
        if name != "rows":
            return None
        if not self.rows:
            return [Passage("", (_("They differ in nothing that is known."),))]
        letters = (_("Name"), *(each.letter for each in self.jobs))
        found = [
            Passage(_(title), (Table(letters, tuple(self._lines(part))),))
            for part, title in PARTS.items()
            if any(each.part == part for each in self.rows)
        ]
        if any(each.better for each in self.rows):
            best = _("* is the better value, where that can be said.")
            found[0] = Passage(found[0].title, (*found[0].parts, best))
        return found

    def _lines(self, part: Part) -> Iterator[tuple[str, ...]]:
        for each in self.rows:
            if each.part == part:
                yield (
                    label(each),
                    *(
                        value_text(each.name, value) + (" *" if job.letter == each.better else "")
                        for job, value in zip(self.jobs, each.values, strict=True)
                    ),
                )


def label(row: DifferenceRow) -> str:
    """What a row is called, in the active language; hyperparameters and packages have their names
    in any."""
    own = {
        "state": N_("State"),
        "steps": N_("Steps"),
        "loss": N_("Training loss"),
        "eval_loss": N_("Loss on the held-out part"),
        "best_eval_loss": N_("Best held-out loss"),
        "best_eval_step": N_("Best at step"),
        "perplexity": N_("Perplexity"),
        "perplexity_before": N_("Perplexity of the base"),
        "kept": N_("General answers kept"),
        "model": N_("Resulting model"),
        "train": N_("Records for training"),
        "valid": N_("Records for validation"),
    }
    if row.part == "hyperparameters":
        return row.name
    for model in (JobSettings, JobView):
        if row.name not in own and (info := model.model_fields.get(row.name)) is not None:
            return _(info.title or row.name)
    return _(own[row.name]) if row.name in own else row.name


def value_text(name: str, value: Any) -> str:
    """A value of a row in few signs: losses with four digits, hashes short."""
    if isinstance(value, float) and not value.is_integer() and 0.001 <= abs(value) < 1000:
        whole, sign, rest = number(value, 4).rpartition(number(0.5, 1)[1])
        rest = rest.rstrip("0")
        return f"{whole}{sign}{rest}" if rest else whole
    if isinstance(value, str) and name in _HASHES:
        return value[:12]
    return told(value)


_HASHES = frozenset({"dataset_hash", "base_fingerprint"})


@dataclass(frozen=True)
class Looked:
    """What is known of one job."""

    job: Job
    view: JobView
    settings: JobSettings
    curve: CurveView
    model: Model | None = None


def compared(found: Sequence[Looked], everything: bool) -> JobsCompared:
    """The jobs by letters, and the rows in which they differ (or all of them)."""
    letters = LETTERS[: len(found)]
    rows = [
        _row(part, name, [value(each) for each in found], letters)
        for part, name, value in _asked(found)
    ]
    kept = [each for each in rows if any(value is not None for value in each.values)]
    return JobsCompared(
        jobs=[_job(letter, each) for letter, each in zip(letters, found, strict=True)],
        rows=[each for each in kept if everything or not each.same],
    )


def _job(letter: str, each: Looked) -> ComparedJob:
    known = {row.name: row.value for row in each.settings.settings}
    batch, times = known.get("batch_size"), known.get("gradient_accumulation")
    examples = batch * times if isinstance(batch, int) and isinstance(times, int) else None
    tokens, steps = each.settings.trained_tokens, each.job.step
    return ComparedJob(
        letter=letter,
        id=each.job.id,
        kind=each.view.kind,
        status=each.view.status,
        dataset=each.job.dataset,
        step=steps,
        total_steps=each.job.total_steps,
        examples_per_step=examples,
        tokens_per_step=tokens / steps if tokens and steps else None,
        note=_note(each),
        curve=each.curve,
    )


def _note(each: Looked) -> str:
    if any(series.points for series in each.curve.series):
        return ""
    if each.view.kind != "train":
        return _("A job of this kind has no losses over steps.")
    return _("It has told no loss yet.")


Value = Callable[[Looked], Any]


def _asked(found: Sequence[Looked]) -> Iterator[tuple[Part, str, Value]]:
    """Every row that could be shown."""
    for name in _RESULTS:
        yield "result", name, partial(_result, name=name)
    names = dict.fromkeys(row.name for each in found for row in each.settings.settings)
    for name in names:
        yield "hyperparameters", name, partial(_setting, name=name)
    for name in ("kind", "provider", *_DATA):
        yield "data", name, partial(_told, name=name)
    for name in ("train", "valid"):
        yield "data", name, partial(_count, name=name)
    for name in _MACHINE:
        yield "machine", name, partial(_told, name=name)
    packages = dict.fromkeys(name for each in found for name in each.settings.packages)
    for name in packages:
        yield "machine", name, partial(_package, name=name)


def _told(each: Looked, name: str) -> Any:
    return getattr(each.settings, name)


def _count(each: Looked, name: str) -> int | None:
    return each.settings.dataset_counts.get(name)


def _package(each: Looked, name: str) -> str | None:
    return each.settings.packages.get(name)


_DATA = ("base", "base_revision", "base_fingerprint", "dataset", "dataset_hash", "examples")
_MACHINE = (
    *("host", "device", "threads", "processes", "precision", "quantization", "optimizer"),
    *("memory_bytes", "gpu_memory_bytes"),
)
#: Results, and whether the lower one is better; None: neither is.
_RESULTS: dict[str, bool | None] = {
    "state": None,
    "steps": None,
    "loss": True,
    "eval_loss": True,
    "best_eval_loss": True,
    "best_eval_step": None,
    "perplexity": True,
    "perplexity_before": None,
    "kept": False,
    "tokens_per_second": False,
    "seconds_running": None,  # of a run that ends early there is less of both
    "cost_usd": None,
    "model": None,
}


def _result(each: Looked, name: str) -> Any:
    losses = {series.name: series for series in each.curve.series}
    if name in ("loss", "eval_loss"):
        return losses[name].last if name in losses else None
    if name in ("best_eval_loss", "best_eval_step"):
        held_out = losses.get("eval_loss")
        if held_out is None:
            return None
        return held_out.best if name == "best_eval_loss" else held_out.best_step
    if name in ("perplexity", "perplexity_before"):
        score = (each.model.evaluation or {}) if each.model is not None else {}
        after = score.get("before" if name == "perplexity_before" else "after") or {}
        return after.get("perplexity")
    if name == "kept":
        view = each.view
        return view.kept / view.kept_total if view.kept is not None and view.kept_total else None
    special = {"state": each.view.status, "steps": each.job.step, "model": each.job.resulting_model}
    return special[name] if name in special else getattr(each.view, name)


def _setting(each: Looked, name: str) -> Any:
    return next((row.value for row in each.settings.settings if row.name == name), None)


def _row(part: Part, name: str, values: list[Any], letters: str) -> DifferenceRow:
    same = all(each == values[0] for each in values)
    lower = _RESULTS.get(name) if part == "result" else None
    better = None
    numbers = [
        (float(value), letter)
        for value, letter in zip(values, letters, strict=True)
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    if lower is not None and not same and len(numbers) > 1:
        best = (min if lower else max)(value for value, _letter in numbers)
        winners = [letter for value, letter in numbers if value == best]
        better = winners[0] if len(winners) == 1 else None
    return DifferenceRow(part=part, name=name, values=values, same=same, better=better)
