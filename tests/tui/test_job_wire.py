"""What a job that is watched costs on the wire, by the events that come; no time is measured."""

from tests.tui.paper import shown_after
from tests.tui.test_terminal import Terminal

EVENTS = 40
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
        told = b""
        while part := terminal.read(2.0):
            told += part
        # only what changes is sent: the last line is whole on the screen, not on the wire
        assert f"step {10 * (120 + EVENTS)}" in shown_after(begun + told)
        # each event changes its number, its time, its step and its loss
        assert 10 <= len(told) / EVENTS <= MOST_BYTES, len(told)
    finally:
        terminal.close()
