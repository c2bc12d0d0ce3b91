"""Settings: what is in force and where it comes from; changing those that Sophia keeps itself."""

from collections.abc import Mapping
from operator import attrgetter
from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, NotFoundError, RefusedError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths, data_folder, model_cache
from sophia_tui.services.lists import ListPage, arranged
from sophia_tui.services.operations import operation
from sophia_tui.services.views import Listing
from sophia_tui.textsafe import visible

SEEN = N_("The value that you saw: if another person was faster, you are told.")


class SettingView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("key", "source", "value")

    key: str = Field(title=N_("Setting"))
    value: str | None = Field(default=None, title=N_("Value"))
    source: str = Field(title=N_("From"))
    default: str | None = Field(default=None, title=N_("Default"))
    changeable: bool = Field(title=N_("Kept by Sophia"))
    help: str = Field(title=N_("Meaning"))


class SettingsPage(ListPage):
    sorts = ("key", "value", "source")

    limit: int = Field(default=500, ge=1, le=500, description=N_("How many at most."))


class SettingList(Listing):
    env_file: str | None = Field(default=None, title=N_("Env file"))
    items: list[SettingView] = Field(title=N_("Settings"))


class SettingChange(Input):
    key: str = Field(description=N_("The setting's key, e.g. SOPHIA_WINDOW_DAYS."))
    value: str = Field(description=N_("The new value."))
    seen_value: str | None = Field(default=None, description=SEEN)


class SettingKey(Input):
    key: str = Field(description=N_("The setting's key."))
    seen_value: str | None = Field(default=None, description=SEEN)


class SettingsService:
    """Shows and changes settings. `environment` is what the process was started with."""

    def __init__(self, store: Store, environment: Mapping[str, str], paths: Paths) -> None:
        self._store = store
        self._environment = environment
        self._paths = paths

    @operation("settings.list", N_("Show every setting in force and where it comes from."))
    async def page(self, context: Context, request: SettingsPage) -> SettingList:
        env_file, items = await self._all()
        found = arranged(
            items,
            request.wanted(),
            lambda each: (each.key, each.value, each.source, each.help),
            {name: attrgetter(name) for name in SettingsPage.sorts},
        )
        return SettingList(
            env_file=env_file,
            items=found.items,
            total=found.total,
            unfiltered=found.unfiltered,
        )

    async def _all(self) -> tuple[str | None, list[SettingView]]:
        """The env file, and every setting in the order of their declaration."""
        from sophia_tui import settings

        env_file, _merged = settings.read_sources(self._environment)
        table = await self._store.settings.all()
        made = settings.made_values(self._paths)
        in_force = settings.load(self._environment, table, made=made)
        items = []
        for key, name in settings.keys().items():
            if key == "SOPHIA_ENV_FILE":
                continue
            field = settings.Settings.model_fields[name]
            value = getattr(in_force, name)
            secret = settings.is_secret(key)
            described = field.description or ""
            items.append(
                SettingView(
                    key=key,
                    value=("***" if secret else str(value)) if value is not None else None,
                    source=self._source(key, table, _merged, made),
                    default=None if field.default is None else str(field.default),
                    changeable=settings.storable(key),
                    help=_(described),
                )
            )
        items += self._places()
        return str(env_file) if env_file else None, items

    def _places(self) -> list[SettingView]:
        """Folders that are asked of the environment alone: they come before any settings."""
        told = {
            "SOPHIA_DATA_DIR": (
                self._paths.data,
                data_folder({**self._environment, "SOPHIA_DATA_DIR": ""}),
                _("The data folder; read from the environment alone."),
            ),
            "SOPHIA_MODEL_CACHE": (
                model_cache(self._paths, self._environment),
                model_cache(self._paths, {}),
                _("Where bases converted from GGUF are kept; read from the environment alone."),
            ),
        }
        return [
            SettingView(
                key=key,
                value=str(value),
                source="environment" if self._environment.get(key) else "default",
                default=str(default),
                changeable=False,
                help=help_,
            )
            for key, (value, default, help_) in told.items()
        ]

    def _source(
        self,
        key: str,
        table: Mapping[str, str],
        merged: Mapping[str, str],
        made: Mapping[str, str],
    ) -> str:
        from sophia_tui import settings

        if key in table and settings.storable(key):
            return "sophia"
        if key in self._environment:
            return "environment"
        if key in merged:
            return "env file"
        return "data folder" if key in made else "default"

    @operation(
        "settings.set",
        N_("Change a setting that Sophia keeps."),
        role=Role.ADMIN,
        writes=True,
        target="key",
        positional=("key", "value"),
    )
    async def set(self, context: Context, request: SettingChange) -> SettingView:
        from sophia_tui import settings

        self._check(request.key)
        if not request.value.strip():
            raise UsageError(
                "T424",
                _("{key} can't be set to nothing.").format(key=request.key),
                _("An empty value counts as none, so the environment or the default would win."),
                _("`sophia settings unset {key}` forgets Sophia's own value.").format(
                    key=request.key
                ),
            )
        table = await self._store.settings.all()
        settings.load(self._environment, {**table, request.key: request.value})
        await self._keep(context, request.key, request.value, request.seen_value)
        return await self._view(context, request.key)

    @operation(
        "settings.unset",
        N_("Forget Sophia's own value of a setting, so that the environment's or default counts."),
        role=Role.ADMIN,
        writes=True,
        target="key",
        positional=("key",),
    )
    async def unset(self, context: Context, request: SettingKey) -> SettingView:
        self._check(request.key)
        await self._keep(context, request.key, None, request.seen_value)
        return await self._view(context, request.key)

    async def _keep(self, context: Context, key: str, value: str | None, seen: str | None) -> None:
        """Raises ConflictError R412 where the value in force is not the one that was seen."""
        if seen is None:
            await self._store.settings.set(key, value, context.actor)
            return
        before = (await self._store.settings.all()).get(key)
        now = (await self._view(context, key)).value or ""
        if now == seen and await self._store.settings.replace(key, before, value, context.actor):
            return
        now = (await self._view(context, key)).value or ""
        raise ConflictError(
            "R412",
            _("{key} was changed meanwhile.").format(key=key),
            _("It was {before}, now it is {now}.").format(
                before=visible(seen) or "-", now=visible(now) or "-"
            ),
            _("Look at it as it is now; who asks once more goes on from there."),
            seen_value=now,
        )

    async def _view(self, context: Context, key: str) -> SettingView:
        _env_file, listed = await self._all()
        found: SettingView = next(each for each in listed if each.key == key)
        return found

    def _check(self, key: str) -> None:
        from sophia_tui import settings

        known = settings.keys()
        if key not in known:
            raise NotFoundError(
                "T404",
                _("There is no setting {key}.").format(key=key),
                remedy=_("`sophia settings list` lists them."),
            )
        if not settings.storable(key):
            raise RefusedError(
                "T403",
                _("{key} can't be kept in Sophia's table.").format(key=key),
                _("It is a secret, or says where the table is or who may do what."),
                _("Set it in the environment or in the .env."),
            )
