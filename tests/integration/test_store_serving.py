"""Evaluations, deployments and the figures of served requests, on a real Postgres."""

from datetime import UTC, datetime, timedelta

import pytest

from sophia_tui.domain.jobs import RunIdentity
from sophia_tui.domain.models import Evaluation, Model, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState, ServedRequest
from sophia_tui.errors import ConflictError, NotFoundError

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


async def with_model(store: Store, model_id: str = "sophia-v1") -> None:
    await store.models.add(Model(model_id, ModelKind.ADAPTER, "base", AT))


def deployment(number: int, state: DeploymentState = DeploymentState.STARTING) -> Deployment:
    return Deployment(
        id=f"deploy-{number}",
        model_id="sophia-v1",
        name="sophia-v1",
        engine="transformers",
        state=state,
        created_by="maria",
        created_at=AT + timedelta(seconds=number),
    )


async def test_a_merged_model_names_the_adapter_it_was_made_of(store: Store) -> None:
    await with_model(store)
    merged = Model("sophia-v1-merged", ModelKind.MERGED, "base", AT, parent="sophia-v1")
    await store.models.add(merged)
    assert await store.models.get("sophia-v1-merged") == merged


async def test_every_evaluation_of_a_model_is_kept_newest_first(store: Store) -> None:
    await with_model(store)
    first = Evaluation("ftjob-1", "sophia-v1", "demo@abc", {"loss": 2.0}, AT)
    second = Evaluation("ftjob-2", "sophia-v1", "demo@abc", {"loss": 1.0}, AT + timedelta(hours=1))
    await store.evaluations.add(first)
    await store.evaluations.add(second)
    assert await store.evaluations.page("sophia-v1") == [second, first]
    assert await store.evaluations.page("another") == []
    assert await store.evaluations.get("ftjob-1") == first


async def test_a_name_is_served_once_at_a_time_and_again_after_its_end(store: Store) -> None:
    await with_model(store)
    await store.deployments.add(deployment(1))
    with pytest.raises(ConflictError) as refused:
        await store.deployments.add(deployment(2))
    assert refused.value.code == "SOPHIA-M420"
    await store.deployments.update("deploy-1", state=DeploymentState.STOPPED, stopped_at=AT)
    await store.deployments.add(deployment(2))
    found = await store.deployments.get("sophia-v1")
    assert found is not None
    assert found.id == "deploy-2"
    assert [each.id for each in await store.deployments.page(living=True)] == ["deploy-2"]


async def test_a_deployment_comes_out_as_it_went_in(store: Store) -> None:
    await with_model(store)
    identity = RunIdentity("here", "boot", 42, 4711)
    await store.deployments.add(deployment(1))
    changed = await store.deployments.update(
        "deploy-1", state=DeploymentState.READY, identity=identity, port=18001, ready_at=AT
    )
    assert await store.deployments.get("deploy-1") == changed
    assert (changed.identity, changed.port, changed.version) == (identity, 18001, 2)
    with pytest.raises(NotFoundError):
        await store.deployments.update("deploy-9", port=1)


async def test_requests_are_counted_by_bucket_and_model(store: Store) -> None:
    await with_model(store)
    await store.traffic.add(
        [
            ServedRequest(AT, "sophia-v1", 200, 1.0, None, True, 0.2, 10, 20),
            ServedRequest(
                AT + timedelta(seconds=30), "sophia-v1", 200, 3.0, None, False, None, 5, 6
            ),
            ServedRequest(AT + timedelta(seconds=59), "sophia-v1", 500, 9.0, error="engine"),
            ServedRequest(AT + timedelta(seconds=60), "", 404, 0.001),
        ]
    )
    found = await store.traffic.summary(AT, AT + timedelta(hours=1), 60)
    assert [(each.start, each.model, each.requests, each.errors) for each in found] == [
        (AT, "sophia-v1", 3, 1),
        (AT + timedelta(seconds=60), "", 1, 1),
    ]
    assert (found[0].prompt_tokens, found[0].completion_tokens) == (15, 26)
    assert (found[0].seconds_mean, found[0].seconds_p50) == (2.0, 2.0)
    assert found[0].first_token_seconds_p50 == 0.2
    totals = await store.traffic.totals(AT, AT + timedelta(hours=1), "sophia-v1")
    assert [each.requests for each in totals] == [3]
    # the end of a period does not belong to it
    assert await store.traffic.totals(AT - timedelta(hours=1), AT) == []
