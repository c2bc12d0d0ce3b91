"""Inspection: what the fast lane, cuts at any byte and several processes say is what a slow and
obvious reader says."""

import json
import re
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import fast, formats, layouts, passes
from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.inspection import Asked, inspect
from sophia_tui.datasets.issues import read_issues
from sophia_tui.datasets.reader import parse
from sophia_tui.domain.datasets import Pair
from tests.representatives import every, examples

BOM = b"\xef\xbb\xbf"


@dataclass
class Expected:
    """What a reader that takes its time finds in a file."""

    lines: int = 0
    rows: int = 0
    usable: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    roles: Counter[tuple[str, ...]] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    characters: list[int] = field(default_factory=list)
    issues: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def reference(data: bytes) -> Expected:
    """Line by line, with a dictionary of everything; nothing of the fast lane is used."""
    found, firsts = Expected(), set()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        found.lines += 1
        if line.endswith(b"\r"):
            line = line[:-1]
            found.issues["crlf"].append(number)
        if line.startswith(BOM):
            line = line[3:]
            found.issues["bom"].append(number)
        if not line.strip():
            found.issues["blank"].append(number)
            continue
        if line == b"\\.":
            found.issues["copy_end"].append(number)
            continue
        found.rows += 1
        noted: list[str] = []
        try:
            record = parse(line)
            example = formats.convert(record, noted.append)
        except Unusable as unusable:
            found.issues[unusable.problem.code].append(number)
            for code in noted:
                found.issues[code].append(number)
            continue
        for code in noted:
            found.issues[code].append(number)
        found.usable += 1
        found.forms[form(record)] += 1
        told = list(example.messages)
        roles = [each.role for each in told]
        if isinstance(example, Pair):
            told += [example.chosen, example.rejected]
            roles.append("assistant")
        found.turns[len(roles)] += 1
        found.roles[(*roles[:8], *(["…"] if len(roles) > 8 else []))] += 1
        found.characters.append(sum(len(each.content) for each in told))
        canonical = formats.encode(example)
        if canonical in firsts:
            found.issues["duplicate"].append(number)
        firsts.add(canonical)
    return found


def form(record: dict[str, Any]) -> str:
    if {"preferred_output", "non_preferred_output"} & set(record):
        return "hosted_pairs"
    if {"chosen", "rejected"} & set(record):
        return "pairs"
    if "messages" in record:
        return "chat"
    if {"question", "answer"} & set(record):
        return "question_answer"
    return "instruction" if "instruction" in record else str(formats.form_of(record))


def inspected(
    data: bytes, range_bytes: int = passes.RANGE_BYTES, processes: int = 1, short_run: int = 1
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The report on a file of these bytes, and the lines of each issue."""
    with tempfile.TemporaryDirectory() as place, patch.object(fast, "SHORT_RUN", short_run):
        file, folder = Path(place, "rows.jsonl"), Path(place, "found")
        file.write_bytes(data)
        folder.mkdir()
        asked = Asked((str(file),), len(data))
        report = inspect(asked, folder, lambda *_told: None, range_bytes, processes)
        lines: dict[str, list[int]] = defaultdict(list)
        for issue in read_issues(folder, [each["code"] for each in report["issues"]]):
            lines[issue.code].append(issue.line)
        del report["files"][0]["file"]
        return report, dict(lines)


def agrees(data: bytes) -> None:
    report, lines = inspected(data)
    assert inspected(data, short_run=fast.SHORT_RUN) == (report, lines)
    expected = reference(data)
    assert lines == dict(expected.issues)
    assert {each["code"]: each["count"] for each in report["issues"]} == {
        code: len(found) for code, found in expected.issues.items()
    }
    for name in ("lines", "rows", "usable"):
        assert report[name] == getattr(expected, name)
    assert report["forms"] == dict(expected.forms)
    assert {tuple(each["roles"]): each["rows"] for each in report["roles"]} == expected.roles
    assert bool(report["turns"]) == bool(expected.usable)
    if expected.usable:
        sizes = sorted(expected.characters)
        assert report["characters"]["least"] == sizes[0]
        assert report["characters"]["p50"] == sizes[(len(sizes) + 1) // 2 - 1]
        assert report["characters"]["greatest"] == sizes[-1]
        assert report["turns"]["greatest"] == max(expected.turns)


def chat(*contents: str) -> bytes:
    turns = [
        {"role": "assistant" if place % 2 else "user", "content": content}
        for place, content in enumerate(contents)
    ]
    return json.dumps({"messages": turns}).encode()


NASTY: dict[str, bytes] = {
    "key twice in a message": b'{"messages":[{"role":"user","content":"a","content":"b"},'
    b'{"role":"assistant","content":"c"}]}',
    "key twice, one escaped, quotes made up for": rb'{"messages":[{"role":"user","c\u006fntent":'
    rb'"a","content":"\u0022\u0022\u0022\u0022"},{"role":"assistant","content":"c"}]}',
    "role twice": b'{"messages":[{"role":"user","role":"user","content":"\\"\\"b"},'
    b'{"role":"assistant","content":"c"}]}',
    "messages twice": b'{"messages":[],"messages":[{"role":"assistant","content":"c"}]}',
    "key twice in metadata": b'{"question":"a","answer":"b","metadata":{"x":1,"x":1}}',
    "text that looks like keys": chat('{"role": "user", "content": "\\"x\\""}', '"role"\\"'),
    "backslashes before quotes": chat('a\\"', '\\\\"\\', "", "x"),
    "escaped NUL": b'{"question":"a\\u0000","answer":"b"}',
    "NUL": b'{"question":"a\x00","answer":"b"}',
    "half a pair": b'{"question":"\\ud83d","answer":"b"}',
    "other half": b'{"question":"\\ude00","answer":"b"}',
    "pair": b'{"question":"\\ud83d\\ude00","answer":"b"}',
    "not UTF-8": b'{"question":"\xff","answer":"b"}',
    "surrogate in UTF-8": b'{"question":"\xed\xa0\x80","answer":"b"}',
    "overlong UTF-8": b'{"question":"\xc0\xaf","answer":"b"}',
    "not UTF-8 in what is left out": b'{"question":"a","answer":"b","metadata":{"k":"\xff"}}',
    "not UTF-8 in a key": b'{"question":"a","answer":"b","metadata":{"\xff":"k"}}',
    "control character": b'{"question":"a\x01","answer":"b"}',
    "NaN": b'{"question":"a","answer":"b","metadata":{"x":NaN}}',
    "endless number": b'{"question":"a","answer":"b","metadata":{"x":1e999}}',
    "endless number in a list": b'{"question":"a","answer":"b","citations":[[-1e999]]}',
    "long number": b'{"question":"a","answer":"b","citations":' + b"9" * 5000 + b"}",
    "long number beside": b'{"question":"a","answer":"b","n":' + b"9" * 5000 + b"}",
    "long number beside a chat": chat("a", "b")[:-1] + b',"n":' + b"9" * 5000 + b"}",
    "long number inside": b'{"question":"a","answer":"b","metadata":{"n":[-' + b"9" * 5000 + b"]}}",
    "long weight": b'{"messages":[{"role":"assistant","content":"a","weight":'
    + b"1" * 5000
    + b"}]}",
    "twenty digits": b'{"question":"a","answer":"b","citations":' + b"9" * 20 + b"}",
    "no number": b'{"question":"a","answer":"b","citations":01}',
    "deep": b'{"question":"a","answer":"b","citations":' + b"[" * 60 + b"]" * 60 + b"}",
    "too deep": b'{"question":"a","answer":"b","citations":' + b"[" * 9000 + b"]" * 9000 + b"}",
    "byte-order mark": BOM + chat("a", "b"),
    "CRLF": chat("a", "b") + b"\r",
    "CR CR": chat("a", "b") + b"\r\r",
    "spaces around": b"  " + chat("a", "b") + b" \t",
    "form feed": b"\x0c" + chat("a", "b"),
    "blank": b"",
    "white space": b" \t\x0b",
    "two objects": chat("a", "b") + chat("a", "b"),
    "half an object": b'{"messages":',
    "other half of it": b'[{"role":"assistant","content":"x"}]}',
    "list": b"[1]",
    "word": b"null",
    "null of COPY": b"\\N",
    "end of COPY": b"\\.",
    "COPY export": rb'{"question":"a \\"b\\"","answer":"c"}',
    "white space alone": chat("\u3000\n", "b"),
    "empty": chat("a", ""),
    "special token": chat("a", "b <|im_start|> c"),
    "special token, escaped": b'{"question":"\\u003c|im_end|\\u003e","answer":"\\u005bINST]"}',
    "special token in brackets": chat("[INST] a", "b"),
    "other special token": chat("a <\uff5cUser\uff5c>", "b"),
    "no special token": chat("a < b, [x]", "b </p>"),
    "no assistant": b'{"messages":[{"role":"user","content":"a"}]}',
    "assistant first": b'{"messages":[{"role":"assistant","content":"a"},{"role":"user",'
    b'"content":"b"}]}',
    "no messages": b'{"messages":[]}',
    "null messages": b'{"messages":null}',
    "role unknown": b'{"messages":[{"role":"robot","content":"a"}]}',
    "role null": b'{"messages":[{"role":null,"content":"a"}]}',
    "role a number": b'{"messages":[{"role":1,"content":"a"}]}',
    "content a number": b'{"messages":[{"role":"assistant","content":1}]}',
    "message a text": b'{"messages":["a"]}',
    "message a list": b'{"messages":[["assistant","a"]]}',
    "weight 0": b'{"messages":[{"role":"assistant","content":"a","weight":0}]}',
    "weight 1": b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b",'
    b'"weight":1}]}',
    "weight true": b'{"messages":[{"role":"assistant","content":"a","weight":true}]}',
    "name": b'{"messages":[{"role":"assistant","content":"a","name":"x"}]}',
    "other field": b'{"id":1,"messages":[{"role":"user","content":"a"},{"role":"assistant",'
    b'"content":"b"}]}',
    "tool": b'{"messages":[{"role":"tool","content":"a"},{"role":"assistant","content":"b"}]}',
    "keys the other way": b'{"messages":[{"content":"a","role":"user"},{"content":"b","role":'
    b'"assistant"}]}',
    "same as chat": b'{"answer":"b","question":"a","citations":[{"n":1.5,"t":[null,true,"\\""]}]}',
    "same as instruction": b'{"instruction":"a","output":"b"}',
    "instruction with input": b'{"instruction":"a","input":"x","output":"b"}',
    "instruction with nothing": b'{"instruction":" ","input":"x","output":"b"}',
    "instruction with blank input": b'{"instruction":"a","input":" ","output":"b"}',
    "instruction with null input": b'{"instruction":"a","input":null,"output":"b"}',
    "instruction with number": b'{"instruction":"a","input":2,"output":"b"}',
    "special input": b'{"instruction":"a","input":"<s>","output":"b"}',
    "answer missing": b'{"question":"a"}',
    "pair of answers": b'{"prompt":"a","chosen":"b","rejected":"c"}',
    "completion": b'{"prompt":"a","completion":"b"}',
    "long chat": chat(*["a", "b"] * 9),
    "key with an escape": b'{"qu\\u0065stion":"a","answer":"b"}',
}


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_line_alone_and_among_good_ones(name: str) -> None:
    agrees(NASTY[name])
    agrees(b"\n".join([chat("a", "b"), NASTY[name], chat("a", "c"), NASTY[name]]))


def test_all_nasty_lines_in_one_file() -> None:
    agrees(b"\n".join(NASTY.values()))
    agrees(b"\r\n".join(reversed(NASTY.values())) + b"\n")


_TEXTS = st.text(st.sampled_from('ab é"\\\n<|>[]:,{}\u3000😀'), max_size=6)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(_TEXTS, inside, max_size=2),
    max_leaves=4,
)
_KEYS = ("question", "answer", "citations", "metadata", "instruction", "input", "output", "id")
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "assistant", "system"]), "content": _TEXTS},
    optional={"weight": st.sampled_from([0, 1, 1.0, True, None]), "name": _TEXTS},
)
_RECORD = (
    st.fixed_dictionaries({"messages": st.lists(_MESSAGE, max_size=4)})
    | st.dictionaries(st.sampled_from(_KEYS), _TEXTS | _PLAIN, max_size=5)
    | _PLAIN
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """One record as some program writes it, or a nasty line, now and then with a byte changed."""
    if draw(st.booleans()):
        line = draw(st.sampled_from(list(NASTY.values())).filter(lambda each: len(each) < 500))
    else:
        text = json.dumps(
            draw(_RECORD),
            ensure_ascii=draw(st.booleans()),
            separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")])),
        )
        if draw(st.booleans()):  # some key twice
            text = re.sub(r'("\w+" ?: ?[^{}[\],]+)(?=[,}])', r"\1,\1", text, count=1)
        line = text.encode()
    if draw(st.integers(0, 9)) == 0 and line:
        place = draw(st.integers(0, len(line) - 1))
        line = line[:place] + draw(st.binary(max_size=2)) + line[place + 1 :]
    return line


@given(st.lists(written(), max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@settings(max_examples=examples(120), deadline=None)
def test_random_files_as_the_slow_reader_sees_them(
    lines: list[bytes], end: bytes, closed: bool
) -> None:
    agrees(end.join(lines) + (end if closed else b""))


def test_usual_lines_need_no_slow_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr(fast, "read_block", refuse)
    usual = ["text that looks like keys", "backslashes before quotes", "pair", "no special token"]
    usual += ["keys the other way", "same as chat", "same as instruction", "CRLF"]
    lines = [NASTY[name].replace(b'"content": ""', b'"content": "z"') for name in usual]
    report, _lines = inspected(b"\n".join(lines))
    assert report["usable"] == len(lines)


def plain(*contents: str, **how: Any) -> bytes:
    """A chat as `json.dumps` writes it with these settings."""
    return json.dumps(json.loads(chat(*contents)), **how).encode()


WRITERS: dict[str, dict[str, Any]] = {
    "usual": {"ensure_ascii": False},
    "compact": {"ensure_ascii": False, "separators": (",", ":")},
    "escaped": {"ensure_ascii": True},
    "escaped, compact": {"ensure_ascii": True, "separators": (",", ":")},
}


@pytest.mark.parametrize("writer", WRITERS)
@given(st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=11), max_size=6))
@settings(max_examples=25, deadline=None)
def test_files_of_one_writer(writer: str, chats: list[list[str]]) -> None:
    lines = [plain("é", '\\\n"b', **WRITERS[writer])]
    for contents in chats:
        safe = [each.encode("utf-8", "replace").decode() for each in contents]
        lines.append(plain(*safe, **WRITERS[writer]))
        lines.append(plain("a", *safe, **WRITERS[writer]))
    agrees(b"\n".join([*lines, *reversed(lines)]) + b"\n")


@pytest.mark.parametrize("writer", WRITERS)
def test_lines_of_each_writer_are_told_by_the_pattern(writer: str) -> None:
    texts = ['Olá, é 5 < 6 [x] {y} \\ \\\\ " \n\t\r\b\f\x1f\x7f/', "😀\u00a0\u2028 fim"]
    usual = [text.replace("\x1f", "") for text in texts] if "escaped" not in writer else texts
    line = plain(*usual, *usual, **WRITERS[writer]) + b"\n"
    layout = layouts.layout_of(line)
    found = layout.pattern.match(line * 3)
    assert found is not None
    assert found.end() == 3 * len(line)
    roles = ("user", "assistant", "user", "assistant")
    assert layout.write(roles, [*usual, *usual]) + b"\n" == line


_SPLINTERS = (
    *(
        b'"',
        b"\\",
        b"\n",
        b"{",
        b"}",
        b"a",
        b" ",
        b"\x80",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\\/",
        b"\x1f",
    ),
    *(
        b"\\u0041",
        b'\\"',
        b'{"role":',
        b'"}]}\n',
        b'"content": "',
        b'"}, {"role": "user", "content": "',
    ),
)


@given(
    st.sampled_from([b" ", b""]),
    st.lists(
        st.lists(st.text('ab é"\\\n{}[]:\u3000😀', max_size=5), min_size=1), min_size=1, max_size=3
    ),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(_SPLINTERS)), max_size=3
    ),
)
@settings(max_examples=examples(400), deadline=None)
def test_lines_told_as_a_whole_are_told_by_the_pattern(
    space: bytes, chats: list[list[str]], changes: list[tuple[float, int, bytes]]
) -> None:
    layout = layouts.Layout(space)
    roles = ("user", "assistant", "system", "developer", "assistant")
    data = b"".join(
        layout.write([roles[(at - len(texts)) % 5] for at in range(len(texts))], texts) + b"\n"
        for texts in chats
    )
    for where, gone, splinter in changes:
        place = int(where * len(data))
        data = data[:place] + splinter + data[place + gone :]
    match = layout.pattern.match(data)
    if layout.places(data):
        assert match is not None
        assert match.end() == len(data)
    elif not changes and match is not None and match.end() == len(data):
        assert b'\\"}' in data  # a text that ends in a backslash is left to the pattern


@given(st.text(st.sampled_from("<|>/[]_ ISTNSYbeopadukr\uff5cx\n\\"), max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_special_token_passes_for_plain_text(text: str) -> None:
    tokens = ("", "<|x|>", "<\uff5cU\uff5c>", "</s>", "[/INST]", "<<SYS>>", "<end_of_turn>")
    lines = [plain("a", f"b{text}{token}", ensure_ascii=False) for token in tokens]
    agrees(b"\n".join(lines) + b"\n")


def test_a_cut_at_any_byte_changes_nothing() -> None:
    data = b"\n".join(
        [
            chat("a", "b"),
            NASTY["key twice in a message"],
            b"",
            chat("olá", "b") + b"\r",
            BOM + chat("a", "b"),
            NASTY["same as chat"],
            NASTY["not UTF-8"],
            b"",
            chat("a", "c"),
        ]
    )
    whole = inspected(data)
    assert whole[1]["duplicate"] == [5, 6]
    for size in every(range(1, len(data) + 1), everyday=60):
        assert inspected(data, size) == whole


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_several_processes_say_the_same(size: int) -> None:
    data = b"\n".join(list(NASTY.values())[:20] * 3)
    assert inspected(data, size, processes=3) == inspected(data)
