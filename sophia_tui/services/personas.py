"""Personas: known by their document, taught by pairs that add up, tuned on demand."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.personas import Pair, Persona
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, RefusedError, UsageError
from sophia_tui.files import usable_folder, whole_file
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.train import Door, TrainRequest, TrainService
from sophia_tui.services.views import Page
from sophia_tui.textsafe import visible
from sophia_tui.validation import where_and_what

if TYPE_CHECKING:
    from finetune.schema import Recipe
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

METHOD = "did:nings:artificial:llm"
_AT_WORK = frozenset((*(s.value for s in JobState if s.active), "queued", "interrupted", "paused"))
_RECIPES = {False: "persona-small", True: "persona-large"}
_PARAMETERS = re.compile(r"(?<![a-z0-9.])(\d+(?:[.,]\d+)?)\s*([mb])(?![a-z])", re.I)
_SIZES = {"m": 1e6, "b": 1e9}
_WEIGHTS = {".safetensors": 2.0, ".bin": 2.0, ".gguf": 0.6}  # bytes a parameter, about


class Document(BaseModel):
    """A persona's document. What it has beside these fields is kept as well."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    version: str = Field(min_length=1, max_length=64, pattern=r"\S")
    role: str | None = None
    description: str | None = None
    system_prompt: str | None = None
    traits: list[str] | None = None
    languages: list[str] | None = None
    base_model: str | None = None


class Taught(BaseModel):
    """One pair as it is sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    input: str = Field(pattern=r"\S")
    output: str = Field(pattern=r"\S")


class HandshakeInput(Input):
    persona: dict[str, Any] | str = Field(
        description=N_("The persona: its document as JSON, or a JSON file of this machine.")
    )


class PersonaReference(Input):
    persona_id: str = Field(description=N_("The persona's id (did:nings:…)."))


class TuneInput(PersonaReference):
    training_data: list[Taught] | str = Field(
        default_factory=list,
        description=N_(
            "Pairs of input and output: JSON (a list of objects), or a JSON or JSON Lines file."
        ),
    )
    model_name: str | None = Field(
        default=None, description=N_("The base model; default: the persona's, else FINETUNE_BASE.")
    )
    rank: int | None = Field(
        default=None, ge=1, le=1024, description=N_("The rank; default: by the size of the base.")
    )
    alpha: float | None = Field(
        default=None, gt=0, le=4096, allow_inf_nan=False, description=N_("The alpha.")
    )


class PersonaView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("name", "version", "pairs", "model", "persona_id")

    persona_id: str = Field(title=N_("Persona"))
    name: str = Field(title=N_("Name"))
    version: str = Field(title=N_("Version"))
    document: dict[str, Any] = Field(title=N_("Document"))
    pairs: int = Field(title=N_("Pairs"))
    model: str | None = Field(default=None, title=N_("Model"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))
    existed: bool = Field(default=False, title=N_("Was there already"))

    @classmethod
    def of(cls, persona: Persona, existed: bool = False) -> "PersonaView":
        return cls(
            persona_id=persona.id,
            name=persona.name,
            version=persona.version,
            document=persona.document,
            pairs=persona.pairs,
            model=persona.model_id,
            created_by=persona.created_by,
            created_at=persona.created_at,
            existed=existed,
        )


class PersonaList(Output):
    items: list[PersonaView] = Field(title=N_("Personas"))


class TuneView(Output):
    """`status` is collecting (pairs are missing), at_work (a tuning of before is), started or
    up_to_date (nothing new to learn)."""

    persona_id: str = Field(title=N_("Persona"))
    status: str = Field(title=N_("State"))
    added: int = Field(title=N_("New pairs"))
    pairs: int = Field(title=N_("Pairs"))
    missing: int = Field(title=N_("Pairs missing"))
    job: str | None = Field(default=None, title=N_("Job"))
    job_status: str | None = Field(default=None, title=N_("State of the job"))
    model: str | None = Field(default=None, title=N_("Model"))
    base: str | None = Field(default=None, title=N_("Base"))
    rank: int | None = Field(default=None, title=N_("Rank"))
    alpha: float | None = Field(default=None, title=N_("Alpha"))
    message: str = Field(default="", title=N_("What that means"))


def unknown_persona(persona_id: str) -> NotFoundError:
    return NotFoundError(
        "J630",
        _("There is no persona {persona}.").format(persona=visible(persona_id)[:200]),
        remedy=_("`sophia personas list` lists them; a handshake makes one."),
    )


class PersonasService:
    """Keeps personas and what they are given to learn, and tunes them."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        call: Call,
        train: TrainService,
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._call = call
        self._train = train

    @operation(
        "personas.handshake",
        N_("Make a persona of its document, or find the one that exists."),
        role=Role.OPERATOR,
        writes=True,
        positional=("persona",),
    )
    async def handshake(self, context: Context, request: HandshakeInput) -> PersonaView:
        """Raises UsageError J631, RefusedError J632, NotFoundError J633."""
        given = request.persona
        plain = _json_of(context, given) if isinstance(given, str) else given
        document = _checked(plain)
        digest = hashlib.sha256(canonical(document)).hexdigest()
        known = await self._store.personas.get(digest)
        if known is not None:
            return PersonaView.of(known, existed=True)
        persona = Persona(
            id=did(document["name"], document["version"], digest),
            name=document["name"],
            version=document["version"],
            document=document,
            document_hash=digest,
            created_by=context.actor,
            created_at=self._clock.now(),
        )
        return PersonaView.of(await self._store.personas.add(persona))

    @operation("personas.list", N_("List the personas, newest first."))
    async def page(self, context: Context, request: Page) -> PersonaList:
        found = await self._store.personas.page(request.limit, request.offset)
        return PersonaList(items=[PersonaView.of(each) for each in found])

    @operation(
        "personas.show", N_("Show one persona."), target="persona_id", positional=("persona_id",)
    )
    async def show(self, context: Context, request: PersonaReference) -> PersonaView:
        """Raises NotFoundError J630."""
        return PersonaView.of(await self._get(request.persona_id))

    @operation(
        "personas.tune",
        N_("Give a persona pairs to learn; with enough of them it is tuned."),
        role=Role.OPERATOR,
        writes=True,
        trains=True,
        target="persona_id",
        positional=("persona_id",),
    )
    async def tune(self, context: Context, request: TuneInput) -> TuneView:
        """Pairs that came are kept, whatever becomes of the tuning.

        Raises NotFoundError J630, J633, UsageError J634, RefusedError J632, and what prepare.run
        and train.start raise.
        """
        persona = await self._get(request.persona_id)
        sent = _pairs(context, request.training_data)
        added = await self._store.personas.add_pairs(persona.id, sent)
        pairs = await self._store.personas.pairs(persona.id)
        least = self._settings.persona_pairs
        newest = await self._newest(persona.id)
        view = TuneView(
            persona_id=persona.id,
            status="collecting",
            added=added,
            pairs=len(pairs),
            missing=max(0, least - len(pairs)),
            job=newest.id if newest else None,
            job_status=newest.state if newest else None,
            model=persona.model_id,
        )
        if view.missing:
            return _said(
                view,
                ngettext(
                    "{count} more pair is needed: they are kept.",
                    "{count} more pairs are needed: they are kept.",
                    view.missing,
                ).format(count=view.missing),
            )
        if newest is not None and newest.state in _AT_WORK:
            view = view.model_copy(update={"status": "at_work"})
            return _said(
                view, _("The pairs are kept; a tuning of before is not done: ask again then.")
            )
        base, lora = self._settings_of(persona, request)
        learnt = (newest.request["persona"] if newest else {}).get
        same = (learnt("pairs"), learnt("base"), learnt("lora")) == (len(pairs), base, lora)
        if newest is not None and newest.state == JobState.SUCCEEDED and same:
            view = view.model_copy(update={"status": "up_to_date"})
            return _said(view, _("It has learned these pairs already."))
        return await self._start(context, view, persona, pairs, base, lora)

    async def _start(
        self,
        context: Context,
        view: TuneView,
        persona: Persona,
        pairs: Sequence[Pair],
        base: str,
        lora: dict[str, Any],
    ) -> TuneView:
        recipe = _RECIPES[self._is_large(base)]
        dataset = await self._prepare(context, persona, pairs)
        door = Door(
            request={
                "persona": {
                    "id": persona.id,
                    "pairs": len(pairs),
                    "base": base,
                    "lora": lora,
                },
                "model_prefix": f"persona-{_slug(persona.name)}",
            },
            changes=lambda given: _with_lora(given, lora),
        )
        asked = TrainRequest(dataset=dataset, base=base, provider="local", recipe=recipe)
        job = await self._train.begin(
            replace(context, confirmed=True), asked, door
        )  # its protocol knows no second question; the budget holds
        await self._store.personas.used(persona.id, job.id)
        view = view.model_copy(
            update={
                "status": "started",
                "job": job.id,
                "job_status": job.status,
                "base": base,
                "rank": lora["r"],
                "alpha": lora["alpha"],
            }
        )
        return _said(view, _("The tuning is queued: `sophia jobs watch {job}`.").format(job=job.id))

    def _settings_of(self, persona: Persona, request: TuneInput) -> tuple[str, dict[str, Any]]:
        """The base and the adapter's settings. Raises UsageError J635 where no base is named."""
        own = persona.document.get("base_model")
        base = request.model_name or own or self._settings.finetune_base
        if not base:
            raise UsageError(
                "J635",
                _("No base model is named for the persona."),
                _("Neither its document, nor the request, nor FINETUNE_BASE names one."),
                _("Send lora_config.model_name, or set FINETUNE_BASE."),
            )
        settings = self._settings
        large = self._is_large(base)
        rank = settings.persona_rank_large if large else settings.persona_rank_small
        alpha = settings.persona_alpha if request.alpha is None else request.alpha
        return base, {"r": request.rank or rank, "alpha": alpha}

    def _is_large(self, base: str) -> bool:
        size = parameters_of(base)
        return size is not None and size >= self._settings.persona_large

    async def _prepare(self, context: Context, persona: Persona, pairs: Sequence[Pair]) -> str:
        """The pairs as a data set version, each chat opened by the persona's own prompt."""
        folder = self._paths.personas / persona.document_hash[:12]
        usable_folder(folder)
        prompt = persona.document.get("system_prompt")
        opening = [{"role": "system", "content": prompt}] if prompt and prompt.strip() else []
        with whole_file(folder / "pairs.jsonl") as stream:
            for each in pairs:
                messages = [
                    *opening,
                    {"role": "user", "content": each.input},
                    {"role": "assistant", "content": each.output},
                ]
                stream.write(json.dumps({"messages": messages}, ensure_ascii=False).encode())
                stream.write(b"\n")
        prepared = await self._call(
            "prepare.run",
            {
                "folder": str(folder),
                "files": ["pairs.jsonl"],
                "name": f"persona-{_slug(persona.name)}"[:50].rstrip("-"),
                "split": "90/10",
            },
            replace(context, inner=True),
        )
        return str(prepared.dataset.id)

    async def _newest(self, persona_id: str) -> Job | None:
        part = {"persona": {"id": persona_id}}
        return await self._store.trainings.newest(part, datetime.fromtimestamp(0, UTC))

    async def _get(self, persona_id: str) -> Persona:
        found = await self._store.personas.get(persona_id)
        if found is None:
            raise unknown_persona(persona_id)
        return found


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes that a document's hash is of: keys in order, no white space, UTF-8."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def did(name: str, version: str, digest: str) -> str:
    """E.g. did:nings:artificial:llm:techlead:v2.0:a7f3b9d2c8e1."""
    spoken = version.strip().lower()
    spoken = re.sub(r"[^a-z0-9._-]+", "-", spoken if spoken.startswith("v") else f"v{spoken}")
    return f"{METHOD}:{_slug(name)}:{spoken.strip('-')}:{digest[:12]}"


def parameters_of(base: str) -> float | None:
    """About how many parameters a base has: as its name says, else by the size of its files; None
    where neither tells."""
    name = Path(base).name
    found = [float(n.replace(",", ".")) * _SIZES[u.lower()] for n, u in _PARAMETERS.findall(name)]
    if found:
        return max(found)
    path = Path(base).expanduser()
    files = [path] if path.is_file() else list(path.glob("*")) if path.is_dir() else []
    sizes = [
        each.stat().st_size / _WEIGHTS[each.suffix] for each in files if each.suffix in _WEIGHTS
    ]
    return sum(sizes) if sizes else None


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].rstrip("-") or "persona"


def _with_lora(recipe: "Recipe", lora: dict[str, Any]) -> dict[str, Any]:
    return {"lora": {**recipe.lora.model_dump(), **lora}}


def _said(view: TuneView, message: str) -> TuneView:
    return view.model_copy(update={"message": message})


def _checked(plain: Any) -> dict[str, Any]:
    try:
        document = Document.model_validate(plain)
        found = document.model_dump(mode="json", exclude_none=True)
        canonical(found).decode()
    except ValidationError as problem:
        wrong = where_and_what(problem.errors(include_input=False, include_url=False))
    except (ValueError, RecursionError):
        wrong = _("It holds what JSON can't say: NaN, half a character, or bottomless nesting.")
    else:
        return found
    raise UsageError(
        "J631",
        _("The persona's document can't be used."),
        wrong,
        _("It is a JSON object with name and version; system_prompt, traits and so on may follow."),
    )


def _json_of(context: Context, text: str) -> Any:
    """What is said as JSON text, or stands in a file (one value, or JSON Lines).

    Raises UsageError J634, RefusedError J632 (a file from afar), NotFoundError J633.
    """
    if text.lstrip()[:1] in ("{", "["):
        content = text
    elif context.from_afar:
        raise RefusedError(
            "J632",
            _("Over HTTP this is sent as JSON, and is no file."),
            _("It would open any file of the server."),
            _("Send the JSON itself."),
        )
    else:
        try:
            content = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise NotFoundError(
                "J633",
                _("The file {path} can't be read.").format(path=visible(text)[:300]),
                getattr(problem, "strerror", None) or type(problem).__name__,
                _("Name a JSON file, or give the JSON itself."),
            ) from problem
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _json_lines(content)


def _json_lines(content: str) -> list[Any]:
    found = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UsageError(
                "J634",
                _("Line {number} is not valid JSON.").format(number=number),
                remedy=_("Give one JSON value, or one on each line."),
            ) from None
    return found


def _pairs(context: Context, given: Sequence[Taught] | str) -> list[Pair]:
    """Raises UsageError J636 where one is no pair."""
    if not isinstance(given, str):
        return [Pair(each.input, each.output) for each in given]
    plain = _json_of(context, given)
    found = []
    for number, each in enumerate(plain if isinstance(plain, list) else [plain], start=1):
        try:
            taught = Taught.model_validate(each)
        except ValidationError as problem:
            raise UsageError(
                "J636",
                _("Pair {number} can't be used.").format(number=number),
                where_and_what(problem.errors(include_input=False, include_url=False)),
                _('A pair is {"input": …, "output": …}, both texts.'),
            ) from None
        found.append(Pair(taught.input, taught.output))
    return found
