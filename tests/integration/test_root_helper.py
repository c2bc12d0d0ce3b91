"""The root helper under attack: as real root, in temporary folders, by its real program."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.errors import SophiaError
from sophia_tui.root import files, server
from tests.integration.helper_house import ACCOUNT, ENV, PROGRAM, HelperHouse, needs_root

pytestmark = needs_root

NEW = ENV.replace("old", "new")


@pytest.fixture
def house(reachable: Path) -> Iterator[HelperHouse]:
    made = HelperHouse(reachable)
    yield made
    made.close()


# -- what it is for


def test_a_declared_file_is_read_and_replaced_and_its_unit_restarted(house: HelperHouse) -> None:
    read, replaced, restarted = house.ask(
        {"verb": "read", "file": str(house.path)},
        house.replacing(NEW),
        {"verb": "restart", "unit": "rag.service"},
    )
    assert (read["content"], read["sha256"]) == (ENV, files.digest(ENV.encode()))
    assert replaced == {"ok": True, "sha256": files.digest(NEW.encode())}
    assert house.path.read_bytes() == NEW.encode()
    assert (restarted["healthy"], restarted["state"]) == (True, "active")
    assert house.calls("restart") == ["rag.service"]


def test_owner_mode_access_list_and_attributes_stay(house: HelperHouse) -> None:
    os.chown(house.path, 0, 33)
    os.setxattr(house.path, "user.note", b"kept")
    acl = bytes.fromhex(
        "02000000 01000600ffffffff 0200040001000000 04000400ffffffff 10000400ffffffff"
        "20000000ffffffff"
    )
    os.setxattr(house.path, "system.posix_acl_access", acl)
    before = house.path.stat()
    [answer] = house.ask(house.replacing(NEW))
    assert answer["ok"]
    after = house.path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (0, 33, before.st_mode)
    assert after.st_ino != before.st_ino
    assert os.getxattr(house.path, "user.note") == b"kept"
    assert os.getxattr(house.path, "system.posix_acl_access") == acl


def test_the_old_content_is_kept_for_root_alone_and_the_newest_only(house: HelperHouse) -> None:
    told = [ENV, *(f"GEN_MODEL=m{number}\n" for number in range(files.KEPT_BACKUPS + 3))]
    messages = [
        {**house.replacing(after), "sha256": files.digest(before.encode())}
        for before, after in itertools.pairwise(told)
    ]
    assert all(answer["ok"] for answer in house.ask(*messages))
    kept = sorted((house.state / "helper" / "backups").iterdir())
    assert len(kept) == files.KEPT_BACKUPS
    assert kept[-1].read_text() == f"GEN_MODEL=m{files.KEPT_BACKUPS + 1}\n"
    for each in [*kept, kept[0].parent, kept[0].parent.parent]:
        assert each.stat().st_uid == 0 and not each.stat().st_mode & 0o077


def test_a_file_with_the_longest_name_is_replaced_too(house: HelperHouse) -> None:
    path = house.env("é" * 120 + ".env")
    house.declare(f"[{path}]\nrestart = rag.service\nwrite = yes")
    [answer] = house.ask(house.replacing(NEW, path))
    assert answer["ok"] and path.read_bytes() == NEW.encode()


def test_a_file_of_a_declared_owner_in_their_folder_is_theirs_afterwards(
    house: HelperHouse,
) -> None:
    os.chown(house.srv, 33, 33)
    os.chown(house.path, 33, 33)
    assert house.code(house.replacing(NEW)) == "P055"
    house.declare(f"[{house.path}]\nrestart = rag.service\nwrite = yes\nowner = www-data")
    [answer] = house.ask(house.replacing(NEW))
    assert answer["ok"]
    assert (house.path.stat().st_uid, house.path.read_bytes()) == (33, NEW.encode())


def test_what_is_declared_is_told_with_the_reason_for_what_is_refused(house: HelperHouse) -> None:
    house.path.chmod(0o646)
    [answer] = house.ask({"verb": "declared"})
    own, rag = answer["files"]
    assert (own["path"], own["own"], own["refused"]) == (str(house.own), True, None)
    assert rag["restart"] == ["rag.service"] and rag["read_by"] == ["report.service"]
    assert "Everybody may write" in rag["refused"]


def test_status_answers_for_readers_too_but_only_declared_ones_restart(house: HelperHouse) -> None:
    house.unit("report.service", "failed")
    [answer] = house.ask({"verb": "status", "units": ["rag.service", "report.service"]})
    assert [(each["state"], each["healthy"]) for each in answer["units"]] == [
        ("active", True),
        ("failed", False),
    ]
    assert house.code({"verb": "restart", "unit": "report.service"}) == "P053"


def test_a_unit_that_does_not_come_up_is_not_healthy(house: HelperHouse) -> None:
    house.unit("rag.service", "failed")
    [answer] = house.ask({"verb": "restart", "unit": "rag.service"})
    assert answer["ok"] and not answer["healthy"]


# -- what is refused


ODD_UNITS = (
    *(
        "ssh.service",
        "",
        "--now",
        "-",
        "rag",
        "rag.service ssh.service",
        "rag.service\nssh.service",
    ),
    *(
        "../rag.service",
        "rag.service/../ssh.service",
        "rag@.service",
        "*.service",
        "rag.service;id",
    ),
    *("$(id).service", "rag.serv\u0131ce", "RAG.service", "rag.service\0", "r" * 300 + ".service"),
)


def test_undeclared_units_are_refused_whatever_they_are_called(house: HelperHouse) -> None:
    restarts = [{"verb": "restart", "unit": unit} for unit in ODD_UNITS]
    asked = [{"verb": "status", "units": ["rag.service", unit]} for unit in ODD_UNITS]
    assert set(house.codes(*restarts, *asked)) == {"P053"}
    assert house.calls("restart") == house.calls("show") == []


def test_undeclared_files_are_refused_however_they_are_written(house: HelperHouse) -> None:
    other = house.env("other.env")
    link = house.srv / "link.env"
    link.symlink_to(house.path)
    paths = (
        str(other),
        str(link),
        "/etc/shadow",
        "",
        "rag.env",
        f"{house.srv}/../srv/rag.env",
        f"{house.srv}/./rag.env",
        f"{house.srv}//rag.env",
        f"{house.path}/",
        f"/proc/self/root{house.path}",
        f"/proc/1/root{house.path}",
        str(house.path).upper(),
        f"{house.path}\n",
        str(house.conf),
    )
    rest = {"sha256": "0" * 64, "content": "A=1\n"}
    reads = [{"verb": "read", "file": path} for path in paths]
    writes = [{"verb": "replace", "file": path, **rest} for path in paths]
    assert set(house.codes(*reads, *writes)) == {"P052"}
    assert house.path.read_bytes() == ENV.encode()


def _link(house: HelperHouse) -> None:
    house.path.rename(house.srv / "real.env")
    house.path.symlink_to("real.env")


def _hard_link(house: HelperHouse) -> None:
    os.link(house.path, house.srv / "second.env")


def _fifo(house: HelperHouse) -> None:
    house.path.unlink()
    os.mkfifo(house.path)


def _device(house: HelperHouse) -> None:
    house.path.unlink()
    os.mknod(house.path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero


def _socket(house: HelperHouse) -> None:
    house.path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(house.path))


def _folder(house: HelperHouse) -> None:
    house.path.unlink()
    house.path.mkdir()


def _linked_folder(house: HelperHouse) -> None:
    house.srv.rename(house.folder / "moved")
    house.srv.symlink_to("moved")


def _folder_of_others(house: HelperHouse) -> None:
    os.chown(house.srv, 33, 33)


def _folder_for_all(house: HelperHouse) -> None:
    house.srv.chmod(0o777)


def _sticky_folder_for_all(house: HelperHouse) -> None:
    house.srv.chmod(0o1777)


def _folder_for_a_group(house: HelperHouse) -> None:
    house.srv.chmod(0o775)


def _file_of_others(house: HelperHouse) -> None:
    os.chown(house.path, 33, 33)


def _file_for_all(house: HelperHouse) -> None:
    house.path.chmod(0o666)


def _setuid(house: HelperHouse) -> None:
    house.path.chmod(0o4755)


def _too_large(house: HelperHouse) -> None:
    house.path.write_bytes(b"A" * (files.MOST_BYTES + 1))


def _no_text(house: HelperHouse) -> None:
    house.path.write_bytes(b"A=\xff\n")


@pytest.mark.parametrize(
    "spoil",
    [
        *(_link, _hard_link, _fifo, _device, _socket, _folder, _linked_folder, _folder_of_others),
        *(_folder_for_all, _sticky_folder_for_all, _folder_for_a_group, _file_of_others),
        *(_file_for_all, _setuid, _too_large, _no_text),
    ],
)
def test_a_declared_file_that_is_not_safe_is_refused_and_left(
    house: HelperHouse, spoil: Callable[[HelperHouse], None]
) -> None:
    expected = files.digest(house.path.read_bytes())
    spoil(house)
    assert house.code({"verb": "read", "file": str(house.path)}) == "P055"
    before = _tree(house.srv)
    replacing = {"verb": "replace", "file": str(house.path), "sha256": expected, "content": NEW}
    assert house.code(replacing) in ("P055", "P056")
    assert _tree(house.srv) == before
    [told] = house.ask({"verb": "declared"})
    assert told["files"][1]["refused"]


def _tree(folder: Path) -> list[tuple[str, int, int, int]]:
    found = [(each.name, each.lstat()) for each in sorted(folder.iterdir())]
    return [(name, each.st_ino, each.st_mode, each.st_mtime_ns) for name, each in found]


def test_a_mount_over_the_file_is_refused(house: HelperHouse) -> None:
    mounted = subprocess.run(["mount", "--bind", "/proc/version", str(house.path)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets root mount nothing")
    try:
        assert house.code({"verb": "read", "file": str(house.path)}) == "P055"
    finally:
        subprocess.run(["umount", str(house.path)], check=True)


@pytest.mark.parametrize("path", ["/proc/sys/kernel/hostname", "/dev/null", "/sys/power/state"])
def test_what_only_looks_like_files_can_not_be_declared(house: HelperHouse, path: str) -> None:
    house.declare(f"[{path}]\nrestart = rag.service\nwrite = yes")
    [told] = house.ask({"verb": "declared"})
    assert [each["own"] for each in told["files"]] == [True]
    assert "Line 1" in told["problem"]
    assert house.code({"verb": "read", "file": path}) == "P052"


def test_managed_conf_that_is_not_roots_alone_counts_for_nothing(house: HelperHouse) -> None:
    house.conf.chmod(0o666)
    assert house.code({"verb": "read", "file": str(house.path)}) == "P052"
    house.conf.chmod(0o640)
    os.chown(house.conf, 33, 33)
    assert house.code({"verb": "restart", "unit": "rag.service"}) == "P053"
    os.chown(house.conf, 0, 0)
    house.conf.rename(house.folder / "real.conf")
    house.conf.symlink_to("real.conf")
    assert house.code({"verb": "read", "file": str(house.path)}) == "P052"


def test_a_file_that_is_declared_for_reading_is_not_written(house: HelperHouse) -> None:
    house.declare(f"[{house.path}]\nrestart = rag.service")
    assert house.code(house.replacing(NEW)) == "P054"
    house.declare(f"[{house.path}]\nrestart = rag.service\nwrite = yes")
    house.path.chmod(0o440)
    assert house.code(house.replacing(NEW)) == "P055"
    assert house.path.read_bytes() == ENV.encode()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("A=1\nA=2\n", 2),
        ("A=1\nB='sec\nret'\n", 2),
        ("A=sec\0ret\n", 1),
        ("bad-key=secret\n", 1),
        ("[Service]\n", 1),
    ],
)
def test_only_env_files_are_written(house: HelperHouse, content: str, line: int) -> None:
    [answer] = house.ask(house.replacing(content))
    assert answer["error"]["code"] == "SOPHIA-S440"
    assert answer["error"]["details"]["lines"] == [line]
    assert "sec" not in json.dumps(answer).replace(str(house.folder), "")
    assert house.path.read_bytes() == ENV.encode()


def test_keys_that_load_code_are_never_changed(house: HelperHouse) -> None:
    keys = ("LD_PRELOAD", "PATH", "PYTHONPATH", "BASH_ENV", "NODE_OPTIONS", "GIT_SSH_COMMAND")
    added = [house.replacing(f"{ENV}{key}=/tmp/evil\n") for key in keys]
    assert set(house.codes(*added)) == {"P057"}
    house.path.write_text("PATH=/usr/bin\nGEN_MODEL=old\n")
    taken, kept = house.ask(
        house.replacing("GEN_MODEL=old\n"), house.replacing("PATH=/usr/bin\nGEN_MODEL=new\n")
    )
    assert taken["error"]["code"] == "SOPHIA-P057" and kept["ok"]


def test_a_declaration_may_leave_a_few_keys_to_sophia(house: HelperHouse) -> None:
    house.declare(f"[{house.path}]\nrestart = rag.service\nwrite = yes\nkeys = *_MODEL")
    [answer] = house.ask(house.replacing(NEW))
    assert answer["ok"]
    assert house.code(house.replacing(NEW.replace("s3cr3t", "mine"))) == "P057"


def test_a_file_that_somebody_changed_meanwhile_is_left(house: HelperHouse) -> None:
    replacing = house.replacing(NEW)
    house.path.write_text("GEN_MODEL=theirs\n")
    assert house.code(replacing) == "P056"
    assert house.path.read_text() == "GEN_MODEL=theirs\n"


@pytest.mark.parametrize(
    "message",
    [
        b"\n",
        b"no json\n",
        b"[]\n",
        b'"read"\n',
        b"{}\n",
        b'{"verb": "exec"}\n',
        b'{"verb": ["read"], "file": "/x"}\n',
        b'{"verb": "read"}\n',
        b'{"verb": "read", "file": 1}\n',
        b'{"verb": "read", "file": "/x", "file": "/y"}\n',
        b'{"verb": "read", "file": "/x", "also": "y"}\n',
        b'{"verb": "status", "units": [1]}\n',
        b'{"verb": "status", "units": [' + b",".join([b'"a.service"'] * 101) + b"]}\n",
        b'{"verb": "read", "file": "\\ud800"}\n',
        b'{"verb": "declared", "person": "x\\nroot"}\n',
        b'{"verb": "read", "file": "\xff"}\n',
        b'{"verb":' + b"[" * 200_000 + b"\n",
        b'{"verb": ' + b"9" * 10_000 + b"}\n",
    ],
)
def test_what_is_no_message_is_refused_and_the_talk_goes_on(
    house: HelperHouse, message: bytes
) -> None:
    refused, declared = house.ask(message, {"verb": "declared"})
    assert refused["error"]["code"] == "SOPHIA-P051"
    assert declared["ok"]


def test_a_huge_message_ends_the_talk_without_being_kept(house: HelperHouse) -> None:
    answers = []
    with house.connect() as talk:
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += talk.send(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it no longer listens: that is the point
        assert sent < 16 * 1024 * 1024
        try:
            answers.append(talk.recv(65536))
        except ConnectionResetError:
            answers.append(b"P051")
    assert b"P051" in answers[0]
    assert house.code(house.replacing("A='" + "x" * files.MOST_BYTES + "'\n")) == "P058"


def test_more_messages_than_a_talk_has_are_not_answered(house: HelperHouse) -> None:
    with house.connect() as talk, talk.makefile("rb") as answers:
        for _each in range(server.MOST_MESSAGES):
            talk.sendall(b"{}\n")
            assert b"P051" in answers.readline()
        assert answers.readline() == b""


# -- who may ask

_PEER = """
import os, socket, sys
talk = socket.socket(socket.AF_UNIX)
talk.connect(sys.argv[1])
talk.sendall(b'{"verb": "declared"}\\n')
talk.shutdown(socket.SHUT_WR)
print(talk.makefile().read())
"""


def _as(house: HelperHouse, user: str, group: str) -> dict[str, Any]:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _PEER, str(house.socket)],
        user=user,
        group=group,
        extra_groups=[],
        capture_output=True,
        check=True,
        cwd="/",
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_root_the_account_and_members_of_its_group_are_answered_and_nobody_else(
    house: HelperHouse,
) -> None:
    assert _as(house, ACCOUNT, ACCOUNT)["ok"]
    assert _as(house, "www-data", ACCOUNT)["ok"]
    for user, group in (("nobody", "nogroup"), ("www-data", "www-data")):
        answer = _as(house, user, group)
        assert answer["error"]["code"] == "SOPHIA-P050"
    assert "refused" in house.journal() and "www-data" in house.journal()


# -- what is written down


def test_the_journal_names_peer_verb_and_target_and_no_content(house: HelperHouse) -> None:
    house.ask(
        {**house.replacing(NEW), "person": "maria"},
        {"verb": "read", "file": "/etc/\x1b[31m\nshadow" + "x" * 900},
        {"verb": "restart", "unit": "rag.service"},
    )
    told = house.journal()
    assert f'peer=root verb=replace person=maria target="{house.path}" end="done"' in told
    assert 'verb=restart target="rag.service" end="active"' in told
    assert 'end="SOPHIA-P052"' in told
    assert "s3cr3t" not in told and "\x1b" not in told
    assert [line for line in told.splitlines() if not line.startswith("<5>sophia-helper: ")] == []
    assert max(map(len, told.splitlines())) < 700


def test_it_answers_in_the_language_of_who_asks(house: HelperHouse) -> None:
    english, portuguese = house.ask(
        {"verb": "read", "file": "/etc/shadow"},
        {"verb": "read", "file": "/etc/shadow", "lang": "pt_BR"},
    )
    assert "is not declared" in english["error"]["what"]
    assert "não está declarado" in portuguese["error"]["what"]


# -- code that is not root's


def test_it_does_not_run_where_others_may_write_its_code(tmp_path: Path) -> None:
    copy = tmp_path / "src"
    root = PROGRAM.parents[2]
    for each in ("installer/libexec", "sophia_tui/root", "sophia_tui/domain", "sophia_tui/locale"):
        (copy / each).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(root / each), str(copy / each)], check=True)
    for each in ("__init__", "errors", "i18n", "envfile"):
        subprocess.run(["cp", str(root / f"sophia_tui/{each}.py"), copy / "sophia_tui"], check=True)
    tmp_path.chmod(0o755)
    subprocess.run(["chmod", "-R", "go-w", str(copy)], check=True)
    program = copy / "installer/libexec/sophia-helper"

    def run() -> tuple[int, str]:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            ours.sendall(b'{"verb": "declared"}\n')
            ours.shutdown(socket.SHUT_WR)
            done = subprocess.run(
                ["/usr/bin/python3", "-I", str(program)], stdin=theirs, capture_output=True
            )
            return done.returncode, done.stderr.decode()

    assert run()[0] == 0
    module = copy / "sophia_tui/envfile.py"
    module.chmod(0o666)
    assert run()[0] == 1 and "not root's alone" in run()[1]
    module.chmod(0o644)
    os.chown(copy / "sophia_tui/root", 33, 33)
    assert run()[0] == 1


# -- races, deaths, full disks


_SWAP = """
import ctypes, os, sys
folder, evil = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
print("swapping", flush=True)
while True:
    # RENAME_EXCHANGE: there is always something by both names
    libc.renameat2(-100, folder.encode(), -100, evil.encode(), 2)
"""


@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "hard link"])
def test_folders_and_files_swapped_while_it_runs_lead_nowhere_else(
    house: HelperHouse, kind: str
) -> None:
    victims = house.made("victims")
    victim = house.env("rag.env", folder=victims)
    swapped, evil = house.path, house.srv / "evil.env"
    if kind == "link to a folder":
        swapped, evil = house.srv, house.folder / "evil"
        evil.symlink_to("victims")
    elif kind == "link to a file":
        evil.symlink_to(victim)
    else:
        os.link(victim, evil)
    before = (victim.read_bytes(), victim.stat().st_ino, victim.stat().st_mtime_ns)
    path, ends = str(house.path), []
    attacker = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", _SWAP, str(swapped), str(evil)], stdout=subprocess.PIPE
    )
    assert attacker.stdout is not None
    with attacker:
        try:
            attacker.stdout.readline()
            now, then = ENV.encode(), NEW.encode()
            for _attempt in range(600):
                try:
                    files.replace(path, frozenset({0}), files.digest(now), then, lambda _old: None)
                    ends.append("replaced")
                    now, then = then, now
                except SophiaError as problem:
                    ends.append(problem.code)
        finally:
            attacker.kill()
    assert (victim.read_bytes(), victim.stat().st_ino, victim.stat().st_mtime_ns) == before
    assert [each.name for each in victims.iterdir()] == ["rag.env"]
    assert {"SOPHIA-P055", "SOPHIA-P056"} & set(ends)  # the attack did meet it


def test_two_writers_take_turns_and_one_wins(house: HelperHouse) -> None:
    messages = [house.replacing(f"GEN_MODEL=m{number}\n") for number in range(8)]
    talks = [house.connect() for _each in messages]
    for talk, message in zip(talks, messages, strict=True):
        talk.sendall(json.dumps(message).encode() + b"\n")
    answers = [json.loads(talk.makefile().readline()) for talk in talks]
    for talk in talks:
        talk.close()
    won = [number for number, each in enumerate(answers) if each["ok"]]
    assert len(won) == 1 and house.path.read_text() == f"GEN_MODEL=m{won[0]}\n"
    assert {each["error"]["code"] for each in answers if not each["ok"]} == {"SOPHIA-P056"}


def test_a_client_that_dies_leaves_a_whole_file(house: HelperHouse) -> None:
    with house.connect() as talk:
        talk.sendall(json.dumps(house.replacing(NEW)).encode()[:60])
    with house.connect() as talk:
        talk.sendall(json.dumps(house.replacing(NEW)).encode() + b"\n")
    house.journal()
    assert house.path.read_bytes() in (ENV.encode(), NEW.encode())
    assert [each.name for each in house.srv.iterdir() if each.name.startswith(".")] == []
    [answer] = house.ask({"verb": "declared"})
    assert answer["ok"]


def test_a_full_disk_changes_nothing(house: HelperHouse) -> None:
    small = house.made("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k,mode=755", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets root mount nothing")
    try:
        path = house.env("rag.env", folder=small)
        house.declare(f"[{path}]\nrestart = rag.service\nwrite = yes")
        large = "".join(f"K{number}={'x' * 90}\n" for number in range(500))
        [answer] = house.ask(house.replacing(ENV + large, path))
        assert answer["error"]["code"] == "SOPHIA-P059"
        assert path.read_bytes() == ENV.encode()
        assert [each.name for each in small.iterdir()] == ["rag.env"]
        [answer] = house.ask(house.replacing(NEW, path))
        assert answer["ok"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_full_disk_for_the_way_back_changes_nothing(house: HelperHouse) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(house.state)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets root mount nothing")
    try:
        house.env("rag.env", ENV + "X='" + "x" * 30_000 + "'\n")
        before = house.path.read_bytes()
        assert house.code(house.replacing(NEW)) == "P059"
        assert house.path.read_bytes() == before
    finally:
        subprocess.run(["umount", str(house.state)], check=True)


class _Counted:
    """`os`, of which the call number `last` ends in SIGKILL, before or after it is made."""

    _ACTS = frozenset(
        {"open", "write", "fchown", "fchmod", "setxattr", "fsync", "rename", "unlink", "mkdir"}
    )

    def __init__(self, last: int, after: bool) -> None:
        self._left = last
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._ACTS:
            return real

        def counted(*given: Any, **also: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*given, **also)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_moment_the_old_or_the_new_file_is_there(
    house: HelperHouse, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    seen = set()
    for moment in range(1, 200):
        house.path.write_bytes(ENV.encode())
        child = os.fork()
        if child == 0:
            status = 3
            try:
                monkeypatch.setattr(files, "os", _Counted(moment, after))
                files.replace(
                    str(house.path),
                    frozenset({0}),
                    files.digest(ENV.encode()),
                    NEW.encode(),
                    lambda old: files.keep(str(house.state), "x", old) and None,
                )
                status = 0
            finally:
                os._exit(status)
        _pid, status = os.waitpid(child, 0)
        content = house.path.read_bytes()
        assert content in (ENV.encode(), NEW.encode()), moment
        assert house.path.stat().st_mode & 0o7777 == 0o640
        seen.add(content)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        # what it left is swept by the next one, and the file can be written again
        files.replace(
            str(house.path), frozenset({0}), files.digest(content), b"NEXT=1\n", lambda _old: None
        )
        assert [each.name for each in house.srv.iterdir() if each.name.startswith(".")] == []
    else:
        pytest.fail("it never came to its end")
    assert seen == {ENV.encode(), NEW.encode()} and moment > 12


def test_it_waits_for_no_one_for_ever(house: HelperHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        ours.sendall(b'{"verb"')
        begun = time.monotonic()
        server.serve(theirs, server.Places(conf=str(house.conf)))
        assert time.monotonic() - begun < 10
        assert json.loads(ours.recv(65536))["error"]["code"] == "SOPHIA-P063"


def test_it_loads_the_standard_library_and_itself_alone() -> None:
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import sophia_tui.root.server\n"
        "known = sys.stdlib_module_names\n"
        "print(json.dumps([m for m in sys.modules if m.partition('.')[0] not in known]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(PROGRAM.parents[2])],
        capture_output=True,
        check=True,
    )
    loaded = {each for each in json.loads(done.stdout) if each != "__main__"}
    light = {"sophia_tui", "sophia_tui.envfile", "sophia_tui.errors", "sophia_tui.i18n"}
    rest = {each for each in loaded - light if not each.startswith("sophia_tui.root")}
    assert rest == {"sophia_tui.domain", "sophia_tui.domain.managed"}
