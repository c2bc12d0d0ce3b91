"""Upload: a model's files to the Hugging Face hub, after a person has seen what is sent."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import (
    NotFoundError,
    OutsideError,
    RefusedError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.i18n import N_, _, get_language, ngettext
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.merge import is_whole
from sophia_tui.services.models import known_model
from sophia_tui.services.operations import operation
from sophia_tui.services.train import new_job_id, require_training_packages
from sophia_tui.services.train_hosted import is_redacted
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_HUB = "https://huggingface.co"
#: What belongs to an adapter and not to the run that made it.
_OF_AN_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_BESIDE_IT = ("chat_template.jinja", "prompt_form.json")


class UploadRequest(Input):
    model: str = Field(description=N_("The model's id: merged, exported or an adapter."))
    to: str = Field(
        pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$",
        max_length=96,
        description=N_("The repository on the hub: a person or an organisation, /, a name."),
    )
    public: bool = Field(
        default=False, description=N_("Let anybody read it there; it is private otherwise.")
    )


class UploadService:
    """Queues uploads. `endpoint` is the hub's address, by HF_ENDPOINT."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        endpoint: str | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._endpoint = endpoint or _HUB

    @operation(
        "models.upload",
        N_("Send a model's files to a repository of the Hugging Face hub; private, unless said."),
        role=Role.ADMIN,
        writes=True,
        target="model",
        makes="id",
        positional=("model",),
    )
    async def upload(self, context: Context, request: UploadRequest) -> JobView:
        """Raises NotFoundError M404, M532, UsageError M531, RefusedError M533 (learnt from personal
        data), OutsideError J501, M534 (no token), UnconfirmedError M535 with the list of files."""
        model = await known_model(self._store, request.model, self._clock.now())
        files = _files(model)
        await self._refuse_personal(model)
        require_training_packages()
        if self._settings.huggingface_token is None:
            raise OutsideError(
                "M534",
                _("There is no token for the hub."),
                _("HUGGINGFACE_TOKEN (or HF_TOKEN) is not set."),
                _("Set it in Sophia's .env: `sophia env set HUGGINGFACE_TOKEN`."),
            )
        for job in await self._store.jobs.page(limit=50, kinds=(JobKind.UPLOAD.value,)):
            if job.model_id == model.id and job.request["to"] == request.to and not has_ended(job):
                await self._wake()
                return JobView.of(job)
        if not context.confirmed:
            raise self._question(request, files)
        job = self._job(context, model, request, files)
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    def _question(self, request: UploadRequest, files: dict[str, int]) -> UnconfirmedError:
        told = (
            ngettext(
                "{count} file ({size}) would leave this machine for {repository} at {hub}, "
                "private:",
                "{count} files ({size}) would leave this machine for {repository} at {hub}, "
                "private:",
                len(files),
            )
            if not request.public
            else ngettext(
                "{count} file ({size}) would leave this machine for {repository} at {hub}, where "
                "anybody may read it:",
                "{count} files ({size}) would leave this machine for {repository} at {hub}, where "
                "anybody may read them:",
                len(files),
            )
        ).format(
            count=len(files),
            size=shown_size(sum(files.values())),
            repository=request.to,
            hub=self._endpoint,
        )
        listed = ", ".join(f"{name} ({shown_size(size)})" for name, size in files.items())
        return UnconfirmedError(
            "M535",
            f"{told} {listed}.",
            _("Nobody has confirmed that yet."),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            files=files,
            private=not request.public,
            hub=self._endpoint,
        )

    async def _refuse_personal(self, model: Model) -> None:
        """What a model learnt from can be asked out of it, so the rule for data sets is its."""
        if model.dataset is None:
            return
        version = await self._store.datasets.get(model.dataset)
        if version is None or not is_redacted(version.manifest):
            raise RefusedError(
                "M533",
                _("The model {model} must not leave this machine.").format(model=model.id),
                _(
                    "It learnt from {dataset}, in which personal data was not replaced, as far as "
                    "is known."
                ).format(dataset=model.dataset),
                _("Prepare the data set again without --no-redact, and train on that."),
            )

    def _job(
        self, context: Context, model: Model, request: UploadRequest, files: dict[str, int]
    ) -> Job:
        from finetune.schema import RunSpec, UploadSettings

        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="upload",
            base=model.path or "",
            upload=UploadSettings(repository=request.to, private=not request.public, files=files),
        )
        asked: dict[str, Any] = {"run": run.model_dump(mode="json"), "to": request.to}
        return Job(
            id=job_id,
            kind=JobKind.UPLOAD,
            state="queued",
            base=model.base,
            dataset=model.dataset,
            request={**asked, "language": get_language()},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=model.id,
        )


def _files(model: Model) -> dict[str, int]:
    """What is sent of a model, with sizes in bytes. Raises UsageError M531, NotFoundError M532."""
    path = Path(model.path or "")
    if model.kind not in (ModelKind.ADAPTER, ModelKind.MERGED, ModelKind.EXPORTED):
        raise UsageError(
            "M531",
            _("{model} is no model that was made on this machine.").format(model=model.id),
            _("Its kind is {kind}.").format(kind=_(model.kind.value)),
            _("`sophia models list` shows the kind of each model."),
        )
    names: list[str]
    if model.kind is ModelKind.EXPORTED:
        names, there = [path.name], path.is_file()
    elif model.kind is ModelKind.MERGED:
        there = is_whole(model)
        names = sorted(each.name for each in path.iterdir()) if there else []
    else:
        there = all((path / name).is_file() for name in _OF_AN_ADAPTER)
        names = [*_OF_AN_ADAPTER, *(name for name in _BESIDE_IT if (path / name).is_file())]
    if not there:
        raise NotFoundError(
            "M532",
            _("The files of model {model} are not there, or not whole.").format(model=model.id),
            str(path),
            _("Put them back, or make the model again."),
        )
    folder = path if path.is_dir() else path.parent
    return {name: (folder / name).stat().st_size for name in names}
