"""Exit 0 if the torch that pip would take (argument 1) requires CUDA packages, 1 if not or unknown.

It asks pip for a plan only; pip reads the package's metadata, not its gigabytes, where it can.
"""

import json
import subprocess
import sys

CUDA = ("nvidia-", "cuda-")


def main() -> int:
    command = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--no-deps", "--report", "-", sys.argv[1]]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return 1
    plan = json.loads(answer.stdout)
    required = [
        need
        for each in plan["install"]
        for need in each["metadata"].get("requires_dist", [])
        if need.startswith(CUDA)
    ]
    return 0 if required else 1


if __name__ == "__main__":
    sys.exit(main())
