"""The one tree of errors; the same text serves the console, the command line and the API.

    SophiaError
    ├── UsageError         the request itself is wrong            exit 2, HTTP 422
    │   ├── MethodError           GET where POST is meant         exit 2, HTTP 405
    │   ├── TooLargeError         more than Sophia reads at once  exit 2, HTTP 413
    │   └── TooSlowError          a request that does not come    exit 2, HTTP 408
    ├── RefusedError       not allowed, or not confirmed          exit 3, HTTP 403
    │   ├── UnauthenticatedError  no or wrong token               exit 3, HTTP 401
    │   ├── TooManyError          too many wrong tokens           exit 3, HTTP 429
    │   └── UnconfirmedError      a person's yes is missing       exit 3, HTTP 403
    ├── NotFoundError      no such job, model, data set, file     exit 4, HTTP 404
    ├── UnavailableError   database or package missing            exit 5, HTTP 503
    │   └── OutsideError          what is not Sophia's own failed exit 5, HTTP 424
    ├── ConflictError      another person or process was faster   exit 3, HTTP 409
    ├── DataError          data that can't be used                exit 1, HTTP 422
    ├── JobError           a training or evaluation failed        exit 1, HTTP 424
    ├── PromotionError     a promotion failed and was undone      exit 1, HTTP 424
    ├── SetupError         the installation is not as it must be  exit 1, HTTP 500
    ├── CancelledError     the person asked to stop               exit 1, HTTP 499
    └── InternalError      a defect of Sophia's own               exit 1, HTTP 500

A code is a letter and three digits: D data, J jobs, P promotion, S set-up and store, M models,
U usage, R refusals, T settings, X internal. One code stands for one cause.
"""

from typing import Any, ClassVar

__all__ = [
    "CancelledError",
    "ConflictError",
    "DataError",
    "InternalError",
    "JobError",
    "MethodError",
    "NotFoundError",
    "OutsideError",
    "PromotionError",
    "RefusedError",
    "SetupError",
    "SophiaError",
    "TooLargeError",
    "TooManyError",
    "TooSlowError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnconfirmedError",
    "UsageError",
]


class SophiaError(Exception):
    """What happened, why, and what to do now. Texts are translated where the error is raised.

    Never put a secret or the text of a data set into any of the fields: they are printed, logged
    and audited as they are.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(
        self, code: str, what: str, why: str = "", remedy: str = "", **details: Any
    ) -> None:
        super().__init__(what)
        self.code = f"SOPHIA-{code}"
        self.what = what
        self.why = why
        self.remedy = remedy
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """The neutral form for `--json`, the API and the audit."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "remedy": self.remedy,
            "details": self.details,
        }

    def __str__(self) -> str:
        return " ".join(
            part for part in (f"[{self.code}]", self.what, self.why, self.remedy) if part
        )


class UsageError(SophiaError):
    exit_code = 2
    http_status = 422


class MethodError(UsageError):
    http_status = 405


class TooLargeError(UsageError):
    http_status = 413


class TooSlowError(UsageError):
    http_status = 408


class RefusedError(SophiaError):
    exit_code = 3
    http_status = 403


class UnauthenticatedError(RefusedError):
    http_status = 401


class TooManyError(RefusedError):
    """`details["retry_after"]` are the seconds to wait."""

    http_status = 429


class UnconfirmedError(RefusedError):
    """`what` is the question; the same request, confirmed, goes on."""


class NotFoundError(SophiaError):
    exit_code = 4
    http_status = 404


class UnavailableError(SophiaError):
    exit_code = 5
    http_status = 503


class OutsideError(UnavailableError):
    """A provider, a model's engine, the hub, systemd or the owner's database does not do what the
    request needs of it. Sophia's own server is well, so over HTTP it is no 5xx."""

    http_status = 424


class ConflictError(SophiaError):
    """Nothing was done, as with a refusal: look again, then go on from there."""

    exit_code = 3
    http_status = 409


class DataError(SophiaError):
    http_status = 422


class JobError(SophiaError):
    """What a request began has failed; the server that answers it has not."""

    http_status = 424


class PromotionError(SophiaError):
    http_status = 424


class SetupError(SophiaError):
    pass


class CancelledError(SophiaError):
    http_status = 499


class InternalError(SophiaError):
    pass
