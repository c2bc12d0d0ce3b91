"""Planted personal data is found and clean text stays; the gate hides nothing; probes count it."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdnum.br import cpf

from sophia_tui.datasets import personal_contacts, personal_documents
from sophia_tui.datasets.formats import encode
from sophia_tui.datasets.inspection import Asked, inspect
from sophia_tui.datasets.personal import FINDERS, find
from sophia_tui.datasets.personal_gate import may_hold, suspects, worth
from sophia_tui.datasets.personal_kinds import folded, in_runs
from sophia_tui.datasets.redact import Pseudonyms, redact
from sophia_tui.datasets.redact import settings as redact_settings
from sophia_tui.domain.datasets import Example, Message, Pair
from sophia_tui.errors import DataError
from tests.benchmarks import planted_texts
from tests.benchmarks.personal_benchmark import altered, ours, recall

# --- planted values, look-alikes and clean text


@pytest.mark.parametrize("kind", planted_texts.KINDS)
def test_planted_values_are_found(kind: str) -> None:
    planted = planted_texts.planted(kind, 400, seed=7)
    found, missed = recall(planted, [ours(each.text) for each in planted])
    least = 0.99 if kind in planted_texts.CHECKED else 0.97
    assert found.found >= least, [each.text for each in missed]
    assert found.named >= least


def test_clean_text_and_what_only_looks_like_it_stay() -> None:
    texts = planted_texts.clean(2000, seed=7)
    assert altered([ours(text) for text in texts]) <= 0.005
    alike = [
        text
        for kind in planted_texts.LOOK_ALIKES
        for text in planted_texts.look_alikes(kind, 200, seed=7)
    ]
    assert altered([ours(text) for text in alike]) <= 0.005


# --- the gate

#: Patterns of digits, and the fewest digits of what they match.
_OF_NUMBERS = {
    **{"_CPF": 11, "_CNPJ": 14, "_CARD": 13, "_CEP": 8, "_AMERICA": 10},
    **{"_LOCAL_MOBILE": 9, "_LOCAL_BARE": 8, "_BRAZIL": 10, "_ABROAD": 7, "_RG_PAULISTA": 8},
}
_SIGNS = " .-/()\u00a0\u2009\u2011\u2013\u2212\u3000\uff0f:,_xA9\n"


@st.composite
def noisy(draw: st.DrawFn) -> str:
    """A planted text in which signs were exchanged, doubled and lost."""
    kind = draw(st.sampled_from(list(planted_texts.KINDS)))
    text = planted_texts.planted(kind, 1, draw(st.integers(0, 10**6)))[0].text
    for _ in range(draw(st.integers(0, 4))):
        places = [at for at, each in enumerate(text) if not each.isalnum()] or [0]
        at = draw(st.sampled_from(places))
        text = text[:at] + draw(st.text(_SIGNS, max_size=2)) + text[at + draw(st.integers(0, 1)) :]
    return text


@settings(max_examples=400, deadline=None)
@example("R.G\n. 287.175 Thanks a lot!")
@given(noisy())
def test_the_gate_says_yes_wherever_a_finder_finds(text: str) -> None:
    plain = folded(text)
    names = {name for name, finder in FINDERS.items() if any(finder(plain))}
    assert names <= worth(plain)
    if names:
        _passes_in_every_writing(text)


@settings(max_examples=400, deadline=None)
@given(st.text("0123456789 .-/+()@:xXaFRGrgBR\u00a0\u2011\uff11\uff0d", max_size=40))
def test_the_gate_says_yes_on_any_text(text: str) -> None:
    plain = folded(text)
    names = {name for name, finder in FINDERS.items() if any(finder(plain))}
    assert names <= worth(plain)
    if names:
        _passes_in_every_writing(text)


def _passes_in_every_writing(text: str) -> None:
    assert may_hold(text.encode())
    for inside in (text, json.dumps({"a": text}), json.dumps({"a": text}, ensure_ascii=False)):
        for ascii_only in (True, False):
            row = json.dumps({"answer": inside}, ensure_ascii=ascii_only).encode()
            assert may_hold(row)
            assert may_hold(row.replace(b"/", b"\\/"))
    hidden = "".join(f"\\u{ord(each):04x}" for each in text if ord(each) < 0x10000)
    assert may_hold(f'{{"answer":"{hidden}"}}'.encode())


def test_the_gate_knows_an_escaped_slash_between_spaces() -> None:
    assert any(FINDERS["lettered_cnpjs"]("FR.0CH.PPW / MGKV-97"))
    assert may_hold(rb'{"answer": "FR.0CH.PPW \/ MGKV-97"}')


@given(noisy() | st.text("0123456789 .-/+()xX5cpf", max_size=40))
def test_looking_only_where_numbers_are_finds_what_looking_everywhere_does(text: str) -> None:
    text = folded(text)
    for module in (personal_contacts, personal_documents):
        for name in _OF_NUMBERS & vars(module).keys():
            pattern = getattr(module, name)
            everywhere = [each.span() for each in pattern.finditer(text)]
            found = in_runs(pattern, text, _OF_NUMBERS[name])
            assert [each.span() for each in found] == everywhere, name


@given(st.text("0123456789", min_size=11, max_size=11), st.booleans())
def test_check_digits_of_a_cpf_are_those_of_the_library(value: str, right: bool) -> None:
    value = value[:9] + cpf._calc_check_digits(value) if right else value
    alike = len(set(value)) == 1
    assert bool(list(personal_documents.cpfs(value))) == (cpf.is_valid(value) and not alike)


@given(st.lists(st.sampled_from([b"", b"abc", b"CPF 529.982.247-25", b"a@b.com"]), max_size=8))
def test_suspects_are_whole_lines_with_their_numbers(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    hits = [(number, data[start:end]) for number, start, end in suspects(data)]
    assert hits == [(n, line) for n, line in enumerate(lines, 1) if may_hold(line)]


# --- what is looked at in a record

MAIL = "ana@example.com"


def _redacted(example: Example | Pair) -> Example | Pair:
    return redact(example, encode(example) + repr(example).encode())[0]


def _call(arguments: str) -> dict[str, object]:
    return {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}


def test_a_value_has_one_placeholder_in_all_parts_of_its_record() -> None:
    call = _call(json.dumps({"to": MAIL, "telefone": 33331234, "ok": True, "n": 2}))
    chat = Example(
        (
            Message("user", f"sou {MAIL}", name="5535900000105"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", f"sent to {MAIL}", tool_call_id="c1"),
            Message("assistant", "ok"),
        ),
        tools=({"type": "function", "function": {"name": "send", "description": f"by {MAIL}"}},),
        critique=f"[VERITAS] {MAIL}",
    )
    found = _redacted(chat)
    assert isinstance(found, Example)
    assert [each.content for each in found.messages] == [
        "sou [EMAIL_1]",
        "",
        "sent to [EMAIL_1]",
        "ok",
    ]
    assert found.messages[0].name == "PHONE_1"
    arguments = found.messages[1].tool_calls[0]["function"]["arguments"]
    assert json.loads(arguments) == {"to": "[EMAIL_1]", "telefone": "[PHONE_2]", "ok": True, "n": 2}
    assert found.critique == "[VERITAS] [EMAIL_1]"
    assert found.tools[0]["function"]["description"] == "by [EMAIL_1]"
    assert _redacted(found) == found


def test_arguments_without_personal_data_stay_to_the_letter() -> None:
    call = _call('{ "n" : 1,"to":"x" }')
    chat = Example((Message("user", MAIL), Message("assistant", "", tool_calls=(call,))))
    found = _redacted(chat)
    assert found.messages[1].tool_calls == (call,)


def test_arguments_that_are_no_json_are_redacted_as_text() -> None:
    chat = Example(
        (Message("user", "x"), Message("assistant", "", tool_calls=(_call(f"to={MAIL}"),)))
    )
    found = _redacted(chat)
    assert found.messages[1].tool_calls[0]["function"]["arguments"] == "to=[EMAIL_1]"


def test_content_and_its_parts_say_the_same_and_count_once() -> None:
    parts = (
        {"type": "text", "text": f"de {MAIL}"},
        {"type": "image_url", "image_url": {"url": f"https://x.example/?u={MAIL}"}},
    )
    chat = Example((Message("user", f"de {MAIL}", parts=parts), Message("assistant", "ok")))
    found, counts = redact(chat, repr(chat).encode())
    assert found.messages[0].content == "de [EMAIL_1]"
    assert found.messages[0].parts == (
        {"type": "text", "text": "de [EMAIL_1]"},
        {"type": "image_url", "image_url": {"url": "https://x.example/?u=[EMAIL_1]"}},
    )
    assert counts == {"email": 2}


def test_both_answers_of_a_pair_are_redacted() -> None:
    pair = Pair(
        (Message("user", MAIL),), Message("assistant", MAIL), Message("assistant", "b@c.de")
    )
    found = _redacted(pair)
    assert isinstance(found, Pair)
    assert (found.chosen.content, found.rejected.content) == ("[EMAIL_1]", "[EMAIL_2]")


def test_of_an_address_with_a_password_only_the_password_goes() -> None:
    chat = Example(
        (Message("user", "postgres://app:p4ss!w@db.example.com/x"), Message("assistant", "ok"))
    )
    assert _redacted(chat).messages[0].content == "postgres://app:[SECRET_1]@db.example.com/x"


# --- pseudonyms

KEY = "k" * 32


def test_pseudonyms_are_the_same_in_all_records_and_differ_by_key() -> None:
    def of(text: str, key: str) -> str:
        chat = Example((Message("user", text), Message("assistant", "ok")))
        return redact(chat, encode(chat), Pseudonyms(key))[0].messages[0].content

    first = of("ANA@example.com", KEY)
    assert first == of("ana@example.com", KEY) != of("ana@example.com", KEY[:-1] + "j")
    assert first.startswith("[EMAIL_") and len(first) == len("[EMAIL_]") + 12
    again = of(f"{first} e bia@example.com", KEY)
    assert again.startswith(f"{first} e [EMAIL_") and "@" not in again


def test_the_settings_of_the_step_name_the_key_by_its_fingerprint_alone() -> None:
    first, second = Pseudonyms(KEY), Pseudonyms(KEY[:-1] + "j")
    assert redact_settings() == {}
    assert redact_settings(first) != redact_settings(second)
    assert KEY not in str(redact_settings(first)) + repr(first)


def test_a_key_that_could_be_guessed_is_refused_without_being_shown() -> None:
    with pytest.raises(DataError) as refused:
        Pseudonyms("hunter2")
    assert refused.value.code == "SOPHIA-D521" and "hunter2" not in str(refused.value)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_redacting_with_a_key_leaves_nothing_and_again_changes_nothing(seed: int) -> None:
    kind = random.Random(seed).choice(list(planted_texts.KINDS))
    text = planted_texts.planted(kind, 1, seed)[0].text
    chat = Example((Message("user", text), Message("assistant", "ok")))
    once = redact(chat, encode(chat), Pseudonyms(KEY))[0]
    assert find(once.messages[0].content) == []
    assert redact(once, encode(once), Pseudonyms(KEY))[0] == once


# --- the sections of an inspection


def test_sections_tell_counts_rows_and_lines_and_never_a_value(tmp_path: Path) -> None:
    token = "ghp_" + "a1" * 18
    asked = ("nada", f"{MAIL} e {MAIL}", f"{token} {MAIL}")
    lines = [json.dumps({"question": each, "answer": "ok"}) for each in asked]
    lines.insert(2, "not json, a@b.com")
    path, folder = tmp_path / "rows.jsonl", tmp_path / "report"
    path.write_text("\n".join(lines * 2))
    folder.mkdir()
    sections = ("personal", "secrets")
    report = inspect(
        Asked((str(path),), path.stat().st_size, sections), folder, lambda *_told: None, 100
    )
    assert report["sections"] == {
        "personal": {
            "count": 6,
            "rows": 4,
            "kinds": {"email": {"count": 6, "rows": 4, "lines": [2, 4, 6, 8]}},
        },
        "secrets": {
            "count": 2,
            "rows": 2,
            "kinds": {"secret": {"count": 2, "rows": 2, "lines": [4, 8]}},
        },
    }
    issues = {each["code"]: each["places"] for each in report["issues"]}
    assert issues["personal_data"] == [(0, 2), (0, 4), (0, 6), (0, 8)]
    assert issues["secret"] == [(0, 4), (0, 8)]
    assert MAIL not in str(report) and token not in str(report)
