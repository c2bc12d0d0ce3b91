"""The named queries of queries.sql, parsed once."""

import re
from functools import cache
from pathlib import Path

from sophia_tui.errors import InternalError

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def queries() -> dict[str, bytes]:
    """Statement by name; the comment lines below a name are left out."""
    text = (Path(__file__).parent / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    found: dict[str, bytes] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise InternalError("X002", f"Query {name} stands twice in queries.sql.")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        found[name] = "\n".join(lines).strip().encode()
    return found


def query(name: str) -> bytes:
    """One named statement."""
    return queries()[name]
