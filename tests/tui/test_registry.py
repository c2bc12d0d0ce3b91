"""What the console binds by name exists, and what exists has words."""

import importlib
import pkgutil
from typing import Any

import pytest

from sophia_tui.domain.operations import Danger
from sophia_tui.errors import UsageError
from sophia_tui.services.catalogue import registry
from sophia_tui.tui import keys, screens, words
from sophia_tui.tui.pages import PAGES, ROAD, page_of
from sophia_tui.tui.screens import CLASSES
from sophia_tui.tui.screens.base import SophiaScreen

NAMES = {each.name for each in registry()}


def test_keys_lead_only_to_operations_screens_and_acts_that_exist() -> None:
    for key in keys.KEYS:
        kind, _sign, name = key.target.partition(".")
        assert key.target in NAMES or kind == "act" or (kind == "screen" and name in CLASSES)


def test_operations_behind_screens_exist() -> None:
    assert set(keys.SHOWS.values()) | set(keys.SHOWN_BY) | set(keys.FILLED_BY.values()) <= NAMES


def test_every_screen_has_a_page_whose_commands_exist() -> None:
    digits = {each.target.removeprefix("screen.") for each in keys.SCREENS}
    assert set(keys.SHOWS) < digits == set(CLASSES) <= set(PAGES)
    assert {name for page in PAGES.values() for name in page.twins} <= NAMES


def _screen_classes() -> list[type[SophiaScreen]]:
    for each in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{each.name}")
    found: list[type[SophiaScreen]] = []
    left = [SophiaScreen]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith(f"{screens.__name__}."):
            found.append(kind)
    # what only others are made of is never opened
    return [each for each in found if each.scopes not in ((), ("table",), ("table", "list"))]


@pytest.mark.parametrize("kind", _screen_classes(), ids=lambda kind: kind.__name__)
def test_every_screen_class_has_a_help_page_and_every_key_of_it_a_word(kind: Any) -> None:
    page = page_of(kind.scopes)
    assert page.about, kind
    assert set(kind.scopes) - {"table", "list", "result"} <= {
        scope for scope, known in PAGES.items() if known is page or scope == "result"
    }
    assert all(each.text for each in keys.for_scopes(keys.KEYS, kind.scopes))


def test_every_scope_of_keys_has_a_page() -> None:
    assert {each.scope for each in keys.KEYS} - {"", "table", "list"} <= set(PAGES)


def test_what_a_screen_shows_stands_among_its_commands() -> None:
    assert {
        name: operation
        for name, operation in keys.SHOWS.items()
        if operation not in PAGES[name].twins
    } == {}
    # what opens by a key of its own screen is told there, too
    for name in ("calendar", "schedules", "inspection", "browser", "preview"):
        assert PAGES[name].twins


def test_the_way_through_names_operations_and_keys_that_exist() -> None:
    assert {name for name, _screen, _text in ROAD} <= NAMES
    for name, screen, _text in ROAD:
        bound = any((each.scope, each.target) == (screen, name) for each in keys.KEYS)
        shown = keys.SHOWS[screen] == name or keys.SHOWN_BY.get(name, ("",))[0] == screen
        assert bound or shown, name


def test_every_verb_and_subject_has_a_word_for_the_palette() -> None:
    assert {each.verb for each in registry()} <= set(words.VERBS)
    assert {each.subject for each in registry()} <= set(words.SUBJECTS)


def test_what_is_asked_before_is_called_by_its_own_words() -> None:
    assert {each.name for each in registry() if each.danger is not Danger.NONE} <= set(words.ACTS)


def test_a_schedule_is_added_and_a_file_taken_in() -> None:
    titles = {each.name: words.operation_title(each) for each in registry()}
    assert titles["schedules.add"] == "add: schedules"
    assert titles["files.add"] == "take in: uploaded files"


def test_no_key_that_a_terminal_can_not_tell_apart() -> None:
    for key in keys.KEYS:
        for each in (key.key, *key.others):
            assert "ctrl" not in each or each == "ctrl+p"
            assert "shift" not in each and "alt" not in each


def test_no_key_leads_to_two_places_on_one_screen() -> None:
    scopes = {each.scope for each in keys.KEYS} - {"", "table"}
    for scope in scopes:
        alone = (
            *("form", "result", "overview", "monitor", "review", "browser", "editor"),
            *("typed", "drafts"),
        )
        lists = ("table",) if scope not in alone else ()
        found = [
            name
            for key in keys.for_scopes(keys.KEYS, (scope, "", *lists))
            for name in (key.key, *key.others)
        ]
        assert len(found) == len(set(found)), scope


def test_an_unknown_target_in_sophia_keys_is_refused() -> None:
    with pytest.raises(UsageError, match="U010"):
        keys.remapped("jobs.dance=d")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ("act.copy=c", "U063"),  # jobs.cancel and others have it on their screens
        ("jobs.cancel=p", "U063"),  # jobs.pause, on the same screen
        ("act.refresh=ctrl+m", "U064"),  # a terminal sends enter for it
        ("act.refresh=ctrl+b", "U064"),  # tmux takes it
        ("act.refresh=hyper+x", "U064"),
    ],
)
def test_a_key_that_is_taken_or_never_comes_is_refused(changes: str, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        keys.remapped(changes)


def test_every_key_can_be_another_one() -> None:
    for key in keys.KEYS:
        moved = next(
            each for each in keys.remapped(f"{key.target}=f24") if each.target == key.target
        )
        assert moved.key == "f24"


def test_two_may_change_places() -> None:
    moved = {each.target: each.key for each in keys.remapped("jobs.pause=c,jobs.cancel=p")}
    assert (moved["jobs.pause"], moved["jobs.cancel"]) == ("c", "p")
