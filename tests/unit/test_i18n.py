"""Which language is spoken, read from the environment as text."""

import asyncio
from datetime import UTC, datetime

import pytest

from sophia_tui import i18n


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "pt_BR.UTF-8"}, "pt_BR"),
        ({"LANG": "pt_PT"}, "pt_BR"),
        ({"LANG": "pt-BR"}, "pt_BR"),
        ({"LANG": "PT_br.utf8@euro"}, "pt_BR"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "xx_not-installed.FOO"}, "en"),
        ({"LANG": "pt_BR", "LC_MESSAGES": "en_US"}, "en"),
        ({"LC_MESSAGES": "en_US", "LC_ALL": "pt_BR"}, "pt_BR"),
        ({"LC_ALL": "", "LANG": "pt_BR"}, "pt_BR"),
        ({"LC_ALL": "en_US", "SOPHIA_LANG": "pt_BR"}, "pt_BR"),
    ],
)
def test_the_environment_names_the_language(environment: dict[str, str], language: str) -> None:
    assert i18n.detect_language(environment) == language


@pytest.mark.parametrize("text", [None, "", "fr", "portuguese"[0], "engl", "ptolemy"])
def test_no_language_of_ours(text: str | None) -> None:
    assert i18n.match_language(text) is None


async def test_two_tasks_speak_two_languages() -> None:
    async def speak(language: str) -> str:
        i18n.set_language(language)
        await asyncio.sleep(0)
        return i18n.get_language()

    assert await asyncio.gather(speak("pt_BR"), speak("en")) == ["pt_BR", "en"]
    assert i18n.get_language() == "en"


def test_numbers_are_written_as_people_write_them() -> None:
    assert i18n.number(1204.5, 1) == "1,204.5"
    i18n.set_language("pt_BR")
    assert i18n.number(1204.5, 1) == "1.204,5"


def test_an_empty_text_stays_empty() -> None:
    i18n.set_language("pt_BR")
    assert i18n._("") == ""


def test_a_text_without_translation_stays_english() -> None:
    i18n.set_language("pt_BR")
    text = "no catalogue holds this"
    assert i18n._(text) == text


def test_a_time_on_a_screen_and_a_number_have_the_form_of_the_language() -> None:
    at = datetime(2026, 11, 5, 17, 54, 8, tzinfo=UTC)
    assert i18n.written(at) == "2026-11-05 17:54" and i18n.number(-0.00001, 4) == "0.0000"
    with i18n.speaking("pt_BR"):
        assert i18n.written(at, seconds=True) == "05/11/2026 17:54:08"
        assert i18n.written(at, year=False) == "05/11 17:54"
        assert i18n.number(-0.00001, 4) == "0,0000" and i18n.number(-0.5, 1) == "-0,5"
