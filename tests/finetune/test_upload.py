"""Uploads: one commit of all files or none, private unless said, gone on with after a death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from tests.finetune.helpers import events, finetune
from tests.finetune.hub_server import OWNER, TOKEN, Hub, Repository, hub_server

REPOSITORY = f"{OWNER}/sophia-v1"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as found:
        yield found
        assert found.wrong == []  # nothing that the hub does not know was asked of it


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": []}')
    for part in (1, 2):
        (folder / f"model-{part}.safetensors").write_bytes(os.urandom(70_000))
    (folder / "notes.txt").write_text("nobody asked for this one to be sent")
    return folder


def run_folder(tmp_path: Path, model: Path, **more: Any) -> Path:
    names = ("config.json", "model-1.safetensors", "model-2.safetensors")
    files = {name: (model / name).stat().st_size for name in names}
    wanted = schema.UploadSettings(**{"repository": REPOSITORY, "files": files, **more})
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    spec = schema.RunSpec(job_id="ftjob-up", kind="upload", base=str(model), upload=wanted)
    schema.write_run_spec(folder, spec)
    return folder


def started(folder: Path, address: str) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HOME": str(folder / "hub"),
        "HF_ENDPOINT": address,
        "HF_TOKEN": TOKEN,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "finetune", "upload", str(folder)],
        cwd=Path(schema.__file__).parent.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


Uploaded = Callable[..., int]


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Uploaded:
    """The program in this process, as its command line sets it up; the token is told nowhere."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HUGGINGFACE_TOKEN", raising=False)

    def upload(folder: Path, address: str, token: str = TOKEN) -> int:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", token)
        code = finetune("upload", folder)
        told = "".join(capsys.readouterr())
        assert TOKEN not in told + "".join(each.read_text() for each in folder.glob("*.*"))
        return code

    return upload


def failure(folder: Path) -> dict[str, Any]:
    return events(folder, "state")[-1].data


def test_the_confirmed_files_are_one_private_commit(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path, model)
    assert uploaded(folder, hub.address) == 0
    found = hub.repositories[REPOSITORY]
    assert found.private
    assert len(found.commits) == 1
    assert found.files == {
        each.name: each.read_bytes() for each in model.iterdir() if each.suffix != ".txt"
    }
    told = events(folder, "result")[0].data
    assert told["url"] == f"{hub.address}/{REPOSITORY}"
    assert told["commit"] == found.commits[0]
    assert sum(each.kind == "progress" for each in events(folder)) == 4


def test_killed_halfway_nothing_is_seen_and_what_was_stored_is_not_sent_again(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path, model)
    hub.hold_at = 1
    process = started(folder, hub.address)
    assert hub.held.wait(60)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert hub.repositories[REPOSITORY].files == {}
    hub.hold_at = None
    first = list(hub.sent)
    assert uploaded(folder, hub.address) == 0
    assert len(first) == 1 and hub.sent.count(first[0]) == 1
    assert len(hub.repositories[REPOSITORY].files) == 3


def test_a_public_repository_gets_nothing_that_is_to_be_private(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    hub.repositories[REPOSITORY] = Repository(private=False)
    folder = run_folder(tmp_path, model)
    assert uploaded(folder, hub.address) == schema.EXIT_REFUSED
    assert failure(folder)["code"] == "FINETUNE-528" and "public" in failure(folder)["what"]
    assert hub.sent == []
    assert uploaded(run_folder(tmp_path, model, private=False), hub.address) == 0


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_without_the_right_token_it_is_refused(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path, token: str
) -> None:
    folder = run_folder(tmp_path, model)
    assert uploaded(folder, hub.address, token) == schema.EXIT_REFUSED
    assert failure(folder)["code"] == "FINETUNE-528"
    assert "HUGGINGFACE_TOKEN" in failure(folder)["remedy"]


def test_anothers_namespace_is_refused(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path, model, repository="maria/sophia-v1")
    assert uploaded(folder, hub.address) == schema.EXIT_REFUSED
    assert "maria/sophia-v1" in failure(folder)["what"]


def test_what_the_hub_says_is_told(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    hub.commit_status = 422
    folder = run_folder(tmp_path, model)
    assert uploaded(folder, hub.address) == schema.EXIT_FAILED
    assert failure(folder)["code"] == "FINETUNE-530" and "quota" in failure(folder)["why"]
    assert hub.repositories[REPOSITORY].files == {}


def test_a_hub_that_is_not_there_is_told(uploaded: Uploaded, model: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, model)
    assert uploaded(folder, "http://127.0.0.1:9") == schema.EXIT_UNAVAILABLE
    assert failure(folder)["code"] == "FINETUNE-529"
    assert "HF_ENDPOINT" in failure(folder)["remedy"]


def test_files_that_changed_since_they_were_confirmed_are_not_sent(
    uploaded: Uploaded, hub: Hub, model: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path, model)
    with (model / "config.json").open("a") as file:
        file.write(" ")
    assert uploaded(folder, hub.address) == schema.EXIT_REFUSED
    assert failure(folder)["code"] == "FINETUNE-527"
    assert hub.repositories == {}
