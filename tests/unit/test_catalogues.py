"""The catalogues: complete, faithful to the placeholders, compiled, and really what people read."""

import string
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Message

from sophia_tui import i18n
from sophia_tui.cli.grammar import parser_for
from sophia_tui.cli.output import print_error
from sophia_tui.datasets.codes import explain
from sophia_tui.errors import NotFoundError
from sophia_tui.i18n import N_, _, ngettext, set_language
from sophia_tui.services.catalogue import registry
from sophia_tui.services.views import VALUE_WORDS
from tests.tools import catalogues

ROOT = Path(__file__).parents[2]


def _forms(message: Message) -> list[tuple[str, str]]:
    """Every translated form beside the English form that it stands for."""
    if isinstance(message.id, str):
        return [(message.id, str(message.string))]
    return list(zip(message.id, message.string or (), strict=True))


def _entries() -> list[Message]:
    return [each for each in catalogues.stored() if each.id and each.string]


def _fields(text: str) -> list[str]:
    return sorted(name for _text, name, _format, _how in string.Formatter().parse(text) if name)


def test_every_text_is_translated_and_none_is_fuzzy_left_over_or_uncompiled() -> None:
    assert catalogues.problems() == []


def test_an_untranslated_text_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = catalogues.extracted()
    wanted.add("A text that nobody translated.", locations=[("somewhere.py", 0)])
    monkeypatch.setattr(catalogues, "extracted", lambda: wanted)
    assert any("A text that nobody translated." in each for each in catalogues.problems())


def test_texts_inside_f_strings_and_in_parts_are_extracted() -> None:
    module = """
name = f"{_('Inside {x}').format(x=1)}: {y}"
N_("Declared "
   "in two parts")
ngettext("one", "many", count)
_("") + _(name)
"""
    assert set(catalogues.texts(module)) == {
        "Inside {x}",
        "Declared in two parts",
        ("one", "many"),
    }


def test_a_lost_placeholder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    have = catalogues.stored()
    have["There is no job {job}."].string = "Não existe a tarefa."
    monkeypatch.setattr(catalogues, "stored", lambda: have)
    assert any(
        each.startswith("placeholders differ: 'There is no job") for each in catalogues.problems()
    )


def test_placeholders_stand_as_often_as_in_english() -> None:
    wrong = [
        (english, portuguese)
        for message in _entries()
        for english, portuguese in _forms(message)
        if "{" in english
        and not english.startswith("Send an object")  # shows JSON, is never formatted
        and _fields(english) != _fields(portuguese)
    ]
    assert wrong == []


def test_commands_and_settings_stay_as_they_are_typed() -> None:
    """What stands between backticks, and a name_with_underscores, is typed: it is kept."""
    wrong = []
    for message in (each for each in _entries() if each.id not in VALUE_WORDS):
        for english, portuguese in _forms(message):
            typed = english.split("`")[1::2]
            typed += [word for word in english.split() if word.strip(".,;:()").count("_") > 0]
            wrong += [
                (each, portuguese)
                for each in (part.strip(".,;:()=") for part in typed)
                if each not in portuguese
            ]
    assert wrong == []


def test_the_same_white_space_surrounds_both_languages() -> None:
    wrong = [
        pair
        for message in _entries()
        for pair in _forms(message)
        if [not each[:1].strip() for each in pair] == [True, False]
        or pair[0].endswith(" ") != pair[1].endswith(" ")
        or pair[0].count("\n") != pair[1].count("\n")
    ]
    assert wrong == []


def test_portuguese_has_two_plural_forms() -> None:
    set_language("pt_BR")
    words = [ngettext("{count} file", "{count} files", each) for each in (0, 1, 2, 11)]
    assert words == ["{count} arquivo", "{count} arquivo", "{count} arquivos", "{count} arquivos"]


def test_a_text_is_looked_up_in_the_language_of_the_moment() -> None:
    text = N_("There is no job {job}.")
    set_language("pt_BR")
    assert _(text) == "Não existe a tarefa {job}."
    set_language("en")
    assert _(text) == "There is no job {job}."


def test_a_text_that_no_catalogue_knows_is_shown_as_it_is() -> None:
    set_language("pt_BR")
    assert _("a provider's own word") == "a provider's own word"


def test_every_operation_says_in_portuguese_what_it_does() -> None:
    set_language("pt_BR")
    assert [each.name for each in registry() if _(each.help) == each.help] == []


def test_help_of_a_verb_comes_in_portuguese_with_argparses_own_words() -> None:
    set_language("pt_BR")
    chosen = next(each for each in registry() if each.name == "prepare.run")
    text = parser_for(chosen).format_help()
    assert text.startswith("uso: sophia prepare")
    assert "opções:" in text
    assert "A semente da divisão" in text
    assert "options" not in text


def test_an_error_is_told_in_portuguese(capsys: pytest.CaptureFixture[str]) -> None:
    set_language("pt_BR")
    print_error(
        NotFoundError(
            "J404",
            _("There is no job {job}.").format(job="ftjob-1"),
            remedy=_("`sophia jobs list` lists the jobs."),
        ),
        as_json=False,
    )
    assert capsys.readouterr().err == (
        "SOPHIA-J404  Não existe a tarefa ftjob-1.\n"
        "  O que fazer: `sophia jobs list` lista as tarefas.\n"
    )


def test_the_reason_of_a_rejection_is_portuguese_down_to_the_formats_name() -> None:
    set_language("pt_BR")
    assert explain("unknown_format", {"format": "plain text"}) == (
        "Formato desconhecido nesta versão (texto puro)."
    )


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ({"SOPHIA_LANG": "pt_BR"}, "Sophia: colete, prepare, treine"),
        ({"LANG": "pt_BR.UTF-8"}, "Sophia: colete, prepare, treine"),
        ({"LANG": "pt_BR.UTF-8", "SOPHIA_LANG": "en"}, "Sophia: collect, prepare, train"),
        ({"LANG": "C"}, "Sophia: collect, prepare, train"),
    ],
)
def test_the_command_line_speaks_the_language_of_the_environment(
    how: dict[str, str], first: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "sophia_tui.cli.main", "--help"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", **how},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert ran.stdout.startswith(first)
    assert ran.stderr == ""


def test_numbers_are_written_as_the_language_does() -> None:
    set_language("pt_BR")
    assert i18n.number(1204.5, 1) == "1.204,5"
    set_language("en")
    assert i18n.number(1204.5, 1) == "1,204.5"
