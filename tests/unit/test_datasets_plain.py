"""The lane for plain lines: what it takes comes out byte for byte as by the long way."""

import json
import random
import unicodedata
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import re2
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import formats, plain, ranges, recipe, split, steps, worker
from sophia_tui.datasets.clean import FastReader
from sophia_tui.datasets.pipeline import Request, prepare
from sophia_tui.datasets.reader import LineReader
from sophia_tui.datasets.steps import normalised

RECIPES = (
    ("exact_duplicates",),
    ("redact", "exact_duplicates"),
    ("normalise", "exact_duplicates"),
    ("normalise", "redact", "exact_duplicates"),
)
_CALM = ["Olá", "você", "É", "ÀÈ", "×", "÷", "ß", "ÿ", "ŉ", "ſ", "“q”", "–", "…", "€", "👍", '"b"']
_NASTY = [
    *("e\u0301", "\u212a", "\ufb01", "ª", "\x85", "\u2028", "\xa0", "\u200b", "\u00ad", "\u202e"),
    *("<s>", "</s>", "<|im_end|>", "[INST]", "[/INST]", "<<SYS>>", "<｜x｜>", "<", "|x|", "{", "}"),
    *('"}, {"role": "user", "content": "x"}', '{"question": "a"}', "[{", ",", "C:\\temp", "\\"),
    *("\\n", '\\"', "\t", "\r", "\n", "\x0b", "\x0c", "\x7f", "\x00", "\x1b[0m", "\b"),
    *("529.982.247-25", "ana@example.com", "(35) 98888-7777", "4111 1111 1111 1111", "a@b.c"),
]
_BLANKS = [" ", "  ", "\n", "\t", "\n\n\n\n\n", " \t \n", "\n ", ""]


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few lines go through the lane, and blocks are cut often."""
    monkeypatch.setattr(plain, "SHORT_RUN", 1)
    monkeypatch.setattr(ranges, "_BLOCK", 3000)


def said(chance: random.Random, odd: float) -> str:
    text = ""
    for _word in range(chance.randint(0 if chance.random() < odd / 9 else 1, 6)):
        nasty = chance.random() < odd
        text += chance.choice(_NASTY if nasty else _CALM)
        text += chance.choice(_BLANKS if nasty else [" "])
    return text


def record(chance: random.Random, odd: float, chats: bool) -> dict[str, Any]:
    if not chats:
        return {"question": said(chance, odd), "answer": said(chance, odd)}
    roles = ["system"] * (chance.random() < 0.5) + ["user", "assistant"] * chance.randint(1, 2)
    if chance.random() < odd:
        roles = [chance.choice(["system", "user", "assistant", "developer"]) for _each in roles]
    return {"messages": [{"role": role, "content": said(chance, odd)} for role in roles]}


def written(chance: random.Random, rows: int) -> bytes:
    """Lines of plain and nasty rows by several writers, mixed in stretches, some twice."""
    lines: list[bytes] = []
    while len(lines) < rows:
        odd = chance.choice([0.0, 0.0, 0.1, 0.5])
        separators = chance.choice([None, (",", ":")])
        ascii_only, chats = chance.random() < 0.1, chance.random() < 0.7
        for _row in range(chance.randint(1, 30)):
            row = record(chance, odd, chats != (chance.random() < odd))
            line = json.dumps(row, ensure_ascii=ascii_only, separators=separators).encode()
            if chance.random() < odd / 3:
                place = chance.randrange(len(line))
                line = line[:place] + chance.choice([b'"', b"\\", b"\xff", b""]) + line[place + 1 :]
            if chance.random() < 0.05 and lines:
                line = chance.choice(lines)
            lines.append(line + b"\r" * (chance.random() < odd / 10))
    return b"\n".join(lines) + b"\n" * (chance.random() < 0.8)


def write_provenance(folder: Path, data: bytes) -> None:
    folder.mkdir()
    lines = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if number % 7 and raw:
            key = {"id": number // 3 if number % 5 else "x"}
            table = "public.conversations" if number % 2 else "public.messages"
            known = xxhash.xxh3_128_hexdigest(raw if number % 11 else b"another")
            lines.append(json.dumps({"line": number, "hash": known, "table": table, "key": key}))
    (folder / "rows.jsonl").write_text("\n".join(lines))


def files_of(
    folder: Path, data: bytes, steps: tuple[str, ...], traced: bool = False
) -> dict[str, Any]:
    """Every file of the version, and what the manifest tells."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "rows.jsonl").write_bytes(data)
    if traced:
        write_provenance(folder / "data" / "provenance", data)
    (folder / "scratch").mkdir()
    report = prepare(
        Request(
            folder=str(folder / "data"),
            scratch=str(folder / "scratch"),
            name="default",
            created_at=datetime(2026, 11, 26, tzinfo=UTC),
            target=str(folder / "out"),
            recipe=tuple(recipe.written(recipe.of_options(steps))),
        ),
        lambda *told: None,
    )
    assert report.folder
    found: dict[str, Any] = {
        path.name: path.read_bytes() for path in sorted(Path(report.folder).iterdir())
    }
    return {**found, "told": report.manifest, "rejected": report.rejected, "from": report.sources}


@pytest.mark.parametrize("steps", RECIPES, ids="+".join)
@pytest.mark.parametrize("seed", range(6))
def test_with_the_lane_a_version_is_the_same_to_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...], seed: int
) -> None:
    data = written(random.Random(seed), 600)
    taken: list[int] = []
    places = worker.Worker._places

    def counted(self: worker.Worker, rows: list[bytes], file: int) -> list[bytes]:
        taken.append(len(rows))
        return places(self, rows, file)

    monkeypatch.setattr(worker.Worker, "_places", counted)
    fast = files_of(tmp_path / "fast", data, steps, traced=seed % 2 == 1)
    assert sum(taken) > 100
    monkeypatch.setattr(worker, "_lane_of", lambda work: None)
    assert fast == files_of(tmp_path / "slow", data, steps, traced=seed % 2 == 1)


marks = st.sampled_from(['"', "\\", "\n", "\t", " ", "<", "|>", "é", "Ç", "ß", "👍", "a", "}", "{"])
texts = st.lists(marks, max_size=8).map("".join) | st.text(max_size=8)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}
)
SLOW = settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(
    st.builds(lambda each: {"messages": each}, st.lists(turns, min_size=1, max_size=4))
    | st.fixed_dictionaries({"question": texts, "answer": texts}),
    st.booleans(),
    st.booleans(),
)
def test_what_the_lane_takes_is_what_the_strict_reader_reads(
    row: dict[str, Any], compact: bool, normalise: bool
) -> None:
    separators = (",", ":") if compact else None
    line = json.dumps(row, ensure_ascii=False, separators=separators)
    try:
        raw = line.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    [stretch] = plain.PlainLane(normalise).stretches(raw)
    if stretch.canonical is None:
        return
    [read] = list(LineReader(BytesIO(raw)))
    assert read.value is not None
    [item] = FastReader().read(raw[:-1], [raw[:-1]])
    assert item is not None
    assert item.row == formats.encode(formats.convert(read.value))
    if normalise:
        item.rewrite(normalised)
        assert stretch.changed == item.changed
    assert (stretch.canonical, stretch.rows) == (item.row + b"\n", [item.row])
    question = plain.question_of(item.row)
    assert question is None or question.decode() == split.question_of(item.texts)


def test_usual_lines_are_taken_by_the_lane() -> None:
    chat = {"messages": [{"role": "user", "content": 'Você "leu"\nisto? '}]}
    chat["messages"].append({"role": "assistant", "content": "Sim – “li”. 👍"})
    for row in (chat, {"question": "É isto?", "answer": "Sim."}):
        for separators in (None, (",", ":")):
            line = json.dumps(row, ensure_ascii=False, separators=separators).encode() + b"\n"
            for normalise in (False, True):
                [stretch] = plain.PlainLane(normalise).stretches(line * 3)
                assert len(stretch.rows) == 3
                assert plain.question_of(stretch.rows[0]) is not None


def test_signs_that_the_lane_leaves_alone_are_changed_by_no_neighbour() -> None:
    taken = re2.compile(plain._SETTLED, plain.LATIN)
    settled = [
        sign
        for place in range(0xA1, 0x20000)
        if not 0xD800 <= place < 0xE000 and taken.fullmatch((sign := chr(place)).encode())
    ]
    assert len(settled) > 4000
    for sign in settled:
        assert normalised(f"e{sign}x") == f"e{sign}x"
        assert normalised(sign) == sign


@pytest.mark.parametrize("text", ["ÀÉÎÕÜ ×", "Rua ß", "ÿ", "ﬁm ª", "A\tb\nc  d", 'x "Y"'])
def test_the_question_is_the_one_that_the_split_goes_by(text: str) -> None:
    row = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]}
    found = plain.question_of(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode())
    assert found == split.plain(text).encode()


def test_places_as_bytes_are_the_places_of_the_split() -> None:
    for seed in (0, 42):
        for group in ("", "qual é o prazo?"):
            place = split.placer(seed)(group.encode())
            assert int.from_bytes(place, "big") == split.place_of(seed, group)


blanks = st.sampled_from(
    [" ", "\t", "\n", "\r\n", "\xa0", "\u200b", "\u2028", "\x1b[1m", "a", "e\u0301"]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(blanks | st.characters(), max_size=20).map("".join))
def test_normalising_looks_only_for_what_may_be_there(text: str) -> None:
    every = steps._SEQUENCE.sub("", steps._BREAKS.sub("\n", text))
    every = steps._SPACES.sub(" ", steps._REMOVED.sub("", every))
    every = steps._LINE_ENDS.sub("", unicodedata.normalize("NFC", every))
    assert normalised(text) == steps._BLANK_LINES.sub("\n\n\n", every).strip()


def test_what_normalising_removes_or_replaces_is_never_printable() -> None:
    for sign in map(chr, [*range(0xD800), *range(0xE000, 0x30000)]):
        if any(each.search(sign) for each in (steps._BREAKS, steps._REMOVED, steps._SPACES)):
            assert not sign.isprintable()
