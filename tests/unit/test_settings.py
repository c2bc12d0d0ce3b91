"""Settings: flag > Sophia's table > environment > .env > default."""

from pathlib import Path

import pytest

from sophia_tui import paths
from sophia_tui.errors import UsageError
from sophia_tui.paths import SERVER_DATA, SERVER_ENV
from sophia_tui.settings import (
    Settings,
    is_secret,
    keys,
    load,
    read_sources,
    storable,
    surroundings,
    words,
)

KEY = "SOPHIA_WINDOW_DAYS"


def test_a_servers_program_without_its_env_file_begins_no_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / "sophia.env"
    monkeypatch.setattr(paths, "SERVER_ENV", env_file)
    assert load({}).embedded  # a checkout, or a person's own
    monkeypatch.setattr(paths, "SERVER_PROGRAM", Path(paths.__file__).parent)
    (tmp_path / ".env").write_text("SOPHIA_WINDOW_DAYS=1\n")  # of whatever lies where we stand
    with pytest.raises(UsageError, match="SOPHIA-T407"):
        load({})
    with pytest.raises(UsageError, match="SOPHIA-T406"):
        load({"SOPHIA_ENV_FILE": str(env_file)})
    env_file.write_text("DATABASE_URL=postgresql://sophia@127.0.0.1:5432/sophia\n")
    found = load({})
    assert (found.embedded, found.env_file, found.window_days) == (False, env_file, 30)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    assert load({}).window_days == 30
    (tmp_path / ".env").write_text(f"{KEY}=1\n")
    assert load({}).window_days == 1
    assert load({KEY: "2"}).window_days == 2
    assert load({KEY: "2"}, {KEY: "3"}).window_days == 3
    assert load({KEY: "2"}, {KEY: "3"}, {KEY: "4"}).window_days == 4


@pytest.mark.parametrize("blank", ["", "   "])
def test_blank_is_unset(blank: str) -> None:
    settings = load({KEY: blank, "FINETUNE_TOKEN": blank, "FINETUNE_DIR": blank})
    assert settings.window_days == 30
    assert settings.finetune_token is None
    assert settings.finetune_dir == "./finetune"


def test_a_bad_value_is_named_by_its_key_and_not_shown() -> None:
    with pytest.raises(UsageError, match="SOPHIA-T422") as told:
        load({KEY: "hunter2"})
    assert KEY in told.value.why
    assert "hunter2" not in str(told.value.as_dict())
    assert told.value.__cause__ is None and told.value.__suppress_context__


SECRETS = ["DATABASE_URL", "DB_PASS", "FINETUNE_TOKEN", "OPENAI_API_KEY", "HUGGINGFACE_TOKEN"]


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_is_in_no_representation(key: str) -> None:
    settings = load({key: "hunter2"})
    assert is_secret(key)
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("key", sorted(keys()))
def test_whatever_looks_like_a_secret_is_one(key: str) -> None:
    looks = any(part in key for part in ("TOKEN", "PASS", "KEY", "SECRET", "_URL"))
    plain = {"OPENAI_BASE_URL", "API_URL", "SOPHIA_WHATSAPP_URL", "SOPHIA_WRONG_TOKENS"}
    plain |= {"SOPHIA_PROMOTION_HEALTH_URLS"}
    assert is_secret(key) == (looks and key not in plain)


@pytest.mark.parametrize(
    "key",
    [
        *SECRETS,
        "SOPHIA_STORE_URL",
        "SOPHIA_STORE_PASS",
        "SOPHIA_NEXT_PASS",
        "SOPHIA_ROLES",
        "SOPHIA_API_ROLE",
        "ALLOW_FINETUNE",
    ],
)
def test_the_table_may_not_hold_secrets_nor_rights(key: str) -> None:
    assert not storable(key)
    assert load({}, {key: "true"}) == load({})


def test_the_finetune_folder_is_resolved_against_the_env_files_folder(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "sophia.env").write_text("FINETUNE_DIR=./data\n")
    settings = load({"SOPHIA_ENV_FILE": str(folder / "sophia.env")})
    assert settings.finetune_folder == folder / "data"
    assert settings.history_file == folder / "data" / "history.jsonl"


def test_without_env_file_the_working_folder_counts(tmp_path: Path) -> None:
    assert load({}).finetune_folder == tmp_path / "finetune"


def test_an_absolute_folder_stays(tmp_path: Path) -> None:
    assert load({"FINETUNE_DIR": "/srv/data"}).finetune_folder == Path("/srv/data")


def test_an_env_file_that_is_named_and_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOPHIA-T406"):
        load({"SOPHIA_ENV_FILE": str(tmp_path / "none")})


def test_an_env_file_of_another_encoding_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FINETUNE_BASE=\xff\xfe\n")
    with pytest.raises(UsageError, match="SOPHIA-T405"):
        load({})


def test_an_env_file_is_parsed_and_never_run(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FINETUNE_BASE=$(touch pwned)\n")
    assert load({}).finetune_base == "$(touch pwned)"
    assert not (tmp_path / "pwned").exists()


def test_the_hubs_own_name_of_the_token_is_read_too() -> None:
    assert read_sources({"HF_TOKEN": "a"})[1]["HUGGINGFACE_TOKEN"] == "a"
    both = {"HF_TOKEN": "a", "HUGGINGFACE_TOKEN": "b"}
    assert read_sources(both)[1]["HUGGINGFACE_TOKEN"] == "b"


def test_a_foreign_key_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PATH=/evil\nSOPHIA_UNKNOWN=1\n")
    assert load({}).env_file == tmp_path / ".env"


def test_comma_separated_words() -> None:
    assert words(" Closed, ,RESOLVIDA ,") == ("closed", "resolvida")


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("SOPHIA_WINDOW_DAYS", ["0", "-4", "99999999"], ["1", "36500"]),
        ("SOPHIA_TIMEZONE", ["Mars/X", "America", "../etc/passwd"], ["UTC", "America/Fortaleza"]),
        ("SOPHIA_IDLE_HOURS", ["-1", "nan", "inf"], ["0", "0.5"]),
        ("SOPHIA_MAXIMUM_RESUMES", ["-1", "5000"], ["0", "10"]),
        ("SOPHIA_STALLED_SECONDS", ["0", "4", "9999999"], ["5", "600"]),
        ("SOPHIA_TRAINING_THREADS", ["0", "-1", "many", "2.5", "10000"], ["auto", "AUTO", "2"]),
    ],
)
def test_what_would_break_later_is_refused_at_once(
    key: str, wrong: list[str], right: list[str]
) -> None:
    for value in right:
        load({key: value})
    for value in wrong:
        with pytest.raises(UsageError, match="SOPHIA-T422") as told:
            load({key: value})
        assert told.value.why.startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://localhost:8010", ("127.0.0.1", 8010)),
        ("http://[::1]:8010/", ("::1", 8010)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("https://localhost:8010", None),
        ("http://models.example.org:8000", None),
        ("http://localhost:99999", None),
    ],
)
def test_the_api_listens_where_api_url_is_this_machine(
    address: str, place: tuple[str, int] | None
) -> None:
    assert load({"API_URL": address}).api_place == place


def test_proxies_and_the_hubs_mirror_of_the_env_file_are_for_libraries(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("HTTPS_PROXY=http://p:3128\nHF_ENDPOINT=https://hub.test\nDB_PASS=pw\n")
    given = {"SOPHIA_ENV_FILE": str(file), "HF_ENDPOINT": "https://mine.test"}
    assert surroundings(given) == {"HTTPS_PROXY": "http://p:3128"}


def test_beside_a_servers_env_file_lies_nothing_of_ours() -> None:
    kept = Path("/run/credentials/sophia-api.service/sophia.env")
    for file in (SERVER_ENV, kept):
        found = Settings(SOPHIA_ENV_FILE=file, AION_TRAIN_ROOT="./trainer")
        assert found.train_root == SERVER_DATA / "trainer"
    assert Settings(SOPHIA_ENV_FILE=Path("/srv/x/.env")).root == Path("/srv/x")
