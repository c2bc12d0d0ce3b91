"""Languages: which one is active, and the look-up of a text in it. Nothing here calls setlocale.

The language is a context variable, so that one API process can answer two people in two languages.
"""

import gettext as _gettext
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "pt_BR")
DEFAULT_LANGUAGE = "en"
LOCALE_FOLDER = Path(__file__).parent / "locale"

_active: ContextVar[str] = ContextVar("sophia_language", default=DEFAULT_LANGUAGE)
_zone: ContextVar[str | None] = ContextVar("sophia_zone", default=None)


def match_language(text: str | None) -> str | None:
    """The language of ours that a tag such as `pt_BR.UTF-8` or `en` asks for, else None."""
    if not text:
        return None
    tag = text.split(".")[0].split("@")[0].replace("-", "_").lower()
    if tag.split("_")[0] == "pt":
        return "pt_BR"
    if tag.split("_")[0] == "en":
        return "en"
    return None


def detect_language(environment: Mapping[str, str]) -> str:
    """The language from SOPHIA_LANG, LC_ALL, LC_MESSAGES and LANG, read as text. A SOPHIA_LANG that
    is none of ours counts as none."""
    own = match_language(environment.get("SOPHIA_LANG"))
    if own:
        return own
    for key in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(key)
        if value:
            return match_language(value) or DEFAULT_LANGUAGE
    return DEFAULT_LANGUAGE


def unknown_language(environment: Mapping[str, str]) -> str:
    """What SOPHIA_LANG holds where it is no language of ours; else empty."""
    given = environment.get("SOPHIA_LANG", "")
    return "" if match_language(given) else given


def set_language(language: str) -> None:
    """Make `language` (one of LANGUAGES) the active one in this context."""
    _active.set(match_language(language) or DEFAULT_LANGUAGE)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Another language for a while, in this context."""
    token = _active.set(match_language(language) or DEFAULT_LANGUAGE)
    try:
        yield
    finally:
        _active.reset(token)


def get_language() -> str:
    return _active.get()


@cache
def _catalogue(language: str) -> _gettext.NullTranslations:
    return _gettext.translation(
        "sophia", localedir=str(LOCALE_FOLDER), languages=[language], fallback=True
    )


def _(message: str) -> str:
    """The text in the active language; English is the source language."""
    language = _active.get()
    if not message or language == DEFAULT_LANGUAGE:
        return message
    return _catalogue(language).gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The right plural form for `count` in the active language."""
    language = _active.get()
    if language == DEFAULT_LANGUAGE:
        return singular if count == 1 else plural
    return _catalogue(language).ngettext(singular, plural, count)


def N_(message: str) -> str:
    """Marks a text for the catalogues where it is declared; `_` translates it where it is shown."""
    return message


def number(value: float, decimals: int = 0) -> str:
    """A number for people: 1,204.5 in English, 1.204,5 in Portuguese."""
    text = f"{value:,.{decimals}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]  # what is rounded to nothing has no sign
    if _active.get() == "pt_BR":
        text = text.replace(",", "\0").replace(".", ",").replace("\0", ".")
    return text


def money(value: float, beside: float | None = None) -> str:
    """A sum for people: two decimals, more where it is small or looks like the one beside it."""
    decimals = 2
    while decimals < 8 and (
        (value and abs(value) < 10.0 ** (1 - decimals))
        or (
            beside not in (None, value) and number(beside or 0, decimals) == number(value, decimals)
        )
    ):
        decimals += 1
    return number(value, decimals)


def set_zone(name: str) -> None:
    """Times are told in the zone of that name from here on; empty: in this machine's."""
    _zone.set(name)


def clock_time(moment: datetime) -> str:
    """A time for people, with its offset: 2026-11-25 17:54:08-03:00."""
    from zoneinfo import ZoneInfo

    name = _zone.get()
    return moment.astimezone(ZoneInfo(name) if name else None).isoformat(" ", "seconds")


def local(moment: datetime) -> datetime:
    """A time in the zone that people's screens show: this machine's."""
    return moment.astimezone()


def moment_text(moment: datetime, seconds: bool = False, year: bool = True) -> str:
    """A time on a screen, in this machine's zone; see written."""
    return written(local(moment), seconds, year)


def written(moment: datetime, seconds: bool = False, year: bool = True) -> str:
    """A time in its own zone: 2026-11-25 17:54, or 25/11/2026 17:54 in Portuguese."""
    portuguese = _active.get() == "pt_BR"
    day = ("%d/%m/%Y" if year else "%d/%m") if portuguese else ("%Y-%m-%d" if year else "%m-%d")
    return moment.strftime(f"{day} %H:%M:%S" if seconds else f"{day} %H:%M")


def clock_day(moment: datetime) -> str:
    """The day of a time, where people are: 2026-11-25."""
    return clock_time(moment)[:10]
