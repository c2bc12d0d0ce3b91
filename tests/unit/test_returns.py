"""The return on an investment in tuning, and the targets."""

from datetime import date
from pathlib import Path

import pytest

from sophia_tui.domain.targets import DEFAULT, NAMES, read_targets
from sophia_tui.errors import UsageError
from sophia_tui.i18n import set_language
from sophia_tui.services.prices import ChatPrice, Prices, Rate
from sophia_tui.services.returns import ReturnRequest, ReturnView, computed

PRICES = Prices(
    as_of=date(2026, 11, 1),
    files=(Path("prices.yaml"),),
    exchange={"usd_to_brl": Rate(rate=5.0, as_of=date(2026, 11, 2), source="a bank")},
    chat_prices={"gpt-4o-mini": ChatPrice(input=0.15, output=0.60, as_of=date(2026, 11, 1))},
    training_prices={},
    rented={},
    shutdowns={},
    training_closes={},
)


def amounts(view: ReturnView) -> dict[str, float]:
    return {each.item: each.usd for each in view.items}


def test_the_documents_example_comes_out() -> None:
    view = computed(ReturnRequest(), PRICES)
    found = amounts(view)
    assert found["month_before"] == pytest.approx(330)
    assert found["month_after"] == pytest.approx(88)
    assert found["saving_month"] == pytest.approx(242)
    assert view.saving_share == pytest.approx(242 / 330)
    assert view.months_to_pay_back == pytest.approx(20 / 242)
    assert view.usd_to_brl == 5.0
    brl = {each.item: each.brl for each in view.items}
    assert brl["month_before"] == pytest.approx(1650) and brl["saving_month"] == pytest.approx(1210)
    assert any("2026-11-02" in each and "a bank" in each for each in view.notes)


def test_jobs_and_running_costs_count() -> None:
    view = computed(ReturnRequest(jobs=3, job_cost=8, monthly_cost=100, usd_to_brl=6), PRICES)
    found = amounts(view)
    assert found["month_after"] == pytest.approx(188)
    assert found["investment"] == pytest.approx(24)
    assert found["first_year"] == pytest.approx(12 * 142 - 24)
    assert view.months_to_pay_back == pytest.approx(24 / 142)
    assert view.items[0].brl == pytest.approx(330 * 6)


def test_a_models_price_is_looked_up() -> None:
    view = computed(ReturnRequest(model_after="gpt-4o-mini-2024-07-18"), PRICES)
    assert amounts(view)["month_after"] == pytest.approx(10_000 * (400 * 0.15 + 250 * 0.6) / 1e6)
    with pytest.raises(UsageError) as caught:
        computed(ReturnRequest(model_before="gpt-\x1b[2J"), PRICES)
    assert caught.value.code == "SOPHIA-M460" and "\x1b" not in str(caught.value)


def test_what_saves_nothing_never_pays_back() -> None:
    set_language("en")
    view = computed(ReturnRequest(monthly_cost=1000), PRICES)
    assert view.months_to_pay_back is None
    assert "Nothing is saved: it never pays back." in view.notes
    assert computed(ReturnRequest(messages=0), PRICES).saving_share is None


def test_the_targets_are_those_of_the_document() -> None:
    found = read_targets(DEFAULT)
    assert tuple(found) == NAMES
    assert (found["perplexity"].value, found["perplexity"].baseline) == (2.5, 3.0)
    assert found["perplexity"].met(2.4) and not found["perplexity"].met(2.5)
    assert found["bleu"].met(0.61) and not found["bleu"].met(0.6)
    assert (found["latency"].value, found["errors"].value) == (2, 0.01)


@pytest.mark.parametrize("text", ["perplexity", "speed>1", "bleu>0.5, bleu>0.6", "bleu=0.5"])
def test_a_target_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.split(",")[-1].strip()):
        read_targets(text)
