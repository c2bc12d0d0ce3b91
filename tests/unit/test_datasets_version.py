"""A version: each row kept or rejected, the same from the same rows, whole or not at all."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xxhash

from sophia_tui.datasets.pipeline import Report, Request, prepare
from sophia_tui.datasets.version import check_version
from sophia_tui.errors import DataError, NotFoundError

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOSTILE = [
    'quotes " and \\ backslashes \\n',
    "line\nbreaks\r\nand\ttabs",
    "emoji 🐝👩‍🌾 and marks \u202eright to left\u2066",
    "\x1b[31mred\x1b[0m \x07 \x9b",
    "\u2028 \u2029 \ufeff \u0085",
    "x" * 2_000_000,
]


def qa(question: Any, answer: Any, **more: Any) -> str:
    return json.dumps({"question": question, "answer": answer, **more}, ensure_ascii=False)


def rows(count: int, word: str = "question") -> list[str]:
    return [qa(f"{word} {number}?", f"answer {number}") for number in range(count)]


class House:
    """A folder for data, one for versions, and what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.target = folder / "datasets" / "default"
        self._runs = 0

    def write(self, name: str, lines: list[str]) -> Path:
        path = self.data / name
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        return path

    def prepare(self, **options: Any) -> Report:
        self._runs += 1
        scratch = self.folder / f"scratch{self._runs}"
        scratch.mkdir()
        wanted = {"name": "default", "created_at": NOW, "target": str(self.target), **options}
        return prepare(
            Request(folder=str(self.data), scratch=str(scratch), **wanted), lambda *told: None
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def part(report: Report, name: str) -> list[Any]:
    assert report.folder
    return [
        json.loads(line)
        for line in Path(report.folder, f"{name}.jsonl").read_bytes().split(b"\n")[:-1]
    ]


def adds_up(report: Report) -> None:
    counts = report.manifest["counts"]
    assert counts["rows_in"] == counts["rows_kept"] + counts["rows_rejected"]
    assert counts["rows_in"] == sum(source["rows"] for source in report.manifest["sources"])
    assert counts["rows_kept"] == counts["train"] + counts["valid"] + counts["test"]
    assert counts["rows_kept"] == len(part(report, "provenance"))
    rejected = part(report, "rejected")
    assert counts["rows_rejected"] == len(rejected)
    by_code = Counter(each["code"] for each in rejected)
    assert {code: counts[code] for code in by_code} == by_code
    for name, about in report.manifest["files"].items():
        assert about["rows"] == len(part(report, name.removesuffix(".jsonl")))


def test_hostile_text_comes_out_as_it_went_in(house: House) -> None:
    house.write("a.jsonl", [qa(f"{number}", text) for number, text in enumerate(HOSTILE)])
    report = house.prepare()
    kept = part(report, "train") + part(report, "valid")
    answers = {each["messages"][0]["content"]: each["messages"][1]["content"] for each in kept}
    assert answers == {str(number): text for number, text in enumerate(HOSTILE)}
    adds_up(report)


def fuzzed(chance: random.Random) -> list[bytes]:
    """Good lines, bad ones, duplicates, and lines of which a part was overwritten."""
    good = [row.encode() for row in rows(40)] + [
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]}).encode()
    ]
    lines: list[bytes] = []
    for _number in range(300):
        line = bytearray(chance.choice(good))
        for _place in range(chance.choice([0, 0, 1, 3])):
            line[chance.randrange(len(line))] = chance.choice(b'\\"{}\x00\xff\r,:a1 ')
        lines.append(bytes(line))
    return lines


@pytest.mark.parametrize("seed", range(5))
def test_rows_in_are_rows_kept_and_rejected_whatever_the_lines_hold(
    house: House, seed: int
) -> None:
    lines = fuzzed(random.Random(seed))
    (house.data / "a.jsonl").write_bytes(b"\n".join(lines[:200]))
    (house.data / "b.jsonl").write_bytes(b"\r\n".join(lines[200:]))
    report = house.prepare()
    adds_up(report)
    assert report.manifest["counts"]["rows_in"] == 300
    places = {(each["file"], each["line"]) for each in part(report, "provenance")}
    places |= {(each["file"], each["line"]) for each in part(report, "rejected")}
    assert places == {("a.jsonl", n) for n in range(1, 201)} | {
        ("b.jsonl", n) for n in range(1, 101)
    }


def test_the_same_rows_give_the_same_version_from_any_files_in_any_order(tmp_path: Path) -> None:
    lines = [*rows(60), *rows(10), "broken", qa("q", None), qa("mail a@example.com", "ok")]
    chance = random.Random(1)
    hashes, trains = set(), set()
    for number in range(3):
        house = House(tmp_path / str(number))
        chance.shuffle(lines)
        house.write(f"{chance.choice('xyz')}.jsonl", lines[:30])
        house.write(f"a{number}.jsonl", lines[30:])
        report = house.prepare()
        adds_up(report)
        hashes.add(report.manifest["hash"])
        assert report.folder
        trains.add(Path(report.folder, "train.jsonl").read_bytes())
    assert len(hashes) == len(trains) == 1


def test_what_else_was_asked_for_gives_another_version(house: House) -> None:
    house.write("a.jsonl", [*rows(30), qa("mail a@example.com", "ok")])
    asked: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"split": "90/10"},
        {"split": "80/10/10"},
        {"redact": False},
    ]
    assert len({house.prepare(**each).manifest["hash"] for each in asked}) == len(asked)


def test_another_rejected_row_gives_another_version_since_all_are_listed(house: House) -> None:
    house.write("a.jsonl", rows(10))
    before = house.prepare()
    house.write("a.jsonl", [*rows(10), "broken"])
    after = house.prepare()
    assert before.manifest["hash"] != after.manifest["hash"]
    assert [each["code"] for each in part(after, "rejected")] == ["json"]


def test_hash_seeds_of_python_do_not_count(house: House, tmp_path: Path) -> None:
    house.write("a.jsonl", [*rows(50), "broken", qa("x", None)])
    program = (
        "import sys, tempfile; from datetime import datetime, UTC\n"
        "from sophia_tui.datasets.pipeline import Request, prepare\n"
        "with tempfile.TemporaryDirectory() as scratch:\n"
        "    r = Request(sys.argv[1], scratch, 'x', datetime.now(UTC))\n"
        "    print(prepare(r, lambda *told: None).manifest['hash'])\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(house.data)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert found == {house.prepare().manifest["hash"].encode() + b"\n"}


def test_a_second_time_the_version_is_kept(house: House) -> None:
    house.write("a.jsonl", rows(20))
    first = house.prepare()
    assert first.folder
    before = Path(first.folder, "manifest.json").stat().st_mtime_ns
    second = house.prepare(created_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert (first.existed, second.existed) == (False, True)
    assert second.folder == first.folder
    assert second.manifest == first.manifest
    assert Path(first.folder, "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["change", "remove", "manifest"])
def test_a_damaged_version_is_neither_used_nor_overwritten(house: House, damage: str) -> None:
    house.write("a.jsonl", rows(20))
    folder = Path(house.prepare().folder or "")
    if damage == "change":
        (folder / "train.jsonl").write_bytes(b"{}\n")
    elif damage == "remove":
        (folder / "valid.jsonl").unlink()
    else:
        (folder / "manifest.json").write_bytes(b"[]")
    with pytest.raises(DataError, match="D309"):
        house.prepare()
    with pytest.raises(DataError, match="D309"):
        check_version(folder)


def test_no_question_lies_on_both_sides(house: House) -> None:
    house.write(
        "a.jsonl",
        [qa(f"Question {number % 30}?", f"answer {number}") for number in range(300)]
        + [qa(f"QUESTION  {number % 30}?", "other") for number in range(30)],
    )
    report = house.prepare(split="80/10/10")
    sides = [
        {each["messages"][0]["content"].casefold().split()[1] for each in part(report, side)}
        for side in ("train", "valid", "test")
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 30
    adds_up(report)


def test_duplicates_are_found_after_redacting_and_point_at_the_first(house: House) -> None:
    house.write("a.jsonl", [qa("Sou ana@example.com, e o prazo?", "12 dias", citations=[1])])
    house.write("b.jsonl", ["", qa("Sou bia@example.com, e o prazo?", "12 dias"), *rows(3)])
    report = house.prepare()
    assert part(report, "rejected") == [
        {
            "file": "b.jsonl",
            "line": 2,
            "step": "exact_duplicates",
            "code": "duplicate",
            "reason": "The same as line 1 of a.jsonl.",
            "details": {"first_file": "a.jsonl", "first_line": 1},
        }
    ]
    assert report.manifest["redactions"] == {"email": 2}


def test_no_file_of_a_version_holds_personal_data_or_rejected_text(house: House) -> None:
    secret = "segredo-do-cliente"
    house.write(
        "a.jsonl",
        [
            *rows(10),
            qa("ana@example.com 529.982.247-25", "(35) 90000-0104"),
            qa(f"{secret}", None),
            f'{{"question": "{secret}"',
            f'{{"{secret}": 1, "{secret}": 2}}',
            qa(f"{secret} <|im_start|>", "x"),
        ],
    )
    report = house.prepare()
    assert report.folder
    for path in Path(report.folder).iterdir():
        content = path.read_text(encoding="utf-8")
        for each in (secret, "ana@example.com", "529.982", "90000-0104"):
            assert each not in content
    assert report.manifest["counts"]["redacted"] == 3


def test_without_redaction_the_manifest_says_so(house: House) -> None:
    house.write("a.jsonl", [*rows(3), qa("ana@example.com", "ok")])
    report = house.prepare(redact=False)
    assert report.manifest["redacted"] is False
    assert "redact" not in [step["step"] for step in report.manifest["steps"]]
    assert "ana@example.com" in json.dumps(part(report, "train") + part(report, "valid"))


def test_the_manifest_names_files_steps_and_the_sum(house: House) -> None:
    data = house.write("a.jsonl", ["\ufeff" + rows(1)[0], "", *rows(3, "other")])
    manifest = house.prepare().manifest
    (source,) = manifest["sources"]
    assert (source["rows"], source["bytes"]) == (4, data.stat().st_size)
    assert source["notes"] == {
        "bom": {"count": 1, "lines": [1]},
        "blank": {"count": 1, "lines": [2]},
    }
    steps = [step["step"] for step in manifest["steps"]]
    assert steps == ["read", "convert", "redact", "exact_duplicates", "split"]
    assert manifest["sum"] == "4 = 4 + 0"
    assert manifest["steps"][-1]["settings"] == {"shares": "80/20", "seed": 42}


# --- provenance ---


def traced(house: House, lines: list[str], stale: tuple[int, ...] = ()) -> None:
    house.write("qa_cache.jsonl", lines)
    folder = house.data / "provenance"
    folder.mkdir()
    with (folder / "qa_cache.jsonl").open("w") as stream:
        for number, line in enumerate(lines, start=1):
            digest = xxhash.xxh3_128_hexdigest(line.encode() + b"x" * (number in stale))
            key = {"qhash": f"h{number}"}
            entry = {"line": number, "hash": digest, "table": "public.qa_cache", "key": key}
            stream.write(json.dumps(entry) + "\n")


def test_every_row_leads_back_to_its_database_row(house: House) -> None:
    traced(house, [*rows(5), qa("x", None), rows(1)[0]])
    report = house.prepare()
    for each in part(report, "provenance") + part(report, "rejected"):
        key = {"qhash": f"h{each['line']}"}
        assert each["source"] == {"table": "public.qa_cache", "key": key}
    assert report.manifest["sources"][0]["provenance"] == "whole"
    assert report.manifest["sources"][0]["rows_traced"] == 7
    hashes = {each["hash"] for each in part(report, "provenance")}
    assert report.folder
    kept = b"".join(
        Path(report.folder, f"{side}.jsonl").read_bytes() for side in ("train", "valid")
    )
    assert hashes == {xxhash.xxh3_128_hexdigest(line) for line in kept.split(b"\n")[:-1]}


def test_provenance_that_does_not_fit_is_stale_and_not_believed(house: House) -> None:
    traced(house, rows(5), stale=(2,))
    report = house.prepare()
    assert report.manifest["sources"][0]["provenance"] == "stale"
    known = {each["line"] for each in part(report, "provenance") if "source" in each}
    assert known == {1, 3, 4, 5}


def test_lines_added_or_lost_make_provenance_stale(house: House) -> None:
    traced(house, rows(5))
    house.write("qa_cache.jsonl", rows(4))
    assert house.prepare().manifest["sources"][0]["provenance"] == "stale"
    house.write("qa_cache.jsonl", rows(6))
    assert house.prepare().manifest["sources"][0]["provenance"] == "stale"


def test_provenance_that_is_no_json_is_stale(house: House) -> None:
    house.write("a.jsonl", rows(3))
    (house.data / "provenance").mkdir()
    (house.data / "provenance" / "a.jsonl").write_bytes(b"\xff\n[]\n{}\n")
    assert house.prepare().manifest["sources"][0]["provenance"] == "stale"


# --- COPY exports ---


def test_a_copy_export_is_named_and_only_its_undamaged_lines_are_used(house: House) -> None:
    damaged = [qa("q1", 'say "x"'), qa("q2", "two\nlines")]
    house.write("a.jsonl", [*rows(3), *(line.replace("\\", "\\\\") for line in damaged)])
    report = house.prepare()
    assert report.manifest["sources"][0]["copy_export"] == "certain"
    assert report.rejected == {"copy_export": ["a.jsonl:4", "a.jsonl:5"]}


def test_a_copy_export_can_be_repaired_while_reading(house: House) -> None:
    true = [*rows(3), qa("q1", 'say "x"'), qa("q2", "two\nlines")]
    house.write("a.jsonl", [line.replace("\\", "\\\\") for line in true])
    report = house.prepare(repair="certain")
    kept = part(report, "train") + part(report, "valid")
    answers = {each["messages"][1]["content"] for each in kept}
    assert {'say "x"', "two\nlines"} <= answers
    assert report.manifest["sources"][0]["repaired"] is True
    assert "repair_copy_export" in [step["step"] for step in report.manifest["steps"]]


def test_a_suspected_export_is_used_as_it_is_unless_asked(house: House) -> None:
    house.write("a.jsonl", [qa("q", "two\nlines").replace("\\", "\\\\"), *rows(3)])
    for repair, expected in (("certain", "two\\nlines"), ("suspected", "two\nlines")):
        report = house.prepare(repair=repair)
        kept = part(report, "train") + part(report, "valid")
        assert expected in {each["messages"][1]["content"] for each in kept}
        assert report.manifest["sources"][0]["copy_export"] == "suspected"


# --- which files are data ---


def test_only_data_files_directly_in_the_folder_are_read(house: House, tmp_path: Path) -> None:
    house.write("a.jsonl", rows(3))
    house.write("history.jsonl", ['{"job": 1}'])
    house.write(".hidden.jsonl", ["broken"])
    house.write("notes.txt", ["broken"])
    (house.data / "sub.jsonl").mkdir()
    (house.data / "sub").mkdir()
    (house.data / "sub" / "b.jsonl").write_text("broken\n")
    (tmp_path / "outside.jsonl").write_text("broken\n")
    (house.data / "leaves.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (house.data / "dangling.jsonl").symlink_to("nothing")
    os.mkfifo(house.data / "pipe.jsonl")
    report = house.prepare(history=str(house.data / "history.jsonl"))
    assert [source["file"] for source in report.manifest["sources"]] == ["a.jsonl"]
    assert {each["file"]: each["code"] for each in report.manifest["passed_over"]} == {
        "history.jsonl": "history",
        ".hidden.jsonl": "hidden",
        "leaves.jsonl": "link",
        "dangling.jsonl": "special",
        "pipe.jsonl": "special",
        "sub.jsonl": "folder",
    }


def test_chosen_files_alone_are_read(house: House) -> None:
    house.write("a.jsonl", rows(3))
    house.write("b.jsonl", ["broken"])
    assert len(house.prepare(files=("a.jsonl",)).manifest["sources"]) == 1
    for wrong in ("c.jsonl", "../data/a.jsonl", "/etc/passwd"):
        with pytest.raises(NotFoundError, match="D305"):
            house.prepare(files=(wrong,))


@pytest.mark.parametrize(
    ("lines", "code"),
    [([], "D307"), (["", " "], "D307"), (["broken", qa("q", "")], "D307"), (None, "D304")],
)
def test_nothing_usable_is_one_clear_error_and_nothing_is_written(
    house: House, lines: list[str] | None, code: str
) -> None:
    if lines is not None:
        house.write("a.jsonl", lines)
    with pytest.raises(DataError, match=code):
        house.prepare()
    assert not house.target.exists()


def test_a_folder_that_is_none_or_is_not_there_is_a_clear_error(house: House) -> None:
    house.data.rmdir()
    with pytest.raises(DataError, match="D301"):
        house.prepare()
    house.data.write_text("a file")
    with pytest.raises(DataError, match="D302"):
        house.prepare()


@pytest.fixture
def without_rights() -> Iterator[None]:
    """Root may read everything, so root becomes nobody for the test."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.parametrize(("closed", "code"), [("a.jsonl", "D306"), (".", "D303")])
def test_what_may_not_be_read_is_a_clear_error(
    reachable: Path, closed: str, code: str, request: pytest.FixtureRequest
) -> None:
    house = House(reachable / "house")
    house.write("a.jsonl", rows(3))
    (reachable / "house").chmod(0o777)
    house.data.chmod(0o755)  # whatever mask this process has by now
    (house.data / "a.jsonl").chmod(0o644)
    (house.data / closed).chmod(0)
    request.getfixturevalue("without_rights")
    with pytest.raises(DataError, match=code):
        house.prepare()


def test_a_file_that_grows_while_it_is_read_is_a_clear_error(house: House) -> None:
    path = house.write("a.jsonl", rows(5000))
    scratch = house.folder / "scratch"
    scratch.mkdir()

    def grow(stage: str, done: int, total: int | None) -> None:
        if stage == "read":
            with path.open("a") as stream:
                stream.write(rows(1)[0] + "\n")

    request = Request(str(house.data), str(scratch), "default", NOW, target=str(house.target))
    with pytest.raises(DataError, match="D308"):
        prepare(request, grow)
    assert not house.target.exists()


def test_a_dry_run_counts_as_the_real_one_and_writes_nothing(house: House) -> None:
    house.write("a.jsonl", [*rows(20), *rows(5), "broken"])
    dry = house.prepare(target=None)
    assert dry.folder is None and not house.target.exists()
    real = house.prepare()
    assert dry.manifest["hash"] == real.manifest["hash"]
    assert dry.manifest["counts"] == real.manifest["counts"]
    assert dry.rejected == real.rejected


def test_files_that_are_held_out_are_for_validation_alone(house: House) -> None:
    house.write("learn.jsonl", rows(30))
    house.write("hold.jsonl", [*rows(10, "other"), qa("", "x")])
    report = house.prepare(held_out=("hold.jsonl",), split="100/0")
    assert [len(part(report, name)) for name in ("train", "valid", "rejected")] == [30, 10, 1]
    asked = {each["messages"][0]["content"] for each in part(report, "valid")}
    assert asked == {f"other {number}?" for number in range(10)}
    assert report.manifest["steps"][-1]["settings"] == {"held_out": ["hold.jsonl"]}
    other = house.prepare(held_out=("learn.jsonl",), split="100/0")
    assert other.manifest["hash"] != report.manifest["hash"]
