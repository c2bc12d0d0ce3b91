"""How an error leaves the API: its status, its JSON body, and FastAPI's own errors in our words."""

import json
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sophia_tui.errors import (
    InternalError,
    MethodError,
    NotFoundError,
    SophiaError,
    TooManyError,
    UnauthenticatedError,
    UsageError,
)
from sophia_tui.i18n import _
from sophia_tui.services.operations import as_sophia_error
from sophia_tui.textsafe import visible


class ErrorBody(BaseModel):
    """What happened, why, what to do."""

    code: str = Field(description="SOPHIA- and a letter with three digits; one code, one cause.")
    what: str
    why: str
    remedy: str
    details: dict[str, Any] = Field(default_factory=dict)


class Problem(BaseModel):
    """The body of every answer that is not a success: problem details as RFC 9457 has them, and
    beside them `error`, the same in Sophia's own words."""

    type: str = Field(description="urn:sophia:problem: and the code; one type, one cause.")
    title: str
    status: int
    detail: str
    error: ErrorBody


#: The media type of a Problem (RFC 9457).
MEDIA_TYPE = "application/problem+json"


class ProblemOpenAI(BaseModel):
    """The body of every answer of /v1 that is not a success, as clients of OpenAI know it."""

    class Error(BaseModel):
        message: str
        type: str
        param: str | None
        code: str | None

    error: Error


def is_openai(path: str) -> bool:
    """Whether the path is of the OpenAI protocol, whose clients know its form of errors alone."""
    return path == "/v1" or path.startswith("/v1/")


def asks_model(method: str, path: str) -> bool:
    """Whether that is what the key for served models is good for: to ask and to list them."""
    if path.startswith(("/v1/files", "/v1/uploads", "/v1/fine_tuning")):
        return False
    return is_openai(path) and method in ("GET", "POST")


def is_streamed(method: str, path: str) -> bool:
    """Whether the route reads the body itself, piece by piece and with a limit of its own."""
    if method != "POST":
        return False
    in_parts = path.startswith("/v1/uploads/") and path.endswith("/parts")
    return path == "/v1/files" or in_parts


def openai_status(problem: SophiaError) -> int:
    """A wrong request is 400 there; so is a conflict, for clients repeat what gets 409. They repeat
    503, and don't know 424."""
    return {409: 400, 422: 400, 424: 503}.get(problem.http_status, problem.http_status)


def answer(problem: SophiaError, path: str) -> Response:
    """The HTTP answer for an error, in the active language (its texts are translated already)."""
    headers = {}
    if isinstance(problem, UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(problem, TooManyError):
        headers["retry-after"] = str(problem.details.get("retry_after", 1))
    if is_openai(path):
        status = openai_status(problem)
        body = json.dumps({"error": _as_openai(problem, status)}, default=str)
        return Response(body, status, headers, media_type="application/json")
    content = {
        "type": f"urn:sophia:problem:{problem.code.removeprefix('SOPHIA-')}",
        "title": problem.what,
        "status": problem.http_status,
        "detail": " ".join(part for part in (problem.why, problem.remedy) if part),
        "error": problem.as_dict(),
    }
    body = json.dumps(content, default=str)
    return Response(body, problem.http_status, headers, media_type=MEDIA_TYPE)


#: Codes of ours that clients of the protocol know by another word.
_CODES = {
    "SOPHIA-R451": "training_not_available",
    "SOPHIA-M404": "model_not_found",
    "SOPHIA-R470": "rate_limit_exceeded",
}


def _as_openai(problem: SophiaError, status: int) -> dict[str, Any]:
    """OpenAI's form; `details["openai"]` of the error may give code and param."""
    own: dict[str, Any] = problem.details.get("openai") or {}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    code = "invalid_api_key" if status == 401 else own.get("code", problem.code)
    code = _CODES.get(problem.code, code)
    message = " ".join(part for part in (problem.what, problem.why, problem.remedy) if part)
    return {"message": message, "type": kind, "param": own.get("param"), "code": code}


def _of_starlette(problem: HTTPException, path: str) -> SophiaError:
    if problem.status_code == 404:
        return NotFoundError(
            "U460",
            _("There is no route {path}.").format(path=visible(path)[:200]),
            remedy=_("GET /openapi.json lists them."),
        )
    if problem.status_code == 405:
        return MethodError(
            "U461",
            _("The route {path} takes another method.").format(path=visible(path)[:200]),
            remedy=_("What only reads takes GET, what changes something takes POST."),
        )
    return InternalError("X501", _("The request could not be answered."), problem.detail)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What the routes of that path take, by the API's own description."""
    for template, entries in app.openapi()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            return sorted(each.upper() for each in entries)
    return []


def install(app: FastAPI) -> None:
    """Answer Sophia's, Starlette's and FastAPI's errors in one form."""

    @app.exception_handler(SophiaError)
    async def _ours(request: Request, problem: SophiaError) -> Response:
        return answer(problem, request.url.path)

    @app.exception_handler(HTTPException)
    async def _starlettes(request: Request, problem: HTTPException) -> Response:
        path = request.url.path
        response = answer(_of_starlette(problem, path), path)
        response.headers.update(problem.headers or {})
        if problem.status_code == 405 and (methods := _methods(app, path)):
            response.headers["allow"] = ", ".join(methods)  # Starlette names one route's alone
        return response

    @app.exception_handler(Exception)
    async def _defects(request: Request, problem: Exception) -> Response:
        # it is raised once more after this, and the guard leaves its frames in the log
        return answer(as_sophia_error(problem), request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _fastapis(request: Request, problem: RequestValidationError) -> Response:
        # places and rules only: what was sent may be a secret or personal data
        where = ", ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in problem.errors()
        )
        wrong = UsageError("U464", _("The request does not fit this route."), where)
        return answer(wrong, request.url.path)
