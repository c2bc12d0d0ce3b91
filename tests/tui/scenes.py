"""What pictures are taken of: every screen in each of its states, and how one comes there."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from textual.pilot import Pilot

from sophia_tui.services.setup_steps import ApplyView, StepLine
from sophia_tui.tui import keys
from sophia_tui.tui.screens.browser import BrowserScreen
from sophia_tui.tui.screens.bulk import BulkScreen
from sophia_tui.tui.screens.calendar import CalendarScreen
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.help import HelpScreen
from sophia_tui.tui.screens.inspection import InspectionScreen
from sophia_tui.tui.screens.job_compare import JobCompareScreen
from sophia_tui.tui.screens.palette import PaletteScreen
from sophia_tui.tui.screens.pick import DraftsScreen, TypedScreen
from sophia_tui.tui.screens.review import ReviewScreen
from sophia_tui.tui.screens.schedules import SchedulesScreen
from sophia_tui.tui.step_run import StepRun
from tests.tui import answers, stub
from tests.tui.test_calendar_screen import entry, world_with
from tests.tui.test_console import settled, until
from tests.tui.test_screens import digit, plan, whole_world

Play = Callable[[Pilot[Any], stub.World], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    """`play` leads from the first paint to what the picture is taken of; `few`: over the
    stand-ins' few operations, so that the picture does not grow with Sophia."""

    name: str
    play: Play
    world: Callable[[], stub.World] = whole_world
    few: bool = False


@dataclass(frozen=True)
class Place:
    """A screen with states: the one it is opened from and how it is opened there; what it is asked
    with where it has nothing; the states that it never has."""

    name: str
    enter: Callable[[Pilot[Any]], Awaitable[None]]
    over: str = ""
    world: Callable[[], stub.World] = whole_world
    nothing: Mapping[str, Any] = field(default_factory=answers.empty)
    never: frozenset[str] = frozenset()


STATES = ("full", "loading", "empty", "error", "stale")


async def _press(pilot: Pilot[Any], key: str) -> None:
    await pilot.press(key)


async def _show(pilot: Pilot[Any], make: Callable[[Any], Any]) -> None:
    screen = make(pilot.app)
    pilot.app.show(screen)
    await until(pilot, lambda: pilot.app.screen is screen and bool(screen.query("#keys")), "it")


async def _inspect(pilot: Pilot[Any]) -> None:
    await _show(pilot, lambda app: InspectionScreen(app, {}))


async def _browse(pilot: Pilot[Any]) -> None:
    await _show(pilot, lambda app: BrowserScreen(app, {"file": "/data/pairs.jsonl"}))


async def _environment(pilot: Pilot[Any]) -> None:
    await pilot.press("e")
    await until(pilot, lambda: pilot.app.screen.name_of_screen == "environment", "the keys")


def _no_lines() -> dict[str, Any]:
    return {"prepare.browse": answers.page().model_copy(update={"items": []})}


#: These always have something to show: what is the matter, and what to do.
_NEVER_EMPTY = frozenset(keys.SHOWS) - frozenset(keys.FILLED_BY)

PLACES = (
    *(
        Place(
            name,
            partial(_press, key=digit(name)),
            never=frozenset({"empty"}) if name in _NEVER_EMPTY else frozenset(),
        )
        for name in keys.SHOWS
    ),
    Place("environment", _environment, over="setup"),
    Place("browser", _browse, over="datasets", nothing=_no_lines()),
    # a report always has its figures
    Place("inspection", _inspect, over="datasets", never=frozenset({"empty"})),
    Place(
        "schedules",
        partial(_show, make=SchedulesScreen),
        over="jobs",
    ),
    Place(
        "calendar",
        partial(_show, make=CalendarScreen),
        over="models",
        world=lambda: world_with(entry()),
    ),
)


def _prepare(world: stub.World, place: Place, state: str) -> None:
    """Make the world answer as the state wants."""
    if state == "empty":
        world.answers = {**world.answers, **place.nothing}
    elif state == "loading":
        world.block.clear()
    elif state == "error":
        world.trouble = stub.database_gone()


def _prepared(place: Place, state: str) -> stub.World:
    world = place.world()
    if not place.over:
        _prepare(world, place, state)
    return world


async def _in_state(pilot: Pilot[Any], world: stub.World, place: Place, state: str) -> None:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    if place.over:
        await pilot.press(digit(place.over))
        await settled(pilot)
        _prepare(world, place, state)
    await place.enter(pilot)
    if state in ("full", "stale"):
        await _told(pilot)
    if state == "stale":
        world.trouble = stub.database_gone()
        world.now += timedelta(seconds=40)
        await pilot.press("r")
    await settled(pilot, state)


async def _told(pilot: Pilot[Any]) -> None:
    """Full, in the wide window with the first row beside the list."""
    await settled(pilot)
    screen = pilot.app.screen
    if isinstance(screen, DetailScreen) and screen.wide and screen.shown:
        await until(pilot, lambda: screen.told_of == screen.shown.key, "told")


async def _one_row(pilot: Pilot[Any], world: stub.World, place: Place, below: int = 0) -> None:
    await _in_state(pilot, world, place, "full")
    await pilot.press(*["down"] * below, "enter")
    screen = pilot.app.screen
    await until(pilot, lambda: screen.shown and screen.told_of == screen.shown.key, "told")


def _place(name: str) -> Place:
    return next(each for each in PLACES if each.name == name)


def _at(name: str, then: Play) -> Play:
    """`then`, once the screen is full."""

    async def play(pilot: Pilot[Any], world: stub.World) -> None:
        await _in_state(pilot, world, _place(name), "full")
        await then(pilot, world)

    return play


def _pressed(*keys_pressed: str, shown: type | str) -> Play:
    """Keys, and the screen (or the widget's selector) that they lead to."""

    async def play(pilot: Pilot[Any], world: stub.World) -> None:
        await pilot.press(*keys_pressed)
        app = pilot.app
        if isinstance(shown, str):
            await until(pilot, lambda: bool(app.screen.query(shown)), shown)
        else:
            await until(pilot, lambda: isinstance(app.screen, shown), str(shown))
        await until(pilot, lambda: app.screen.is_mounted, "mounted")

    return play


async def _log(pilot: Pilot[Any], world: stub.World) -> None:
    """A job's log in place of its events."""
    await pilot.press("enter", "l")
    screen: Any = pilot.app.screen
    await until(pilot, lambda: screen.tail.pane == "log" and screen.tail.lines, "the log")


def _opens(operation: str, request: Mapping[str, str], shown: str) -> Play:
    async def play(pilot: Pilot[Any], world: stub.World) -> None:
        pilot.app.open(operation, dict(request))
        await until(pilot, lambda: bool(pilot.app.screen.query(shown)), shown)

    return play


async def _form_with_a_mistake(pilot: Pilot[Any], world: stub.World) -> None:
    pilot.app.open("things.make", {"name": "box", "count": "12"})
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen), "the form")
    await pilot.press("f2")


async def _question(pilot: Pilot[Any], world: stub.World) -> None:
    pilot.app.open("promote.run", {"model": "sophia-v2"})
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen), "the form")
    await pilot.press("f2")
    await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen), "the question")


def _promoting() -> stub.World:
    return whole_world(answers.full() | {"promote.run": plan([])})


async def _leaving(pilot: Pilot[Any], world: stub.World) -> None:
    """`q` while something is typed."""
    pilot.app.open("things.make", {})
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen), "the form")
    await pilot.press("x", "f10")
    await until(pilot, lambda: bool(pilot.app.screen.query("#question")), "the question")


async def _palette_of(pilot: Pilot[Any], wanted: str) -> None:
    await pilot.press("colon")
    await until(pilot, lambda: isinstance(pilot.app.screen, PaletteScreen), "the palette")
    await pilot.press(*wanted)


async def _editor(pilot: Pilot[Any], world: stub.World) -> None:
    pilot.app.screen.of = {"file": "/data/pairs.jsonl"}
    await _pressed("e", shown="#record")(pilot, world)


async def _value(pilot: Pilot[Any], world: stub.World) -> None:
    await _pressed("e", shown="#value")(pilot, world)
    await pilot.press(*"sk-1")
    await until(pilot, lambda: bool(pilot.app.screen.query_one("#state").text), "its state")


async def _wizard(pilot: Pilot[Any], world: stub.World, page: int = 0) -> None:
    """A page of the first set-up; what the pages found is found."""
    app = pilot.app
    await _pressed("w", shown="#title")(pilot, world)
    await pilot.pause()
    if page:
        app.screen.query_one("#field-database_url").value = "postgresql://me@db/prod"
        await pilot.pause()
        app.screen._turn_to(page)
        await pilot.press("end" if page == 7 else "f2")
        await until(pilot, lambda: len(app.screen.query_one("#found").text) > 20, "found")


async def _step(pilot: Pilot[Any], world: stub.World, failed: bool) -> None:
    run = StepRun("units")
    for line in ("step 1 of 1: units", "red \x1b[31mESC"):
        run.take(StepLine(line=line))
    if failed:
        command = "sudo ./install_sophia_llm.sh --step units"
        view = ApplyView(step="units", outcome="failed", effect="", command=command, code=7)
        run.ended(view.model_copy(update={"log": "/var/log/sophia/install.log"}))
    pilot.app.step_run = run
    await _pressed("o", shown="#output")(pilot, world)


async def _nothing_done(pilot: Pilot[Any], world: stub.World) -> None:
    await settled(pilot)


async def _help(pilot: Pilot[Any], world: stub.World) -> None:
    await pilot.press(digit("jobs"))
    await settled(pilot)
    await _pressed("f1", shown=HelpScreen)(pilot, world)


async def _palette(pilot: Pilot[Any], world: stub.World, wanted: str = "") -> None:
    await settled(pilot)
    await _palette_of(pilot, wanted)


async def _few(pilot: Pilot[Any], world: stub.World, then: Play) -> None:
    await settled(pilot)
    await then(pilot, world)


async def _compared(pilot: Pilot[Any], world: stub.World) -> None:
    await _pressed("space", "down", "space", "x", shown=JobCompareScreen)(pilot, world)


async def _review(pilot: Pilot[Any], world: stub.World) -> None:
    await settled(pilot)
    await _pressed(digit("review"), shown=ReviewScreen)(pilot, world)


async def _drafts(pilot: Pilot[Any], world: stub.World) -> None:
    await _show(pilot, DraftsScreen)


def _before_a_training(operation: str) -> Scene:
    given = {"job" if operation == "train.checklist" else "dataset": "town"}
    return Scene(operation.replace(".", "-"), _at("overview", _opens(operation, given, "#result")))


def _states() -> list[Scene]:
    found = []
    for place in PLACES:
        for state in STATES:
            if state not in place.never:
                play = partial(_in_state, place=place, state=state)
                made = partial(_prepared, place, state)
                found.append(Scene(f"{place.name}-{state}", play, made))
    return found


#: Screens whose rows are opened; how far down the row is.
ROWS = {name: 0 for name in keys.SHOWS if name not in ("overview", "monitor")} | {
    "setup": 3,
    "environment": 0,
    "browser": 1,
    "inspection": 5,
    "schedules": 0,
    "calendar": 0,
}

SCENES = [
    *_states(),
    *(
        Scene(
            f"{name}-row",
            partial(_one_row, place=_place(name), below=below),
            _place(name).world,
        )
        for name, below in ROWS.items()
    ),
    Scene("overview-first", _nothing_done, stub.World, few=True),
    Scene("help", _help, stub.full_world, few=True),
    Scene("palette", _palette, stub.full_world, few=True),
    Scene("palette-found", partial(_palette, wanted="count"), stub.full_world, few=True),
    Scene("palette-nothing", partial(_palette, wanted="zzz"), stub.full_world, few=True),
    Scene(
        "form",
        partial(_few, then=_opens("things.make", {"name": "box"}, "#command")),
        stub.World,
        few=True,
    ),
    Scene("form-wrong", partial(_few, then=_form_with_a_mistake), stub.World, few=True),
    Scene("leave-question", partial(_few, then=_leaving), stub.World, few=True),
    Scene("promote-question", _at("models", _question), _promoting),
    Scene("datasets-diff", _at("datasets", _pressed("space", "down", "d", shown="#result"))),
    Scene("editor", _at("browser", _editor)),
    Scene("value", _at("environment", _value)),
    Scene("wizard", _at("setup", _wizard)),
    Scene("wizard-database", _at("setup", partial(_wizard, page=1))),
    Scene("wizard-plan", _at("setup", partial(_wizard, page=7))),
    Scene("step-running", _at("setup", partial(_step, failed=False))),
    Scene("step-failed", _at("setup", partial(_step, failed=True))),
    Scene("jobs-compare", _at("jobs", _compared)),
    Scene("bulk", _at("datasets", _pressed("space", "down", "space", "x", shown=BulkScreen))),
    Scene("review", _review),
    Scene("typed", _at("jobs", _pressed("f9", shown=TypedScreen))),
    Scene("drafts-none", _at("jobs", _drafts)),
    Scene("jobs-log", _at("jobs", _log)),
    *map(_before_a_training, ("train.plan", "train.preview", "train.checklist")),
]
