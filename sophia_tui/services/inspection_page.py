"""An inspection as one HTML page that needs nothing from outside.

No script, no link, no image; every text is escaped, and what a terminal could act on has been made
visible before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from sophia_tui import textsafe
from sophia_tui.i18n import N_, _, get_language, number
from sophia_tui.services.evaluation_page import POLICY, STYLE
from sophia_tui.services.inspect import Distribution, InspectOutput
from sophia_tui.services.quality import percent
from sophia_tui.services.token_costs import HostedTokens, LocalTokens
from sophia_tui.services.views import key_word, worded

#: Stands in every page: a file that has it may be written over.
MARK = '<meta name="generator" content="Sophia inspection report">'
_VERDICTS = {
    "ready": N_("✓ ready as it is"),
    "after_preparing": N_("→ after preparing"),
    "unfit": N_("✗ not usable"),
}
_SEVERITIES = {"error": N_("✗ error"), "warning": N_("! warning"), "note": N_("· note")}
_SECTIONS = {
    "tokens": N_("Tokens"),
    "languages": N_("Languages"),
    "topics": N_("Topics and categories"),
    "answers": N_("Answers"),
    "constitutional": N_("Constitutional examples"),
    "personal": N_("Personal data"),
    "near": N_("Near-duplicates"),
    "contradictions": N_("Contradictions"),
}
#: Nesting of a section that is written out; what lies deeper is shown as it is.
_DEEPEST = 4


def page(
    found: InspectOutput,
    verdicts: Sequence[Any],
    hosted: Sequence[HostedTokens],
    local: LocalTokens | None,
    at: datetime,
) -> str:
    """The page in the active language; `verdicts` are those of datasets.destinations."""
    title = _("Inspection of {files}").format(
        files=", ".join(textsafe.visible(each.file) for each in found.files)
    )
    parts = [f"<h1>{_text(title)}</h1>", *_summary(found), *_verdicts(verdicts), *_issues(found)]
    parts += _shape(found)
    for name, section in found.sections.items():
        parts.append(f"<h2>{_text(_(_SECTIONS[name]) if name in _SECTIONS else name)}</h2>")
        parts += _KNOWN.get(name, _anything)(section)
    parts += _costs(hosted, local)
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


def _summary(found: InspectOutput) -> list[str]:
    heads = [_("File"), _("Bytes"), _("Lines"), _("Rows"), _("Usable")]
    rows = [
        [_cell(each.file), *map(_cell, (each.bytes, each.lines, each.rows, each.usable))]
        for each in found.files
    ]
    text = _("{usable} of {rows} rows are usable; {duplicates} are exact duplicates.")
    told = text.format(
        usable=number(found.usable), rows=number(found.rows), duplicates=number(found.duplicates)
    )
    return [f"<p>{_text(told)}</p>", _table(heads, rows)]


def _verdicts(verdicts: Sequence[Any]) -> list[str]:
    heads = [_("What for"), _("Verdict"), _("Why"), _("What to do")]
    rows = [
        [
            _cell(each.name),
            _cell(_(_VERDICTS[each.verdict])),
            _cell("\n".join(each.why)),
            _cell("\n".join(each.todo)),
        ]
        for each in verdicts
    ]
    return [f"<h2>{_text(_('What it can be used for'))}</h2>", _table(heads, rows)]


def _issues(found: InspectOutput) -> list[str]:
    title = f"<h2>{_text(_('Issues'))}</h2>"
    if not found.issues:
        return [title, f"<p>{_text(_('None.'))}</p>"]
    heads = [_("Severity"), _("Count"), _("Reason"), _("Code"), _("First places")]
    rows = [
        [
            _cell(_(_SEVERITIES.get(each.severity, each.severity))),
            _cell(each.count),
            _cell(each.reason),
            _cell(each.code),
            _cell(", ".join(each.places)),
        ]
        for each in found.issues
    ]
    return [title, _table(heads, rows)]


def _shape(found: InspectOutput) -> list[str]:
    forms = [[_cell(each.form), _cell(each.rows)] for each in found.forms]
    roles = [[_cell(each.roles), _cell(each.rows)] for each in found.roles]
    parts = [
        f"<h2>{_text(_('Shape'))}</h2>",
        _table([_("Format"), _("Rows")], forms),
        _table([_("Roles in their order"), _("Rows")], roles),
    ]
    for title, each in ((_("Turns"), found.turns), (_("Characters"), found.characters)):
        if each is not None:
            parts += [f"<h3>{_text(title)}</h3>", _distribution(each)]
    return parts


def _distribution(found: Distribution) -> str:
    most = max((each.rows for each in found.histogram), default=0) or 1
    rows = [
        [
            _cell(f"{number(each.least)} – {number(each.below - 1)}"),
            _cell(each.rows),
            f"<td>{_bar(each.rows / most)}</td>",
        ]
        for each in found.histogram
    ]
    text = _("Half have up to {p50}, 95 % up to {p95}; the greatest is {greatest}.")
    told = text.format(
        p50=number(found.p50), p95=number(found.p95), greatest=number(found.greatest)
    )
    return f"<p>{_text(told)}</p>" + _table([_("Range"), _("Rows"), ""], rows)


def _bar(share: float) -> str:
    return (
        '<svg width="124" height="12" role="img" aria-hidden="true">'
        f'<rect y="2" width="{120 * share:.1f}" height="8" fill="#2a7ab0"/></svg>'
    )


def _tokens(section: Mapping[str, Any]) -> list[str]:
    heads = [_("Encoding"), _("Tokens"), _("Of answers"), _("Mean"), _("Half up to")]
    heads += [_("95 % up to"), _("Longest"), _("Context"), _("Cut")]
    rows = []
    for each in section["counts"]:
        lengths = each["lengths"]
        figures = (each["tokens"], each["answer_tokens"], lengths["mean"], lengths["p50"])
        more = (lengths["p95"], lengths["longest"], each["context"], each["cut"]["count"])
        rows.append([_cell(each["encoding"]), *map(_cell, (*figures, *more))])
    parts = [_table(heads, rows)]
    if section.get("images"):
        text = _("{count} images were not counted.")
        parts.append(f"<p>{_text(text.format(count=number(section['images'])))}</p>")
    model = section.get("model")
    if model is not None:
        text = _("{model}: counted by {encoding}; {exact}.")
        exact = model["exact"] or "own" in model
        told = text.format(
            model=model["name"],
            encoding=model["encoding"],
            exact=_("its own") if exact else _("an estimate"),
        )
        parts.append(f"<p>{_text(told)}</p>")
    return parts


def _languages(section: Mapping[str, Any]) -> list[str]:
    items = [{**each, "name": each["language"]} for each in section["languages"]]
    items.append({**section["undecided"], "name": _("undecided")})
    parts = [_of(section["rows"], section["whole"]), _shares(_("Language"), items)]
    mixed = section["mixed"]
    if mixed["count"]:
        text = _("Asked in one language and answered in another: {count} rows (lines {lines}).")
        lines = ", ".join(str(each["line"]) for each in mixed["lines"][:20])
        told = text.format(count=number(mixed["count"]), lines=lines)
        parts.append(f"<p>{_text(told)}</p>")
    return parts


def _topics(section: Mapping[str, Any]) -> list[str]:
    parts = []
    topics, categories = section.get("topics"), section.get("categories")
    if topics is None:
        missing = section.get("missing") or {}
        text = _("Topics are not known: {package} is not installed. In the checkout: {command}")
        told = text.format(package=missing.get("package"), command=missing.get("install"))
        parts.append(f"<p>{_text(told)}</p>")
    for heading, found in ((_("Topic"), topics), (_("Category"), categories)):
        if not found:
            continue
        text = _("As varied as {diversity} equally large ones; balance {balance} of 1.")
        told = text.format(
            diversity=number(found["diversity"], 1), balance=number(found["balance"], 2)
        )
        rest = found.get("rest")
        items = [*found["items"], *([{**rest, "name": _("smaller ones")}] if rest else [])]
        whole = not any("low" in each for each in items)
        parts += [_of(found["rows"], whole), f"<p>{_text(told)}</p>", _shares(heading, items)]
    return parts


def _of(rows: int, whole: bool) -> str:
    text = _("Of all {rows} rows.") if whole else _("Of {rows} rows drawn by the seed.")
    return f"<p>{_text(text.format(rows=number(rows)))}</p>"


def _shares(heading: str, items: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in items:
        between = ""
        if "low" in each:
            between = f"{percent(each['low'])} – {percent(each['high'])}"
        rows.append(
            [
                _cell(each["name"]),
                _cell(each["count"]),
                _cell(percent(each["share"])),
                _cell(between),
                f"<td>{_bar(each['share'])}</td>",
            ]
        )
    return _table([heading, _("Rows"), _("Share"), _("Lies between"), ""], rows)


def _answers(section: Mapping[str, Any]) -> list[str]:
    lengths = section["answer_characters"]
    text = _("Half of the answers have up to {p50} characters, 95 % up to {p95}.")
    told = text.format(p50=number(lengths["p50"]), p95=number(lengths["p95"]))
    heads = [_("What"), _("Rows"), _("Share"), _("First lines")]
    names = {"short": _("Short answers"), "copied": _("Copied answers")}
    rows = [
        [
            _cell(name),
            _cell(section[key]["count"]),
            _cell(percent(section[key]["share"])),
            _cell(", ".join(map(str, section[key]["lines"][:20]))),
        ]
        for key, name in names.items()
    ]
    return [f"<p>{_text(told)}</p>", _table(heads, rows)]


def _costs(hosted: Sequence[HostedTokens], local: LocalTokens | None) -> list[str]:
    if not hosted and local is None:
        return []
    parts = [f"<h2>{_text(_('What a training costs'))}</h2>"]
    if hosted:
        heads = [_("Model"), _("Tokens"), "", _("Epochs"), _("USD"), _("As of"), _("Ends")]
        rows = [
            [
                _cell(each.model),
                _cell(each.tokens),
                _cell("" if each.exact else _("an estimate")),
                _cell(each.epochs),
                _cell(number(each.usd, 2)),
                _cell(each.as_of),
                _cell(each.ends),
            ]
            for each in hosted
        ]
        parts.append(_table(heads, rows))
    if local is not None:
        text = _("On this machine, {base}: {tokens} tokens an epoch. {told}")
        told = text.format(base=local.base, tokens=number(local.tokens), told=local.told)
        parts.append(f"<p>{_text(told)}</p>")
    return parts


def _anything(section: Any, depth: int = 0) -> list[str]:
    """A section that this page does not know: all of it, as tables in tables."""
    if isinstance(section, Mapping) and depth < _DEEPEST:
        rows = [
            [f"<th>{_text(key_word(key))}</th>", f"<td>{''.join(_anything(each, depth + 1))}</td>"]
            for key, each in section.items()
        ]
        return [_table(None, rows)]
    if isinstance(section, list | tuple) and section and isinstance(section[0], Mapping):
        heads = list(dict.fromkeys(key for each in section for key in each))
        rows = [[_cell(_plain(each.get(key))) for key in heads] for each in section]
        return [_table([str(key_word(key)) for key in heads], rows)]
    return [_text(_plain(section))]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{key_word(key)}: {_plain(each)}" for key, each in value.items())
    return "" if value is None else str(worded("", value))


def _table(heads: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> str:
    head = (
        "" if heads is None else "<tr>" + "".join(f"<th>{_text(h)}</th>" for h in heads) + "</tr>"
    )
    body = "\n".join("<tr>" + "".join(row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}\n{body}</table></div>'


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = number(value) if isinstance(value, int) else number(value, 1)
        return f'<td class="n">{shown}</td>'
    return f'<td class="t">{"" if value is None else _text(value)}</td>'


_KNOWN: dict[str, Callable[[Any], list[str]]] = {
    "tokens": _tokens,
    "languages": _languages,
    "topics": _topics,
    "answers": _answers,
}
