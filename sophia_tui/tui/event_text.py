"""How a job's events look on the console: usual ones as short readable lines, others as names with
values. What a line has no room for goes on below, under its text."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.i18n import N_, _, local, ngettext, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.views import EventView, worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words

_USUAL = frozenset({"state", "progress", "metric", "checkpoint", "warning"})
#: What a run says it does (it knows no languages).
PHASES = {
    "load": N_("loads the base"),
    "prepare": N_("prepares the examples"),
    "tokenise": N_("turns text into tokens"),
    "train": N_("trains"),
    "general": N_("asks general questions"),
    "evaluate": N_("evaluates"),
    "answer": N_("answers"),
    "latency": N_("measures the time of answers"),
    "merge": N_("merges"),
    "compare": N_("compares"),
    "write": N_("writes"),
    "check": N_("checks"),
    "send": N_("sends"),
}


def _whole(value: float) -> str:
    return number(round(value))


def _one(value: float) -> str:
    return number(value, 1)


def _two(value: float) -> str:
    return number(value, 2)


#: Figures in the order in which they are told: how each is called, and how its number looks.
_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "loss": (N_("loss {value}"), _two),
    "eval_loss": (N_("held-out loss {value}"), _two),
    "learning_rate": (N_("rate {value}"), words.rate),
    "tokens_per_second": (N_("{value} tokens/s"), _whole),
    "seconds_left": (N_("{value} left"), words.duration),
    "memory_bytes": (N_("memory {value}"), shown_size),
    "gpu_memory_bytes": (N_("GPU {value}"), shown_size),
    "bytes": ("{value}", shown_size),
    "seconds": (N_("{value} s"), _one),
    "epoch": (N_("epoch {value}"), _two),
    "grad_norm": (N_("gradient {value}"), words.rate),
    "examples": ("{value} examples", _whole),
}
#: What a run calls what it tells: the words for it. Others are shown as the run has them.
_NAMES = {
    "adapter_reason": N_("kept adapter"),
    "adapter_step": N_("step of the adapter"),
    "answer_tokens": N_("tokens of answers"),
    "batch_size": N_("examples at once"),
    "bytes": N_("bytes"),
    "device": N_("device"),
    "eval_loss": N_("held-out loss"),
    "examples": N_("examples"),
    "file": N_("file"),
    "fitted_max_steps": N_("steps that fit"),
    "gpu_memory_bytes": N_("memory of the GPU"),
    "kept_examples": N_("examples kept ready"),
    "lines": N_("lines"),
    "lines_left_out": N_("lines not listed"),
    "memory_bytes": N_("memory"),
    "operation": N_("operation"),
    "optimizer": N_("optimizer"),
    "output_file": N_("file of the answer"),
    "packed": N_("packed"),
    "path": N_("path"),
    "perplexity": N_("perplexity"),
    "planned_steps": N_("planned steps"),
    "precision": N_("precision"),
    "processes": N_("processes"),
    "quantization": N_("quantization"),
    "rehearsal_examples": N_("rehearsal examples"),
    "resumed_from_step": N_("resumed from step"),
    "run_kind": N_("kind of run"),
    "seconds": N_("seconds"),
    "setting": N_("setting"),
    "step": N_("step"),
    "steps": N_("steps"),
    "stopped_early": N_("stopped early"),
    "threads": N_("threads"),
    "time_budget_seconds": N_("seconds it may take"),
    "tokens_lost": N_("tokens lost"),
    "tokens_per_second": N_("tokens per second"),
    "total_steps": N_("steps in all"),
    "train_loss": N_("training loss"),
    "trainable_parameters": N_("trainable parameters"),
    "trained_tokens": N_("tokens trained on"),
}
#: Why examples are not learnt from as a whole, by the reason that the warning has.
_LINES = {
    "truncated": N_("longer than sequence_length and cut there"),
    "no_answer_token": N_("nothing to learn"),
    "template_refuses": N_("the template refuses"),
}
#: Values that speak for themselves, in this order.
_TEXTS = ("message", "what", "why", "remedy", "reason")


def event_lines(event: EventView, width: int = 80) -> list[Content]:
    """One event: number, time and kind before its text, which goes on below itself."""
    at = local(event.at).strftime("%H:%M:%S")
    style = "bold $warning" if event.kind == "warning" else "dim"
    head, kind = f"{event.number:>5} {at} ", f"{words.event_word(event.kind):<10} "
    indent = cell_len(head + kind)
    first, *more = textwrap.wrap(_told(event.kind, event.data), max(20, width - indent)) or [""]
    lines = [Content.assemble(head, (kind, style), first)]
    return lines + [Content(" " * indent + each) for each in more]


def _told(kind: str, data: Mapping[str, Any]) -> str:
    if kind not in _USUAL:
        return ", ".join(_named(name, value) for name, value in data.items())
    return ", ".join(_pieces(data))


def _pieces(data: Mapping[str, Any]) -> Iterator[str]:
    rest = dict(data)
    if (lines := _of_lines(rest)) is not None:
        yield lines
    if "state" in rest:
        yield words.event_value("state", rest.pop("state"))
    phase = rest.pop("phase", None)
    if phase is not None:
        yield _(PHASES[phase]) if phase in PHASES else visible(str(phase))
    yield from _steps(rest)
    for name in _TEXTS:
        if rest.get(name):
            yield words.event_value(name, rest.pop(name))
    for name, (text, shown) in _FIGURES.items():
        value = rest.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            told = _(text) if name != "examples" else _examples(value)
            yield told.format(value=shown(rest.pop(name)))
    for name, value in rest.items():
        yield _named(name, value)


def _examples(count: float) -> str:
    return ngettext("{value} example", "{value} examples", 1 if count == 1 else 2)


def _steps(rest: dict[str, Any]) -> Iterator[str]:
    """How far it is; a total of nothing (it isn't known) and no step at all are left out."""
    step, total = rest.pop("step", None), rest.pop("total_steps", None)
    if step is not None and total:
        yield _("step {value}").format(value=f"{step}/{total}")
    elif step:
        yield _("step {value}").format(value=step)
    elif total:
        many = total if isinstance(total, int) else 2  # what a run wrote can be anything
        yield ngettext("{value} step", "{value} steps", many).format(value=total)


def _of_lines(rest: dict[str, Any]) -> str | None:
    """The sentence about lines of a file, in place of the run's own; None for other warnings."""
    why, count = rest.get("reason"), rest.get("count")
    if why not in _LINES or not isinstance(count, int) or "file" not in rest:
        return None
    for name in ("message", "reason", "count"):
        rest.pop(name, None)
    told = ngettext(
        "{file}: {count} example: {why}", "{file}: {count} examples: {why}", count
    ).format(file=rest.pop("file"), count=number(count), why=_(_LINES[str(why)]))
    return visible(told)


def _named(name: str, value: Any) -> str:
    word = _(_NAMES[name]) if name in _NAMES else visible(name)
    if name == "run_kind":
        value = worded("kind", value)
    return f"{word}: {words.event_value(name, value)}"
