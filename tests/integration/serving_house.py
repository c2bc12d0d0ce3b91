"""What the tests of serving share: a house on the test's store, its API on loopback, a client."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import openai

from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.wiring import House
from tests.api.server import serving

MODEL_KEY = "a-key-for-models"
VIEWER = "a-token-that-looks"
ADMIN = "a-token-of-the-owner"


def house_on(store_url: str, folder: Path, **more: str) -> House:
    """A house with its data folder below `folder`."""
    return House(
        {
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(folder / "data"),
            "SOPHIA_MODEL_TOKEN": MODEL_KEY,
            "SOPHIA_VIEWER_TOKEN": VIEWER,
            "FINETUNE_TOKEN": ADMIN,
            **more,
        }
    )


@contextlib.contextmanager
def asked(house: House) -> Iterator[openai.AsyncOpenAI]:
    """The official client on the API of `house`, as a service would set it up."""
    with serving(house) as address:
        yield openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=MODEL_KEY, max_retries=0)


def model_row(name: str, path: Path | str, kind: ModelKind = ModelKind.BASE) -> Model:
    return Model(name, kind, "base", datetime.now(UTC), path=str(path))
