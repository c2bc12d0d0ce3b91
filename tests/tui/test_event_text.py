"""Events as lines for people."""

from typing import Any

import pytest

from sophia_tui.i18n import set_language
from sophia_tui.services.views import EventView
from sophia_tui.tui.event_text import event_lines
from tests.tui import stub


def told(kind: str, width: int = 200, **data: Any) -> str:
    lines = event_lines(EventView(number=7, at=stub.NOW, kind=kind, data=data), width)
    return "\n".join(line.plain for line in lines)


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        ("state", {"state": "paused", "step": 1204}, "paused, step 1204"),
        (
            "progress",
            {"phase": "train", "step": 20, "total_steps": 500, "seconds_left": 600.0},
            "trains, step 20/500, 10 min left",
        ),
        ("progress", {"phase": "load", "step": 0, "total_steps": 0}, "loads the base"),
        (
            "metric",
            {"step": 20, "learning_rate": 2e-05, "loss": 1.3149, "memory_bytes": 1_240_000_000},
            "step 20, loss 1.31, rate 2e-05, memory 1.2 GB",
        ),
        (
            "checkpoint",
            {"step": 100, "path": "checkpoints/100", "bytes": 3_400_000, "seconds": 0.84},
            "step 100, 3.4 MB, 0.8 s, path: checkpoints/100",
        ),
        ("warning", {"message": "Slow.", "free": 12}, "Slow., free: 12"),
        ("tribunal", {"step": 1, "bytes": 3_400_000}, "step: 1, bytes: 3400000"),
    ],
)
def test_usual_events_are_readable_and_others_are_names_with_values(
    kind: str, data: dict[str, Any], line: str
) -> None:
    assert told(kind, **data).endswith(f" {line}")


def test_a_rate_has_the_sign_of_the_language() -> None:
    set_language("pt_BR")
    assert "taxa 1,5e-05" in told("metric", learning_rate=1.5e-05)


def test_what_has_no_room_goes_on_below_its_text() -> None:
    first, *more = told("warning", width=60, message="word " * 20).split("\n")
    at = first.index("word")
    assert more and all(line.startswith(" " * at + "word") for line in more)
    assert all(len(line) <= 60 for line in (first, *more))


def test_signs_of_a_terminal_stay_marks() -> None:
    assert "\x1b" not in told("warning", message=stub.HOSTILE, **{"\x1b": "\x07"})


def test_what_a_run_says_in_english_is_told_in_the_persons_language() -> None:
    set_language("pt_BR")
    cut = {"reason": "truncated", "file": "train.jsonl", "count": 8, "lines": [3]}
    message = "train.jsonl: 8 examples: longer than sequence_length and cut there"
    line = told("warning", message=message, **cut)
    assert "train.jsonl: 8 exemplos: mais longos que sequence_length e cortados ali" in line
    assert "examples" not in line
    assert "adaptador mantido: o último passo" in told("result", adapter_reason="the last step")
    assert "tipo de execução: treinamento" in told("state", state="starting", run_kind="train")
