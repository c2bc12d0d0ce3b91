"""Queues with an order, schedules, notifications and uploaded files."""

from sophia_tui.store.migrations import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file("0003_training")
