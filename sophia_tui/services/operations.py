"""Operations: declared on a service's method, collected in a registry, run by one dispatcher.

The dispatcher alone enforces roles, --readonly and confirmation, writes the audit and maps errors,
for all faces. Adding an operation is one decorated method on a service class.
"""

import inspect
import logging
import time
import traceback
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, SecretStr, ValidationError

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import AuditEntry, Changes
from sophia_tui.domain.operations import Danger, Handler, Operation, Output
from sophia_tui.domain.protocols import Clock
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    InternalError,
    NotFoundError,
    RefusedError,
    SophiaError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.i18n import _, set_language
from sophia_tui.services import changes
from sophia_tui.validation import where_and_what

_log = logging.getLogger("sophia")
_DECLARED = "__sophia_operation__"


def operation(name: str, help: str, **options: Any) -> Callable[[Handler], Handler]:
    """Declare a method `async def …(self, context, request) -> output` as an operation.

    Input and output are read from the annotations; `options` are Operation's other fields.
    """

    def mark(method: Handler) -> Handler:
        setattr(method, _DECLARED, {"name": name, "help": help, **options})
        return method

    return mark


def _declarations(service: type) -> Iterator[Operation]:
    for attribute, method in vars(service).items():
        declared = getattr(method, _DECLARED, None)
        if declared is None:
            continue
        hints = typing.get_type_hints(method)
        parameters = list(inspect.signature(method).parameters)
        yield Operation(
            service=service,
            method=attribute,
            input=hints[parameters[2]],
            output=hints["return"],
            **declared,
        )


class Registry:
    """All operations of the given services, by name, in the order of their declaration."""

    def __init__(self, services: Iterable[type]) -> None:
        self._operations: dict[str, Operation] = {}
        for service in services:
            for found in _declarations(service):
                if found.name in self._operations:
                    raise InternalError("X001", f"Operation {found.name} is declared twice.")
                self._operations[found.name] = found

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())

    def __contains__(self, name: object) -> bool:
        return name in self._operations

    def get(self, name: str) -> Operation:
        """Raises NotFoundError U404."""
        try:
            return self._operations[name]
        except KeyError:
            raise NotFoundError(
                "U404",
                _("There is no operation {name}.").format(name=name),
                remedy=_("`sophia --help` lists them."),
            ) from None


class Wiring(Protocol):
    """What the dispatcher needs of the house: services, the audit, and two settings."""

    async def service(self, kind: type) -> Any: ...

    async def audit(self, entry: AuditEntry) -> None: ...

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes: ...

    async def detach(self, name: str, request: BaseModel, context: Context) -> Output: ...

    def training_allowed(self) -> bool: ...

    @property
    def clock(self) -> Clock: ...


class Dispatcher:
    """Runs operations; see the module's docstring."""

    def __init__(self, registry: Registry, wiring: Wiring) -> None:
        self.registry = registry
        self._wiring = wiring

    async def call(
        self, name: str, request: Mapping[str, Any] | BaseModel, context: Context
    ) -> BaseModel:
        """Run one operation.

        Raises a SophiaError and nothing else: UsageError U422 for a wrong request, RefusedError
        R403/R405/R428/R451 for role, read-only, confirmation, ALLOW_FINETUNE, ConflictError R411
        where another person changed since `context.seen` what it would change.
        """
        set_language(context.language)
        chosen = self.registry.get(name)
        started = time.monotonic()
        checked: BaseModel | None = None
        try:
            checked, wrong = _checked(chosen, request, context.face)
            self._permit(chosen, context)  # who may not ask is told so, whatever the request
            if wrong:
                raise wrong
            assert checked is not None  # else `wrong` says why not
            await self._require_unchanged(chosen, checked, context)
            if context.detach:
                result: BaseModel = await self._wiring.detach(chosen.name, checked, context)
            else:
                service = await self._wiring.service(chosen.service)
                method: Callable[..., Awaitable[BaseModel]] = getattr(service, chosen.method)
                result = await method(context, checked)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as problem:
            error = logged_error(problem, name)
            await self._say_who_was_faster(chosen, checked, context, error)
            refused = isinstance(error, RefusedError)
            # a question to the person: what comes of the answer is audited
            asked = isinstance(error, UnconfirmedError)
            if (_changes(chosen, context) or refused) and not asked:
                outcome = "refused" if refused else "failed"
                await self._audit(chosen, checked, context, outcome, started, error)
            if error is problem or not isinstance(problem, Exception):
                raise
            raise error from problem
        if _changes(chosen, context):
            outcome = "dry_run" if context.dry_run else "done"
            if isinstance(result, Output) and result.exit_code():  # it says so itself
                outcome = "failed"
            if context.detach:
                outcome = "queued"
            foretold = result.foretold_refusal() if isinstance(result, Output) else None
            if outcome == "dry_run" and foretold:  # as one that is refused at once
                outcome = "refused"
            made = getattr(result, chosen.makes) if chosen.makes and outcome == "done" else None
            code = foretold if outcome == "refused" else None
            await self._audit(chosen, checked, context, outcome, started, None, made, code)
        return result

    def permitted(self, chosen: Operation, context: Context) -> bool:
        """Whether a face should offer it at all (confirmation is asked later)."""
        return context.role.allows(chosen.role) and not (chosen.writes and context.readonly)

    def require(self, name: str, context: Context) -> None:
        """What `call` would say to who may not ask, before there is anything to ask with.

        Raises RefusedError R403, R405, R451.
        """
        set_language(context.language)
        self._permit(self.registry.get(name), context)

    def _permit(self, chosen: Operation, context: Context) -> None:
        name = _spoken(chosen, context.face)
        needed = chosen.role
        if context.detach and Role.OPERATOR.allows(needed):
            needed = Role.OPERATOR  # who may not cancel a job queues none
        if not context.role.allows(needed):
            raise RefusedError(
                "R403",
                _("{name} is not allowed for you.").format(name=name),
                _("It needs the role {needed}; yours is {role}.").format(
                    needed=needed.value, role=context.role.value
                ),
                _role_remedy(context.face),
            )
        if (
            _changes(chosen, context)
            and context.readonly
            and not (chosen.dry_run and context.dry_run)
        ):
            raise RefusedError(
                "R405",
                _("{name} is not allowed in read-only mode.").format(name=name),
                remedy=_("Start again without --readonly."),
            )
        if context.dry_run and chosen.writes and not chosen.dry_run:
            raise UsageError(
                "U405",
                _("{name} can't run dry.").format(name=name),
                remedy=_("Leave --dry-run out."),
            )
        if context.detach and (context.dry_run or not chosen.detaches):
            raise UsageError(
                "U406",
                _("{name} can't run in the background.").format(name=name),
                _("It is short, asks something, or was asked for as a dry run."),
                _("Leave --detach out."),
            )
        if chosen.danger is not Danger.NONE and not (context.confirmed or context.dry_run):
            raise RefusedError(
                "R428",
                _("{name} needs to be confirmed.").format(name=name),
                _("It changes what is hard to change back."),
                _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            )
        if chosen.trains and context.face is Face.API and not self._wiring.training_allowed():
            raise RefusedError(
                "R451",
                _("Training over HTTP is switched off."),
                _("ALLOW_FINETUNE is not true."),
                _("Set ALLOW_FINETUNE=true in Sophia's .env and restart the API."),
            )

    async def _require_unchanged(
        self, chosen: Operation, request: BaseModel, context: Context
    ) -> None:
        """Raises ConflictError R411."""
        asked = dict(iter(request))  # one has a field named keys
        if context.seen is None or context.dry_run or not changes.watched(chosen, asked):
            return
        if changes.conditional(asked):
            return
        record = changes.record_of(chosen, asked)
        found = await self._wiring.changes(changes.WITH[chosen.name], record, context.seen)
        if found.entries:
            now = self._wiring.clock.now()
            raise changes.changed_meanwhile(chosen, asked, found, context.actor, now)

    async def _say_who_was_faster(
        self, chosen: Operation, request: BaseModel | None, context: Context, error: SophiaError
    ) -> None:
        """What a service finds gone, ended or otherwise may be another person's doing."""
        asked = {} if request is None else dict(iter(request))
        if not isinstance(error, ConflictError | NotFoundError) or not changes.watched(
            chosen, asked
        ):
            return
        try:
            record = changes.record_of(chosen, asked)
            found = await self._wiring.changes(changes.WITH[chosen.name], record, changes.REACH)
        except SophiaError as problem:
            _log.info("who was faster is not known: %s", problem.code)
            return
        changes.say_who(error, found, context.actor, self._wiring.clock.now())

    async def _audit(
        self,
        chosen: Operation,
        request: BaseModel | None,
        context: Context,
        outcome: str,
        started: float,
        error: SophiaError | None,
        made: str | None = None,
        code: str | None = None,
    ) -> None:
        asked = masked(request)
        entry = AuditEntry(
            at=self._wiring.clock.now(),
            actor=context.actor,
            face=context.face.value,
            role=context.role.value,
            operation=chosen.name,
            target=made or _target(chosen, asked),
            request=asked,
            outcome=outcome,
            code=error.code if error else code,
            seconds=round(time.monotonic() - started, 3),
        )
        try:
            await self._wiring.audit(entry)
        except Exception as problem:
            # what was done is done and what failed has its own error: neither is hidden behind this
            if error is not None and getattr(problem, "code", None) == error.code:
                return  # what keeps the audit from being written is what the person is told
            logged_error(problem, "audit")
            _log.error("not audited: %s by %s: %s", entry.operation, entry.actor, entry.outcome)


def _changes(chosen: Operation, context: Context) -> bool:
    """In the background it does: the job is a change, whatever it does."""
    return chosen.writes or context.detach


def _role_remedy(face: Face) -> str:
    """Over HTTP the token carries the role, everywhere else the person does."""
    if face is Face.API:
        return _(
            "Send a token with more rights: SOPHIA_OPERATOR_TOKEN stands for an operator, "
            "FINETUNE_TOKEN for the role in SOPHIA_API_ROLE."
        )
    return _("Ask an administrator to change SOPHIA_ROLES.")


def _target(chosen: Operation, asked: Mapping[str, Any]) -> str | None:
    value = asked.get(chosen.target) if chosen.target else None
    return None if value is None else str(value)


def masked(request: BaseModel | None) -> dict[str, Any]:
    """A request as plain data for the audit; SecretStr and private fields become stars."""
    if request is None:
        return {}
    plain = request.model_dump(mode="json", exclude_none=True)
    for key in type(request).model_fields:
        if isinstance(getattr(request, key), SecretStr) or key in getattr(request, "private", ()):
            plain[key] = "***"
    return plain


def _spoken(chosen: Operation, face: Face) -> str:
    """How who asks calls the operation: a client over HTTP as the API's description does, who
    sits before the console by what it does."""
    if face is Face.CONSOLE:
        return "“{}”".format(_(chosen.help).rstrip("."))
    return chosen.name if face is Face.API else f"`{chosen.command}`"


def _field(chosen: Operation, face: Face, where: tuple[str | int, ...]) -> str:
    """A place in the request: its own name over HTTP, else the command line's word or option."""
    if face is not Face.CLI or not where:
        return ".".join(map(str, where))
    name = str(where[0])
    return name.upper() if name in chosen.positional else f"--{name.replace('_', '-')}"


def _checked(
    chosen: Operation, request: Mapping[str, Any] | BaseModel, face: Face
) -> tuple[BaseModel | None, UsageError | None]:
    """The request as the operation's input, or what is wrong with it (U422)."""
    if isinstance(request, chosen.input):
        return request, None
    plain = request.model_dump() if isinstance(request, BaseModel) else dict(request)
    try:
        return chosen.input.model_validate(plain), None
    except ValidationError as problem:
        # the input itself is left out: it may hold a secret or personal data
        found = problem.errors(include_input=False, include_url=False)
        where = where_and_what(found, lambda place: _field(chosen, face, place))
    remedy = _("See `{command} --help`.").format(command=chosen.command)
    if face is Face.API:
        remedy = _("See {name} in /docs or /openapi.json.").format(name=chosen.name)
    return None, UsageError(
        "U422",
        _("The request for {name} is not valid.").format(name=_spoken(chosen, face)),
        where,
        remedy,
    )


def logged_error(problem: BaseException, name: str) -> SophiaError:
    """The error to answer with; a defect leaves its frames in the log.

    Frames only: the message of a foreign exception may hold data or a secret.
    """
    if not isinstance(problem, Exception):  # cancelled from outside: ^C twice, a server that stops
        return CancelledError("U498", _("Cut off while it ran."), type(problem).__name__)
    error = as_sophia_error(problem)
    if error is not problem:
        frames = "".join(traceback.format_tb(problem.__traceback__))
        _log.error("%s in %s\n%s", type(problem).__name__, name, frames)
    return error


def as_sophia_error(problem: Exception) -> SophiaError:
    """Every other exception is a defect of ours: its type is told, its text may hold data."""
    if isinstance(problem, SophiaError):
        return problem
    return InternalError(
        "X500",
        _("Sophia ran into a defect of its own."),
        type(problem).__name__,
        _("The log has the details; please report it with the log."),
    )
