"""Looking into files and editing records: through the service, with the engine's real process."""

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets import pages
from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    DataError,
    NotFoundError,
    RefusedError,
    SetupError,
    UsageError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.browse import BrowseService
from sophia_tui.services.browse_views import (
    BrowseInput,
    EditInput,
    SaveInput,
    SearchInput,
    UndoInput,
)
from sophia_tui.services.inspect import InspectInput, InspectService
from sophia_tui.services.operations import masked

GOOD = '{"question": "Quando?", "answer": "Amanhã %d."}'
BAD = '{"question": "", "answer": "x"}'


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 26, 2, 3, 4, tzinfo=UTC)


class Settings:
    def __init__(self, folder: Path) -> None:
        self.finetune_folder = folder
        self.quality_gate = ""


class House:
    """The service over a folder of data, and people who use it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "finetune"
        self.data.mkdir()
        self.paths = Paths(folder / "sophia")
        self.service = BrowseService(self._no_store, Settings(self.data), self.paths, Clock())  # type: ignore[arg-type]

    async def _no_store(self) -> Any:
        raise AssertionError("no version was asked for")

    def file(self, text: str | bytes, name: str = "data.jsonl") -> Path:
        path = self.data / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def browse(self, file: str = "data.jsonl", **asked: Any) -> Any:
        return await self.service.browse(person(), BrowseInput(file=file, **asked))

    async def edit(
        self, line: int, record: str, who: str = "ana", file: str = "data.jsonl", **asked: Any
    ) -> Any:
        request = EditInput(file=file, line=line, record=record, **asked)
        return await self.service.edit(person(who), request)

    async def undo(self, **asked: Any) -> Any:
        return await self.service.undo(person(), UndoInput(file="data.jsonl", **asked))

    async def save(self, **asked: Any) -> Any:
        return await self.service.save(person(), SaveInput(file="data.jsonl", **asked))


def person(name: str = "ana", **changes: Any) -> Context:
    return Context(**{"actor": name, "face": Face.CLI, "role": Role.ADMIN, **changes})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def short_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file were too long to be counted through at once."""
    monkeypatch.setattr(pages, "AT_ONCE_BYTES", 0)


def rows(count: int, bad: tuple[int, ...] = ()) -> str:
    lines = [BAD if n in bad else GOOD % n for n in range(1, count + 1)]
    return "\n".join(lines) + "\n"


def numbers(page: Any) -> list[int]:
    return [each.line for each in page.items]


# -- pages


async def test_a_page_has_its_records_and_what_is_wrong_with_them(house: House) -> None:
    house.file(
        b'\xef\xbb\xbf{"question": "a", "answer": "b"}\r\n\n{"question": "c"}\nno json\xff\n'
    )
    page = await house.browse()
    assert [each.codes for each in page.items] == [
        ["bom", "crlf"],
        ["blank"],
        ["no_answer"],
        ["not_utf8"],
    ]
    assert [each.usable for each in page.items] == [True, False, False, False]
    assert page.items[0].text == '{"question": "a", "answer": "b"}'
    assert page.items[3].text == "no json\\xff"
    assert (page.lines, page.exact, page.next_line) == (4, True, None)


async def test_pages_follow_each_other_without_gap(house: House) -> None:
    house.file(rows(25))
    first = await house.browse(count=10)
    second = await house.browse(count=10, line=first.next_line, at=first.next_at)
    third = await house.browse(count=10, line=second.next_line, at=second.next_at)
    assert numbers(first) + numbers(second) + numbers(third) == list(range(1, 26))
    assert third.next_line is None


async def test_a_line_beyond_the_end_is_not_found(house: House) -> None:
    house.file(rows(3))
    with pytest.raises(NotFoundError, match="SOPHIA-D567"):
        await house.browse(line=4)


async def test_a_distant_line_is_estimated_and_said_to_be(house: House, short_sight: None) -> None:
    house.file(rows(20_000))
    page = await house.browse(line=10_000, count=2)
    assert not page.exact and page.lines is None and page.remarks()
    assert abs(page.lines_about - 20_000) < 2_000
    stands = int(page.items[0].answer.removeprefix("Amanhã ").removesuffix("."))
    assert abs(stands - 10_000) < 1_000


async def test_with_exact_an_index_is_built_and_later_jumps_are_exact(
    house: House, short_sight: None
) -> None:
    house.file(rows(20_000))
    told: list[Any] = []
    context = person(progress=told.append)
    request = BrowseInput(file="data.jsonl", line=10_000, count=1, exact=True)
    first = await house.service.browse(context, request)
    later = await house.browse(line=19_999)
    assert first.items[0].answer == "Amanhã 10000." and first.exact and told
    assert later.items[0].answer == "Amanhã 19999." and later.exact and later.lines == 20_000
    with pytest.raises(NotFoundError, match="SOPHIA-D567"):
        await house.browse(line=20_001)


async def test_a_text_is_cut_where_asked_and_whole_where_not(house: House) -> None:
    house.file('{"question": "a", "answer": "%s"}\n' % ("b" * 5_000))
    cut, whole = await house.browse(chars=100), await house.browse(chars=0)
    assert len(cut.items[0].text) == 100 and cut.items[0].chars == len(whole.items[0].text) > 5_000


async def test_the_next_and_the_previous_issue_are_found(house: House) -> None:
    house.file(rows(5_000, bad=(7, 3_000, 4_999)))
    assert numbers(await house.browse(issue="next", count=1)) == [7]
    assert numbers(await house.browse(issue="next", line=8, count=1)) == [3_000]
    assert numbers(await house.browse(issue="previous", line=4_999, count=1)) == [3_000]
    nothing = await house.browse(issue="next", line=5_001)
    assert not nothing.found and not nothing.items and nothing.remarks()
    assert not (await house.browse(issue="previous", line=7)).found


async def test_issues_are_found_by_their_code(house: House) -> None:
    house.file(rows(50, bad=(5,)) + "no json\n" + rows(20))
    assert numbers(await house.browse(issue="next", code="json", count=1)) == [51]
    assert not (await house.browse(issue="next", line=52, code="json")).found


async def test_what_a_kept_inspection_found_is_shown_and_gone_to(house: House) -> None:
    path = house.file(rows(300, bad=(20,)) + GOOD % 7 + "\n")
    assert (await house.browse(line=301)).items[0].codes == []
    inspecting = InspectService(Settings(house.data), house.paths)  # type: ignore[arg-type]
    await inspecting.inspect(person(), InspectInput(path=str(path)))
    assert (await house.browse(line=301)).items[0].codes == ["duplicate"]
    assert numbers(await house.browse(issue="next", code="duplicate", count=1)) == [301]
    assert numbers(await house.browse(issue="previous", line=301, count=1)) == [20]
    await house.edit(20, GOOD % 999)
    assert not (await house.browse(issue="next")).found
    assert not (await house.browse(line=301)).inspection_outdated
    path.write_text(rows(301))
    changed = await house.browse(line=301)
    assert changed.items[0].codes == [] and changed.inspection_outdated
    assert any("since it was inspected" in each for each in changed.remarks())


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
async def test_a_compressed_file_is_read_from_its_beginning(
    house: House, kind: str, short_sight: None
) -> None:
    import zstandard

    squeeze = gzip.compress if kind == "gzip" else zstandard.ZstdCompressor().compress
    name = "data.jsonl.gz" if kind == "gzip" else "data.jsonl.zst"
    house.file(squeeze(rows(300, bad=(200,)).encode()), name)
    first = await house.browse(name, count=2)
    exact = await house.browse(name, line=300, count=5, exact=True)
    assert first.compression == kind and numbers(first) == [1, 2] and first.remarks()
    assert exact.items[0].answer == "Amanhã 300." and exact.lines == 300
    assert numbers(await house.browse(name, issue="next", exact=True, count=1)) == [200]
    with pytest.raises(UsageError, match="SOPHIA-D585"):
        await house.browse(name, issue="previous", line=100)
    with pytest.raises(NotFoundError, match="SOPHIA-D567"):
        await house.browse(name, line=301, exact=True)
    with pytest.raises(UsageError, match="SOPHIA-D581"):
        await house.edit(1, GOOD % 1, file=name)


async def test_a_long_jump_in_a_compressed_file_has_to_be_asked_for(house: House) -> None:
    house.file(gzip.compress(rows(1).encode() * 900_000, 1), "data.jsonl.gz")
    with pytest.raises(UsageError, match="SOPHIA-D568"):
        await house.browse("data.jsonl.gz", line=899_999)


async def test_a_table_is_read_as_lines_of_json(house: House) -> None:
    house.file("question,answer\nQuando?,Amanhã.\n", "table.csv")
    page = await house.service.browse(person(), BrowseInput(file="table.csv"))
    assert page.compression == "table" and page.items[0].answer == "Amanhã."


async def test_a_damaged_file_is_named(house: House) -> None:
    house.file(gzip.compress(rows(30_000).encode())[:5_000], "data.jsonl.gz")
    with pytest.raises(DataError, match="SOPHIA-D306"):
        await house.service.browse(person(), BrowseInput(file="data.jsonl.gz", line=29_000))


async def test_from_afar_only_names_in_the_folder_count(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "secret.jsonl"
    outside.write_text(rows(1))
    (house.data / "link.jsonl").symlink_to(outside)
    (house.data / ".env").write_text("DB_PASS=hidden\n")
    house.file(rows(2))
    afar = person(face=Face.API)
    assert numbers(await house.service.browse(afar, BrowseInput(file="data.jsonl"))) == [1, 2]
    for name in (str(outside), "../secret.jsonl", "link.jsonl", ".env"):
        with pytest.raises(RefusedError, match="SOPHIA-D398"):
            await house.service.browse(afar, BrowseInput(file=name))
    await house.edit(1, GOOD % 9)
    for name in ("../new.jsonl", ".env"):
        with pytest.raises(RefusedError, match="SOPHIA-D398"):
            await house.service.save(afar, SaveInput(file="data.jsonl", to=name))


async def test_a_part_of_a_version_is_looked_into_and_not_edited(house: House) -> None:
    part = house.paths.datasets / "town" / "abc" / "valid.jsonl"
    part.parent.mkdir(parents=True)
    part.write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    now = Clock().now()
    version = DatasetVersion("town", "abc", str(part.parent), {}, {}, "ana", now)

    class Versions:
        async def get(self, reference: str) -> DatasetVersion | None:
            return version if reference == "town" else None

    async def versions() -> Any:
        return Versions()

    service = BrowseService(versions, Settings(house.data), house.paths, Clock())  # type: ignore[arg-type]
    page = await service.browse(person(), BrowseInput(file="town", part="valid"))
    assert page.file == f"{version.id}/valid" and page.items[0].codes == ["no_assistant"]
    with pytest.raises(NotFoundError, match="SOPHIA-D404"):
        await service.browse(person(), BrowseInput(file="city", part="valid"))
    with pytest.raises(NotFoundError, match="SOPHIA-D396"):
        await service.edit(person(), EditInput(file="town", line=1, record="{}"))


# -- search


async def test_hits_are_told_as_they_come(house: House) -> None:
    house.file(rows(400))
    told: list[Any] = []
    request = SearchInput(file="data.jsonl", text="amanhã 1", limit=5)
    found = await house.service.search(person(tell=told.append), request)
    assert [hit.line for hit in found.items] == [1, 10, 11, 12, 13] and told == found.items
    assert found.more and found.next_line == 14


async def test_a_search_can_be_cancelled(house: House) -> None:
    house.file(rows(400))
    stop = CancelSignal()
    stop.request()
    with pytest.raises(CancelledError):
        await house.service.search(
            person(cancel=stop), SearchInput(file="data.jsonl", text="nowhere")
        )


# -- edits


async def test_an_edit_is_seen_everywhere_and_the_file_is_as_it_was(house: House) -> None:
    path = house.file(rows(5))
    before = path.read_bytes()
    done = await house.edit(3, '{"question": "Onde?", "answer": "Ali."}')
    page = await house.browse()
    assert done.before == GOOD % 3 and done.usable
    assert (page.items[2].question, page.items[2].edited_by) == ("Onde?", "ana")
    assert [each.edited for each in page.items] == [False, False, True, False, False]
    found = await house.service.search(person(), SearchInput(file="data.jsonl", text="onde?"))
    assert [hit.line for hit in found.items] == [3]
    assert path.read_bytes() == before


async def test_an_edit_that_makes_an_issue_is_taken_and_said(house: House) -> None:
    house.file(rows(5))
    done = await house.edit(2, BAD)
    assert not done.usable and [each.code for each in done.issues] == ["no_question"]
    assert numbers(await house.browse(issue="next", count=1)) == [2]
    await house.edit(2, GOOD % 2)
    assert not (await house.browse(issue="next")).found


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ("[1]", "not_object"),
        ('{"a": 1', "json"),
        ('{"a": 1, "a": 2}', "duplicate_key"),
        ('{"a": NaN}', "not_finite"),
    ],
)
async def test_what_is_no_record_is_refused_with_what_is_wrong(
    house: House, record: str, problem: str
) -> None:
    house.file(rows(2))
    with pytest.raises(DataError, match="SOPHIA-D564") as refused:
        await house.edit(1, record)
    assert refused.value.details["problem"] == problem and refused.value.why
    assert (await house.browse()).edits is None


async def test_a_record_on_several_lines_becomes_one(house: House) -> None:
    house.file(rows(2))
    done = await house.edit(1, '{\n  "question": "a\\nb",\n  "answer": "ç"\n}')
    assert done.after == '{"question": "a\\nb", "answer": "ç"}'


async def test_undo_and_redo_walk_through_the_history(house: House) -> None:
    house.file(rows(3))
    await house.edit(1, GOOD % 11)
    await house.edit(1, GOOD % 111)
    answers = []
    for asked in ({}, {}, {}, {"redo": True}, {"redo": True}, {"redo": True}):
        what = (await house.undo(**asked)).what
        answers.append((what, (await house.browse()).items[0].answer))
    assert answers == [
        ("undone", "Amanhã 11."),
        ("undone", "Amanhã 1."),
        ("nothing", "Amanhã 1."),
        ("redone", "Amanhã 11."),
        ("redone", "Amanhã 111."),
        ("nothing", "Amanhã 111."),
    ]
    assert (await house.undo(all=True)).what == "dropped"
    assert (await house.browse()).items[0].answer == "Amanhã 1."


async def test_the_second_of_two_people_is_told_who_was_faster(house: House) -> None:
    house.file(rows(3))
    seen = (await house.edit(1, GOOD % 5)).edits.version
    await house.edit(2, GOOD % 6, who="rui", seen_version=seen)
    await house.edit(3, GOOD % 7, seen_version=seen)  # another line: nobody's work is lost
    with pytest.raises(ConflictError, match="SOPHIA-D569") as told:
        await house.edit(2, GOOD % 8, seen_version=seen)
    assert told.value.why == "rui edited line 2 0 seconds ago."
    with pytest.raises(ConflictError, match="SOPHIA-D569"):
        await house.undo(seen_version=seen)


async def test_a_dry_edit_tells_what_it_would_make_and_changes_nothing(house: House) -> None:
    file = house.file(rows(3))
    request = EditInput(file="data.jsonl", line=2, record=BAD, seen_version=0)
    told = await house.service.edit(person(dry_run=True), request)
    assert (told.before, told.after, told.usable) == (GOOD % 2, BAD, False)
    assert [each.code for each in told.issues] == ["no_question"] and told.edits.records == 0
    assert file.read_text() == rows(3) and (await house.browse()).edits is None
    await house.edit(2, GOOD % 22, who="rui")
    with pytest.raises(ConflictError, match="SOPHIA-D569"):
        await house.service.edit(person(dry_run=True), request)


async def test_undo_tells_what_it_takes_back_and_whose_it_was(house: House) -> None:
    house.file(rows(3))
    await house.edit(2, GOOD % 22, who="rui")
    await house.edit(2, GOOD % 222)
    done = await house.undo()
    assert (done.before, done.after, done.edited_by) == (GOOD % 222, GOOD % 22, "ana")
    done = await house.undo()
    assert (done.before, done.after, done.edited_by) == (GOOD % 22, GOOD % 2, "rui")
    done = await house.undo(redo=True)
    assert (done.before, done.after, done.edited_by) == (GOOD % 2, GOOD % 22, "rui")


async def test_a_search_goes_back_and_counts(house: House) -> None:
    house.file(rows(40))
    request = SearchInput(file="data.jsonl", text="amanhã 1", line=13, backwards=True, limit=2)
    found = await house.service.search(person(), request)
    assert [hit.line for hit in found.items] == [12, 11] and found.next_line == 11
    counted = await house.service.search(person(), request.model_copy(update={"count": True}))
    assert (counted.total, counted.passed, counted.items) == (11, 4, found.items)


async def test_a_file_that_vanished_or_shrank_is_said_and_comes_back(house: House) -> None:
    file = house.file(rows(400))
    page = await house.browse(line=300)
    file.write_text(rows(3))
    with pytest.raises(NotFoundError, match="SOPHIA-D567"):
        await house.browse(line=page.next_line or 300, at=page.items[0].at)
    file.unlink()
    with pytest.raises(NotFoundError, match="SOPHIA-D396"):
        await house.browse(line=300, at=page.items[0].at)
    file.write_text("")
    assert (await house.browse()).items == []
    file.write_text(rows(400))
    assert (await house.browse(line=300, at=page.items[0].at)).items[0].line == 300


async def test_who_looked_before_edits_were_saved_or_dropped_is_told(house: House) -> None:
    house.file(rows(3))
    seen = (await house.edit(1, GOOD % 5)).edits.version
    await house.save(replace=True)
    with pytest.raises(ConflictError, match="SOPHIA-D569"):
        await house.edit(1, GOOD % 6, who="rui", seen_version=seen)
    seen = (await house.browse()).edits.version
    await house.edit(1, GOOD % 7, seen_version=seen)
    await house.undo(all=True)
    with pytest.raises(ConflictError, match="SOPHIA-D569"):
        await house.edit(1, GOOD % 8, who="rui", seen_version=seen)


async def test_dropped_and_saved_edits_leave_no_text_of_theirs(house: House) -> None:
    house.file(rows(3))
    for end in ("drop", "save"):
        await house.edit(1, '{"question": "CPF?", "answer": "529.982.247-25"}')
        [journal] = house.paths.edits.iterdir()
        assert b"529.982" in journal.read_bytes()
        await (house.undo(all=True) if end == "drop" else house.save(replace=True))
        assert b"529.982" not in journal.read_bytes()


async def test_what_was_undone_can_be_dropped_and_leaves_no_text(house: House) -> None:
    house.file(rows(3))
    await house.edit(1, '{"question": "CPF?", "answer": "529.982.247-25"}')
    await house.undo()
    [journal] = house.paths.edits.iterdir()
    assert b"529.982" in journal.read_bytes()
    assert (await house.undo(all=True)).what == "dropped"
    assert b"529.982" not in journal.read_bytes()
    assert (await house.undo(redo=True)).what == "nothing"
    assert (await house.undo(all=True)).what == "nothing"


async def test_a_torn_entry_of_the_journal_is_no_edit(house: House) -> None:
    house.file(rows(3))
    await house.edit(1, GOOD % 5)
    [journal] = house.paths.edits.iterdir()
    with journal.open("ab") as stream:
        stream.write(b'{"do": "edit", "ed')
    assert (await house.browse()).items[0].answer == "Amanhã 5."
    await house.edit(2, GOOD % 6)
    assert (await house.browse()).items[1].answer == "Amanhã 6."


async def test_saved_under_a_new_name_the_original_stays(house: House) -> None:
    path = house.file(b'{"a": 1}\r\n{"a": 2}\n{"a": 3}')
    before = path.read_bytes()
    await house.edit(3, '{"a": 33}')
    await house.edit(1, '{"a": 11}')
    target = house.data / "new.jsonl"
    done = await house.save(to=str(target))
    assert done.records == 2 and done.kept is None
    assert target.read_bytes() == b'{"a": 11}\r\n{"a": 2}\n{"a": 33}'
    assert path.read_bytes() == before and (await house.browse()).edits.records == 2
    with pytest.raises(ConflictError, match="SOPHIA-D565"):
        await house.save(to=str(target))


async def test_saved_in_its_place_a_copy_is_kept_and_the_edits_are_done(house: House) -> None:
    path = house.file(rows(1000))
    before = path.read_text()
    await house.edit(500, GOOD % 5)
    done = await house.save(replace=True)
    assert path.read_text() == before.replace(GOOD % 500, GOOD % 5)
    assert Path(done.kept).read_text() == before and not done.kept.endswith(".jsonl")
    page = await house.browse(line=500, count=1)
    assert page.edits.records == 0 and page.items[0].answer == "Amanhã 5."
    with pytest.raises(NotFoundError, match="SOPHIA-D584"):
        await house.save(replace=True)


async def test_nothing_is_saved_over_a_file_that_changed(house: House) -> None:
    path = house.file(rows(5))
    await house.edit(2, GOOD % 5)
    path.write_text("first\n" + rows(5))
    page = await house.browse()
    assert page.edits.stale and not any(each.edited for each in page.items)
    for work in (house.save(replace=True), house.edit(1, GOOD % 1)):
        with pytest.raises(ConflictError, match="SOPHIA-D563"):
            await work
    assert path.read_text() == "first\n" + rows(5)
    await house.undo(all=True)
    await house.edit(1, GOOD % 1)


async def test_where_to_save_must_be_said(house: House) -> None:
    house.file(rows(1))
    await house.edit(1, GOOD % 5)
    for asked in ({}, {"to": "new", "replace": True}):
        with pytest.raises(UsageError, match="SOPHIA-D583"):
            await house.save(**asked)


async def test_a_save_that_fails_leaves_everything(house: House) -> None:
    path = house.file(rows(5))
    await house.edit(1, GOOD % 5)
    with pytest.raises(SetupError, match="SOPHIA-S101"):
        await house.save(to=str(house.data / "nowhere" / "new.jsonl"))
    assert sorted(each.name for each in house.data.iterdir()) == [path.name]
    assert (await house.browse()).items[0].edited


async def test_a_save_that_is_stopped_leaves_nothing(house: House) -> None:
    path = house.file(rows(5))
    await house.edit(1, GOOD % 5)
    before = path.read_bytes()
    stop = CancelSignal()
    left = house.data / f".{path.name}.123-0a1b2c3d.tmp"  # as an engine leaves that is killed
    left.write_bytes(before[:10])
    os.link(path, house.data / "data.jsonl.20261126T020304.original")
    stop.request()
    with pytest.raises(CancelledError):
        await house.service.save(person(cancel=stop), SaveInput(file="data.jsonl", replace=True))
    names = [each.name for each in house.data.iterdir()]
    assert names == [path.name] and (await house.browse()).items[0].answer == "Amanhã 5."


def test_the_audit_does_not_keep_the_text_of_a_record() -> None:
    kept = masked(EditInput(file="data.jsonl", line=1, record='{"cpf": "529.982.247-25"}'))
    assert "529" not in json.dumps(kept) and kept["line"] == 1
