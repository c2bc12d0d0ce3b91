"""Every screen over fixed answers of the real operations: its states, its keys, its help, hostile
text, both languages."""

from typing import Any

import pytest
from textual.widgets import Input

from sophia_tui.services.datasets import DatasetList
from sophia_tui.services.prepare import PrepareOutput
from sophia_tui.services.promotion_views import ElsewhereView
from sophia_tui.services.prune import PrunedView, PrunePlan
from sophia_tui.services.schedules import ScheduleList
from sophia_tui.tui import keys
from sophia_tui.tui.screens.browser import BrowserScreen
from sophia_tui.tui.screens.calendar import CalendarScreen
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.help import HelpScreen, help_text
from sophia_tui.tui.screens.result import ResultScreen, result_text
from sophia_tui.tui.screens.schedules import SchedulesScreen
from sophia_tui.tui.widgets.plate import Plate
from tests.representatives import LANGUAGES, SIZES, crossed, each_size
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until

NAMES = list(keys.SHOWS)
#: Words that each screen shows of the answers, its open row included.
SHOWN = {
    "overview": ("Collect", "8,112 rows", "Next"),
    "setup": ("! attention", "x problem", "table qa_cache"),
    "datasets": ("301 rows in = 273 kept + 28 rejected", "last_not_assistant", "qa_cache.jsonl"),
    "jobs": ("310/500", "held-out part", "training"),
    "models": ("sophia-v2", "in production", "Where an answer comes from", "ground@0f3a5c9b1d2e"),
    "monitor": ("sophia-v2", "satisfaction", "Not measured yet"),
    "settings": ("OPENAI_API_KEY", "***", "/srv/sophia/.env"),
    "audit": ("promote.run", "refused", "SOPHIA-R428"),
}


def whole_world(found: dict[str, Any] | None = None) -> stub.World:
    world = stub.full_world()
    world.answers = answers.full() if found is None else found
    return world


def digit(name: str) -> str:
    """The key that opens a screen."""
    return next(each.key for each in keys.SCREENS if each.target == f"screen.{name}")


async def opened(pilot, name: str, state: str = "full") -> None:
    """Open a screen, and its first row where it has rows."""
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await pilot.press(digit(name))
    await settled(pilot, state)
    if state == "full" and hasattr(pilot.app.screen, "told_of"):
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen.told_of is not None, "told")
        await until(pilot, lambda: "Loading" not in told_text(pilot.app.screen), "drawn")


def told_text(screen) -> str:
    return "\n".join(each.text for each in screen.query(Plate))


@pytest.mark.parametrize(("name", "size"), crossed(NAMES, SIZES))
async def test_a_screen_shows_its_rows_and_one_in_full(name: str, size) -> None:
    app = stub.make_app(whole_world(), whole=True, ascii_only=True)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, name)
        text = told_text(app.screen) + screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        text += screen_text(app)
    assert [word for word in SHOWN[name] if word not in text] == []
    assert text.isascii()


@pytest.mark.parametrize("name", NAMES)
async def test_a_screen_waits_fails_and_keeps_stale_data(name: str) -> None:
    world = whole_world()
    world.block.clear()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, name, "loading")
        assert "Loading" in screen_text(app) or name == "overview"
        world.trouble = stub.database_gone()
        world.block.set()
        await settled(pilot, "error")
        text = screen_text(app)
        for part in ("Why: ", "Start it again.", "SOPHIA-S001", "/data/logs/sophia.log"):
            assert part in text
        world.trouble = None
        await pilot.press("r")
        await settled(pilot)
        world.trouble = stub.database_gone()
        await pilot.press("r")
        await settled(pilot, "stale")
        assert "stale, " in screen_text(app)


@pytest.mark.parametrize("name", sorted(set(keys.FILLED_BY) & set(NAMES)))
async def test_an_empty_screen_names_the_key_that_fills_it(name: str) -> None:
    app = stub.make_app(whole_world(answers.empty()), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, name, "empty")
        found = [each for each in keys.KEYS if each.scope == name]
        key = next(each for each in found if each.target == keys.FILLED_BY[name])
        assert f"Nothing here yet. {key.shown}: {key.text}" in screen_text(app)


@pytest.mark.parametrize(
    ("name", "size"), crossed([name for name in NAMES if name != "overview"], SIZES)
)
async def test_hostile_text_in_every_place_stays_text(name: str, size) -> None:
    found = {
        operation: answer if callable(answer) else answers.hostile(answer)
        for operation, answer in answers.full().items()
    }
    found["jobs.events"] = answers.hostile(answers.events())
    app = stub.make_app(whole_world(found), whole=True)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, name)
        seen = screen_text(app) + told_text(app.screen)
        await pilot.press("escape")
        await pilot.pause()
        seen += screen_text(app)
    assert "[red]x" in seen and "␛" in seen
    assert not {"\x1b", "\x07", "\u202e"} & set(seen)


@pytest.mark.parametrize("name", NAMES)
async def test_every_key_of_a_screen_leads_somewhere(name: str) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        for key in [each for each in keys.KEYS if each.scope == name]:
            await pilot.press(digit(name))
            await settled(pilot)
            if key.target.startswith("act."):
                await pilot.press(key.key)
                await pilot.pause()
                assert app.screen.is_current
                if isinstance(app.focused, Input) or app.screen.holds_work:  # it asks for a text
                    await pilot.press("escape")
                continue
            assert app.offers(key), key
            await pilot.press(key.key)
            why = app.screen.not_now(key.target)
            if why:  # it makes no sense on the first row, and says so
                message = app.screen.query_one("#message", Plate)
                await until(pilot, lambda at=message, said=why: at.text == said, why)
                continue
            await until(pilot, lambda: len(app.screen_stack) > 2, f"{key.key} opens {key.target}")
            own = FormScreen | ResultScreen | SchedulesScreen | BrowserScreen | CalendarScreen
            assert isinstance(app.screen, own)
            await pilot.press("escape")


@pytest.mark.parametrize(("name", "language"), crossed(NAMES, LANGUAGES))
async def test_help_says_what_a_screen_shows_its_keys_and_its_commands(
    name: str, language: str
) -> None:
    from sophia_tui.i18n import _
    from sophia_tui.tui.pages import PAGES

    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, name)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "help")
        text = told_text(app.screen)
        for sentence in PAGES[name].about:
            assert _(sentence) in text
        for operation in PAGES[name].twins:
            assert f"sophia {operation.replace('.', ' ')}" in text
        for key in [each for each in keys.KEYS if each.scope == name]:
            assert _(key.text) in text and key.target in text


async def test_two_marked_models_are_compared() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: screen_text(app).count("●") == 2, "marks")
        assert app.screen.marked == ["sophia-v2", "sophia-v1"]


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("l", ("trained from", "SmolLM2-135M", "conditional", "How cold is the ripening room?")),
        ("h", ("GEN_MODEL", "now", "promoted (ana)", "~ ?", "before anything was recorded")),
    ],
)
async def test_one_key_shows_lineage_and_times_in_production(key: str, shown) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the answer")
        text = told_text(app.screen)
    assert [each for each in shown if each not in text] == []


async def test_a_decision_says_which_version_of_the_model_was_seen() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press("j")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        assert app.screen.typed["model"] == "sophia-v2"
        assert app.screen.seen == {"seen_version": 2}


async def test_roll_back_is_filled_in_with_the_promotion_in_force() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        assert app.screen.typed["promotion"] == "promotion-2"


def plan(notes: list[str]):
    """The answer of a promotion's dry run."""
    done = answers.promotions().items[0]
    elsewhere = ElsewhereView(unit="web2:rag.service", command="ssh web2 sudo systemctl restart x")
    return done.model_copy(
        update={
            "state": "pending",
            "notes": ["Nothing was changed: this is the plan.", *notes],
            "rolls_back": "promotion-1",
            "restarts": ["rag-api.service", "rag-worker.service"],
            "elsewhere": [elsewhere],
            "checks": ["5 golden prompts are answered (median < 2).", "All of it within 300 s."],
        }
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("m", ("afterwards: sophia-v2", "now: gpt-4o-mini", "/srv/rag/.env", "takes it back")),
        (
            "m",
            (
                "GEN_MODEL: gpt-4o-mini -> sophia-v2",
                "rag-api.service, rag-worker",
                "ssh web2",
                "5 golden",
            ),
        ),
        ("b", ("afterwards: sophia-v2", "now: gpt-4o-mini", "/srv/rag/.env", "promotion-1")),
        ("x", ("sophia-v2-merged, ready", "Production asks for it: /srv/rag/.env name it")),
    ],
)
async def test_a_dangerous_act_says_what_it_changes(key: str, shown) -> None:
    found = answers.full() | {"promote.run": plan([]), "promote.rollback": plan([])}
    app = stub.make_app(whole_world(found), whole=True)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        text = app.screen.query_one("#text", Plate).text
    assert [each for each in shown if each not in text] == []
    assert "hard to change back" not in text


async def test_the_longest_plan_leaves_field_and_buttons_in_sight_at_80x24() -> None:
    long = plan([f"A note of the gate that takes a line, number {n}." for n in range(30)])
    app = stub.make_app(whole_world(answers.full() | {"promote.run": long}), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "question")
        await pilot.pause()
        assert app.screen.focused is app.screen.query_one("#name")
        for each in ("#name", "#wrong", "#cancel", "#yes", "#hint"):
            assert app.screen.region.contains_region(app.screen.query_one(each).region)
        reading = app.screen.query_one("#reading")
        assert reading.region.height >= 8
        await pilot.press("pagedown", "down")
        await until(pilot, lambda: reading.scroll_offset.y == 6, "read on")


async def test_a_promotion_that_would_be_refused_asks_for_no_name() -> None:
    refused = plan(["It would be refused: no answer at http://localhost:8000/v1. 404"])
    app = stub.make_app(whole_world(answers.full() | {"promote.run": refused}), whole=True)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")
        await pilot.press("f2")
        outcome = app.screen.query_one("#outcome", Plate)
        await until(pilot, lambda: "no answer at http://localhost:8000/v1" in outcome.text, "why")
        assert isinstance(app.screen, FormScreen)


async def test_help_keeps_its_columns_apart_in_portuguese() -> None:
    app = stub.make_app(whole_world(), whole=True, language="pt_BR")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press("5")
        await settled(pilot)
        text = help_text(app, app.screen.scopes).plain
    assert "quando esteve em produção  " in text
    lines = [line for line in text.split("\n") if line.endswith(("models.production", "serve.ask"))]
    assert len({line.rindex(" ") for line in lines}) == 1 and len(lines) == 2


async def test_what_sophia_does_not_keep_is_not_changed_here() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("settings"))
        await settled(pilot)
        await pilot.press("e")
        await until(
            pilot, lambda: "Sophia does not keep OPENAI_API_KEY" in told_text(app.screen), "why"
        )
        await pilot.press("down", "e")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "form")


@pytest.mark.parametrize(("width", "screens"), [(60, 0), (120, 9)])
async def test_the_footer_of_overview_names_every_screen_where_there_is_room(
    width: int, screens: int
) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(width, 24)) as pilot:
        await settled(pilot)
        line = app.screen.query_one("#keys", Plate).text
        told = app.screen.query_one("#next_step", Plate).text
    assert "enter next step" in line or "enter" in told
    assert sum(key.text in line for key in keys.SCREENS) >= screens


async def test_a_data_set_says_why_records_were_rejected_in_the_persons_language() -> None:
    app = stub.make_app(whole_world(), whole=True, language="pt_BR")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "datasets")
        text = told_text(app.screen)
    assert "A última mensagem não é do assistente." in text
    assert "para validação 55" in text and "não" in text


@pytest.mark.parametrize("size", each_size())
async def test_after_preparing_the_cursor_is_on_the_new_version(size: tuple[int, int]) -> None:
    world = whole_world()
    made = answers.dataset("ground@aaaabbbbcccc")

    def prepare(request: Any) -> Any:
        world.answers["datasets.list"] = DatasetList(items=[made, *before])
        return PrepareOutput(
            dataset=made,
            sum="3 = 3 + 0",
            rejected=[],
            redactions={},
            files=[],
            passed_over=[],
            steps=[],
            warnings=[],
            existed=False,
            written=True,
        )

    before = list(world.answers["datasets.list"].items)
    world.answers["prepare.run"] = prepare
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await settled(pilot)
        await pilot.press("down", "n")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen), "the result")
        await pilot.press("escape")
        await until(pilot, lambda: getattr(app.screen, "selected_key", "") == made.id, "the new")
        await until(pilot, lambda: app.screen.shown.key == made.id, "shown beside the list")


async def test_tidying_up_says_what_would_go_and_how_much_before_it_asks() -> None:
    world = whole_world()
    gone = [
        PrunedView(what="checkpoints", of=job, bytes=1_200_000, size="1.2 MB", why="old")
        for job in ("ftjob-1", "ftjob-2")
    ]
    plan = PrunePlan(freed_bytes=2_400_000, items=gone, kept=[])
    world.answers["setup.prune"] = plan
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.open("setup.prune", {})
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        text = screen_text(app)
    assert "Would be removed for good: 2, 2.4 MB in all." in text
    assert "checkpoints: 2, 2.4 MB" in text
    assert "Would be removed" in result_text(plan).plain


async def test_a_schedule_is_changed_from_the_list_by_a_form_filled_in() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "jobs")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, SchedulesScreen), "the schedules")
        await settled(pilot)
        kept = answers.schedule()
        assert kept.name in screen_text(app) and "e change" in screen_text(app)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
        typed = app.screen.typed
        assert (typed["schedule"], typed["every"]) == (kept.name, kept.every)
        assert app.screen.seen == {"seen_version": kept.version}


async def test_where_no_schedule_is_the_key_that_adds_one_is_named() -> None:
    world = whole_world()
    world.answers["schedules.list"] = ScheduleList(items=[])
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "jobs")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, SchedulesScreen), "the schedules")
        await settled(pilot, "empty")
        assert "Nothing here yet. a: add a schedule" in screen_text(app)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, FormScreen), "the form")
