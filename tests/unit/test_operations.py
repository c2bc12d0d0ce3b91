"""The dispatcher: who may do what, what is audited, what is told of errors."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.models import AuditEntry, Changes
from sophia_tui.domain.operations import Output
from sophia_tui.errors import (
    CancelledError,
    InternalError,
    NotFoundError,
    RefusedError,
    SetupError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.services.catalogue import registry
from sophia_tui.services.operations import Dispatcher, Registry, masked, operation
from tests.api.throwaway import ActsService, GreetingService, Name, Password

NAME = {"name": "x"}


class Wiring:
    """What the dispatcher asks of a house, kept in lists."""

    def __init__(self, training: bool = False, audit_fails: bool = False) -> None:
        self.acts = ActsService()
        self.entries: list[AuditEntry] = []
        self.others: list[AuditEntry] = []
        self.asked: list[tuple[tuple[str, ...], str | None, int | None]] = []
        self.training = training
        self.audit_fails = audit_fails

    async def service(self, kind: type) -> Any:
        return self.acts if kind is ActsService else kind()

    async def audit(self, entry: AuditEntry) -> None:
        if self.audit_fails:
            raise SetupError("S101", "disk full")
        self.entries.append(entry)

    async def detach(self, name: str, request: Any, context: Context) -> Any:
        return Output()

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes:
        self.asked.append((tuple(operations), target, after))
        return Changes(7, tuple(self.others))

    def training_allowed(self) -> bool:
        return self.training

    @property
    def clock(self) -> "Wiring":
        return self

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def wiring() -> Wiring:
    return Wiring()


def dispatcher(wiring: Wiring) -> Dispatcher:
    return Dispatcher(Registry([GreetingService, ActsService]), wiring)


def context(**changes: Any) -> Context:
    return Context(**{"actor": "ana", "face": Face.CLI, "role": Role.ADMIN, **changes})


@pytest.mark.parametrize(
    ("face", "named"), [(Face.API, "SOPHIA_API_ROLE"), (Face.CLI, "SOPHIA_ROLES")]
)
async def test_who_is_refused_learns_what_gives_the_right(
    wiring: Wiring, face: Face, named: str
) -> None:
    with pytest.raises(RefusedError, match="SOPHIA-R403") as refused:
        await dispatcher(wiring).call("acts.write", NAME, context(face=face, role=Role.VIEWER))
    assert named in refused.value.remedy


@pytest.mark.parametrize(
    ("role", "name", "allowed"),
    [
        (Role.VIEWER, "greeting.say", True),
        (Role.VIEWER, "acts.write", False),
        (Role.VIEWER, "acts.erase", False),
        (Role.OPERATOR, "acts.write", True),
        (Role.OPERATOR, "acts.erase", False),
        (Role.ADMIN, "acts.write", True),
        (Role.ADMIN, "acts.erase", True),
    ],
)
async def test_roles_rise(wiring: Wiring, role: Role, name: str, allowed: bool) -> None:
    asked = dispatcher(wiring).call(name, NAME, context(role=role, confirmed=True))
    if allowed:
        await asked
        return
    with pytest.raises(RefusedError, match="SOPHIA-R403"):
        await asked
    assert wiring.acts.done == []


async def test_readonly_refuses_what_writes_and_lets_look(wiring: Wiring) -> None:
    with pytest.raises(RefusedError, match="SOPHIA-R405"):
        await dispatcher(wiring).call("acts.write", NAME, context(readonly=True))
    assert wiring.acts.done == []
    await dispatcher(wiring).call("greeting.say", NAME, context(readonly=True))


async def test_readonly_lets_a_dry_run_through(wiring: Wiring) -> None:
    result = await dispatcher(wiring).call("acts.write", NAME, context(readonly=True, dry_run=True))
    assert result.model_dump()["text"] == "dry"


async def test_what_can_not_run_dry_refuses_to(wiring: Wiring) -> None:
    with pytest.raises(UsageError, match="SOPHIA-U405"):
        await dispatcher(wiring).call("acts.erase", NAME, context(dry_run=True))
    assert wiring.acts.done == []


async def test_a_dangerous_act_needs_confirmation(wiring: Wiring) -> None:
    with pytest.raises(RefusedError, match="SOPHIA-R428"):
        await dispatcher(wiring).call("acts.erase", NAME, context())
    assert wiring.acts.done == []
    await dispatcher(wiring).call("acts.erase", NAME, context(confirmed=True))


@pytest.mark.parametrize("face", [Face.CLI, Face.CONSOLE, Face.WORKER])
async def test_training_needs_the_permission_over_http_alone(wiring: Wiring, face: Face) -> None:
    await dispatcher(wiring).call("acts.train", {}, context(face=face))
    with pytest.raises(RefusedError, match="SOPHIA-R451"):
        await dispatcher(wiring).call("acts.train", {}, context(face=Face.API))


async def test_training_over_http_with_the_permission(wiring: Wiring) -> None:
    wiring.training = True
    await dispatcher(wiring).call("acts.train", {}, context(face=Face.API))


async def test_an_unknown_operation_is_not_found(wiring: Wiring) -> None:
    with pytest.raises(NotFoundError, match="SOPHIA-U404"):
        await dispatcher(wiring).call("no.such", {}, context())


async def test_reading_is_not_audited(wiring: Wiring) -> None:
    await dispatcher(wiring).call("greeting.say", NAME, context())
    assert wiring.entries == []


@pytest.mark.parametrize(
    ("name", "changes", "outcome", "code"),
    [
        ("acts.write", {}, "done", None),
        ("acts.write", {"dry_run": True}, "dry_run", None),
        ("acts.write", {"role": Role.VIEWER}, "refused", "SOPHIA-R403"),
        ("acts.write", {"readonly": True}, "refused", "SOPHIA-R405"),
        ("acts.erase", {}, "refused", "SOPHIA-R428"),
        ("acts.lose", {}, "failed", "SOPHIA-M998"),
    ],
)
async def test_every_outcome_of_a_change_is_audited(
    wiring: Wiring, name: str, changes: dict[str, Any], outcome: str, code: str | None
) -> None:
    try:
        await dispatcher(wiring).call(name, NAME, context(**changes))
    except (RefusedError, NotFoundError) as problem:
        assert problem.code == code
    entry = wiring.entries[0]
    assert len(wiring.entries) == 1
    assert (entry.outcome, entry.code, entry.operation) == (outcome, code, name)
    assert (entry.actor, entry.face, entry.target) == ("ana", "cli", "x")


class MakingService:
    """What the audit says of an answer: what was made, or that nothing came of it."""

    class Made(Output):
        id: str
        well: bool = True

        def exit_code(self) -> int:
            return 0 if self.well else 1

    @operation("makings.make", "Make it.", writes=True, target="name", makes="id")
    async def make(self, context: Context, request: Name) -> Made:
        if not context.confirmed:
            raise UnconfirmedError("J562", "It costs.")
        return self.Made(id="made-1", well=request.name != "badly")


@pytest.mark.parametrize(
    ("name", "outcome", "target"), [("x", "done", "made-1"), ("badly", "failed", "badly")]
)
async def test_the_audit_names_what_was_made_and_asks_no_question(
    wiring: Wiring, name: str, outcome: str, target: str
) -> None:
    asked = Dispatcher(Registry([MakingService]), wiring)
    with pytest.raises(UnconfirmedError):
        await asked.call("makings.make", {"name": name}, context())
    assert wiring.entries == []
    await asked.call("makings.make", {"name": name}, context(confirmed=True))
    assert [(each.outcome, each.target) for each in wiring.entries] == [(outcome, target)]


async def test_a_defect_is_audited_as_failed(wiring: Wiring) -> None:
    with pytest.raises(InternalError):
        await dispatcher(wiring).call("acts.crash", {}, context())
    assert [(each.outcome, each.code) for each in wiring.entries] == [("failed", "SOPHIA-X500")]


async def test_a_wrong_request_to_change_something_is_audited(wiring: Wiring) -> None:
    with pytest.raises(UsageError):
        await dispatcher(wiring).call("acts.write", {"name": "PRIVATE", "times": 99}, context())
    assert [(each.outcome, each.code) for each in wiring.entries] == [("failed", "SOPHIA-U422")]
    assert "PRIVATE" not in str(wiring.entries)


async def test_a_change_that_is_cut_off_is_audited(wiring: Wiring) -> None:
    started = asyncio.Event()

    class Slow(ActsService):
        async def write(self, context: Context, request: Name) -> Any:
            started.set()
            await asyncio.sleep(60)

    wiring.acts = Slow()
    task = asyncio.create_task(dispatcher(wiring).call("acts.write", NAME, context()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(each.outcome, each.code) for each in wiring.entries] == [("failed", "SOPHIA-U498")]


async def test_who_asks_to_stop_gets_a_clear_answer(wiring: Wiring) -> None:
    cancel = CancelSignal()
    cancel.request()
    with pytest.raises(CancelledError, match="SOPHIA-U499"):
        await dispatcher(wiring).call("acts.wait", {}, context(cancel=cancel))


async def test_secrets_are_masked_in_the_audit(wiring: Wiring) -> None:
    request = {"account": "root", "password": "hunter2"}
    result = await dispatcher(wiring).call("acts.enter", request, context())
    assert result.model_dump()["text"] == "7"
    assert wiring.entries[0].request == {"account": "root", "password": "***"}
    assert "hunter2" not in repr(wiring.entries)


def test_a_masked_request_keeps_what_is_no_secret() -> None:
    asked = Password(account="root", password=SecretStr("hunter2"))
    assert masked(asked) == {"account": "root", "password": "***"}
    assert masked(None) == {}


async def test_a_defect_keeps_its_text_to_itself(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InternalError) as told:
        await dispatcher(wiring).call("acts.crash", {}, context())
    assert told.value.code == "SOPHIA-X500" and told.value.why == "RuntimeError"
    assert "SECRET text" not in str(told.value.as_dict())
    logged = "\n".join(
        logging.Formatter().format(each) for each in caplog.records if each.name == "sophia"
    )
    assert "in crash" in logged
    assert "acts.crash" in logged


@pytest.mark.parametrize(
    "request_",
    [{"name": "PRIVATE", "times": 10}, {"name": "PRIVATE" * 9}, {"name": "x", "tone": "PRIVATE"}],
)
async def test_a_wrong_request_is_told_without_its_values(
    wiring: Wiring, request_: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="SOPHIA-U422") as told:
        await dispatcher(wiring).call("greeting.say", request_, context())
    assert "PRIVATE" not in str(told.value.as_dict())
    assert told.value.__cause__ is None


async def test_an_audit_that_can_not_be_written_hides_neither_result_nor_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wiring = Wiring(audit_fails=True)
    result = await dispatcher(wiring).call("acts.write", NAME, context())
    assert result.model_dump()["text"] == "wet"
    with pytest.raises(NotFoundError, match="SOPHIA-M998"):
        await dispatcher(wiring).call("acts.lose", NAME, context())
    assert "not audited: acts.write by ana: done" in caplog.text


def test_two_operations_of_one_name_are_refused() -> None:
    with pytest.raises(InternalError, match="SOPHIA-X001"):
        Registry([GreetingService, GreetingService])


def test_faces_offer_what_is_permitted_only() -> None:
    chosen = Registry([ActsService]).get("acts.write")
    one = dispatcher(Wiring())
    assert one.permitted(chosen, context())
    assert not one.permitted(chosen, context(readonly=True))
    assert not one.permitted(chosen, context(role=Role.VIEWER))


def test_what_goes_into_the_background_holds_no_secret() -> None:
    """Its input is stored with its job."""
    able = [each for each in registry() if each.detaches]
    assert len(able) > 5
    for each in able:
        kinds = [str(info.annotation) for info in each.input.model_fields.values()]
        assert not any("SecretStr" in kind for kind in kinds), each.name
        assert not getattr(each.input, "private", ()), each.name


def test_every_number_that_an_operation_takes_has_a_highest_value() -> None:
    # what is larger than its column or an integer of C would be an internal error otherwise
    unbounded = [
        f"{chosen.name} {field}"
        for chosen in registry()
        for field, schema in chosen.input.model_json_schema().get("properties", {}).items()
        for kind in (schema, *schema.get("anyOf", ()))
        if kind.get("type") in ("integer", "number")
        and not {"maximum", "exclusiveMaximum"} & kind.keys()
    ]
    assert unbounded == []


async def test_a_job_in_the_background_is_a_change(wiring: Wiring) -> None:
    desk = Dispatcher(registry(), wiring)
    with pytest.raises(RefusedError, match="SOPHIA-R403"):
        await desk.call("prepare.gate", {}, context(role=Role.VIEWER, detach=True))
    await desk.call("prepare.gate", {}, context(role=Role.OPERATOR, detach=True))
    assert [each.outcome for each in wiring.entries] == ["refused", "queued"]


def test_what_is_stored_with_a_job_of_the_background_is_no_secret() -> None:
    told = [
        f"{chosen.name} {field}"
        for chosen in registry()
        if chosen.detaches
        for field, about in chosen.input.model_fields.items()
        if field in chosen.input.private or "SecretStr" in str(about.annotation)
    ]
    assert told == []


async def test_an_offset_beyond_all_lists_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="SOPHIA-U422"):
        await Dispatcher(registry(), Wiring()).call("jobs.list", {"offset": 10**20}, context())


async def test_a_dry_run_that_foretells_a_refusal_is_in_the_log_as_refused(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Output, "foretold_refusal", lambda _self: "SOPHIA-P070")
    await dispatcher(wiring).call("acts.write", NAME, context(dry_run=True))
    assert [(each.outcome, each.code) for each in wiring.entries] == [("refused", "SOPHIA-P070")]
