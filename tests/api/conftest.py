"""A house of throw-away services and its API."""

from pathlib import Path

import pytest

from sophia_tui.wiring import House
from tests.api.throwaway import make_house


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    return make_house(monkeypatch, tmp_path)
