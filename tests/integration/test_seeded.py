"""The seeded store that other tests build on: every state, every kind, and the same each time."""

from pathlib import Path

import psycopg

from sophia_tui.datasets.version import check_version
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.protocols import Store
from tests import seeded


async def test_it_has_jobs_in_every_state_that_lasts_and_models_of_every_kind(
    store: Store, tmp_path: Path
) -> None:
    made = await seeded.fill(store, tmp_path / "seed")
    states = set(await store.jobs.counts())
    passing = {JobState.VALIDATING.value, JobState.PAUSING.value}
    assert states == {state.value for state in JobState} - passing | {"validating_files"}
    models = await store.models.page()
    assert {each.kind for each in models} == set(ModelKind)
    for version in (made.dataset, made.older_dataset):
        check_version(Path(version.folder), version.hash)


async def test_its_source_can_be_read_as_an_owners(store_url: str) -> None:
    seeded.fill_source(store_url)
    with psycopg.connect(store_url) as connection:
        found = connection.execute("SELECT count(*) FROM public.feedback WHERE signal = 1")
        assert found.fetchone() == (32,)
