"""Models: what Sophia knows of each, and where it came from."""

from collections.abc import Sequence

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError
from sophia_tui.i18n import N_, _
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, Prices, ending_warning
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
    """Reads the registry of models. With `prices`, models say when they end."""

    def __init__(
        self, store: Store, prices: Load | None = None, clock: Clock | None = None
    ) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock

    @operation("models.list", N_("List the models Sophia knows, newest first."))
    async def page(self, context: Context, request: Page) -> ModelList:
        found = await self._store.models.page(request.limit, request.offset)
        prices = self._prices_for(found)
        return ModelList(items=[self._view(each, prices) for each in found])

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
        return self._view(found, self._prices_for([found]))

    def _prices_for(self, models: Sequence[Model]) -> Prices | None:
        """Dates are looked up for hosted models alone."""
        hosted = any(each.kind is ModelKind.HOSTED for each in models)
        return self._prices() if self._prices and hosted else None

    def _view(self, model: Model, prices: Prices | None) -> ModelView:
        """An operator's date goes before the one that was noted when the model was made."""
        view = ModelView.of(model)
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
