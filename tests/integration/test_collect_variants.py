"""Exports of a source in every shape met in the field equal a slow, obvious reference."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import xxhash
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sophia_tui.store import embedded_program
from sophia_tui.store.embedded import EmbeddedServer
from tests.integration import collect_support as support
from tests.integration.collect_support import VARIANTS, Variant, collect, lines_of


def dump(url: str) -> bytes:
    """The whole database as SQL, by the server's own pg_dump."""
    program = embedded_program.packaged().path("pg_dump")
    command = [program, "--restrict-key=test", "--inserts", "-d", url]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.name)
def source(
    request: pytest.FixtureRequest, postgres: EmbeddedServer, postgres_url: str
) -> Iterator[tuple[str, str, Variant]]:
    """The address that Sophia gets, the administrator's, and the variant."""
    variant: Variant = request.param
    url = postgres_url
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as administrator:
        if variant.role:
            role = support.role_of(url, variant)
            administrator.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(sql.Identifier(role))
            )
        support.fill(url, variant)
        if not variant.role:
            yield url, url, variant
            return
        yield (
            make_conninfo(**{**conninfo_to_dict(url), "user": role, "password": "secret"}),
            url,
            variant,
        )
        with psycopg.connect(url, autocommit=True) as inside:
            inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        administrator.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_exports_equal_the_reference_and_leave_the_source_as_it_was(
    source: tuple[str, str, Variant], tmp_path: Path
) -> None:
    url, administrator, variant = source
    before = dump(administrator)
    result = await collect(url, tmp_path)
    assert dump(administrator) == before
    assert all(each.available for each in result.items)
    pairs, feedback, talks = (lines_of(tmp_path / f"{each.name}.jsonl") for each in result.items)
    assert pairs == support.reference_pairs(administrator, variant)
    assert len(pairs) > 20
    assert feedback == _ordered(
        support.reference_feedback(administrator, variant), feedback, variant
    )
    assert len(feedback) > 10
    _check_talks(talks)
    for each in result.items:
        assert each.rows_read == each.exported + each.rejected
        _check_provenance(tmp_path, each.name, each.exported, each.rejected)


def _ordered(expected: list[object], found: list[object], variant: Variant) -> list[object]:
    """Without a right to feedback.id, and by days, the order among equal times is another."""
    if variant.role == "columns" or variant.time == "date":
        assert sorted(map(json.dumps, expected)) == sorted(map(json.dumps, found))
        return found
    return expected


def _check_talks(talks: list[object]) -> None:
    """Those of TALKS that are complete and whole, in the order in which they ended."""
    roles = {"customer": "user", "cliente": "user"}
    wanted = [support.TALKS[place] for place in (0, 1, 2, 8)]
    expected = [
        {
            "messages": [
                {"role": roles.get(sender.lower(), "assistant"), "content": content}
                for sender, content in messages
            ]
        }
        for _channel, _status, messages in wanted
    ]
    assert talks == expected


def _check_provenance(folder: Path, name: str, exported: int, rejected: int) -> None:
    lines = (folder / f"{name}.jsonl").read_bytes().split(b"\n")[:-1]
    entries = lines_of(folder / "provenance" / f"{name}.jsonl")
    assert [each["line"] for each in entries] == list(range(1, exported + 1))
    assert [each["hash"] for each in entries] == [xxhash.xxh3_128_hexdigest(line) for line in lines]
    assert len(lines_of(folder / "provenance" / f"{name}.rejected.jsonl")) == rejected
