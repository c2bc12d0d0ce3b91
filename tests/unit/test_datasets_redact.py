"""Personal data is found by form and check digits and replaced; what only looks like it stays."""

import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example as case
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.br import cnpj, cpf

from sophia_tui.datasets.formats import encode
from sophia_tui.datasets.personal import find, may_hold
from sophia_tui.datasets.redact import redact
from sophia_tui.domain.datasets import Example, Message

SAMPLES = Path(__file__).resolve().parents[2] / "finetune" / "samples"

FOUND = [
    ("email", "ana.silva+loja@example.com.br"),
    ("email", "ANA_99@sub.example.org"),
    ("email", "josé@exämple.de"),
    ("email", "5535900000105@s.whatsapp.net"),
    ("cpf", "529.982.247-25"),
    ("cpf", "52998224725"),
    ("cpf", "529 982 247 25"),
    ("cpf", "529982247-25"),
    ("cnpj", "11.222.333/0001-81"),
    ("cnpj", "11222333000181"),
    ("cnpj", "11222333/0001-81"),
    ("cnpj", "12.ABC.345/01DE-35"),
    ("cnpj", "12.abc.345/01de-35"),
    ("cnpj", "12ABC34501DE35"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "4111111111111111"),
    ("card", "3782 822463 10005"),
    ("card", "5555 5555 5555 4444"),
    ("card", "2223 0031 2200 3222"),
    ("card", "6362970000457013"),
    ("phone", "(35) 90000-0104"),
    ("phone", "(35) 3000-0109"),
    ("phone", "35 90000-0177"),
    ("phone", "35 9 0000 0177"),
    ("phone", "35900000105"),
    ("phone", "035 90000-0177"),
    ("phone", "35 3000-0109"),
    ("phone", "+55 35 90000-0132"),
    ("phone", "+5535900000132"),
    ("phone", "5535900000132"),
    ("phone", "90000-0104"),
    ("phone", "+31 20 555 0103"),
    ("phone", "+351 20 555 0111"),
    ("phone", "+234 1 555 0121"),
    ("phone", "0044 20 7946 0958"),
    ("phone", "(202) 555-0123"),
    ("phone", "202-555-0123"),
    ("phone", "+1 202 555 0123"),
]

KEPT = [
    "pedido 20260001234",
    "código 1234 5678 9012 3456",
    "7891234560012",
    "TB-77120-3",
    "AI 2026 0001 234 VI",
    "lote NV 0934 2201 7",
    "CPF 529.982.247-26",
    "CNPJ 11.222.333/0001-82",
    "4111 1111 1111 1112",
    "111.111.111-11",
    "00.000.000/0000-00",
    "0000 0000 0000 0000",
    "21/11/2026 10:30:15",
    "2026-11-21T10:30:15.123456Z",
    "1732181234",
    "1732181234567",
    "safra 2023-2024",
    "dia 12 2023-2024",
    "R$ 1.450.000,00 e US$ 12,345,678.90",
    "versão 18.6.3.20261121",
    "192.168.100.200:5432",
    "550e8400-e29b-41d4-a716-446655440000",
    "0.39053344705",
    "conta 3391, ramal 4417",
    "0800 123 4567",
    "CEP 37500-000",
    "pacote@1.2.3 e @fulano",
    "user@localhost",
    "+10.000.000.000",
    "de uma vez para 10",
    "sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
]


@pytest.mark.parametrize(("kind", "text"), FOUND)
def test_each_kind_is_found_whole_in_every_way_of_writing_it(kind: str, text: str) -> None:
    for frame in (
        "{}",
        "Fale: {}.",
        "({})",
        "antes {} depois",
        "é\n{}\té",
        '"{}"',
        "*{}*",
        "_{}_",
        "'{}'",
    ):
        whole = frame.format(text)
        found = [(each.kind.value, whole[each.start : each.end]) for each in find(whole)]
        assert found == [(kind, text)], frame
        assert may_hold(whole.encode())


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    "text", ["Telefone: 3333-1234", "ligue 35 3000 0109", "whatsapp 3530000109", "tel. 9 0000 0104"]
)
def test_words_before_tell_a_phone_that_looks_like_any_number(text: str) -> None:
    assert [each.kind.value for each in find(text)] == ["phone"]


@pytest.mark.parametrize(
    "text",
    [
        "５２９.９８２.２４７-２５",
        "529.982.247\u201125",
        "529\u00a0982\u00a0247\u00a025",
        "cpf52998224725",
    ],
)
def test_signs_that_look_alike_do_not_hide_anything(text: str) -> None:
    assert [each.kind.value for each in find(text)] == ["cpf"]
    assert may_hold(text.encode())


def test_several_data_side_by_side_are_all_found() -> None:
    text = "CPF 39053344705 35 90000-0188, 4111 1111 1111 1111 123 e a@example.com,b@example.com"
    kinds = [each.kind.value for each in find(text)]
    assert kinds == ["cpf", "phone", "card", "email", "email"]


def example(*texts: str) -> Example:
    roles = ("user", "assistant")
    return Example(tuple(Message(roles[n % 2], text) for n, text in enumerate(texts)))


def redacted(*texts: str) -> list[str]:
    given_example = example(*texts)
    return [m.content for m in redact(given_example, encode(given_example))[0].messages]


def test_the_same_value_has_the_same_placeholder_in_its_record() -> None:
    assert redacted(
        "A@example.com ou b@example.com? CPF 529.982.247-25", "a@example.com, CPF 52998224725"
    ) == ["[EMAIL_1] ou [EMAIL_2]? CPF [CPF_1]", "[EMAIL_1], CPF [CPF_1]"]


def test_a_phone_with_and_without_country_is_the_same() -> None:
    assert redacted("+55 35 90000-0132", "(35) 90000-0132") == ["[PHONE_1]", "[PHONE_1]"]


def test_placeholders_that_are_there_keep_their_numbers() -> None:
    assert redacted("[EMAIL_3] e c@example.com", "ok") == ["[EMAIL_3] e [EMAIL_4]", "ok"]


def test_counts_are_by_kind_and_weights_stay() -> None:
    chat = Example(
        (Message("user", "a@example.com"), Message("assistant", "a@example.com", weight=0))
    )
    changed, counts = redact(chat, encode(chat))
    assert counts == {"email": 2}
    assert changed.messages[1] == Message("assistant", "[EMAIL_1]", weight=0)


def digits(length: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=length, max_size=length)


around = st.text(st.characters(exclude_categories=["Cs", "Nd", "L", "No", "Nl", "M"]), max_size=10)


@given(around, digits(9).filter(lambda text: len(set(text)) > 1), st.booleans(), around)
def test_every_cpf_goes_and_the_text_around_it_stays(
    before: str, first: str, formatted: bool, after: str
) -> None:
    value = first + cpf._calc_check_digits(first)
    written = cpf.format(value) if formatted else value
    text = f"{before} {written} {after}"
    assert redacted(text, "ok")[0] == f"{before} [CPF_1] {after}"


@given(
    st.text(string.digits + string.ascii_uppercase, min_size=12, max_size=12).filter(
        lambda text: len(set(text)) > 1
    )
)
def test_every_cnpj_goes_also_one_with_letters(first: str) -> None:
    value = first + cnpj.calc_check_digits(first)
    if not cnpj.is_valid(value):
        return
    for written in (value, cnpj.format(value)):
        assert may_hold(written.encode())
        assert redacted(f"nota {written}.", "ok")[0] == "nota [CNPJ_1]."


@given(st.sampled_from(["4", "51", "2221", "650", "3530"]), digits(14))
def test_every_card_goes(prefix: str, rest: str) -> None:
    number = (prefix + rest)[:15]
    number += luhn.calc_check_digit(number)
    for written in (number, " ".join(number[at : at + 4] for at in range(0, 16, 4))):
        assert redacted(f"cartão {written}, 12/29", "ok")[0] == "cartão [CARD_1], 12/29"


@given(digits(9), digits(2))
@case("004602000", "00")
def test_a_number_with_wrong_check_digits_stays(first: str, check: str) -> None:
    if check != cpf._calc_check_digits(first):
        text = f"n. {first[:3]}.{first[3:6]}.{first[6:]}-{check}"
        assert redacted(text, "ok")[0] == text


noisy = st.lists(
    st.sampled_from([text for _kind, text in FOUND] + KEPT) | st.text(" .,-+()@/1234567890ABx"),
    max_size=6,
)


@given(noisy, st.sampled_from(["", " ", "-", ", ", "\n"]))
def test_after_redacting_nothing_is_left_and_again_changes_nothing(
    parts: list[str], glue: str
) -> None:
    once = redacted(glue.join(parts), "ok")
    assert find(once[0]) == []
    assert redacted(*once) == once


@given(noisy, st.sampled_from(["", " ", "-", ", "]))
def test_the_gate_never_hides_what_would_be_found(parts: list[str], glue: str) -> None:
    text = glue.join(parts)
    if find(text):
        assert may_hold(text.encode())


def _rows(table: str) -> list[dict[str, Any]]:
    path = SAMPLES / "source" / f"{table}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("table", "key", "fields"),
    [
        ("qa_cache", "qhash", ("question", "answer")),
        ("messages", "id", ("content",)),
        ("docs", "id", ("title", "content")),
    ],
)
def test_the_samples_hold_exactly_the_personal_data_they_list(
    table: str, key: str, fields: tuple[str, ...]
) -> None:
    manifest = yaml.safe_load((SAMPLES / "manifest.yaml").read_text(encoding="utf-8"))
    listed: dict[Any, set[str]] = {}
    for kind, rows in manifest["dirt"][table].get("personal_data", {}).items():
        for row in rows:
            listed.setdefault(row, set()).add(kind)
    found = {
        row[key]: {each.kind.value for field in fields for each in find(row[field] or "")}
        for row in _rows(table)
    }
    assert {row: kinds for row, kinds in found.items() if kinds} == listed


def test_every_customer_of_the_samples_loses_phone_and_email() -> None:
    for row in _rows("customers"):
        for field in ("email", "phone"):
            assert [each.kind.value for each in find(row[field] or "")] == [field] * bool(
                row[field]
            )
