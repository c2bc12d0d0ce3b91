"""Nothing that a terminal acts on leaves the command line, whatever an answer or an error holds."""

from typing import Any

import pytest

from sophia_tui.cli.output import (
    ProgressLine,
    print_error,
    print_line,
    print_part,
    print_quietly,
    print_result,
)
from sophia_tui.domain.context import Progress
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import speaking
from sophia_tui.services.browse_views import SearchHit
from sophia_tui.services.catalogue import registry
from sophia_tui.services.views import LogView
from tests.hostile_texts import EVERYTHING, TEXTS, harm_in, poisoned

OPERATIONS = {each.name: each for each in registry()}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_answer_brings_it_to_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer: Any = poisoned(OPERATIONS[name].output, EVERYTHING)
    for as_json, plain in ((False, False), (False, True), (True, False)):
        for language in ("en", "pt_BR"):
            with speaking(language):
                print_result(answer, as_json, plain)
                told = capsys.readouterr()
                # JSON is for programs and keeps a letter whole, with all that stands upon it
                assert not harm_in(told.out + told.err, most_marks=10_000 if as_json else 8)
    print_quietly(answer)
    assert not harm_in(capsys.readouterr().err)
    print_part(answer)
    assert not harm_in(capsys.readouterr().out, most_marks=10_000)


@pytest.mark.parametrize("text", TEXTS)
def test_no_error_and_no_progress_brings_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = TEXTS[text]
    print_error(SophiaError("D999", hostile, hostile, hostile, of=[hostile]), True)
    assert not harm_in(capsys.readouterr().err, most_marks=10_000)
    print_error(SophiaError("D999", hostile, hostile, f"{hostile}\n{hostile}"), False)
    line = ProgressLine(quiet=False, plain=True)
    line(Progress(hostile, 1, 2, hostile, hostile))
    line(Progress(hostile + "2", 1, None, hostile, hostile))
    line.close()
    print_line(LogView.model_construct(job=hostile, path=hostile, lines=[hostile]))
    told = capsys.readouterr()
    assert not harm_in(told.out + told.err)


def test_a_number_of_a_line_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(SearchHit(line=7, before="a", found="b", after="c"))
    assert capsys.readouterr().err == ""
