"""Work on this machine: starts programs as nobody's child, runs of `python -m finetune` above all.

On a server a run is a unit of the system's (see units.py); where lingering is on, it is a user unit
of its own; else a process with a session of its own whose parents are gone. In each way it outlives
console, worker, terminal and database.
"""

import asyncio
import json
import os
import pwd
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import finetune.schema
from finetune.schema import LOG_FILE, ContractError, load_run_spec
from sophia_tui.domain.jobs import JobKind, RunIdentity
from sophia_tui.errors import JobError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths, home, model_cache
from sophia_tui.providers import detach
from sophia_tui.providers.machine import ThisMachine, start_time
from sophia_tui.providers.processes import own_python, together
from sophia_tui.providers.units import run_template, start_in_unit
from sophia_tui.settings import Settings, made_values

#: A run's share of processor and disk where production wants them, too; everything else has 100.
WEIGHT = 20
LINGER_FOLDER = Path("/var/lib/systemd/linger")
_SECONDS = 30.0  # until a process that was started must have said who it is

#: What a run may know of its surroundings; everything else (database, keys, tokens) stays outside.
_KEPT = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "HF_HOME",
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_XET",
        "SOPHIA_MODEL_CACHE",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_OFFLINE",
    }
)
_KEPT_BEGINNINGS = ("LC_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "OMP_", "MKL_", "KMP_", "PYTORCH_")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of `environment` that a run gets: no secret of ours is in it."""
    kept = {
        key: value
        for key, value in environment.items()
        if key.upper() in _KEPT or key.startswith(_KEPT_BEGINNINGS)
    }
    kept.setdefault("HOME", str(home(environment)))
    kept.setdefault("PATH", os.defpath)
    kept["PYTHONPATH"] = str(Path(finetune.schema.__file__).resolve().parent.parent)
    kept["PYTHONSAFEPATH"] = "1"  # a folder `finetune` where we stand is data, never our program
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


async def start_detached(
    command: Sequence[str], log: Path, environment: Mapping[str, str], background: bool
) -> tuple[int, int]:
    """Start `command` as nobody's child; returns its pid and start time.

    stdout and stderr are appended to `log`. Raises JobError J502 where it can't be started.
    """
    extra = ["--background"] if background else []
    helper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        detach.__file__,
        "--log",
        str(log),
        *extra,
        "--",
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
    )
    try:
        said, complaint = await asyncio.wait_for(helper.communicate(), _SECONDS)
    except TimeoutError:
        helper.kill()
        await helper.wait()
        raise not_started(_("It did not answer in time.")) from None
    answers = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    problem = next((each["problem"] for each in answers if "problem" in each), None)
    if problem or not answers:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise not_started(problem or " ".join(last))
    return int(answers[0]["pid"]), int(answers[0]["started"])


def not_started(why: str) -> JobError:
    return JobError(
        "J502",
        _("The run could not be started."),
        why,
        _("Check free memory and disk space, and that the data folder is writable."),
    )


async def start_apart(
    command: Sequence[str],
    label: str,
    log: Path,
    environment: Mapping[str, str],
    background: bool,
    memory_bytes: int | None = None,
) -> tuple[int, int]:
    """Start `command` so that it outlives us and the person's session: a unit of the system's where
    the environment names a template, a user unit, else nobody's child.

    `memory_bytes` limits a user unit; else, who watches the process has to.

    Returns its pid and start time; it is in a process group of its own. Raises JobError J502.
    """
    if template := run_template(os.environ, background):
        return await start_in_unit(template, command, label, log, environment)
    if await _has_user_units():
        return await _launch_unit(command, label, log, environment, background, memory_bytes)
    return await start_detached(command, log, environment, background)


async def _has_user_units() -> bool:
    """Whether a user unit would outlive the person's last session."""
    user = user_name()
    if not user or not (LINGER_FOLDER / user).exists() or not shutil.which("systemd-run"):
        return False
    status, _said = await _ask("systemctl", "--user", "show", "--property=Version")
    return status == 0


async def _launch_unit(
    command: Sequence[str],
    label: str,
    log: Path,
    environment: Mapping[str, str],
    background: bool,
    memory_bytes: int | None,
) -> tuple[int, int]:
    unit = f"sophia-{label}-{os.getpid()}-{os.urandom(3).hex()}.service"
    behind = [
        f"--property=Nice={detach.NICE}",
        "--property=IOSchedulingClass=idle",
        f"--property=CPUWeight={WEIGHT}",
        f"--property=IOWeight={WEIGHT}",
        *([] if memory_bytes is None else [f"--property=MemoryMax={memory_bytes}"]),
    ]
    status, said = await _ask(
        "systemd-run",
        "--user",
        "--quiet",
        "--collect",
        f"--unit={unit}",
        "--property=UMask=0077",
        *(behind if background else []),
        "--property=WorkingDirectory=/",
        "--property=StandardInput=null",
        f"--property=StandardOutput=append:{log}",
        f"--property=StandardError=append:{log}",
        # by name alone: values are taken from systemd-run's own environment, never from argv
        *(f"--setenv={key}" for key in environment),
        "--",
        *command,
        environment=environment,
    )
    if status:
        raise not_started(said.strip().splitlines()[-1] if said.strip() else "systemd-run")
    _status, said = await _ask("systemctl", "--user", "show", "--property=MainPID", unit)
    pid = int(said.strip().rpartition("=")[2] or 0)
    # a run that has ended already keeps an identity that no living process has
    return pid, (start_time(pid) or 0) if pid else 0


class LocalLauncher:
    """Starts, finds and signals the runs of this machine."""

    def __init__(
        self, paths: Paths, settings: Settings, machine: ThisMachine | None = None
    ) -> None:
        self._paths = paths
        self._settings = settings
        self.machine = machine or ThisMachine.here()
        #: What is started, before the verb; tests put their own program here.
        self.program: tuple[str, ...] = (own_python(), "-m", "finetune")

    async def launch(
        self,
        verb: str,
        run_folder: str,
        gpus: Sequence[str] = (),
        memory_bytes: int | None = None,
    ) -> RunIdentity:
        """Start the run's program. Raises JobError J502."""
        folder = Path(run_folder)
        if verb == JobKind.DATA.value:
            return await self._launch_operation(folder)
        command = [*self.program, verb, str(folder)]
        environment = self.environment(folder)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        label, log = f"run-{folder.name}", folder / LOG_FILE
        command = together(command, environment, self._settings.training_processes)
        pid, started = await start_apart(
            command, label, log, environment, background=True, memory_bytes=memory_bytes
        )
        return self.machine.identity(pid, started)

    async def _launch_operation(self, folder: Path) -> RunIdentity:
        """An operation in the background needs what the worker has: settings, store and source."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(finetune.schema.__file__).resolve().parent.parent),
            "PYTHONSAFEPATH": "1",
            "SOPHIA_DATA_DIR": str(self._paths.data),
        }
        command = (own_python(), "-m", "sophia_tui.worker.detached", str(folder))
        pid, started = await start_apart(
            command, f"run-{folder.name}", folder / LOG_FILE, environment, background=True
        )
        return self.machine.identity(pid, started)

    def alive(self, identity: RunIdentity) -> bool:
        return self.machine.alive(identity)

    def signal(self, identity: RunIdentity, signal_number: int) -> bool:
        return self.machine.signal(identity, signal_number)

    def environment(self, folder: Path | None) -> dict[str, str]:
        """What a run of that folder may know of its surroundings."""
        environment = clean_environment(os.environ)
        # a base converted from GGUF is kept with our other things, not in a home of root's
        environment["SOPHIA_MODEL_CACHE"] = str(model_cache(self._paths))
        if folder is not None and _asks_served(folder) and (key := self._model_key()):
            environment["SOPHIA_MODEL_TOKEN"] = key
        token = self._settings.huggingface_token
        if token is not None and folder is not None and _from_the_hub(folder):
            environment["HF_TOKEN"] = token.get_secret_value()
        return environment

    def _model_key(self) -> str | None:
        """The key for served models, one made since we started, too; where there is none, a token
        that also asks them."""
        settings = self._settings
        made = made_values(self._paths).get("SOPHIA_MODEL_TOKEN")
        if settings.model_token is None and made:
            return made
        tokens = (settings.model_token, settings.operator_token, settings.finetune_token)
        token = next(filter(None, tokens), None)
        return token.get_secret_value() if token else None


def user_name() -> str:
    """The account, or nothing for root and for an account without a passwd entry."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else ""
    except KeyError:
        return ""


def _asks_served(folder: Path) -> bool:
    try:
        return any(each.kind == "served" for each in load_run_spec(folder).parity.targets)
    except ContractError:
        return False


def _from_the_hub(folder: Path) -> bool:
    """Whether the run fetches its base there, or sends a model to it."""
    try:
        spec = load_run_spec(folder)
        return spec.kind == "upload" or not Path(spec.base).expanduser().exists()
    except ContractError:
        return False


async def _ask(*command: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a short command; its exit status, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=None if environment is None else dict(environment),
    )
    try:
        said, _nothing = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, ""
    return process.returncode or 0, said.decode(errors="replace")
