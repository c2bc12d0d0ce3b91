"""The calendar of models: what env files name, whose date counts, and what providers list."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.errors import UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.providers.model_list import list_models
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.calendar_looks import endings, way_out
from sophia_tui.services.calendar_notices import announce_endings
from sophia_tui.services.calendar_views import CalendarEntry, CalendarView
from sophia_tui.services.checks.calendar import calendar_check, calendar_found
from sophia_tui.services.checks.running import run_checks
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.notification_text import message_of
from sophia_tui.services.prices import load_prices
from sophia_tui.settings import load
from sophia_tui.worker.model_watch import ModelWatch
from tests.hosted.models_server import KEY, ModelsServer

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@dataclass
class Clock:
    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def provider() -> Iterator[ModelsServer]:
    with ModelsServer() as running:
        running.models = {"gpt-4o": "2027-02-01", "gpt-4o-mini": None}
        yield running


@dataclass
class Desk:
    """A store, a managed env file and a clock, and the calendar on them."""

    store: Store
    folder: Path
    url: str
    clock: Clock = field(default_factory=Clock)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "rag.env"

    def write(self, **values: str) -> None:
        self.file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def service(self, **more: str) -> CalendarService:
        self.environment = {
            "SOPHIA_STORE_URL": "postgresql://nowhere",
            "SOPHIA_MANAGED_ENV_FILES": str(self.file),
            "SOPHIA_CALENDAR_SECONDS": "5",
            **more,
        }
        settings = load(self.environment)
        paths = Paths(self.folder)

        async def opened() -> Store:
            return self.store

        return CalendarService(
            opened,
            settings,
            self.clock,
            lambda: load_prices(settings, paths),
            ManagedEnv(),
            list_models,
        )

    async def look(self, refresh: bool = True, **more: str) -> CalendarView:
        return await self.service(**more).look(refresh=refresh)

    async def one(self, refresh: bool = True, **more: str) -> CalendarEntry:
        [found] = (await self.look(refresh, **more)).items
        return found


@pytest.fixture
def desk(store: Store, tmp_path: Path, provider: ModelsServer) -> Desk:
    made = Desk(store, tmp_path, provider.url)
    made.write(GEN_MODEL="gpt-4o", OPENAI_BASE_URL=provider.url, OPENAI_API_KEY=KEY)
    return made


async def test_the_providers_own_date_goes_before_the_one_that_sophia_came_with(
    desk: Desk,
) -> None:
    found = await desk.one()
    assert (str(found.ends), found.source, found.days_left) == ("2027-02-01", "provider", 67)
    assert (found.severity, found.threshold, found.listed) == ("warning", 90, True)
    assert "2027-01-14" in found.why and found.provider_key == "***"
    assert found.command == "sophia models succeed gpt-4o"


async def test_an_operators_date_goes_before_all_others_and_says_so(desk: Desk) -> None:
    prices = desk.folder / "own.yaml"
    prices.write_text("shutdown:\n  gpt-4o: {at: 2026-12-01, source: our contract}\n")
    found = await desk.one(SOPHIA_PRICES_FILE=str(prices))
    assert (str(found.ends), found.source, found.severity) == ("2026-12-01", "operator", "urgent")
    assert "2027-02-01" in found.why


async def test_a_date_that_an_operator_took_away_leaves_the_providers(desk: Desk) -> None:
    prices = desk.folder / "own.yaml"
    prices.write_text("shutdown:\n  gpt-4o: null\n")
    assert (await desk.one(SOPHIA_PRICES_FILE=str(prices))).source == "provider"


async def test_openais_dates_warn_at_another_address_and_are_no_error_there(desk: Desk) -> None:
    desk.write(GEN_MODEL="gpt-4o-mini", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    found = await desk.one()
    assert (found.source, found.severity, found.days_left) == ("shipped", "warning", 49)
    desk.clock.at = datetime(2027, 1, 15, tzinfo=UTC)
    found = await desk.one(refresh=False)
    assert found.severity == "warning" and "may keep it" in found.told


async def test_a_day_of_the_clock_decides_how_grave_it_is(desk: Desk) -> None:
    for at, severity in (
        ("2026-10-01", "ok"),
        ("2026-11-03", "warning"),
        ("2027-01-25", "urgent"),
        ("2027-01-31", "urgent"),
    ):
        desk.clock.at = datetime.fromisoformat(f"{at}T23:59:00+00:00")
        assert (await desk.one()).severity == severity, at


async def test_at_openais_own_address_the_file_alone_tells_without_a_key(desk: Desk) -> None:
    desk.write(GEN_MODEL="gpt-4o-mini-2024-07-18", JUDGE="gpt-3.5-turbo")
    view = await desk.look()
    by_model = {each.model: each for each in view.items}
    assert by_model["gpt-3.5-turbo"].state == "ended"
    assert by_model["gpt-3.5-turbo"].severity == "error"
    assert by_model["gpt-4o-mini-2024-07-18"].severity == "warning"
    assert view.exit_code() == 1
    assert view.lists[0].as_of is None and "key" in view.lists[0].problem


async def test_a_model_that_is_listed_no_more_is_an_error(
    desk: Desk, provider: ModelsServer
) -> None:
    assert (await desk.one()).severity == "warning"
    del provider.models["gpt-4o"]
    found = await desk.one()
    assert (found.state, found.severity, found.listed) == ("gone", "error", False)
    assert "no more" in found.told and "2026-11-26 12:00 UTC" in found.told
    check = calendar_found(await desk.look(refresh=False))
    assert (check.state, check.step) == ("problem", "sophia models succeed gpt-4o")


async def test_a_tuned_model_that_its_provider_does_not_list_is_an_error(
    desk: Desk, provider: ModelsServer
) -> None:
    tuned = "ft:gpt-4o-mini-2024-07-18:town::abc"
    desk.write(ANSWERS_BY=tuned, OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    assert (await desk.one()).state == "gone"
    provider.models[tuned] = None
    assert (await desk.one()).state == "ends"


async def test_a_name_of_another_kind_that_is_not_listed_is_no_error(desk: Desk) -> None:
    desk.write(
        EMBEDDING_MODEL="sentence-transformers/all-MiniLM-L6-v2",
        OPENAI_BASE_URL=desk.url,
        OPENAI_API_KEY=KEY,
    )
    found = await desk.one()
    assert (found.severity, found.use) == ("unknown", "asked")
    assert "may run elsewhere" in found.told


async def test_a_name_that_a_whole_list_lacks_is_an_error_for_every_key(desk: Desk) -> None:
    desk.write(
        EMBEDDING_MODEL="text-embedding-none-002",
        OPENAI_BASE_URL=desk.url,
        OPENAI_API_KEY=KEY,
    )
    found = await desk.one()
    assert (found.state, found.severity, found.listed) == ("gone", "error", False)
    assert "EMBEDDING_MODEL" in found.told


async def test_an_alias_that_the_list_lacks_is_asked_for_by_its_name(
    desk: Desk, provider: ModelsServer
) -> None:
    desk.write(GEN_MODEL="chat-latest", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    provider.aliases.add("chat-latest")
    assert (await desk.one()).state == "ok"


@pytest.mark.parametrize(
    ("mood", "why"),
    [
        ("html", "not with a list"),
        ("[]", "not with a list"),
        ('{"object": "list"}', "not with a list"),
        ('{"data": [], "object": "list"}', "empty"),
        ('{"data": ["gpt", null, {"id": 7}]}', "empty"),
        (500, "HTTP 500"),
        (401, "does not take the key"),
        ("elsewhere", ""),
    ],
)
async def test_a_list_that_can_not_be_had_is_no_error_about_the_model(
    desk: Desk, provider: ModelsServer, mood: str | int, why: str
) -> None:
    await desk.look()
    provider.mood = mood
    desk.clock.at = NOW + timedelta(days=1)
    view = await desk.look()
    assert view.items[0].severity == "warning" and view.items[0].listed is True
    assert view.items[0].as_of == NOW
    assert why in view.lists[0].problem and view.lists[0].problem
    assert KEY not in view.model_dump_json()


async def test_a_model_of_a_list_that_never_was_had_is_unknown(
    desk: Desk, provider: ModelsServer
) -> None:
    provider.mood = "html"
    desk.write(GEN_MODEL="our-own", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    found = await desk.one()
    assert (found.state, found.severity, found.as_of) == ("unknown", "unknown", None)


async def test_a_list_that_does_not_end_is_read_to_a_bound_and_tells_nothing_missing(
    desk: Desk, provider: ModelsServer
) -> None:
    provider.mood = "endless"
    desk.write(GEN_MODEL="our-own", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    view = await desk.look()
    assert view.items[0].severity == "unknown" and view.lists[0].complete is False
    assert len([each for each in provider.asked if "our-own" not in each]) <= 3


async def test_a_list_in_pages_is_read_to_its_end(desk: Desk, provider: ModelsServer) -> None:
    provider.mood = "paged"
    provider.models["third"] = None
    view = await desk.look()
    assert (view.lists[0].models, view.lists[0].complete) == (3, True)


async def test_an_address_that_hangs_costs_its_time_and_no_more(
    desk: Desk, provider: ModelsServer
) -> None:
    provider.mood = "hangs"
    view = await desk.look(SOPHIA_CALENDAR_SECONDS="0.2")
    assert "0.2 seconds" in view.lists[0].problem


async def test_a_local_server_without_keys_is_asked_without_ours(
    store: Store, tmp_path: Path
) -> None:
    with ModelsServer(key=None) as local:
        local.models = {"llama-3-town": None}
        desk = Desk(store, tmp_path, local.url)
        desk.write(GEN_MODEL="llama-3-town", OPENAI_BASE_URL=local.url)
        found = await desk.one(OPENAI_API_KEY="sk-of-another-provider")
        assert (found.state, found.provider_key) == ("ok", "")
        desk.write(GEN_MODEL="any-name", OPENAI_BASE_URL=local.url)  # it may answer to it
        assert (await desk.one()).state == "unknown"
        local.models = {"another": None}
        desk.write(GEN_MODEL="llama-3-town", OPENAI_BASE_URL=local.url)
        assert (await desk.one()).state == "gone"


async def test_looking_asks_nobody_and_a_daily_look_asks_once_a_day(
    desk: Desk, provider: ModelsServer
) -> None:
    service = desk.service()
    await service.look()
    assert provider.asked == []
    await service.look(daily=True)
    await service.look(daily=True)
    assert len(provider.asked) == 1
    desk.clock.at += timedelta(hours=25)
    await service.look(daily=True)
    assert len(provider.asked) == 2


async def test_a_base_that_takes_no_new_training(desk: Desk) -> None:
    desk.write(GEN_MODEL="", FINETUNE_BASE="gpt-4.1-mini", AION_LORA_BASE="./a-folder")
    view = await desk.look(refresh=False)
    hosted, local = view.items
    assert (hosted.key, str(hosted.ends), hosted.use) == ("FINETUNE_BASE", "2027-01-06", "base")
    assert (local.state, local.severity) == ("local", "ok")
    desk.clock.at = datetime(2027, 1, 7, tzinfo=UTC)
    assert (await desk.look(refresh=False)).items[0].state == "untrainable"


async def test_a_model_of_ours_at_an_address_that_no_file_says(desk: Desk) -> None:
    """Its service may get the address from elsewhere; sent to somebody else it is not found."""
    await desk.store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, path="/x"))
    await desk.store.deployments.add(
        Deployment(
            "deploy-1", "sophia-v1", "sophia-v1", "transformers", DeploymentState.READY, "ana", NOW
        )
    )
    desk.write(GEN_MODEL="sophia-v1")
    assert (await desk.one()).state == "ok"
    desk.write(GEN_MODEL="sophia-v1", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    found = await desk.one()
    assert (found.state, found.severity) == ("unserved", "error") and desk.url in found.told


async def test_a_name_of_ours_that_nobody_serves_is_an_error(desk: Desk) -> None:
    desk.write(
        GEN_MODEL="sophia-v1",
        EXPANSION_MODEL="${GEN_MODEL}",
        OPENAI_BASE_URL="http://localhost:8000/v1",
    )
    await desk.store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW, path="/x"))
    view = await desk.look()
    assert [each.state for each in view.items] == ["unserved", "unserved"]
    [ending] = endings(view)
    assert way_out(ending) == ("serve.model", {"model": "sophia-v1"})
    assert (ending.keys, ending.command) == (
        ["EXPANSION_MODEL", "GEN_MODEL"],
        "sophia serve model sophia-v1",
    )
    made = Deployment(
        "deploy-1", "sophia-v1", "sophia-v1", "transformers", DeploymentState.READY, "ana", NOW
    )
    await desk.store.deployments.add(made)
    assert endings(await desk.look()) == []


async def test_a_file_that_can_not_be_read_is_told_and_the_rest_goes_on(desk: Desk) -> None:
    missing = desk.folder / "none.env"
    view = await desk.look(SOPHIA_MANAGED_ENV_FILES=f"{desk.file}:{missing}")
    assert [each.file for each in view.unread] == [str(missing)] and len(view.items) == 1


async def test_a_name_at_our_front_that_no_model_has_can_be_moved_off(desk: Desk) -> None:
    desk.write(GEN_MODEL="nobody", OPENAI_BASE_URL="http://localhost:8000/v1")
    view = await desk.look()
    [ending] = endings(view)
    assert (ending.state, way_out(ending)) == ("gone", ("models.succeed", {"model": "nobody"}))
    assert "`sophia promote MODEL`" in ending.told and "`sophia serve list`" in ending.told


async def test_a_file_that_can_not_be_read_is_no_good_news(desk: Desk) -> None:
    """Nobody knows what it names: the check of the set-up wants attention, and says which."""
    missing = desk.folder / "none.env"
    desk.write(GEN_MODEL="unknown-to-all", OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=KEY)
    found = calendar_found(await desk.look(SOPHIA_MANAGED_ENV_FILES=f"{desk.file}:{missing}"))
    assert found.state != "ok" and str(missing) in found.told
    assert any("does not exist" in each for each in found.detail)
    alone = calendar_found(await desk.look(SOPHIA_MANAGED_ENV_FILES=str(missing)))
    assert (alone.state, str(missing) in alone.told) == ("attention", True)
    assert "SOPHIA_MANAGED_ENV_FILES" in alone.remedy


def test_days_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="T422"):
        load({"SOPHIA_CALENDAR_DAYS": "30,30"})


async def test_people_are_told_once_for_each_bound(desk: Desk) -> None:
    settings = load({"SOPHIA_WEBHOOK_URL": "http://127.0.0.1:9/hook"})
    for day, told in (("2026-11-26", 1), ("2026-11-27", 1), ("2027-01-02", 2), ("2027-01-26", 3)):
        desk.clock.at = datetime.fromisoformat(f"{day}T08:00:00+00:00")
        await announce_endings(desk.store, settings, await desk.look())
        noted = await desk.store.notifications.page()
        assert len(noted) == told, day
    assert [each.event for each in reversed(noted)] == [
        "ends-90@2027-02-01",
        "ends-30@2027-02-01",
        "ends-7@2027-02-01",
    ]
    message = message_of(noted[0].body, "pt_BR")
    assert "gpt-4o" in message.subject and "sophia models succeed gpt-4o" in message.text
    assert noted[0].job_id == "model:gpt-4o"


async def test_what_answers_no_more_is_told_again_each_month_and_a_base_by_itself(
    desk: Desk,
) -> None:
    settings = load({"SOPHIA_WEBHOOK_URL": "http://127.0.0.1:9/hook"})
    desk.write(GEN_MODEL="gpt-3.5-turbo", FINETUNE_BASE="gpt-4o", EXPANSION_MODEL="gpt-4o")
    for day in ("2026-11-26", "2026-11-30", "2026-12-01"):
        desk.clock.at = datetime.fromisoformat(f"{day}T08:00:00+00:00")
        await announce_endings(desk.store, settings, await desk.look(refresh=False))
    events = {(each.job_id, each.event) for each in await desk.store.notifications.page()}
    assert events == {
        ("model:gpt-3.5-turbo", "ended@2026-11"),
        ("model:gpt-3.5-turbo", "ended@2026-12"),
        ("model:gpt-4o", "ends-90@2027-01-14"),
        ("model:gpt-4o", "base-ends-90@2027-01-06"),
    }


async def test_the_check_of_the_set_up_asks_where_it_is_told_to(
    desk: Desk, provider: ModelsServer
) -> None:
    del provider.models["gpt-4o"]
    [silent] = await run_checks([calendar_check(desk.service().look, False)])
    assert (silent.state, provider.asked) == ("attention", [])
    [asked] = await run_checks([calendar_check(desk.service().look, True)])
    assert (asked.id, asked.state) == ("models_end", "problem")


async def test_a_store_that_is_away_leaves_the_dates(desk: Desk) -> None:
    service = desk.service()

    async def away() -> Store:
        raise UnavailableError("S001", "The database does not answer.")

    service._open_store = away
    view = await service.look()
    assert view.items[0].severity == "warning" and "S001" in view.problem


async def test_the_workers_watch_asks_once_and_tells(desk: Desk, provider: ModelsServer) -> None:
    settings = load({"SOPHIA_WEBHOOK_URL": "http://127.0.0.1:9/hook"})
    for _worker in range(2):
        watch = ModelWatch(desk.service)
        watch.look(desk.store, settings)
        watch.look(desk.store, settings)
        await watch.close()
    assert len(provider.asked) == 1
    assert len(await desk.store.notifications.page()) == 1
