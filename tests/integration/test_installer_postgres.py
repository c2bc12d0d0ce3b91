"""What the installer's step for Postgres leaves to Python: places, addresses, verifiers."""

import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from psycopg import sql

from sophia_tui.store.embedded import EmbeddedServer
from tests.conftest import administer

PROGRAM = Path(__file__).resolve().parents[2] / "installer" / "lib" / "postgres.py"

NASTY = [
    "plain",
    " two  blanks ",
    "it's",
    'say "hi"',
    "$HOME ${x} $(id)",
    "back\\slash\\\\",
    "# no comment",
    "100%s%%41",
    "`id`",
    "Straße-ÄÖÜ-ção",
    "u\u0308 composed and ü",
    "no\u00a0break",
    "soft\u00adhyphen",
    "ﬁ ligature ª",
    "日本 🙂",
    "\u202eoverride",
    "אבא1",
    "אב",
    "a:b\\:c",
    "x" * 1000,
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    told = importlib.util.spec_from_file_location("installer_postgres", PROGRAM)
    assert told is not None and told.loader is not None
    module = importlib.util.module_from_spec(told)
    sys.modules[told.name] = module
    told.loader.exec_module(module)
    return module


def tool(*arguments: str, given: str = "", stored: str | None = None) -> tuple[int, str]:
    """Exit status and output of the program, run as the installer runs it."""
    command = [sys.executable, "-I", "-X", "utf8", str(PROGRAM), *arguments]
    if stored is not None:
        command = ["bash", "-c", 'exec "${@:2}" 3< <(printf %s "$1")', "bash", stored, *command]
    done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)
    assert given not in done.stderr.decode() or not given
    return done.returncode, done.stdout.decode()


@pytest.fixture
def role(postgres: EmbeddedServer) -> Iterator[str]:
    name = f"role_{uuid.uuid4().hex[:12]}"
    yield name
    administer(postgres, "DROP ROLE IF EXISTS {}", name)


def login(postgres: EmbeddedServer, role: str, password: str) -> None:
    psycopg.connect(postgres.url("postgres"), user=role, password=password).close()


@pytest.mark.parametrize("password", NASTY)
def test_the_server_takes_the_password_that_a_verifier_was_made_of_and_no_other(
    postgres: EmbeddedServer, role: str, password: str
) -> None:
    status, statement = tool("statement", "create", role, given=password)
    assert status == 0 and (password not in statement or password == "plain")
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())
        kept = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]
        ).fetchone()
    login(postgres, role, password)
    with pytest.raises(psycopg.OperationalError):
        login(postgres, role, f"{password}!")
    assert kept is not None
    assert tool("matches", role, given=password, stored=kept[0])[0] == 0
    assert tool("matches", role, given=f"{password}!", stored=kept[0])[0] == 1


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
@pytest.mark.parametrize("password", NASTY)
def test_what_the_server_made_itself_is_recognised(
    postgres: EmbeddedServer, role: str, password: str, method: str
) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"SET password_encryption = '{method}'".encode())
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(password)
            )
        )
        kept = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]
        ).fetchone()
    assert kept is not None
    assert tool("matches", role, given=password, stored=kept[0])[0] == 0
    assert tool("matches", role, given="other", stored=kept[0])[0] == 1


def test_a_role_without_a_password_is_told_as_that() -> None:
    assert tool("matches", "sophia", given="x", stored="\n")[0] == 4


def test_the_role_that_is_made_may_nothing_but_log_in(postgres: EmbeddedServer, role: str) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(tool("statement", "create", role, given="x")[1].encode())
        rights = connection.execute(
            "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication,"
            " rolbypassrls FROM pg_roles WHERE rolname = %s",
            [role],
        ).fetchone()
    assert rights == (True, False, False, False, False, False)


OURS = "postgresql://sophia@127.0.0.1:5433/sophia"


@pytest.mark.parametrize(
    ("values", "kind", "key"),
    [
        ({}, "local", "DATABASE_URL"),
        ({"DATABASE_URL": OURS}, "local", "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://sophia:pw@localhost/sophia"}, "local", "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://rag@127.0.0.1/rag"}, "local", "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "postgresql://sophia@db.example/sophia"}, "local", "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "postgresql://sophia@/sophia?host=/run"}, "local", "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "postgresql://sophia@127.0.0.1/sophia?host=db"}, "local",
         "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "host=db dbname=rag"}, "local", "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "postgresql://u@h:x/d"}, "local", "SOPHIA_STORE_URL"),
        ({"DATABASE_URL": "postgresql://r@db/r", "SOPHIA_STORE_URL": OURS}, "local",
         "SOPHIA_STORE_URL"),
        ({"SOPHIA_STORE_URL": "postgresql://s@store.example/s"}, "elsewhere", ""),
        ({"SOPHIA_STORE_URL": "Embedded"}, "embedded", ""),
    ],
)  # fmt: skip
def test_an_operators_own_address_stays_and_the_store_lies_beside_it(
    program: ModuleType, values: dict[str, str], kind: str, key: str
) -> None:
    place = program.place_of(values)
    assert (place.kind, place.url_key) == (kind, key)
    password_keys = {"DATABASE_URL": "DB_PASS", "SOPHIA_STORE_URL": "SOPHIA_STORE_PASS", "": ""}
    assert place.password_key == password_keys[key]


def test_a_new_port_changes_nothing_else_and_the_password_leaves_the_address(
    program: ModuleType,
) -> None:
    assert program.address("", 5432) == "postgresql://sophia@127.0.0.1:5432/sophia"
    was = "postgresql+psycopg://sophia:p%40:w@localhost/sophia?sslmode=disable"
    assert program.address(was, 5433) == (
        "postgresql+psycopg://sophia@localhost:5433/sophia?sslmode=disable"
    )
    assert (
        program.address("postgresql://sophia@[::1]:1/sophia", 2).split("@")[1] == "[::1]:2/sophia"
    )


def test_what_is_given_for_this_run_goes_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sophia.env"
    file.write_text(f"DATABASE_URL={OURS}\nDB_PASS='a b'\n")
    told = dict(line.split("=") for line in tool("store", str(file))[1].split())
    assert told == {
        "kind": "local",
        "url_key": "DATABASE_URL",
        "password_key": "DB_PASS",
        "has_url": "yes",
        "password_in_url": "no",
        "has_password": "yes",
        "has_next": "no",
        "port": "5433",
    }
    over = tool("store", str(file), given="DATABASE_URL\0postgresql://rag:x@db.example/rag\0")[1]
    assert "url_key=SOPHIA_STORE_URL" in over and "has_password=no" in over
    assert tool("password", str(file), "current") == (0, "a b")
    assert tool("password", str(file), "next") == (0, "")
    assert tool("password", str(tmp_path / "gone.env"), "current") == (0, "")


def test_the_password_of_an_address_counts_before_the_one_apart(tmp_path: Path) -> None:
    file = tmp_path / "sophia.env"
    file.write_text("DATABASE_URL=postgresql://sophia:p%40%25@localhost/sophia\nDB_PASS=other\n")
    assert tool("password", str(file), "current") == (0, "p@%")


@pytest.mark.parametrize("password", ["a b", "it's \\:$#%`\"ü"])
def test_a_login_shows_the_password_to_psql_alone(tmp_path: Path, password: str) -> None:
    """A psql of ours looks at what it was given: the file, its arguments and its environment."""
    looked = tmp_path / "looked"
    fake = tmp_path / "psql"
    fake.write_text(
        '#!/bin/sh\n{ cat "$PGPASSFILE"; stat -L -c %a "$PGPASSFILE"; tr "\\0" "\\n"'
        ' </proc/$$/environ; tr "\\0" "\\n" </proc/$$/cmdline; } >'
        f"'{looked}'\nexit 2\n"
    )
    fake.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "login", "5433", "sophia", "sophia"],
        input=password.encode(),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PGPASSWORD": "stale"},
        check=False,
    )
    assert done.returncode == 2
    line, mode, *rest = looked.read_text().split("\n")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    assert line == f"127.0.0.1:5433:sophia:sophia:{escaped}" and mode == "600"
    assert not any(password in each or "stale" in each for each in rest)
