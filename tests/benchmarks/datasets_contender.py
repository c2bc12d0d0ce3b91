"""One contender of datasets_benchmark.py: does one piece of work of ours on a file, and says what
came of it.

python tests/benchmarks/datasets_contender.py structure|personal|everything|clean FILE
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: Searches that take more memory, and have benchmarks of their own.
ALIKE = ("near", "contradictions")


def _tell(stage: str, done: int, total: int | None) -> None:
    """Nobody listens."""


def inspected(path: Path, sections: tuple[str, ...]) -> str:
    from sophia_tui.datasets.inspection import Asked, inspect

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        asked = Asked((str(path),), path.stat().st_size, sections)
        report: dict[str, Any] = inspect(asked, Path(folder), _tell)
    return f"{report['usable']:,} usable, {report['duplicates']:,} duplicates"


def cleaned(path: Path) -> str:
    """The default steps of preparing: redaction, duplicates, split."""
    from sophia_tui.datasets.pipeline import Request, prepare

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        request = Request(
            folder=str(path.parent),
            scratch=str(scratch),
            name="benchmark",
            created_at=datetime.now(UTC),
            target=str(Path(folder, "datasets")),
            files=(path.name,),
        )
        counts = prepare(request, _tell).manifest["counts"]
    return f"{counts['rows_kept']:,} kept, {counts['rows_rejected']:,} rejected"


def main() -> None:
    from sophia_tui.datasets.inspection import PROBES

    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "clean":
        print(cleaned(path))
    elif what == "personal":
        print(inspected(path, tuple(name for name in ("personal", "secrets") if name in PROBES)))
    else:
        everything = tuple(name for name in PROBES if name not in ALIKE)
        print(inspected(path, everything if what == "everything" else ()))


if __name__ == "__main__":
    main()
