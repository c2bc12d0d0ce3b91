"""The versions of our schema, in versions/: files whose names begin with their number.

0001_name.py holds `revision`, `down_revision` and `upgrade`; its statements lie in 0001_name.sql.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def run_file(name: str) -> None:
    """Run versions/NAME.sql on the connection of the migration that runs.

    By the driver's cursor: a file has many statements, and colons and percent signs of its own.
    """
    from alembic import op

    text = (FOLDER / "versions" / f"{name}.sql").read_text(encoding="utf-8")
    cursor = op.get_bind().connection.cursor()
    try:
        cursor.execute(text)
    finally:
        cursor.close()
