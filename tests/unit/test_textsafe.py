"""Hostile text: nothing that a terminal acts on, or that misleads a reader, passes through."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.textsafe import visible, visible_lines

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "title": "\x1b]0;evil\x1b\\",
    "eight-bit sequence": "\x9b31m",
    "string terminator": "\x90evil\x9c",
    "override": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "arabic mark": "\u061c",
    "zero width": "a\u200bb\u200c\u200d\ufeff",
    "word joiner": "a\u2060b",
    "line separators": "a\u2028b\u2029c",
    "carriage return": "real\rfake",
    "backspace": "a\x08b",
    "bell": "\a",
    "null": "a\0b",
    "delete": "a\x7fb",
    "tag characters": "a\U000e0041b",
    "interlinear": "\ufff9a\ufffb",
    "line feed": "a\nb",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_becomes_visible(name: str) -> None:
    shown = visible(HOSTILE[name])
    assert {unicodedata.category(sign) for sign in shown} & {"Cc", "Cf", "Zl", "Zp", "Cs"} == set()
    assert len(shown) >= len(HOSTILE[name])


@given(st.text())
def test_no_control_and_no_direction_mark_ever_passes(text: str) -> None:
    for sign in visible(text):
        assert unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(sign) not in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"
        )  # fmt: skip


def test_lone_surrogates_become_visible() -> None:
    assert visible("a\udcffb") == "a<U+DCFF>b"


@given(st.text())
def test_what_is_visible_stays_so(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("text", ["", "plain", "é ção 日本 🙂 עברית عربي", "a\u00a0b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_lines_stay_lines() -> None:
    assert visible_lines("a\tb\n\x1b[1mc\r\n") == "a    b\n␛[1mc␍\n"
