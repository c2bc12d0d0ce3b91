"""What the tests of the weights' program share: a tiny real model, a data set, run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.helpers import finetune, write_run
from tests.finetune.tiny_model import build_dataset, build_tiny_model

MakeRun = Callable[..., Path]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """torch and peft warn about their own insides; only our own warnings are errors here."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model in a folder."""
    return build_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set; not to be written to."""
    return build_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def make_run(tmp_path: Path, tiny_base: Path, dataset: Path) -> MakeRun:
    """A run folder: make_run(name, recipe={…}, kind=…, …)."""

    def make(name: str = "run", **more: Any) -> Path:
        return write_run(tmp_path / name, more.pop("base", tiny_base), dataset, **more)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path) -> Path:
    """A training that succeeded; not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    write_run(folder, tiny_base, dataset, {"max_steps": 40, "save_steps": 10})
    assert finetune("train", folder) == 0
    return folder
