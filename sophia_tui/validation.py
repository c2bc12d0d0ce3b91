"""What pydantic found wrong, said in the active language; never with the value itself."""

from collections.abc import Callable, Mapping
from typing import Any

from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Shares of a whole, for two or three parts.
SHARES = r"^[0-9.]+(/[0-9.]+){1,2}$"
#: The id of a promotion.
PROMOTION = r"^promo(tion)?-[0-9a-z-]+$"


def explained(problem: Mapping[str, Any]) -> str:
    """One entry of `ValidationError.errors()` as a sentence's end; unusual kinds stay English."""
    limits = problem.get("ctx") or {}
    kind = str(problem["type"])
    if kind in ("literal_error", "enum"):
        choices = str(limits.get("expected", "")).replace(" or ", _(" or "))
        return _("must be one of {choices}").format(choices=choices)
    if kind == "unknown_column":
        columns = str(limits.get("columns", ""))
        return _("must be one of {columns}; with - before it for descending").format(
            columns=columns
        )
    if kind == "finite_number":
        return _("must be a number that is neither infinite nor NaN")
    if kind == "string_pattern_mismatch":
        pattern = str(limits.get("pattern", ""))
        if pattern == SHARES:
            return _("must be like {one} or {other}").format(one="80/20", other="80/10/10")
        if pattern == PROMOTION:
            return _("must be an id like {one}; `sophia promote history` lists them").format(
                one="promotion-1f2e3d4c5b6a"
            )
        return _("must look like {pattern}").format(pattern=pattern)
    text = _simple(kind)
    if text:
        return text
    for name, words in (
        ("ge", _("must be at least {limit}")),
        ("gt", _("must be more than {limit}")),
        ("le", _("must be at most {limit}")),
        ("lt", _("must be less than {limit}")),
        ("min_length", _("must not be shorter than {limit}")),
        ("max_length", _("must not be longer than {limit}")),
    ):
        if name in limits:
            limit = limits[name]
            whole = isinstance(limit, float) and limit.is_integer()
            return words.format(limit=int(limit) if whole else limit)
    return visible(str(problem["msg"]))


def _simple(kind: str) -> str:
    """The sentence for kinds that need no limit; empty for all others."""
    if kind == "missing":
        return _("needed")
    if kind == "extra_forbidden":
        return _("is not known here")
    for beginning, text in (
        (("int_",), _("must be a whole number")),
        (("float_", "decimal_"), _("must be a number")),
        (("bool_",), _("must be true or false")),
        (("string_type",), _("must be text")),
        (("list_type", "tuple_type"), _("must be a list")),
        (
            ("datetime_", "date_", "timezone_"),
            _("must be a date, e.g. 2026-11-01 or 2026-11-01T08:00:00-03:00"),
        ),
    ):
        if kind.startswith(beginning):
            return text
    return ""


def _place(where: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in where)


def where_and_what(
    problems: list[Any], place: Callable[[tuple[str | int, ...]], str] = _place
) -> str:
    """All entries on one line: `field: what is wrong`; `place` names the field."""
    return "; ".join(f"{place(each['loc']) or 'request'}: {explained(each)}" for each in problems)
