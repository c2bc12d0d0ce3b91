"""Audit entries that wait for the store: none is lost, none stops the house."""

from datetime import UTC, datetime
from pathlib import Path

from sophia_tui.audit_spool import AuditSpool
from sophia_tui.domain.models import AuditEntry
from sophia_tui.errors import UnavailableError


def entry(name: str) -> AuditEntry:
    return AuditEntry(
        at=datetime(2026, 11, 21, tzinfo=UTC),
        actor="ana",
        face="cli",
        role="admin",
        operation=name,
        target=None,
        request={"text": "é\n"},
        outcome="done",
    )


async def drained(spool: AuditSpool) -> list[AuditEntry]:
    found: list[AuditEntry] = []

    async def bring(each: AuditEntry) -> None:
        found.append(each)

    await spool.drain(bring)
    return found


async def test_entries_come_out_as_they_went_in(tmp_path: Path) -> None:
    spool = AuditSpool(tmp_path / "data" / "spool.jsonl")
    spool.add(entry("one"))
    spool.add(entry("two"))
    assert await drained(spool) == [entry("one"), entry("two")]
    assert await drained(spool) == []
    assert list((tmp_path / "data").iterdir()) == []


async def test_an_empty_spool_is_no_problem(tmp_path: Path) -> None:
    assert await drained(AuditSpool(tmp_path / "spool.jsonl")) == []


async def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    spool = AuditSpool(path)
    spool.add(entry("one"))
    path.write_bytes(path.read_bytes() + b'{"at": "2026')
    spool.add(entry("two"))
    assert await drained(spool) == [entry("one"), entry("two")]


async def test_what_the_store_does_not_take_stays(tmp_path: Path) -> None:
    spool = AuditSpool(tmp_path / "spool.jsonl")
    spool.add(entry("one"))

    async def refuse(each: AuditEntry) -> None:
        raise UnavailableError("S001", "away")

    await spool.drain(refuse)
    spool.add(entry("two"))
    assert {each.operation for each in await drained(spool)} == {"one", "two"}


async def test_what_is_added_while_draining_stays_for_the_next_time(tmp_path: Path) -> None:
    spool = AuditSpool(tmp_path / "spool.jsonl")
    spool.add(entry("one"))

    async def bring(each: AuditEntry) -> None:
        spool.add(entry("meanwhile"))

    await spool.drain(bring)
    assert [each.operation for each in await drained(spool)] == ["meanwhile"]
