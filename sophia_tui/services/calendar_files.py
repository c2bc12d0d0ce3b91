"""Which models env files name, under which keys, and where the services that read them ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from sophia_tui import envfile, paths
from sophia_tui.domain.managed import MODEL_KEYS
from sophia_tui.errors import SophiaError
from sophia_tui.services.calendar_views import UnreadFile
from sophia_tui.services.managed_env import ManagedEnv, refers_to
from sophia_tui.services.prices import Prices
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sophia_tui.settings import Settings

#: Keys that name what training starts from.
BASE_KEYS = ("FINETUNE_BASE", "AION_LORA_BASE")
_SETTINGS = "settings"


@dataclass(frozen=True)
class Place:
    """Where a service asks. `base_url` None is the client's own default, api.openai.com; `key_of`
    says whether the key stands in the file or is Sophia's, `said` whether the file itself has the
    address: else its service may get one from elsewhere."""

    base_url: str | None
    api_key: SecretStr | None = None
    key_of: str = ""
    said: bool = False

    @property
    def key(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key else None


@dataclass(frozen=True)
class Named:
    """A model id in an env file."""

    file: str
    key: str
    model: str
    use: Literal["asked", "base"]
    place: Place
    own: bool = False


@dataclass(frozen=True)
class Read:
    """What the env files name, and those that can't be read."""

    named: tuple[Named, ...]
    unread: tuple[UnreadFile, ...]


def same_address(first: str | None, second: str | None) -> bool:
    """Whether two addresses lead to the same host and port."""
    return _host(first) == _host(second)


def _host(address: str | None) -> tuple[str, str]:
    parts = urlsplit(address or "https://api.openai.com/v1")
    return parts.scheme, parts.netloc.rpartition("@")[2].replace("localhost", "127.0.0.1")


def shown_address(address: str | None) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(address or "https://api.openai.com/v1")
    return visible(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


class NamedModels:
    """Reads Sophia's own env file, those of SOPHIA_MANAGED_ENV_FILES and the declared ones."""

    def __init__(self, settings: "Settings", env: ManagedEnv) -> None:
        self._settings = settings
        self._env = env

    async def of_services(self) -> tuple[Path, ...]:
        """The env files of services, Sophia's own aside."""
        ours = {each.path for each in (await self._env.declared()).files if each.own}
        files = await self._files()
        return tuple(Path(each) for each, own in files.items() if not own and each not in ours)

    async def read(
        self, ours: "Collection[str]", prices: Prices, only: "Sequence[Path] | None" = None
    ) -> Read:
        """`ours` are the ids of models that Sophia knows; `only` these files count, where given."""
        named: list[Named] = []
        unread: list[UnreadFile] = []
        files = await self._files() if only is None else {str(each): False for each in only}
        for file, is_own in files.items():
            try:
                values = envfile.values(await self._env.read(Path(file)))
            except SophiaError as problem:
                unread.append(UnreadFile(file=file, why=f"{problem.what} {problem.why}".strip()))
                continue
            named += self._of(file, values, is_own, ours, prices)
        bases = self._bases(named) if only is None else []
        return Read((*named, *bases), tuple(unread))

    async def _files(self) -> dict[str, bool]:
        """Every env file that is known, and whether it is Sophia's own."""
        declared = await self._env.declared()
        own = self._settings.env_file
        others = [*self._settings.managed_files, *(Path(each.path) for each in declared.files)]
        files = {str(path): False for path in others}
        if own is not None:
            shown = paths.SERVER_ENV if own.is_relative_to(paths.CREDENTIALS) else own
            files = {str(own): True, **{each: False for each in files if each != str(shown)}}
        return files

    def _of(
        self,
        file: str,
        values: Mapping[str, str],
        own: bool,
        ours: "Collection[str]",
        prices: Prices,
    ) -> list[Named]:
        place = self._place(values)
        found = []
        for key in values:
            model = _value(values, key)
            if model and (use := _use(key, model, ours, prices)):
                found.append(Named(file, key, model, use, place, own))
        return found

    def _bases(self, named: list[Named]) -> list[Named]:
        """The bases in force that stand in no file of Sophia's own: from her table, say."""
        place = self.own_place()
        settings = self._settings
        given = {
            "FINETUNE_BASE": settings.finetune_base,
            "AION_LORA_BASE": settings.aion_lora_base
            if "aion_lora_base" in settings.model_fields_set
            else None,
        }
        standing = {(each.key, each.model) for each in named if each.own}
        return [
            Named(_SETTINGS, key, model, "base", place, True)
            for key, model in given.items()
            if model and (key, model) not in standing
        ]

    def own_place(self) -> Place:
        """Where Sophia herself asks."""
        base_url = (self._settings.openai_base_url or "").strip() or None
        return Place(base_url, self._own_key(base_url), "settings")

    def _place(self, values: Mapping[str, str]) -> Place:
        """The file's own address and key, else Sophia's; the key of one provider is never shown to
        another."""
        base_url, key = _value(values, "OPENAI_BASE_URL"), _value(values, "OPENAI_API_KEY")
        if key:
            return Place(base_url or None, SecretStr(key), "file", said=bool(base_url))
        if not base_url:
            return self.own_place()
        return Place(base_url, self._own_key(base_url), "settings", said=True)

    def _own_key(self, base_url: str | None) -> SecretStr | None:
        if base_url is not None and same_address(base_url, self._settings.api_url):
            return self._settings.model_token
        same = same_address(base_url, (self._settings.openai_base_url or "").strip() or None)
        key = self._settings.openai_api_key if same else None
        return key if key and key.get_secret_value().strip() else None


def _use(
    key: str, model: str, ours: "Collection[str]", prices: Prices
) -> Literal["asked", "base"] | None:
    if key in BASE_KEYS:
        return "base"
    known = model in ours or model.startswith("ft:") or prices.knows(model)
    return "asked" if key in MODEL_KEYS or key.endswith("_MODEL") or known else None


def _value(values: Mapping[str, str], key: str) -> str:
    """A value of an env file; one that only names another key is that key's."""
    text = values.get(key, "").strip()
    if text and refers_to(text, values):
        text = values.get(text.strip("${}"), "").strip()
    return text
