"""How a job's events look on the console: usual ones as short readable lines, others as names with
values. What a line has no room for goes on below, under its text."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.i18n import N_, _, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.views import EventView
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
    "examples": (N_("{value} examples"), _whole),
}
#: Values that speak for themselves, in this order.
_TEXTS = ("message", "what", "why", "remedy", "reason")


def events_text(events: Sequence[EventView], width: int = 80) -> Content:
    """The newest events, oldest first, in `width` cells."""
    if not events:
        return Content(_("Nothing told yet."))
    lines = [line for each in events for line in event_lines(each, width)]
    return Content("\n").join(lines) + "\n"


def event_lines(event: EventView, width: int = 80) -> list[Content]:
    """One event: number, time and kind before its text, which goes on below itself."""
    at = event.at.astimezone().strftime("%H:%M:%S")
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
            yield _(text).format(value=shown(rest.pop(name)))
    for name, value in rest.items():
        yield _named(name, value)


def _steps(rest: dict[str, Any]) -> Iterator[str]:
    """How far it is; a total of nothing (it isn't known) and no step at all are left out."""
    step, total = rest.pop("step", None), rest.pop("total_steps", None)
    if step is not None and total:
        yield _("step {value}").format(value=f"{step}/{total}")
    elif step:
        yield _("step {value}").format(value=step)
    elif total:
        yield _("{value} steps").format(value=total)


def _named(name: str, value: Any) -> str:
    return f"{visible(name)}: {words.event_value(name, value)}"
