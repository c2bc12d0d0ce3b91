"""What OpenAPI says of the operations' inputs; outputs and errors FastAPI knows by itself."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema

from sophia_tui import __version__
from sophia_tui.api import problems
from sophia_tui.api.routes.sophia import method_of, path_of
from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.services.changes import MOST_NUMBER, WITH

if TYPE_CHECKING:
    from sophia_tui.services.operations import Registry

_REFERENCE = "#/components/schemas/{model}"
_SECURITY: dict[str, Any] = {
    "adminToken": {"type": "apiKey", "in": "header", "name": "x-admin-token"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_CONFIRM = "Confirm an act that is hard to change back."
_DETACH = "Let a job do it in the background; the job is the answer."
_SEEN = "Refuse (409) where another changed it since this number, which /audit/changes tells."
_DRY_RUN = "Show what would be done and change nothing."


def _controls(chosen: Operation) -> dict[str, str]:
    found = {}
    if chosen.danger is not Danger.NONE:
        found["confirm"] = _CONFIRM
    if chosen.dry_run:
        found["dry_run"] = _DRY_RUN
    if chosen.detaches:
        found["detach"] = _DETACH
    return {name: text for name, text in found.items() if name not in chosen.input.model_fields}


def _body_model(chosen: Operation) -> type[BaseModel]:
    """The input with the controls it may carry."""
    controls = _controls(chosen)
    fields: dict[str, Any] = {
        name: (bool, Field(default=False, description=text)) for name, text in controls.items()
    }
    if chosen.name in WITH:
        about = Field(default=None, ge=0, le=MOST_NUMBER, description=_SEEN)
        fields["seen"] = (int | None, about)
    if not fields:
        return chosen.input
    name = "".join(part.title() for part in chosen.name.replace("_", ".").split("."))
    return create_model(f"{name}Body", __base__=chosen.input, **fields)


def _parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": each.get("description", ""),
            "schema": each,
        }
        for name, each in schema.get("properties", {}).items()
    ]


def _hoisted(value: Any, schemas: dict[str, Any]) -> Any:
    """A schema that a route wrote by itself; the parts that it defines go among the others."""
    if isinstance(value, list):
        return [_hoisted(each, schemas) for each in value]
    if not isinstance(value, dict):
        return value
    for name, schema in value.get("$defs", {}).items():
        schemas.setdefault(name, _hoisted(schema, schemas))
    kept = {key: _hoisted(each, schemas) for key, each in value.items() if key != "$defs"}
    if isinstance(reference := kept.get("$ref"), str) and reference.startswith("#/$defs/"):
        kept["$ref"] = _REFERENCE.format(model=reference.removeprefix("#/$defs/"))
    return kept


#: What the guard answers before any route is asked.
_OF_GUARD = ("401", "408", "413", "429")


def _tell_problems(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Every answer that is no success, in the form and media type that it really has."""
    for model in (problems.Problem, problems.ProblemOpenAI):
        own = model.model_json_schema(ref_template=_REFERENCE)
        schemas.update(own.pop("$defs", {}))
        schemas[model.__name__] = own
    for path, methods in paths.items():
        name, media_type = "Problem", problems.MEDIA_TYPE
        if problems.is_openai(path):
            name, media_type = "ProblemOpenAI", "application/json"
        reference = {"$ref": _REFERENCE.format(model=name)}
        problem = {
            "description": "What, why, what to do.",
            "content": {media_type: {"schema": reference}},
        }
        for entry in methods.values():
            answers = entry["responses"]
            answers.pop("422", None)  # FastAPI's own, which is never sent
            if "default" in answers:  # a shape that scripts have
                answers.update(dict.fromkeys(_OF_GUARD, problem))
            else:
                answers["default"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def describe(app: FastAPI, operations: "Registry") -> dict[str, Any]:
    """The whole OpenAPI document; every route but /health needs a token."""
    document = get_openapi(title="Sophia", version=__version__, routes=app.routes)
    models = {each.name: _body_model(each) for each in operations}
    references, defined = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models.values())],
        ref_template=_REFERENCE,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, schema in defined.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    document["paths"] = _hoisted(document["paths"], schemas)
    for each in operations:
        method = method_of(each).lower()
        entry = document["paths"][path_of(each)][method]
        entry["description"] = f"Needs the role {each.role.value}."
        reference = references[(models[each.name], "validation")]
        if method == "get":
            entry["parameters"] = _parameters(schemas[reference["$ref"].rsplit("/", 1)[1]])
        else:
            entry["requestBody"] = {"content": {"application/json": {"schema": reference}}}
            entry["parameters"] = [
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": text,
                    "schema": {"type": "boolean", "default": False},
                }
                for name, text in _controls(each).items()
            ]
    _tell_problems(document["paths"], schemas)
    components["securitySchemes"] = _SECURITY
    document["security"] = [{name: []} for name in _SECURITY]
    for each in document["paths"]["/health"].values():
        each["security"] = []
    return document
