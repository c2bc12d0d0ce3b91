"""The archive for support: what is in it, and that nothing secret or personal is, wherever it was
planted."""

import asyncio
import errno
import json
import stat
import tarfile
import urllib.parse
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import CancelSignal, Face, Role
from sophia_tui.domain.jobs import JobEvent
from sophia_tui.errors import CancelledError, ConflictError, RefusedError
from sophia_tui.services import bundle as module
from sophia_tui.services.bundle import BundleView
from sophia_tui.services.masking import Masker, secret_values
from sophia_tui.wiring import House
from tests import seeded

#: The values of settings; nasty for a shell, an address and JSON. None may be found in the archive.
PASSWORD = "p w\"'$\\`%#ü-Geheim"
SECRETS = {
    "FINETUNE_TOKEN": "tok3n-of-the-owner-9f8e7d",
    "SOPHIA_OPERATOR_TOKEN": "operator-token-5544",
    "SOPHIA_MODEL_TOKEN": "modelkey-77",
    "OPENAI_API_KEY": "sk-proj-abcdefghij0123456789ABCDEFGHIJ",
    "HUGGINGFACE_TOKEN": "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "SOPHIA_WEBHOOK_SECRET": "whk",
    "SOPHIA_SMTP_URL": "smtps://robot:mail-pass-31@mail.example.com:465",
    "SOPHIA_PSEUDONYM_KEY": "0123456789abcdef0123456789abcdef",
    "DB_PASS": PASSWORD,
}
#: Of other programs, known by their form or by the words before them.
FOREIGN = (
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklmnop",
    "correct-horse-battery",
    "zx81!geheim",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
)
PERSONAL = (
    "maria.silva@example.com.br",
    "529.982.247-25",
    "52998224725",
    "11.222.333/0001-81",
    "4111 1111 1111 1111",
    "(11) 98765-4321",
    "177.43.12.9",
)


def lines() -> str:
    """A log in which everything stands that must not leave."""
    found = []
    for value in SECRETS.values():
        found += [
            f"connect with {value} failed",
            json.dumps({"said": value}),
            f"GET /x?key={urllib.parse.quote(value, safe='')}",
            "Basic " + b64encode(value.encode()).decode(),
            f"repr {value!r}",
        ]
    found += [
        f"git remote https://x:{FOREIGN[0]}@github.com/a/b",
        f"aws {FOREIGN[1]}",
        f"Authorization: Bearer {FOREIGN[2]}",
        f'password = "{FOREIGN[3]}"',
        f"PGPASSWORD={FOREIGN[4]} psql",
        'SOPHIA_WEBHOOK_SECRET=whk {"secret": "whk"}',
        f"-----BEGIN PRIVATE KEY-----\n{FOREIGN[5]}\n-----END PRIVATE KEY-----",
        *(f"customer {each} complained" for each in PERSONAL[:1]),
        f"CPF {PERSONAL[1]} e CPF {PERSONAL[2]}, CNPJ {PERSONAL[3]}",
        f"cartão {PERSONAL[4]}, telefone {PERSONAL[5]}, from {PERSONAL[6]}",
        '"prompt_tokens": 512, max_tokens=128, loss 1.25 at step 300',
    ]
    return "\n".join(found) + "\n"


@pytest.fixture
def environment(store_url: str, reachable: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(reachable)
    env_file = reachable / "sophia.env"
    env_file.write_text("SOPHIA_WINDOW_DAYS=14\nSOME_OTHER_PASSWORD=only-in-the-file-88\n")
    managed = reachable / "rag.env"
    return {
        **SECRETS,
        "SOPHIA_DATA_DIR": str(reachable / "data"),
        "SOPHIA_STORE_URL": store_url,
        "SOPHIA_ENV_FILE": str(env_file),
        "SOPHIA_MANAGED_ENV_FILES": str(managed),
        "SOPHIA_EMAIL_TO": PERSONAL[0],
        "SOPHIA_WHATSAPP_TO": "5511987654321",
        "SOPHIA_ROLES": "maria=admin,*=admin",
        "PATH": "/usr/bin:/bin",
    }


async def plant(house: House) -> None:
    """Logs, a failed job's events, error and log, each with everything in it."""
    store = await house.store()
    await seeded.fill(store, house.paths.data.parent)
    managed = house.settings.managed_files[0]
    managed.write_text(managed.read_text() + "RAG_API_KEY=key-of-the-rag-4711\n")
    failed = await store.jobs.get(seeded.FAILED)
    assert failed is not None
    folder = house.paths.runs / failed.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text(lines() + "only-in-the-file-88 key-of-the-rag-4711\n")
    error = {"code": "SOPHIA-J501", "what": lines(), "why": PASSWORD, "remedy": ""}
    await store.jobs.update(failed.id, run_folder=str(folder), error=error)
    told = [
        JobEvent(failed.id, failed.last_event + 1, seeded.NOW, "warning", {"message": lines()}),
        JobEvent(failed.id, failed.last_event + 2, seeded.NOW, "state", {"token": "abc-def"}),
    ]
    await store.jobs.append_events(failed.id, told, failed.event_offset + 1)
    house.paths.logs.mkdir(parents=True, exist_ok=True)
    (house.paths.logs / "worker.log").write_text("x" * 300_000 + "\n" + lines())
    (house.paths.logs / "sophia.log").write_text(lines())


async def made(house: House, **fields: Any) -> BundleView:
    context = house.context(Face.CLI, confirmed=True)
    answer = await house.dispatcher.call("setup.bundle", fields, context)
    assert isinstance(answer, BundleView)
    return answer


def contents(path: str) -> dict[str, str]:
    found = {}
    with tarfile.open(path) as packed:
        for member in packed.getmembers():
            stream = packed.extractfile(member)
            assert stream is not None and member.isfile() and ".." not in member.name
            found[member.name.split("/", 1)[1]] = stream.read().decode()
    return found


async def test_nothing_secret_or_personal_is_in_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, reachable: Path
) -> None:
    log = reachable / "install.log"
    log.write_text(lines())
    monkeypatch.setattr(module, "INSTALL_LOG", log)
    house = House(environment)
    await plant(house)
    view = await made(house)
    await house.close()
    found = contents(view.path)
    ways = {
        way
        for value in SECRETS.values()
        for way in (
            value,
            urllib.parse.quote(value, safe=""),
            json.dumps(value)[1:-1],
            b64encode(value.encode()).decode().rstrip("="),
        )
        if len(value) >= 6  # a shorter one is masked where it stands as a setting
    }
    planted = {*ways, *FOREIGN, *PERSONAL, "mail-pass-31", "only-in-the-file-88"}
    planted |= {"key-of-the-rag-4711", "5511987654321", "abc-def", "SECRET=whk", '"secret": "whk"'}
    leaked = [
        (name, each) for name, text in found.items() for each in planted if each in f"{name} {text}"
    ]
    assert leaked == []
    # and what helps is still there
    assert "loss 1.25 at step 300" in found["logs/worker.log"]
    assert '"prompt_tokens": 512, max_tokens=128' in found["logs/install.log"]
    assert "connect with [SECRET] failed" in found["logs/sophia.log"]
    assert "[EMAIL]" in found["logs/sophia.log"]


async def test_the_manifest_lists_what_is_in_it_and_what_was_masked(
    environment: dict[str, str],
) -> None:
    house = House(environment)
    await plant(house)
    view = await made(house)
    await house.close()
    found = contents(view.path)
    manifest = json.loads(found["manifest.json"])
    assert [each["name"] for each in manifest["files"]] == [*found][1:] == view.files[1:]
    assert all(each["bytes"] == len(found[each["name"]].encode()) for each in manifest["files"])
    by_name = {each["name"]: each for each in manifest["files"]}
    assert by_name["logs/worker.log"]["cut"] and not by_name["logs/sophia.log"]["cut"]
    assert by_name["logs/sophia.log"]["masked"]["cpf"] == 2
    assert manifest["masked"]["secret"] > 50
    assert manifest["left_out"] == [each.model_dump() for each in view.left_out]
    for name, text in found.items():
        if name.endswith(".json"):
            json.loads(text)
    job = f"jobs/{seeded.FAILED}"
    assert {
        "versions.json", "packages.txt", "machine.json", "settings.json", "env-keys.json",
        "check.json", "store.json", "counts.json", f"{job}/job.json", f"{job}/events.json",
        f"{job}/log.txt",
    } <= set(found)  # fmt: skip
    settings = {each["key"]: each for each in json.loads(found["settings.json"])}
    assert settings["DB_PASS"] == {"key": "DB_PASS", "is_set": True}
    assert settings["SOPHIA_EMAIL_TO"] == {"key": "SOPHIA_EMAIL_TO", "is_set": True}
    assert settings["SOPHIA_WINDOW_DAYS"]["value"] == 14
    assert json.loads(found["env-keys.json"]) == ["SOPHIA_WINDOW_DAYS", "SOME_OTHER_PASSWORD"]
    assert "request" not in json.loads(found[f"{job}/job.json"])
    assert json.loads(found["store.json"])["schema_version"]
    mode = stat.S_IMODE(Path(view.path).stat().st_mode)
    assert mode == 0o640 and Path(view.path).stat().st_size == view.size


async def test_while_the_store_is_away_the_rest_is_packed(
    environment: dict[str, str], reachable: Path
) -> None:
    away = {**environment, "SOPHIA_STORE_URL": "postgresql://u:away-pw-1@127.0.0.1:9/none"}
    house = House(away)
    view = await made(house, file=str(reachable / "support.tar.gz"))
    await house.close()
    assert view.path == str(reachable / "support.tar.gz")
    left = {each.what: each.why for each in view.left_out}
    assert "SOPHIA-S001" in left["failed jobs"]
    assert "settings.json" in view.files
    assert "away-pw-1" not in str(view) + "".join(contents(view.path).values())


async def test_a_file_is_never_written_over_nor_named_from_afar(
    environment: dict[str, str], reachable: Path
) -> None:
    house = House(environment)
    there = reachable / "there.tar.gz"
    there.write_text("mine")
    with pytest.raises(ConflictError, match="SOPHIA-S461"):
        await made(house, file=str(there))
    there.unlink()
    there.symlink_to(reachable / "nowhere")
    with pytest.raises(ConflictError, match="SOPHIA-S461"):
        await made(house, file=str(there))
    afar = house.context(Face.API, role=Role.ADMIN)
    with pytest.raises(RefusedError, match="SOPHIA-S460"):
        await house.dispatcher.call("setup.bundle", {"file": "/tmp/x.tar.gz"}, afar)
    operator = house.context(Face.API, role=Role.OPERATOR)
    with pytest.raises(RefusedError, match="SOPHIA-R403"):
        await house.dispatcher.call("setup.bundle", {}, operator)
    await house.close()


async def test_stopped_in_the_middle_it_leaves_nothing(environment: dict[str, str]) -> None:
    house = House(environment)
    cancel = CancelSignal()
    context = replace(
        house.context(Face.CLI, cancel=cancel), progress=lambda step: cancel.request()
    )
    with pytest.raises(CancelledError):
        await house.dispatcher.call("setup.bundle", {}, context)
    await house.close()
    assert list(house.paths.bundles.iterdir()) == []


async def test_hidden_secret_is_found_by_the_last_look(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the masking ever broken, the archive would not be written."""

    def blind(self: Masker, text: str) -> tuple[str, Counter[str]]:
        return text, Counter()

    monkeypatch.setattr(Masker, "__call__", blind)
    house = House(environment)
    await plant(house)
    with pytest.raises(Exception, match="SOPHIA-S463"):
        await made(house)
    await house.close()
    assert list(house.paths.bundles.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("DB_PASS='a b c' next", "DB_PASS='[SECRET]' next"),
        ('{"x-admin-token": "abc"}', '{"x-admin-token": "[SECRET]"}'),
        ("senha: 123456", "senha: [SECRET]"),
        ("api_key=abc;more", "api_key=[SECRET];more"),
        ('{"max_tokens": 12, "token": null}', '{"max_tokens": 12, "token": null}'),
        ("password authentication failed for user", "password authentication failed for user"),
        ("the tokenizer: llama", "the tokenizer: llama"),
    ],
)
def test_what_stands_behind_a_word_like_password_is_masked(text: str, masked: str) -> None:
    assert Masker([])(text)[0] == masked


@pytest.mark.parametrize("suffix", ["service", "socket", "timer", "slice"])
def test_names_of_units_are_no_emails(suffix: str) -> None:
    text = f"postgresql@15-main.{suffix} loaded active, sophia-step@postgres.{suffix} failed"
    assert Masker([])(text)[0] == text
    assert Masker([])("ana@services.example.service.com")[0] == "[EMAIL]"


def test_short_secrets_are_masked_by_name_alone() -> None:
    text = "a short word: abcde, PIN_SECRET=a, then 12345"
    masked, _counts = Masker(["a", "12345", "abcde"])(text)
    assert masked == text.replace("=a", "=[SECRET]")
    assert Masker(["abcdef"])("xabcdefx")[0] == "x[SECRET]x"


async def test_structured_parts_stay_json_whatever_is_in_them(
    environment: dict[str, str], reachable: Path
) -> None:
    """Numbers that look like phones, secrets that are numbers or JSON's own signs."""
    hostile = {
        "SOPHIA_WEBHOOK_SECRET": "1",
        "FINETUNE_TOKEN": "11987654321",
        "SOPHIA_MODEL_TOKEN": '": "',
        "DB_PASS": "sophia",
    }
    house = House({**environment, **hostile})
    await plant(house)
    store = await house.store()
    failed = await store.jobs.get(seeded.FAILED)
    assert failed is not None
    figures = {"bytes": 5521912345678, "loss": float("nan"), "odd": 11987654321, "to": PERSONAL[0]}
    event = JobEvent(failed.id, failed.last_event + 1, seeded.NOW, "metric", figures)
    await store.jobs.append_events(failed.id, [event], failed.event_offset + 2)
    view = await made(house)
    await house.close()
    found = {
        name: json.loads(text, parse_constant=pytest.fail)
        for name, text in contents(view.path).items()
        if name.endswith(".json")
    }
    assert isinstance(found["machine.json"]["memory"]["total"], int)
    told = found[f"jobs/{seeded.FAILED}/events.json"][-1]
    assert (told["bytes"], told["loss"], told["to"]) == (5521912345678, "NaN", "[EMAIL]")
    assert told["odd"] == "[SECRET]"


async def test_what_could_not_be_read_is_named_with_its_path_and_a_way(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, reachable: Path
) -> None:
    log = reachable / "install.log"
    monkeypatch.setattr(module, "INSTALL_LOG", log)
    house = House(environment)
    await plant(house)
    closed = house.paths.logs / "sophia.log"
    really = Path.open

    def forbidden(path: Path, *more: Any, **named: Any) -> Any:
        if path in (log, closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, *more, **named)

    monkeypatch.setattr(Path, "open", forbidden)
    view = await made(house)
    await house.close()
    left = {each.what: each.why for each in view.left_out}
    assert left[str(closed)] == "Permission denied"
    assert left[str(log)].startswith(f"Permission denied. `sudo cat {log}` shows it")
    assert "logs/worker.log" in view.files  # one that is closed takes none of the others along


def test_passwords_in_addresses_count_as_known() -> None:
    found = secret_values({"OTHER_URL": "postgresql://u:p%40ss@h/d", "MY_KEY": "k", "PLAIN": "x"})
    assert set(found) == {"p%40ss", "p@ss", "k"}


def test_it_takes_bounded_time() -> None:
    """Masking is linear: a megabyte of a hostile log takes seconds, and no regex runs away."""

    async def masked() -> None:
        text = ("password" * 50 + "=" + "a" * 200 + "\n") * 1500 + '"' * 200_000
        await asyncio.wait_for(asyncio.to_thread(Masker(["secret-value"]), text), 60)

    asyncio.run(masked())
