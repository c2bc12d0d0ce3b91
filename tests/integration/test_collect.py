"""Collect: windows, filters, rejected rows, odd databases, and files whole or as they were."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.errors import CancelledError, ConflictError, DataError, SetupError, UsageError
from sophia_tui.store.embedded import EmbeddedServer
from tests.conftest import administer
from tests.integration.collect_support import Variant, collect, fill, lines_of


@pytest.fixture
def filled(postgres_url: str) -> str:
    """The address of a source with the plain variant's rows."""
    fill(postgres_url, Variant("plain"))
    return postgres_url


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


QA = (
    "CREATE TABLE qa_cache (qhash text, question text, answer text, citations jsonb, created_at {})"
)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


async def test_the_window_is_half_open_in_the_zone_of_the_settings(
    postgres_url: str, tmp_path: Path
) -> None:
    # Fortaleza is at -03:00 all year round
    execute(
        postgres_url,
        QA.format("timestamp"),
        "INSERT INTO qa_cache SELECT to_char(t, 'DD HH24:MI:SS.US'), 'q', 'a', NULL, t"
        " FROM unnest('{2026-11-01 00:00, 2026-10-31 23:59:59.999999, 2026-11-02 00:00,"
        " 2026-11-01 23:59:59.999999}'::timestamp[]) t",
    )
    await collect(
        postgres_url,
        tmp_path,
        what=["qa_cache"],
        since=datetime(2026, 11, 1),
        until=datetime(2026, 11, 2, 3, tzinfo=UTC),
        settings={"SOPHIA_TIMEZONE": "America/Fortaleza"},
    )
    keys = [each["key"]["qhash"] for each in lines_of(tmp_path / "provenance/qa_cache.jsonl")]
    assert keys == ["01 00:00:00.000000", "01 23:59:59.999999"]


async def test_days_back_keep_the_time_of_day_where_the_clock_was_changed(
    postgres_url: str, tmp_path: Path
) -> None:
    # New York left summer time on 2026-11-01: 30 days before 10:00 (-05:00) is 10:00 (-04:00)
    execute(
        postgres_url,
        QA.format("timestamptz"),
        "INSERT INTO qa_cache VALUES ('in', 'q', 'a', NULL, '2026-10-22 10:00-04'),"
        " ('out', 'q', 'a', NULL, '2026-10-22 09:59:59-04')",
    )
    settings = {"SOPHIA_TIMEZONE": "America/New_York"}
    await collect(postgres_url, tmp_path, what=["qa_cache"], settings=settings)
    assert [each["key"] for each in lines_of(tmp_path / "provenance/qa_cache.jsonl")] == [
        {"qhash": "in"}
    ]


async def test_a_period_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOPHIA-D121"):
        await collect("postgresql://nobody@localhost/x", tmp_path, since="2027-01-01")


async def test_unusable_rows_are_listed_with_key_and_reason_and_never_their_text(
    filled: str, tmp_path: Path
) -> None:
    execute(filled, "INSERT INTO qa_cache VALUES ('timeless', 'SECRET', 'SECRET', NULL, NULL)")
    execute(filled, "INSERT INTO qa_cache VALUES ('blank', ' ', 'SECRET', NULL, '2026-11-20')")
    result = await collect(filled, tmp_path)
    by_name = {each.name: each for each in result.items}
    pairs = by_name["qa_cache"]
    assert set(pairs.rejected_by) == {"no_answer", "no_question", "no_time"}
    text = (tmp_path / "provenance/qa_cache.rejected.jsonl").read_text()
    assert "SECRET" not in text
    listed = lines_of(tmp_path / "provenance/qa_cache.rejected.jsonl")
    assert {"timeless", "blank"} <= {each["key"]["qhash"] for each in listed}
    assert all(each["reason"] and each["table"] == "public.qa_cache" for each in listed)
    assert {"dangling_question", "dangling_document", "unknown_signal", "no_document_text"} <= set(
        by_name["feedback_pairs"].rejected_by
    )
    assert by_name["conversations"].rejected_by == {
        "dangling_conversation": 1,
        "no_assistant": 1,
        "no_content": 1,
        "no_messages": 1,
        "unknown_sender": 1,
    }


async def test_a_dry_run_counts_the_same_and_writes_nothing(filled: str, tmp_path: Path) -> None:
    target = tmp_path / "new"
    counted = await collect(filled, target, dry_run=True)
    assert not target.exists()
    written = await collect(filled, target)
    figures = [(each.rows_read, each.exported, each.rejected_by) for each in counted.items]
    assert figures == [(each.rows_read, each.exported, each.rejected_by) for each in written.items]


async def test_the_same_source_gives_the_same_bytes(filled: str, tmp_path: Path) -> None:
    await collect(filled, tmp_path)
    first = snapshot(tmp_path)
    await collect(filled, tmp_path)
    assert snapshot(tmp_path) == first


async def test_only_data_files_lie_directly_in_the_folder(filled: str, tmp_path: Path) -> None:
    await collect(filled, tmp_path)
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {
        "qa_cache.jsonl",
        "feedback_pairs.jsonl",
        "conversations.jsonl",
    }
    manifest = json.loads((tmp_path / "provenance/qa_cache.manifest.json").read_bytes())
    digest = subprocess.run(
        ["sha256sum", tmp_path / "qa_cache.jsonl"], capture_output=True, text=True, check=True
    )
    assert manifest["sha256"] == digest.stdout.split()[0]
    assert manifest["rows_read"] == manifest["exported"] + manifest["rejected"]


async def test_keys_stand_in_the_order_of_the_documents(filled: str, tmp_path: Path) -> None:
    await collect(filled, tmp_path)
    pair = (tmp_path / "qa_cache.jsonl").read_bytes().split(b"\n")[0]
    assert list(json.loads(pair)) == ["question", "answer", "citations"]
    feedback = (tmp_path / "feedback_pairs.jsonl").read_bytes().split(b"\n")[0]
    assert list(json.loads(feedback)) == ["question", "answer", "metadata"]
    assert list(json.loads(feedback)["metadata"]) == ["doc_id", "signal"]


@pytest.mark.parametrize(
    ("kind", "positive", "negative", "unknown"),
    [
        ("boolean", "true", "false", "NULL"),
        ("numeric", "1.0", "-1", "NULL"),
        ("bigint", "1", "2", "NULL"),
        ("text", "' 1 '", "'-1'", "'joinha'"),
        ("double precision", "1", "0.5", "NULL"),
    ],
)
async def test_a_signal_is_positive_in_every_type(
    postgres_url: str, tmp_path: Path, kind: str, positive: str, negative: str, unknown: str
) -> None:
    execute(
        postgres_url,
        QA.format("timestamptz"),
        "CREATE TABLE docs (id int, content text)",
        f"CREATE TABLE feedback (query_hash text, doc_id int, signal {kind})",
        "INSERT INTO qa_cache VALUES ('h', 'q', 'a', NULL, now())",
        "INSERT INTO docs VALUES (1, 'content')",
        f"INSERT INTO feedback VALUES ('h', 1, {positive}), ('h', 1, {negative}),"
        f" ('h', 1, {unknown})",
    )
    result = await collect(postgres_url, tmp_path, what=["feedback_pairs"])
    assert result.items[0].exported == 1
    assert result.items[0].rejected_by == {"unknown_signal": 1}
    assert lines_of(tmp_path / "feedback_pairs.jsonl") == [
        {"question": "q", "answer": "content", "metadata": {"doc_id": 1, "signal": 1}}
    ]


async def test_conversations_are_filtered_by_channel_status_and_idleness(
    filled: str, tmp_path: Path
) -> None:
    async def count(**request: object) -> int:
        result = await collect(filled, tmp_path, what=["conversations"], **request)
        return result.items[0].exported

    assert await count() == 4
    assert await count(channels=["WhatsApp"]) == 2
    assert await count(closed_statuses=["resolved"], idle_hours=0) == 1
    assert await count(idle_hours=0) == 3
    assert await count(idle_hours=24 * 365) == 3
    assert await count(since="2026-11-19") == 0


async def test_a_lowest_rating_without_ratings_says_how_many_fit_otherwise(
    filled: str, tmp_path: Path
) -> None:
    result = await collect(filled, tmp_path, minimum_rating=4)
    assert [each.available for each in result.items] == [True, True, False]
    assert "4" in result.items[2].problem
    assert not (tmp_path / "conversations.jsonl").exists()
    with pytest.raises(DataError, match="SOPHIA-D113"):
        await collect(filled, tmp_path, what=["conversations"], minimum_rating=4)


async def test_an_export_without_its_tables_is_named_and_the_others_go_on(
    postgres_url: str, tmp_path: Path
) -> None:
    execute(postgres_url, QA.format("timestamptz"))
    result = await collect(postgres_url, tmp_path)
    assert [each.available for each in result.items] == [True, False, False]
    assert "docs" in result.items[1].problem
    with pytest.raises(DataError, match="SOPHIA-D111"):
        await collect(postgres_url, tmp_path, what=["feedback_pairs"])


async def test_a_source_without_any_usable_table_is_a_clear_error(
    postgres_url: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="SOPHIA-D115") as told:
        await collect(postgres_url, tmp_path / "new")
    assert "qa_cache" in told.value.why and "messages" in told.value.why
    assert "sophia source inspect" in told.value.remedy
    assert not (tmp_path / "new").exists()
    shown = await collect(postgres_url, tmp_path / "new", dry_run=True)
    assert [each.available for each in shown.items] == [False] * 3


async def test_times_without_zone_are_told_with_the_zone_assumed_and_the_rows_after_the_end(
    postgres_url: str, tmp_path: Path
) -> None:
    # a server whose clock writes UTC: 15:00 UTC is three hours ahead of 15:00 in São Paulo
    execute(
        postgres_url,
        QA.format("timestamp"),
        "INSERT INTO qa_cache SELECT i::text, 'q', 'a', NULL,"
        " '2026-11-21 15:00'::timestamp - make_interval(hours => i) FROM generate_series(1, 5) i",
        "CREATE TABLE conversations (id int, channel text, status text)",
        "CREATE TABLE messages"
        " (id int, conversation_id int, content text, sender_type text, created_at timestamp)",
        "INSERT INTO messages VALUES (1, 7, 'x', 'bot', '2026-11-21 14:00'),"
        " (2, 7, 'x', 'bot', '2026-11-21 14:01')",
    )
    result = await collect(postgres_url, tmp_path)
    pairs, _feedback, talks = result.items
    assert (pairs.exported, pairs.assumed_zone, pairs.rows_after) == (2, "America/Sao_Paulo", 3)
    assert (talks.assumed_zone, talks.rows_after) == ("America/Sao_Paulo", 1)
    assert len(result.notes) == 2
    assert "public.qa_cache.created_at" in result.notes[0] and "3 rows" in result.notes[0]
    assert all("SOPHIA_TIMEZONE" in note for note in result.notes)

    right = await collect(postgres_url, tmp_path, settings={"SOPHIA_TIMEZONE": "UTC"})
    assert (right.items[0].exported, right.items[0].rows_after) == (5, 0)
    assert "after" not in right.notes[0]


async def test_times_with_zone_need_no_note(filled: str, tmp_path: Path) -> None:
    result = await collect(filled, tmp_path, until="2026-11-10")
    assert result.notes == []
    assert [each.assumed_zone for each in result.items] == [None] * 3


@pytest.fixture
def database(postgres: EmbeddedServer) -> Iterator[Callable[[str, str], str]]:
    """Makes a database in another encoding; the address is in that encoding too, as by default."""
    made: list[str] = []

    def make(name: str, encoding: str) -> str:
        administer(
            postgres,
            f"CREATE DATABASE {{}} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
            name,
        )
        made.append(name)
        return postgres.url(name)

    yield make
    for name in made:
        administer(postgres, "DROP DATABASE {} WITH (FORCE)", name)


async def test_a_latin1_database_comes_out_as_utf8(
    database: Callable[[str, str], str], tmp_path: Path
) -> None:
    url = database("latin", "LATIN1")
    execute(
        url,
        "SET client_encoding = 'UTF8'",
        QA.format("timestamptz"),
        "INSERT INTO qa_cache VALUES ('é', 'Não?', E'Ação\\nsim', '[\"ç\"]', '2026-11-20')",
    )
    await collect(url, tmp_path, what=["qa_cache"])
    assert (tmp_path / "qa_cache.jsonl").read_text("utf-8") == (
        '{"question":"Não?","answer":"Ação\\nsim","citations":["ç"]}\n'
    )


async def test_rows_that_are_no_utf8_are_listed_and_the_others_exported(
    database: Callable[[str, str], str], tmp_path: Path
) -> None:
    url = database("no_encoding", "SQL_ASCII")
    execute(
        url,
        QA.format("timestamptz"),
        "INSERT INTO qa_cache SELECT i::text, 'q', 'Ação', NULL, '2026-11-20'"
        " FROM generate_series(1, 500) i",
        "UPDATE qa_cache SET answer = convert_from('\\x41e7ff'::bytea, 'SQL_ASCII')"
        " WHERE qhash IN ('7', '433')",
        "UPDATE qa_cache SET qhash = convert_from('\\xe7'::bytea, 'SQL_ASCII') WHERE qhash = '9'",
    )
    result = await collect(url, tmp_path, what=["qa_cache"])
    assert result.items[0].rejected_by == {"encoding": 3}
    assert {each["answer"] for each in lines_of(tmp_path / "qa_cache.jsonl")} == {"Ação"}


async def test_progress_is_told_and_a_stop_leaves_everything_as_it_was(
    postgres_url: str, tmp_path: Path
) -> None:
    execute(postgres_url, QA.format("timestamptz"))
    (tmp_path / "qa_cache.jsonl").write_text("old\n")
    before = snapshot(tmp_path)
    execute(
        postgres_url,
        "INSERT INTO qa_cache SELECT i::text, 'q', repeat('a', 5000), NULL, '2026-11-20'"
        " FROM generate_series(1, 20000) i",
    )
    cancel, told = CancelSignal(), list[int]()

    def progress(progress: Progress) -> None:
        told.append(progress.done)
        cancel.request()

    with pytest.raises(CancelledError, match="SOPHIA-U499"):
        await collect(postgres_url, tmp_path, cancel=cancel, progress=progress)
    assert told and told[0] > 0
    assert snapshot(tmp_path) == before


async def test_a_cancelled_task_leaves_everything_as_it_was(filled: str, tmp_path: Path) -> None:
    (tmp_path / "qa_cache.jsonl").write_text("old\n")
    before = snapshot(tmp_path)
    lock = psycopg.connect(filled)
    lock.execute("LOCK TABLE qa_cache")  # so that the export waits
    task = asyncio.create_task(collect(filled, tmp_path, what=["qa_cache"]))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    lock.close()
    assert snapshot(tmp_path) == before


CHILD = """
import asyncio, resource, sys
from pathlib import Path
from typing import Any
from sophia_tui.errors import SophiaError
from tests.integration.collect_support import collect
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    asyncio.run(collect(sys.argv[1], Path(sys.argv[2])))
except SophiaError as problem:
    print(problem.code)
    sys.exit(7)
"""


def child(url: str, folder: Path, limit: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), url, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_leaves_the_old_files_and_one_clear_error(filled: str, tmp_path: Path) -> None:
    asyncio.run(collect(filled, tmp_path))
    before = snapshot(tmp_path)
    execute(filled, "UPDATE qa_cache SET question = 'changed'")
    process = child(filled, tmp_path, 3_000_000)
    out, _none = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (7, "SOPHIA-S101")
    assert snapshot(tmp_path) == before


def test_a_full_disk_leaves_nothing_of_a_first_collect(filled: str, tmp_path: Path) -> None:
    process = child(filled, tmp_path / "new/finetune", 3_000_000)
    out, _none = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (7, "SOPHIA-S101")
    assert list(tmp_path.rglob("*")) == []


def test_a_kill_in_the_middle_leaves_the_old_files(filled: str, tmp_path: Path) -> None:
    asyncio.run(collect(filled, tmp_path))
    before = snapshot(tmp_path)
    execute(filled, "UPDATE qa_cache SET question = 'changed'")
    with psycopg.connect(filled) as lock:
        lock.execute("LOCK TABLE messages")  # the third export waits; two are written by then
        process = child(filled, tmp_path, 0)
        while not list(tmp_path.glob(".feedback_pairs.jsonl.*.tmp")):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    after = snapshot(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(name.rpartition("/")[2].startswith(".") for name in set(after) - set(before))
    # what the killed one left behind is no data, and the next collect is whole and clears it away
    asyncio.run(collect(filled, tmp_path))
    assert set(snapshot(tmp_path)) == set(before)
    assert lines_of(tmp_path / "qa_cache.jsonl")[0]["question"] == "changed"


async def test_two_collects_into_one_folder_take_no_turns_at_random(
    filled: str, tmp_path: Path
) -> None:
    lock = psycopg.connect(filled)
    lock.execute("LOCK TABLE qa_cache")
    first = asyncio.create_task(collect(filled, tmp_path))
    while not (tmp_path / "provenance/.lock").exists():
        await asyncio.sleep(0.01)
    with pytest.raises(ConflictError, match="SOPHIA-D112"):
        await collect(filled, tmp_path)
    lock.close()
    assert (await first).written
    assert not (tmp_path / "provenance/.lock").exists()


async def test_a_folder_that_can_not_be_written_is_one_clear_error(filled: str) -> None:
    with pytest.raises(SetupError, match="SOPHIA-S101"):  # there not even root may write
        await collect(filled, Path("/proc/sophia"))


async def test_a_folder_that_is_a_file_is_one_clear_error(filled: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="SOPHIA-S101"):
        await collect(filled, tmp_path / "file")


async def test_two_million_characters_of_text_stay_as_stored(
    postgres_url: str, tmp_path: Path
) -> None:
    text = 'a\\u0000"\n\t\u202e\x1b👍' * 250_000
    execute(postgres_url, QA.format("timestamptz"))
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO qa_cache VALUES (%s, %s, %s, NULL, '2026-11-20')", [text[:9], text, text]
        )
    await collect(postgres_url, tmp_path, what=["qa_cache"])
    assert lines_of(tmp_path / "qa_cache.jsonl") == [
        {"question": text, "answer": text, "citations": None}
    ]


async def test_all_exports_see_one_state_of_the_database(filled: str, tmp_path: Path) -> None:
    def progress(progress: Progress) -> None:
        if progress.stage == "qa_cache":
            execute(filled, "DELETE FROM messages", "DELETE FROM feedback")

    result = await collect(filled, tmp_path, progress=progress)
    assert all(each.exported for each in result.items)


async def test_a_killed_writer_is_one_clear_error_and_leaves_everything_as_it_was(
    filled: str, tmp_path: Path
) -> None:
    (tmp_path / "qa_cache.jsonl").write_text("old\n")
    before = snapshot(tmp_path)
    with psycopg.connect(filled) as lock:
        lock.execute("LOCK TABLE messages")  # the reader waits; the writer has begun
        task = asyncio.create_task(collect(filled, tmp_path))
        while not list(tmp_path.glob(".conversations.jsonl.*.tmp")):
            await asyncio.sleep(0.01)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
        (writer,) = (pid for pid, words in commands.items() if b"export_writer" in words)
        os.kill(int(writer), signal.SIGKILL)
    with pytest.raises(DataError, match="SOPHIA-D114"):
        await task
    assert snapshot(tmp_path) == before


async def test_the_writer_gets_no_secret_and_no_text_in_its_command(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "top-secret")
    started: list[tuple[tuple[str, ...], dict[str, str]]] = []
    real = asyncio.create_subprocess_exec

    async def watched(*words: str, **options: Any) -> asyncio.subprocess.Process:
        started.append((words, options["env"]))
        return await real(*words, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    await collect(filled, tmp_path)
    assert len(started) == 1
    assert "top-secret" not in str(started) and "postgresql" not in str(started)
