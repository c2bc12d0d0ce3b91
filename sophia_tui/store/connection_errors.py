"""What Postgres and the network say, as our errors; never with a password in them."""

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from sophia_tui.errors import InternalError, SetupError, SophiaError, UnavailableError, UsageError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_PASSWORD_WORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)
_URL_SECRETS = re.compile(r"(//[^/?#@\s:]*:)[^@\s]*(@)")
_NAME = re.compile(r"[\w.%+~-]*")
_HOSTS = re.compile(r"(?:(?:[\w.%-]*|\[[\w:.%]+\])(?::\d*)?,?)*")
_PORTS = re.compile(r"[\d,\s]*")
_PREFIX = re.compile(r"^(connection failed: )?(connection to server [^:]*failed: )?", re.DOTALL)

# libpq gives no SQLSTATE for a connection that failed, and servers speak Portuguese too
_WRONG_LOGIN = re.compile("password|authentication failed|senha|autentica|papel .*não existe")
_NO_DATABASE = re.compile(
    "database .*(does not exist|no such)|banco de dados .*não existe|no such data"
)
_FULL = re.compile("too many|remaining connection slots|muitos clientes|no more connections")


def redact_url(url: str) -> str:
    """A Postgres address (URL or key=value form) that may be shown: no password anywhere.

    What libpq would cut at another place than the person meant is not shown at all.
    """
    if "://" not in url:
        return visible(_PASSWORD_WORD.sub(r"\1***", url))
    scheme, _sign, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    user, at, host = authority.rpartition("@")
    host, mark, bare_query = host.partition("?")
    path, _mark, query = tail.partition("?")
    query = bare_query if mark else query
    name, colon, _secret = user.partition(":")
    clean = _NAME.fullmatch(scheme) and _NAME.fullmatch(name) and _HOSTS.fullmatch(host)
    if not clean or "@" in path or (mark and slash):
        return "postgresql://***"
    query = re.sub(r"((?:ssl)?password=)[^&]*", r"\1***", query, flags=re.IGNORECASE)
    shown = f"{scheme}://{name}{colon and ':***'}{at}{host}{slash}{path}"
    return visible(shown + (f"?{query}" if query else ""))


def unambiguous(address: str, parts: Mapping[str, Any]) -> bool:
    """Whether libpq cut the address where the person meant it. A bare @ or / in the password moves
    a part of it into the host, the port or the database, which libpq then quotes in its errors."""
    hosts = str(parts.get("host") or "")
    ports = str(parts.get("port") or "")
    if "@" in hosts or not _PORTS.fullmatch(ports):
        return False
    _scheme, is_url, rest = address.partition("://")
    path = rest.partition("/")[2].partition("?")[0] if is_url else ""
    return "@" not in path


def percent_encode() -> tuple[str, str]:
    """Why and what to do where an address is not `unambiguous`."""
    return (
        _("A sign such as @, / or : stands bare where it separates parts of the address."),
        _(
            "Special signs in the password must be percent-encoded: @ as %40, / as %2F, : as %3A;"
            " or leave the password out of DATABASE_URL and set DB_PASS."
        ),
    )


def parsed(url: str) -> dict[str, str]:
    """The parts of an address as libpq reads them. Raises UsageError S008."""
    what = _("The address of the database can't be read.")
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        raise UsageError(
            "S008",
            what,
            _("It must look like postgresql://user@host:5432/database."),
            _("Correct DATABASE_URL or SOPHIA_STORE_URL; in a password, write @ as %40."),
        ) from None
    if not unambiguous(url, found):
        raise UsageError("S008", what, *percent_encode())
    return {key: str(value) for key, value in found.items() if value is not None}


def cleaned(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A server's or libpq's words in one safe line, without the given secrets."""
    text = _URL_SECRETS.sub(r"\1***\2", _PASSWORD_WORD.sub(r"\1***", text))
    for each in secrets:
        if each:
            text = text.replace(each, "***")
    first = text.strip().split("\n")[0] if text.strip() else ""
    return visible(_PREFIX.sub("", first).strip())


def _says(text: str, pattern: re.Pattern[str]) -> bool:
    return pattern.search(text) is not None


def _refused(where: str, why: str) -> SophiaError | None:
    lower = why.lower()
    if "pg_hba.conf" in lower:
        return UnavailableError(
            "S007",
            _("The database at {where} does not let this role in from here.").format(where=where),
            why,
            _("Ask its administrator to allow it in pg_hba.conf."),
        )
    if _says(lower, _WRONG_LOGIN) or ("role" in lower and "not exist" in lower):
        return UnavailableError(
            "S002",
            _("The database at {where} refuses the user or the password.").format(where=where),
            why,
            _("Correct the address in DATABASE_URL or SOPHIA_STORE_URL, or DB_PASS."),
        )
    if _says(lower, _NO_DATABASE):
        return UnavailableError(
            "S003",
            _("There is no such database at {where}.").format(where=where),
            why,
            _("Correct the database's name in the address, or have it created."),
        )
    if _says(lower, _FULL):
        return UnavailableError(
            "S004",
            _("The database at {where} has no free connection.").format(where=where),
            why,
            _("Close other programs, or ask for a higher limit or a pooler."),
        )
    if "ssl" in lower or "certificate" in lower:
        return UnavailableError(
            "S006",
            _("No secure connection to the database at {where}.").format(where=where),
            why,
            _("Check sslmode and sslrootcert in the address."),
        )
    return None


def connect_problem(
    problem: Exception, where: str, secrets: tuple[str, ...] = ()
) -> UnavailableError | SophiaError:
    """The error for a connection that could not be made; `where` is a redacted address."""
    why = cleaned(str(problem), secrets)
    if found := _refused(where, why):
        return found
    if os.strerror(errno.ENOSPC).lower() in why.lower():
        return _no_room(where, os.strerror(errno.ENOSPC))
    return UnavailableError(
        "S001",
        _("The database at {where} can't be reached.").format(where=where),
        why,
        _("Check that it runs and that the address is right; Sophia goes on by itself then."),
    )


def _no_room(where: str, why: str) -> UnavailableError:
    return UnavailableError(
        "S016",
        _("The database at {where} has no room left.").format(where=where),
        why,
        _("Free room there, then try again; nothing was lost."),
    )


def statement_problem(problem: Exception, where: str) -> SophiaError:
    """The error for a statement that failed. Server messages that may quote a row are left out."""
    if isinstance(problem, errors.InsufficientPrivilege):
        return SetupError(
            "S017",
            _("The role at {where} lacks a right that Sophia needs.").format(where=where),
            cleaned(str(problem)),
            _("Ask the administrator for it."),
        )
    if isinstance(problem, errors.ReadOnlySqlTransaction):
        return SetupError(
            "S009",
            _("The database at {where} can only be read.").format(where=where),
            _("It is a replica, or the role may not write."),
            _("Set SOPHIA_STORE_URL to the main server, or to embedded."),
        )
    if isinstance(problem, errors.DiskFull):
        return _no_room(where, os.strerror(errno.ENOSPC))
    if isinstance(problem, errors.OutOfMemory):
        return _no_room(where, os.strerror(errno.ENOMEM))
    if isinstance(problem, (errors.UndefinedTable, errors.UndefinedColumn)):
        return SetupError(
            "S013",
            _("The store at {where} lacks a table or column of Sophia's.").format(where=where),
            cleaned(str(problem)),
            _("`sophia store migrate` brings it up to date."),
        )
    if isinstance(problem, (psycopg.OperationalError, psycopg.InterfaceError)):
        return connect_problem(problem, where)
    return InternalError(
        "S099",
        _("A statement of Sophia's own failed."),
        f"{type(problem).__name__} {getattr(problem, 'sqlstate', None) or ''}".strip(),
        _("The log has the details; please report it with the log."),
    )
