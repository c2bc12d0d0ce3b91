"""How one job looks on the console: head, figures, place in the queue, with what it works."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, moment_text, money, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.job_settings import JobSettings, told
from sophia_tui.services.views import EventView, JobView, key_word, prepare_reason, worded
from sophia_tui.services.waiting import sentence
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part, pairs, title
from sophia_tui.tui.training_text import trial_text
from sophia_tui.tui.widgets.plate import error_text

if TYPE_CHECKING:
    from sophia_tui.services.queue import QueuedView

_ENDED = ("succeeded", "failed", "cancelled")


#: Kinds of jobs in six cells, as nouns; the colon tells them from verbs.
_SHORT_KINDS = {
    "train": N_("train:"),
    "evaluate": N_("eval:"),
    "merge": N_("merge:"),
    "parity": N_("forms:"),
    "export": N_("export:"),
    "upload": N_("upload:"),
    "data": N_("data:"),
}


def kind_word(kind: str) -> str:
    """The kind of a job, short."""
    return _(_SHORT_KINDS[kind]).rstrip(":") if kind in _SHORT_KINDS else visible(kind)


def job_text(
    job: JobView,
    events: Sequence[EventView],
    width: int,
    glyphs: words.Glyphs,
    place: "QueuedView | None" = None,
) -> Content:
    """What one job is and how far: some lines above its curve and its events."""
    parts: list[Part] = [(visible(job.id), "bold"), "  "]
    parts += [(words.state_word(job.status), words.state_style(job.status))]
    if job.wanted:
        asked = worded("wanted", job.wanted)
        parts.append(("  " + _("asked of it: {what}").format(what=asked), "dim"))
    kind = _("trial of one step") if job.trial else worded("kind", job.kind)
    about = " ".join(each for each in (kind, job.dataset or "", job.model or "") if each)
    parts += [f"  {visible(about)}\n", (_("Base"), "dim"), f" {visible(job.base)}\n"]
    if job.step is not None and job.total_steps:
        bar = glyphs.bar(job.step, job.total_steps, max(10, min(30, width - 45)))
        percent = 100 * job.step // job.total_steps
        parts.append(f"{bar} {number(job.step)}/{number(job.total_steps)}  {percent} %")
        rate = _rate(job, events)
        remaining = left(job)
        if rate:
            parts.append("  " + _("{rate} steps/min").format(rate=number(rate, 1)))
        if remaining:
            parts.append("  " + _("{time} left").format(time=remaining))
        parts.append("\n")
    if said := figures_text(job):
        parts.append(said + "\n")
    if job.provider:
        there = f" {visible(job.provider)}  {visible(job.provider_job or '')}\n"
        parts += [(_("Provider"), "dim"), there]
    if place is not None and job.status == "queued":
        parts += _queued_text(place)
    if why := (place.waiting if place is not None else None) or job.waiting:
        parts += [(_("Waits because"), "dim"), f" {visible(sentence(why))}\n"]
    if job.trial and (found := trial_text(job.result or {})):
        parts.append(found + "\n")
    if job.resulting_model:
        parts += [(_("Model"), "dim"), f" {visible(job.resulting_model)}\n"]
    content = Content.assemble(*parts)
    if job.error:
        content += error_text(_as_error(job.error), job.run_folder or "")
    return content


def _queued_text(place: "QueuedView") -> list[Part]:
    """Its place in the queue, and when it starts as far as that can be told."""
    starts = _("not known yet")
    if place.starts_at is not None:
        starts = moment_text(place.starts_at)
    return [
        (_("Place in the queue"), "dim"),
        f" {number(place.position)}  ",
        (_("Starts about"), "dim"),
        f" {starts}\n",
    ]


def figures_text(job: JobView) -> str:
    """Rates, memory, what is kept, and the cost so far, as far as the job told them."""
    said = []
    if job.learning_rate is not None and job.status not in _ENDED:
        said.append(_("rate {rate}").format(rate=words.rate(job.learning_rate)))
    if job.tokens_per_second is not None:
        said.append(_("{number} tokens/s").format(number=number(job.tokens_per_second)))
    if job.memory_bytes is not None:
        said.append(_("{number} GB").format(number=number(job.memory_bytes / 1e9, 1)))
    if job.gpu_memory_bytes:
        said.append(_("GPU {number} GB").format(number=number(job.gpu_memory_bytes / 1e9, 1)))
    if job.kept is not None and job.kept_total:
        said.append(
            _("{kept} of {total} general answers kept").format(
                kept=number(job.kept), total=number(job.kept_total)
            )
        )
    if job.cost_usd is not None:
        said.append(_("{number} USD").format(number=money(job.cost_usd)))
    return "  ".join(said)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def left(job: JobView) -> str:
    """The remaining time, as long as there is one."""
    return words.duration(job.seconds_left) if job.status in ("running", "pausing") else ""


def _as_error(error: dict[str, Any]) -> SophiaError:
    found = SophiaError(
        "J000",
        str(error.get("what") or _("The job failed.")),
        str(error.get("why") or ""),
        str(error.get("remedy") or ""),
    )
    found.code = visible(str(error.get("code") or found.code))
    return found


def _rate(job: JobView, events: Sequence[EventView]) -> float | None:
    """Steps each minute over the last progress events; only while it runs."""
    if job.status != "running":
        return None
    seen = [
        (each.at, each.data["step"])
        for each in events
        if isinstance(each.data.get("step"), int) and each.kind in ("progress", "metric")
    ][-6:]
    if len(seen) < 2:
        return None
    seconds = (seen[-1][0] - seen[0][0]).total_seconds()
    steps = int(seen[-1][1]) - int(seen[0][1])
    return 60 * steps / seconds if seconds > 0 and steps > 0 else None


def settings_text(found: JobSettings, width: int) -> Content:
    """With what a job works: what was changed first, then data, base, machine, the rest."""
    return Content.assemble(*_settings(found, width))


def _settings(found: JobSettings, width: int) -> Iterator[Part]:
    changed = [each for each in found.settings if each.changed]
    rest = [each for each in found.settings if not each.changed]
    of = _("recipe {name}").format(name=visible(found.recipe)) if found.recipe else _("the default")
    if changed:
        yield (_("Changed"), "bold")
        yield (f"  {_('against {recipe}').format(recipe=of)}\n", "dim")
        wide = max(len(each.name) for each in changed)
        for each in changed:
            yield (f"* {each.name:<{wide}}  ", "dim")
            yield (visible(told(each.value)), "bold")
            yield (f"  ({visible(told(each.default))})\n", "dim")
    elif found.settings and found.kind == "train":
        yield (_("Nothing is changed against {recipe}.").format(recipe=of) + "\n", "dim")
    yield from title(_("Data set and base"))
    counts = ", ".join(
        f"{key_word(prepare_reason(name))} {number(each)}"
        for name, each in found.dataset_counts.items()
    )
    hashed = (found.dataset_hash or "")[:12]
    yield from pairs(
        [
            (_("Data set"), found.dataset or ""),
            ("", f"{_('o: go to it')}" if found.dataset else ""),
            (_("Hash of the data"), hashed),
            (_("Counts"), counts),
            (_("Examples"), _whole(found.examples)),
            (_("Base"), found.base),
            (_("Revision of the base"), found.base_revision or ""),
            (_("Fingerprint of the base"), (found.base_fingerprint or "")[:12]),
        ]
    )
    yield from title(_("Machine"))
    yield from pairs(
        [
            (_("Provider"), found.provider or ""),
            (_("Machine"), found.host or ""),
            (_("Device"), found.device or ""),
            (_("Threads"), _whole(found.threads)),
            (_("Processes"), _whole(found.processes if (found.processes or 1) > 1 else None)),
            (_("Precision"), found.precision or ""),
            (_("Quantization"), found.quantization or ""),
            (_("Optimizer"), found.optimizer or ""),
            (_("Peak memory"), shown_size(found.memory_bytes) if found.memory_bytes else ""),
            (
                _("Peak memory of the GPU"),
                shown_size(found.gpu_memory_bytes) if found.gpu_memory_bytes else "",
            ),
            (_("Packages"), "  ".join(f"{name} {each}" for name, each in found.packages.items())),
        ]
    )
    yield from title(_("Time and cost"))
    usd = "" if found.cost_usd is None else f"{money(found.cost_usd)} USD"
    yield from pairs(
        [
            (_("Seed"), "" if found.seed is None else str(found.seed)),
            (_("Started"), words.shown(found.started_at) if found.started_at else ""),
            (_("Finished"), words.shown(found.finished_at) if found.finished_at else ""),
            (_("Time at work"), words.duration(found.seconds_running)),
            (_("Cost"), usd),
            (_("Tokens trained on"), _whole(found.trained_tokens)),
        ]
    )
    if rest:
        yield from title(
            _("Hyperparameters as the recipe has them") if changed else _("Hyperparameters")
        )
        yield from pairs((each.name, told(each.value)) for each in rest)


def _whole(value: int | None) -> str:
    return "" if value is None else number(value)
