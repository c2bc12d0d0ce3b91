"""Who may do what: every operation, every role, read-only or not; which acts ask first."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import AuditEntry, Changes
from sophia_tui.domain.operations import Danger, Output
from sophia_tui.errors import RefusedError, SophiaError, UsageError
from sophia_tui.services.catalogue import registry
from sophia_tui.services.operations import Dispatcher
from tests.hostile_texts import poisoned

OPERATIONS = {each.name: each for each in registry()}
NOW = datetime(2026, 11, 21, tzinfo=UTC)

#: What changes production, the set-up, or takes away what can't be made again: an admin's.
ADMINS = {
    "datasets.delete", "demo.run", "env.declare", "env.set", "env.undeclare", "env.unset",
    "models.delete", "models.state", "models.upload", "prepare.forget", "promote.confirm",
    "promote.repair", "promote.rollback", "promote.run", "provider.delete", "provider.remove",
    "settings.set", "settings.unset", "setup.apply", "setup.backup", "setup.begin", "setup.bundle",
    "setup.prune", "setup.restart", "setup.restore", "store.migrate", "store.stop",
}  # fmt: skip
#: What only looks, and yet is not for everybody: it shows env files, tries out what is typed, reads
#: backups, or puts the machine to work for long. What shows no more of a data file than
#: prepare.browse is for everybody who may look.
LOOKING_NEEDS = {
    "env.list": Role.OPERATOR,
    "prepare.advice": Role.OPERATOR,
    "serve.ask": Role.OPERATOR,
    "setup.backups": Role.ADMIN,
    "setup.test": Role.ADMIN,
    "setup.validate": Role.ADMIN,
    "train.plan": Role.OPERATOR,
    "train.preview": Role.OPERATOR,
}
#: Acts that ask first, and why; those that destroy what can't be made again ask for the name.
ASKS = {
    "adaptive.cancel": (Danger.CONFIRM, "hours of training end"),
    "datasets.delete": (Danger.TYPE_NAME, "deletes files"),
    "env.undeclare": (Danger.CONFIRM, "promotion no longer knows the file"),
    "env.unset": (Danger.CONFIRM, "a service may not start without the key"),
    "files.delete": (Danger.CONFIRM, "deletes a file; it can be sent again"),
    "jobs.cancel": (Danger.CONFIRM, "hours of training end"),
    "models.delete": (Danger.TYPE_NAME, "deletes files"),
    "prepare.forget": (Danger.CONFIRM, "takes a person out; who it is, is typed already"),
    "promote.rollback": (Danger.CONFIRM, "changes production, by the way back"),
    "promote.run": (Danger.TYPE_NAME, "changes production"),
    "provider.delete": (Danger.TYPE_NAME, "deletes at the provider"),
    "provider.remove": (Danger.TYPE_NAME, "deletes at the provider"),
    "schedules.remove": (Danger.CONFIRM, "what it made stays, and it can be added again"),
    "serve.stop": (Danger.CONFIRM, "who asks the model gets no answer"),
    "setup.apply": (Danger.CONFIRM, "changes the machine; the firewall asks for its name"),
    "setup.begin": (Danger.CONFIRM, "writes Sophia's env file"),
    "setup.prune": (Danger.CONFIRM, "deletes what is old; a dry run lists it"),
    "setup.restart": (Danger.CONFIRM, "a service is away for a moment"),
    "setup.restore": (Danger.TYPE_NAME, "puts another state in place of this one"),
    "store.stop": (Danger.CONFIRM, "everybody loses the store for a while"),
}
#: Operations that take something away or stop it by their name, and yet ask nothing.
HARMLESS = {
    "datasets.untag": "a name is taken off; the version stays",
    "prepare.undo": "the redo takes it back",
    "settings.unset": "the value can be set again; the audit has it",
    "jobs.pause": "resume goes on from the checkpoint",
}
_TAKES_AWAY = ("cancel", "delete", "drop", "forget", "pause", "prune", "purge", "remove", "reset")
_TAKES_AWAY += ("restore", "rollback", "stop", "undeclare", "undo", "unset", "untag", "clear")


class House:
    """Lets everything through that is permitted, and keeps what the dispatcher tells."""

    clock = SimpleNamespace(now=lambda: NOW)

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.entries: list[AuditEntry] = []

    async def service(self, kind: type) -> Any:
        self.reached.append(kind.__name__)
        raise UsageError("U999", "reached")

    async def audit(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    async def changes(self, operations: Any, target: Any, after: Any) -> Changes:
        return Changes(0)

    async def detach(self, name: str, request: Any, context: Context) -> Any:
        self.reached.append(name)
        return Output()

    def training_allowed(self) -> bool:
        return True


async def outcome(name: str, **given: Any) -> str:
    """`reached`, or the code of the refusal."""
    house = House()
    chosen = OPERATIONS[name]
    request = poisoned(chosen.input, "x")
    context = Context("ana", given.pop("face", Face.CONSOLE), **{"confirmed": True, **given})
    try:
        await Dispatcher(registry(), house).call(name, request, context)
    except RefusedError as problem:
        assert not house.reached
        return problem.code.removeprefix("SOPHIA-")
    except SophiaError as problem:
        assert problem.code == "SOPHIA-U999"
    assert house.reached
    return "reached"


def test_each_operation_has_the_role_that_it_should() -> None:
    for name, chosen in OPERATIONS.items():
        if not chosen.writes:
            assert chosen.role is LOOKING_NEEDS.get(name, Role.VIEWER), name
        else:
            assert chosen.role is (Role.ADMIN if name in ADMINS else Role.OPERATOR), name


@pytest.mark.parametrize("role", Role)
async def test_every_operation_for_every_role(role: Role) -> None:
    for name, chosen in OPERATIONS.items():
        told = await outcome(name, role=role)
        assert told == ("reached" if role.allows(chosen.role) else "R403"), name


@pytest.mark.parametrize("face", Face)
async def test_nothing_that_writes_passes_in_read_only_mode(face: Face) -> None:
    for name, chosen in OPERATIONS.items():
        told = await outcome(name, role=Role.ADMIN, readonly=True, face=face)
        assert told == ("R405" if chosen.writes else "reached"), name
        if chosen.writes and chosen.dry_run:
            dry = await outcome(name, role=Role.ADMIN, readonly=True, dry_run=True, face=face)
            assert dry == "reached", name
        if chosen.detaches:
            background = await outcome(name, role=Role.ADMIN, readonly=True, detach=True, face=face)
            assert background == "R405", name


async def test_a_viewer_puts_nothing_into_the_background() -> None:
    for name, chosen in OPERATIONS.items():
        if chosen.detaches:
            assert await outcome(name, role=Role.VIEWER, detach=True) == "R403", name


async def test_what_is_hard_to_change_back_asks_and_says_why() -> None:
    found = {name: each.danger for name, each in OPERATIONS.items() if each.danger != "none"}
    assert found == {name: danger for name, (danger, _why) in ASKS.items()}
    for name in OPERATIONS:
        told = await outcome(name, role=Role.ADMIN, confirmed=False)
        assert told == ("R428" if name in ASKS else "reached"), name


def test_what_takes_something_away_asks_or_is_taken_back_easily() -> None:
    taking = {
        name
        for name, chosen in OPERATIONS.items()
        if chosen.writes and chosen.verb.split("-")[0] in _TAKES_AWAY
    }
    assert taking <= set(ASKS) | set(HARMLESS)
    assert not set(ASKS) & set(HARMLESS)


def test_who_only_looks_is_offered_no_key_that_changes() -> None:
    from sophia_tui.tui import keys

    dispatcher = Dispatcher(registry(), House())
    for context in (
        Context("ana", Face.CONSOLE, Role.VIEWER),
        Context("ana", Face.CONSOLE, Role.ADMIN, readonly=True),
    ):
        for key in keys.KEYS:
            chosen = OPERATIONS.get(key.target)
            if chosen is not None and chosen.writes:
                assert not dispatcher.permitted(chosen, context), key.target
