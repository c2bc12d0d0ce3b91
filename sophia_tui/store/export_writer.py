"""The process that makes JSON Lines of the source's rows, beside the one that reads them.

So reading and writing each have a processor, and a screen goes on answering. Messages on standard
input (see export_shapes), one JSON document for each export on standard output. It ends when
standard input does, so it never outlives who asked. Not meant to be started by people.
"""

import gc
import hashlib
import os
import sys
from typing import IO

import msgspec

from sophia_tui.i18n import set_language
from sophia_tui.store.export_lines import Keys, numbers, raw_json, strings
from sophia_tui.store.export_records import Chats, Pairs, Piece
from sophia_tui.store.export_shapes import (
    BEGIN,
    HEAD,
    ROWS,
    Begin,
    Chatting,
    Done,
    Failed,
    Shape,
    columns_of,
)

_BUFFER = 1024 * 1024
_THIRDS = {"json": raw_json, "string": strings, "number": numbers}


def maker_for(shape: Shape) -> Pairs | Chats:
    """What makes the lines of this shape."""
    keys = Keys(shape.table, shape.key)
    lines = shape.lines
    if isinstance(lines, Chatting):
        return Chats(keys, frozenset(lines.assistants), frozenset(lines.customers))
    before, after = lines.before.encode(), lines.after.encode()
    return Pairs(keys, _THIRDS[lines.third], before, after, lines.no_answer)


class _Refused(Exception):
    """The disk refused to take what file `place` was to hold."""

    def __init__(self, place: int, number: int) -> None:
        super().__init__(place, number)
        self.place, self.number = place, number


class Export:
    """One export from its first message to its last."""

    def __init__(self, begin: Begin) -> None:
        set_language(begin.language)
        self._maker = maker_for(begin.shape)
        self._digest = hashlib.sha256()
        self._length = 0
        self._files: list[IO[bytes]] = []
        for place, name in enumerate(begin.files or ()):
            try:
                self._files.append(os.fdopen(os.open(name, os.O_WRONLY), "wb", _BUFFER))
            except OSError as problem:
                raise _Refused(place, problem.errno or 0) from problem

    def feed(self, values: bytes, columns: int) -> None:
        self._write(self._maker.feed(columns_of(values, columns), bool(self._files)))

    def finish(self) -> Done:
        """The last piece, and all of it on disk."""
        self._write(self._maker.finish(bool(self._files)))
        for place, stream in enumerate(self._files):
            try:
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            except OSError as problem:
                raise _Refused(place, problem.errno or 0) from problem
        tally = self._maker.tally
        rejected = dict(sorted(tally.rejected.items()))
        return Done(tally.exported, rejected, self._length, self._digest.hexdigest())

    def _write(self, piece: Piece) -> None:
        if not self._files:
            return
        pieces = (piece.data, piece.provenance, piece.rejected)
        for place, (stream, content) in enumerate(zip(self._files, pieces, strict=True)):
            try:
                stream.write(content)
            except OSError as problem:
                raise _Refused(place, problem.errno or 0) from problem
        self._length += len(piece.data)
        self._digest.update(piece.data)


def serve(incoming: IO[bytes], outgoing: IO[bytes]) -> int:
    """Answer until the input ends, or the disk refuses."""
    export: Export | None = None
    while len(head := incoming.read(HEAD.size)) == HEAD.size:
        kind, columns, length = HEAD.unpack(head)
        content = incoming.read(length)
        if len(content) < length:
            break
        answer: Done | Failed | None = None
        try:
            if kind == BEGIN:
                export = Export(msgspec.json.decode(content, type=Begin))
            elif export is not None and kind == ROWS:
                export.feed(content, columns)
            elif export is not None:
                answer, export = export.finish(), None
        except _Refused as refused:
            answer = Failed(refused.number, refused.place)
        if answer is not None:
            outgoing.write(msgspec.json.encode(answer) + b"\n")
            outgoing.flush()
        if isinstance(answer, Failed):
            return 1
    return 0


def main() -> None:
    gc.disable()  # nothing here makes cycles
    with open(0, "rb", buffering=_BUFFER) as incoming, open(1, "wb") as outgoing:
        code = serve(incoming, outgoing)
    sys.stdout.flush()
    os._exit(code)  # what was not finished is not flushed either


if __name__ == "__main__":
    main()
