"""`env`: Sophia's own env file changed whole or not at all, and what root declares of others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.errors import NotFoundError, RefusedError, SetupError, UnconfirmedError, UsageError
from sophia_tui.paths import SERVER_BACKUPS, Paths
from sophia_tui.providers.root_helper import SocketHelper
from sophia_tui.root import conf
from sophia_tui.root.server import Places
from sophia_tui.services import env, managed_env
from sophia_tui.services.env import EnvService
from sophia_tui.services.env_views import (
    EnvDeclaration,
    EnvFileName,
    EnvKey,
    EnvListing,
    EnvValue,
)
from tests.integration.helper_house import ENV, HelperHouse, needs_root

OWN = "# mine\r\nOPENAI_API_KEY='sk-s3cr3t' # key\r\nSOPHIA_WINDOW_DAYS=30\r\nOTHER=pass\r\n"
ME = Context("maria", Face.CLI, Role.ADMIN, confirmed=True)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(OWN, newline="")
    path.chmod(0o600)
    return path


@pytest.fixture
def service(tmp_path: Path, own: Path) -> EnvService:
    return EnvService({"SOPHIA_ENV_FILE": str(own)}, Paths(tmp_path / "data"))


def value(key: str, text: str) -> EnvValue:
    return EnvValue(key=key, value=SecretStr(text))


async def test_keys_are_listed_with_their_meaning_and_secrets_masked(service: EnvService) -> None:
    found = await service.page(ME, EnvListing())
    shown = {each.key: (each.value, each.secret, each.known) for each in found.items}
    assert shown == {
        "OPENAI_API_KEY": ("***", True, True),
        "SOPHIA_WINDOW_DAYS": ("30", False, True),
        "OTHER": ("***", True, False),
    }
    assert next(each.help for each in found.items if each.key == "SOPHIA_WINDOW_DAYS")
    assert "s3cr3t" not in found.model_dump_json()
    every = await service.page(ME, EnvListing(all=True))
    unset = [each for each in every.items if not each.set]
    assert "DATABASE_URL" in [each.key for each in unset] and len(unset) > 40


async def test_a_value_is_set_and_every_other_byte_stays_and_the_old_file_is_kept(
    service: EnvService, own: Path, tmp_path: Path
) -> None:
    nasty = 'it\'s $HOME \\ "#" `id` ção'
    answer = await service.set(ME, value("DB_PASS", nasty))
    assert answer.changed and str(tmp_path / "data" / "env-backups") in " ".join(answer.notes)
    assert own.read_bytes().decode() == OWN + f"DB_PASS={envfile.quote(nasty)}\n"
    assert own.stat().st_mode & 0o7777 == 0o600
    [kept] = (tmp_path / "data" / "env-backups").iterdir()
    assert kept.read_bytes() == OWN.encode() and kept.stat().st_mode & 0o7777 == 0o600
    again = await service.set(ME, value("DB_PASS", nasty))
    assert not again.changed and len(list(kept.parent.iterdir())) == 1
    assert "HOME" not in answer.model_dump_json() + again.model_dump_json()


async def test_a_key_is_taken_out(service: EnvService, own: Path) -> None:
    await service.unset(ME, EnvKey(key="OTHER"))
    assert own.read_bytes().decode() == OWN.replace("OTHER=pass\r\n", "")
    with pytest.raises(NotFoundError, match="SOPHIA-S445"):
        await service.unset(ME, EnvKey(key="OTHER"))


@pytest.mark.parametrize(
    ("key", "text", "code"),
    [
        ("SOPHIA_WINDOW_DAYS", "secret", "T422"),
        ("SOPHIA_TIMEZONE", "Mars/Olympus", "T422"),
        ("SOPHIA_ROLES", "maria=king", "T423"),
        ("SOPHIA_ROLES", "maria", "T425"),
        ("OPENAI_API_KEY", "sk-1\nSOPHIA_ROLES=*=admin", "S120"),
        ("OPENAI_API_KEY", "sk-\x00", "S120"),
        ("OPENAI_API_KEY", "sk-1\n", "S120"),
        ("OPENAI_API_KEY", "sk-\x1b[2J", "S120"),
        ("FINETUNE_TOKEN", "sk-fifteen-long", "S452"),
        ("SOPHIA_MODEL_TOKEN", "  sk-1            ", "S452"),
        ("OPENAI_API_KEY", " ", "S443"),
        ("NO_SUCH_KEY", "x", "S442"),
        ("SOPHIA_ENV_FILE", "/etc/shadow", "S442"),
        ("bad key", "x", "S442"),
    ],
)
async def test_what_does_not_hold_is_refused_before_anything_is_written(
    service: EnvService, own: Path, key: str, text: str, code: str
) -> None:
    with pytest.raises((UsageError, NotFoundError), match=f"SOPHIA-{code}") as told:
        await service.set(ME, value(key, text))
    assert own.read_bytes() == OWN.encode()
    assert "sk-" not in str(told.value) and "king" not in told.value.why


AFAR = Context("api:admin", Face.API, Role.ADMIN, confirmed=True)
GUARDED = [
    "ALLOW_FINETUNE",
    "FINETUNE_TOKEN",
    "SOPHIA_VIEWER_TOKEN",
    "SOPHIA_OPERATOR_TOKEN",
    "SOPHIA_MODEL_TOKEN",
    "SOPHIA_API_ROLE",
    "SOPHIA_ROLES",
    "DATABASE_URL",
    "DB_PASS",
    "SOPHIA_STORE_URL",
    "SOPHIA_STORE_PASS",
    "SOPHIA_NEXT_PASS",
    "SOPHIA_DATA_DIR",
    "SOPHIA_API_PROXIES",
    "SOPHIA_WRONG_TOKENS",
]


@pytest.mark.parametrize("key", GUARDED)
async def test_what_guards_the_api_is_not_changed_over_http(
    service: EnvService, own: Path, key: str
) -> None:
    own.write_text(f"{key}=old\n")
    with pytest.raises(RefusedError, match="SOPHIA-S451") as told:
        await service.set(AFAR, value(key, "another-one-of-length"))
    assert f"`sophia env set {key}`" in told.value.remedy
    assert told.value.http_status == 403
    with pytest.raises(RefusedError, match="SOPHIA-S451"):
        await service.unset(AFAR, EnvKey(key=key))
    assert own.read_text() == f"{key}=old\n"


async def test_other_keys_are_changed_over_http(service: EnvService, own: Path) -> None:
    assert (await service.set(AFAR, value("SOPHIA_WINDOW_DAYS", "7"))).changed
    assert (await service.unset(AFAR, EnvKey(key="SOPHIA_WINDOW_DAYS"))).changed


@pytest.mark.parametrize(
    "key", ["DATABASE_URL", "DB_PASS", "SOPHIA_STORE_URL", "SOPHIA_STORE_PASS"]
)
async def test_which_database_is_used_is_changed_with_a_yes_that_knows_of_the_backup(
    service: EnvService, own: Path, tmp_path: Path, key: str
) -> None:
    with pytest.raises(UnconfirmedError, match="SOPHIA-S453") as told:
        await service.set(replace(ME, confirmed=False), value(key, "postgresql://me@h/d"))
    assert str(tmp_path / "data" / "env-backups") in told.value.what
    assert own.read_bytes() == OWN.encode()
    assert (await service.set(ME, value(key, "postgresql://me@h/d"))).changed
    [kept] = (tmp_path / "data" / "env-backups").iterdir()
    assert kept.read_bytes() == OWN.encode()


def test_where_the_helper_keeps_old_contents_is_said_as_it_is() -> None:
    assert str(SERVER_BACKUPS) == f"{Places().state}/backups"


async def test_what_other_services_read_may_stand_in_the_file(
    service: EnvService, own: Path
) -> None:
    for key in ("GEN_MODEL", "EXPANSION_MODEL"):
        assert (await service.set(ME, value(key, "sophia-v2"))).changed
    every = await service.page(ME, EnvListing(all=True))
    assert [each.value for each in every.items if each.key.endswith("N_MODEL")] == ["sophia-v2"] * 2


async def test_the_data_folder_is_no_secret(service: EnvService, own: Path) -> None:
    own.write_text("SOPHIA_DATA_DIR=/srv/data\n")
    [found] = (await service.page(ME, EnvListing())).items
    assert (found.value, found.secret) == ("/srv/data", False)


async def test_another_wrong_setting_does_not_keep_one_from_being_mended(
    service: EnvService, own: Path
) -> None:
    own.write_text("SOPHIA_WINDOW_DAYS=many\nSOPHIA_IDLE_HOURS=long\n")
    await service.set(ME, value("SOPHIA_WINDOW_DAYS", "7"))
    assert envfile.values(own.read_text())["SOPHIA_WINDOW_DAYS"] == "7"


async def test_a_file_with_faults_is_not_written_over_them(service: EnvService, own: Path) -> None:
    own.write_text("SOPHIA_WINDOW_DAYS=7\nSOPHIA_WINDOW_DAYS=8\n")
    with pytest.raises(UsageError, match="SOPHIA-S440"):
        await service.set(ME, value("DB_PASS", "x"))


async def test_without_an_env_file_one_is_made_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(env, "SERVER_ENV", tmp_path / "none")
    service = EnvService({}, Paths(tmp_path / "data"))
    with pytest.raises(NotFoundError, match="SOPHIA-S445"):
        await service.unset(ME, EnvKey(key="DB_PASS"))
    assert (await service.page(ME, EnvListing())).items == []
    assert (await service.set(ME, value("DB_PASS", "x y"))).changed
    made = tmp_path / ".env"
    assert made.read_text() == "DB_PASS='x y'\n" and made.stat().st_mode & 0o7777 == 0o600


# -- declarations


@pytest.fixture
def declaring(reachable: Path, own: Path) -> EnvService:
    reachable.chmod(0o755)
    (reachable / "rag.env").write_text(ENV, newline="")
    (reachable / "rag.env").chmod(0o640)
    return EnvService(
        {"SOPHIA_ENV_FILE": str(own)}, Paths(reachable), managed=reachable / "managed.conf"
    )


@needs_root
async def test_root_declares_and_takes_back_and_the_parser_reads_the_same(
    declaring: EnvService, reachable: Path
) -> None:
    file = str(reachable / "rag.env")
    request = EnvDeclaration(
        file=file,
        restart=["rag.service", "rag@1.service"],
        read_by=["report.service"],
        write=True,
        owner="www-data",
        keys=["*_MODEL"],
        words="The assistant's API",
    )
    await declaring.declare(ME, request)
    path = reachable / "managed.conf"
    [found] = conf.parse(path.read_bytes())
    assert (found.path, found.restart, found.read_by) == (
        file,
        ("rag.service", "rag@1.service"),
        ("report.service",),
    )
    assert (found.writable, found.owner, found.keys) == (True, "www-data", ("*_MODEL",))
    assert path.stat().st_mode & 0o7777 == 0o640
    await declaring.declare(ME, EnvDeclaration(file=file, restart=["rag.service"]))
    [found] = conf.parse(path.read_bytes())
    assert (found.writable, found.words) == (False, "")
    await declaring.undeclare(ME, EnvFileName(file=file))
    assert conf.parse(path.read_bytes()) == ()
    with pytest.raises(NotFoundError, match="SOPHIA-S448"):
        await declaring.undeclare(ME, EnvFileName(file=file))


@needs_root
async def test_what_is_not_safe_is_not_declared(declaring: EnvService, reachable: Path) -> None:
    file = str(reachable / "rag.env")
    for request, code in (
        (EnvDeclaration(file="rag.env", restart=["a.service"]), "S447"),
        (EnvDeclaration(file="/proc/version", restart=["a.service"]), "S447"),
        (EnvDeclaration(file="/etc/sophia/sophia.env", restart=["a.service"]), "S447"),
        (EnvDeclaration(file=file), "S447"),
        (EnvDeclaration(file=file, restart=["a b.service"]), "S447"),
        (EnvDeclaration(file=file, restart=["a.service"], owner="nobody-here"), "S449"),
        (EnvDeclaration(file=file, restart=["a.service"], owner="a b"), "S449"),
        (EnvDeclaration(file=file, restart=["a.service"], words="a\n[/etc/shadow]"), "P062"),
        (EnvDeclaration(file=file, restart=["a.service"], keys=["a b"]), "P062"),
    ):
        with pytest.raises((UsageError, SetupError), match=f"SOPHIA-{code}"):
            await declaring.declare(ME, request)
    (reachable / "rag.env").chmod(0o666)
    with pytest.raises(RefusedError, match="SOPHIA-P055"):
        await declaring.declare(ME, EnvDeclaration(file=file, restart=["a.service"]))
    assert not (reachable / "managed.conf").exists()


async def test_who_is_not_root_at_the_command_line_is_told_the_command(
    declaring: EnvService, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = EnvDeclaration(file="/srv/a b.env", restart=["a.service"], write=True)
    over_http = Context("api:admin", Face.API, Role.ADMIN, confirmed=True)
    for context, user in ((over_http, 0), (ME, 1000)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(RefusedError, match="SOPHIA-S446") as told:
            await declaring.declare(context, request)
        assert "sudo sophia env declare '/srv/a b.env' --restart a.service --write" in str(
            told.value
        )
        with pytest.raises(RefusedError, match="SOPHIA-S446"):
            await declaring.undeclare(context, EnvFileName(file="/srv/a b.env"))
    assert not (reachable / "managed.conf").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("restart = a.service\n", 1),
        ("[/x/y.env]\n", 1),
        ("[/x/y.env]\nrestart = a.service\n[/x/y.env]\nrestart = a.service\n", 3),
        ("[/x/y.env]\nrestart = a.service\nrestart = b.service\n", 3),
        ("[/x/y.env]\nrestart = a.service\nexec = id\n", 3),
        ("[/x/y.env]\nrestart = a.service\nwrite = true\n", 1),
        ("[/x/../y.env]\nrestart = a.service\n", 1),
        ("[x.env]\nrestart = a.service\n", 1),
        ("[/x.env\nrestart = a.service\n", 1),
        ("[/dev/sda]\nrestart = a.service\n", 1),
        ("\n[/x.env]\nrestart = a.service b@.service\n", 2),
        ("[/x.env]\nrestart = a.service a.service\n", 1),
        ("[/x.env]\r\nrestart = a.service\r\n", 1),
        ("[/x.env]\nrestart = a.service\nowner = a b\n", 1),
        ("# fine\n\n[/x.env]\nrestart = a.service\nkeys = A-B\n", 3),
        ("".join(f"[/x{n}.env]\nrestart = a.service\n" for n in range(101)), 201),
    ],
)
def test_managed_conf_is_read_strictly_and_errors_name_the_line(text: str, line: int) -> None:
    with pytest.raises(SetupError, match="SOPHIA-P062") as told:
        conf.parse(text.encode())
    assert told.value.details["line"] == line


# -- by the helper


@pytest.fixture
def house(reachable: Path) -> Iterator[HelperHouse]:
    made = HelperHouse(reachable)
    yield made
    made.close()


@needs_root
async def test_on_a_server_sophias_own_file_is_written_by_the_helper(
    house: HelperHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_env, "_directly", lambda _path: False)
    service = EnvService(
        {"SOPHIA_ENV_FILE": str(house.own)}, Paths(tmp_path), SocketHelper(house.socket)
    )
    before = house.own.read_bytes()
    answer = await service.set(ME, value("DB_PASS", "it's s3cr3t"))
    assert answer.restart == ["sophia-api.service"]
    assert envfile.values(house.own.read_text())["DB_PASS"] == "it's s3cr3t"
    assert str(SERVER_BACKUPS) in " ".join(answer.notes)
    [kept] = (house.state / "helper" / "backups").iterdir()
    assert kept.read_bytes() == before
    found = await service.page(ME, EnvListing())
    own, rag = found.files
    assert (own.own, own.restart, rag.file) == (True, ["sophia-api.service"], str(house.path))
    keys = {each.key: each.value for each in found.items if each.file == str(house.path)}
    assert keys == {"DB_PASSWORD": "***", "GEN_MODEL": "old", "EXPANSION_MODEL": "old"}
    assert "s3cr3t" not in found.model_dump_json() + house.journal()


def test_a_value_is_never_an_argument(own: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "SOPHIA_ENV_FILE": str(own),
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(envfile.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "sophia_tui.cli.main", "--json", "env", "set", "DB_PASS"]
    command.append("--yes")
    refused = subprocess.run([*command, "s3cr3t"], env=environment, capture_output=True, cwd="/")
    assert refused.returncode == 2 and own.read_bytes() == OWN.encode()
    for several in (b"two words\nand more", b"two words\n\n", b"two\rwords"):
        told = subprocess.run(command, env=environment, input=several, capture_output=True, cwd="/")
        assert told.returncode == 2 and own.read_bytes() == OWN.encode()
        assert json.loads(told.stderr)["error"]["code"] == "SOPHIA-S120"
    done = subprocess.run(
        command, env=environment, input=b"two words\n", capture_output=True, cwd="/", check=True
    )
    assert json.loads(done.stdout)["changed"] is True
    assert b"two words" not in done.stdout + done.stderr
    assert envfile.values(own.read_text())["DB_PASS"] == "two words"
    spool = (tmp_path / "data" / "audit-spool.jsonl").read_text()
    assert '"env.set"' in spool and "two words" not in spool
