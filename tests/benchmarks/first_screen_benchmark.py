"""First screen and memory beside harlequin's, in turns in one run, each in an 80x24 terminal.

python tests/benchmarks/first_screen_benchmark.py [runs, default 9]

Prints medians. Painted: for Sophia the six stage names and the last key of the footer, for
harlequin its catalogue, its button and its footer. Live: the figures of a store that is up, with a
data set version in it. Memory: resident, children included, three seconds later. Budgets: 0.8 of
harlequin's time, 40 % of its memory, live 0.5 s after painted. harlequin comes from PyPI into a
virtual environment of its own below the cache folder, once.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.tui.app import prepare_terminal  # noqa: F401  (fails early where it is not there)
from tests.tui.test_terminal import Terminal

HARLEQUIN = "harlequin==2.17.0"
RUNS = 9
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 3.0
CONTROL = re.compile(
    rb"\x1b\[[0-9;:?<>=$]*[ -/]*[@-~]|\x1b[()][A-B0-2]|\x1b[=>78]|\x1b\][^\x07\x1b]*\x07"
)
SOPHIA_PAINTED = ("Collect", "Prepare", "Train", "Evaluate", "Promote", "Monitor", "quit")
SOPHIA_LIVE = ("rows", "Next", "enter")
HARLEQUIN_PAINTED = ("Data Catalog", "Run Query", "Quit")


@dataclass(frozen=True)
class Opening:
    """Seconds from the start of the process; `megabytes` of it and its children."""

    painted: float
    live: float
    megabytes: float


def opened(
    program: str, arguments: list[str], painted: tuple[str, ...], live: tuple[str, ...], **more: str
) -> Opening:
    """Start it, wait for the words, measure, end it. Raises TimeoutError."""
    started = time.perf_counter()
    terminal = Terminal(arguments, environment=more, program=program)
    try:
        seen = b""
        times = []
        for words in (painted, live):
            while not all(word.encode() in CONTROL.sub(b"", seen) for word in words):
                part = terminal.read(PATIENCE_SECONDS, until=b"")
                if not part:
                    raise TimeoutError(f"{arguments}: {words} in\n{CONTROL.sub(b'', seen)!r}")
                seen += part
            times.append(time.perf_counter() - started)
        terminal.read(SETTLE_SECONDS)
        return Opening(*times, resident(terminal.process.pid))
    finally:
        terminal.close()


def resident(pid: int) -> float:
    """Megabytes resident, of a process and all below it."""
    folder = Path(f"/proc/{pid}")
    found = re.search(r"VmRSS:\s+(\d+) kB", (folder / "status").read_text())
    children = (folder / "task" / str(pid) / "children").read_text().split()
    return (int(found[1]) / 1024 if found else 0.0) + sum(resident(int(each)) for each in children)


def harlequin() -> Path:
    """The pinned harlequin's program, installed on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "sophia-benchmarks" / HARLEQUIN
    program = folder / "bin" / "harlequin"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", HARLEQUIN], check=True)
    return program


def sophia(home: dict[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "sophia_tui.cli.main", *words]
    subprocess.run(command, check=True, env={**os.environ, **home}, stdout=subprocess.DEVNULL)


def prepared(folder: Path) -> dict[str, str]:
    """A data folder whose embedded store runs and has a data set version; its environment."""
    folder.chmod(0o711)  # root's server account has to pass through
    home = {
        "SOPHIA_DATA_DIR": str(folder / "data"),
        "FINETUNE_DIR": str(folder / "finetune"),
        "LANG": "C.UTF-8",
    }
    sophia(home, "samples", "load")
    sophia(home, "collect")
    sophia(home, "prepare")
    return home


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    other = str(harlequin())
    with tempfile.TemporaryDirectory(prefix="sophia-bench-") as name:
        folder = Path(name)
        home = prepared(folder)
        theirs = {"HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        (folder / "home").mkdir()
        arguments = ["--no-download-tzdata", str(folder / "small.db")]
        ours, them = [], []
        try:
            for run in range(runs + 1):
                one = opened(
                    sys.executable,
                    ["-m", "sophia_tui.cli.main"],
                    SOPHIA_PAINTED,
                    SOPHIA_LIVE,
                    **home,
                )
                two = opened(other, arguments, HARLEQUIN_PAINTED, (), **theirs)
                if run:  # the first pair fills the caches of the disk and of Python
                    ours.append(one)
                    them.append(two)
        finally:
            sophia(home, "store", "stop", "--yes")
    report(ours, them)


def report(ours: list[Opening], them: list[Opening]) -> None:
    def middle(of: list[Opening], name: str) -> float:
        return statistics.median(getattr(each, name) for each in of)

    painted, theirs = middle(ours, "painted"), middle(them, "painted")
    memory, their_memory = middle(ours, "megabytes"), middle(them, "megabytes")
    later = statistics.median(each.live - each.painted for each in ours)
    print(f"{len(ours)} runs each, in turns, 80x24; medians")
    print(f"painted  sophia {painted:.2f} s   {HARLEQUIN} {theirs:.2f} s", end="   ")
    print(f"ratio {painted / theirs:.2f} (budget 0.80)")
    print(f"memory   sophia {memory:.0f} MB   {HARLEQUIN} {their_memory:.0f} MB", end="   ")
    print(f"ratio {memory / their_memory:.2f} (budget 0.40)")
    print(f"live     sophia {later:.2f} s after painted (budget 0.50)")


if __name__ == "__main__":
    main()
