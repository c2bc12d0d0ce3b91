"""What models may do, consist of and were checked for, and each step of a promotion."""

from sophia_tui.store.migrations import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_file("0005_models")
