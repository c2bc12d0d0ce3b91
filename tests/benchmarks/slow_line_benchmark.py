"""The console over a slow line: 56 kbit/s and 200 ms there and back, by a real ssh, 80x24.

`python -m tests.benchmarks.slow_line_benchmark [--delay MILLISECONDS] [--rate BITS]
[--watch SECONDS] [--peers harlequin]`

`--delay` is one way (100). Seconds from key to the last byte of the picture, and its bytes as the
program sent them. Beside it: a shell's echo of one key, which no program beats, and harlequin. It
needs ssh and sshd (SSHD names one elsewhere), and says so where they are missing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests import seeded
from tests.benchmarks import slow_line
from tests.benchmarks.console_benchmark import ESCAPE, LIVE, PAINTED, SHOWN, Figures, digit, table
from tests.benchmarks.console_peers import PEERS, Peer
from tests.benchmarks.console_terminal import Window, end_in_order
from tests.benchmarks.console_world import World

DOWN = "\x1b[B"
#: Between two pieces of a picture the line may be silent for so long.
SILENCE = 0.5
#: Keyboards repeat a key that is held down about so often.
REPEAT_SECONDS = 0.033
KEPT = ("PATH", "SOPHIA_DATA_DIR", "FINETUNE_DIR", "PYTHONPATH", "TERM", "LANG", "HOME")


class Session:
    """One program at the other end, and what was measured of it."""

    def __init__(self, window: Window, name: str) -> None:
        self.window, self.figures = window, Figures(name)

    def press(self, what: str, typed: str, words: Sequence[str] = ()) -> None:
        try:
            seen = self.window.press(typed, words, silence=SILENCE, patience=20.0)
        except TimeoutError as problem:
            self.figures.failed.append(f"{what}: {problem}"[:600])
            return
        self.figures.add(what, seen)

    def hold(self, what: str, typed: str, times: int) -> None:
        """A key that is held down: seconds from letting go until the picture is whole."""
        self.window.settle(SILENCE)
        for time_ in range(times):
            os.write(self.window.master, typed.encode())
            if time_ < times - 1:
                time.sleep(REPEAT_SECONDS)
        try:
            seen = self.window.until((), time.perf_counter(), SILENCE, 20.0)
        except TimeoutError as problem:
            self.figures.failed.append(f"{what}: {problem}"[:600])
            return
        self.figures.add(what, seen)


def shell(session: Session) -> None:
    session.window.until(("ready",), silence=SILENCE)
    for key in "ghi":
        session.press("a key echoed", key, (key,))


def sophia(session: Session, world: World, seconds: float) -> None:
    window, figures = session.window, session.figures
    figures.add("open: painted (after the login)", window.until(PAINTED, silence=0))
    figures.add("open: live", window.until(LIVE, silence=SILENCE))
    for name in ("setup", "datasets", "jobs", "models", "monitor", "settings", "audit"):
        session.press(name, digit(name), SHOWN[name])
    session.press("overview", digit("overview"), LIVE)
    session.press("jobs, again", digit("jobs"), ("running",))
    session.press("cursor, one row", DOWN)
    session.hold("cursor, held for ten rows", DOWN, 10)
    session.press("help", "?", ("esc",))
    session.press("back from help", ESCAPE)
    session.press("palette", ":")
    session.press("palette, four letters", "trai")
    session.press("back from the palette", ESCAPE)
    session.press("form", "t", ("F2",))
    session.press("back from the form", ESCAPE)
    session.press("filter, opened", "/")
    session.press("filter, ten letters at once", "ftjob-runn")
    session.press("to the list", "\r")
    session.press("job detail", "\r", (seeded.RUNNING[:12],))
    with world.running():
        window.settle(3.0)
        figures.told["watched, bytes/s"] = window.idle(seconds) / seconds
        session.press("log, while it is watched", "l")
        session.press("back to the list, while it runs", ESCAPE)


def peer_session(session: Session, peer: Peer) -> None:
    session.figures.add("open: painted (after the login)", session.window.until(peer.painted))
    session.window.settle(1.0)
    for each in peer.presses:
        session.press(each.what, each.keys, each.words)
        if each.what == "cursor":
            session.hold("cursor, held for ten steps", each.keys, 10)
        if each.back:
            session.press(f"back from {each.what}", each.back)


def report(sessions: Sequence[Session]) -> None:
    for session in sessions:
        figures = session.figures
        rows = [
            [what, f"{figures.middle(what):.2f}", f"{figures.size(what):,.0f}"]
            for what in figures.seconds
        ]
        rows += [[what, f"{value:,.0f}", ""] for what, value in figures.told.items()]
        print(f"\n{figures.name}\n")
        table(["", "seconds", "bytes"], rows)
        for problem in figures.failed:
            print(f"failed: {problem}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=100.0)
    parser.add_argument("--rate", type=float, default=56_000.0)
    parser.add_argument("--watch", type=float, default=60.0)
    parser.add_argument("--peers", default="harlequin")
    given = parser.parse_args()
    end_in_order()
    if lacks := slow_line.missing():
        sys.exit(f"missing here: {', '.join(lacks)}")
    wanted = [peer for peer in PEERS if peer.name in given.peers.split(",")]
    sessions: list[Session] = []
    with ExitStack() as stack:
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="sophia-line-", ignore_cleanup_errors=True)
        )
        folder = Path(name)
        world = World(folder)
        stack.callback(world.close)
        world.fill(big=False)
        world.forget()
        port = stack.enter_context(slow_line.server(folder))
        line = slow_line.Line(port, given.delay / 1000, given.rate)
        stack.callback(line.close)

        def session(title: str, command: list[str], environment: dict[str, str]) -> Session:
            kept = {key: environment[key] for key in KEPT if key in environment}
            window = Window(slow_line.over(folder, line.port, command, kept))
            sessions.append(Session(window, title))
            return sessions[-1]

        for title, command, environment in (
            ("a shell's echo", ["sh", "-c", "echo ready; exec cat"], world.environment),
            ("sophia", world.command, world.environment),
            *((peer.package, peer.command(folder), peer.environment(folder)) for peer in wanted),
        ):
            print(title, file=sys.stderr)
            there = session(title, command, environment)
            try:
                if title == "sophia":
                    sophia(there, world, given.watch)
                elif title == "a shell's echo":
                    shell(there)
                else:
                    peer_session(there, next(each for each in wanted if each.package == title))
            except (TimeoutError, EOFError) as problem:
                there.figures.failed.append(str(problem)[:900])
            finally:
                there.window.close()
    print(f"{given.delay:.0f} ms each way, {given.rate:,.0f} bit/s")
    report(sessions)


if __name__ == "__main__":
    main()
