"""history.jsonl: each job once, whichever processes write."""

import json
import subprocess
import sys
from pathlib import Path

_WRITE = """
import sys
from datetime import UTC, datetime
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.services import history

request, now = {"history_file": sys.argv[1]}, datetime.now(UTC)
sys.stdin.readline()
for number in range(20):
    job = Job(f"ftjob-{number}", JobKind.TRAIN, "running", "b", None, request, "m", now)
    history.record(job, JobState.SUCCEEDED, now, "sophia-v1")
"""


def test_processes_that_end_the_same_jobs_at_once_write_each_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITE, str(path)], stdin=subprocess.PIPE)
        for _each in range(4)
    ]
    for each in writers:
        each.communicate(b"\n", timeout=60)
    assert [each.returncode for each in writers] == [0, 0, 0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(each["id"] for each in lines) == sorted(f"ftjob-{n}" for n in range(20))
