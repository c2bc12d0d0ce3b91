"""The root helper's conversation: one connection, JSON lines, five verbs, nothing undeclared.

    {"verb": "declared"}
    {"verb": "read", "file": "/srv/rag/rag.env"}
    {"verb": "replace", "file": "…", "sha256": "of the content that was read", "content": "…"}
    {"verb": "restart", "unit": "rag-api.service"}
    {"verb": "status", "units": ["rag-api.service"]}

Every answer is one line: {"ok": true, …} or {"ok": false, "error": {code, what, why, …, kind}}.
`lang` and `person` (who acts behind the account; told, not proved) may stand in every message.
"""

import contextlib
import fnmatch
import grp
import json
import os
import pwd
import re
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sophia_tui import envfile
from sophia_tui.domain.managed import Declared, ManagedFile, is_unit
from sophia_tui.errors import (
    InternalError,
    RefusedError,
    SophiaError,
    TooLargeError,
    UnavailableError,
    UsageError,
)
from sophia_tui.i18n import _, set_language
from sophia_tui.root import conf, files
from sophia_tui.root.units import Units

#: The longest message, in bytes: an env file of the largest size, as JSON.
MOST_MESSAGE = 4 * files.MOST_BYTES
MOST_MESSAGES = 200
IDLE_SECONDS = 30.0
LOCK_SECONDS = 20.0
TALK_SECONDS = 300
#: Keys by which an environment makes a program load or run other code: never changed here.
LOADERS = (
    *("LD_*", "GCONV_PATH", "GLIBC_TUNABLES", "MALLOC_*", "LOCPATH", "NLSPATH", "PATH", "IFS"),
    *("BASH_ENV", "BASH_FUNC_*", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND"),
    *("PYTHON*", "PERL5*", "PERLLIB", "RUBY*", "NODE_*", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"),
    *("JDK_JAVA_OPTIONS", "CLASSPATH", "GIT_*", "PHPRC", "PHP_INI_SCAN_DIR", "LUA_*", "DOTNET_*"),
    *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "GTK_*", "QT_PLUGIN_PATH"),
)
_PERSON = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Places:
    """Where things are on a server; tests have their own."""

    conf: str = "/etc/sophia/managed.conf"
    state: str = "/var/lib/sophia-install/helper"
    account: str = "sophia"
    own_file: str = "/etc/sophia/sophia.env"
    own_units: tuple[str, ...] = ("sophia-api.service", "sophia-worker.service")
    systemctl: str = "/usr/bin/systemctl"
    settle: float = 2.0


class TimeUp(Exception):
    """The connection lasted too long."""


class Peer:
    """Who is at the other end, by the kernel's word. Raises RefusedError P050 for a stranger."""

    def __init__(self, connection: socket.socket, account: str) -> None:
        size = struct.calcsize("3i")
        given = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _pid, uid, gid = struct.unpack("3i", given)
        try:
            self.name = pwd.getpwuid(uid).pw_name
        except KeyError:
            self.name = f"uid {uid}"
        if uid != 0 and self.name != account and not _member(uid, gid, account):
            raise RefusedError(
                "P050",
                _("The root helper does not answer {name}.").format(name=self.name),
                _("It answers root, the account {account} and members of that group.").format(
                    account=account
                ),
                _("Ask an administrator: sudo usermod -aG {account} {name}").format(
                    account=account, name=self.name
                ),
            )


def _member(uid: int, gid: int, group: str) -> bool:
    try:
        wanted = grp.getgrnam(group).gr_gid
        account = pwd.getpwuid(uid)
    except KeyError:
        return False
    return gid == wanted or wanted in os.getgrouplist(account.pw_name, account.pw_gid)


class Helper:
    """Answers the messages of one peer."""

    def __init__(self, places: Places, peer: str, log: Callable[[str], None]) -> None:
        self._places = places
        self._peer = peer
        self._log = log
        self._units = Units(places.systemctl, places.settle)

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one message; never raises but TimeUp."""
        verb, target, person = "?", "", ""
        try:
            message = _message(line)
            set_language(message.pop("lang", "en"))
            person = message.pop("person", "")
            verb = message.pop("verb")
            wanted, method = _VERBS[verb]
            if set(message) != set(wanted):
                raise _unreadable(_("It has other fields than its verb."))
            target = message.get("file") or message.get("unit") or ""
            found: dict[str, Any] = method(self, **message)
        except TimeUp:
            self._tell(verb, target, person, "SOPHIA-P063")
            raise
        except SophiaError as problem:
            self._tell(verb, target, person, problem.code)
            return failed(problem)
        except Exception as problem:  # a defect: its kind is told, its text may hold a content
            self._tell(verb, target, person, f"defect {type(problem).__name__}")
            return failed(InternalError("P069", _("The root helper ran into a defect.")))
        if verb in _ACTS:
            self._tell(verb, target, person, found.pop("done", "done"))
        return {"ok": True, **found}

    def _tell(self, verb: str, target: str, person: str, end: str) -> None:
        """One line of the journal. Nothing that a peer sent stands in it unquoted or unbounded."""
        parts = [f"peer={self._peer}", f"verb={verb}"]
        parts += [f"person={person}"] if person else []
        parts += [f"target={json.dumps(target[:300])}"] if target else []
        self._log(" ".join([*parts, f"end={json.dumps(end)}"]))

    # -- the five verbs

    def declared(self) -> dict[str, Any]:
        found = self._declared()
        checked = [replace(each, refused=self._why_refused(each)) for each in found.files]
        return {"files": [asdict(each) for each in checked], "problem": found.problem}

    def read(self, file: str) -> dict[str, Any]:
        content = _text(self._file(file))
        return {"content": content, "sha256": files.digest(content.encode("utf-8"))}

    def replace(self, file: str, sha256: str, content: str) -> dict[str, Any]:
        declared = self._file(file)
        if not declared.writable:
            raise RefusedError(
                "P054",
                _("{path} is declared, but not to be written.").format(path=file),
                remedy=_("An administrator may: `sudo sophia env declare {path} --write`.").format(
                    path=file
                ),
            )
        new = content.encode("utf-8")
        if not _SHA256.fullmatch(sha256):
            raise _unreadable(_("sha256 is no such sum."))
        if len(new) > files.MOST_BYTES:
            raise TooLargeError(
                "P058",
                _("The new content of {path} is too large.").format(path=file),
                _("An env file has {n} bytes at most.").format(n=files.MOST_BYTES),
            )
        values = envfile.check(new, file)

        def approve(old: bytes) -> None:
            _require_keys(declared, old, values)
            files.keep(f"{self._places.state}/backups", declared.path, old)

        self._make_state()
        with files.locked(self._places.state, LOCK_SECONDS):
            files.replace(declared.path, _owners(declared), sha256, new, approve)
        return {"sha256": files.digest(new)}

    def restart(self, unit: str) -> dict[str, Any]:
        self._require_units([unit], restart=True)
        state = self._units.restart(unit)
        return {**asdict(state), "done": state.state if state.healthy else f"not up: {state.state}"}

    def status(self, units: list[str]) -> dict[str, Any]:
        self._require_units(units, restart=False)
        return {"units": [asdict(self._units.status(each)) for each in units]}

    # -- what is declared

    def _declared(self) -> Declared:
        """Sophia's own file and units always; what root declared where managed.conf is in order."""
        own = ManagedFile(
            path=self._places.own_file,
            words=_("Sophia's own settings"),
            restart=self._places.own_units,
            writable=True,
            own=True,
        )
        try:
            found = conf.parse(files.read(self._places.conf))
        except SophiaError as problem:
            missing = not os.path.lexists(self._places.conf)
            told = f"{problem.what} {problem.why}".strip()
            return Declared((own,), None if missing else told)
        return Declared((own, *(each for each in found if each.path != own.path)))

    def _why_refused(self, file: ManagedFile) -> str | None:
        try:
            _text(file)
        except SophiaError as problem:
            return f"{problem.what} {problem.why}".strip()
        return None

    def _file(self, path: str) -> ManagedFile:
        found = self._declared().get(path)
        if found is None:
            raise RefusedError(
                "P052",
                _("This file is not declared to the root helper."),
                _("managed.conf does not name it."),
                _("Declare it: `sudo sophia env declare FILE --restart UNIT`."),
            )
        return found

    def _require_units(self, units: list[str], restart: bool) -> None:
        allowed: set[str] = set()
        for each in self._declared().files:
            allowed |= set(each.restart) | (set() if restart else set(each.read_by))
        for unit in units:
            if not is_unit(unit) or unit not in allowed:
                raise RefusedError(
                    "P053",
                    _("This unit is not declared to the root helper."),
                    _("No file in managed.conf names it."),
                    _("Declare it: `sudo sophia env declare FILE --restart UNIT`."),
                )

    def _make_state(self) -> None:
        for folder in (self._places.state, f"{self._places.state}/backups"):
            try:
                with files.place(f"{folder}/x"):
                    continue
            except RefusedError:
                if os.path.lexists(folder):
                    raise
            try:
                with files.place(folder) as where:
                    os.mkdir(where.name, 0o700, dir_fd=where.folder)
            except OSError as problem:
                raise files.cannot_write(folder, problem) from problem


def _require_keys(file: ManagedFile, old: bytes, new: Mapping[str, str]) -> None:
    """Refuse changes of keys that the declaration does not leave to us. Raises RefusedError P057,
    naming keys and no values."""
    before = envfile.values(old.decode("utf-8", "surrogateescape"))
    changed = {key for key in {*before, *new} if before.get(key) != new.get(key)}
    for key in sorted(changed):
        loads = any(fnmatch.fnmatchcase(key, each) for each in LOADERS)
        if loads or (file.keys and not any(fnmatch.fnmatchcase(key, e) for e in file.keys)):
            raise RefusedError(
                "P057",
                _("{key} may not be changed in {path}.").format(key=key[:100], path=file.path),
                _("It makes programs load other code.")
                if loads
                else _("The declaration leaves other keys to Sophia."),
                _("An administrator changes it by hand."),
            )


def _text(file: ManagedFile) -> str:
    """Raises RefusedError P055, ConflictError P056."""
    try:
        return files.read(file.path, _owners(file)).decode("utf-8")
    except UnicodeDecodeError:
        raise files.unsafe(file.path, _("It is no text in UTF-8.")) from None


def _owners(file: ManagedFile) -> frozenset[int]:
    if file.owner is None:
        return frozenset({0})
    try:
        return frozenset({0, pwd.getpwnam(file.owner).pw_uid})
    except KeyError:
        raise files.unsafe(
            file.path, _("There is no account {name}.").format(name=file.owner)
        ) from None


#: What is written down where it was done; refusals are, whatever was asked.
_ACTS = frozenset({"read", "replace", "restart"})
_Fields = Mapping[str, type]
_VERBS: dict[str, tuple[_Fields, Callable[..., dict[str, Any]]]] = {
    "declared": ({}, Helper.declared),
    "read": ({"file": str}, Helper.read),
    "replace": ({"file": str, "sha256": str, "content": str}, Helper.replace),
    "restart": ({"unit": str}, Helper.restart),
    "status": ({"units": list}, Helper.status),
}


def _unreadable(why: str) -> UsageError:
    return UsageError("P051", _("The root helper does not understand the message."), why)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("twice")
    return found


def _message(line: bytes) -> dict[str, Any]:
    """A message whose fields are of their kinds. Raises UsageError P051."""
    found: Any
    try:
        found = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _unreadable(_("It is no JSON.")) from None
    verb = found.get("verb") if isinstance(found, dict) else None
    if not isinstance(verb, str) or verb not in _VERBS:
        raise _unreadable(_("It has no verb that is known."))
    kinds: dict[str, type] = {"verb": str, "lang": str, "person": str, **_VERBS[verb][0]}
    for key, value in found.items():
        if not isinstance(value, kinds.get(key, type(None))):
            raise _unreadable(_("It has other fields than its verb."))
    texts = [each for each in found.values() if isinstance(each, str)]
    units = found.get("units", [])
    if len(units) > conf.MOST_FILES or any(not isinstance(each, str) for each in units):
        raise _unreadable(_("It has other fields than its verb."))
    try:
        for each in (*texts, *units):
            each.encode("utf-8")
    except UnicodeEncodeError:
        raise _unreadable(_("It is no text in UTF-8.")) from None
    if not _PERSON.fullmatch(found.get("person", "x")):
        raise _unreadable(_("person is no account's name."))
    return dict(found)


def failed(problem: SophiaError) -> dict[str, Any]:
    return {"ok": False, "error": {**problem.as_dict(), "kind": type(problem).__name__}}


class _Lines:
    """Messages of a connection, each with a limit in size and time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._kept = bytearray()

    def next(self) -> bytes | None:
        """The next line, None at the end. Raises UsageError P051, UnavailableError P063."""
        deadline = time.monotonic() + IDLE_SECONDS
        while (end := self._kept.find(b"\n")) < 0:
            if len(self._kept) > MOST_MESSAGE:
                raise _unreadable(_("It is too large."))
            ready = select.select([self._connection], [], [], max(0, deadline - time.monotonic()))
            if not ready[0]:
                raise out_of_time()
            part = self._connection.recv(65536)
            if not part:
                return None
            self._kept += part
        line = bytes(self._kept[:end])
        del self._kept[: end + 1]
        return line


def out_of_time() -> UnavailableError:
    return UnavailableError(
        "P063",
        _("The root helper waited too long for a message, or talked for too long."),
        remedy=_("Try again."),
    )


def _time_up(_signal: int, _frame: object) -> None:
    raise TimeUp


def to_journal(text: str) -> None:
    """systemd takes standard error as lines of the journal; <5> is `notice`."""
    print(f"<5>sophia-helper: {text}", file=sys.stderr, flush=True)


def serve(connection: socket.socket, places: Places) -> None:
    """Talk to who connected until they leave or the time is up."""
    os.umask(0o077)
    signal.signal(signal.SIGALRM, _time_up)
    signal.alarm(TALK_SECONDS)
    try:
        try:
            peer = Peer(connection, places.account)
        except RefusedError as problem:
            to_journal(f"refused: {json.dumps(problem.what)}")
            _refuse(connection, problem)
            return
        helper, lines = Helper(places, peer.name, to_journal), _Lines(connection)
        for _each in range(MOST_MESSAGES):
            try:
                line = lines.next()
            except SophiaError as problem:
                _refuse(connection, problem)
                return
            if line is None:
                return
            _send(connection, helper.answer(line))
    except TimeUp:
        signal.alarm(0)
        _refuse(connection, out_of_time())
    except (BrokenPipeError, ConnectionResetError):
        to_journal("the peer went away")
    finally:
        signal.alarm(0)


def _refuse(connection: socket.socket, problem: SophiaError) -> None:
    """The last answer. What the peer still sends is read for a moment and thrown away: a connection
    that is closed before takes the answer with it."""
    _send(connection, failed(problem))
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    left = 2 * MOST_MESSAGE
    with contextlib.suppress(TimeoutError):
        while left > 0 and (part := connection.recv(65536)):
            left -= len(part)


def _send(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    connection.settimeout(IDLE_SECONDS)
    connection.sendall(json.dumps(answer, ensure_ascii=False).encode("utf-8") + b"\n")
    connection.settimeout(None)
