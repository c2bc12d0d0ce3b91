"""An inspection as one HTML page that needs nothing from outside.

No script, no link, no image; every text is escaped, and what a terminal could act on has been made
visible before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from sophia_tui import textsafe
from sophia_tui.domain.passages import Cell, Share, Table
from sophia_tui.i18n import _, get_language, number
from sophia_tui.services import inspection_words as words
from sophia_tui.services.evaluation_page import POLICY, STYLE
from sophia_tui.services.inspect import InspectOutput
from sophia_tui.services.passed_over import not_read
from sophia_tui.services.quality import percent
from sophia_tui.services.token_costs import HostedTokens, LocalTokens
from sophia_tui.services.views import key_word, worded

#: Stands in every page: a file that has it may be written over.
MARK = '<meta name="generator" content="Sophia inspection report">'
_VERDICT_SIGNS = {"ready": "✓", "after_preparing": "→", "unfit": "✗"}
_SEVERITY_SIGNS = {"error": "✗", "warning": "!", "note": "·"}
#: Of a list so many places are shown.
_LISTED = 20
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
    teller = words.Teller(found, _LISTED)
    parts = [f"<h1>{_text(title)}</h1>", *_summary(found), *_verdicts(verdicts)]
    parts += [f"<h2>{_text(_('Issues'))}</h2>", *_told(_signed(teller.issues(), found))]
    parts += _shape(found)
    for passage in teller.sections():
        parts += [f"<h2>{_text(passage.title)}</h2>", *_told(passage.parts)]
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
    unread = [f"<p>{_text(not_read(each.file, each.code))}</p>" for each in found.passed_over]
    return [f"<p>{_text(told)}</p>", _table(heads, rows), *unread]


def _verdicts(verdicts: Sequence[Any]) -> list[str]:
    heads = [_("What for"), _("Verdict"), _("Why"), _("What to do")]
    rows = [
        [
            _cell(each.name),
            _cell(f"{_VERDICT_SIGNS[each.verdict]} {_(words.VERDICTS[each.verdict])}"),
            _cell("\n".join(each.why)),
            _cell("\n".join(each.todo)),
        ]
        for each in verdicts
    ]
    return [f"<h2>{_text(_('What it can be used for'))}</h2>", _table(heads, rows)]


def _signed(parts: Sequence[words.Part], found: InspectOutput) -> Iterable[words.Part]:
    """The table of issues with a sign before each severity."""
    signs = [_SEVERITY_SIGNS.get(each.severity, "") for each in found.issues]
    for part in parts:
        if isinstance(part, Table):
            rows = zip(signs, part.rows, strict=True)
            part = Table(part.titles, tuple((f"{sign} {row[0]}", *row[1:]) for sign, row in rows))
        yield part


def _told(parts: Iterable[words.Part]) -> list[str]:
    told: list[str] = []
    for part in parts:
        if isinstance(part, str):
            told.append(f"<p>{_text(part)}</p>")
        elif isinstance(part, Table):
            rows = [[each for cell in row for each in _cells(cell)] for row in part.rows]
            heads = list(part.titles)
            for place, cell in reversed(list(enumerate(part.rows[0] if part.rows else ()))):
                if isinstance(cell, Share):
                    heads.insert(place + 1, "")
            told.append(_table(heads, rows))
        else:
            told += _anything(part)
    return told


def _cells(cell: Cell) -> list[str]:
    """A share is drawn, too."""
    if isinstance(cell, Share):
        return [_cell(percent(cell)), f"<td>{_bar(cell)}</td>"]
    return [_cell(cell)]


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
            parts += [f"<h3>{_text(title)}</h3>", *_told(words.distribution(each))]
    return parts


def _bar(share: float) -> str:
    return (
        '<svg width="124" height="12" role="img" aria-hidden="true">'
        f'<rect y="2" width="{120 * share:.1f}" height="8" fill="#2a7ab0"/></svg>'
    )


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
