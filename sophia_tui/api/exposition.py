"""Figures as Prometheus reads them: its text format 0.0.4, or OpenMetrics for who accepts that."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    """One figure; `suffix` is what its name has beyond the family's: _bucket, _sum, _count."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """Figures of one name. A counter's name ends in _total."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    samples: list[Sample] = field(default_factory=list)


def _escaped(text: str, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return (
        f"{name}{{{labels}}} {number(sample.value)}" if labels else f"{name} {number(sample.value)}"
    )


def render(families: Iterable[Family], open_metrics: bool = False) -> str:
    """The whole text. In OpenMetrics a counter's family has no _total and an info's no _info; the
    older format knows no info: there it is a gauge."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        name, kind = family.name, str(family.kind)
        if open_metrics:
            name = name.removesuffix("_total") if kind == "counter" else name
            name = name.removesuffix("_info") if kind == "info" else name
        else:
            kind = "gauge" if kind == "info" else kind
        lines += [f"# HELP {name} {_escaped(family.help, open_metrics)}", f"# TYPE {name} {kind}"]
        lines += [_line(family.name + each.suffix, each) for each in family.samples]
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"
