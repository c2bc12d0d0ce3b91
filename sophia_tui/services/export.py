"""Export: a model, or an adapter, as one GGUF file for llama.cpp; a worker does it."""

import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.models import Model, ModelKind, exported_id
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, NotFoundError, OutsideError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.paths import Paths
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.merge import adapter_folder, is_whole, whole_merged
from sophia_tui.services.models import known_model, with_row
from sophia_tui.services.operations import operation
from sophia_tui.services.room import bytes_of_weights, require_room
from sophia_tui.services.train import chosen_threads, new_job_id, require_training_packages
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Quantisation = Literal[
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q4_k_s",
    "q4_k_m",
    "q5_k_s",
    "q5_k_m",
    "q6_k",
]
#: Bits of a number, about; K types that fit no row fall back to larger ones.
_BITS = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q6_k": 8.5}
_FEWER_BITS = 7.0
_K_TYPES = ("q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k")
_OF_ADAPTERS = ("f32", "f16", "bf16")


class ExportRequest(Input):
    model: str = Field(description=N_("The model's id: merged, an adapter or a base."))
    quantisation: Quantisation = Field(
        default="f16",
        description=N_("How numbers are written: f32 as they are, q4_k_m in about a seventh."),
    )
    adapter: bool = Field(
        default=False,
        description=N_("Only the adapter, to be laid on its base, not the merged model."),
    )


@dataclass(frozen=True)
class _Source:
    """What is exported: the row, the model that the run loads, the adapter on it."""

    model: Model
    base: str
    adapter: str | None = None


class ExportService:
    """Queues exports."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._wake = wake

    @operation(
        "models.export",
        N_("Write a model, or an adapter alone, as a GGUF file for llama.cpp."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        makes="id",
        positional=("model",),
    )
    async def export(self, context: Context, request: ExportRequest) -> JobView:
        """Raises NotFoundError M404, M432, M524, UsageError M521, M522, ConflictError M523,
        M526, OutsideError J501, M527, SetupError M520. One that is under way is shown and not
        doubled."""
        source = await self._source(request)
        made = exported_id(source.model.id, request.quantisation, request.adapter)
        await self._refuse_twice(made)
        for job in await self._store.jobs.page(limit=50, kinds=(JobKind.EXPORT.value,)):
            if job.request.get("makes") == made and not has_ended(job):
                await self._wake()
                return JobView.of(job)
        require_training_packages()
        _require_quantiser(request.quantisation)
        if not request.adapter:
            bits = _BITS.get(request.quantisation, _FEWER_BITS)
            require_room(self._paths.runs, bytes_of_weights(source.base, bits), made)
        # a base that jobs name alone gets its row: what is made of it refers to it
        await with_row(self._store, source.model)
        job = self._job(context, request, source, made)
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    async def _source(self, request: ExportRequest) -> _Source:
        model = await known_model(self._store, request.model, self._clock.now())
        if request.adapter:
            return await self._adapter(model, request.quantisation)
        if model.kind is ModelKind.ADAPTER:
            merged = await whole_merged(self._store, model.id)
            if merged is None:
                raise ConflictError(
                    "M523",
                    _("{model} is not merged, so there is no whole model to export.").format(
                        model=model.id
                    ),
                    _("It is an adapter on the base {base}.").format(base=model.base),
                    _(
                        "`sophia models merge {model}` merges it; `--adapter` exports it alone."
                    ).format(model=model.id),
                )
            model = merged
        if model.kind is ModelKind.MERGED and not is_whole(model):
            raise NotFoundError(
                "M524",
                _("The merged model {model} is not there, or not whole.").format(model=model.id),
                model.path or "-",
                _("Merge again: `sophia models merge {model}`.").format(model=model.parent or "?"),
            )
        if model.kind is ModelKind.MERGED:
            return _Source(model, model.path or "")
        if model.kind is ModelKind.BASE:
            return _Source(model, model.path or model.base)
        raise UsageError(
            "M521",
            _("{model} has no weights on this machine that could be exported.").format(
                model=model.id
            ),
            _("Its kind is {kind}.").format(kind=_(model.kind.value)),
            _("`sophia models list` shows the kind of each model."),
        )

    async def _adapter(self, model: Model, quantisation: str) -> _Source:
        if model.kind is ModelKind.MERGED and model.parent:
            model = await self._store.models.get(model.parent) or model
        folder = adapter_folder(model)
        if quantisation not in _OF_ADAPTERS:
            raise UsageError(
                "M522",
                _("An adapter is not written in {quantisation}.").format(quantisation=quantisation),
                _("It is small, and its numbers are kept: {known}.").format(
                    known=", ".join(_OF_ADAPTERS)
                ),
                _("Leave --quantisation out, or name one of these."),
            )
        return _Source(model, model.base, folder)

    async def _refuse_twice(self, made: str) -> None:
        found = await self._store.models.get(made)
        if found is not None and found.path and Path(found.path).is_file():
            raise ConflictError(
                "M526",
                _("It is exported already, as {model}.").format(model=made),
                found.path,
                _("Delete that one first: `sophia models delete {model}`.").format(model=made),
            )

    def _job(self, context: Context, request: ExportRequest, source: _Source, made: str) -> Job:
        from finetune.schema import ExportSettings, RunSpec

        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="export",
            base=source.base,
            threads=chosen_threads(self._settings),
            adapter_path=source.adapter,
            export=ExportSettings(name=_file_name(made), quantisation=request.quantisation),
        )
        asked: dict[str, Any] = {"run": run.model_dump(mode="json"), "makes": made}
        return Job(
            id=job_id,
            kind=JobKind.EXPORT,
            state="queued",
            base=source.model.base,
            dataset=source.model.dataset,
            request={**asked, "language": get_language()},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=source.model.id,
        )


def _file_name(model_id: str) -> str:
    return re.sub(r"^[^A-Za-z0-9]+|[^\w.-]", "-", model_id, flags=re.ASCII).lstrip("-") or "model"


def _require_quantiser(quantisation: str) -> None:
    from importlib.util import find_spec

    if quantisation not in _K_TYPES or find_spec("xllamacpp") or shutil.which("llama-quantize"):
        return
    raise OutsideError(
        "M527",
        _("This machine has nothing that writes {quantisation}.").format(quantisation=quantisation),
        _(
            "Such types are llama.cpp's own: neither the Python package xllamacpp nor the program "
            "llama-quantize is there."
        ),
        _('In the checkout: pip install -c requirements.lock ".[serving]"; or take q8_0 or q4_0.'),
    )
