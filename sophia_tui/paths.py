"""Where Sophia keeps its things. Asks only the environment; makes no folder at import."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVER_DATA = Path("/var/lib/sophia")
SERVER_ENV = Path("/etc/sophia/sophia.env")
#: What the installer installs on a server, the program that runs there in it.
SERVER_PROGRAM = Path("/opt/sophia")
#: Where systemd lays the credentials of services.
CREDENTIALS = Path("/run/credentials")
SERVER_ACCOUNT = "sophia"
SERVER_PRICES = Path("/etc/sophia/prices.yaml")
SERVER_MANAGED = Path("/etc/sophia/managed.conf")
#: Where the root helper keeps the old contents of files that it replaced.
SERVER_BACKUPS = Path("/var/lib/sophia-install/helper/backups")
SERVER_HELPER = Path("/run/sophia/helper.sock")


@dataclass(frozen=True)
class Paths:
    """The folders below one data folder; each is made by whoever first writes to it."""

    data: Path

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def datasets(self) -> Path:
        return self.data / "datasets"

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def deployments(self) -> Path:
        """A folder for each served model: its engine's log."""
        return self.data / "deployments"

    @property
    def model_token(self) -> Path:
        """The key for served models that Sophia made, where SOPHIA_MODEL_TOKEN is not set."""
        return self.data / "model-token"

    @property
    def promotions(self) -> Path:
        return self.data / "promotions"

    @property
    def prices(self) -> Path:
        """The operator's prices and shutdown dates, where no other file is named."""
        return self.data / "prices.yaml"

    @property
    def reports(self) -> Path:
        """Reports of evaluations, to be opened in a browser."""
        return self.data / "reports"

    @property
    def uploads(self) -> Path:
        """Files that were sent to our own OpenAI-compatible endpoint."""
        return self.data / "uploads"

    @property
    def exports(self) -> Path:
        """Versions of data sets that were copied out."""
        return self.data / "exports"

    @property
    def backups(self) -> Path:
        """Archives that `setup backup` writes where no other folder is named."""
        return self.data / "backups"

    @property
    def restoring(self) -> Path:
        """What a restore has unpacked and not put into its place yet, and its journal."""
        return self.data / "restoring"

    @property
    def restored(self) -> Path:
        """Files of a backup whose place only root may write, for a person to put there."""
        return self.data / "restored"

    @property
    def bundles(self) -> Path:
        """Archives for support."""
        return self.data / "bundles"

    @property
    def variations(self) -> Path:
        """Variations under way, a folder for each work."""
        return self.data / "variations"

    @property
    def successions(self) -> Path:
        """Golden prompts and answers under way, a folder for each way off a model."""
        return self.data / "successions"

    @property
    def personas(self) -> Path:
        """What personas are given to learn, as files to prepare."""
        return self.data / "personas"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def previews(self) -> Path:
        """What previews counted, by data set, base and prompt form; may be lost."""
        return self.data / "previews"

    @property
    def indexes(self) -> Path:
        """Where the lines of files begin, by file; may be lost."""
        return self.data / "cache" / "indexes"

    @property
    def edits(self) -> Path:
        """Edits of records that are not saved into their files yet: a journal for each file."""
        return self.data / "edits"

    @property
    def inspections(self) -> Path:
        """Reports of inspections, for files that are as they were; may be lost."""
        return self.data / "inspections"

    @property
    def state(self) -> Path:
        """Small files of one person's console: drafts, the screen to come back to."""
        return self.data / "state"

    @property
    def env_backups(self) -> Path:
        """Old contents of the env file that `env set` changed."""
        return self.data / "env-backups"

    @property
    def run_units(self) -> Path:
        """What units of systemd's are to run, a file for each until it has begun."""
        return self.data / "run-units"

    @property
    def audit_spool(self) -> Path:
        """Audit entries that could not reach the store yet, as JSON Lines."""
        return self.data / "audit-spool.jsonl"


def names_below() -> frozenset[str]:
    """What may lie directly in a data folder: the names of Paths."""
    paths = Paths(Path("/"))
    every = [
        getattr(paths, name) for name, kind in vars(Paths).items() if isinstance(kind, property)
    ]
    return frozenset(path.parts[1] for path in every)


def data_folder(environment: Mapping[str, str] | None = None) -> Path:
    """SOPHIA_DATA_DIR, else /var/lib/sophia for root, else the user's XDG data folder."""
    environment = os.environ if environment is None else environment
    chosen = environment.get("SOPHIA_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return SERVER_DATA
    base = environment.get("XDG_DATA_HOME") or str(home(environment) / ".local" / "share")
    return Path(base) / "sophia"


def is_server_program() -> bool:
    """Whether this program is the one that the installer installed on a server."""
    return Path(__file__).is_relative_to(SERVER_PROGRAM)


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """What may be lost: XDG_CACHE_HOME/sophia, else ~/.cache/sophia."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_CACHE_HOME") or str(home(environment) / ".cache")
    return Path(base) / "sophia"


def model_cache(paths: Paths, environment: Mapping[str, str] | None = None) -> Path:
    """Where runs keep bases converted from GGUF: SOPHIA_MODEL_CACHE, else in the data folder."""
    environment = os.environ if environment is None else environment
    if named := environment.get("SOPHIA_MODEL_CACHE"):
        return Path(named).expanduser().absolute()
    return paths.models / "converted"


def home(environment: Mapping[str, str]) -> Path:
    """HOME, else the home of the account (services run without HOME)."""
    chosen = environment.get("HOME")
    return Path(chosen) if chosen else Path(pwd.getpwuid(os.geteuid()).pw_dir)


def system_user(environment: Mapping[str, str] | None = None) -> str:
    """Who acts: the person behind sudo where there is one, else the account of the process.

    SUDO_USER is believed for root, and for the account that colleagues become by sudo on a server:
    anybody else could set it to borrow a name. These two may set it as well, and we can't tell; but
    they can do everything to Sophia anyway.
    """
    environment = os.environ if environment is None else environment
    account = own_account()
    if os.geteuid() == 0 or account == SERVER_ACCOUNT:
        return environment.get("SUDO_USER") or account
    return account


def own_account() -> str:
    """The account of this process, by name where it has one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
