"""A person's identifiers: read from what was typed, found in texts, told masked."""

import json
import re

import pytest

from sophia_tui.datasets.forget import Seeker, Wanted
from sophia_tui.domain.persons import (
    Identifier,
    fold,
    needles_of,
    patterns_of,
    read_identifiers,
)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("ana@example.com", [("email", "ana@example.com")]),
        ("529.982.247-25", [("cpf", "52998224725"), ("phone", "52998224725")]),
        ("CPF: 529.982.247-25", [("cpf", "52998224725")]),
        ("+55 (11) 98765-4321", [("phone", "5511987654321")]),
        ("11 98765-4321", [("phone", "11987654321")]),
        ("42", [("customer", "42")]),
        ("customer:42", [("customer", "42")]),
        ("Maria de Souza", [("name", "Maria de Souza")]),
        ("name: Zoé Lima", [("name", "Zoé Lima")]),
        ("conversations:7", [("conversations", "7")]),
        ("1b4e28ba-2fa1-11d2-883f-0016d3cca427",) * 2,
        ("42; ana@example.com\n11987654321", None),
    ],
)  # fmt: skip
def test_what_was_typed_is_read(typed: str, read: object) -> None:
    found, wrong = read_identifiers(typed)
    assert wrong == 0
    kinds = [(each.kind, each.value) for each in found]
    if read is None:
        assert [kind for kind, _value in kinds] == ["customer", "email", "phone"]
    elif isinstance(read, str):
        assert kinds == [("customer", read)]
    else:
        assert kinds == read or kinds == read[:1]


@pytest.mark.parametrize("typed", ["ok\nemail:nobody", "phone:12", "name:Ana", "1.2"])
def test_the_part_that_cannot_be_read_is_told_by_its_number(typed: str) -> None:
    assert read_identifiers(typed) == ([], len(typed.splitlines()))


def found(kind: str, value: str, text: str) -> bool:
    """By the pattern alone, and by the whole way with its quick look: both say the same."""
    sought = [Identifier(kind, value)]
    [pattern] = patterns_of(sought)
    words, numbers = map(list, needles_of(sought))
    seeker = Seeker(Wanted([pattern], words, numbers))
    slow = bool(re.search(pattern, fold(text)))
    for form in (text, json.dumps({"said": text}), json.dumps([text], ensure_ascii=False)):
        assert seeker.in_line(form.encode()) == slow, form
    return slow


@pytest.mark.parametrize(
    ("kind", "value", "texts"),
    [
        ("email", "Ana.B@example.com", ["ANA.B@EXAMPLE.COM", "<ana.b@example.com>.",
                                        "e: ana.b@example.com, ok"]),
        ("cpf", "52998224725", ["529.982.247-25", "52998224725", "529 982 247 25",
                                "\uff15\uff12\uff19.982.247-25"]),
        ("phone", "5511987654321", ["(11) 98765-4321", "+55 11 98765 4321", "011987654321",
                                    "11 8765-4321", "98765-4321", "5511987654321",
                                    "me liga no 9 8765-4321"]),
        ("phone", "1132654321", ["(11) 3265-4321", "+55 11 32654321", "3265-4321"]),
        ("phone", "442079460958", ["+44 20 7946 0958"]),
        ("name", "Zoé  Lima", ["zoe lima", "a ZOÉ LIMA disse", "Zoé\nLima"]),
    ],
)  # fmt: skip
def test_values_are_found_however_they_are_written(kind: str, value: str, texts: list[str]) -> None:
    assert [text for text in texts if not found(kind, value, text)] == []


@pytest.mark.parametrize(
    ("kind", "value", "texts"),
    [
        ("email", "ana@example.com", ["joana@example.com", "ana@example.com.br",
                                      "ana@example.community"]),
        ("cpf", "52998224725", ["529.982.247-26", "1529982247251", "order 5299822472"]),
        ("phone", "11987654321", ["(21) 98765-4321", "21987654321", "119876543210",
                                  "98765-43219"]),
        ("name", "Zoé Lima", ["Zoé Limão", "a Azoé Lima"]),
    ],
)  # fmt: skip
def test_what_only_looks_alike_is_nobodys(kind: str, value: str, texts: list[str]) -> None:
    assert [text for text in texts if found(kind, value, text)] == []


def test_masked_tells_which_was_meant_and_not_who() -> None:
    told = [
        Identifier(kind, value).masked
        for kind, value in (
            ("email", "ana.souza@example.com"),
            ("cpf", "52998224725"),
            ("customer", "42"),
            ("name", "Zoé Lima"),
        )
    ]
    assert told == ["email:a***@e***", "cpf:***25", "customer:***", "name:Z. L."]
