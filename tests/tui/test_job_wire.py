"""What a job that is watched costs on the wire, by the events that come; no time is measured."""

import time

from tests.tui.paper import shown_after
from tests.tui.test_terminal import Terminal

EVENTS = 60
#: At an event a second these are bytes a second.
MOST_BYTES = 400


def test_a_watched_job_costs_at_most_400_bytes_an_event() -> None:
    terminal = Terminal(["-m", "tests.tui.play_growing", str(EVENTS)])
    try:
        begun = terminal.read(20.0, until=b"in 54 days") + terminal.read(1.0)
        terminal.type(b"4")
        begun += terminal.read(20.0, until=b"ftjob-")
        terminal.type(b"\r")
        begun += terminal.read(20.0, until=b"metric")
        assert "training" in shown_after(begun)
        # only what changes is sent: the last line is whole on the screen, not on the wire
        last, told = f"step {10 * (120 + EVENTS)}", b""
        end = time.monotonic() + 60
        while last not in shown_after(begun + told) and time.monotonic() < end:
            told += terminal.read(1.0)
        told += terminal.read(1.0)
        assert last in shown_after(begun + told)
        assert len(told) / EVENTS <= MOST_BYTES, len(told)
        assert terminal.read(2.0) == b""
    finally:
        terminal.close()
