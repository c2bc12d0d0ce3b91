"""Promotion on a server: declared files of other owners by the root helper, their units restarted,
and everything put back where something fails."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sophia_tui.domain.managed import ManagedFile
from sophia_tui.domain.models import PromotionState
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import PromotionError, RefusedError, SetupError, UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.providers.root_helper import SocketHelper
from sophia_tui.root.conf import parse, render
from sophia_tui.root.files import digest
from sophia_tui.services import managed_env
from sophia_tui.services.checks.program import ProgramChecks
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_views import PromoteRollback
from sophia_tui.settings import load
from tests.integration.helper_house import ENV, HelperHouse, needs_root
from tests.integration.test_promote import Bench, Clock

pytestmark = needs_root

NEW = ENV.replace("old", "sophia-v1")


@pytest.fixture
def house(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelperHouse]:
    def not_readable(path: Path) -> str:
        raise PromotionError("P009", "The env file can't be read.", "Permission denied")

    # root may do everything: on a server neither console nor worker nor API can
    monkeypatch.setattr(managed_env, "_directly", lambda _path: False)
    monkeypatch.setattr(managed_env, "read_env", not_readable)
    made = HelperHouse(reachable)
    yield made
    made.close()


@pytest.fixture
async def server(store: Store, tmp_path: Path, house: HelperHouse) -> Bench:
    """The bench of promotions, whose files are those that root declared."""
    from datetime import UTC, datetime

    from sophia_tui.domain.models import Model, ModelKind

    for name in ("sophia-v1", "sophia-v2"):
        await store.models.add(Model(name, ModelKind.ADAPTER, "base", datetime.now(UTC)))
    bench = Bench(store, tmp_path)
    chosen = load(
        {"FINETUNE_HISTORY": str(bench.history), "OPENAI_BASE_URL": "http://models.test/v1"}
    )
    helper = SocketHelper(house.socket, "maria")
    bench.service = PromoteService(
        store, chosen, Paths(tmp_path / "data"), Clock(), bench.world.outside, None, helper
    )
    return bench


async def states(bench: Bench) -> list[PromotionState]:
    return [each.state for each in await bench.store.promotions.page(10)]


async def test_a_declared_file_is_written_and_its_unit_restarted_and_rolled_back(
    server: Bench, house: HelperHouse
) -> None:
    view = await server.promote()
    assert house.path.read_bytes() == NEW.encode()
    assert house.calls("restart") == ["rag.service"]
    assert any("rag.service" in note for note in view.notes)
    await server.service.rollback(server.context(), PromoteRollback())
    assert house.path.read_bytes() == ENV.encode()
    assert house.calls("restart") == ["rag.service"] * 2
    assert "person=maria" in house.journal()


async def test_the_plan_says_what_would_restart_and_does_nothing(
    server: Bench, house: HelperHouse
) -> None:
    view = await server.promote(dry_run=True)
    assert any("would restart: rag.service" in note for note in view.notes)
    assert (house.path.read_bytes(), house.calls("restart")) == (ENV.encode(), [])


async def test_a_unit_that_does_not_stay_up_puts_everything_back(
    server: Bench, house: HelperHouse
) -> None:
    second = house.env("worker.env")
    house.declare(
        f"[{house.path}]\nrestart = rag.service\nwrite = yes\n"
        f"[{second}]\nrestart = worker.service\nwrite = yes"
    )
    house.unit("worker.service", "failed")
    with pytest.raises(PromotionError) as told:
        await server.promote()
    assert told.value.code == "SOPHIA-P002" and "worker.service" in told.value.why
    assert house.path.read_bytes() == second.read_bytes() == ENV.encode()
    # both with the new content, then both with the old one
    assert house.calls("restart") == ["rag.service", "worker.service"] * 2
    assert await states(server) == [PromotionState.UNDONE]
    assert not server.history.exists()


async def test_a_file_that_is_refused_stops_it_before_anything_restarts(
    server: Bench, house: HelperHouse
) -> None:
    house.declare(f"[{house.path}]\nrestart = rag.service\nwrite = yes\nkeys = OTHER")
    with pytest.raises(PromotionError, match="EXPANSION_MODEL"):
        await server.promote()
    assert (house.path.read_bytes(), house.calls("restart")) == (ENV.encode(), [])


async def test_a_declared_file_that_is_left_alone_is_not_passed_over_in_silence(
    server: Bench, house: HelperHouse
) -> None:
    house.path.chmod(0o646)
    with pytest.raises(PromotionError, match="SOPHIA-P068"):
        await server.promote()


async def test_a_file_that_is_no_clean_env_file_is_told_in_the_plan(
    server: Bench, house: HelperHouse
) -> None:
    house.env("rag.env", ENV + "GEN_MODEL=old\n")
    with pytest.raises(UsageError, match="SOPHIA-S440"):
        await server.promote(dry_run=True)


async def test_a_promotion_that_is_cut_off_puts_back_what_it_wrote(
    server: Bench, house: HelperHouse
) -> None:
    house.unit("rag.service", "activating")
    task = asyncio.ensure_future(server.promote())
    async with asyncio.timeout(60):
        while not house.calls("restart"):
            await asyncio.sleep(0.02)
    house.unit("rag.service", "active")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert house.path.read_bytes() == ENV.encode()
    assert await states(server) == [PromotionState.UNDONE]


async def test_a_helper_that_goes_away_leaves_it_pending_and_the_next_one_mends_it(
    server: Bench, house: HelperHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: ManagedEnv, unit: str) -> None:
        house.socket.rename(house.folder / "away.sock")
        raise UnavailableError("P064", "The root helper does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(ManagedEnv, "restart", away)
        with pytest.raises(PromotionError, match="SOPHIA-P067"):
            await server.promote()
    (house.folder / "away.sock").rename(house.socket)
    assert house.path.read_bytes() == NEW.encode()
    assert await states(server) == [PromotionState.PENDING]
    await server.promote("sophia-v2")
    assert house.path.read_bytes() == ENV.replace("old", "sophia-v2").encode()


# -- the client alone


async def test_the_client_raises_what_the_helper_refuses(house: HelperHouse) -> None:
    helper = SocketHelper(house.socket)
    with pytest.raises(RefusedError, match="SOPHIA-P052") as told:
        await helper.read("/etc/shadow")
    assert told.value.remedy
    found = await helper.read(str(house.path))
    assert (found.content, found.sha256) == (ENV, digest(ENV.encode()))
    [state] = await helper.status(["rag.service"])
    assert state.healthy


async def test_a_machine_without_a_helper_declares_nothing(tmp_path: Path) -> None:
    assert (await SocketHelper(tmp_path / "none.sock").declared()).files == ()


async def test_a_helper_that_answers_nothing_or_nonsense_is_told(tmp_path: Path) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers.pop())
        writer.close()

    answers = [b"", b"{}\n", b"[1]\n", b'{"ok": false, "error": {"kind": "exit"}}\n', b"\xff\n"]
    path = tmp_path / "odd.sock"
    async with await asyncio.start_unix_server(odd, path):
        while answers:
            with pytest.raises(UnavailableError, match="SOPHIA-P065"):
                await SocketHelper(path).read("/x")
    dead = tmp_path / "dead.sock"
    os.mknod(dead, 0o600 | 0o140000)
    with pytest.raises(UnavailableError, match="SOPHIA-P064"):
        await SocketHelper(dead).read("/x")


async def test_the_check_of_the_set_up_names_declared_files_and_what_is_wrong_with_them(
    house: HelperHouse,
) -> None:
    class Installed:
        installed = True

    async def status() -> None:
        raise AssertionError("nobody asks the store here")

    helper = SocketHelper(house.socket)
    made = ProgramChecks(Installed(), load({}), status, helper)  # type: ignore[arg-type]
    [check] = [each for each in made.all() if each.id == "managed_files"]
    assert (await check.look()).state == "ok"
    house.path.chmod(0o646)
    found = await check.look()
    assert (found.state, found.told) == ("problem", str(house.path))
    for given in ("/x/rag.env,/x/other.env", "/x/none.env"):
        one = ProgramChecks(
            Installed(),  # type: ignore[arg-type]
            load({"SOPHIA_MANAGED_ENV_FILES": given}),
            status,  # type: ignore[arg-type]
        )
        [check_of_files] = [each for each in one.all() if each.id == "managed_files"]
        told = await check_of_files.look()
        assert (told.state, told.told) == ("problem", given) and "colons (:)" in told.remedy
    house.declare("[x]")
    assert "Line 1" in (await check.look()).told


# -- units of other hosts


async def test_units_of_other_hosts_are_declared_and_named_and_never_restarted(
    server: Bench, house: HelperHouse
) -> None:
    house.declare(
        f"[{house.path}]\nrestart = rag.service\nelsewhere = web2:rag.service\nwrite = yes"
    )
    view = await server.promote()
    assert [each.unit for each in view.elsewhere] == ["web2:rag.service"]
    assert house.calls("restart") == ["rag.service"]
    assert any("promote confirm" in note for note in view.notes)


def test_a_declaration_with_other_hosts_is_read_as_it_was_written() -> None:
    file = ManagedFile("/srv/a.env", elsewhere=("web2:rag.service", "10.0.0.7:rag@1.service"))
    assert parse(render([file]).encode()) == (file,)
    for wrong in ("rag.service", "web2:", ":rag.service", "-x:rag.service", "web2:rag.conf"):
        with pytest.raises(SetupError, match="SOPHIA-P062"):
            parse(f"[/srv/a.env]\nelsewhere = {wrong}\n".encode())
