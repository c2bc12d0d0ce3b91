"""A multipart form that is written to the disk as it comes: whole, or no trace of it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from sophia_tui.errors import CancelledError, TooLargeError, UsageError
from sophia_tui.files import whole_file
from sophia_tui.i18n import _

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Bytes of all fields other than the file together.
_FIELD_BYTES = 65_536


@dataclass
class Form:
    """What was sent beside the file, which lies at the path that was given for it."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""


@contextlib.contextmanager
def _target(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with whole_file(path) as stream:
        yield stream


async def receive(request: Request, name: str, path: Path, limit: int) -> Form:
    """Write the form's file of that name to `path`.

    Raises UsageError J612 (no form, or no such file in it), TooLargeError J613, CancelledError J614
    (the client went away), SetupError S101.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise _no_form(name)
    with _target(path) as stream:
        reader = _Reader(name, stream, limit)
        parser = MultipartParser(boundary, reader.callbacks())
        try:
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        except MultipartParseError as problem:
            raise _no_form(name) from problem
        except Exception as problem:
            if type(problem).__name__ == "ClientDisconnect":
                raise CancelledError("J614", _("The client went away.")) from problem
            raise
        if not reader.ended or not reader.found:
            raise _no_form(name)
    return reader.form


class _Reader:
    """Takes the form's parts as the parser finds them."""

    def __init__(self, name: str, stream: IO[bytes], limit: int) -> None:
        self.form = Form()
        self.found = False
        self.ended = False
        self._name = name
        self._stream = stream
        self._limit = limit
        self._bytes = 0
        self._field_bytes = 0
        self._header = (b"", b"")
        self._headers: dict[bytes, bytes] = {}
        self._part = ""
        self._text = b""
        self._is_file = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._header, self._headers, self._text = (b"", b""), {}, b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _on_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = (b"", b"")

    def _on_headers(self) -> None:
        _kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._part == self._name
        if self._is_file:
            if self.found:
                raise _no_form(self._name)
            self.found = True
            self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._bytes += end - start
            if self._bytes > self._limit:
                raise _too_large(self._limit)
            self._stream.write(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > _FIELD_BYTES:
            raise _too_large(_FIELD_BYTES)
        self._text += data[start:end]

    def _on_part(self) -> None:
        if not self._is_file:
            self.form.fields[self._part] = self._text.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.ended = True


def _no_form(name: str) -> UsageError:
    return UsageError(
        "J612",
        _("The request is no whole form with a file."),
        _("It must be multipart/form-data with one part named {name}.").format(name=name),
        openai={"code": "missing_required_parameter", "param": name},
    )


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        "J613",
        _("What was sent is too large."),
        _("At most {bytes} bytes are taken in one request.").format(bytes=limit),
        _("Send a large file in parts, by /v1/uploads."),
        openai={"code": "request_too_large", "param": "file"},
    )
