"""What a job's states were is found without reading all that it told."""

from sophia_tui.store.migrations import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_file("0006_states")
