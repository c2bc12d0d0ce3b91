"""The price file: what Sophia brings, and what an operator puts over it."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sophia_tui import paths as places
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.operations import NoInput
from sophia_tui.errors import UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.prices import OURS, PricesService, ending_warning, load_prices, price_file
from sophia_tui.settings import load

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class _Clock:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def data(tmp_path: Path) -> Paths:
    folder = Paths(tmp_path / "data")
    folder.data.mkdir()
    return folder


def test_training_prices_and_dates_are_those_of_the_provider(data: Paths) -> None:
    prices = load_prices(load({}), data)
    training = {name: each.price for name, each in prices.training_prices.items()}
    assert training == {"gpt-4.1": 25, "gpt-4.1-mini": 5, "gpt-4o": 25, "gpt-4o-mini": 3}
    ends = {name: each.at for name, each in prices.shutdowns.items()}
    assert {name for name, at in ends.items() if at == date(2027, 1, 14)} == set(training)
    assert {name for name, at in ends.items() if at == date(2026, 10, 23)} == {
        "gpt-3.5-turbo",
        "gpt-4.1-nano",
        "o4-mini",
    }
    assert prices.training_closes["openai"].at == date(2027, 1, 6)
    assert prices.usd_to_brl == 5.24


def test_every_entry_says_when_and_from_where(data: Paths) -> None:
    prices = load_prices(load({}), data)
    for part in (
        prices.exchange,
        prices.chat_prices,
        prices.training_prices,
        prices.shutdowns,
        prices.training_closes,
    ):
        for name, entry in part.items():
            assert entry.source, name
            assert getattr(entry, "as_of", prices.as_of) <= prices.as_of, name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", (2.5, 10.0)),
        ("gpt-4o-2024-08-06", (2.5, 10.0)),
        ("claude-sonnet-4-5-20250929", (3.0, 15.0)),
        ("gpt-3.5-turbo-0125", (0.5, 1.5)),
        ("ft:gpt-4o-mini-2024-07-18:acme:support:abc123", (0.3, 1.2)),
    ],
)
def test_a_model_is_found_by_its_name_its_snapshot_and_what_it_was_tuned_on(
    data: Paths, model: str, expected: tuple[float, float]
) -> None:
    price = load_prices(load({}), data).chat(model)
    assert price is not None
    assert (price.input, price.output) == expected


@pytest.mark.parametrize(
    "model", ["gpt-4o-audio-preview", "sophia-v1", "ft:", "ft:llama:x", "ft:gpt-4.1:acme::x"]
)
def test_what_is_not_known_has_no_price(data: Paths, model: str) -> None:
    assert load_prices(load({}), data).chat(model) is None


def test_a_tuned_model_ends_with_its_base(data: Paths) -> None:
    ending = load_prices(load({}), data).shutdown("ft:gpt-4o-2024-08-06:acme::abc")
    assert ending is not None
    assert ending.moment == datetime(2027, 1, 14, tzinfo=UTC)
    assert ending.days_left(NOW) == 50
    assert "in 50 days" in (ending_warning("gpt-4o", ending, NOW) or "")
    after = datetime(2027, 1, 14, tzinfo=UTC)
    assert "stopped answering" in (ending_warning("gpt-4o", ending, after) or "")


def test_cost_of_an_answer(data: Paths) -> None:
    price = load_prices(load({}), data).chat("gpt-4o")
    assert price is not None
    assert price.cost(1_000_000, 100_000) == pytest.approx(3.5)


def test_an_operators_entries_go_over_ours_one_by_one(data: Paths) -> None:
    data.prices.write_text(
        "chat:\n  gpt-4o: {input: 1, output: 2, as_of: 2026-11-20, source: contract}\n"
        "  our-llama: {input: 0, output: 0, as_of: 2026-11-20}\n"
        "shutdown:\n  gpt-4.1: null\n"
        "exchange:\n  usd_to_brl: {rate: 5.5, as_of: 2026-11-20}\n"
    )
    prices = load_prices(load({}), data)
    changed = prices.chat("gpt-4o")
    assert changed is not None
    assert (changed.input, changed.tuned_input) == (1, None)
    assert prices.chat("our-llama") is not None
    assert prices.shutdown("gpt-4.1") is None
    assert prices.shutdown("gpt-4o") is not None
    assert prices.chat("gpt-4o-mini") is not None
    assert prices.usd_to_brl == 5.5
    assert prices.files == (OURS, data.prices)


def test_which_file_of_the_operator_counts(
    data: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "etc.yaml"
    monkeypatch.setattr("sophia_tui.services.prices.SERVER_PRICES", server)
    assert str(places.SERVER_PRICES) == "/etc/sophia/prices.yaml"
    assert price_file(load({}), data) is None
    data.prices.write_text("{}")
    assert price_file(load({}), data) == data.prices
    server.write_text("{}")
    assert price_file(load({}), data) == server
    named = load({"SOPHIA_PRICES_FILE": str(tmp_path / "mine.yaml")})
    assert price_file(named, data) == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        ("chat: [", "T431", "line 1"),
        ("- chat", "T432", "parts such as"),
        ("chatt: {}", "T432", "chatt: is not known here"),
        ("chat:\n  x: {input: -1, output: 2, as_of: 2026-01-01}", "T432", "chat.x.input: must be"),
        ("chat:\n  x: {input: .nan, output: 2, as_of: 2026-01-01}", "T432", "chat.x.input"),
        ("chat:\n  x: {input: 1, output: 2}", "T432", "chat.x.as_of: needed"),
        ("shutdown:\n  x: {at: soon}", "T432", "shutdown.x.at: must be a date"),
        ("exchange:\n  usd_to_brl: {rate: 0, as_of: 2026-01-01}", "T432", "exchange.usd_to_brl"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(
    data: Paths, content: str, code: str, told: str
) -> None:
    data.prices.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_prices(load({}), data)
    assert caught.value.code == f"SOPHIA-{code}"
    assert str(data.prices) in caught.value.what
    assert told in caught.value.why


def test_a_file_that_the_setting_names_must_be_there(data: Paths) -> None:
    with pytest.raises(UsageError) as caught:
        load_prices(load({"SOPHIA_PRICES_FILE": "/nowhere/prices.yaml"}), data)
    assert caught.value.code == "SOPHIA-T430"


async def test_the_list_shows_what_is_in_force_with_days_left(data: Paths) -> None:
    service = PricesService(lambda: load_prices(load({}), data), _Clock())
    listed = await service.page(Context("maria", Face.CLI, Role.VIEWER), NoInput())
    ends = {each.name: each.days_left for each in listed.shutdown}
    assert (ends["gpt-4o"], ends["o4-mini"]) == (50, -33)
    assert [each.days_left for each in listed.training_closes] == [42]
    assert listed.files == [str(OURS)]
