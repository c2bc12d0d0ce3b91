"""Env files as an operator sees them: Sophia's own to be changed, others' as root declared them."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.managed import (
    MODEL_KEYS,
    Declared,
    ManagedFile,
    RootHelper,
    is_elsewhere,
    is_unit,
)
from sophia_tui.domain.operations import Danger
from sophia_tui.errors import NotFoundError, RefusedError, SophiaError, UsageError
from sophia_tui.files import whole_file, write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.paths import SERVER_ENV, SERVER_MANAGED, Paths
from sophia_tui.services.env_guard import kept_words, require_near, require_usable, require_yes
from sophia_tui.services.env_views import (
    EnvChanged,
    EnvDeclaration,
    EnvFileName,
    EnvFileView,
    EnvKey,
    EnvKeyView,
    EnvList,
    EnvListing,
    EnvValue,
)
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The group that reads managed.conf on a server.
_GROUP = "sophia"


class EnvService:
    """Lists and changes keys of env files; root declares whose files Sophia may touch."""

    def __init__(
        self,
        environment: Mapping[str, str],
        paths: Paths,
        helper: RootHelper | None = None,
        managed: Path = SERVER_MANAGED,
    ) -> None:
        self._environment = environment
        self._paths = paths
        self._helper = helper
        self._env = ManagedEnv(helper)
        self._managed = managed

    @operation(
        "env.list",
        N_("Show the keys of Sophia's env file and of declared ones; secrets are never shown."),
        role=Role.OPERATOR,
    )
    async def page(self, context: Context, request: EnvListing) -> EnvList:
        declared = await self._env.declared()
        own = self._own_file()
        views, items = [], []
        for file in self._files(declared, own):
            views.append(_file_view(file))
            if file.refused:
                continue
            try:
                values = envfile.values(await self._env.read(Path(file.path)))
            except SophiaError as problem:
                views[-1] = views[-1].model_copy(
                    update={"refused": f"{problem.what} {problem.why}".strip()}
                )
                continue
            items += list(_keys(file, values, request.all))
        return EnvList(files=views, items=items, problem=declared.problem)

    def _files(self, declared: Declared, own: Path | None) -> list[ManagedFile]:
        """Sophia's own first."""
        rest = [each for each in declared.files if not each.own]
        known = next((each for each in declared.files if each.own), None)
        if own is not None and (known is None or known.path != str(own)):
            known = ManagedFile(
                str(own), _("Sophia's own settings"), writable=os.access(own, os.W_OK), own=True
            )
        return [*([known] if known else []), *rest]

    @operation(
        "env.set",
        N_("Set a key in Sophia's env file; the value comes from the terminal or standard input."),
        role=Role.ADMIN,
        writes=True,
        target="key",
        positional=("key",),
    )
    async def set(self, context: Context, request: EnvValue) -> EnvChanged:
        from sophia_tui import settings

        key, value = request.key, request.value.get_secret_value()
        require_near(context, key)
        known = {*settings.keys(), *MODEL_KEYS}
        if key not in known or key == "SOPHIA_ENV_FILE":
            raise NotFoundError(
                "S442",
                _("{key} is no setting of Sophia's env file.").format(key=key),
                remedy=_("`sophia env list --all` lists them."),
            )
        if not value.strip():
            raise UsageError(
                "S443",
                _("{key} can't be set to nothing.").format(key=key),
                remedy=_("`sophia env unset {key}` takes it out.").format(key=key),
            )
        require_usable(key, value)
        return await self._change(context, key, value)

    @operation(
        "env.unset",
        N_("Take a key out of Sophia's env file."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        target="key",
        positional=("key",),
    )
    async def unset(self, context: Context, request: EnvKey) -> EnvChanged:
        require_near(context, request.key, "unset")
        return await self._change(context, request.key, None)

    async def _change(self, context: Context, key: str, value: str | None) -> EnvChanged:
        """Write what holds by all rules. Raises UsageError T422, T423, T425, S120, S440 and
        UnconfirmedError S453."""
        from sophia_tui import settings
        from sophia_tui.roles import read_roles

        found = self._own_file()
        own = found or Path.cwd() / ".env"  # where it is looked for
        before = await self._env.read(own) if found else ""
        present = envfile.values(before)
        if value is None and key not in present:
            raise NotFoundError("S445", _("{key} is not in {path}.").format(key=key, path=own))
        after = envfile.change(before, {key: value})
        values = envfile.check(after, str(own))
        settings.made_of(values, about=key)
        if key == "SOPHIA_ROLES":
            read_roles(value or "")
        changed = present.get(key) != value
        kept = await self._env.backup_folder(own, self._paths.env_backups) if found else None
        if changed:
            require_yes(context, key, kept)
        if changed and found:
            await self._env.replace(own, before, after, self._paths.env_backups)
        elif changed:
            write_whole(own, after.encode("utf-8"))
        file = (await self._env.declared()).get(str(own))
        units = list(file.restart) if file and changed else []
        return EnvChanged(
            file=str(own),
            key=key,
            changed=changed,
            restart=units,
            notes=_told(changed, units, kept),
        )

    def _own_file(self) -> Path | None:
        """The env file itself, not the copy that a service is handed; None where there is none."""
        from sophia_tui.settings import find_env_file

        found = find_env_file(self._environment)
        if found is None and os.path.lexists(SERVER_ENV):  # not for us to read
            return SERVER_ENV
        copies = self._environment.get("CREDENTIALS_DIRECTORY")
        if found and copies and found.is_relative_to(copies):
            return SERVER_ENV
        return found

    @operation(
        "env.declare",
        N_("Declare another service's env file, so that Sophia may read and change it; as root."),
        role=Role.ADMIN,
        writes=True,
        target="file",
        positional=("file",),
    )
    async def declare(self, context: Context, request: EnvDeclaration) -> EnvFileView:
        _require_root(context, ["declare", *_words(request)])
        from sophia_tui.root import files

        file = ManagedFile(
            path=request.file,
            words=request.words,
            restart=tuple(request.restart),
            read_by=tuple(request.read_by),
            writable=request.write,
            owner=request.owner,
            keys=tuple(request.keys),
            elsewhere=tuple(request.elsewhere),
        )
        self._require_declarable(file)
        files.read(file.path, _owner(file))
        kept = [each for each in self._declared_now() if each.path != file.path]
        self._write([*kept, file])
        _tell(context, "declared", file)
        return _file_view(file)

    @operation(
        "env.undeclare",
        N_("Take another service's env file out of what Sophia may touch; as root."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        target="file",
        positional=("file",),
    )
    async def undeclare(self, context: Context, request: EnvFileName) -> EnvFileView:
        _require_root(context, ["undeclare", request.file])
        every = self._declared_now()
        gone = [each for each in every if each.path == request.file]
        if not gone:
            raise NotFoundError(
                "S448",
                _("{path} is not declared.").format(path=request.file),
                remedy=_("`sophia env list` lists the declared files."),
            )
        self._write([each for each in every if each.path != request.file])
        _tell(context, "undeclared", gone[0])
        return _file_view(gone[0])

    def _require_declarable(self, file: ManagedFile) -> None:
        """Raises UsageError S447; what a whole declaration lacks is told by its own rules."""
        from sophia_tui.root import conf

        why = conf.why_no_path(file.path)
        if file.path in (str(SERVER_ENV), str(self._managed)):
            why = _("It is Sophia's own.")
        if not (file.restart or file.read_by or file.elsewhere):
            why = _("No unit is named that reads the file.")
        wrong = [each for each in (*file.restart, *file.read_by) if not is_unit(each)]
        wrong += [each for each in file.elsewhere if not is_elsewhere(each)]
        if wrong:
            why = _("{unit} is no unit's name.").format(unit=repr(wrong[0]))
        if why:
            raise UsageError("S447", _("{path} can't be declared.").format(path=file.path), why)

    def _declared_now(self) -> "Sequence[ManagedFile]":
        from sophia_tui.root import conf, files

        if not os.path.lexists(self._managed):
            return ()
        return conf.parse(files.read(str(self._managed)))

    def _write(self, every: "Sequence[ManagedFile]") -> None:
        """managed.conf, whole: root's, readable by the group of Sophia."""
        import grp

        from sophia_tui.root import conf

        content = conf.render(every).encode("utf-8")
        with whole_file(self._managed, 0o640) as stream:
            stream.write(content)
            try:
                os.fchown(stream.fileno(), 0, grp.getgrnam(_GROUP).gr_gid)
            except KeyError:  # no server of Sophia's: root alone reads it
                os.fchown(stream.fileno(), 0, 0)


def _keys(file: ManagedFile, values: Mapping[str, str], every: bool) -> Iterator[EnvKeyView]:
    from sophia_tui import settings

    fields = settings.keys()
    unset = [
        key for key in (*fields, *MODEL_KEYS) if key not in values and key != "SOPHIA_ENV_FILE"
    ]
    for key in [*values, *(unset if every and file.own else [])]:
        field = settings.Settings.model_fields.get(fields.get(key, ""))
        # what we know nothing of may be a password, and any address may hold one
        open_ = (field is not None and not settings.is_secret(key)) or (
            key.endswith("_MODEL") or key == "SOPHIA_DATA_DIR"
        )
        value = values.get(key)
        shown = value if open_ and value is not None and "@" not in value else None
        yield EnvKeyView(
            file=file.path,
            key=key,
            value=shown if shown is not None or value is None else "***",
            secret=not open_,
            set=value is not None,
            known=field is not None,
            help=_(field.description or "") if field is not None else "",
        )


def _file_view(file: ManagedFile) -> EnvFileView:
    return EnvFileView(
        file=file.path,
        words=file.words,
        own=file.own,
        writable=file.writable,
        restart=list(file.restart),
        read_by=list(file.read_by),
        elsewhere=list(file.elsewhere),
        owner=file.owner,
        keys=list(file.keys),
        refused=file.refused,
    )


def _told(changed: bool, units: list[str], kept: str | None) -> list[str]:
    if not changed:
        return [_("It had that value already.")]
    told = [kept_words(kept)] if kept is not None else []
    if units:
        read = _("Restart these units, so that they read it: {units}.")
        return [read.format(units=", ".join(units)), *told]
    return [
        _("What runs of Sophia (API, worker, consoles) reads it when it starts again."),
        *told,
    ]


def _require_root(context: Context, words: list[str]) -> None:
    """Raises RefusedError S446 with the command that an administrator types."""
    if context.face is Face.CLI and os.geteuid() == 0:
        return
    raise RefusedError(
        "S446",
        _("What the root helper may touch is declared by root alone."),
        _("Whoever declares a file decides what Sophia may do with root's rights."),
        _("On the server: `{command}`").format(
            command=shlex.join(["sudo", "sophia", "env", *words])
        ),
    )


def _tell(context: Context, act: str, file: ManagedFile) -> None:
    """A line in the journal, where the root helper's own acts stand."""
    import syslog

    syslog.openlog("sophia-helper", 0, syslog.LOG_AUTH)
    units = " ".join(file.restart)
    syslog.syslog(
        syslog.LOG_NOTICE,
        f"person={context.actor} {act}={json.dumps(file.path)} write={file.writable} units={units}",
    )


def _words(request: EnvDeclaration) -> list[str]:
    """The request as words of the command line."""
    words = [request.file]
    for name in ("restart", "read_by", "elsewhere", "keys"):
        for each in getattr(request, name):
            words += [f"--{name.replace('_', '-')}", each]
    words += ["--write"] if request.write else []
    words += ["--owner", request.owner] if request.owner else []
    words += ["--words", request.words] if request.words else []
    return words


def _owner(file: ManagedFile) -> frozenset[int]:
    import pwd

    if file.owner is None:
        return frozenset({0})
    try:
        return frozenset({0, pwd.getpwnam(file.owner).pw_uid})
    except KeyError:
        raise UsageError("S449", _("There is no account {name}.").format(name=file.owner)) from None
