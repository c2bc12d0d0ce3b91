"""The console over the real services and a store with a life behind it: every screen, both
languages, and what the services answer as the screens take it."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from sophia_tui.domain.context import Face
from sophia_tui.domain.models import AuditEntry
from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store.own import open_store
from sophia_tui.tui import keys
from sophia_tui.tui.app import SophiaApp
from sophia_tui.wiring import House
from tests import seeded
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import digit, told_text

#: What each screen shows of the seeded store, and the row that is opened for it.
SHOWN = {
    "overview": ("", ("sophia-v2", "GEN_MODEL")),
    "setup": ("finetune_dir", ("FINETUNE_DIR",)),
    "datasets": ("town@", ("63", "60", "qa_cache.jsonl:61", "public.qa_cache qhash k0042")),
    "jobs": (seeded.FAILED, ("SOPHIA-J470", "60/300", "Lower the learning rate.")),
    "models": (seeded.NEWEST_MODEL, (seeded.SUCCEEDED, "promo-3", "Office 50 opens at 9")),
    "monitor": ("", ("280", "sophia-v2", "transformers")),
    "settings": ("FINETUNE_DIR", ("FINETUNE_DIR",)),
    "audit": ("", ("prepare.run", "town")),
}


class FixedClock:
    """The hour of the seeds."""

    def now(self) -> datetime:
        return seeded.NOW


@pytest.fixture
async def house(store_url: str, tmp_path: Path, monkeypatch) -> AsyncIterator[House]:
    """A house on a seeded store; it starts no worker for the seeds' queued job."""
    environment = {
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": store_url,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "FINETUNE_DIR": str(tmp_path / "finetune"),
        "SOPHIA_MANAGED_ENV_FILES": str(tmp_path / "rag.env"),
    }
    store = await open_store(load(environment), Paths(tmp_path / "data"))
    await seeded.fill(store, tmp_path)
    entry = AuditEntry(
        seeded.NOW, seeded.PERSON, "cli", "admin", "prepare.run", "town", {"name": "town"}, "done"
    )
    await store.audit.add(entry)
    await store.close()
    seeded.fill_source(store_url)
    made = House(environment)
    monkeypatch.setattr(made, "clock", FixedClock())

    async def nobody() -> None:
        pass

    monkeypatch.setattr(made, "wake", nobody)
    yield made
    await made.close()


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_every_screen_shows_what_the_services_answer(
    house: House, size: tuple[int, int], language: str
) -> None:
    app = SophiaApp(
        house.dispatcher,
        lambda **given: house.context(Face.CONSOLE, **given),
        actor=seeded.PERSON,
        language=language,
        clock=lambda: seeded.NOW,
    )
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        for name in keys.SHOWS:
            wanted, words = SHOWN[name]
            await pilot.press(digit(name))
            await settled(pilot)
            if wanted:
                screen = app.screen
                found = [each for each in screen.rows if each.startswith(wanted)]
                assert found, (name, wanted, list(screen.rows))
                key = min(found, key=len)
                screen.follow(key)
                await until(pilot, lambda s=screen, k=key: s.told_of == k, f"{name}: {key}")
                await pilot.pause()
            text = told_text(app.screen) + screen_text(app)
            assert [word for word in words if word not in text] == [], text
            assert "SOPHIA-" not in text or name in ("jobs",), text
