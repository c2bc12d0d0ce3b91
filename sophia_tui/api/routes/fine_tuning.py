"""/v1/files, /v1/uploads and /v1/fine_tuning: the local trainer by the OpenAI protocol.

A program that was written for the hosted service trains here when it is given our address. Each
route is a thin door to an operation; only names, shapes and the receiving of files are here.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from sophia_tui.api import receiving
from sophia_tui.api import tuning_objects as shapes
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.errors import NotFoundError, RefusedError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.services.files import FileView, new_id, unknown_file
from sophia_tui.services.tuning_views import MOST_BATCH, MOST_EPOCHS, TuningView
from sophia_tui.services.uploads import PART_BYTES, Uploads
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.wiring import House

OPERATIONS = frozenset({"files.add", "tuning.create"})
#: How long a wish may take to show, before the answer says how things stand all the same.
SETTLING_SECONDS = 5.0
_LOOK_SECONDS = 0.1

Auto = Literal["auto"]
Model = TypeVar("Model", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _said(words: str, most: int) -> WrapValidator:
    """One sentence for what is neither auto nor a number within its bounds."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(
                "no_number", "{said}", {"said": _(words).format(most=most)}
            ) from None

    return WrapValidator(check)


_WHOLE, _ABOVE = N_("must be auto or 1 to {most}"), N_("must be auto or above 0 and up to {most}")
Epochs = Annotated[Auto | Annotated[int, Field(ge=1, le=MOST_EPOCHS)], _said(_WHOLE, MOST_EPOCHS)]
Batch = Annotated[Auto | Annotated[int, Field(ge=1, le=MOST_BATCH)], _said(_WHOLE, MOST_BATCH)]
Multiplier = Annotated[Auto | Annotated[float, Field(gt=0, le=1000)], _said(_ABOVE, 1000)]
Beta = Annotated[Auto | Annotated[float, Field(gt=0, le=2)], _said(_ABOVE, 2)]


class Hyperparameters(_Body):
    n_epochs: Epochs | None = None
    batch_size: Batch | None = None
    learning_rate_multiplier: Multiplier | None = None


class DpoHyperparameters(Hyperparameters):
    beta: Beta | None = None


class Supervised(_Body):
    hyperparameters: Hyperparameters | None = None


class Dpo(_Body):
    hyperparameters: DpoHyperparameters | None = None


class Method(_Body):
    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None


class CreateJob(_Body):
    """The body of a new fine-tuning job."""

    model: str = Field(min_length=1)
    training_file: str = Field(min_length=1)
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = Field(None, json_schema_extra={"deprecated": True})
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=2147483647)
    metadata: dict[str, str] | None = None
    integrations: list[Any] | None = Field(None, max_length=0)


class CreateUpload(_Body):
    bytes: int = Field(ge=1)
    filename: str = Field(min_length=1, max_length=255)
    mime_type: str = ""
    purpose: Literal["fine-tune", "batch", "assistants", "vision", "user_data", "evals"]
    expires_after: dict[str, Any] | None = None


class CompleteUpload(_Body):
    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _form(name: str, *fields: str) -> dict[str, Any]:
    properties: dict[str, Any] = {each: {"type": "string"} for each in fields}
    properties[name] = {"type": "string", "format": "binary"}
    schema = {"type": "object", "required": [name, *fields], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


class _Desk:
    """Asks operations for requests of this protocol."""

    def __init__(self, house: "House") -> None:
        self._house = house

    def context(self, request: Request, inner: bool = False) -> Context:
        role = request.state.role
        made = self._house.context(
            Face.API,
            confirmed=True,  # a client of the protocol has no other way to say it
            actor=f"api:{role.value}",
            role=role,
            language=get_language(),
        )
        return replace(made, inner=inner)

    def require(self, request: Request, name: str) -> None:
        self._house.dispatcher.require(name, self.context(request))

    async def ask(self, request: Request, name: str, inner: bool = False, **fields: Any) -> Any:
        asked = {key: value for key, value in fields.items() if value is not None}
        return await self._house.dispatcher.call(name, asked, self.context(request, inner))

    async def settled(self, request: Request, job_id: str, reached: Iterable[str]) -> TuningView:
        """The job, once it has come to one of those states or a while has passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLING_SECONDS
        while True:
            view: TuningView = await self.ask(request, "tuning.show", job=job_id)
            if view.status in reached or loop.time() >= deadline:
                return view
            await asyncio.sleep(_LOOK_SECONDS)

    async def uploads(self) -> Uploads:
        await self._house.store()  # for the settings that Sophia keeps
        self._house.require_folder()
        house = self._house
        return Uploads(house.paths, house.clock, house.settings.upload_bytes)

    async def take(self, request: Request, path: Path, purpose: str, name: str) -> FileView:
        """A file that has come over the wire; it leaves no trace where it is refused."""
        try:
            added: FileView = await self.ask(
                request, "files.add", inner=True, path=str(path), purpose=purpose, filename=name
            )
        finally:
            path.unlink(missing_ok=True)
        return added


def router(house: "House") -> APIRouter:
    """The routes."""
    desk = _Desk(house)
    routes = APIRouter(prefix="/v1", tags=["fine-tuning"])
    _add_files(routes, desk, house)
    _add_uploads(routes, desk)
    _add_jobs(routes, desk)

    @routes.delete("/models/{name:path}", operation_id="v1.model.delete", name="Delete a model")
    async def delete_model(request: Request, name: str) -> shapes.Deleted:
        done = await desk.ask(request, "models.delete", model=name)
        return shapes.Deleted(id=done.id, object="model", deleted=done.deleted)

    return routes


def _add_files(routes: APIRouter, desk: _Desk, house: "House") -> None:
    @routes.post("/files", operation_id="v1.files.create", openapi_extra=_form("file", "purpose"))
    async def create(request: Request) -> shapes.FileObject:
        desk.require(request, "files.add")
        house.require_folder()
        path = house.paths.uploads / f"incoming-{new_id('file')}"
        form = await receiving.receive(request, "file", path, house.settings.upload_bytes)
        purpose = form.fields.get("purpose", "")
        added = await desk.take(request, path, purpose, form.filename or "file")
        return shapes.FileObject.of(added)

    @routes.get("/files", operation_id="v1.files.list")
    async def every(
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    ) -> shapes.FileList:
        found = await desk.ask(
            request, "files.list", purpose=purpose, after=after, order=order, limit=limit
        )
        data = [shapes.FileObject.of(each) for each in found.items]
        return shapes.FileList.model_validate(shapes.Listed.of(data, found.more).model_dump())

    @routes.get("/files/{file_id}", operation_id="v1.files.retrieve")
    async def one(request: Request, file_id: str) -> shapes.FileObject:
        return shapes.FileObject.of(await desk.ask(request, "files.show", file=file_id))

    @routes.get(
        "/files/{file_id}/content",
        operation_id="v1.files.content",
        response_class=FileResponse,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    async def content(request: Request, file_id: str) -> FileResponse:
        # its text may hold personal data: who only looks at figures does not get it
        if not request.state.role.allows(Role.OPERATOR):
            raise RefusedError(
                "J617",
                _("Reading a file's content is not allowed for this token."),
                _("It stands for somebody who only looks."),
                _("Send a token with the role operator."),
            )
        file: FileView = await desk.ask(request, "files.show", file=file_id)
        if not Path(file.path).is_file():
            raise unknown_file(file_id)
        return FileResponse(file.path, media_type="application/octet-stream")

    @routes.delete("/files/{file_id}", operation_id="v1.files.delete")
    async def delete(request: Request, file_id: str) -> shapes.Deleted:
        done = await desk.ask(request, "files.delete", file=file_id)
        return shapes.Deleted(id=done.id, object="file", deleted=done.deleted)


def _add_uploads(routes: APIRouter, desk: _Desk) -> None:
    @routes.post("/uploads", operation_id="v1.uploads.create", openapi_extra=_schema(CreateUpload))
    async def create(request: Request) -> shapes.UploadObject:
        desk.require(request, "files.add")
        body = await _read(request, CreateUpload)
        made = (await desk.uploads()).create(body.filename, body.purpose, body.bytes)
        return shapes.UploadObject.of(made)

    @routes.post(
        "/uploads/{upload_id}/parts",
        operation_id="v1.uploads.parts.create",
        openapi_extra=_form("data"),
    )
    async def add_part(request: Request, upload_id: str) -> shapes.PartObject:
        desk.require(request, "files.add")
        part, path = (await desk.uploads()).part(upload_id)
        await receiving.receive(request, "data", path, PART_BYTES)
        return shapes.PartObject.of(part)

    @routes.post(
        "/uploads/{upload_id}/complete",
        operation_id="v1.uploads.complete",
        openapi_extra=_schema(CompleteUpload),
    )
    async def complete(request: Request, upload_id: str) -> shapes.UploadObject:
        desk.require(request, "files.add")
        uploads = await desk.uploads()
        upload = uploads.get(upload_id)
        if upload.file_id is not None:  # the client asks again, for it did not hear the answer
            file = await desk.ask(request, "files.show", file=upload.file_id)
            return shapes.UploadObject.of(upload, file)
        body = await _read(request, CompleteUpload)
        upload, path = await asyncio.to_thread(uploads.join, upload_id, body.part_ids, body.md5)
        added = await desk.take(request, path, upload.purpose, upload.filename)
        return shapes.UploadObject.of(uploads.complete(upload, added.id), added)

    @routes.post("/uploads/{upload_id}/cancel", operation_id="v1.uploads.cancel")
    async def cancel(request: Request, upload_id: str) -> shapes.UploadObject:
        desk.require(request, "files.add")
        return shapes.UploadObject.of((await desk.uploads()).cancel(upload_id))


def _add_jobs(routes: APIRouter, desk: _Desk) -> None:
    path = "/fine_tuning/jobs"

    @routes.post(path, operation_id="v1.jobs.create", openapi_extra=_schema(CreateJob))
    async def create(request: Request) -> shapes.JobObject:
        desk.require(request, "tuning.create")
        body = await _read(request, CreateJob)
        headers = request.headers
        made = await desk.ask(
            request,
            "tuning.create",
            key=headers.get("idempotency-key"),
            again=_whole(headers.get("x-stainless-retry-count")) > 0,
            **_fields(body),
        )
        return shapes.JobObject.of(made)

    @routes.get(path, operation_id="v1.jobs.list")
    async def every(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> shapes.JobPage:
        wanted = {
            key.removeprefix("metadata[").removesuffix("]"): value
            for key, value in request.query_params.items()
            if key.startswith("metadata[") and key.endswith("]")
        }
        metadata = json.dumps(wanted) if wanted else None
        found = await desk.ask(request, "tuning.list", after=after, limit=limit, metadata=metadata)
        data = [shapes.JobObject.of(each) for each in found.items]
        return shapes.JobPage.model_validate(shapes.Listed.of(data, found.more).model_dump())

    @routes.get(f"{path}/{{job_id}}", operation_id="v1.jobs.retrieve")
    async def one(request: Request, job_id: str) -> shapes.JobObject:
        return shapes.JobObject.of(await desk.ask(request, "tuning.show", job=job_id))

    @routes.get(f"{path}/{{job_id}}/events", operation_id="v1.jobs.events")
    async def events(
        request: Request,
        job_id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> shapes.EventPage:
        before = None if after is None else _number_of(after, job_id)
        found = await desk.ask(request, "tuning.events", job=job_id, before=before, limit=limit)
        if before == 0:  # after the first thing that it told there is nothing
            return shapes.EventPage(data=[])
        return shapes.EventPage.made_of(found)

    @routes.get(f"{path}/{{job_id}}/checkpoints", operation_id="v1.jobs.checkpoints")
    async def checkpoints(
        request: Request,
        job_id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> shapes.CheckpointPage:
        found = await desk.ask(request, "tuning.checkpoints", job=job_id)
        data = [shapes.CheckpointObject.of(job_id, each) for each in found.items]
        if after is not None:
            places = [place for place, each in enumerate(data) if each.id == after]
            if not places:
                raise _no_such(after)
            data = data[places[0] + 1 :]
        page = shapes.Listed.of(data[:limit], len(data) > limit)
        return shapes.CheckpointPage.model_validate(page.model_dump())

    @routes.post(f"{path}/{{job_id}}/cancel", operation_id="v1.jobs.cancel")
    async def cancel(request: Request, job_id: str) -> shapes.JobObject:
        return await wish(request, job_id, "jobs.cancel", ("cancelled", "succeeded", "failed"))

    @routes.post(f"{path}/{{job_id}}/pause", operation_id="v1.jobs.pause")
    async def pause(request: Request, job_id: str) -> shapes.JobObject:
        return await wish(
            request, job_id, "jobs.pause", ("paused", "pausing", "succeeded", "failed")
        )

    @routes.post(f"{path}/{{job_id}}/resume", operation_id="v1.jobs.resume")
    async def resume(request: Request, job_id: str) -> shapes.JobObject:
        return await wish(request, job_id, "jobs.resume", ("queued", "validating", "running"))

    async def wish(
        request: Request, job_id: str, name: str, reached: tuple[str, ...]
    ) -> shapes.JobObject:
        await desk.ask(request, "tuning.show", job=job_id)  # a job of this protocol
        await desk.ask(request, name, job=job_id)
        return shapes.JobObject.of(await desk.settled(request, job_id, reached))


def _fields(body: CreateJob) -> dict[str, Any]:
    """The body as the operation's input; `auto` is what it does by itself."""
    method = body.method.type if body.method else "supervised"
    part: Supervised | Dpo | None = None
    if body.method:
        part = body.method.dpo if method == "dpo" else body.method.supervised
    chosen = part.hyperparameters if part and part.hyperparameters else body.hyperparameters
    parameters = chosen.model_dump() if chosen else {}
    return {
        "file": body.training_file,
        "validation_file": body.validation_file,
        "model": body.model,
        "method": method,
        "suffix": body.suffix,
        "seed": body.seed,
        "metadata": json.dumps(body.metadata) if body.metadata is not None else None,
        **{name: value for name, value in parameters.items() if value != "auto"},
    }


async def _read(request: Request, model: type[Model]) -> Model:
    """The body. Raises UsageError J615, with the parameter that is wrong."""
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if str(part) not in _UNIONS)
    code = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
    raise UsageError(
        "J615",
        _("The request can't be used."),
        f"{visible(where)[:200]}: {first['msg']}" if where else str(first["msg"]),
        openai={"code": code.get(first["type"], "invalid_value"), "param": where or None},
    )


#: What pydantic adds to a place for each kind that a value could be of.
_UNIONS = frozenset({"literal['auto']", "constrained-int", "constrained-float", "int", "float"})


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 5 else 0


def _number_of(event_id: str, job_id: str) -> int:
    """The number of an event of that job. Raises NotFoundError J616."""
    number = event_id.removeprefix(f"ftevent-{job_id}-")
    if number == event_id or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        raise _no_such(event_id)
    return int(number)


def _no_such(identifier: str) -> NotFoundError:
    return NotFoundError(
        "J616",
        _("Nothing here is called {id}.").format(id=visible(identifier)[:100]),
        openai={"code": "not_found", "param": "after"},
    )
