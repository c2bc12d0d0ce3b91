"""The health check of a promotion, its gate, its other hosts, and who waits for whom."""

import asyncio
import errno
import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui import settings
from sophia_tui.api.app import create_app
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.domain.model_gates import GateVerdict, Reason
from sophia_tui.domain.models import Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.promotions import quantile, read_named_urls, read_promotion_bounds
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import ChatAnswer, Deployment, DeploymentState
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    NotFoundError,
    OutsideError,
    PromotionError,
    RefusedError,
    SophiaError,
    UsageError,
)
from sophia_tui.paths import Paths
from sophia_tui.providers.health_look import look
from sophia_tui.services import promotion_steps
from sophia_tui.services.model_states import HistoryRequest, ModelStatesService
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_health import read_prompts
from sophia_tui.services.promotion_views import (
    PromoteConfirm,
    PromoteRepair,
    PromoteRollback,
    PromoteRun,
    PromotionView,
)
from sophia_tui.services.ways_back import way_back
from sophia_tui.wiring import House
from sophia_tui.worker.main import run as work
from tests.integration.test_promote import Clock, World
from tests.integration.worker_house import SmallHouse

ENV = "GEN_MODEL=old\nOPENAI_BASE_URL=http://models.test/v1\n"
NEW = ENV.replace("old", "sophia-v1")


class Gate:
    """Says what the test wants."""

    def __init__(self, *reasons: Reason, overridable: bool = True) -> None:
        self.reasons = reasons
        self.overridable = overridable
        self.current: Model | str | None = None

    async def verdict(self, model: Model, current: Model | str | None = None) -> GateVerdict:
        self.current = current
        return GateVerdict(
            not self.reasons,
            self.reasons,
            datetime.now(UTC),
            notes=("As told.",),
            overridable=self.overridable,
        )


class Bench:
    """Two models and one env file of our own."""

    def __init__(self, store: Store, folder: Path, **chosen: str) -> None:
        self.store = store
        self.file = folder / "app.env"
        self.file.write_text(ENV)
        self.history = folder / "history.jsonl"
        self.paths = Paths(folder / "data")
        self.world = World()
        self.chosen = {
            "SOPHIA_MANAGED_ENV_FILES": str(self.file),
            "FINETUNE_HISTORY": str(self.history),
            **chosen,
        }
        self.gate: Gate | None = None

    def service(self, **chosen: str) -> PromoteService:
        return PromoteService(
            self.store,
            settings.load({**self.chosen, **chosen}),
            self.paths,
            Clock(),
            self.world.outside,
            gate=self.gate,
            host="here",
        )

    def context(self, **more: Any) -> Context:
        return Context("maria", Face.CLI, Role.ADMIN, confirmed=True, **more)

    async def promote(self, model: str = "sophia-v1", **more: Any) -> PromotionView:
        return await self.service().run(self.context(), PromoteRun(model=model, **more))

    async def refused(self, **chosen: str) -> SophiaError:
        """The error of a promotion that must leave everything as it is."""
        with pytest.raises(SophiaError) as caught:
            await self.service(**chosen).run(self.context(), PromoteRun(model="sophia-v1"))
        assert self.file.read_text() == ENV
        return caught.value


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> Bench:
    for name in ("sophia-v1", "sophia-v2"):
        await store.models.add(Model(name, ModelKind.ADAPTER, "base", datetime.now(UTC), path="/x"))
    return Bench(store, tmp_path)


async def newest(bench: Bench) -> Promotion:
    [row] = await bench.store.promotions.page(1)
    return row


# -- golden prompts


async def test_the_new_name_answers_every_golden_prompt_and_its_latency_is_shown(
    bench: Bench,
) -> None:
    view = await bench.promote()
    assert {name for name, _question in bench.world.asked} == {"sophia-v1"}
    assert len(bench.world.asked) == len(read_prompts(None)) >= 5
    assert view.golden is not None
    assert (view.golden["median"], view.golden["p95"], view.golden["errors"]) == (0.1, 0.1, 0.0)
    assert any("median 0.10 s" in note for note in view.notes)
    [line] = [json.loads(each) for each in bench.history.read_text().splitlines()]
    assert line["golden"]["asked"] == len(bench.world.asked)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ChatAnswer("", 0.1), "the answer is empty"),
        (ChatAnswer("Lyon", 0.1), "no accepted text stands in the answer"),
        (ChatAnswer("Paris.", 9.0), "median 9, must be below 2"),
        (OutsideError("M456", "sophia-v1 did not answer.", "HTTP 500"), "HTTP 500"),
    ],
)
async def test_a_model_that_does_not_pass_them_is_taken_back(
    bench: Bench, tmp_path: Path, answer: Any, told: str
) -> None:
    async def given(*_asked: Any) -> ChatAnswer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench.world.answers = given
    prompts = tmp_path / "golden.jsonl"
    prompts.write_text('{"question": "The capital of France?", "accepted": ["Paris"]}\n')
    problem = await bench.refused(SOPHIA_GOLDEN_PROMPTS=str(prompts))
    assert isinstance(problem, PromotionError) and problem.code == "SOPHIA-P002"
    assert told in problem.why and problem.details["cause"] == "SOPHIA-P074"
    row = await newest(bench)
    assert row.state is PromotionState.UNDONE and row.error is not None
    assert (row.error["step"], row.error["code"]) == ("health", "SOPHIA-P074")
    assert not bench.history.exists()


async def test_other_bounds_hold_for_one_promotion(bench: Bench) -> None:
    async def slow(*_asked: Any) -> ChatAnswer:
        return ChatAnswer("Yes.", 20.0)

    bench.world.answers = slow
    with pytest.raises(UsageError, match="SOPHIA-P079"):
        await bench.promote(bounds="mean<3")
    view = await bench.promote(bounds="median<30, errors<0.01")
    assert view.golden is not None and view.golden["bounds"] == {"median": 30.0, "errors": 0.01}


@pytest.mark.parametrize(
    "content", ["", "[]\n", '{"question": ""}\n', '{"question": "x", "accepted": "y"}\n', "{\n"]
)
async def test_golden_prompts_that_can_not_be_read_stop_the_plan(
    bench: Bench, tmp_path: Path, content: str
) -> None:
    (tmp_path / "golden.jsonl").write_text(content)
    problem = await bench.refused(SOPHIA_GOLDEN_PROMPTS=str(tmp_path / "golden.jsonl"))
    assert problem.code == "SOPHIA-P078"


def test_bounds_and_quantiles_are_read_as_they_are_written() -> None:
    assert read_promotion_bounds("median<2, p95 < 3.5") == {"median": 2.0, "p95": 3.5}
    for wrong in ("median>2", "median<2, median<3", "mean<2"):
        with pytest.raises(ValueError, match="m"):
            read_promotion_bounds(wrong)
    assert quantile([], 0.5) is None
    assert (quantile([3, 1, 2], 0.5), quantile([1, 2, 3, 4], 0.95)) == (2, 4)


# -- health addresses


class Health(http.server.ThreadingHTTPServer):
    """Answers with what the test sets; `hangs` holds the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Health)
        self.statuses = [200]
        self.asked: list[str] = []
        self.hangs = False
        self.let_go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/health"


class _Health(http.server.BaseHTTPRequestHandler):
    server: Health

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.hangs:
            self.server.let_go.wait(20)
        left = self.server.statuses
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Tests say nothing."""


@pytest.fixture
def health() -> Iterator[Health]:
    with Health() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.let_go.set()
        found.shutdown()
        thread.join()


async def test_a_service_has_a_moment_until_its_health_address_answers(
    bench: Bench, health: Health
) -> None:
    bench.world.looks = look
    health.statuses = [503, 200]
    bench.chosen["SOPHIA_PROMOTION_HEALTH_URLS"] = (
        f"{bench.file}={health.url}, x.service={health.url}x"
    )
    await bench.promote()
    assert health.asked == ["/health", "/health"]
    assert bench.file.read_text() == NEW


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_health_check_that_hangs_or_never_is_well_ends_after_its_limit(
    bench: Bench, health: Health, hangs: bool
) -> None:
    bench.world.looks = look
    health.statuses, health.hangs = [500], hangs
    problem = await bench.refused(
        SOPHIA_PROMOTION_HEALTH_URLS=health.url, SOPHIA_PROMOTION_HEALTH_SECONDS="0.5"
    )
    assert problem.details["cause"] == "SOPHIA-P075"
    assert health.url in problem.why and "did not end within" in problem.why
    assert (await newest(bench)).state is PromotionState.UNDONE


async def test_an_answer_that_hangs_ends_after_the_limit_of_all(bench: Bench) -> None:
    async def hanging(*_asked: Any) -> ChatAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    bench.world.answers = hanging
    problem = await bench.refused(SOPHIA_PROMOTION_HEALTH_SECONDS="0.3")
    assert problem.details["cause"] == "SOPHIA-P075" and "golden prompts" in problem.why
    problem = await bench.refused(SOPHIA_PROBE_SECONDS="0.02")
    assert problem.details["cause"] == "SOPHIA-P074" and "0.02 seconds" in problem.why


def test_health_addresses_are_for_all_or_for_one_unit_or_file() -> None:
    told = "http://a/h?x=1, rag.service=https://b, /srv/x.env=http://c"
    assert read_named_urls(told) == (
        ("", "http://a/h?x=1"),
        ("rag.service", "https://b"),
        ("/srv/x.env", "http://c"),
    )
    for wrong in ("ftp://a", "rag.service=b", "http://"):
        with pytest.raises(ValueError, match=wrong):
            read_named_urls(wrong)
    with pytest.raises(UsageError, match="SOPHIA-T422"):
        settings.load({"SOPHIA_PROMOTION_HEALTH_URLS": "rag.service"})


# -- the gate

REFUSED = Reason("M581", "Parity was never checked.", "`sophia models parity sophia-v1`")


async def test_what_the_gate_refuses_is_not_promoted_and_the_plan_says_so(bench: Bench) -> None:
    bench.gate = Gate(REFUSED)
    problem = await bench.refused()
    assert isinstance(problem, RefusedError) and problem.code == "SOPHIA-P070"
    assert "M581" in problem.why and "models parity" in problem.remedy
    assert problem.details["reasons"] == [{"code": "M581", "what": REFUSED.what}]
    assert bench.gate.current == "old"
    plan = await bench.service().run(bench.context(dry_run=True), PromoteRun(model="sophia-v1"))
    assert any("would be refused" in note and "M581" in note for note in plan.notes)
    assert plan.foretold_refusal() == "SOPHIA-P070"
    assert await bench.store.promotions.page(10) == []


async def test_an_override_keeps_who_and_why_with_the_promotion_and_the_model(
    bench: Bench,
) -> None:
    bench.gate = Gate(REFUSED)
    reason = "The provider ends on Friday."
    view = await bench.promote(override=reason)
    assert view.gate is not None
    assert view.gate["override"] == {"by": "maria", "reason": reason}
    assert any(reason in note for note in view.notes)
    assert f"Passed over: [M581] {REFUSED.what}" in view.notes
    [remark] = await bench.store.remarks.page("sophia-v1")
    assert remark.by == "maria"
    assert remark.text == f"{reason} (Promotion {view.id}, past the gate: M581.)"
    assert remark.detail["promotion"] == view.id
    assert json.loads(bench.history.read_text())["gate"]["override"]["by"] == "maria"


async def test_a_model_that_people_rejected_is_overridden_by_nobody(bench: Bench) -> None:
    bench.gate = Gate(Reason("M590", "It is rejected."), overridable=False)
    with pytest.raises(RefusedError, match="SOPHIA-P070") as told:
        await bench.promote(override="We need it now.")
    assert "--override" not in told.value.remedy
    assert bench.file.read_text() == ENV


async def test_a_schedule_overrides_nothing(bench: Bench) -> None:
    bench.gate = Gate(REFUSED)
    context = Context("maria", Face.WORKER, Role.ADMIN, confirmed=True)
    with pytest.raises(RefusedError, match="SOPHIA-P071"):
        await bench.service().run(context, PromoteRun(model="sophia-v1", override="Every month."))
    assert bench.file.read_text() == ENV


async def test_a_model_that_passes_is_promoted_with_the_verdict_in_the_record(
    bench: Bench,
) -> None:
    bench.gate = Gate()
    view = await bench.promote(override="There is no need.")
    assert view.gate is not None and view.gate["passed"] and "override" not in view.gate
    assert await bench.store.remarks.page("sophia-v1") == []


# -- what fails on the way


async def test_a_full_disk_at_the_snapshot_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(promotion_steps, "write_whole", full)
    await bench.refused()
    row = await newest(bench)
    assert row.state is PromotionState.UNDONE and row.error is not None
    assert row.error["step"] == "snapshot"
    assert [each["step"] for each in row.steps] == ["snapshot", "undo"]


async def test_a_file_that_others_change_meanwhile_keeps_their_change(bench: Bench) -> None:
    async def meddling(*_asked: Any) -> ChatAnswer:
        bench.file.write_text(bench.file.read_text() + "ADDED=meanwhile\n")
        raise OutsideError("M456", "No answer.")

    bench.world.answers = meddling
    with pytest.raises(PromotionError, match="SOPHIA-P002"):
        await bench.promote()
    text = bench.file.read_text()
    assert text.startswith(ENV) and "ADDED=meanwhile" in text


async def test_a_key_that_others_set_meanwhile_is_theirs_and_told(bench: Bench) -> None:
    async def meddling(*_asked: Any) -> ChatAnswer:
        bench.file.write_text("GEN_MODEL=theirs\n")
        raise OutsideError("M456", "No answer.")

    bench.world.answers = meddling
    with pytest.raises(PromotionError) as caught:
        await bench.promote()
    assert str(bench.file) in caught.value.why and "as they left it" in caught.value.what
    assert bench.file.read_text() == "GEN_MODEL=theirs\n"


async def test_who_asks_to_stop_gets_everything_back(bench: Bench) -> None:
    cancel = CancelSignal()

    def told(progress: Progress) -> None:
        if progress.stage == "write":
            cancel.request()

    context = bench.context(cancel=cancel, progress=told)
    with pytest.raises(CancelledError, match="SOPHIA-U499"):
        await bench.service().run(context, PromoteRun(model="sophia-v1"))
    assert bench.file.read_text() == ENV
    assert (await newest(bench)).state is PromotionState.UNDONE


async def test_a_record_that_nobody_can_read_is_left_to_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_given: Any, **_more: Any) -> None:
        raise OutsideError("S001", "The store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store.promotions, "finish", away)
        patched.setattr(bench.store.promotions, "get", away)
        with pytest.raises(PromotionError, match="SOPHIA-P077"):
            await bench.promote()
    assert bench.file.read_text() == NEW
    view = await bench.service().repair(bench.context(), PromoteRepair())
    assert (view.state, view.step) == ("done", "record")
    kinds = [json.loads(each)["kind"] for each in bench.history.read_text().splitlines()]
    assert kinds == ["promotion", "promotion_finished"]


# -- two at once, and elsewhere


async def test_one_that_waits_goes_on_when_the_other_has_ended(bench: Bench) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def held(*asked: Any) -> ChatAnswer:
        if asked[2] == "sophia-v1":
            reached.set()
            await go.wait()
        return ChatAnswer("Yes.", 0.1)

    bench.world.answers = held
    first = asyncio.create_task(bench.promote("sophia-v1"))
    await reached.wait()
    with pytest.raises(ConflictError, match="SOPHIA-P008"):
        await bench.promote("sophia-v2")
    second = asyncio.create_task(bench.promote("sophia-v2", wait=60))
    await asyncio.sleep(0)
    go.set()
    assert (await first).model == "sophia-v1"
    assert (await second).previous_model == "sophia-v1"


async def test_what_another_machine_began_is_not_touched_unless_it_is_said(bench: Bench) -> None:
    place = {"host": "other", "folder": "/x"}
    notes = {"place": place, "history": str(bench.history)}
    now = datetime.now(UTC)
    row = Promotion("promotion-x", "m", None, PromotionState.PENDING, (), "ana", now, notes=notes)
    await bench.store.promotions.add(row)
    problem = await bench.refused()
    assert problem.code == "SOPHIA-P076" and "other" in problem.why
    with pytest.raises(ConflictError, match="SOPHIA-P076"):
        await bench.service().repair(bench.context(), PromoteRepair())
    view = await bench.service().repair(bench.context(), PromoteRepair(elsewhere=True))
    assert view.state == "undone"
    await bench.promote()


async def test_units_of_other_hosts_are_named_with_their_command_until_somebody_confirms(
    bench: Bench,
) -> None:
    bench.chosen["SOPHIA_PROMOTION_ELSEWHERE"] = "web2:rag-api.service, web3:rag-api.service"
    plan = await bench.service().run(bench.context(dry_run=True), PromoteRun(model="sophia-v1"))
    commands = [each.command for each in plan.elsewhere]
    assert commands[0] == "ssh web2 sudo systemctl restart rag-api.service"
    view = await bench.promote()
    assert any("promote confirm" in note for note in view.notes)
    ask = PromoteConfirm(promotion=view.id, unit=["web3:rag-api.service"])
    told = await bench.service().confirm(bench.context(), ask)
    assert [each.confirmed_by for each in told.elsewhere] == [None, "maria"]
    told = await bench.service().confirm(bench.context(), PromoteConfirm(promotion=view.id))
    assert all(each.confirmed_at for each in told.elsewhere)
    with pytest.raises(NotFoundError, match="SOPHIA-P085"):
        strange = PromoteConfirm(promotion=view.id, unit=["web9:x.service"])
        await bench.service().confirm(bench.context(), strange)


# -- any earlier state


async def back(bench: Bench, **asked: Any) -> PromotionView:
    return await bench.service().rollback(bench.context(), PromoteRollback(**asked))


async def test_production_returns_to_any_earlier_state(bench: Bench) -> None:
    first = await bench.promote("sophia-v1")
    bench.file.write_text(bench.file.read_text() + "ADDED=since\n")
    with_it = bench.file.read_text()
    second = await bench.promote("sophia-v2")
    taken = await back(bench, promotion=second.id)
    assert taken.model == "sophia-v1" and bench.file.read_text() == with_it
    # the way back is a state as well: forth again, then to the first one, then before everything
    forth = await back(bench, to=second.id)
    assert forth.model == "sophia-v2" and "GEN_MODEL=sophia-v2" in bench.file.read_text()
    again = await back(bench, to=first.id)
    assert (again.model, again.rolls_back) == ("sophia-v1", second.id)
    assert bench.file.read_text() == with_it
    whole = await back(bench, before=first.id)
    assert whole.model == "old" and bench.file.read_text() == ENV + "ADDED=since\n"
    states = {each.id: each.state for each in await bench.store.promotions.page(10)}
    assert states[first.id] is states[second.id] is PromotionState.ROLLED_BACK
    assert states[whole.id] is PromotionState.DONE


async def test_a_way_back_over_keys_that_others_set_is_refused(bench: Bench) -> None:
    first = await bench.promote("sophia-v1")
    await bench.promote("sophia-v2")
    with pytest.raises(ConflictError, match="SOPHIA-P004"):
        await back(bench, promotion=first.id)  # the second one wrote the key since
    bench.file.write_text("GEN_MODEL=theirs\n")
    for asked in ({"to": first.id}, {"before": first.id}, {}):
        with pytest.raises(ConflictError, match="SOPHIA-P004"):
            await back(bench, **asked)


async def test_a_way_back_that_leads_nowhere_says_so(bench: Bench) -> None:
    first = await bench.promote("sophia-v1")
    with pytest.raises(ConflictError, match="SOPHIA-P084"):
        await back(bench, to=first.id)
    with pytest.raises(UsageError, match="SOPHIA-P081"):
        await back(bench, to=first.id, before=first.id)
    with pytest.raises(NotFoundError, match="SOPHIA-P405"):
        await back(bench, to="promotion-none")


async def test_the_way_back_does_not_fail_for_a_slow_model_but_tells_it(bench: Bench) -> None:
    await bench.promote()

    async def slow(*_asked: Any) -> ChatAnswer:
        return ChatAnswer("Yes.", 20.0)

    bench.world.answers = slow
    view = await back(bench)
    assert bench.file.read_text() == ENV
    assert any("median 20" in note for note in view.notes)


# -- the start of a process


@pytest.mark.parametrize("face", [Face.API, Face.WORKER, Face.CONSOLE])
async def test_a_start_undoes_what_was_cut_off_and_the_audit_has_it(
    bench: Bench, tmp_path: Path, store_url: str, face: Face
) -> None:
    class Killed(BaseException):
        """Stands for kill -9 (test_promotion_kill kills for real)."""

    async def killed(*_asked: Any) -> ChatAnswer:
        raise Killed

    house = House(
        {
            **bench.chosen,
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(bench.paths.data),
            "HOME": str(tmp_path),
        }
    )
    bench.world.answers = killed
    with pytest.raises(Killed):
        await bench.promote()
    row = await newest(bench)
    place = {**row.notes["place"], "host": _host()}
    await bench.store.promotions.update(row.id, notes={**row.notes, "place": place})
    assert bench.file.read_text() == NEW
    try:
        told = await house.mend(face)
        assert told is not None and row.id in told
        assert await house.mend(face) is None
    finally:
        await house.close()
    assert bench.file.read_text() == ENV
    entry, killed_one = await bench.store.audit.page(10)
    assert (entry.operation, entry.target, entry.face) == ("promote.repair", row.id, face.value)
    told_of = (killed_one.operation, killed_one.target, killed_one.actor, killed_one.outcome)
    assert told_of == ("promote.run", "sophia-v1", "maria", "interrupted")
    assert (killed_one.face, killed_one.role) == ("cli", "admin")
    assert killed_one.request["promotion"] == row.id
    assert (killed_one.request["step"], killed_one.request["state"]) == ("health", "undone")
    assert json.loads(bench.history.read_text().splitlines()[-1])["kind"] == "promotion_undone"


async def test_worker_and_api_look_for_what_was_cut_off_when_they_start(
    bench: Bench, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SmallHouse(settings.load({"SOPHIA_STORE_URL": store_url}), bench.paths, opened=store)
    assert await work(small, idle_exit=0.0) == 0
    assert small.mended == [Face.WORKER]

    looked = asyncio.Event()

    async def mend(_house: House, face: Face) -> None:
        assert face is Face.API
        looked.set()

    monkeypatch.setattr(House, "mend", mend)
    house = House({"SOPHIA_STORE_URL": store_url, "SOPHIA_DATA_DIR": str(bench.paths.data)})
    app = create_app(house)
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(looked.wait(), 60)


async def test_worker_and_api_look_again_and_again(
    bench: Bench, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.worker.main.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("sophia_tui.api.app.LOOK_SECONDS", 0.0)

    class Thrice(SmallHouse):
        async def mend(self, face: Face) -> None:
            await super().mend(face)
            if len(self.mended) == 3:
                os.kill(os.getpid(), signal.SIGTERM)  # as `sophia worker` is told to end

    small = Thrice(settings.load({"SOPHIA_STORE_URL": store_url}), bench.paths, opened=store)
    assert await asyncio.wait_for(work(small), 60) == 0
    assert small.mended[:3] == [Face.WORKER] * 3

    looked: list[Face] = []
    often = asyncio.Event()

    async def mend(_house: House, face: Face) -> None:
        looked.append(face)
        if len(looked) == 3:
            often.set()

    monkeypatch.setattr(House, "mend", mend)
    house = House({"SOPHIA_STORE_URL": store_url, "SOPHIA_DATA_DIR": str(bench.paths.data)})
    app = create_app(house)
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(often.wait(), 60)


async def test_what_reads_tells_of_a_promotion_that_was_cut_off_and_changes_nothing(
    bench: Bench, tmp_path: Path, store_url: str
) -> None:
    class Killed(BaseException):
        """Stands for kill -9."""

    async def killed(*_asked: Any) -> ChatAnswer:
        raise Killed

    bench.world.answers = killed
    with pytest.raises(Killed):
        await bench.promote()
    row = await newest(bench)
    place = {**row.notes["place"], "host": _host()}
    await bench.store.promotions.update(row.id, notes={**row.notes, "place": place})
    house = House(
        {
            **bench.chosen,
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(bench.paths.data),
            "HOME": str(tmp_path),
        }
    )
    context = Context("ana", Face.CLI, Role.VIEWER)

    async def notes_of(operation: str) -> list[str]:
        shown: Any = await house.dispatcher.call(operation, {}, context)
        return list(shown.notes)

    try:
        for operation in ("promote.history", "models.production"):
            [told] = [each for each in await notes_of(operation) if row.id in each]
            assert "sophia-v1" in told and "`sophia promote repair`" in told
        overview: Any = await house.dispatcher.call("overview.show", {}, context)
        assert row.id in overview.next.text and overview.next.command == "sophia promote repair"
        report: Any = await house.dispatcher.call("setup.check", {"only": ["promotion"]}, context)
        [item] = report.items
        assert item.state == "problem" and "promote repair" in item.remedy
        assert bench.file.read_text() == NEW
        assert await house.mend(Face.WORKER) is not None
        assert not any(row.id in each for each in await notes_of("promote.history"))
        overview = await house.dispatcher.call("overview.show", {}, context)
        assert overview.next.operation != "promote.repair"
    finally:
        await house.close()


async def test_a_start_leaves_a_promotion_alone_that_is_under_way(
    bench: Bench, store_url: str
) -> None:
    house = House(
        {
            **bench.chosen,
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(bench.paths.data),
        }
    )

    async def looking(*_asked: Any) -> ChatAnswer:
        assert await house.mend(Face.WORKER) is None
        return ChatAnswer("Yes.", 0.1)

    bench.world.answers = looking
    try:
        await bench.promote()
    finally:
        await house.close()
    assert bench.file.read_text() == NEW
    assert await bench.store.audit.page(10) == []


async def test_the_next_promotion_ends_what_was_cut_off_and_audits_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for kill -9."""

    async def killed(*_asked: Any) -> ChatAnswer:
        raise Killed

    bench.world.answers = killed
    with pytest.raises(Killed):
        await bench.promote()
    bench.world.answers = None
    context = bench.context(dry_run=True)
    with pytest.raises(ConflictError, match="SOPHIA-P006"):
        await bench.service().run(context, PromoteRun(model="sophia-v2"))
    view = await bench.promote("sophia-v2")
    assert view.previous_model == "old"
    killed_one, entry = await bench.store.audit.page(10)
    assert entry.operation == "promote.repair" and entry.request["state"] == "undone"
    assert (killed_one.outcome, killed_one.target) == ("interrupted", "sophia-v1")


def _host() -> str:
    from sophia_tui.providers.machine import ThisMachine

    return ThisMachine.here().host


# -- what may be written


@pytest.mark.parametrize(
    ("content", "line"),
    [('{"question": "GEN_MODEL=old"}\n', 1), ("# a name\n\nmy-host\n", 3), ("A=1\nB\n", 2)],
)
async def test_a_file_that_is_no_env_file_is_refused_without_its_text(
    bench: Bench, tmp_path: Path, content: str, line: int
) -> None:
    odd = tmp_path / "odd"
    odd.write_text(content)
    with pytest.raises(UsageError, match="SOPHIA-P086") as caught:
        await bench.promote(env_file=[str(odd)])
    assert odd.read_text() == content
    assert str(line) in caught.value.why and caught.value.details["lines"] == [line]
    assert "my-host" not in str(caught.value) and "question" not in str(caught.value)


async def test_an_empty_file_and_quoted_values_over_lines_are_env_files(
    bench: Bench, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.env"
    empty.write_text("")
    bench.chosen["OPENAI_BASE_URL"] = "http://models.test/v1"
    view = await bench.promote(env_file=[str(empty)])
    assert "GEN_MODEL=sophia-v1" in empty.read_text() and view.state == "done"
    long = tmp_path / "long.env"
    long.write_text('\ufeffexport A="one\ntwo"\r\n  # note\nGEN_MODEL=old\n')
    view = await bench.promote("sophia-v2", env_file=[str(long)])
    assert view.state == "done"


async def test_over_http_only_managed_files_are_named(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    other.write_text(ENV)
    link = tmp_path / "link.env"
    link.symlink_to(bench.file)
    afar = Context("api:admin", Face.API, Role.ADMIN, confirmed=True)
    named = (({"env_file": [str(other)]}, "P087"), ({"history": str(tmp_path / "h")}, "P088"))
    for more, code in named:
        with pytest.raises(RefusedError, match=f"SOPHIA-{code}"):
            await bench.service().run(afar, PromoteRun(model="sophia-v1", **more))
    assert other.read_text() == ENV and bench.file.read_text() == ENV
    request = PromoteRun(model="sophia-v1", env_file=[str(link)])
    assert (await bench.service().run(afar, request)).state == "done"
    with pytest.raises(RefusedError, match="SOPHIA-P088"):
        await bench.service().rollback(afar, PromoteRollback(history=str(tmp_path / "h.jsonl")))


# -- without the first question


async def test_without_the_first_question_the_golden_prompts_still_decide(bench: Bench) -> None:
    async def unknown(*_asked: Any) -> ChatAnswer:
        raise NotFoundError("M404", "There is no such model.", "HTTP 404")

    dry = bench.context(dry_run=True)
    plan = await bench.service().run(dry, PromoteRun(model="sophia-v1", probe=False))
    assert any("golden prompts are not" in each for each in plan.notes)
    assert any("5 golden prompts" in each for each in plan.checks)
    view = await bench.promote(probe=False)
    assert any("golden prompts were not" in each for each in view.notes)
    bench.world.answers = unknown
    with pytest.raises(PromotionError, match="SOPHIA-P002") as caught:
        await bench.promote("sophia-v2", probe=False)
    assert caught.value.details["cause"] == "SOPHIA-P074"
    assert bench.file.read_text() == NEW


async def test_where_nobody_can_be_asked_the_result_says_so_loudly(bench: Bench) -> None:
    bench.file.write_text("GEN_MODEL=old\n")
    dry = bench.context(dry_run=True)
    plan = await bench.service().run(dry, PromoteRun(model="sophia-v1", probe=False))
    assert any("NOBODY ASKS THE MODEL" in each for each in plan.notes)
    assert not any("golden" in each for each in plan.checks)
    view = await bench.promote(probe=False)
    assert any("NOBODY ASKED THE MODEL" in each for each in view.notes)
    assert view.golden is None


async def test_the_plan_of_a_way_back_says_that_nobody_asks(bench: Bench) -> None:
    await bench.promote()
    dry = bench.context(dry_run=True)
    plan = await bench.service().rollback(dry, PromoteRollback(probe=False))
    assert any("NOBODY ASKS THE MODEL" in each for each in plan.notes)
    assert not any("golden" in each for each in plan.checks)
    asked = await bench.service().rollback(dry, PromoteRollback())
    assert any("golden" in each for each in asked.checks)


async def test_a_rollback_is_taken_back_though_the_gate_would_refuse_today(bench: Bench) -> None:
    await bench.promote()
    bench.gate = Gate(REFUSED)
    view = await bench.service().rollback(bench.context(), PromoteRollback())
    assert bench.file.read_text() == ENV
    way = way_back("promote.rollback", {}, view)
    assert way is not None and way.operation == "promote.rollback"
    await bench.service().rollback(bench.context(), PromoteRollback(**way.request))
    assert bench.file.read_text() == NEW


# -- the way back to where no model was named


async def test_no_model_is_told_in_words(bench: Bench, store: Store) -> None:
    bench.file.write_text("OPENAI_BASE_URL=http://models.test/v1\n")
    await bench.promote()
    await bench.service().rollback(bench.context(), PromoteRollback())
    states = ModelStatesService(store, settings.load(bench.chosen), Clock())
    shown = await states.history(bench.context(), HistoryRequest(model="sophia-v1"))
    told = [each.what for each in shown.items]
    assert "Taken back; no model was named before it." in told
    assert not any(each.endswith("-.") or " - " in each for each in told)


# -- what production names and is about to go


async def test_whoever_takes_out_of_use_what_production_names_is_warned(
    bench: Bench, tmp_path: Path, store_url: str
) -> None:
    house = House(
        {
            **bench.chosen,
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(bench.paths.data),
            "HOME": str(tmp_path),
        }
    )
    now = datetime.now(UTC)
    for name in ("sophia-v1", "free"):
        await bench.store.deployments.add(
            Deployment(
                id=f"deployment-{name}",
                model_id="sophia-v1",
                name=name,
                engine="transformers",
                state=DeploymentState.STARTING,
                created_by="maria",
                created_at=now,
            )
        )
    bench.file.write_text(NEW)
    admin = Context("maria", Face.CLI, Role.ADMIN, confirmed=True)

    async def notes_of(operation: str, **request: Any) -> list[str]:
        shown: Any = await house.dispatcher.call(operation, request, admin)
        return list(shown.items[0].notes if operation == "serve.stop" else shown.notes)

    try:
        [told] = await notes_of("serve.stop", name="sophia-v1")
        assert "PRODUCTION NAMES sophia-v1" in told and str(bench.file) in told
        assert await notes_of("serve.stop", name="free") == []
        retired = {"state": "retired", "reason": "It had its time."}
        [told] = await notes_of("models.state", model="sophia-v1", **retired)
        assert "PRODUCTION NAMES sophia-v1" in told
        assert await notes_of("models.state", model="sophia-v2", **retired) == []
    finally:
        await house.close()
