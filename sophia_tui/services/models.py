"""Models: what Sophia knows of each, and where it came from."""

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import NotFoundError
from sophia_tui.i18n import N_, _
from sophia_tui.services.operations import operation
from sophia_tui.services.views import ModelList, ModelView, Page


class ModelReference(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))


def unknown_model(model_id: str) -> NotFoundError:
    return NotFoundError(
        "M404",
        _("There is no model {model}.").format(model=model_id),
        remedy=_("`sophia models list` lists the models Sophia knows."),
    )


class ModelsService:
    """Reads the registry of models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation("models.list", N_("List the models Sophia knows, newest first."))
    async def page(self, context: Context, request: Page) -> ModelList:
        found = await self._store.models.page(request.limit, request.offset)
        return ModelList(items=[ModelView.of(each) for each in found])

    @operation(
        "models.show",
        N_("Show one model with its job, data set and evaluation."),
        target="model",
        positional=("model",),
    )
    async def show(self, context: Context, request: ModelReference) -> ModelView:
        found = await self._store.models.get(request.model)
        if found is None:
            raise unknown_model(request.model)
        return ModelView.of(found)
