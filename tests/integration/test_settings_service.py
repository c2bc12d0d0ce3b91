"""Settings that Sophia keeps: what is refused, so that nothing stored can break a later command."""

from pathlib import Path

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.settings import (
    SettingChange,
    SettingKey,
    SettingsPage,
    SettingsService,
)

CONTEXT = Context("ana", Face.CLI, Role.ADMIN)


async def change(store: Store, key: str, value: str) -> str | None:
    request = SettingChange(key=key, value=value)
    return (
        await SettingsService(store, {}, Paths(Path("/nonexistent"))).set(CONTEXT, request)
    ).value


async def test_a_value_that_would_break_a_later_command_is_not_stored(store: Store) -> None:
    for value in ("99999999", "-4", "0"):
        with pytest.raises(UsageError, match="SOPHIA-T422"):
            await change(store, "SOPHIA_WINDOW_DAYS", value)
    assert await store.settings.all() == {}
    assert await change(store, "SOPHIA_WINDOW_DAYS", "60") == "60"


@pytest.mark.parametrize("blank", ["", "  "])
async def test_nothing_is_no_value_and_unset_is_named(store: Store, blank: str) -> None:
    await change(store, "SOPHIA_TIMEZONE", "UTC")
    with pytest.raises(UsageError, match="SOPHIA-T424") as told:
        await change(store, "SOPHIA_TIMEZONE", blank)
    assert "sophia settings unset SOPHIA_TIMEZONE" in told.value.remedy
    assert await store.settings.all() == {"SOPHIA_TIMEZONE": "UTC"}
    unset = await SettingsService(store, {}, Paths(Path("/nonexistent"))).unset(
        CONTEXT, SettingKey(key="SOPHIA_TIMEZONE")
    )
    assert (unset.value, unset.source) == ("America/Sao_Paulo", "default")


async def test_folders_that_the_environment_alone_names_are_listed(
    store: Store, tmp_path: Path
) -> None:
    cache = str(tmp_path / "converted")
    service = SettingsService(store, {"SOPHIA_MODEL_CACHE": cache}, Paths(tmp_path))
    listed = {each.key: each for each in (await service.page(CONTEXT, SettingsPage())).items}
    assert (listed["SOPHIA_MODEL_CACHE"].value, listed["SOPHIA_MODEL_CACHE"].source) == (
        cache,
        "environment",
    )
    assert listed["SOPHIA_DATA_DIR"].value == str(tmp_path)
    assert not any(listed[key].changeable for key in ("SOPHIA_DATA_DIR", "SOPHIA_MODEL_CACHE"))
