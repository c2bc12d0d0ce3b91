"""The console beside harlequin, posting and dolphie, in turns in one run, each at 80x24.

`python -m tests.benchmarks.console_benchmark [--runs N] [--peers harlequin,posting] [--big]
[--idle SECONDS]`

Tables of medians and of ratios (ours / theirs; below 1 ours is ahead); nothing is asserted. Painted
is the last byte before 0.15 s of silence, once the words of the picture have come. The world is an
embedded store with jobs, models, data sets and traffic, where a job runs on, a metric each second;
--big adds ten thousand jobs and a hundred thousand events.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sophia_tui.tui import keys
from tests import seeded
from tests.benchmarks.console_peers import PEERS, Peer
from tests.benchmarks.console_terminal import Seen, Window, cpu_of, end_in_order, tree
from tests.benchmarks.console_world import EVENTS, JOBS, World

RUNS = 3
IDLE_SECONDS = 20.0
WATCH_SECONDS = 16.0
#: After the first picture; what comes until then counts as the start.
SETTLE_SECONDS = 1.5
ESCAPE = "\x1b"
PAINTED = ("Collect", "Prepare", "Train", "Evaluate", "Promote", "Monitor", "quit")
LIVE = ("sophia-v2", "Next")
#: Words that each screen shows once its data are there.
SHOWN = {
    "overview": LIVE,
    "setup": ("FINETUNE_DIR",),
    "datasets": ("town@",),
    "jobs": ("running",),
    "models": (seeded.NEWEST_MODEL,),
    "monitor": ("p95",),
    "settings": ("FINETUNE_BASE",),
    "audit": ("prepare.run",),
}
SMALLEST = """
from textual.app import App
from textual.widgets import Static
class Smallest(App):
    def compose(self):
        yield Static("painted")
Smallest().run()
"""


@dataclass
class Figures:
    """All that was measured of one program, by what was measured."""

    name: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, what: str, seen: Seen) -> None:
        self.seconds[what].append(seen.seconds)
        self.sizes[what].append(seen.size)

    def middle(self, what: str) -> float | None:
        return _median(self.seconds.get(what, ()))

    def size(self, what: str) -> float | None:
        return _median(self.sizes.get(what, ()))


# -- one program


def import_seconds(world: World) -> float:
    begun = time.perf_counter()
    window = Window([sys.executable, "-c", "import textual.app"], world.environment)
    window.process.wait()
    found = time.perf_counter() - begun
    window.close()
    return found


def smallest(world: World) -> Seen:
    window = Window([sys.executable, "-c", SMALLEST], world.environment)
    try:
        return window.until(("painted",), window.started, silence=0)
    finally:
        window.close()


def opened(world: World, found: Figures) -> Window:
    """Our console, started and live, on Overview whatever was looked at last."""
    world.forget()
    window = Window(world.command, world.environment)
    painted = window.until(PAINTED, window.started, silence=0)
    live = window.until(LIVE, window.started)
    found.add("painted", painted)
    found.add("live", live)
    found.sizes["start"].append(painted.size + live.size + window.idle(SETTLE_SECONDS))
    found.told["processor"] = window.cpu()
    return window


def walked(window: Window, found: Figures) -> None:
    """Every screen, twice; help, palette, form, a job's detail, record browser, cursor, filter."""
    for times in ("first", "again"):
        for key in keys.SCREENS[1:]:
            name = key.target.partition(".")[2]
            press(window, found, f"{name}, {times} time", key.key, SHOWN.get(name, ()))
        press(window, found, f"overview, {times} time", "1", LIVE)
    press(window, found, "help", "?", ("esc",))
    press(window, found, "back from help", ESCAPE, LIVE)
    press(window, found, "palette", ":")
    press(window, found, "palette, a letter", "t")
    press(window, found, "back from the palette", ESCAPE)
    press(window, found, "jobs, again", digit("jobs"), ("running",))
    press(window, found, "cursor, one row", "\x1b[B")
    press(window, found, "cursor, ten rows at once", "\x1b[B" * 10)
    press(window, found, "form", "t", ("F2",))
    press(window, found, "back from the form", ESCAPE)
    press(window, found, "filter, opened", "/")
    for sign in "runn":
        press(window, found, "filter, a letter", sign)
    press(window, found, "to the list", "\r")
    press(window, found, "job detail", "\r", (seeded.RUNNING[:12],))
    press(window, found, "back to the list", ESCAPE)
    press(window, found, "filter taken away", ESCAPE)
    press(window, found, "data, again", digit("datasets"), ("town@",))
    press(window, found, "record browser", "b", ("1",))
    press(window, found, "next page of records", "n")
    press(window, found, "back from the browser", ESCAPE)


def press(
    window: Window, found: Figures, what: str, typed: str, words: Sequence[str] = ()
) -> Seen | None:
    try:
        seen = window.press(typed, words, patience=5.0)
    except TimeoutError as problem:
        found.failed.append(f"{what}: {problem}"[:600])
        return None
    found.add(what, seen)
    return seen


def digit(name: str) -> str:
    return next(each.key for each in keys.SCREENS if each.target == f"screen.{name}")


def peer_opened(peer: Peer, folder: Path, found: Figures) -> Window:
    window = Window(peer.command(folder), peer.environment(folder))
    painted = window.until(peer.painted, window.started, silence=0)
    found.add("painted", painted)
    found.sizes["start"].append(painted.size + window.idle(SETTLE_SECONDS))
    found.told["processor"] = window.cpu()
    if peer.before:
        window.press(peer.before)
    return window


def peer_walked(peer: Peer, window: Window, found: Figures) -> None:
    for each in peer.presses:
        for _time in range(2):  # the first one loads what it shows, as ours does
            press(window, found, each.what, each.keys, each.words)
            if each.back:
                press(window, found, f"back from {each.what}", each.back)


# -- all together


def starts(
    world: World, peers: Sequence[tuple[Peer, Path]], runs: int, found: dict[str, Figures]
) -> None:
    """Every program started and walked through, in turns."""
    for run in range(runs + 1):
        print(f"turn {run} of {runs}", file=sys.stderr)
        if run == 1:  # the first turn fills the caches of the disk and of Python
            found.update({name: Figures(each.name) for name, each in found.items()})
        found["textual"].seconds["import"].append(import_seconds(world))
        found["textual"].add("painted", smallest(world))
        window = opened(world, found["sophia"])
        try:
            if run:
                walked(window, found["sophia"])
        finally:
            window.close()
        for peer, folder in peers:
            try:
                window = peer_opened(peer, folder, found[peer.name])
            except (TimeoutError, EOFError) as problem:
                found[peer.name].failed.append(f"start: {problem}"[:600])
                continue
            try:
                if run:
                    peer_walked(peer, window, found[peer.name])
            except EOFError as problem:
                found[peer.name].failed.append(str(problem))
            finally:
                window.close()


def stand(
    world: World, peers: Sequence[tuple[Peer, Path]], found: dict[str, Figures], seconds: float
) -> None:
    """All of them idle at the same time: bytes, processor, memory; then a job is watched."""
    with ExitStack() as stack:
        windows: dict[str, Window] = {}
        windows["sophia"] = opened(world, Figures("sophia"))
        for peer, folder in peers:
            try:
                windows[peer.name] = peer_opened(peer, folder, Figures(peer.package))
            except (TimeoutError, EOFError):
                continue  # its start has told of it already
        for window in windows.values():
            stack.callback(window.close)
        for window in windows.values():
            window.settle(1.0)
        server_pid = world.server()
        before = {name: window.cpu() for name, window in windows.items()}
        server = sum(map(cpu_of, tree(server_pid)))
        sizes = _idle(windows, seconds)
        for name, window in windows.items():
            told = found[name].told
            told["idle bytes"] = sizes[name] / seconds
            told["idle processor"] = 100 * (window.cpu() - before[name]) / seconds
            told["resident"], told["proportional"] = window.megabytes()
        told = found["sophia"].told
        used = sum(map(cpu_of, tree(server_pid))) - server
        told["store processor"] = 100 * used / seconds
        watch(world, windows["sophia"], found["sophia"])


def _idle(windows: dict[str, Window], seconds: float) -> dict[str, int]:
    sizes = dict.fromkeys(windows, 0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, window in windows.items():
            sizes[name] += len(window.part(0.05))
    return sizes


def watch(world: World, window: Window, found: Figures) -> None:
    """The running job's detail, while it tells a metric each second."""
    with world.running():
        window.press(digit("jobs"), ("running",))
        window.press("/")
        window.press("ftjob-runn")
        window.press("\r")
        window.press("\r", (seeded.RUNNING[:12],))
        window.settle(0.5)
        before = window.cpu()
        found.told["watch bytes"] = window.idle(WATCH_SECONDS) / WATCH_SECONDS
        found.told["watch processor"] = 100 * (window.cpu() - before) / WATCH_SECONDS
        window.press(ESCAPE)
        window.press(ESCAPE)
        found.told["list bytes"] = window.idle(WATCH_SECONDS / 2) / (WATCH_SECONDS / 2)
        window.press("1", LIVE)
        found.told["overview bytes"] = window.idle(WATCH_SECONDS / 2) / (WATCH_SECONDS / 2)


# -- tables


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    names = list(head)
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def _median(figures: Iterable[float]) -> float | None:
    found = list(figures)
    return statistics.median(found) if found else None


def _said(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return "-"
    if theirs == 0:
        return "equal" if ours == 0 else "behind"
    return f"{ours / theirs:.2f}"


def _compared(found: dict[str, Figures], names: Sequence[str]) -> list[list[str]]:
    ours = found["sophia"]
    screens = [what for what in ours.seconds if what.endswith("first time")]
    screen = _median(each for what in screens for each in ours.seconds[what])
    screen_size = _median(each for what in screens for each in ours.sizes[what])

    def row(
        what: str, mine: float | None, theirs: dict[str, float | None], digits: int
    ) -> list[str]:
        cells = [what, _said(mine, digits)]
        for name in names:
            cells += [_said(theirs[name], digits), _ratio(mine, theirs[name])]
        return cells

    rows = []
    for what, key in (("first painted, s", "painted"),):
        rows.append(row(what, ours.middle(key), {n: found[n].middle(key) for n in names}, 3))
    rows.append(
        row("bytes at start", ours.size("start"), {n: found[n].size("start") for n in names}, 0)
    )
    for what, key, digits in (
        ("processor at start, s", "processor", 2),
        ("idle, bytes/s", "idle bytes", 1),
        ("idle, processor, %", "idle processor", 2),
        ("memory, resident, MB", "resident", 0),
        ("memory, proportional, MB", "proportional", 0),
    ):
        theirs = {n: found[n].told.get(key) for n in names}
        rows.append(row(what, ours.told.get(key), theirs, digits))
    rows.append(
        row("key to another screen, s", screen, {n: found[n].middle("screen") for n in names}, 3)
    )
    rows.append(row("its bytes", screen_size, {n: found[n].size("screen") for n in names}, 0))
    for what, mine, key in (
        ("help", "help", "help"),
        ("palette", "palette", "palette"),
        ("one step of the cursor", "cursor, one row", "cursor"),
    ):
        theirs = {n: found[n].middle(key) for n in names}
        rows.append(row(f"key to {what}, s", ours.middle(mine), theirs, 3))
        sizes = {n: found[n].size(key) for n in names}
        rows.append(row("its bytes", ours.size(mine), sizes, 0))
    return rows


def report(found: dict[str, Figures], peers: Sequence[Peer], big: bool, runs: int) -> None:
    names = [peer.name for peer in peers if found[peer.name].seconds]
    ours, plain = found["sophia"], found["textual"]
    many = f", {JOBS:,} jobs and {EVENTS:,} events more" if big else ""
    print(f"\n{runs} runs each, in turns, 80x24; medians{many}\n")
    head = ["", "sophia"]
    for name in names:
        head += [found[name].name, "ratio"]
    table(head, _compared(found, names))
    imported, painted = plain.middle("import"), ours.middle("painted")
    over = None if painted is None or imported is None else painted - imported
    live = ours.middle("live")
    later = None if live is None or painted is None else live - painted
    table(
        ["the first picture", "seconds"],
        [
            ["python -c 'import textual.app'", _said(imported, 3)],
            ["the smallest app of Textual, painted", _said(plain.middle("painted"), 3)],
            ["sophia, painted", _said(painted, 3)],
            ["beyond importing Textual (goal 0.35)", _said(over, 3)],
            ["its figures live, after painted", _said(later, 3)],
        ],
    )
    table(
        ["by itself", "figure", "limit"],
        [
            ["Overview idle, bytes/s", _said(ours.told.get("idle bytes"), 1), "0"],
            ["Overview idle, % of a core", _said(ours.told.get("idle processor")), "0.5"],
            ["  the store's server meanwhile, %", _said(ours.told.get("store processor")), ""],
            ["a running job watched, bytes/s", _said(ours.told.get("watch bytes"), 0), "400"],
            ["  its processor, %", _said(ours.told.get("watch processor")), ""],
            ["the list of jobs, one running, bytes/s", _said(ours.told.get("list bytes"), 0), ""],
            ["Overview, one job running, bytes/s", _said(ours.told.get("overview bytes"), 0), ""],
        ],
    )
    table(
        ["from key to painted", "seconds", "bytes (limit 6,000)"],
        [
            [what, _said(ours.middle(what), 3), _said(ours.size(what), 0)]
            for what in ours.seconds
            if what not in ("painted", "live")
        ],
    )
    for peer in peers:
        if peer.limits:
            print(f"{peer.package}: {peer.limits}")
    for each in found.values():
        for problem in dict.fromkeys(each.failed):
            print(f"{each.name} failed: {problem}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS)
    parser.add_argument("--big", action="store_true")
    given = parser.parse_args()
    end_in_order()
    wanted = [peer for peer in PEERS if peer.name in given.peers.split(",")]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sophia-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        theirs = []
        for peer in wanted:
            place = folder / peer.name
            place.mkdir()
            peer.command(place)  # installed before anything is measured
            theirs.append((peer, place))
        world = World(folder)
        found = {"sophia": Figures("sophia"), "textual": Figures("textual")}
        found |= {peer.name: Figures(peer.package) for peer in wanted}
        try:
            world.fill(given.big)
            starts(world, theirs, given.runs, found)
            stand(world, theirs, found, given.idle)
        finally:
            world.close()
            if found["sophia"].seconds:  # also of a run that was cut off
                report(found, wanted, given.big, given.runs)
    print(f"\n{time.perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
