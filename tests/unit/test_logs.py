"""A log file on a full disk, and a database on one."""

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sophia_tui.logs import LogFile, RotatingLogFile
from sophia_tui.store.connection_errors import connect_problem, statement_problem

FULL = Path("/dev/full")  # every write there fails for want of room


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    made = logging.Logger("on-a-full-disk")
    yield made
    for handler in made.handlers:
        handler.close()


@pytest.mark.skipif(not FULL.exists(), reason="Linux alone has this device")
@pytest.mark.parametrize("kind", [LogFile, RotatingLogFile])
def test_a_log_without_room_is_one_line_and_no_traceback(
    kind: type[LogFile],
    log: logging.Logger,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "sophia.log"
    path.symlink_to(FULL)
    log.addHandler(kind(path, delay=True))
    log.warning("one")
    log.warning("two")
    said = capsys.readouterr().err
    assert said == f"The log {path} can't be written: No space left on device.\n"


def test_a_log_that_can_not_be_opened_is_one_line(
    log: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.addHandler(LogFile(tmp_path / "no-folder" / "sophia.log", delay=True))
    log.warning("one")
    log.warning("two")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_database_without_room_says_so_and_not_that_the_address_is_wrong() -> None:
    text = 'could not write file "pg_internal.init": No space left on device'
    refused = connect_problem(psycopg.OperationalError(f"FATAL:  {text}"), "the store")
    failed = statement_problem(psycopg.errors.DiskFull(text), "the store")
    for problem in (refused, failed):
        assert (problem.code, problem.why) == ("SOPHIA-S016", "No space left on device")
        assert problem.remedy == "Free room there, then try again; nothing was lost."
