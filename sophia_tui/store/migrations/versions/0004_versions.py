"""Tags of data set versions, what is to be known of a version, and that one was deleted."""

from sophia_tui.store.migrations import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_file("0004_versions")
