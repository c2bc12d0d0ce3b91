"""The hosted provider itself: whether it takes us, what of ours lies there, and taking it away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.hosted import OPENAI, HostedOrder, HostedTrainer
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Danger, Input, NoInput, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, RefusedError, SophiaError, UnavailableError
from sophia_tui.i18n import N_, _
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.jobs_hosted import OpenTrainer
from sophia_tui.services.managed_env import read_env
from sophia_tui.services.models import ModelReference, unknown_model
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load
from sophia_tui.services.train_hosted import (
    check_address,
    door_is_open,
    own_address,
    require_client,
)
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_PAGE = 500
#: The kinds of use that the store tells.
_USES = {
    "served": N_("It is served as {who}."),
    "promoted": N_("The promotion {who} leads to it, or back to it."),
    "merged": N_("{who} was made of it."),
    "worked on": N_("Job {who} works on it."),
}
_OPEN, _CLOSED, _UNKNOWN = N_("accepting"), N_("closed"), N_("unknown")


class ProviderInput(Input):
    base: str | None = Field(
        default=None, description=N_("Also look for this base there; default FINETUNE_BASE.")
    )


class ProviderView(Output):
    """`training` is accepting, closed or unknown: what the provider itself says, now."""

    address: str = Field(title=N_("Address"))
    training: str = Field(title=N_("Training"))
    base: str | None = Field(default=None, title=N_("Base"))
    closes_on: datetime | None = Field(default=None, title=N_("Takes jobs until"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))
    problem: dict[str, object] | None = Field(default=None, title=N_("Problem"))
    _exit_code: int = PrivateAttr(default=0)

    def exit_code(self) -> int:
        """That of the problem: 3 where the provider refuses us, 5 where nobody answers."""
        return self._exit_code


class FileReference(Input):
    file: str = Field(min_length=1, description=N_("The file's id at the provider, e.g. file-abc."))


class HostedFileView(Output):
    """A file at the provider; `jobs` are ours that were trained on it."""

    table_columns: ClassVar[tuple[str, ...]] = ("id", "bytes", "created_at", "jobs", "name")

    id: str = Field(title=N_("File"))
    name: str = Field(default="", title=N_("Name"))
    bytes: int | None = Field(default=None, title=N_("Bytes"))
    status: str | None = Field(default=None, title=N_("State"))
    created_at: datetime | None = Field(default=None, title=N_("Created"))
    expires_at: datetime | None = Field(default=None, title=N_("Ends"))
    jobs: list[str] = Field(default_factory=list, title=N_("Jobs"))


class HostedFileList(Output):
    address: str = Field(title=N_("Address"))
    items: list[HostedFileView] = Field(title=N_("Files"))


class DeletedModel(Output):
    """What it was made of stays known."""

    model: str = Field(title=N_("Model"))
    deleted: bool = Field(default=False, title=N_("Deleted"))
    job: str | None = Field(default=None, title=N_("Job"))
    dataset: str | None = Field(default=None, title=N_("Data set"))


class ProviderService:
    """Asks the provider of the settings; a model is asked for where it was made."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        open_trainer: OpenTrainer,
        prices: Load,
        clock: Clock,
    ) -> None:
        self._store = store
        self._settings = settings
        self._open = open_trainer
        self._prices = prices
        self._clock = clock

    @operation(
        "provider.check",
        N_("Ask the hosted provider whether it takes our key and new training jobs."),
        positional=("base",),
    )
    async def check(self, context: Context, request: ProviderInput) -> ProviderView:
        """Raises UsageError J510, J511, UnavailableError J512."""
        address = self._address()
        base = request.base or self._settings.finetune_base
        closing = self._prices().training_closes.get(OPENAI) if own_address(address) else None
        view = ProviderView(
            address=_shown(address),
            training=_OPEN,
            base=base,
            closes_on=closing.moment if closing else None,
        )
        order = HostedOrder(base=base or "-", base_url=address, dataset_hash="", training="")
        try:
            async with self._trainer(address) as trainer:
                await trainer.knock()
                told = await door_is_open(trainer, order, "DATASET", self._clock.now())
        except SophiaError as problem:
            state = _CLOSED if problem.code in ("SOPHIA-J515", "SOPHIA-J523") else _UNKNOWN
            view = view.model_copy(update={"training": state, "problem": problem.as_dict()})
            view._exit_code = 5 if isinstance(problem, UnavailableError) else 3
            return view
        return view.model_copy(update={"warnings": told})

    @operation("provider.files", N_("List the training files that lie at the hosted provider."))
    async def files(self, context: Context, request: NoInput) -> HostedFileList:
        """Raises UsageError J510, J511, UnavailableError, JobError."""
        address = self._address()
        async with self._trainer(address) as trainer:
            found = await trainer.files()
        users = await self._users(address)
        return HostedFileList(
            address=_shown(address),
            items=[
                HostedFileView(
                    id=each.id,
                    name=visible(each.name),
                    bytes=each.bytes,
                    status=visible(each.status) if each.status else None,
                    created_at=each.created_at,
                    expires_at=each.expires_at,
                    jobs=[job.id for job in users.get(each.id, [])],
                )
                for each in found
            ],
        )

    @operation(
        "provider.remove",
        N_("Delete a training file at the hosted provider."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        target="file",
        positional=("file",),
    )
    async def remove(self, context: Context, request: FileReference) -> HostedFileView:
        """Raises RefusedError J540 while a job needs it, NotFoundError J526."""
        address = self._address()
        users = (await self._users(address)).get(request.file, [])
        needed = [job.id for job in users if not has_ended(job)]
        if needed:
            raise RefusedError(
                "J540",
                _("The file {file} is still needed.").format(file=visible(request.file)),
                _("Job {job} trains on it.").format(job=needed[0]),
                _("Wait until it ends, or cancel it: `sophia jobs cancel`."),
            )
        async with self._trainer(address) as trainer:
            found = await trainer.file(request.file)
            if not context.dry_run:
                await trainer.delete_file(request.file)
        return HostedFileView(
            id=found.id,
            name=visible(found.name),
            bytes=found.bytes,
            status=None if context.dry_run else "deleted",
            created_at=found.created_at,
            expires_at=found.expires_at,
            jobs=[job.id for job in users],
        )

    @operation(
        "provider.delete",
        N_("Delete a tuned model at its hosted provider; what Sophia knows of it stays."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        target="model",
        positional=("model",),
    )
    async def delete(self, context: Context, request: ModelReference) -> DeletedModel:
        """Raises NotFoundError M404, RefusedError J541 (it lies on this machine), J542 (it is in
        use, or a way back), and what the provider raises."""
        model = await self._store.models.get(request.model)
        if model is None:
            raise unknown_model(request.model)
        if model.kind is not ModelKind.HOSTED:
            raise RefusedError(
                "J541",
                _("The model {model} is not at a provider.").format(model=visible(model.id)),
                _("It lies in {folder}.").format(folder=visible(model.path or "-")),
                _("`sophia models delete` deletes it here."),
            )
        await self._require_unused(model)
        job = await self._store.jobs.get(model.job_id) if model.job_id else None
        ordered = job is not None and "hosted" in job.request
        address = HostedOrder.of(job.request).base_url if job and ordered else self._address()
        require_client(self._settings, address)
        view = DeletedModel(model=model.id, job=model.job_id, dataset=model.dataset)
        if context.dry_run:
            return view
        async with self._trainer(address) as trainer:
            with suppress(NotFoundError):  # gone already, which is what was wanted
                await trainer.delete_model(model.id)
        await self._store.models.update(model.id, deleted_at=self._clock.now())
        return view.model_copy(update={"deleted": True})

    def _address(self) -> str | None:
        address = check_address(self._settings)
        require_client(self._settings, address)
        return address

    @asynccontextmanager
    async def _trainer(self, address: str | None) -> AsyncIterator[HostedTrainer]:
        trainer = self._open(address)
        try:
            yield trainer
        finally:
            await trainer.close()

    async def _users(self, address: str | None) -> dict[str, list[Job]]:
        """Our jobs at that address by the ids of the files that they were ordered with."""
        found: dict[str, list[Job]] = {}
        offset = 0
        while page := await self._store.jobs.page(_PAGE, offset):
            offset += len(page)
            for job in page:
                order = HostedOrder.of(job.request) if "hosted" in job.request else None
                if order is None or order.base_url != address:
                    continue
                for file in {order.training_file, order.validation_file} - {None}:
                    found.setdefault(str(file), []).append(job)
        return found

    async def _require_unused(self, model: Model) -> None:
        """Raises RefusedError J542 where an env file names the model, a promotion leads back to it,
        it is served, or a job trains on it."""
        use = self._named_now(model.id)
        for kind, who in await self._store.models.uses(model.id) if use is None else ():
            use = _(_USES[kind]).format(who=visible(who))
        if use is None:
            jobs = await self._store.jobs.page(_PAGE)
            on_it = [job for job in jobs if job.base == model.id and not has_ended(job)]
            use = _("Job {job} trains on it.").format(job=on_it[0].id) if on_it else None
        if use is not None:
            raise RefusedError(
                "J542",
                _("The model {model} can't be deleted.").format(model=visible(model.id)),
                use,
                _("What is in production, or the way back from it, stays."),
            )

    def _named_now(self, model_id: str) -> str | None:
        for path in self._settings.managed_files:
            try:
                values = envfile.values(read_env(path))
            except NotFoundError:
                continue
            named = [key for key, value in values.items() if value == model_id]
            if named:
                return _("{key} in {path} names it.").format(key=named[0], path=path)
        return None


def _shown(address: str | None) -> str:
    return address or "https://api.openai.com/v1"
