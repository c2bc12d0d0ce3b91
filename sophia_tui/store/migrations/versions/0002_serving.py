"""Served models, their requests in figures, and evaluations that are kept side by side."""

from sophia_tui.store.migrations import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file("0002_serving")
