"""An evaluation, or two side by side, as one HTML page that needs nothing from outside.

No script, no link, no image but the bars drawn here; every text is escaped, and what a terminal
could act on has been made visible before.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from pydantic import BaseModel

from sophia_tui import textsafe
from sophia_tui.i18n import _, get_language, number
from sophia_tui.services.evaluation_views import CompareView, EvaluationView, GradedAnswerView
from sophia_tui.services.views import worded

#: Stands in every page: a file that has it may be written over.
MARK = '<meta name="generator" content="Sophia evaluation report">'
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
th,td{padding:.2rem .7rem;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.t{white-space:pre-wrap;overflow-wrap:break-word}
small{color:#666}
.scroll{overflow-x:auto}
@media (prefers-color-scheme:dark){body{background:#181818;color:#ddd}th,td{border-color:#444}}
"""


def page(
    evaluations: Sequence[EvaluationView], comparison: CompareView | None, at: datetime
) -> str:
    """The page in the active language."""
    title = _("Evaluation of {models}").format(
        models=", ".join(textsafe.visible(each.model) for each in evaluations)
    )
    parts = [f"<h1>{_text(title)}</h1>"]
    if comparison is not None:
        parts += _comparison(comparison)
    for each in evaluations:
        parts += _evaluation(each, alone=len(evaluations) == 1)
    parts.append(f"<p><small>Sophia, {at.astimezone():%Y-%m-%d %H:%M %z}</small></p>")
    language = get_language().replace("_", "-")
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head><meta charset="utf-8">{MARK}'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(textsafe.visible_lines(str(value)))


def _evaluation(view: EvaluationView, alone: bool) -> list[str]:
    facts = [
        (_("Base"), view.base),
        (_("Data set"), view.dataset),
        (_("Evaluation"), view.id),
        (_("Time"), view.at and f"{view.at.astimezone():%Y-%m-%d %H:%M %z}"),
        (_("Examples"), number(view.examples)),
        (_("Answer tokens"), number(view.answer_tokens)),
    ]
    parts = [] if alone else [f"<h2>{_text(view.model)}</h2>"]
    parts.append(
        _table(None, [[f"<th>{_text(name)}</th>", _cell(value)] for name, value in facts if value])
    )
    parts.append(f"<h2>{_text(_('Measures'))}</h2>")
    parts.append(
        _table(
            [
                *(_("Measure"), _("Before"), _("After"), _("Change"), ""),
                *(_("Goal"), _("Reached"), _("Examples"), _("Measured by")),
            ],
            [
                [
                    _cell(row.label),
                    _figure(row.before, row.before_low, row.before_high),
                    _figure(row.after, row.after_low, row.after_high),
                    _figure(row.difference, row.low, row.high, signed=True),
                    f"<td>{_bars(row) if row.unit == 'share' else ''}</td>",
                    _cell(row.target),
                    _cell(worded("met", row.met)),
                    _figure(row.count),
                    _cell(row.by),
                ]
                for row in view.rows
            ],
        )
    )
    parts += [f"<p>{_text(note)}</p>" for note in view.notes]
    parts += _costs(view)
    parts += _answers(view)
    return parts


def _costs(view: EvaluationView) -> list[str]:
    if not view.hosted_costs:
        return []
    heads = [_("Model"), _("USD for 1,000 conversations"), _("As of"), _("Ends")]
    rows = [
        [_cell(each.name), _figure(each.usd), _cell(each.as_of), _cell(each.ends)]
        for each in view.hosted_costs
    ]
    return [
        f"<h2>{_text(_('The same conversations at hosted models'))}</h2>",
        _table(heads, rows),
    ]


def _answers(view: EvaluationView) -> list[str]:
    parts = []
    if view.answers:
        heads = [_("Question"), _("Before"), _("After")]
        rows = [
            [_cell(each.prompt), _cell(each.before), _cell(each.after)] for each in view.answers
        ]
        parts += [f"<h2>{_text(_('Answers'))}</h2>", _table(heads, rows)]
    for name in dict.fromkeys(each.set for each in view.graded_answers):
        graded = [each for each in view.graded_answers if each.set == name]
        parts.append(f"<h2>{_text(_('Graded questions'))}: {_text(name)}</h2>")
        parts.append(
            _table(
                [_("Name"), _("Question"), _("Accepted"), _("Before"), _("After")],
                [_graded(each) for each in graded],
            )
        )
    return parts


def _graded(answer: GradedAnswerView) -> list[str]:
    return [
        _cell(answer.id),
        _cell(answer.question),
        _cell("\n".join(answer.accepted)),
        _judged(answer.before, answer.before_verdict),
        _judged(answer.after, answer.after_verdict),
    ]


def _judged(answer: str | None, verdict: str | None) -> str:
    if verdict is None:
        return "<td></td>"
    mark = "✓" if verdict == "right" else "✗"
    word = worded("verdict", verdict)
    return f'<td class="t"><b>{mark} {_text(word)}</b>\n{_text(answer or "")}</td>'


def _comparison(view: CompareView) -> list[str]:
    parts = [f"<p>{_text(reason)}</p>" for reason in view.reasons]
    if view.fair:
        parts.append(f"<p>{_text(_('Both were measured alike.'))}</p>")
    rows = [
        [
            _cell(row.label),
            _figure(row.first, row.first_low, row.first_high),
            _figure(row.second, row.second_low, row.second_high),
            _figure(row.difference, row.low, row.high, signed=True),
            _figure(row.paired),
            _figure(row.p_value),
        ]
        for row in view.items
    ]
    heads = [_("Measure"), view.first.model, view.second.model]
    return [*parts, _table([*heads, _("Change"), _("Same"), _("p (McNemar)")], rows)]


def _table(heads: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> str:
    head = (
        "" if heads is None else "<tr>" + "".join(f"<th>{_text(h)}</th>" for h in heads) + "</tr>"
    )
    body = "\n".join("<tr>" + "".join(row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}\n{body}</table></div>'


def _cell(value: object) -> str:
    return f'<td class="t">{"" if value is None else _text(value)}</td>'


def _figure(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
) -> str:
    if value is None:
        return '<td class="n"></td>'
    text = ("+" if signed and value > 0 else "") + _short(value)
    if low is not None and high is not None:
        text += f" <small>[{_short(low)}; {_short(high)}]</small>"
    return f'<td class="n">{text}</td>'


def _short(value: float) -> str:
    if isinstance(value, int):
        return number(value)
    value = round(value, 6) + 0.0  # no minus before a zero
    size = abs(value)
    return number(
        value, 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 0.01 or not size else 6
    )


def _bars(row: BaseModel) -> str:
    """Shares from 0 to 1 with their intervals, before above after."""
    lines = []
    for place, side in enumerate(("before", "after")):
        share, low, high = (getattr(row, f"{side}{end}") for end in ("", "_low", "_high"))
        if share is None or low is None or high is None:
            continue
        y = 5 + 9 * place
        colour = "#888" if side == "before" else "#2a7ab0"
        lines.append(
            f'<line x1="{120 * low:.1f}" x2="{120 * high:.1f}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{120 * share:.1f}" cy="{y}" r="3.5" fill="{colour}"/>'
        )
    return (
        '<svg width="128" height="20" viewBox="-4 0 128 20" role="img" aria-hidden="true">'
        '<line x1="0" x2="120" y1="19" y2="19" stroke="#bbb"/>' + "".join(lines) + "</svg>"
    )
