"""/metrics, read as Prometheus reads it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from sophia_tui.api import exposition
from sophia_tui.api.exposition import Family, Sample
from sophia_tui.domain.protocols import Store
from sophia_tui.wiring import House
from tests import seeded
from tests.api.throwaway import TOKEN, VIEWER_TOKEN, AwayStore, client, make_house


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """Values by their labels' values, of the samples of exactly that name."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
async def town(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """A house of throw-away operations on the seeded store."""
    await seeded.fill(store, tmp_path)
    house = make_house(monkeypatch, tmp_path)

    async def opened() -> Store:
        return store

    monkeypatch.setattr(house, "store", opened)
    yield house


async def scraped(http: httpx.AsyncClient) -> dict[str, Metric]:
    found = await http.get("/metrics")
    assert found.status_code == 200
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {each.name: each for each in parsed(found.text)}


async def test_it_tells_of_jobs_queue_models_and_store(town: House) -> None:
    async with client(town, VIEWER_TOKEN) as http:
        found = await scraped(http)
    jobs = values(found, "sophia_jobs")
    assert jobs["running",] == 1 and jobs["queued",] == 1 and jobs["validating",] == 0
    assert values(found, "sophia_queue_length")[()] == 1
    assert values(found, "sophia_queue_oldest_seconds")[()] >= 0
    assert values(found, "sophia_store_up")[()] == 1
    assert 0 < values(found, "sophia_store_ping_seconds")[()] < 60
    assert values(found, "sophia_job_step")[seeded.RUNNING, "train"] > 0
    assert values(found, "sophia_job_loss")[seeded.RUNNING, "train"] > 0
    assert values(found, "sophia_dataset_versions")[()] == 2
    assert sum(values(found, "sophia_promotions").values()) == 3
    assert values(found, "sophia_served_model_ready") == {(seeded.NEWEST_MODEL, "transformers"): 1}
    for name in ("sophia_disk_free_bytes", "sophia_memory_available_bytes"):
        assert values(found, name)[()] > 0
    assert values(found, "process_resident_memory_bytes")[()] > 1_000_000


async def test_requests_are_counted_by_route_and_status_with_their_time(town: House) -> None:
    async with client(town) as http:
        for _n in range(3):
            await http.get("/api/v1/greeting/say?name=PRIVATE")
        await http.get("/api/v1/greeting/say")
        for n in range(50):
            await http.get(f"/no/such/{n}")
        await http.get("/v1/models/somebody@example.com")
        found = await scraped(http)
        text = (await http.get("/metrics")).text
    counted = values(found, "sophia_api_requests_total")
    assert counted["GET", "/api/v1/greeting/say", "200"] == 3
    assert counted["GET", "/api/v1/greeting/say", "422"] == 1
    assert counted["GET", "none", "404"] == 50
    assert counted["GET", "/v1/models/{name:path}", "404"] == 1
    buckets = {
        sample.labels["le"]: sample.value
        for sample in found["sophia_api_request_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["route"] == "/api/v1/greeting/say"
    }
    assert buckets["+Inf"] == 4
    assert list(buckets.values()) == sorted(buckets.values())
    assert "PRIVATE" not in text and "example.com" not in text


async def test_a_request_without_the_token_gets_nothing_and_is_counted(town: House) -> None:
    async with client(town, None) as http:
        assert (await http.get("/metrics")).status_code == 401
        found = await scraped(
            httpx.AsyncClient(
                transport=http._transport,
                base_url="http://sophia.test",
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
        )
    assert values(found, "sophia_api_requests_total")["GET", "none", "401"] == 1


async def test_open_metrics_is_for_who_accepts_it(town: House) -> None:
    async with client(town, accept="application/openmetrics-text; version=1.0.0") as http:
        await http.get("/api/v1/greeting/say?name=x")
        found = await http.get("/metrics")
    assert found.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {each.name: each.type for each in open_metrics(found.text)}
    assert names["sophia_api_requests"] == "counter"
    assert names["sophia_build"] == "info"
    assert names["sophia_api_request_seconds"] == "histogram"


async def test_while_the_store_is_away_the_rest_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "store", AwayStore())
    async with client(house) as http:
        found = await scraped(http)
    assert values(found, "sophia_store_up")[()] == 0
    assert values(found, "sophia_disk_free_bytes")[()] > 0
    assert "sophia_jobs" not in found


async def test_many_who_ask_ask_the_store_once(
    town: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await town.store()
    asked = []
    real = store.gauges

    async def counted() -> object:
        asked.append(1)
        return await real()

    monkeypatch.setattr(store, "gauges", counted)
    async with client(town) as http:
        for _n in range(20):
            await scraped(http)
    assert len(asked) == 1


def test_hostile_labels_are_kept_apart() -> None:
    nasty = 'a"} 1\nforged{x="\\'
    text = exposition.render([Family("x", "gauge", "A\\n\nhelp", [Sample(1.5, {"name": nasty})])])
    [family] = parsed(text)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"name": nasty}, 1.5)]


def test_a_word_of_a_provider_is_no_label_of_its_own() -> None:
    from sophia_tui.api.metrics import _by_state

    found = _by_state({"running": 2, "cooking the data": 3}, ["running", "queued"])
    assert {each.labels["state"]: each.value for each in found} == {
        "running": 2,
        "queued": 0,
        "other": 3,
    }


async def test_the_sample_configuration_is_right_and_its_alerts_name_figures_that_exist(
    town: House,
) -> None:
    folder = Path(__file__).parents[2] / "installer" / "monitoring"
    [scrape] = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["metrics_path"] == "/metrics"
    assert scrape["authorization"]["type"] == "Bearer"
    async with client(town) as http:
        found = await scraped(http)
    names = {sample.name for family in found.values() for sample in family.samples}
    [group] = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        wanted = set(re.findall(r"sophia_\w+", rule["expr"]))
        assert wanted and wanted <= names | {"sophia_api_requests_total"}, rule["alert"]
