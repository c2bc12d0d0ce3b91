"""The language of a text is told where it can be; a short one stays undecided."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets.languages import LANGUAGES, language_of, report
from sophia_tui.datasets.sample import SampledRow

TOLD = [
    ("pt", "Quando a loja abre?"),
    ("pt", "Qual é o prazo de troca?"),
    ("pt", "Preciso de ajuda com meu pedido 123, não chegou ainda"),
    ("pt", "Muito obrigado pela ajuda"),
    ("pt", "Meu CPF é [CPF_1] e meu e-mail é ana@example.com.br, pode conferir?"),
    ("en", "The shop opens at nine."),
    ("en", "How do I reset my password?"),
    ("en", "Refunds are paid within ten days of the return."),
    ("es", "El pedido llega mañana por la tarde."),
    ("fr", "Le magasin est ouvert du lundi au vendredi."),
    ("de", "Die Lieferung kommt morgen."),
    ("it", "Il negozio è aperto dal lunedì al venerdì."),
    ("nl", "Kan ik het morgen in de winkel ruilen?"),
    ("ru", "Пожалуйста, верните деньги"),
    ("zh", "你好，世界，今天天气很好"),
]
UNDECIDED = [
    "",
    "ok",
    "Sim",
    "12345",
    "Kontakt: a@b.com",
    "SmolLM2-135M",
    "https://example.com/a",
    "🙂",
]


@pytest.mark.parametrize(("language", "text"), TOLD)
def test_a_sentence_names_its_language(language: str, text: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize("text", UNDECIDED)
def test_what_is_short_or_no_language_stays_undecided(text: str) -> None:
    assert language_of(text) is None


@given(st.text(max_size=200))
def test_any_text_is_one_of_the_languages_or_undecided(text: str) -> None:
    assert language_of(text) in (None, *LANGUAGES)


@given(st.text(alphabet=string.digits + string.punctuation, max_size=80))
def test_signs_are_no_language(text: str) -> None:
    assert language_of(text) is None


def _row(line: int, asked: str, answered: str) -> SampledRow:
    return SampledRow(line, (("user", asked), ("assistant", answered)))


def test_a_report_has_shares_with_intervals_and_names_rows_that_mix_languages() -> None:
    rows = [_row(each, "Quando a loja abre?", "A loja abre às nove.") for each in range(1, 9)]
    rows.append(_row(9, "Quando a loja abre?", "The shop opens at nine."))
    rows.append(_row(10, "ok", "ok"))
    found = report(rows, whole=False)
    assert [(each["language"], each["count"]) for each in found["languages"]] == [
        ("pt", 8),
        ("en", 1),
    ]
    assert found["languages"][0]["low"] < 0.8 < found["languages"][0]["high"]
    assert found["undecided"]["count"] == 1
    assert found["mixed"]["lines"] == [{"line": 9, "asked": "pt", "answered": "en"}]


def test_a_whole_file_has_no_interval() -> None:
    found = report([_row(1, "Quando a loja abre?", "A loja abre às nove.")], whole=True)
    assert found["languages"] == [{"language": "pt", "count": 1, "share": 1.0}]
