"""What is kept beside models, on a real Postgres: remarks, checks, golden answers, lists."""

from datetime import UTC, datetime, timedelta

import pytest

from sophia_tui.domain.models import (
    CheckKind,
    GoldenAnswers,
    Model,
    ModelCheck,
    ModelKind,
    ModelState,
    RemarkKind,
)
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, NotFoundError

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


async def with_model(store: Store, model_id: str = "sophia-v1") -> None:
    await store.models.add(Model(model_id, ModelKind.ADAPTER, "base", AT))


async def test_remarks_are_kept_newest_first(store: Store) -> None:
    await with_model(store)
    note = await store.remarks.add("sophia-v1", "ana", RemarkKind.NOTE, "answers \x00 too long")
    state = await store.remarks.add(
        "sophia-v1", "bia", RemarkKind.STATE, "good", {"state": ModelState.APPROVED}
    )
    assert note.text == "answers \ufffd too long"
    assert state.detail == {"state": "approved"}
    assert await store.remarks.page("sophia-v1") == [state, note]
    assert await store.remarks.page("sophia-v1", limit=1, offset=1) == [note]
    assert await store.remarks.page("another") == []


async def test_remarks_and_checks_are_of_models_that_there_are(store: Store) -> None:
    with pytest.raises(NotFoundError) as refused:
        await store.remarks.add("none", "ana", RemarkKind.NOTE, "x")
    assert refused.value.code == "SOPHIA-M404"
    with pytest.raises(NotFoundError):
        await store.checks.add(ModelCheck("c", "none", CheckKind.GATE, True, {}, AT))


async def test_the_newest_check_of_a_kind_is_found(store: Store) -> None:
    await with_model(store)
    reasons = {"reasons": [{"code": "M560", "what": "differs"}]}
    old = ModelCheck("c1", "sophia-v1", CheckKind.PARITY, False, reasons, AT, "ana")
    new = ModelCheck("c2", "sophia-v1", CheckKind.PARITY, True, {}, AT + timedelta(minutes=1))
    gate = ModelCheck("c3", "sophia-v1", CheckKind.GATE, True, {}, AT + timedelta(minutes=2))
    for each in (new, old, gate):
        await store.checks.add(each)
    assert await store.checks.newest("sophia-v1", CheckKind.PARITY) == new
    assert await store.checks.newest("another", CheckKind.PARITY) is None
    assert await store.checks.page("sophia-v1", CheckKind.PARITY) == [new, old]
    assert await store.checks.page("sophia-v1", limit=2) == [gate, new]
    assert await store.checks.get("c1") == old


async def test_golden_answers_come_out_as_they_went_in(store: Store) -> None:
    first = GoldenAnswers("g1", "gpt-4o-mini", ({"prompt": "a", "answer": "b"},), AT, "ana")
    second = GoldenAnswers("g2", "gpt-4o-mini", (), AT + timedelta(hours=1))
    other = GoldenAnswers("g3", "sophia-v1", (), AT)
    for each in (first, second, other):
        await store.golden.add(each)
    assert await store.golden.get("g1") == first
    assert await store.golden.newest("gpt-4o-mini") == second
    assert await store.golden.page("gpt-4o-mini") == [second, first]
    assert await store.golden.page() == [second, first, other]
    assert await store.golden.get("none") is None


async def test_a_providers_list_is_the_newest_one(store: Store) -> None:
    await store.provider_models.put("https://b", AT, [{"id": "m1"}, {"id": "m2"}])
    later = AT + timedelta(days=1)
    put = await store.provider_models.put("https://b", later, [{"id": "m2"}])
    assert (put.seen_at, put.models) == (later, ({"id": "m2"},))
    first = await store.provider_models.put("https://a", AT, [])
    assert await store.provider_models.get("https://b") == put
    assert await store.provider_models.get("https://c") is None
    assert await store.provider_models.page() == [first, put]


async def test_who_decides_on_an_old_version_is_told_so(store: Store) -> None:
    await with_model(store)
    changed = await store.models.update("sophia-v1", version=1, state=ModelState.APPROVED)
    assert (changed.state, changed.version) == (ModelState.APPROVED, 2)
    with pytest.raises(ConflictError) as refused:
        await store.models.update("sophia-v1", version=1, state=ModelState.REJECTED)
    assert refused.value.code == "SOPHIA-M500"
    with pytest.raises(NotFoundError):
        await store.models.update("none", version=1, state=ModelState.REJECTED)
