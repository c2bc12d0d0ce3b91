"""What `sophia --help` costs beside `python -c pass`: `python tests/benchmarks/help_benchmark.py`.

Prints medians in seconds; the budget for the difference is 0.25 s. Nothing is asserted: machines
differ.
"""

import statistics
import subprocess
import sys
import time

RUNS = 15
BARE = [sys.executable, "-c", "pass"]
HELP = [sys.executable, "-c", "from sophia_tui.cli.main import main; main()", "--help"]


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Run both in turns, so that a busy moment of the machine meets both."""
    pairs = [(seconds(BARE), seconds(HELP)) for _run in range(RUNS)]
    bare = statistics.median(pair[0] for pair in pairs)
    help_ = statistics.median(pair[1] for pair in pairs)
    print(f"python -c pass  {bare:.3f} s")
    print(f"sophia --help   {help_:.3f} s")
    print(f"difference      {help_ - bare:.3f} s (budget 0.250 s)")


if __name__ == "__main__":
    main()
