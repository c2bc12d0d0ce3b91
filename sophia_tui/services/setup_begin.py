"""The first set-up: answers are tried out as they are given, and written together at the end by the
operations for settings and for Sophia's env file."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.managed import MODEL_KEYS
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.protocols import Source
from sophia_tui.domain.setup import KeyProber, Machine
from sophia_tui.errors import SetupError, SophiaError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.checks.environment import said, unknown_keys
from sophia_tui.services.checks.running import Check, Found, aside, run_checks, trouble
from sophia_tui.services.checks.views import CheckView
from sophia_tui.services.env_guard import require_near, require_usable
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_SECONDS = 20.0
_ASKING_SECONDS = 10.0
#: The setting that says in which language people are written to; Sophia keeps it in its table.
_LANGUAGE = "SOPHIA_NOTIFICATION_LANGUAGE"
_HIDDEN = "***"


class SetupAnswers(Input):
    """What the first set-up asks; what is left out stays as it is."""

    language: Literal["en", "pt_BR"] | None = Field(
        default=None, description=N_("The language in which people are written to.")
    )
    database_url: SecretStr | None = Field(
        default=None, description=N_("The address of your production database; it is only read.")
    )
    db_pass: SecretStr | None = Field(
        default=None, description=N_("Its password, where the address holds none.")
    )
    finetune_dir: str | None = Field(
        default=None, description=N_("The folder of the training data.")
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description=N_("The key for an OpenAI-compatible service.")
    )
    openai_base_url: str | None = Field(
        default=None, description=N_("The address of that service, where it is not OpenAI's.")
    )
    finetune_base: str | None = Field(
        default=None, description=N_("The base model: a path, a hub id, a GGUF file or a name.")
    )
    backup_dir: str | None = Field(default=None, description=N_("The folder of backups."))

    @field_validator("database_url", "db_pass", "openai_api_key")
    @classmethod
    def _blank_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        """Enter alone at a prompt for a secret is no answer."""
        return value if value is not None and value.get_secret_value().strip() else None


class AnswersReport(Output):
    """One check for each answer that was given."""

    good: bool = Field(title=N_("Can be used"))
    items: list[CheckView] = Field(title=N_("Checks"))

    def exit_code(self) -> int:
        return 0 if self.good else 1


class ChangeView(Output):
    """One value that is written; a secret one is told by stars."""

    table_columns: ClassVar[tuple[str, ...]] = ("key", "place", "value")

    key: str = Field(title=N_("Setting"))
    place: str = Field(title=N_("Written to"))
    value: str = Field(title=N_("Value"))


class BegunView(Output):
    """`written` is no where it was only planned; `restart` are units that read what changed."""

    written: bool = Field(title=N_("Written"))
    items: list[ChangeView] = Field(title=N_("Changes"))
    restart: list[str] = Field(default_factory=list, title=N_("To restart"))


class ValueRequest(Input):
    key: str = Field(description=N_("The key of Sophia's env file."))
    value: SecretStr = Field(description=N_("The value to look at; it is not written."))


@dataclass(frozen=True)
class _Change:
    """`value` None takes the key away; `operation` is what writes it."""

    key: str
    value: str | None
    secret: bool = False
    operation: str = "env"


class SetupBeginService:
    """Writes nothing itself; `call` is the dispatcher's, `try_source` opens a source that is not
    in the settings yet (address, password)."""

    def __init__(
        self,
        call: Callable[[str, Mapping[str, Any], Context], Awaitable[BaseModel]],
        settings: "Settings",
        environment: Mapping[str, str],
        machine: Machine,
        probe: KeyProber,
        try_source: Callable[[str, str | None], Awaitable[Source]],
    ) -> None:
        self._call = call
        self._settings = settings
        self._environment = environment
        self._machine = machine
        self._probe = probe
        self._try_source = try_source

    @operation(
        "setup.test",
        N_("Try out answers of the first set-up before they are written."),
        role=Role.ADMIN,
    )
    async def test(self, context: Context, request: SetupAnswers) -> AnswersReport:
        items = await run_checks(self._checks(request))
        return AnswersReport(good=all(each.state != "problem" for each in items), items=items)

    @operation(
        "setup.begin",
        N_("Write the answers of the first set-up."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        dry_run=True,
    )
    async def begin(self, context: Context, request: SetupAnswers) -> BegunView:
        changes = self._changes(request)
        if not changes:
            raise UsageError(
                "S422",
                _("There is nothing to write."),
                _("No answer was given."),
                _("Give at least one; `sophia setup begin --help` names them."),
            )
        for each in changes:
            if each.operation == "env" and each.value is not None:
                envfile.quote(each.value)  # refuses what no env file can hold, before anything
            if each.operation == "env":
                require_near(context, each.key)
        items = [_shown(each, self._env_file) for each in changes]
        if context.dry_run:
            return BegunView(written=False, items=items)
        restart: list[str] = []
        for done, change in enumerate(changes):
            try:
                answer = await self._write(context, change)
            except SophiaError as problem:
                raise _half_written(changes[:done], change, problem) from problem
            restart += [each for each in _units(answer) if each not in restart]
        return BegunView(written=True, items=items, restart=restart)

    @operation(
        "setup.validate",
        N_("Say whether a value of Sophia's env file can be used; nothing is written."),
        role=Role.ADMIN,
        positional=("key",),
        target="key",
    )
    async def validate(self, context: Context, request: ValueRequest) -> CheckView:
        from sophia_tui import settings

        key, value = request.key, request.value.get_secret_value()
        found = Found("ok", _("can be used"))
        known = settings.keys()
        try:
            require_usable(key, value)
            if key in known:
                settings.load(self._environment, flags={key: value})
            elif key not in MODEL_KEYS and (meant := unknown_keys([key])):
                near = meant[key]
                hint = _("Is {key} meant?").format(key=near) if near else ""
                found = Found("attention", _("not known to Sophia"), remedy=hint)
        except UsageError as problem:
            found = trouble(problem)
            found = replace(found, told=problem.why or problem.what)
        return CheckView(
            id="value", name=key, state=found.state, found=found.told, remedy=found.remedy
        )

    def _checks(self, request: SetupAnswers) -> list[Check]:
        found = []
        if url := _given(request.database_url):
            password = _given(request.db_pass)
            found.append(
                Check(
                    "source", N_("Source database"), lambda: self._source(url, password), _SECONDS
                )
            )
        if (key := _given(request.openai_api_key)) or request.openai_base_url:
            base = request.openai_base_url or self._settings.openai_base_url
            found.append(
                Check(
                    "provider_key",
                    N_("Provider's key"),
                    lambda: self._provider(base, key or ""),
                    _ASKING_SECONDS + 2,
                )
            )
        if request.finetune_dir:
            data = request.finetune_dir
            found.append(Check("finetune_dir", "FINETUNE_DIR", lambda: self._folder(data)))
        if request.finetune_base:
            model = request.finetune_base
            found.append(Check("base", N_("Base model"), lambda: _base(model)))
        if request.backup_dir:
            kept = request.backup_dir
            found.append(Check("backups", N_("Backups"), lambda: self._folder(kept)))
        return found

    async def _source(self, url: str, password: str | None) -> Found:
        tables = await (await self._try_source(url, password)).inspect()
        lines = tuple(
            f"{each.table}: {each.found or _('not there')}"
            + (f" ({each.problem})" if each.problem else "")
            for each in tables
        )
        usable = ", ".join(each.table for each in tables if each.usable)
        if not usable:
            remedy = _("Is it the right database, and may this role read its tables?")
            return Found("attention", _("no table that can be read"), lines, remedy)
        return Found("ok", usable, lines)

    async def _provider(self, base: str | None, key: str) -> Found:
        return said(await self._probe((base or "").strip() or None, key, _ASKING_SECONDS))

    async def _folder(self, text: str) -> Found:
        folder = Path(text).expanduser()
        if not folder.is_absolute():
            folder = (self._settings.root / folder).absolute()
        return await aside(lambda: _usable(folder))

    def _changes(self, request: SetupAnswers) -> list[_Change]:
        """In the order of writing: what keeps the own store where it is comes first."""
        found: list[_Change] = []
        if request.language:
            found.append(_Change(_LANGUAGE, request.language, operation="settings"))
        if url := _given(request.database_url):
            found += self._of_database(url, _given(request.db_pass))
        plain = {
            "FINETUNE_DIR": request.finetune_dir,
            "OPENAI_BASE_URL": request.openai_base_url,
            "FINETUNE_BASE": request.finetune_base,
            "SOPHIA_BACKUP_DIR": request.backup_dir,
        }
        if key := _given(request.openai_api_key):
            found.append(_Change("OPENAI_API_KEY", key, secret=True))
        return found + [_Change(each, value) for each, value in plain.items() if value]

    def _of_database(self, url: str, password: str | None) -> list[_Change]:
        """DATABASE_URL says where Sophia's own tables are as well, unless SOPHIA_STORE_URL does:
        they stay where they are now, with their password."""
        settings, found = self._settings, []
        if settings.store_url is None:
            old = settings.database_url
            if old is None:
                found.append(_Change("SOPHIA_STORE_URL", "embedded"))
            elif old.get_secret_value() != url:
                if settings.db_pass is not None:
                    held = settings.db_pass.get_secret_value()
                    found.append(_Change("SOPHIA_STORE_PASS", held, secret=True))
                found.append(_Change("SOPHIA_STORE_URL", old.get_secret_value(), secret=True))
        if password:
            found.append(_Change("DB_PASS", password, secret=True))
        elif settings.db_pass is not None:  # it is of another database: that must not learn it
            found.append(_Change("DB_PASS", None))
        return [*found, _Change("DATABASE_URL", url, secret=True)]

    @property
    def _env_file(self) -> Path:
        """Where Sophia's own keys stand, or will stand."""
        return self._settings.env_file or Path.cwd() / ".env"

    async def _write(self, context: Context, change: _Change) -> BaseModel:
        verb = "unset" if change.value is None else "set"
        asked = {"key": change.key}
        if change.value is not None:
            asked["value"] = change.value
        inner = replace(context, confirmed=True, inner=True)
        return await self._call(f"{change.operation}.{verb}", asked, inner)


def _given(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value().strip() or None) if secret is not None else None


def _shown(change: _Change, env_file: Path) -> ChangeView:
    place = _("Sophia's settings") if change.operation == "settings" else str(env_file)
    value = change.value
    if value is None:
        shown = _("taken away")
    elif change.key.endswith("_URL") and "@" in value:
        shown = _without_password(value)
    else:
        shown = _HIDDEN if change.secret else value
    return ChangeView(key=change.key, place=place, value=shown)


def _without_password(url: str) -> str:
    """An address that people can recognise; stars where it can't be taken apart."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        name = parts.username or ""
    except ValueError:
        return _HIDDEN
    return f"{parts.scheme}://{name}@{host}{parts.path}"


def _units(answer: BaseModel) -> list[str]:
    """The units that an answer of env.set names."""
    found = getattr(answer, "restart", None) or []
    return [str(each) for each in found]


def _usable(folder: Path) -> Found:
    if folder.is_dir():
        if os.access(folder, os.W_OK | os.X_OK):
            return Found("ok", str(folder))
        told = _("{path} can't be written to").format(path=folder)
        return Found("problem", told, remedy=_("Give the user of Sophia the right to write there."))
    if folder.exists():
        told = _("{path} is no folder").format(path=folder)
        return Found("problem", told, remedy=_("Name a folder."))
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if os.access(above, os.W_OK | os.X_OK):
        return Found("ok", _("{path} will be made").format(path=folder))
    told = _("{path} can't be made: {above} can't be written to").format(path=folder, above=above)
    return Found("problem", told, remedy=_("Make it as root and give it to the user of Sophia."))


async def _base(base: str) -> Found:
    local = base.startswith(("/", ".", "~")) or base.endswith(".gguf")
    if not local:
        return Found(
            "ok", _("{base}: a name; it is looked up when a training starts").format(base=base)
        )
    if await aside(lambda: Path(base).expanduser().exists()):
        return Found("ok", base)
    told = _("{base} does not exist").format(base=base)
    return Found("problem", told, remedy=_("Correct FINETUNE_BASE."))


def _half_written(done: list[_Change], failed: _Change, problem: SophiaError) -> SetupError:
    written = ", ".join(each.key for each in done) or "-"
    return SetupError(
        "S423",
        _("{key} could not be written.").format(key=failed.key),
        f"{problem.code} {problem.what} {problem.why}".strip(),
        _(
            "Written before it: {keys}. Mend the cause and begin again; it is safe to repeat."
        ).format(keys=written),
    )
