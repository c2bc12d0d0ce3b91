"""`sophia setup bundle`: one archive for who helps, of how this server is and what went wrong.

Secrets and personal data are taken out of every text, also of the names of files; data sets,
questions and answers are not in it at all.
"""

import io
import json
import math
import os
import platform
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import __version__, envfile
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store, StoreStatus
from sophia_tui.domain.setup import UNITS, Machine
from sophia_tui.errors import ConflictError, InternalError, RefusedError, SophiaError
from sophia_tui.files import whole_file
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.masking import Masker, secret_values
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

FORMAT_VERSION = 1
#: Where the installer writes, for root alone.
INSTALL_LOG = Path("/var/log/sophia/install.log")
#: Bytes of the end of a log, lines of a journal, and how many failed jobs and logs are taken.
_LOG_BYTES = 200_000
_JOB_LOG_BYTES = 60_000
_JOURNAL_LINES = 300
_FAILED_JOBS = 5
_JOB_EVENTS = 100
_LOGS = 12
#: A longer text in an event or an error is cut: it may be a record.
_LONGEST_TEXT = 500
_JOURNALS = (*UNITS, "sophia-run@*", "sophia-engine@*", "sophia-step@*", "sophia-helper@*")
#: Settings that name people; they are no secrets, and leave all the same.
_PERSONAL = frozenset(
    {
        "SOPHIA_EMAIL_TO",
        "SOPHIA_EMAIL_FROM",
        "SOPHIA_WHATSAPP_TO",
        "SOPHIA_WHATSAPP_PHONE_ID",
        "SOPHIA_ROLES",
    }
)
_JOB_FIELDS = (
    "id", "kind", "state", "base", "dataset", "provider", "created_at", "started_at", "finished_at",
    "heartbeat_at", "step", "total_steps", "resumes", "queue", "waiting", "error", "result",
)  # fmt: skip

Said = Callable[..., Awaitable[tuple[int, str]]]


class BundleRequest(Input):
    file: str | None = Field(
        default=None,
        description=N_("The file to write (.tar.gz); by default a new one in the data folder."),
    )


class LeftOut(Output):
    what: str = Field(title=N_("Left out"))
    why: str = Field(title=N_("Why"))


class BundleView(Output):
    """`masked` counts what was taken out, by kind."""

    path: str = Field(title=N_("Archive"))
    size: int = Field(title=N_("Bytes"))
    files: list[str] = Field(title=N_("Files in it"))
    masked: dict[str, int] = Field(title=N_("Masked"))
    left_out: list[LeftOut] = Field(title=N_("Left out"))


@dataclass(frozen=True)
class _Text:
    """One file of the archive before it is masked: a text, or what JSON is made of. `cut`: only the
    end of a longer text."""

    name: str
    what: str
    content: Any
    cut: bool = False


_Part = _Text | LeftOut


@dataclass
class _Archive:
    """What goes in, masked already."""

    masker: Masker
    contents: dict[str, bytes] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, text: _Text) -> None:
        """Raises InternalError S463 where a known secret would be told."""
        before = self.masked.copy()
        masked = self._written(text.content)
        name = self.masker(text.name)[0] if self.masker.leaks(text.name) else text.name
        if self.masker.leaks(masked) or self.masker.leaks(name):
            raise InternalError(
                "S463",
                _("The archive would have held a secret; it was not written."),
                text.name.split("/")[0],
                _("Please report it, with the name of the part and no more."),
            )
        content = masked.encode("utf-8", "replace")
        self.contents[name] = content
        counts = self.masked - before
        self.told.append(
            {
                "name": name,
                "what": text.what,
                "bytes": len(content),
                "cut": text.cut,
                "masked": dict(sorted(counts.items())),
            }
        )

    def _written(self, content: Any) -> str:
        if isinstance(content, str):
            return self._counted(*self.masker(content))
        return json.dumps(self._plain(content), ensure_ascii=False, indent=1) + "\n"

    def _plain(self, value: Any, name: str = "") -> Any:
        """What JSON is made of, masked text by text so that it stays JSON; `name` is the field's.

        Long texts are cut once they are masked: half a secret is one that nobody would know.
        """
        if isinstance(value, Mapping):
            return {
                self._counted(*self.masker(str(key))): self._plain(each, str(key))
                for key, each in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(each, name) for each in value]
        if value is None or isinstance(value, bool | int | float):
            text = str(value)
            is_number = not isinstance(value, float) or math.isfinite(value)
            if is_number and not self.masker.leaks(text):
                return value
            value = text
        text = str(value)
        masked = self._counted(*self.masker.named(name, text))
        cut = len(text) > _LONGEST_TEXT
        return f"{masked[:_LONGEST_TEXT]} … ({len(text)})" if cut else masked

    def _counted(self, masked: str, counts: Counter[str]) -> str:
        self.masked += counts
        return masked

    def leave_out(self, what: str, why: str) -> None:
        self.left_out.append(LeftOut(what=self.masker(what)[0], why=self.masker(why)[0]))

    def manifest(self, now: datetime) -> bytes:
        plain = {
            "format": FORMAT_VERSION,
            "made_at": now.isoformat(timespec="seconds"),
            "version": __version__,
            "files": self.told,
            "masked": dict(sorted(self.masked.items())),
            "left_out": [each.model_dump() for each in self.left_out],
            "never_in_it": [
                "values of env files",
                "data sets, questions, answers and documents",
                "rows of any database but figures of failed jobs",
                "names of people who use Sophia",
            ],
        }
        return json.dumps(plain, ensure_ascii=False, indent=1).encode()


class BundleService:
    """`ask` runs another operation, `said` a program of the system with a time limit."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        store_status: Callable[[], Awaitable[StoreStatus]],
        ask: Callable[[str, Mapping[str, Any], Context], Awaitable[Any]],
        settings: "Settings",
        paths: Paths,
        environment: Mapping[str, str],
        machine: Machine,
        said: Said,
        clock: Clock,
    ) -> None:
        self._open_store = open_store
        self._store_status = store_status
        self._ask = ask
        self._settings = settings
        self._paths = paths
        self._environment = environment
        self._machine = machine
        self._said = said
        self._clock = clock

    @operation(
        "setup.bundle",
        N_("Pack an archive for support, without secrets and personal data."),
        role=Role.ADMIN,
        writes=True,
        makes="path",
        positional=("file",),
    )
    async def bundle(self, context: Context, request: BundleRequest) -> BundleView:
        """Raises RefusedError S460, ConflictError S461, InternalError S463, SetupError S101,
        CancelledError U499."""
        import asyncio

        now = self._clock.now()
        path = self._target(context, request.file, now)
        archive = _Archive(Masker(self._secrets()))
        parts = self._parts(context)
        for number, (what, make) in enumerate(parts, start=1):
            context.cancel.check()
            context.progress(Progress(_("packing"), number, len(parts), message=what))
            try:
                async for each in make():
                    if isinstance(each, LeftOut):
                        archive.leave_out(each.what, each.why)
                    else:
                        await asyncio.to_thread(archive.add, each)
            except InternalError:
                raise
            except SophiaError as problem:
                archive.leave_out(what, f"{problem.code} {problem.what} {problem.why}".strip())
            except OSError as problem:
                why = problem.strerror or type(problem).__name__
                archive.leave_out(what, f"{problem.filename}: {why}" if problem.filename else why)
        size = await asyncio.to_thread(_write, path, archive, now)
        return BundleView(
            path=str(path),
            size=size,
            files=["manifest.json", *archive.contents],
            masked=dict(sorted(archive.masked.items())),
            left_out=archive.left_out,
        )

    def _target(self, context: Context, named: str | None, now: datetime) -> Path:
        """The file to write, which must not be there: nothing is written over."""
        name = f"sophia-bundle-{now:%y%m%d%H%M%S}.tar.gz"
        if named is None:
            folder = self._paths.bundles
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o750)  # on a server colleagues of the group fetch it from there
            return folder / name
        if context.from_afar:
            raise RefusedError(
                "S460",
                _("A file on the server can't be named over HTTP."),
                remedy=_("Leave `file` out; the answer says where the archive is."),
            )
        path = Path(named).expanduser().absolute()
        path = path / name if path.is_dir() else path
        if os.path.lexists(path):
            raise ConflictError(
                "S461",
                _("There is a file {path} already.").format(path=path),
                remedy=_("Choose another name."),
            )
        return path

    # -- what is secret here

    def _secrets(self) -> list[str]:
        """Every value that must not be told: of Sophia's settings, of the environment, of the env
        files of other services, and the key that Sophia made."""
        from pydantic import SecretStr

        settings = self._settings
        own = {
            name: value.get_secret_value()
            for name in type(settings).model_fields
            if isinstance(value := getattr(settings, name), SecretStr)
        }
        found = [*own.values(), *secret_values(own), *secret_values(self._environment)]
        files = [settings.env_file, *settings.managed_files]
        for path in filter(None, files):
            try:
                content = path.read_text(encoding="utf-8", errors="surrogateescape")
                found += secret_values(envfile.values(content))
            except (OSError, ValueError, SophiaError):
                continue  # what can't be read can't be told either
        return found

    # -- the parts

    def _parts(self, context: Context) -> list[tuple[str, Callable[[], AsyncIterator[_Part]]]]:
        async def checks() -> AsyncIterator[_Text]:
            found = await self._ask("setup.check", {}, context)
            yield _Text("check.json", "what `sophia setup check` finds", found.model_dump())

        return [
            (_("versions"), self._versions),
            (_("machine"), self._of_machine),
            (_("settings"), self._of_settings),
            (_("set-up check"), checks),
            (_("services"), self._services),
            (_("journal"), self._journal),
            (_("logs"), self._logs),
            (_("store"), self._of_store),
            (_("failed jobs"), self._jobs),
        ]

    async def _versions(self) -> AsyncIterator[_Text]:
        packages = sorted(
            {f"{each.metadata['Name']}=={each.version}" for each in metadata.distributions()},
            key=str.lower,
        )
        found = {
            "sophia": __version__,
            "program": str(Path(__file__).parents[2]),
            "python": sys.version,
            "system": platform.freedesktop_os_release(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
        }
        yield _Text("versions.json", "versions of program, system and kernel", found)
        yield _Text("packages.txt", "Python packages", "\n".join(packages) + "\n")

    async def _of_machine(self) -> AsyncIterator[_Text]:
        volumes = {str(path): asdict(self._machine.volume(path)) for path in self._volumes()}
        found = {
            "processors": os.cpu_count(),
            "load": os.getloadavg(),
            "seconds_up": float(Path("/proc/uptime").read_text().split()[0]),
            "memory": asdict(self._machine.memory()),
            "disks": volumes,
            "gpus": asdict(await self._machine.gpus()),
            "clock": asdict(await self._machine.clock()),
            "firewall": asdict(self._machine.firewall()),
            "listeners": [asdict(each) for each in self._machine.listeners()],
        }
        yield _Text("machine.json", "disks, memory, GPUs, clock, firewall, open ports", found)

    def _volumes(self) -> list[Path]:
        return [Path("/"), self._paths.data, self._settings.finetune_folder]

    async def _of_settings(self) -> AsyncIterator[_Text]:
        from sophia_tui.settings import is_secret, keys

        found = []
        for key, name in keys().items():
            value = getattr(self._settings, name)
            told: dict[str, Any] = {"key": key, "is_set": value not in (None, "")}
            if not is_secret(key) and key not in _PERSONAL:
                told["value"] = value if isinstance(value, int | float | None) else str(value)
            found.append(told)
        yield _Text("settings.json", "settings; of secrets whether they are set", found)
        path = self._settings.env_file
        if path is not None:
            lines = envfile.parse(path.read_text(encoding="utf-8"))
            names = [each.key for each in lines if each.key]
            yield _Text("env-keys.json", "the env file's keys without their values", names)

    async def _services(self) -> AsyncIterator[_Text]:
        units = await self._machine.units(UNITS)
        if units is None:
            raise OSError(0, _("systemd does not run here"))
        yield _Text("services.json", "states of Sophia's units", [asdict(each) for each in units])
        _code, told = await self._said(
            "systemctl", "--no-pager", "list-units", "--all", "--plain", "sophia-*", "postgresql*"
        )
        yield _Text("units.txt", "Sophia's and Postgres' units", told)

    async def _journal(self) -> AsyncIterator[_Text]:
        for unit in _JOURNALS:
            words = ["--no-pager", "--output=short-iso", f"--lines={_JOURNAL_LINES}"]
            code, told = await self._said("journalctl", *words, f"--unit={unit}")
            if code == 127:
                raise OSError(0, _("there is no journalctl here"))
            name = unit.replace("@*", "-instances").partition(".")[0]
            yield _Text(f"journal/{name}.txt", f"the journal's end of {unit}", told, cut=True)

    async def _logs(self) -> AsyncIterator[_Part]:
        files = [each for each in self._paths.logs.glob("*.log*") if each.is_file()]
        files.sort(key=lambda each: each.stat().st_mtime, reverse=True)
        for path in files[:_LOGS]:
            log = _tail(path, f"logs/{path.name}", "a log's end", _LOG_BYTES)
            if log is not None:
                yield log
        told = _tail(INSTALL_LOG, "logs/install.log", "the installer's log", _LOG_BYTES)
        if isinstance(told, LeftOut):  # the account may not read it on a server
            remedy = _("`sudo cat {path}` shows it; it holds no secrets. Send it along.")
            yield told.model_copy(update={"why": f"{told.why}. {remedy.format(path=INSTALL_LOG)}"})
        elif told is not None:
            yield told

    async def _of_store(self) -> AsyncIterator[_Text]:
        status = await self._store_status()
        yield _Text("store.json", "where the store is, and its versions", asdict(status))
        gauges = await (await self._open_store()).gauges()
        yield _Text("counts.json", "jobs, data sets and models, counted", asdict(gauges))

    async def _jobs(self) -> AsyncIterator[_Part]:
        store = await self._open_store()
        states = (JobState.FAILED.value, JobState.INTERRUPTED.value)
        for job in await store.jobs.page(limit=_FAILED_JOBS, states=states):
            yield _Text(
                f"jobs/{job.id}/job.json",
                "a failed job, without what it was asked to do",
                {name: getattr(job, name) for name in _JOB_FIELDS},
            )
            after = max(0, job.last_event - _JOB_EVENTS)
            events = await store.jobs.events(job.id, after=after, limit=_JOB_EVENTS)
            plain = [{"number": e.number, "at": e.at, "kind": e.kind, **e.data} for e in events]
            yield _Text(f"jobs/{job.id}/events.json", "its last events", plain)
            if job.run_folder:
                path = Path(job.run_folder) / "log.txt"
                log = _tail(path, f"jobs/{job.id}/log.txt", "its log's end", _JOB_LOG_BYTES)
                if log is not None:
                    yield log


def _tail(path: Path, name: str, what: str, most: int) -> _Part | None:
    """The end of a file, from the beginning of a line on; None where there is none."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            content = stream.read(most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        return LeftOut(what=str(path), why=problem.strerror or type(problem).__name__)
    cut = size > most
    if cut:  # half a line may hold half of a secret, which nobody would know
        content = content.partition(b"\n")[2]
    return _Text(name, what, content.decode("utf-8", "replace"), cut)


def _write(path: Path, archive: _Archive, now: datetime) -> int:
    """The archive, whole or not at all; its size in bytes."""
    import tarfile

    top = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    every = {"manifest.json": archive.manifest(now), **archive.contents}
    with whole_file(path, 0o640) as stream:
        with tarfile.open(fileobj=stream, mode="w:gz") as packed:
            for name, content in every.items():
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size, member.mode, member.mtime = len(content), 0o600, int(now.timestamp())
                packed.addfile(member, io.BytesIO(content))
        return stream.tell()
