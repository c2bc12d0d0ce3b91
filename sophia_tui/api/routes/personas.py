"""`POST /handshake` and `POST /tune`: doors to the personas, in the shapes that scripts have."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from sophia_tui.api.routes.sophia import body_of
from sophia_tui.domain.context import Face
from sophia_tui.i18n import get_language
from sophia_tui.services.personas import Document, PersonaView, Taught, TuneView

if TYPE_CHECKING:
    from sophia_tui.wiring import House

OPERATIONS = frozenset({"personas.handshake", "personas.tune"})


class LoraConfig(BaseModel):
    """How the adapter is to be; what is left out, Sophia chooses."""

    model_config = ConfigDict(extra="forbid")

    model_name: str | None = None
    rank: int | None = Field(None, ge=1)
    alpha: float | None = Field(None, gt=0)


class TuneBody(BaseModel):
    persona_id: str
    training_data: list[Taught] = Field(default_factory=list)
    lora_config: LoraConfig | None = None


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def router(house: "House") -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["personas"])
    for model in (PersonaView, TuneView):
        model.model_rebuild()

    async def ask(request: Request, name: str, fields: dict[str, Any]) -> Any:
        role = request.state.role
        context = house.context(
            Face.API, actor=f"api:{role.value}", role=role, language=get_language()
        )
        return await house.dispatcher.call(name, fields, context)

    @routes.post(
        "/handshake",
        operation_id="handshake",
        response_model=PersonaView,
        openapi_extra=_schema(Document),
    )
    async def handshake(request: Request) -> Any:
        return await ask(request, "personas.handshake", {"persona": await body_of(request)})

    @routes.post(
        "/tune", operation_id="tune", response_model=TuneView, openapi_extra=_schema(TuneBody)
    )
    async def tune(request: Request) -> Any:
        fields = dict(await body_of(request))
        config = fields.pop("lora_config", None)
        if isinstance(config, dict):
            fields = {**config, **fields}
        elif config is not None:
            fields["lora_config"] = config  # the operation says that it knows no such field
        return await ask(request, "personas.tune", fields)

    return routes
