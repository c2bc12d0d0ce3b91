"""Tokens are counted by the model's own encoding; where it is not known, that is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets.blocks import Block, BlockRow, read_block
from sophia_tui.datasets.sample import SampledRow
from sophia_tui.datasets.tokens import (
    Count,
    Encoding,
    TokensCollector,
    TokenSettings,
    TokensProbe,
    by_tokenizer,
    context_of,
    counter,
    encoding_of,
)
from sophia_tui.domain.datasets import Example, Message

#: Counts that tiktoken gives, as its documentation and cookbook print them.
KNOWN = [
    ("cl100k_base", "hello world", 2),
    ("cl100k_base", "tiktoken is great!", 6),
    ("cl100k_base", "antidisestablishmentarianism", 6),
    ("cl100k_base", "2 + 2 = 4", 7),
    ("cl100k_base", "お誕生日おめでとう", 9),
    ("o200k_base", "hello world", 2),
    ("o200k_base", "tiktoken is great!", 6),
    ("o200k_base", "antidisestablishmentarianism", 6),
    ("o200k_base", "2 + 2 = 4", 7),
    ("o200k_base", "お誕生日おめでとう", 8),
]


@pytest.mark.parametrize(("encoding", "text", "tokens"), KNOWN)
def test_known_texts_have_the_known_counts(encoding: str, text: str, tokens: int) -> None:
    assert counter(encoding)(text) == tokens


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base", True),
        ("gpt-4.1", "o200k_base", True),
        ("ft:gpt-4o-mini-2024-07-18:house::9abc", "o200k_base", True),
        ("gpt-4-turbo", "cl100k_base", True),
        ("gpt-3.5-turbo-0125", "cl100k_base", True),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen3", True),
        ("meta-llama/Llama-3.2-1B", "llama3", True),
        ("gpt-6-turbo", "o200k_base", False),
        ("claude-sonnet-4-5", "o200k_base", False),
        ("o11", "o200k_base", False),
    ],
)
def test_a_model_nobody_knows_yet_is_estimated(model: str, encoding: str, exact: bool) -> None:
    assert encoding_of(model) == Encoding(encoding, exact)


def test_what_a_model_learns_of_one_example() -> None:
    assert context_of("gpt-4o-mini") == 65_536
    assert context_of("ft:gpt-3.5-turbo-0125:x") == 16_385


def _told(data: bytes, **given: Any) -> dict[str, Any]:
    chosen = TokenSettings((Count(**given),))
    probe, collector = TokensProbe(chosen), TokensCollector(chosen)
    collector.add(1, probe.look(read_block(data)))
    report: dict[str, Any] = collector.report()["counts"][0]
    return report


def _chat(*turns: tuple[str, str]) -> bytes:
    messages = [{"role": role, "content": text} for role, text in turns]
    return json.dumps({"messages": messages}).encode() + b"\n"


def test_a_chat_costs_its_contents_and_what_stands_around_them() -> None:
    told = _told(_chat(("user", "hello world"), ("assistant", "tiktoken is great!")))
    assert told["content_tokens"] == 2 + 6
    assert told["tokens"] == 2 + 6 + 2 * 3 + 3
    assert told["answer_tokens"] == 6


def test_an_answer_of_no_weight_is_not_learnt() -> None:
    line = {
        "messages": [
            {"role": "user", "content": "hello world"},
            {"role": "assistant", "content": "hello world", "weight": 0},
            {"role": "user", "content": "hello world"},
            {"role": "assistant", "content": "tiktoken is great!"},
        ]
    }
    assert _told(json.dumps(line).encode())["answer_tokens"] == 6


def test_both_answers_of_a_pair_count_with_the_prompt() -> None:
    line = {"prompt": "hello world", "chosen": "hello world", "rejected": "tiktoken is great!"}
    told = _told(json.dumps(line).encode())
    assert told["content_tokens"] == 2 * 2 + 2 + 6
    assert told["tokens"] == 2 * 2 + 2 + 6 + 2 * (2 * 3 + 3)


def test_names_calls_and_tools_count() -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "hello", "arguments": "hello world"},
    }
    example = Example(
        (
            Message("user", "hello world", name="hello"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", "hello world", tool_call_id="c1"),
            Message("assistant", "hello world"),
        ),
        tools=({"type": "function", "function": {"name": "hello"}},),
    )
    found = TokensProbe().look(Block(b"", 1, [BlockRow(1, b"", example)]))
    [(encoding, (lengths, answers, contents, _longest, _cut))] = found["counts"].items()
    assert encoding == "o200k_base"
    tools = counter(encoding)('[{"type":"function","function":{"name":"hello"}}]')
    assert contents == 2 + 1 + (1 + 2) + 2 + 2 + tools
    assert answers == 1 + 2 + 2
    assert lengths == [(contents + 3 + 4 * 3 + 1, 1)]


def test_pictures_are_named_and_not_counted() -> None:
    parts = ({"type": "text", "text": "hello world"}, {"type": "image_url", "image_url": {}})
    example = Example((Message("user", "hello world", parts=parts), Message("assistant", "hello")))
    assert TokensProbe().look(Block(b"", 1, [BlockRow(1, b"", example)]))["images"] == 1


def test_lines_longer_than_the_context_are_listed() -> None:
    short, long = (_chat(("user", "a"), ("assistant", "hello world " * times)) for times in (1, 50))
    told = _told(short + long + short + long, context=40)
    assert told["cut"] == {"count": 2, "lines": [2, 4]}
    assert told["lengths"]["longest_line"] == 2


TEXTS = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12), st.data())
def test_the_sums_do_not_depend_on_the_cuts(
    turns: list[tuple[str, str]], data: st.DataObject
) -> None:
    lines = [_chat(("user", asked), ("assistant", told)) for asked, told in turns]
    chosen = TokenSettings((Count(context=20), Count("cl100k_base", 20)))
    whole, cut = TokensCollector(chosen), TokensCollector(chosen)
    probe = TokensProbe(chosen)
    whole.add(1, probe.look(read_block(b"".join(lines))))
    at = data.draw(st.integers(0, len(lines)))
    cut.add(1, probe.look(read_block(b"".join(lines[:at]))))
    cut.add(at + 1, probe.look(read_block(b"".join(lines[at:]))))
    assert cut.report() == whole.report()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12))
def test_the_bulk_agrees_with_one_count_after_the_other(turns: list[tuple[str, str]]) -> None:
    block = read_block(b"".join(_chat(("user", a), ("assistant", b)) for a, b in turns))
    count = counter("o200k_base")
    rows = [3 + sum(3 + count(each.content) for each in row.example.messages) for row in block.rows]
    collector = TokensCollector()
    collector.add(1, TokensProbe().look(block))
    told = collector.report()["counts"][0]
    assert told["tokens"] == sum(rows)
    assert told["lengths"]["p50"] == (sorted(rows)[(len(rows) + 1) // 2 - 1] if rows else 0)


def _tokenizer(folder: Path) -> Path:
    """One token for each byte."""
    tokenizers = pytest.importorskip("tokenizers")
    own = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {each: place for place, each in enumerate([*"abcdefghij ?"])}, unk_token="?"
        )
    )
    own.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    own.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_a_bases_own_tokenizer_is_held_against_the_usual_one_on_the_sample(tmp_path: Path) -> None:
    rows = [SampledRow(each, (("user", "hello world " * (each % 5 + 1)),)) for each in range(1, 41)]
    usual = sum(counter("o200k_base")(row.talk) for row in rows)
    told = by_tokenizer(rows, _tokenizer(tmp_path), content_tokens=usual * 100)
    own = sum(len(row.talk) for row in rows)
    assert told["content_tokens"] == pytest.approx(own * 100, rel=0.001)
    assert told["low"] <= told["content_tokens"] <= told["high"]


def test_a_file_that_is_no_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"EOF|missing|expected"):
        by_tokenizer([], tmp_path / "tokenizer.json", 0)
