"""What the command line prints. Data goes to stdout, talk (errors, progress) to stderr."""

import json
import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from sophia_tui.domain.context import Progress
from sophia_tui.domain.operations import Output, as_data, plainly
from sophia_tui.domain.passages import Passage, Share, Table
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, clock_time, get_language, number
from sophia_tui.services.quality import percent
from sophia_tui.services.views import key_word, worded
from sophia_tui.textsafe import HOSTILE, visible

_WIDE_CELL = 70

#: Keys in manifests and the like whose numbers are names and no amounts.
_NAMING = frozenset({"seed", "pid", "port", "line", "number", "version"})


def width(text: str) -> int:
    """Terminal cells of a text: wide characters count two, combining marks none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def shown(value: Any) -> str:
    """A value for people, on one line, harmless for the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return clock_time(value)
    if isinstance(value, float):
        return _real(value)
    if isinstance(value, int):
        return number(value)
    if isinstance(value, BaseModel):
        return shown(as_data(value))
    if isinstance(value, dict):
        return (
            ", ".join(f"{key_word(key)}: {_of_key(key, each)}" for key, each in value.items())
            or "-"
        )
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value) or "-"
    return visible(str(value))


def _real(value: float) -> str:
    """As many digits as say something: 8, 0.4312, 2.9e-05."""
    if value.is_integer():
        return number(value)
    if abs(value) < 0.001:
        text = f"{value:.3g}"
        return text.replace(".", ",") if get_language() == "pt_BR" else text
    return number(value, 4) if abs(value) < 10 else number(value, 1)


def _of_key(key: Any, value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole and key in _NAMING else shown(value)


def _cell(row: BaseModel, name: str) -> str:
    value = getattr(row, name)
    if value is not None and name in getattr(type(row), "as_is", ()):
        return visible(plainly(value))
    return shown(worded(name, value))


def _title(model: type[BaseModel], name: str) -> str:
    return _(model.model_fields[name].title or name)


def _table(rows: list[BaseModel], plain: bool) -> list[str]:
    """Aligned columns; columns empty in every row are left out. `plain`, or a cell that is too wide
    for a column (an answer of a model, say): blocks of lines."""
    kind = type(rows[0])
    chosen: tuple[str, ...] = getattr(kind, "table_columns", ())
    names = [
        name
        for name in chosen or kind.model_fields
        if any(getattr(row, name) not in (None, "", [], {}) for row in rows)
    ]
    if plain:
        return [line for row in rows for line in (*_fields(row, plain), "")]
    cells = [[_title(kind, name) for name in names]]
    cells += [[_cell(row, name) for name in names] for row in rows]
    if not chosen and max(width(cell) for line in cells for cell in line) > _WIDE_CELL:
        return _table(rows, plain=True)
    return _aligned(cells)


def _aligned(cells: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell; the last one may be of any length."""
    widths = [max(width(line[column]) for line in cells) for column in range(len(cells[0]) - 1)]
    widths.append(0)
    return [
        "  ".join(
            cell + " " * (space - width(cell)) for cell, space in zip(line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]


def _told(table: Table, plain: bool) -> list[str]:
    """A table of a passage. `plain`: blocks of lines."""
    rows = [
        [percent(cell) if isinstance(cell, Share) else shown(cell) for cell in row]
        for row in table.rows
    ]
    titles = [visible(each) for each in table.titles]
    if not plain:
        return _aligned([titles, *rows])
    lines = []
    for row in rows:
        lines += [f"{title}: {cell}" for title, cell in zip(titles, row, strict=True)]
        lines.append("")
    return lines


def _passages(title: str, found: Sequence[Passage], plain: bool) -> list[str]:
    """Each below an empty line; one without a title has the field's."""
    lines = []
    for passage in found:
        lines += ["", visible(passage.title or title)]
        for part in passage.parts:
            if isinstance(part, str):
                lines.append(visible(part))
            else:
                lines += _told(part, plain) if isinstance(part, Table) else _nested(part)
    return lines


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], BaseModel)


def _nested(value: Any) -> list[str]:
    """What is too long for one line as lines: keys below each other, what they hold indented."""
    if isinstance(value, dict):
        lines = []
        for key, each in value.items():
            title = f"{key_word(key)}:"
            if isinstance(each, dict | list) and not _fits(each):
                lines += [title, *(f"  {line}" for line in _nested(each))]
            else:
                lines.append(f"{title} {_of_key(key, each)}")
        return lines
    if isinstance(value, list) and not _fits(value):
        found = []
        for each in value:
            first, *more = [shown(each)] if _fits(each) else _nested(each)
            found += [f"- {first}", *(f"  {line}" for line in more)]
        return found
    return [shown(value)]


def _fits(value: Any) -> bool:
    return width(shown(value)) <= _WIDE_CELL


def _fields(result: BaseModel, plain: bool) -> list[str]:
    lines: list[str] = []
    hidden = getattr(type(result), "machine_only", ())
    first: tuple[str, ...] = getattr(type(result), "shown_first", ())
    for name in (*first, *(each for each in type(result).model_fields if each not in first)):
        if name in hidden:
            continue
        value = getattr(result, name)
        title = _title(type(result), name)
        told = result.passages(name) if isinstance(result, Output) else None
        if told is not None:
            lines += _passages(title, told, plain)
        elif _is_rows(value):
            lines += ["", title] if lines else []
            lines += _table(list(value), plain)
        elif isinstance(value, list | tuple) and len(value) > 1:
            lines += [f"{title}:"] + [f"  {shown(each)}" for each in value]
        elif isinstance(value, BaseModel):
            lines += [f"{title}:"] + [f"  {line}" for line in _fields(value, plain)]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{title}:"] + [f"  {visible(line)}" for line in value.split("\n")]
        elif isinstance(worded(name, value), dict) and not _fits(value):
            lines += [f"{title}:"] + [f"  {line}" for line in _nested(value)]
        elif value not in (None, [], {}, ()):
            lines.append(f"{title}: {_cell(result, name)}")
    return lines


def render(result: BaseModel, plain: bool) -> str:
    """The result as text for people, in the active language."""
    return "\n".join(_fields(result, plain)) or _("Nothing there.")


def as_json_line(plain: Any) -> str:
    """One JSON document on one line; what a terminal could act on stands as an escape in it."""
    text = json.dumps(plain, ensure_ascii=False, default=str)
    return HOSTILE.sub(_escaped, text) + "\n"


def _escaped(found: re.Match[str]) -> str:
    sign = found.group()
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else json.dumps(sign)[1:-1]


def print_result(result: BaseModel, as_json: bool, plain: bool) -> None:
    """Write the result to standard output."""
    if as_json:
        sys.stdout.write(as_json_line(as_data(result)))
    else:
        sys.stdout.write(render(result, plain) + "\n")
    sys.stdout.flush()
    if not as_json and isinstance(result, Output):
        sys.stderr.write("".join(f"{visible(each)}\n" for each in result.remarks()))


def print_quietly(result: BaseModel) -> None:
    """What cron is to mail: the troubles of a result that says itself that it is no success, else
    its warnings, on standard error; nothing where all is well."""
    if isinstance(result, Output) and result.exit_code():
        lines = render(result.troubles(), plain=True).split("\n")
    else:
        lines = [visible(str(each)) for each in getattr(result, "warnings", ())]
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def print_part(part: BaseModel) -> None:
    """Write a part of an answer that is still coming, as JSON on a line of its own."""
    sys.stdout.write(as_json_line(as_data(part)))
    sys.stdout.flush()


def print_line(part: BaseModel) -> None:
    """Write a line that something else wrote, for people to follow; other parts come later."""
    line = getattr(part, "line", None)
    if isinstance(line, str):  # of what was found in a file it is the line's number
        sys.stderr.write(visible(line) + "\n")
        sys.stderr.flush()


def print_error(error: SophiaError, as_json: bool) -> None:
    """Write the error to standard error: what, why, what to do."""
    if as_json:
        sys.stderr.write(as_json_line({"error": error.as_dict()}))
        return
    lines = [f"{error.code}  {visible(error.what)}"]
    if error.why:
        lines.append("  " + _("Why: {why}").format(why=visible(error.why)))
    if error.remedy:
        first, *more = error.remedy.split("\n")
        lines.append("  " + _("What to do: {remedy}").format(remedy=visible(first)))
        lines += [f"    {visible(line)}" for line in more]
    sys.stderr.write("\n".join(lines) + "\n")


class ProgressLine:
    """Progress on standard error: one line rewritten in a terminal, else a line now and then."""

    def __init__(self, quiet: bool, plain: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not plain
        self._stage = ""
        self._told = ""
        self._last = 0.0
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        new_stage = progress.stage != self._stage
        ended = progress.total is not None and progress.done >= progress.total
        if self._quiet or not (new_stage or ended or now - self._last > (0.5 if self._live else 5)):
            return
        self._stage, self._last = progress.stage, now
        text = self._text(progress)
        if text == self._told:
            return
        self._told = text
        if self._live:
            sys.stderr.write("\r" + text + " " * max(0, self._width - width(text)))
            self._width = width(text)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def _text(self, progress: Progress) -> str:
        parts = [visible(progress.stage)]
        if progress.total:
            parts.append(
                f"{number(progress.done)}/{number(progress.total)} {visible(progress.unit)}".strip()
            )
            parts.append(f"{100 * progress.done // progress.total} %")
        elif progress.done:
            parts.append(f"{number(progress.done)} {visible(progress.unit)}".strip())
        if progress.message:
            parts.append(visible(progress.message))
        return "  ".join(parts)

    def close(self) -> None:
        """End a live line, so that the result begins on its own."""
        if self._live and self._width:
            sys.stderr.write("\n")
            self._width = 0
