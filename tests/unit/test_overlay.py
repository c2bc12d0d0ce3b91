"""Edits beside a file: who saves them holds the journal that others add to."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from sophia_tui.datasets.overlay import _journal_held


def test_a_journal_that_began_anew_while_its_lock_was_waited_for_is_held(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    entered, leave = threading.Event(), threading.Event()

    def save() -> None:
        with _journal_held(journal):
            entered.set()
            leave.wait(60)

    with journal.open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        saving = threading.Thread(target=save)
        saving.start()
        assert not entered.wait(0.2)
        (tmp_path / "anew").touch()
        os.replace(tmp_path / "anew", journal)
    assert entered.wait(60)
    with journal.open("ab") as now, pytest.raises(BlockingIOError):
        fcntl.flock(now, fcntl.LOCK_EX | fcntl.LOCK_NB)
    leave.set()
    saving.join()
