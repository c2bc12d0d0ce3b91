"""What a job that is watched costs on the wire, by the events that come; no time is measured."""

from tests.tui.test_terminal import Terminal

EVENTS = 60
#: At an event a second these are bytes a second.
MOST_BYTES = 400


def test_a_watched_job_costs_at_most_400_bytes_an_event() -> None:
    terminal = Terminal(["-m", "tests.tui.play_growing", str(EVENTS)])
    try:
        terminal.read(20.0, until=b"in 54 days")
        terminal.settle()
        terminal.type(b"4")
        assert terminal.read(20.0, until=b"ftjob-")
        terminal.type(b"\r")
        opened = terminal.read(20.0, until=b"metric")
        assert b"training" in opened
        last = f"step {10 * (120 + EVENTS)}".encode()
        told = terminal.read(60.0, until=last) + terminal.read(1.0)
        assert last in told
        assert len(told) / EVENTS <= MOST_BYTES, len(told)
        assert terminal.read(2.0) == b""
    finally:
        terminal.close()
