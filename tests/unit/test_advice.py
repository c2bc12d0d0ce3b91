"""Whether tuning is worth it: five criteria, three outcomes, and what else there is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.gates import ADVICE_DEFAULT, read_ranges
from sophia_tui.errors import UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services import quality_gate
from sophia_tui.services.advice import Advice, AdviceInput, AdviceService, Facts, advised
from sophia_tui.services.prices import load_prices
from sophia_tui.services.quality_gate import GateCheck, GateReport
from sophia_tui.settings import load

CONTEXT = Context("maria", Face.CLI, Role.OPERATOR)
RANGES = read_ranges(ADVICE_DEFAULT)
BEST = Facts(conversations=1001, usd=501, improve=True, people=True, good_data=True)
WORST = Facts(conversations=499, usd=199, improve=False, people=False, good_data=False)


def test_all_five_for_it_is_tune() -> None:
    assert advised(BEST, RANGES).outcome == "tune"


def test_all_five_against_it_is_not_yet_with_the_savings_of_the_other_ways() -> None:
    found = advised(WORST, RANGES)
    assert found.outcome == "not_yet"
    ways = {each.name: each for each in found.other_ways}
    assert (ways["prompts"].saves_low, ways["prompts"].saves_high) == (0.2, 0.3)
    assert (ways["smaller_model"].saves_low, ways["smaller_model"].saves_high) == (0.6, 0.7)
    assert ways["smaller_model"].usd_high == pytest.approx(199 * 0.7)
    assert "rag" in ways


@pytest.mark.parametrize(
    ("conversations", "usd", "speaks"),
    [
        (1000, 500, "between"),
        (500, 200, "between"),
        (1001, 500.01, "for"),
        (499, 199.99, "against"),
    ],
)
def test_the_documents_bounds_are_themselves_in_between(
    conversations: int, usd: float, speaks: str
) -> None:
    found = advised(Facts(conversations=conversations, usd=usd), RANGES)
    assert [each.speaks for each in found.items[:2]] == [speaks, speaks]
    assert found.outcome == "undecided"


def test_what_nobody_knows_is_asked_for_by_name() -> None:
    found = advised(Facts(), RANGES)
    assert found.outcome == "undecided"
    assert {each.by for each in found.items} == {"nobody"}
    assert [each.rpartition("--")[2] for each in found.notes] == [
        "conversations.",
        "usd.",
        "improve.",
        "people.",
        "good-data.",
    ]


KNOWN = st.sampled_from([None, True, False])
AMOUNTS = st.none() | st.floats(0, 1e6)


@given(AMOUNTS, AMOUNTS, KNOWN, KNOWN, KNOWN)
def test_tuning_is_never_advised_against_a_criterion(
    conversations: float | None,
    usd: float | None,
    improve: bool | None,
    people: bool | None,
    good_data: bool | None,
) -> None:
    found = advised(Facts(conversations, usd, improve, people, good_data), RANGES)
    speaks = [each.speaks for each in found.items]
    assert (found.outcome == "tune") == (speaks == ["for"] * 5)
    assert (found.outcome == "not_yet") == (speaks.count("against") >= 3)


# -- from the data


class _Versions:
    def __init__(self, version: DatasetVersion | None) -> None:
        self._version = version

    async def get(self, reference: str) -> DatasetVersion | None:
        return self._version

    async def newest_prepared(self) -> DatasetVersion | None:
        return self._version


class _House:
    """What collect and monitor answer; an error in place of an answer is raised."""

    def __init__(self, counts: Any, satisfaction: Any = None) -> None:
        self._counts, self._satisfaction = counts, satisfaction
        self.asked: list[tuple[str, bool]] = []

    async def call(self, name: str, request: Any, context: Context) -> Any:
        self.asked.append((name, context.dry_run))
        found = self._counts if name == "collect.run" else self._satisfaction
        if isinstance(found, Exception):
            raise found
        if name == "collect.run":
            items = [
                SimpleNamespace(name=each, available=True, rows_read=count)
                for each, count in found.items()
            ]
            return SimpleNamespace(items=items)
        return SimpleNamespace(
            conversations=SimpleNamespace(satisfaction=found),
            documents=SimpleNamespace(satisfaction=None),
        )


async def _advice(
    tmp_path: Path,
    house: _House,
    version: DatasetVersion | None = None,
    **asked: Any,
) -> Advice:
    settings, paths = load({}), Paths(tmp_path)
    service = AdviceService(
        house.call,
        _Versions(version),  # type: ignore[arg-type]
        settings,
        paths,
        lambda: load_prices(settings, paths),
    )
    return await service.advice(CONTEXT, AdviceInput(**asked))


def _criteria(found: Advice) -> dict[str, tuple[str, str]]:
    return {each.name: (each.speaks, each.by) for each in found.items}


async def test_the_source_the_price_list_feedback_and_the_gate_answer(tmp_path: Path) -> None:
    version = DatasetVersion("town", "ab" * 32, "", {"rows_kept": 600})
    check = GateCheck(name="examples", what="Examples", state="ok", told="600")
    quality_gate.keep(
        Paths(tmp_path),
        version,
        GateReport(subject="town", passed=True, refused=False, items=[check]),
    )
    house = _House({"conversations": 1200, "qa_cache": 5}, satisfaction=0.7)
    found = await _advice(tmp_path, house, version, model="gpt-4o", messages=100, people="yes")
    assert found.outcome == "tune"
    assert _criteria(found) == {
        "conversations": ("for", "data"),
        "usd": ("for", "data"),
        "improve": ("for", "data"),
        "people": ("for", "said"),
        "good_data": ("for", "data"),
    }
    usd = next(each.figure for each in found.items if each.name == "usd")
    assert usd == pytest.approx(1200 * 100 * (500 * 2.5 + 300 * 10) / 1e6)
    assert ("collect.run", True) in house.asked


async def test_what_is_said_goes_before_what_is_counted(tmp_path: Path) -> None:
    house = _House({"conversations": 1200}, satisfaction=0.2)
    found = await _advice(tmp_path, house, conversations=10, usd=1, improve="no", good_data="no")
    assert found.outcome == "not_yet"
    assert house.asked == []


async def test_a_source_that_is_away_leaves_it_unknown_with_the_cause(tmp_path: Path) -> None:
    away = UnavailableError("S001", "The database does not answer.")
    found = await _advice(tmp_path, _House(away, away))
    assert _criteria(found)["conversations"] == ("unknown", "nobody")
    assert "does not answer" in found.items[0].told
    assert "sophia prepare" in found.items[4].told


async def test_without_conversations_questions_are_counted(tmp_path: Path) -> None:
    found = await _advice(tmp_path, _House({"conversations": 0, "qa_cache": 700}, 0.95))
    assert found.items[0].figure == 700
    assert _criteria(found)["improve"] == ("against", "data")


async def test_a_model_without_a_price_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        await _advice(tmp_path, _House({}), conversations=1, model="nobody-knows")
    assert caught.value.code == "SOPHIA-D575"


@pytest.mark.parametrize(
    "text", ["", "conversations=5..1", ADVICE_DEFAULT + ", usd=1..2", "x=1..2"]
)
def test_ranges_that_can_not_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_ranges(text)
