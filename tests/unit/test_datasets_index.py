"""The line index: each line of any file is found, no state of a file is taken for another."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import index
from sophia_tui.errors import ConflictError
from tests.representatives import examples

BLOCK = index.BLOCK


def silent(stage: str, done: int, total: int | None) -> None:
    """Nobody listens."""


def beginnings(data: bytes) -> list[int]:
    """Where lines begin, slowly."""
    found = [0] + [at + 1 for at, byte in enumerate(data) if byte == 10]
    return [at for at in found if at < len(data)]


def lines_of(sizes: list[int], ending: bytes, closed: bool) -> bytes:
    data = b"".join(b"x" * size + ending for size in sizes)
    return data if closed or not data.endswith(ending) else data[: -len(ending)]


near_a_block = st.sampled_from([BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1])
sizes = st.lists(st.one_of(st.integers(0, 200), near_a_block), max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(sizes=sizes, ending=st.sampled_from([b"\n", b"\r\n"]), closed=st.booleans())
def test_every_line_is_found(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], ending: bytes, closed: bool
) -> None:
    folder = tmp_path_factory.mktemp("index")
    data = lines_of(sizes, ending, closed)
    path = folder / "data.jsonl"
    path.write_bytes(data)
    expected = beginnings(data)
    built = index.build(folder / "cache", path, silent)
    with path.open("rb") as stream:
        kept = index.load(folder / "cache", path, index.stamp_of(stream))
        assert kept is not None
        for found in (built, kept):
            assert found.lines == len(expected)
            places = [found.place(stream, line) for line in range(1, len(expected) + 1)]
            assert [place and place.at for place in places] == expected
            assert found.place(stream, len(expected) + 1) is None
            for line, at in enumerate(expected, start=1):
                assert found.line_at(stream, at) == line
        for line, at in enumerate(expected, start=1):
            counted = index.scan(stream, line, len(data))
            assert counted is not None and counted.at == at
            assert index.line_start(stream, at) == at
            assert index.next_line(stream, at) == at
            assert index.lines_before(stream, at) == line - 1
        if expected:
            assert index.scan(stream, len(expected) + 1, len(data)) is None


@pytest.mark.parametrize("lines", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 40 * BLOCK + 7])
def test_a_file_of_line_feeds_alone(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "empty-lines"
    path.write_bytes(b"\n" * lines)
    built = index.build(tmp_path / "cache", path, silent)
    with path.open("rb") as stream:
        assert built.lines == lines
        for line in {1, lines, lines // 2 + 1, min(lines, BLOCK + 1)}:
            place = built.place(stream, line)
            assert place is not None and place.at == line - 1


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert index.build(tmp_path / "cache", path, silent).lines == 0


def written_over(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"first", b"erste"))


def other_times(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def other_inode(path: Path) -> None:
    known = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(known.st_atime_ns, known.st_mtime_ns))
    other.rename(path)


def same_times_and_size(path: Path) -> None:
    known = path.stat()
    path.write_bytes(path.read_bytes().replace(b"first", b"erste"))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [written_over, other_times, other_inode, same_times_and_size],
    ids=lambda c: c.__name__,
)
def test_an_index_is_dropped_when_the_file_changes(tmp_path: Path, change: object) -> None:
    path, cache = tmp_path / "data", tmp_path / "cache"
    path.write_bytes(b"first\nsecond\n")
    index.build(cache, path, silent)
    change(path)  # type: ignore[operator]
    with path.open("rb") as stream:
        assert index.load(cache, path, index.stamp_of(stream)) is None
    assert list(cache.iterdir()) == []


def test_a_damaged_index_is_none(tmp_path: Path) -> None:
    path, cache = tmp_path / "data", tmp_path / "cache"
    path.write_bytes(b"x\n" * BLOCK)
    index.build(cache, path, silent)
    [kept] = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-8])
    with path.open("rb") as stream:
        assert index.load(cache, path, index.stamp_of(stream)) is None


def test_a_file_that_grows_while_it_is_read_leaves_no_index(tmp_path: Path) -> None:
    path, cache = tmp_path / "data", tmp_path / "cache"
    path.write_bytes(b"x\n")

    def grow(stage: str, done: int, total: int | None) -> None:
        with path.open("ab") as stream:
            stream.write(b"y\n" if stream.tell() < 10 else b"")

    with pytest.raises(ConflictError, match="SOPHIA-D561"):
        index.build(cache, path, grow)
    assert not cache.exists()


def test_a_cache_that_can_not_be_written_costs_no_more_than_the_index(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x\ny\n")
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert index.build(tmp_path / "cache", path, silent).lines == 2


def test_an_estimate_is_the_beginning_of_a_line_that_is_near(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"".join(b"%07d %s\n" % (n, b"x" * (n % 90)) for n in range(1, 200_001)))
    with path.open("rb") as stream:
        for line in (1, 2, 50_000, 100_000, 199_999, 250_000):
            place = index.estimate(stream, line)
            stream.seek(place.at)
            stands = int(stream.readline()[:7])
            assert abs(stands - min(line, 200_000)) < 3_000
            assert place.exact == (place.at == 0)
        assert abs(index.lines_about(stream) - 200_000) < 3_000


def test_an_index_is_small(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"a line of some words\n" * 1_000_000)
    index.build(tmp_path / "cache", path, silent)
    [kept] = (tmp_path / "cache").iterdir()
    assert kept.stat().st_size < path.stat().st_size / 10_000
