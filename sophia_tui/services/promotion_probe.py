"""The probe of a promotion: whether the new name answers where each env file sends its service."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sophia_tui import envfile
from sophia_tui.domain.models import FileChange, Model, ModelKind, Promotion
from sophia_tui.domain.protocols import Prober
from sophia_tui.domain.serving import Probe
from sophia_tui.errors import OutsideError, SophiaError, UsageError
from sophia_tui.i18n import _, number
from sophia_tui.services.managed_env import refers_to
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_log = logging.getLogger(__name__)

#: What a promotion keeps of its probe where a person went without.
SKIPPED: dict[str, Any] = {"answered": None, "why": "skipped by --no-probe"}

#: The models of these names that Sophia knows.
Known = Callable[[str], Awaitable[Model | None]]


@dataclass(frozen=True)
class Place:
    """A name, and where a service will ask for it. `base_url` None is the client's own default,
    api.openai.com."""

    name: str
    base_url: str | None
    api_key: str | None = field(repr=False)


class Probing:
    """Asks the models at every place that the changed env files name; `read` gives their text."""

    def __init__(
        self,
        prober: Prober,
        settings: "Settings",
        read: Callable[[Path], Awaitable[str]],
        known: Known,
    ) -> None:
        self._prober = prober
        self._read = read
        self._known = known
        self._settings = settings

    async def required(self, changes: Sequence[FileChange], back: bool = False) -> dict[str, Any]:
        """What the promotion keeps of it; `back`, that of a way back. Raises
        UnavailableError P012, P015, UsageError P013, P014; nothing is written then."""
        found = []
        for place in await self.places(changes, back):
            told = await self._ask(place)
            found.append(told)
            if not told.answered:
                raise OutsideError(
                    "P012",
                    _("{model} does not answer at {address}; nothing was changed.").format(
                        model=visible(place.name), address=told.address
                    ),
                    told.why,
                    _remedy(place.name, await self._known(place.name), back),
                )
        return _kept(found)

    async def foretold(
        self, changes: Sequence[FileChange], back: bool = False
    ) -> tuple[list[str], str | None]:
        """What a plan says: whether the models would answer now, and the code of a refusal."""
        try:
            found = [await self._ask(place) for place in await self.places(changes, back)]
        except SophiaError as problem:
            why = f"{problem.what} {problem.remedy}"
            return [_("It would be refused: {why}").format(why=why)], problem.code
        answered = all(each.answered for each in found)
        return [
            _answered(each.address, each.seconds)
            if each.answered
            else _("It would be refused: no answer at {address}. {why}").format(
                address=each.address, why=each.why
            )
            for each in found
        ], None if answered else "SOPHIA-P012"

    async def unasked(self, changes: Sequence[FileChange], golden: bool) -> tuple[str, bool]:
        """What a plan says without the first question, and whether golden prompts are asked."""
        try:
            if golden and await self.places(changes):
                told = _("The first question is left out (--no-probe); the golden prompts are not.")
                return told, True
        except UsageError as problem:
            _log.info("nobody can be asked: %s", problem.code)
        return (
            _("NOBODY ASKS THE MODEL (--no-probe): whether it answers at all is not known."),
            False,
        )

    async def places(self, changes: Sequence[FileChange], back: bool = False) -> list[Place]:
        """Each name and place once: the env file's own address and key, else Sophia's. Raises
        UsageError P013, P014."""
        found: dict[Place, None] = {}
        for change in changes:
            values = envfile.values(await self._read(Path(change.path)))
            for name in dict.fromkeys(filter(None, change.after.values())):
                found[self._place(name, await self._known(name), values, back)] = None
        return list(found)

    async def _ask(self, place: Place) -> Probe:
        seconds = self._settings.probe_seconds
        return await self._prober(place.base_url, place.api_key, place.name, seconds)

    def _place(
        self, name: str, model: Model | None, values: Mapping[str, str], back: bool
    ) -> Place:
        base_url = _value(values, "OPENAI_BASE_URL") or self._settings.openai_base_url
        api_key = _value(values, "OPENAI_API_KEY") or self._own_key(base_url)
        hosted = model is not None and model.kind is ModelKind.HOSTED
        # a name that Sophia does not know may be anybody's: where there is an address it is asked
        if (hosted or (model is None and not base_url)) and not api_key:
            raise UsageError(
                "P013",
                _("{model} can't be asked: no OPENAI_API_KEY is set.").format(model=visible(name)),
                _("Neither the env file nor Sophia's settings have one."),
                _("Set it, or go back unasked: --no-probe.")
                if back
                else _("Set it, or promote with --no-probe."),
            )
        if model is not None and not hosted and not base_url:
            raise UsageError(
                "P014",
                _("{model} can't be asked: no OPENAI_BASE_URL is set.").format(model=name),
                _("The service would ask api.openai.com, which does not know this model."),
                _(
                    "Serve it: `sophia serve model {model}`; then set OPENAI_BASE_URL={address}/v1 "
                    "in the env file or in Sophia's settings."
                ).format(model=name, address=self._settings.api_url.rstrip("/"))
                + (f" {_unasked()}" if back else ""),
            )
        return Place(name, base_url, api_key)

    def _own_key(self, base_url: str | None) -> str | None:
        """The key of ours for this address: that of the served models for our own API alone."""
        ours = base_url is not None and _host(base_url) == _host(self._settings.api_url)
        key = (ours and self._settings.model_token) or self._settings.openai_api_key
        return key.get_secret_value() if key else None


def probe_notes(promotion: Promotion) -> list[str]:
    """What people read of the probe when the promotion is done."""
    kept = promotion.notes.get("probe")
    if kept is None:
        return []
    if kept.get("answered") is None:
        if promotion.notes.get("golden"):
            return [_("The first question was left out (--no-probe); the golden prompts were not.")]
        return [_("NOBODY ASKED THE MODEL (--no-probe): whether it answers at all is not known.")]
    return [_answered(each["address"], each["seconds"]) for each in kept["places"]]


def _answered(address: str, seconds: float) -> str:
    return _("It answers at {address} ({seconds} s).").format(
        address=visible(address), seconds=number(seconds, 1)
    )


def _kept(found: Sequence[Probe]) -> dict[str, Any]:
    places = [asdict(each) for each in found]
    return {"answered": True, "places": places}


def _unasked() -> str:
    return _("Or go back without asking it: `sophia promote rollback --no-probe`.")


def _remedy(name: str, model: Model | None, back: bool = False) -> str:
    if back:
        return _unasked() if model is None else f"{_remedy(name, model)} {_unasked()}"
    if model is None:
        return _("Look at OPENAI_BASE_URL; who knows better goes on with --no-probe.")
    if model.kind is ModelKind.HOSTED:
        return _("Look at OPENAI_BASE_URL and OPENAI_API_KEY, and whether the model still exists.")
    return _(
        "Serve it: `sophia serve model {model}`; `sophia serve list` says what answers."
    ).format(model=name)


def _host(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.replace("localhost", "127.0.0.1")


def _value(values: Mapping[str, str], key: str) -> str | None:
    """A value of an env file; one that only names another key is that key's."""
    text = values.get(key, "").strip()
    if text and refers_to(text, values):
        text = values.get(text.strip("${}"), "").strip()
    return text or None
