"""How a record of a data file is shown: laid out or raw, and nothing of it hidden."""

import json

import pytest
from textual.content import Content

from sophia_tui.tui.columns import beside
from sophia_tui.tui.finding import Wanted
from sophia_tui.tui.record_text import PAGE, Marks, View, page_of, parsed, record_text


def shown(record: object, view: View = "rendered", width: int = 60, wanted: str = "") -> str:
    text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
    return record_text(text, view, width, Marks(Wanted(wanted).places)).plain


def test_turns_have_their_roles_names_and_weights() -> None:
    text = shown(
        {
            "messages": [
                {"role": "user", "content": "a\nb", "name": "zé"},
                {"role": "assistant", "content": "c", "weight": 0, "odd": [1]},
            ],
            "weight": 1,
        }
    )
    for word in ("user  zé\na\nb\n", "assistant  weight 0, not trained on\nc\n", "odd  [1]"):
        assert word in text
    assert "weight  1" in text


def test_tools_calls_and_images_are_named() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 300}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    tool = {"type": "function", "function": {"name": "look", "description": "Finds.", "strict": 1}}
    text = shown(
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "See"}, image]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "42", "tool_call_id": "c1"},
            ],
            "tools": [tool],
        }
    )
    for word in ("See\n[image_url] data:image/png;base64, 322 characters", "tool  c1\n42"):
        assert word in text
    for word in ('-> look({"a":1})  c1', "look  Finds.", '{"strict": 1}'):
        assert word in text


@pytest.mark.parametrize("names", [("chosen", "rejected")])
def test_a_pair_stands_side_by_side_where_there_is_room(names: tuple[str, str]) -> None:
    record = {
        "prompt": "Why?",
        names[0]: "Because.",
        names[1]: [{"role": "assistant", "content": "No"}],
    }
    assert "+ chosen" + " " * 31 + "| - rejected\n" in shown(record, width=80) + "\n"
    assert "+ chosen\nBecause.\n\n- rejected\nassistant\nNo\n" in shown(record, width=60)


def test_columns_keep_every_sign_and_their_widths() -> None:
    told = beside(Content("日本語 " * 20), Content("short"), 41)
    assert told.plain.replace(" ", "").count("日本語") == 20
    assert {line.index("|") for line in told.plain.replace("日本語", "xxxxxx").split("\n")} == {20}


def test_raw_is_pretty_or_as_it_stands_with_signs_for_what_a_terminal_acts_on() -> None:
    line = '{"a": "x\\u001b[31m\u202e\x1b", "b": [1]}'
    assert shown('{"a": "\\u001b", "b": [1]}', "pretty").startswith('{\n  "a": "\\u001b",\n')
    assert shown(line, "exact") == '{"a": "x\\u001b[31m<U+202E>␛", "b": [1]}\n'
    around = ("\ufeff", "\r")
    assert record_text("{}", "exact", 60, Marks(), around).plain == "<U+FEFF>{}␍\n"


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"a": 1, "a": 2}', '{"a": ' + "[" * 100_000, '{"n": 1e999']
)
def test_what_cannot_be_laid_out_whole_is_shown_as_it_stands(line: str) -> None:
    assert parsed(line) is None
    assert shown(line) == line + "\n"


def test_hits_have_a_sign_and_a_style() -> None:
    text = record_text('{"a": "uma ação"}', "rendered", 60, Marks(Wanted("AÇÃO").places, ">"))
    assert "uma >ação" in text.plain
    begin = text.plain.index("ação")
    assert any(each.style == "bold reverse" and each.start == begin for each in text.spans)


def test_a_long_record_is_paged_without_loss() -> None:
    text = Content("".join(f"line {n}\n" for n in range(10_000)) + "x" * 3 * PAGE)
    first, pages = page_of(text, 0)
    found = [page_of(text, page)[0].plain for page in range(pages)]
    assert "".join(found) == text.plain and first.plain.endswith("\n")
    assert page_of(text, pages + 5)[0].plain == found[-1]
    assert page_of(Content(""), 0)[1] == 1


def test_as_it_stands_a_hit_has_its_style_alone() -> None:
    text = record_text('{"a": "uma ação"}', "exact", 60, Marks(Wanted("AÇÃO").places, ">"))
    assert text.plain == '{"a": "uma ação"}\n'
    assert [str(each.style) for each in text.spans] == ["bold reverse"]
