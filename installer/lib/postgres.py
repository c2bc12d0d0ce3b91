"""What the step `postgres` needs and a shell should not hold: passwords, verifiers, addresses.

    postgres.py store FILE           where the own store is to be, as KEY=VALUE lines (see `Place`);
                                     standard input: KEY NUL VALUE NUL ..., going over the file
    postgres.py password FILE WHICH  the store's password: `current`, `next` during a change, or
                                     `given`: with what comes on standard input (as for `store`)
    postgres.py address FILE PORT    the store's address as it stands, with that port, no password
    postgres.py statement VERB ROLE  SQL that makes (create) or changes (alter) the role; standard
                                     input: the password, which the server never gets to see
    postgres.py matches ROLE         standard input: the password; descriptor 3: what pg_authid
                                     holds; exit 0 the same, 1 another, 4 the role has none
    postgres.py login PORT ROLE DATABASE   a real login over TCP; standard input: the password

Secrets come and go by pipes and memory alone; arguments and environments can be read by others on
the machine. Nothing but the standard library is needed. Exit 3: a file can't be read.
"""

import base64
import hashlib
import hmac
import os
import re
import stringprep
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sophia_tui import envfile

ROLE = "sophia"
DATABASE = "sophia"
ITERATIONS = 4096
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
#: Parameters of an address that move it to another place than it seems to be.
_MOVING = frozenset({"host", "hostaddr", "port", "user", "dbname", "service", "passfile"})
_STORED = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):[A-Za-z0-9+/=]+")
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@dataclass(frozen=True)
class Place:
    """`kind`: local (this machine's Postgres, which the step makes), embedded, or elsewhere (an
    address that the operator gave, and that is left alone). The keys are those of the env file.
    """

    kind: str
    url_key: str = ""
    password_key: str = ""
    url: str = ""


def is_ours(url: str) -> bool:
    """Whether an address means the role and the database that the step makes on this machine."""
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
        moved = any(key in _MOVING for key, _value in parse_qsl(parts.query))
    except ValueError:
        return False
    return (
        re.fullmatch(r"postgres(ql)?(\+\w+)?", parts.scheme) is not None
        and parts.hostname in _LOCAL
        and port_is_one
        and unquote(parts.username or "") == ROLE
        and unquote(parts.path) == f"/{DATABASE}"
        and not moved
    )


def place_of(values: dict[str, str]) -> Place:
    """Where Sophia's own store is to be, by the rules of sophia_tui/settings.py: SOPHIA_STORE_URL
    says it, else DATABASE_URL. Where the latter is an operator's own, the store lies beside it."""
    store = values.get("SOPHIA_STORE_URL", "").strip()
    source = values.get("DATABASE_URL", "").strip()
    if store.lower() == "embedded":
        return Place("embedded")
    if store and not is_ours(store):
        return Place("elsewhere")
    if store or (source and not is_ours(source)):
        return Place("local", "SOPHIA_STORE_URL", "SOPHIA_STORE_PASS", store)
    return Place("local", "DATABASE_URL", "DB_PASS", source)


def address(url: str, port: int) -> str:
    """`url` with this port and without a password; everything else stays as it was written."""
    if not url:
        return f"postgresql://{ROLE}@127.0.0.1:{port}/{DATABASE}"
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return parts._replace(netloc=f"{user}@{host}:{port}").geturl()


def password_of(values: dict[str, str], which: str) -> str:
    """The password that Sophia would log in with; empty where there is none."""
    if which == "next":
        return values.get("SOPHIA_NEXT_PASS", "")
    place = place_of(values)
    given = unquote(urlsplit(place.url).password or "") if place.url else ""
    return given or values.get(place.password_key, "")


def prepared(password: str) -> bytes:
    """SASLprep (RFC 4013) as Postgres does it: what can't be prepared is taken as it is."""
    raw = password.encode()
    if raw.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(sign) else sign
        for sign in password
        if not stringprep.in_table_b1(sign)
    )
    text = unicodedata.normalize("NFKC", mapped)
    if not text or any(table(sign) for sign in text for table in _PROHIBITED):
        return raw
    if any(stringprep.in_table_a1(sign) for sign in text):
        return raw
    if any(map(stringprep.in_table_d1, text)):
        mixed = any(map(stringprep.in_table_d2, text))
        if mixed or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
            return raw
    return text.encode()


def keys_of(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey of RFC 5802."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def verifier(password: str) -> str:
    """What the server keeps in place of the password."""
    salt = os.urandom(16)
    stored, server = (base64.b64encode(key).decode() for key in keys_of(password, salt, ITERATIONS))
    return f"SCRAM-SHA-256${ITERATIONS}:{base64.b64encode(salt).decode()}${stored}:{server}"


def matches(password: str, role: str, stored: str) -> int:
    """Whether what the server keeps for the role was made from this password (see above)."""
    if not stored:
        return 4
    if found := _STORED.fullmatch(stored):
        key, _server = keys_of(password, base64.b64decode(found[2]), int(found[1]))
        return 0 if hmac.compare_digest(key, base64.b64decode(found[3])) else 1
    old = hashlib.md5(password.encode() + role.encode(), usedforsecurity=False).hexdigest()
    return 0 if hmac.compare_digest(f"md5{old}", stored) else 1


def login(password: str, port: int, role: str, database: str) -> int:
    """psql's exit status; the password goes by a file that is only in memory and in no folder."""
    escaped = re.sub(r"([\\:])", r"\\\1", password)
    handle = os.memfd_create("passfile", 0)
    os.fchmod(handle, 0o600)
    os.write(handle, f"127.0.0.1:{port}:{database}:{role}:{escaped}\n".encode())
    command = ["psql", "--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]
    command += ["--host=127.0.0.1", f"--port={port}", f"--username={role}"]
    command += [f"--dbname={database}", "--command=SELECT 1"]
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "PGPASSFILE": f"/proc/self/fd/{handle}",
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "sophia-installer",
    }
    done = subprocess.run(
        command,
        env=environment,
        pass_fds=[handle],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return done.returncode


def from_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8")


def given() -> dict[str, str]:
    """What goes over the file: KEY NUL VALUE NUL ... on standard input."""
    parts = from_input().split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=False))


def values_of(path: str) -> dict[str, str]:
    try:
        return envfile.values(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def run(verb: str, arguments: list[str]) -> int:
    match verb, arguments:
        case "store", [path]:
            values = {**values_of(path), **given()}
            place = place_of(values)
            print(f"kind={place.kind}\nurl_key={place.url_key}\npassword_key={place.password_key}")
            print(f"has_url={'yes' if place.url else 'no'}")
            in_url = bool(place.url and urlsplit(place.url).password)
            print(f"password_in_url={'yes' if in_url else 'no'}")
            print(f"has_password={'yes' if password_of(values, 'current') else 'no'}")
            print(f"has_next={'yes' if password_of(values, 'next') else 'no'}")
            print(f"port={urlsplit(place.url).port or 5432 if place.url else ''}")
        case "password", [path, "given"]:
            sys.stdout.write(password_of({**values_of(path), **given()}, "current"))
        case "password", [path, which]:
            sys.stdout.write(password_of(values_of(path), which))
        case "address", [path, port]:
            sys.stdout.write(address(place_of(values_of(path)).url, int(port)))
        case "statement", ["create", role]:
            print(
                f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
                f" NOBYPASSRLS PASSWORD '{verifier(from_input())}';"
            )
        case "statement", ["alter", role]:
            print(f"ALTER ROLE {role} PASSWORD '{verifier(from_input())}';")
        case "matches", [role]:
            with open(3, encoding="utf-8") as stored:
                return matches(from_input(), role, stored.read().strip())
        case "login", [port, role, database]:
            return login(from_input(), int(port), role, database)
        case _:
            raise ValueError(verb)
    return 0


def main() -> int:
    try:
        return run(sys.argv[1], sys.argv[2:])
    except (OSError, ValueError) as problem:
        # the text of a ValueError may hold the value
        print(getattr(problem, "strerror", None) or type(problem).__name__, file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
