"""Data files opened for reading by their suffix: plain, .gz, .zst; tables as lines of JSON.

Nothing is ever inflated as a whole: memory stays flat for any file, a bomb included.
"""

import gzip
import io
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

#: What a file may be packed in, by the end of its name.
PACKED = (".gz", ".zst")
_BUFFER = 1 << 20
#: Bytes given to zstd at once. A block of 128 KiB can be said in 4 bytes, so that this bounds what
#: comes out of it at once (16 MiB).
_ZSTD_BITE = 512


class DamagedFile(OSError):
    """A packed file or table that can't be read on; `strerror` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(None, why)


def open_lines(path: Path) -> BinaryIO:
    """The lines of a data file as bytes: unpacked, and of a table each row as a line of JSON.

    Raises OSError, while opening and while reading; DataError D511 for a table without a usable
    header. `fileno` is that of the file itself.
    """
    name = _unpacked_name(path)
    if name.endswith(".parquet"):
        from sophia_tui.datasets.tables import parquet_lines

        return parquet_lines(path)
    stream = _unpacked(path)
    if not name.endswith(".csv"):
        return stream
    from sophia_tui.datasets.tables import csv_lines

    try:
        return csv_lines(stream, path)
    except BaseException:
        stream.close()
        raise


def is_plain(path: Path) -> bool:
    """Whether the file's own bytes are its lines, so that a place in it can be jumped to."""
    return not path.name.endswith(PACKED) and not is_table(path)


def is_table(path: Path) -> bool:
    """Whether its rows become lines only when they are read."""
    return _unpacked_name(path).endswith((".csv", ".parquet"))


def _unpacked_name(path: Path) -> str:
    name = path.name
    for end in PACKED:
        name = name.removesuffix(end)
    return name


def read_share(stream: BinaryIO) -> int:
    """How many bytes of the file itself were taken so far, for progress."""
    raw = getattr(stream, "raw", None)
    taken = getattr(raw, "taken", None)
    return int(taken) if taken is not None else stream.tell()


def _unpacked(path: Path) -> BinaryIO:
    file = path.open("rb", buffering=0)
    try:
        if path.name.endswith(".gz"):
            return cast(BinaryIO, io.BufferedReader(_Gzip(file), _BUFFER))
        if path.name.endswith(".zst"):
            return cast(BinaryIO, io.BufferedReader(_Zstd(file), _BUFFER))
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, io.BufferedReader(file, _BUFFER))


class _Packed(io.RawIOBase):
    """Reads one packed file; `taken` is how much of the file itself was read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._packed = io.BufferedReader(file, 1 << 16)

    @property
    def taken(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        super().close()


class _Gzip(_Packed):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._unpacked = gzip.GzipFile(fileobj=self._packed)

    def readinto(self, buffer: Any) -> int:
        try:
            return self._unpacked.readinto(buffer)
        except EOFError:
            raise DamagedFile("the compressed file ends before its end") from None
        except (zlib.error, gzip.BadGzipFile) as problem:
            raise DamagedFile(f"damaged compressed file ({type(problem).__name__})") from None


class _Zstd(_Packed):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._chunks = self._inflated(self._packed)
        self._rest = memoryview(b"")

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _inflated(self, file: IO[bytes]) -> Iterator[bytes]:
        import zstandard

        frame = None
        bite = b""
        try:
            while bite := bite or file.read(_ZSTD_BITE):
                # A reader of the library would end without a word where a frame is cut off.
                if frame is None:
                    frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
                chunk = frame.decompress(bite)
                bite = b""
                if frame.eof:
                    bite, frame = frame.unused_data, None
                if chunk:
                    yield chunk
        except zstandard.ZstdError:
            raise DamagedFile("damaged compressed file (ZstdError)") from None
        if frame is not None:
            raise DamagedFile("the compressed file ends before its end")


@contextmanager
def packing(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """What is written goes into `stream` packed as the name's end says. The bytes depend on
    nothing but what is written: no time, no name."""
    if name.endswith(".gz"):
        with gzip.GzipFile("", "wb", 6, cast(Any, stream), mtime=0) as packed:
            yield cast(IO[bytes], packed)
    elif name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdCompressor(level=6, write_checksum=True).stream_writer(
            stream, closefd=False
        ) as writer:
            yield cast(IO[bytes], writer)
    else:
        yield stream


def as_plain(path: Path, folder: Path, number: int) -> Path:
    """The file itself where its bytes are its lines, else a copy of its lines in that folder: for
    who jumps about in it, or deals it out to processes. Raises what `open_lines` raises."""
    if is_plain(path):
        return path
    copy = folder / f"lines-{number}.jsonl"
    with open_lines(path) as stream, copy.open("xb") as target:
        shutil.copyfileobj(stream, target, _BUFFER)
    return copy


def spool(stream: BinaryIO, folder: Path) -> Path:
    """What a stream says, as a file of that folder named by what it seems to be."""
    start = stream.read(_BUFFER)
    path = folder / f"standard-input{_suffix(start)}"
    with path.open("xb") as target:
        target.write(start)
        shutil.copyfileobj(stream, target, _BUFFER)
    return path


def _suffix(start: bytes) -> str:
    for sign, suffix in ((b"\x1f\x8b", ".jsonl.gz"), (b"\x28\xb5\x2f\xfd", ".jsonl.zst")):
        if start.startswith(sign):
            return suffix
    if start.startswith(b"PAR1"):
        return ".parquet"
    line = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return ".jsonl" if line in (b"{", b"[", b"\\", b"") else ".csv"
