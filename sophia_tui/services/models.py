"""Models: what Sophia knows of each, and where it came from."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.models import Model, ModelFilter, ModelKind
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, NotFoundError, RefusedError
from sophia_tui.i18n import N_, _
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, Prices, ending_warning
from sophia_tui.services.views import ModelList, ModelView
from sophia_tui.textsafe import visible


class ModelReference(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))


class ModelPage(ListPage):
    sorts = ("created_at", "id", "kind", "state", "base", "job", "dataset", "size")

    kind: list[Literal["hosted", "base", "adapter", "merged", "exported"]] = Field(
        default_factory=list, description=N_("Only models of this kind; may be repeated.")
    )
    state: list[
        Literal["candidate", "approved", "conditional", "expired", "rejected", "retired"]
    ] = Field(default_factory=list, description=N_("Only models in this state; may be repeated."))


class DeletedModel(Output):
    id: str = Field(title=N_("Model"))
    deleted: bool = Field(title=N_("Deleted"))


def _in_use(model_id: str, uses: Sequence[tuple[str, str]]) -> ConflictError:
    words = {
        "served": _("served as {who}"),
        "promoted": _("promoted, or the way back, by {who}"),
        "merged": _("what {who} was made of"),
        "worked on": _("worked on by job {who}"),
    }
    told = ", ".join(words[use].format(who=who) for use, who in uses)
    return ConflictError(
        "J610",
        _("The model {model} is in use.").format(model=model_id),
        _("It is {uses}.").format(uses=told or _("named in an env file of production")),
        _("Take it out of use first."),
        openai={"code": "model_in_use", "param": "model"},
    )


def unknown_model(model_id: str) -> NotFoundError:
    return NotFoundError(
        "M404",
        _("There is no model {model}.").format(model=model_id),
        remedy=_("`sophia models list` lists the models Sophia knows."),
    )


def _remove(path: Path) -> None:
    """A folder of weights, or the one file of an exported model."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def named_in_production(managed: Sequence[Path], model_id: str) -> bool:
    """Whether a managed env file names it; one that can't be read may."""
    from sophia_tui import envfile

    for path in managed:
        try:
            values = envfile.values(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            return True
        if model_id in values.values():
            return True
    return False


async def known_model(store: Store, model_id: str, now: datetime) -> Model:
    """A model with a row of its own, or one that jobs or promotions name (version 0). Raises
    NotFoundError M404."""
    found = await store.models.known(ModelFilter(model_id=model_id), now)
    if not found.items:
        raise unknown_model(visible(model_id))
    return found.items[0]


async def with_row(store: Store, model: Model) -> Model:
    """The model with a row of its own, so that something can be kept of it."""
    if model.version:
        return model
    with contextlib.suppress(ConflictError):  # another person was faster
        await store.models.add(replace(model, version=1))
    return await store.models.get(model.id) or model


class ModelsService:
    """The registry of models. With `prices`, models say when they end; `managed` are the env files
    of production."""

    def __init__(
        self,
        store: Store,
        prices: Load | None = None,
        clock: Clock | None = None,
        managed: Sequence[Path] = (),
    ) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock
        self._managed = managed

    @operation(
        "models.list",
        N_("List the models Sophia knows: hosted, base, adapter, merged and exported ones."),
    )
    async def page(self, context: Context, request: ModelPage) -> ModelList:
        which = ModelFilter(kinds=tuple(request.kind), states=tuple(request.state))
        found = await self._store.models.known(which, self._moment(), request.wanted())
        prices = self._prices_for(found.items)
        return ModelList(
            items=[self._view(each, prices) for each in found],
            total=found.total,
            unfiltered=found.unfiltered,
        )

    @operation(
        "models.show",
        N_("Show one model with its state, files, job, data set and evaluation."),
        target="model",
        positional=("model",),
    )
    async def show(self, context: Context, request: ModelReference) -> ModelView:
        found = await known_model(self._store, request.model, self._moment())
        return self._view(found, self._prices_for([found]), with_files=True)

    @operation(
        "models.delete",
        N_("Delete a tuned model of this machine: its weights are gone for good."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        target="model",
        positional=("model",),
    )
    async def delete(self, context: Context, request: ModelReference) -> DeletedModel:
        """Raises NotFoundError M404, ConflictError J610 (in use), RefusedError J611 (not ours)."""
        import asyncio

        found = await known_model(self._store, request.model, self._moment())
        if found.kind not in (ModelKind.ADAPTER, ModelKind.MERGED, ModelKind.EXPORTED):
            raise RefusedError(
                "J611",
                _("{model} is no model that was trained on this machine.").format(model=found.id),
                remedy=_("One at a provider: `sophia provider delete MODEL`."),
                openai={"code": "model_not_deletable", "param": "model"},
            )
        uses = await self._store.models.uses(found.id)
        if uses or named_in_production(self._managed, found.id):
            raise _in_use(found.id, uses)
        await self._store.models.update(found.id, deleted_at=self._moment())
        if found.path:
            await asyncio.to_thread(_remove, Path(found.path))
        return DeletedModel(id=found.id, deleted=True)

    def _moment(self) -> datetime:
        return self._clock.now() if self._clock else datetime.now(UTC)

    def _prices_for(self, models: Sequence[Model]) -> Prices | None:
        """Dates are looked up for hosted models alone."""
        hosted = any(each.kind is ModelKind.HOSTED for each in models)
        return self._prices() if self._prices and hosted else None

    def _view(self, model: Model, prices: Prices | None, with_files: bool = False) -> ModelView:
        """An operator's date goes before the one that was noted when the model was made."""
        view = ModelView.of(model, self._moment(), with_files)
        if prices is None or self._clock is None or model.kind is not ModelKind.HOSTED:
            return view
        ending = prices.shutdown(model.id) or prices.shutdown(model.base)
        warning = ending_warning(model.id, ending, self._clock.now())
        return view.model_copy(
            update={
                "shutdown_at": ending.moment if ending else None,
                "warnings": [warning] if warning else [],
            }
        )
