"""Lists in Postgres: a text that rows must show, an order, pages, and how many there are."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.lists import Wanted
from sophia_tui.domain.models import AuditEntry
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import InternalError
from sophia_tui.i18n import set_language
from sophia_tui.services.catalogue import registry
from sophia_tui.services.lists import ListPage, words_with
from sophia_tui.store import lists
from sophia_tui.store.sql import queries
from tests import seeded
from tests.integration.test_store_schema import planner

__all__ = ["planner"]

TABLES = (
    lists.JOBS,
    lists.DATASETS,
    lists.MODELS,
    lists.AUDIT,
    lists.SCHEDULES,
    lists.DEPLOYMENTS,
)
LISTED = [each for each in registry() if issubclass(each.input, ListPage)]


def _names(found: Any, column: str = "id") -> list[str]:
    return [getattr(each, column) for each in found.items]


@pytest.fixture
async def full(store: Store, tmp_path: Path) -> Store:
    await seeded.fill(store, tmp_path)
    return store


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.query)
def test_every_column_can_be_sorted_by_and_looked_through(
    planner: psycopg.Connection, table: lists.Table
) -> None:
    text = queries()[table.query].decode()
    given = {each.split(")s")[0]: None for each in text.split("%(")[1:]}
    for sort in ("", *table.columns, *(f"-{each}" for each in table.columns)):
        wanted = Wanted("a", ("done",), sort)
        parameters = {**given, "match": "a", "words": ["done"], "limit": 3, "offset": 0}
        with planner.transaction(force_rollback=True):
            statement = lists.page_query(table, wanted).decode()
            assert planner.execute(f"EXPLAIN {statement}", parameters).fetchall()
            counted = lists.count_query(table, True).decode()
            assert planner.execute(f"EXPLAIN {counted}", parameters).fetchall()


@pytest.mark.parametrize(
    ("operation", "table"),
    [
        ("jobs.list", lists.JOBS),
        ("datasets.list", lists.DATASETS),
        ("models.list", lists.MODELS),
        ("audit.list", lists.AUDIT),
        ("schedules.list", lists.SCHEDULES),
        ("serve.list", lists.DEPLOYMENTS),
    ],
)
def test_an_operation_offers_the_columns_that_its_table_knows(
    operation: str, table: lists.Table
) -> None:
    offered = registry().get(operation).input.sorts  # type: ignore[attr-defined]
    assert sorted(offered) == sorted(table.columns)


@pytest.mark.parametrize("operation", LISTED, ids=lambda each: each.name)
def test_a_column_that_is_not_known_is_named_with_those_that_are(operation: Any) -> None:
    with pytest.raises(ValueError, match=r"one of .*") as refused:
        operation.input.model_validate({"sort": "colour"})
    problem = refused.value.errors()[0]  # type: ignore[attr-defined]
    assert problem["ctx"]["columns"].split(", ") == list(operation.input.sorts)


async def test_a_text_is_found_in_any_case_and_counted(full: Store) -> None:
    found = await full.jobs.listed(Wanted("TOWN@", limit=2))
    everything = await full.jobs.listed(Wanted())
    assert (len(found.items), found.unfiltered) == (2, everything.total)
    assert found.total == sum("town@" in str(each.dataset) for each in everything)
    assert everything.total == everything.unfiltered == len(everything.items)


async def test_signs_of_patterns_are_looked_for_as_they_stand(full: Store) -> None:
    for sign in ("%", "_", "\\", "'", "$1", "%(match)s"):
        found = await full.audit.listed(Wanted(sign))
        assert (found.items, found.total) == ([], 0)
    entry = _entry(target=r"100%_\é")
    await full.audit.add(entry)
    for text in ("100%", "%_", r"_\É"):
        assert _names(await full.audit.listed(Wanted(text)), "target") == [entry.target]


async def test_what_is_hostile_is_a_text_like_any_other(full: Store) -> None:
    for text in ("\0", "'; DROP TABLE sophia.jobs; --", "\udc80", "a\nb"):
        assert (await full.jobs.listed(Wanted(text))).total == 0
    assert (await full.jobs.listed(Wanted())).total


async def test_pages_of_equal_values_neither_repeat_nor_leave_out(full: Store) -> None:
    everything = {each.id for each in await full.jobs.listed(Wanted())}
    for sort in ("", "kind", "-kind", "loss", "-loss", "created_at", "-created_at"):
        seen: list[str] = []
        for offset in range(0, len(everything), 3):
            page = await full.jobs.listed(Wanted(sort=sort, limit=3, offset=offset))
            assert page.total == len(everything)
            seen += _names(page)
        assert len(seen) == len(set(seen)) == len(everything), sort


async def test_rows_without_a_value_come_last_in_both_directions(full: Store) -> None:
    for sort in ("loss", "-loss"):
        losses = [each.loss for each in await full.jobs.listed(Wanted(sort=sort))]
        some = [each for each in losses if each is not None]
        assert some == sorted(some, reverse=sort == "-loss")
        assert losses == some + [None] * (len(losses) - len(some))


async def test_a_page_behind_the_last_row_still_tells_how_many_there_are(full: Store) -> None:
    found = await full.jobs.listed(Wanted(offset=10_000))
    assert found.items == []
    assert found.total == (await full.jobs.listed(Wanted())).total


async def test_a_state_is_found_by_its_word_in_the_language_of_the_person(full: Store) -> None:
    set_language("pt_BR")
    wanted = Wanted("falhou", words_with("falhou"))
    set_language("en")
    assert "failed" in wanted.words
    assert _names(await full.jobs.listed(wanted)) == [seeded.FAILED]
    assert words_with("") == ()


async def test_the_store_sorts_by_no_column_of_a_strangers(full: Store) -> None:
    with pytest.raises(InternalError):
        await full.jobs.listed(Wanted(sort="id; DROP TABLE sophia.jobs"))


async def test_models_that_ended_by_date_are_found_by_what_they_are_now(full: Store) -> None:
    from sophia_tui.domain.models import Decision, ModelFilter, ModelState

    model = await full.models.get(seeded.NEWEST_MODEL)
    assert model is not None
    until = seeded.NOW + timedelta(days=1)
    decision = Decision(ModelState.CONDITIONAL, "r", seeded.PERSON, seeded.NOW, ("c",), until)
    await full.models.decide(model.id, model.version, decision)
    later = until + timedelta(days=1)
    found = await full.models.known(ModelFilter(), later, Wanted("expired", ("expired",)))
    assert _names(found) == [seeded.NEWEST_MODEL]
    assert (await full.models.known(ModelFilter(), seeded.NOW, Wanted("expired"))).items == []


def _entry(**changes: Any) -> AuditEntry:
    given: dict[str, Any] = {
        "at": seeded.NOW,
        "actor": "ana",
        "face": "cli",
        "role": "admin",
        "operation": "jobs.cancel",
        "target": "x",
        "request": {},
        "outcome": "done",
    }
    return AuditEntry(**{**given, **changes})
