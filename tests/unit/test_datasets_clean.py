"""Cleaning: each step does what it says, no row leaves unnamed, and neither the number of processes
nor the order of files changes a byte.
"""

import json
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import formats, recipe
from sophia_tui.datasets.clean import FastReader
from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.pipeline import Report, Request, prepare
from sophia_tui.datasets.preview import Preview, preview
from sophia_tui.datasets.reader import LineReader
from sophia_tui.datasets.steps import normalised
from sophia_tui.errors import DataError, SophiaError, UsageError
from tests.representatives import examples

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class House:
    """A folder of data, and what came of preparing it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self._runs = 0

    def write(self, name: str, records: list[Any]) -> Path:
        path = self.data / name
        lines = [
            each if isinstance(each, bytes) else json.dumps(each, ensure_ascii=False).encode()
            for each in records
        ]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    def request(self, *steps: str, **options: Any) -> Request:
        self._runs += 1
        scratch = self.folder / f"scratch{self._runs}"
        scratch.mkdir()
        return Request(
            folder=str(options.pop("folder", self.data)),
            scratch=str(scratch),
            name="default",
            created_at=NOW,
            target=str(self.folder / "datasets" / str(self._runs)),
            recipe=tuple(recipe.written(recipe.of_options(steps))),
            **options,
        )

    def prepare(self, *steps: str, **options: Any) -> Report:
        report = prepare(self.request(*steps, **options), lambda *told: None)
        adds_up(report)
        return report

    def preview(self, *steps: str, most: int = 100, shown: int = 10) -> Preview:
        return preview(self.request(*steps), most, shown, lambda *told: None)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def part(report: Report, name: str) -> list[Any]:
    assert report.folder
    path = Path(report.folder, f"{name}.jsonl")
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def texts(report: Report) -> set[str]:
    """The answers that are left."""
    rows = part(report, "train") + part(report, "valid")
    return {row["messages"][-1]["content"] for row in rows}


def adds_up(report: Report) -> None:
    """rows in = rows kept + rows rejected, and every row is told of once."""
    counts = report.manifest["counts"]
    kept, rejected = part(report, "provenance"), part(report, "rejected")
    assert counts["rows_in"] == len(kept) + len(rejected)
    assert (counts["rows_kept"], counts["rows_rejected"]) == (len(kept), len(rejected))
    assert counts["train"] + counts["valid"] + counts["test"] == len(kept)
    places = Counter((each["file"], each["line"]) for each in kept + rejected)
    assert set(places.values()) <= {1}
    by_step = Counter(each["step"] for each in rejected)
    assert report.manifest["rejected_by_step"] == dict(by_step)


def qa(question: str, answer: str = "Sim.", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


# --- reading fast is reading strictly ---

marks = st.sampled_from(['"', "\\", "\n", "<|x|>", "[INST]", "\0", "é", "👍", " ", "a", "\x7f"])
said = st.lists(marks, max_size=6).map("".join)
turn = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "x"]), "content": said},
    optional={"weight": st.sampled_from([0, 1, 2, None, True])},
)
others = st.dictionaries(
    st.sampled_from(["metadata", "id", "citations", "category", "other"]),
    st.recursive(said | st.integers() | st.none(), lambda each: st.lists(each, max_size=2)),
    max_size=2,
)
records = st.one_of(
    st.builds(lambda turns, more: {"messages": turns, **more}, st.lists(turn, max_size=4), others),
    st.builds(lambda q, a, more: {"question": q, "answer": a, **more}, said, said, others),
)


def strictly(raw: bytes) -> tuple[bytes, tuple[str, ...]] | None:
    """The canonical line and the notes, by the authority; None for an unusable line."""
    [line] = list(LineReader(BytesIO(raw + b"\n")))
    if line.value is None:
        return None
    notes: list[str] = []
    try:
        return formats.encode(formats.convert(line.value, notes.append)), tuple(notes)
    except Unusable:
        return None


@settings(max_examples=400, deadline=None)
@given(records, st.booleans(), st.booleans(), st.data())
def test_what_is_read_fast_is_what_the_strict_reader_reads(
    record: Any, ascii_only: bool, compact: bool, data: st.DataObject
) -> None:
    separators = (",", ":") if compact else None
    raw = bytearray(json.dumps(record, ensure_ascii=ascii_only, separators=separators).encode())
    for _number in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.sampled_from(b'"\\{}[],:a1 \xff\x00'))
    line = bytes(raw).replace(b"\n", b" ")
    [item] = FastReader().read(line, [line])
    if item is not None:
        assert (item.row, item.notes) == strictly(line)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"question":"a","answer":"b","answer":"c"}',
        b'{"question":"a","answer":"b","metadata":{"x":1,"x":2}}',
        b'{"messages":[{"role":"user","role":"user","content":"a"},'
        b'{"role":"assistant","content":"b"}]}',
        b'{"question":"a","answer":"b","metadata":1e999}',
        b'{"question":"a","answer":"\\u0000"}',
        b'{"question":"a","answer":"\\ud800"}',
        b'{"question":"a\\u0022","answer":"b","answer":"c"}',
    ],
)
def test_what_the_strict_reader_refuses_is_never_read_fast(raw: bytes) -> None:
    assert strictly(raw) is None
    assert FastReader().read(raw, [raw]) == [None]


def test_plain_lines_are_read_fast() -> None:
    chat = {
        "messages": [{"role": "user", "content": 'é "q"\n'}, {"role": "assistant", "content": "a"}]
    }
    for record in (chat, qa("q", "a"), qa("q", "a", metadata={"doc_id": 'a"'}, citations=[])):
        for ascii_only in (True, False):
            raw = json.dumps(record, ensure_ascii=ascii_only).encode()
            [item] = FastReader().read(raw, [raw])
            assert item is not None


# --- the whole: sum, groups, hash ---

rows = st.lists(
    st.one_of(
        st.builds(
            lambda q, a, c, d: qa(
                f"pergunta {q}", f"resposta {a}", metadata={"conversation_id": c, "doc_id": d}
            ),
            st.integers(0, 12),
            st.integers(0, 5),
            st.integers(0, 8),
            st.integers(0, 8),
        ),
        st.builds(lambda q: qa(f"e-mail {q}@example.com", " \u200b"), st.integers(0, 3)),
        st.sampled_from([b"broken", b"", b'{"question":null}', b"[]"]),
    ),
    min_size=3,
    max_size=40,
)


@SLOW
@given(rows, st.sampled_from(["80/20", "70/15/15", "34/33/33", "100/0"]), st.integers(0, 3))
def test_every_row_is_kept_or_named_and_no_group_stands_on_both_sides(
    tmp_path_factory: pytest.TempPathFactory, found: list[Any], shares: str, seed: int
) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    house.write("a.jsonl", found)
    steps = ("normalise", "redact", "length:max_characters=24", "exact_duplicates")
    try:
        report = house.prepare(*steps, split=shares, seed=seed)
    except DataError as problem:
        assert problem.code == "SOPHIA-D307"
        return
    by_line = {number: each for number, each in enumerate(found, start=1)}
    sides: dict[tuple[str, Any], set[str]] = {}
    for each in part(report, "provenance"):
        record = by_line[each["line"]]
        for key in ("conversation_id", "doc_id"):
            if "metadata" in record:
                group = (key, record["metadata"][key])
                sides.setdefault(group, set()).add(each["part"])
        sides.setdefault(("question", record["question"]), set()).add(each["part"])
    assert all(len(each) == 1 for each in sides.values())


@settings(SLOW, max_examples=examples(25))  # each starts processes
@given(rows, st.randoms())
def test_neither_files_nor_their_order_nor_processes_change_the_hash(
    tmp_path_factory: pytest.TempPathFactory, found: list[Any], chance: Any
) -> None:
    steps = ("normalise", "redact", "exact_duplicates", "balance:field=doc_id,cap=3")
    hashes = set()
    for processes in (1, 2, 3):
        house = House(tmp_path_factory.mktemp("house"))
        cut = chance.randint(0, len(found))
        house.write(f"{chance.choice('xyz')}.jsonl", found[:cut])
        house.write(f"a{processes}.jsonl", found[cut:])
        try:
            report = house.prepare(*steps, processes=processes, stratify="conversation_id")
        except DataError as problem:
            hashes.add(problem.code)
            continue
        hashes.add(report.manifest["hash"])
        chance.shuffle(found)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "steps", [("exact_duplicates", "balance:field=doc_id,cap=1"), ("balance:field=doc_id,cap=2",)]
)
def test_of_rows_that_say_the_same_the_place_of_the_first_changes_nothing(
    house: House, steps: tuple[str, ...]
) -> None:
    found = [
        qa(f"pergunta {n % 5}", metadata={"doc_id": d, "conversation_id": n % 2})
        for n in range(20)
        for d in (n % 3, (n + 1) % 4)
    ]
    hashes = set()
    for number in range(4):
        house.write("a.jsonl", found[number * 7 :] + found[: number * 7])
        report = house.prepare(*steps, stratify="conversation_id", seed=3)
        hashes.add(report.manifest["hash"])
    assert len(hashes) == 1


def test_many_ranges_and_parts_give_what_one_gives(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write("a.jsonl", [qa(f"pergunta {n % 700}?", f"resposta {n % 900}") for n in range(3000)])
    house.write("b.jsonl", [b"", *(qa(f"outra {n}?", "x" * (n % 50)) for n in range(500)), b"{"])
    once = house.prepare("redact", "exact_duplicates", processes=1)
    monkeypatch.setattr("sophia_tui.datasets.pipeline._RANGE_BYTES", (4096, 4096))
    monkeypatch.setattr("sophia_tui.datasets.ranges._READ", 1000)
    monkeypatch.setattr("sophia_tui.datasets.dedupe._PART_BYTES", 2000)
    monkeypatch.setattr("sophia_tui.datasets.dedupe._KEPT_BACK", 3000)
    many = house.prepare("redact", "exact_duplicates", processes=3)
    assert many.manifest == once.manifest
    assert many.rejected == once.rejected
    for name in ("train", "valid", "rejected", "provenance"):
        assert part(many, name) == part(once, name)


# --- the steps ---


@given(st.text())
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(each in once for each in "\r\u202e\u200b\u00a0\x1b\x07")


def test_normalise_keeps_indentation_emoji_and_accents() -> None:
    assert normalised("  def f():\r\n    return  1 \n\n\n\n\n\n# fim\u202e") == (
        "def f():\n    return  1\n\n\n# fim"
    )
    assert normalised("👩\u200d🌾 cafe\u0301 \x1b[31mred\x1b[0m") == "👩\u200d🌾 café red"


def test_normalise_is_counted_and_makes_rows_the_same(house: House) -> None:
    house.write("a.jsonl", [qa("Qual é?"), qa("Qual e\u0301? \r\n"), *map(qa, "abc")])
    report = house.prepare("normalise", "exact_duplicates")
    assert report.manifest["rejected_by_step"] == {"exact_duplicates": 1}
    assert house.prepare("exact_duplicates").manifest["rejected_by_step"] == {}


def test_what_normalising_uncovers_is_turned_away(house: House) -> None:
    house.write("a.jsonl", [*map(qa, "abc"), qa("[IN\u200bST]"), qa("q", "\u200b\u200e")])
    report = house.prepare("normalise")
    told = {(each["line"], each["code"], each["step"]) for each in part(report, "rejected")}
    assert told == {(4, "special_token", "normalise"), (5, "no_content", "normalise")}


@pytest.mark.parametrize(
    ("step", "record", "code"),
    [
        ("length:max_characters=9", qa("q", "x" * 20), "many_characters"),
        ("length:min_characters=3", qa("q", "x"), "few_characters"),
        (
            "length:max_turns=2",
            {"messages": [{"role": r, "content": "x"} for r in ("system", "user", "assistant")]},
            "many_turns",
        ),
        ("length:min_turns=2", {"messages": [{"role": "assistant", "content": "x"}]}, "few_turns"),
        (
            "length:max_tokens=7",
            qa("q", "um dois três quatro cinco seis sete oito nove dez"),
            "many_tokens",
        ),
        ("drop:codes=crlf", b'{"question":"q","answer":"a"}\r', "dropped"),
        ("drop:codes=record_fields", qa("q", "a", other=1), "dropped"),
        ("drop:codes=personal_data", qa("q", "ana@example.com"), "dropped"),
        ("drop:codes=secret", qa("q", "ghp_" + "a1" * 18), "dropped"),
        (
            "language:keep=pt",
            qa("Please tell me when the order will be delivered to my house", "It is on its way."),
            "other_language",
        ),
    ],
)
def test_each_step_turns_away_what_it_says(house: House, step: str, record: Any, code: str) -> None:
    house.write("a.jsonl", [qa("é?", "Sim, é."), record, qa("ok?", "Sim.")])
    report = house.prepare(step)
    assert [(each["line"], each["code"]) for each in part(report, "rejected")] == [(2, code)]
    assert part(report, "rejected")[0]["step"] == step.partition(":")[0]


def test_keep_is_the_other_way_round(house: House) -> None:
    house.write("a.jsonl", [qa("q", "a", other=1), qa("r"), qa("s", "b", other=1)])
    report = house.prepare("keep:codes=record_fields")
    assert [each["line"] for each in part(report, "rejected")] == [2]


def test_feedback_drops_what_was_judged_badly_or_keeps_what_was_judged_well(house: House) -> None:
    house.write(
        "a.jsonl",
        [qa("Boa?", "1"), qa("Má?", "2"), qa("Nada?", "3"), qa("x", "4", conversation_id=7)],
    )
    judged = house.folder / "judged.jsonl"
    lines = [
        {"question": " boa? ", "answer": "d", "metadata": {"doc_id": 1, "signal": 1}},
        {"question": "MÁ?", "reaction": "down"},
        {"conversation_id": 7, "rating": 5},
    ]
    judged.write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert texts(house.prepare(f"feedback:file={judged},drop=negative")) == {"1", "3", "4"}
    report = house.prepare(f"feedback:file={judged},keep=positive")
    assert texts(report) == {"1", "4"}
    [settings_] = [e["settings"] for e in report.manifest["steps"] if e["step"] == "feedback"]
    assert len(settings_["file"]) == 64
    assert str(house.folder) not in json.dumps(report.manifest["steps"])


def test_leakage_takes_out_what_the_evaluation_set_asks(house: House) -> None:
    house.write("a.jsonl", [qa(f"Qual é o prazo da loja {n}?", f"{n} dias") for n in range(5)])
    evaluation = house.folder / "evaluation.jsonl"
    evaluation.write_text(json.dumps(qa("Qual é o prazo da loja 3?", "outra")) + "\n")
    report = house.prepare(f"leakage:file={evaluation}")
    [told] = part(report, "rejected")
    assert (told["line"], told["code"]) == (4, "leakage")
    assert told["details"] == {"eval_file": "evaluation.jsonl", "eval_line": 1}


def test_near_duplicates_leave_and_name_the_one_that_is_kept(house: House) -> None:
    house.write(
        "a.jsonl",
        [
            qa("Qual é o prazo de entrega do queijo para Minas?", "São doze dias úteis."),
            qa("qual e o prazo de entrega do queijo para minas", "Sao doze dias uteis"),
            qa("Qual é o prazo de entrega do queijo para Minas?", "São treze dias úteis."),
            qa("Posso trocar a nota fiscal depois da compra?", "Pode, em até um mês."),
        ],
    )
    report = house.prepare("exact_duplicates", "near_duplicates")
    [told] = part(report, "rejected")
    assert (told["line"], told["code"], told["step"]) == (2, "near_duplicate", "near_duplicates")
    assert told["details"] == {"first_file": "a.jsonl", "first_line": 1}
    bound = house.prepare("exact_duplicates", group=("near",), split="50/50")
    sides = {each["line"]: each["part"] for each in part(bound, "provenance")}
    assert sides[1] == sides[2]
    assert len(sides) == 4


def test_the_search_for_near_duplicates_says_what_it_needs_and_asks(house: House) -> None:
    house.write("a.jsonl", [qa(f"pergunta {n}") for n in range(20)])
    with pytest.raises(DataError, match="D548") as refused:
        house.prepare("near_duplicates:memory_mb=1")
    assert "memory_mb=" in refused.value.remedy


def test_balance_caps_a_category_by_seed(house: House) -> None:
    found = [qa(f"a{n}", f"a{n}", category="a") for n in range(30)]
    found += [qa(f"b{n}", f"b{n}", metadata={"category": "b"}) for n in range(10)]
    house.write("a.jsonl", [*found, qa("c", "c")])
    report = house.prepare("balance:field=category,cap=10")
    left = Counter(text[0] for text in texts(report))
    assert left == {"a": 10, "b": 10, "c": 1}
    weighted = house.prepare("balance:field=category,weights=a:2+b:1")
    assert Counter(text[0] for text in texts(weighted)) == {"a": 20, "b": 10, "c": 1}
    assert texts(house.prepare("balance:field=category,cap=10", seed=1)) != texts(report)


def test_each_value_of_a_stratified_field_is_split_by_itself(house: House) -> None:
    found = [qa(f"a{n}", f"a{n}", category="a") for n in range(80)]
    house.write("a.jsonl", [*found, *(qa(f"b{n}", f"b{n}", category="b") for n in range(20))])
    report = house.prepare(stratify="category", split="80/10/10")
    for side, expected in (("train", (64, 16)), ("valid", (8, 2)), ("test", (8, 2))):
        first = Counter(row["messages"][-1]["content"][0] for row in part(report, side))
        assert (first["a"], first["b"]) == expected


# --- recipes ---


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        (["normalize"], "D543"),
        (["redact:depth=3"], "D544"),
        (["length:max_characters=many"], "D544"),
        (["length:max_characters"], "D544"),
        (["drop"], "D544"),
        (["drop:codes=TYPO"], "D544"),
        (["keep:codes=crlf+duplicate"], "D544"),
        (["feedback:file=x"], "D544"),
        (["balance"], "D544"),
        (["exact_duplicates", "redact"], "D545"),
        (["near_duplicates", "exact_duplicates"], "D545"),
        (["balance:cap=1", "balance:cap=2"], "D541"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_to_do(steps: list[str], code: str) -> None:
    with pytest.raises(UsageError, match=code) as refused:
        recipe.of_options(steps)
    assert refused.value.remedy


def test_a_code_that_no_row_has_is_named_and_the_near_one_with_it() -> None:
    with pytest.raises(UsageError) as refused:
        recipe.of_options(["drop:codes=personal_dat"])
    assert refused.value.why == "There is no issue personal_dat. Did you mean personal_data?"
    assert "sophia prepare inspect" in (refused.value.remedy or "")
    with pytest.raises(UsageError) as refused:
        recipe.of_options(["drop:codes=duplicate"])
    assert "exact_duplicates" in refused.value.why


def test_a_recipe_is_read_from_yaml_and_back(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "steps:\n  - normalise\n  - drop: {codes: [crlf, bom]}\n  - length:\n"
        "      max_characters: 4000\n  - exact_duplicates\n  - balance: {weights: {pt: 2, en: 1}}\n"
    )
    steps = recipe.of_file(path)
    assert steps == recipe.of_options(
        [
            "normalise",
            "drop:codes=crlf+bom",
            "length:max_characters=4000",
            "exact_duplicates",
            "balance:weights=pt:2+en:1",
        ]
    )
    assert recipe.read_back(json.loads(json.dumps(recipe.written(steps)))) == steps
    for wrong in ("- [1]\n", "a: b\n", "- : :\n -", "{}", "- a: 1\n  b: 2\n"):
        path.write_text(wrong)
        with pytest.raises(SophiaError):
            recipe.of_file(path)


# --- preview ---


def test_the_preview_shows_each_step_masked_and_writes_nothing(house: House) -> None:
    house.write(
        "a.jsonl",
        [
            qa("Meu e-mail é ana@example.com ", "Obrigado."),
            qa("Qual é?", "x" * 90 + " CPF 529.982.247-25"),
            b"broken",
            qa("Certo?"),
        ],
    )
    shown = house.preview("normalise", "redact", "length:max_characters=60", "exact_duplicates")
    assert (shown.rows, shown.stay, shown.of_all) == (4, 2, ["exact_duplicates"])
    by_step = {each.step: each for each in shown.steps}
    assert [(e.step, e.rows, e.changed, e.leave) for e in shown.steps] == [
        ("read", 1, 0, 1),
        ("normalise", 3, 1, 0),
        ("redact", 3, 2, 0),
        ("length", 3, 0, 1),
    ]
    change = by_step["redact"].changes[0]
    assert (change.line, change.turn, change.role) == (1, 1, "user")
    assert change.before == "Meu e-mail é •••••••••••••••"
    assert change.after == "Meu e-mail é [EMAIL_1]"
    assert [each.code for each in by_step["length"].leaving] == ["many_characters"]
    assert "529.982" not in repr(shown) and "ana@" not in repr(shown)
    assert not (house.folder / "datasets").exists()


def test_the_preview_takes_the_same_sample_every_time(house: House) -> None:
    house.write("a.jsonl", [qa(f"  pergunta {n}  ") for n in range(500)])
    first, second = (house.preview("normalise", most=7) for _time in range(2))
    assert first == second
    assert first.rows == 7
    assert len({change.line for change in first.steps[0].changes}) == 7


# --- splitting a version anew ---


def test_a_version_split_anew_keeps_rows_steps_and_origins(house: House) -> None:
    house.write("a.jsonl", [qa(f"pergunta {n}?", f"r {n}") for n in range(30)] + [b"broken"])
    first = house.prepare("redact", "exact_duplicates")
    assert first.folder
    steps = tuple(each for each in first.manifest["steps"] if each["step"] != "split")
    again = prepare(
        house.request(
            folder=first.folder,
            files=("train.jsonl", "valid.jsonl"),
            split="60/20/20",
            seed=7,
            version=True,
            done_before=steps,
        ),
        lambda *told: None,
    )
    counts = again.manifest["counts"]
    assert (counts["train"], counts["valid"], counts["test"]) == (18, 6, 6)
    assert again.manifest["redacted"] is True
    assert [each["step"] for each in again.manifest["steps"]] == [
        *(each["step"] for each in steps),
        "split",
    ]

    def origins(report: Report) -> dict[str, tuple[str, int]]:
        return {each["hash"]: (each["file"], each["line"]) for each in part(report, "provenance")}

    assert origins(again) == origins(first)
    assert {file for file, _line in origins(again).values()} == {"a.jsonl"}
