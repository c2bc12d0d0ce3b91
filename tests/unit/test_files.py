"""Files are written whole or not at all."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sophia_tui.errors import SetupError
from sophia_tui.files import append_line, usable_folder, whole_file, whole_folder, write_whole

FULL_DISK = """
import resource, shutil, signal, sys
from pathlib import Path
from sophia_tui.errors import SetupError
from sophia_tui.files import append_line, whole_folder, write_whole

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
kind, path = sys.argv[1], Path(sys.argv[2])
try:
    if kind == "whole":
        write_whole(path, b"n" * 10_000)
    elif kind == "copy":
        source = path.with_name("source")
        source.mkdir()
        for name in "ab":
            with (source / name).open("wb") as part:
                part.truncate(3000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 4096))
        with whole_folder(path) as folder:
            shutil.copytree(source, folder / "copy")
    elif kind == "append":
        append_line(path, b"n" * 10_000)
    else:
        with whole_folder(path) as folder:
            (folder / "big").write_bytes(b"n" * 10_000)
except SetupError as problem:
    print(problem.code, problem.why, problem.remedy, sep="\\n")
"""


def told_on_full_disk(kind: str, path: Path) -> list[str]:
    """Code, why and remedy of the error."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, kind, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def on_full_disk(kind: str, path: Path) -> str:
    return told_on_full_disk(kind, path)[0]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_appears_with_its_content_and_mode(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"text", 0o640)
    assert (tmp_path / "a").read_bytes() == b"text"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert names(tmp_path) == ["a"]


def test_secrets_are_for_the_owner_alone_by_default(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"text")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_mode_and_group_of_another_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o664)
    with whole_file(path, like=path.stat()) as stream:
        stream.write(b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o664, b"new")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "target").read_bytes() == b"new"
    assert names(tmp_path / "there") == ["target"]


def test_a_failure_in_between_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as stream:
        stream.write(b"half")
        stream.flush()
        raise ZeroDivisionError
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a"])


def test_nobody_sees_a_half_written_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("kind", ["whole", "append"])
def test_a_full_disk_leaves_the_old_file_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old\n")
    assert on_full_disk(kind, path) == "SOPHIA-S101"
    assert (path.read_bytes(), names(tmp_path)) == (b"old\n", ["a"])


@pytest.mark.parametrize("kind", ["whole", "append"])
def test_a_full_disk_leaves_no_new_file(tmp_path: Path, kind: str) -> None:
    assert on_full_disk(kind, tmp_path / "a") == "SOPHIA-S101"
    assert names(tmp_path) == []


def test_a_copied_folder_that_finds_no_room_says_so_in_one_sentence(tmp_path: Path) -> None:
    code, why, remedy = told_on_full_disk("copy", tmp_path / "new")
    assert (code, why) == ("SOPHIA-S101", "File too large")
    assert remedy.startswith("Free disk space")
    assert names(tmp_path) == ["source"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_a_folder_of_ours_is_told_as_that(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError, match="SOPHIA-S102") as caught:
        usable_folder(tmp_path / place)
    assert "is a file" in caught.value.why and "SOPHIA_DATA_DIR" in caught.value.remedy


def test_a_folder_that_can_not_be_made_is_told_as_that() -> None:
    with pytest.raises(SetupError, match="SOPHIA-S102"):
        usable_folder(Path("/proc/no-such"))  # there not even root may make one


def test_a_line_is_appended_to_where_a_link_leads_that_nothing_was_at_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    append_line(tmp_path / "link", b"one")
    assert (tmp_path / "a").read_bytes() == b"one\n"
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path) -> None:
    assert on_full_disk("folder", tmp_path / "a") == "SOPHIA-S101"
    assert names(tmp_path) == []


def test_a_folder_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="SOPHIA-S101"):
        write_whole(tmp_path / "no" / "a", b"x")


def test_a_folder_that_exists_already_is_kept(tmp_path: Path) -> None:
    for word in (b"first", b"second"):
        with whole_folder(tmp_path / "a") as folder:
            (folder / "one").write_bytes(word)
    assert (tmp_path / "a" / "one").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


KILLED = """
import os, sys
from pathlib import Path
from sophia_tui.files import whole_folder

with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "one").write_bytes(b"half")
    os._exit(9)
"""


def test_what_a_killed_process_left_goes_with_the_next_folder_and_nothing_else(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False)
    (tmp_path / ".kept.tmp").mkdir()
    [left] = [each for each in names(tmp_path) if each.startswith(".a.")]
    with whole_folder(tmp_path / "b"):
        assert left not in names(tmp_path)
        with whole_folder(tmp_path / "c") as inner:
            (inner / "one").write_bytes(b"whole")
    assert names(tmp_path) == [".kept.tmp", "b", "c"]


def test_lines_are_appended(tmp_path: Path) -> None:
    for word in (b"one", b"two\n"):
        append_line(tmp_path / "a", word)
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_torn_last_line_is_closed_before_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntor")
    append_line(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one\ntor\ntwo\n"


def test_writers_at_once_lose_no_line(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for each in range(20):
            append_line(tmp_path / "a", f"{number}-{each}".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "a").read_text().splitlines()
    assert sorted(lines) == sorted(f"{n}-{each}" for n in range(4) for each in range(20))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SetupError, match="SOPHIA-S101"):
        write_whole(tmp_path / "a", b"x")
    tmp_path.chmod(0o700)
