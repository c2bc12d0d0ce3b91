"""What an inspection found is looked up by line as if all of it were read."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets.found import Found
from sophia_tui.datasets.issues import Issues

spots = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), unique=True, max_size=60)


@settings(max_examples=150, deadline=None)
@given(spots=spots, wanted=st.integers(0, 2), line=st.integers(1, 62), last=st.integers(1, 62))
def test_look_ups_agree_with_reading_everything(
    tmp_path_factory: pytest.TempPathFactory,
    spots: list[tuple[int, int]],
    wanted: int,
    line: int,
    last: int,
) -> None:
    folder = tmp_path_factory.mktemp("found")
    issues = Issues(folder)
    issues.add("no_answer", 0, 1)  # the file of a code is there once it has one
    for file, number in sorted(spots):
        details = {"message": number} if number % 7 == 0 else {}
        issues.add("no_question", file, number, details)
    issues.close()
    if not spots:
        return
    found = Found(folder, wanted, {"no_question": len(spots)})
    expected = sorted(number for file, number in spots if file == wanted)
    between = [number for number, _details in found.between("no_question", line, last)]
    assert between == [each for each in expected if line <= each <= last]
    assert list(found.after("no_question", line)) == [each for each in expected if each >= line]
    assert list(found.before("no_question", line)) == [
        each for each in reversed(expected) if each < line
    ]
    assert found.nearest(line, None, False) == min((e for e in expected if e >= line), default=None)
    assert found.nearest(line, "no_question", True) == max(
        (e for e in expected if e < line), default=None
    )
    assert found.nearest(line, "duplicate", True) is None


def test_looking_at_a_page_imports_nothing_heavy() -> None:
    """The first page is to be there within 0.3 s, imports included."""
    script = (
        "import sys, sophia_tui.datasets.pages, sophia_tui.datasets.found,"
        " sophia_tui.datasets.overlay; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert not set(done.stdout.split()) & {"numpy", "duckdb", "re2", "zstandard", "pydantic"}
