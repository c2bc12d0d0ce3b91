"""Texts that would act on a terminal, mislead a reader or break a layout, and what tells whether
one came through: by Unicode's own categories, not by the list that the program goes by."""

import types
import typing
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from pydantic import BaseModel, SecretStr

TEXTS = {
    "markup": "[red]x[/red] [@click=app.quit]q[/] [link=http://evil]l[/link] [/]",
    "colours": "\x1b[31;1mred\x1b[0m \x1b[8mhidden\x1b[28m",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "title": "\x1b]0;evil\x1b\\",
    "link": "\x1b]8;;http://evil\x1b\\look\x1b]8;;\x1b\\",
    "device control": "\x1bP+q544e\x1b\\ \x1b[6n \x1b[c \x1b[>q",
    "screen": "\x1b[2J\x1b[H\x1b[?1049l\x1b[?25h\x1bc",
    "eight-bit": "\x9b31m \x90evil\x9c \x9d0;evil\x9c",
    "override": "\u202egnp.exe \u2066a\u2069 \u200fx\u200e",
    "zero width": "a\u200bb\u200c\u200d\ufeff\u2060c\u00adx\u034fy",
    "hidden text": "a\U000e0041\U000e0042\U000e007f b\U000e0101\U000e0110 c\ufe01",
    "fillers": "\u3164 \u115f\u1160 \uffa0 \u180e",
    "lines": "a\u2028b\u2029c\x85d\x0be\x0cf\rg",
    "prompt": "done\nroot@server:~# rm -rf /\n",
    "null": "a\0b\x7fc\x08d\a",
    "surrogate": "a\udcffb\ud800c",
    "flood": "Z" + "\u0300\u0489\u20dd" * 60 + "algo",
    "long": "Lopado" * 1700,
    "wide": "日本語テキスト" * 12,
    "emoji": "👩‍👩‍👧‍👦❤️🏳️‍🌈" * 5,
    "right to left": "שלום עולם مرحبا",
    "blank": " \t\u00a0 ",
    "formula": '=HYPERLINK("http://evil","x")',
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "template": "{n} {0} %s %(x)s {{ 7*7 }} ${HOME} $(id) `id`",
    "path": "../../../../etc/passwd",
    "empty": "",
}
#: All of it in one text, as long as a table's row takes.
EVERYTHING = " ".join(text for name, text in TEXTS.items() if name not in ("long", "empty"))
_NEVER = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Signs without a shape that Unicode counts among the letters.
_SHAPELESS = frozenset("\u115f\u1160\u3164\uffa0\u034f")


def harm_in(text: str, most_marks: int = 8) -> str:
    """The first sign that a terminal acts on or a person does not see, with what stands around it;
    empty where there is none. `most_marks`: so many may stand upon one letter."""
    marks = 0
    for place, sign in enumerate(text):
        kind = unicodedata.category(sign)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        hidden = kind in _NEVER or sign in _SHAPELESS or 0xE0000 <= ord(sign) <= 0xE0FFF
        if (hidden and sign != "\n") or marks > most_marks:
            return f"{sign!r} in {text[max(0, place - 30) : place + 10]!r}"
    return ""


def poisoned(kind: Any, text: str, depth: int = 0) -> Any:
    """A value of the annotated kind (or model) with the text in every place for text."""
    origin, within = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return poisoned(within[0], text, depth)
    if origin in (typing.Union, types.UnionType):
        kept = [each for each in within if each is not type(None)]
        return poisoned(kept[0], text, depth)
    if origin is typing.Literal:
        return within[0]
    if origin in (list, tuple, set, frozenset, Sequence):
        return [poisoned(within[0], text, depth), poisoned(within[0], text, depth)]
    if origin in (dict, Mapping) or kind is dict:
        value = poisoned(within[1], text, depth) if within else text
        if within and within[1] is not Any:
            return {text or "k": value}
        return {text or "k": value, "list": [text], "deeper": {text or "k": text}}
    if not isinstance(kind, type):
        return text
    if issubclass(kind, BaseModel):
        if depth > 5:
            return None
        hints = typing.get_type_hints(kind)
        values = {name: poisoned(hints[name], text, depth + 1) for name in kind.model_fields}
        return kind.model_construct(**values)
    return _plain(kind, text)


def _plain(kind: type, text: str) -> Any:
    if issubclass(kind, Enum):
        return next(iter(kind))
    known: dict[type, Any] = {
        bool: True,
        int: 3,
        float: 0.5,
        datetime: datetime(2026, 11, 21, tzinfo=UTC),
        date: date(2026, 11, 21),
        SecretStr: SecretStr(text),
        bytes: b"\x1b",
    }
    return known.get(kind, text)
