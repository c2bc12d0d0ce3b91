"""Who changed a schedule last, beside who made it."""

from sophia_tui.store.migrations import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_file("0007_changers")
