"""What one process of the crew does with its share of the rows: clean ranges of lines into the
spool, sift parts of it, and write parts of a version. Jobs and answers are small plain data.
"""

from binascii import hexlify
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from io import BytesIO
from pathlib import Path
from struct import Struct

import msgspec
from xxhash import xxh3_64_intdigest

from sophia_tui.datasets import dedupe, personal_gate, split
from sophia_tui.datasets.clean import FastReader, Item, plain_item, read_strict
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.dedupe import GROUP_AT, HEAD, Head, PartReader, SpoolWriter, digest_of
from sophia_tui.datasets.grouping import Bonds, Cuts, Joined
from sophia_tui.datasets.plain import PlainLane, Stretch, question_of
from sophia_tui.datasets.provenance import Provenance
from sophia_tui.datasets.ranges import Range, blocks_of, bytes_of, lines_of
from sophia_tui.datasets.reader import MAX_LINE_BYTES, Line, LineReader, Note
from sophia_tui.datasets.rejections import Lot, Rejections
from sophia_tui.datasets.steps import Leakage, Look, Normalise, Redact, category_of
from sophia_tui.datasets.version import PROVENANCE
from sophia_tui.domain.datasets import CHAT, PAIRS, SourceRow
from sophia_tui.i18n import N_

FORM_WORDS = {CHAT: N_("chat"), PAIRS: N_("preference pairs")}
#: A row's group: place and stratum.
GROUP = Struct(">QI")
#: Takes plain rows, which stand on the lines from this number on.
Keep = Callable[[Stretch, int], None]
#: Steps that the lane for plain lines can do.
_PLAIN_STEPS = (
    (),
    (Normalise.NAME,),
    (Redact.NAME,),
    (Normalise.NAME, Redact.NAME),
)
_JSON = msgspec.json.Encoder()


@dataclass(frozen=True)
class Source:
    """A file as the crew reads it: plain lines. `held_out`: every row of it is for validation."""

    path: str
    name: str
    provenance: str
    repair: bool = False
    damaged: bool = False
    held_out: bool = False


@dataclass(frozen=True)
class Work:
    """What every worker must know. `names` are those of the sources, and after them of files that
    rows came from in an earlier version. `group` are kinds of split.KEYS; `parts` of the spool.
    `gated`: blocks are looked through for personal data before their rows are."""

    scratch: str
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    looks: tuple[tuple[str, Look], ...]
    parts: int
    spools: int
    seed: int
    group: tuple[str, ...] = split.KEYS
    sides_said: bool = False
    form: str = "auto"
    exact: bool = True
    stratify: str | None = None
    balance: str | None = None
    gated: bool = False

    @property
    def buckets(self) -> int:
        """Into how many buckets groups are sorted, by the first bits of their place."""
        return max(1, self.parts // 8)


@dataclass
class Cleaned:
    """What came of a range: rows, notes (how often, first lines), what steps changed, by step."""

    rows: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Note] = field(default_factory=dict)
    told: dict[str, Counter[str]] = field(default_factory=dict)
    traced: int = 0
    stale: int = 0
    lot: Lot | None = None


@dataclass(frozen=True)
class Sifted:
    """What came of a part: rows kept, and those rejected."""

    kept: int
    lot: Lot


class Worker:
    def __init__(self, work: Work, number: int, stage: str) -> None:
        self._work = work
        self._folder = Path(work.scratch)
        self._spool = SpoolWriter(self._folder, number, work.parts)
        files = list(work.names)
        self._rejections = Rejections(self._folder, files, f"{stage}-{number}")
        self._number = number
        self._fast = FastReader()
        self._middles: dict[tuple[str, int], bytes] = {}
        self._bonds = Bonds(self._folder, number)
        self._lane = _lane_of(work)
        self._placed = split.placer(work.seed)

    def end(self) -> None:
        """Write what was kept back. Raises OSError (disk full)."""
        self._spool.flush()
        self._bonds.flush()

    def release(self) -> None:
        """Let go of open files."""
        self._spool.close()

    # --- clean ---

    def clean(self, job: Range) -> Cleaned:
        """Read the lines of a range, take each through the steps, spool what is left.

        Raises OSError (disk full), DataError D306.
        """
        source = self._work.sources[job.file]
        done = Cleaned()
        provenance = Provenance(bytes_of(Path(source.provenance), *job.origin))
        traced = job.origin[1] > job.origin[0]

        def keep(stretch: Stretch, first: int) -> None:
            rows = self._plain_rows(stretch, done)
            if traced:
                self._keep_traced(rows, stretch.written, job.file, first, provenance)
            else:
                self._spool.add_all(rows, job.file, first, self._places(rows, job.file))

        for line, item, problem in self._items(source, job, done, keep):
            done.rows += 1
            row, at = None, (job.file, line.number)
            if traced:
                row, at = _traced(provenance, line.number, line.raw, job.file)
            origin = _JSON.encode(row) if row else b""
            if item is not None:
                problem = self._through(item, done, source.held_out)
                if problem is None:
                    self._keep(item, job.file, at, row, origin)
                    continue
            assert problem is not None
            step, found = problem
            self._rejections.add(*at, found, digest_of(line.raw), origin, step)
        if traced:
            provenance.end()
        done.traced, done.stale = provenance.found, provenance.stale
        done.lot = self._rejections.lot()
        return done

    def _items(
        self, source: Source, job: Range, done: Cleaned, keep: Keep | None = None
    ) -> Iterator[tuple[Line, Item | None, tuple[str, Problem] | None]]:
        """Every row of the range: usable, or with what is wrong with it and the step. Plain ones
        are given to `keep`, where there is one, and not told here."""
        lane = self._lane if keep else None
        reader = LineReader(BytesIO(), repair=source.repair, damaged=source.damaged)
        by_itself = not source.repair and not source.damaged
        number = job.first_line
        for block, lines in blocks_of(Path(source.path), job):
            if block and by_itself and lane and keep:
                for stretch in lane.stretches(block):
                    if stretch.canonical is None:
                        lines = lines_of(stretch.written)
                        yield from self._itemised(reader, number, stretch.written, lines)
                        number += len(lines)
                    else:
                        keep(stretch, number)
                        number += len(stretch.rows)
                continue
            lines = lines or lines_of(block)
            yield from self._itemised(reader, number, block if by_itself else b"", lines)
            number += len(lines)
        done.notes = reader.notes

    def _itemised(
        self, reader: LineReader, first: int, block: bytes, lines: list[bytes]
    ) -> Iterator[tuple[Line, Item | None, tuple[str, Problem] | None]]:
        """The rows of some lines; without a block only the strict reader is asked."""
        items = self._fast.read(block, lines) if block else [None] * len(lines)
        if self._work.gated and block:
            suspects = {place for place, _start, _end in personal_gate.suspects(block)}
            for place, item in enumerate(items, start=1):
                if item is not None:
                    item.suspect = place in suspects
        for number, (raw, item) in enumerate(zip(lines, items, strict=True), start=first):
            if item is None:
                yield from self._strictly(reader, number, raw)
                continue
            for code in item.notes:
                reader.note(code, number)
            yield Line(number, raw), item, None

    def _strictly(
        self, reader: LineReader, number: int, raw: bytes
    ) -> Iterator[tuple[Line, Item | None, tuple[str, Problem] | None]]:
        """The row of a line that is not plain, if it is one."""
        if len(raw) > MAX_LINE_BYTES and len(raw.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            problem = Problem("too_long", {"limit": MAX_LINE_BYTES})
            yield Line(number, raw, problem=problem), None, ("read", problem)
            return
        line = reader.row(number, raw)
        if line is None:
            return
        try:
            item = read_strict(line, lambda code: reader.note(code, number))
            item.notes += _line_notes(raw)
            yield line, item, None
        except Unusable as unusable:
            step = "read" if line.value is None else "convert"
            yield line, None, (step, unusable.problem)

    def _through(
        self, item: Item, done: Cleaned, held_out: bool = False
    ) -> tuple[str, Problem] | None:
        """Take a row through the steps; returns the one that turns it away, and why. What is held
        out may be the very evaluation set that the others are held against."""
        form = item.form
        if self._work.form not in ("auto", form):
            return "convert", Problem("other_form", {"form": FORM_WORDS[form]})
        for name, look in self._work.looks:
            if held_out and name == Leakage.NAME:
                continue
            try:
                told = look(item)
            except Unusable as unusable:
                return name, unusable.problem
            if told:
                done.told.setdefault(name, Counter()).update(told)
        done.forms[form] += 1
        return None

    def _keep(
        self, item: Item, file: int, at: tuple[int, int], row: SourceRow | None, origin: bytes
    ) -> None:
        """Spool a row of a file; `at` is the file and line that it is told to come from."""
        work = self._work
        stratum = category_of(item, work.stratify) if work.stratify else 0
        kind = category_of(item, work.balance) if work.balance else 0
        place = self._place(item, file, row)
        self._spool.add(item.row, *at, place, origin, stratum, kind)

    def _plain_rows(self, stretch: Stretch, done: Cleaned) -> list[bytes]:
        """Count plain rows, and return them without personal data."""
        assert stretch.canonical is not None  # the lane took them
        rows = list(stretch.rows)
        done.rows += len(rows)
        done.forms[CHAT] += len(rows)
        if stretch.changed:
            done.told.setdefault(Normalise.NAME, Counter())["rows"] += stretch.changed
        if self._work.gated:
            redact = dict(self._work.looks)[Redact.NAME]
            for place, _start, _end in personal_gate.suspects(stretch.canonical):
                item = plain_item(rows[place - 1])
                if told := redact(item):
                    done.told.setdefault(Redact.NAME, Counter()).update(told)
                    rows[place - 1] = item.row
        return rows

    def _keep_traced(
        self, rows: list[bytes], written: bytes, file: int, first: int, provenance: Provenance
    ) -> None:
        """Spool plain rows of which it may be known where they came from."""
        work, places = self._work, self._places(rows, file)
        lines = zip(rows, lines_of(written), places, strict=True)
        for number, (row, raw, place) in enumerate(lines, start=first):
            source, at = _traced(provenance, number, raw, file)
            origin = b""
            if source:
                origin = _JSON.encode(source)
                for key in () if work.sides_said else split.ids_of_source(source, work.group):
                    other = split.place_of(work.seed, key)
                    self._bonds.add(int.from_bytes(place, "big"), other)
            self._spool.add(row, *at, int.from_bytes(place, "big"), origin)

    def _places(self, rows: list[bytes], file: int) -> list[bytes]:
        """Places of plain rows of a file by their questions, as heads hold them."""
        work, placed = self._work, self._placed
        if work.sides_said:
            side = split.HELD_OUT if work.sources[file].held_out else split.LEARNT
            return [side.to_bytes(8, "big")] * len(rows)
        questions = map(question_of, rows)
        return [
            placed(_question(plain_item(row)).encode() if question is None else question)
            for row, question in zip(rows, questions, strict=True)
        ]

    def _place(self, item: Item, file: int, row: SourceRow | None) -> int:
        work = self._work
        if work.sides_said:
            return split.HELD_OUT if work.sources[file].held_out else split.LEARNT
        keys = []
        if "question" in work.group:
            keys.append(_question(item))
        if item.besides:
            keys += split.ids_of(item.besides, work.group)
        if row is not None:
            keys += split.ids_of_source(row, work.group)
        if not keys:
            keys.append("\0row\0" + digest_of(item.row).hex())
        place, *others = [split.place_of(work.seed, key) for key in keys]
        for other in others:
            self._bonds.add(place, other)
        if "question" not in work.group:  # its place may be what another row is bound to
            self._bonds.add(place, place)
        return place

    # --- preview ---

    def sample(self, job: Range, most: int) -> list[tuple[int, int, int]]:
        """The lines of a range that a seeded sample would take, `most` at most: rank, number and
        the byte that they begin at. The lowest ranks of all ranges are the sample."""
        source = self._work.sources[job.file]
        found: list[tuple[int, int, int]] = []
        at, number = job.start, job.first_line - 1
        blocks = blocks_of(Path(source.path), job)
        for raw in (line for block, lines in blocks for line in lines or lines_of(block)):
            number += 1
            if raw.strip():
                found.append((xxh3_64_intdigest(raw, seed=self._work.seed), number, at))
                if len(found) > most * 8 + 1000:
                    found = nsmallest(most, found)
            at += len(raw) + 1
        return nsmallest(most, found)

    def look(self, job: Range) -> Iterator[tuple[Line, Item | None, tuple[str, Problem] | None]]:
        """The rows of a range, before any step."""
        return self._items(self._work.sources[job.file], job, Cleaned())

    # --- sift ---

    def sift(self, part: int, group: bool) -> Sifted:
        """Put a part in order, and reject in it what is the same as an earlier row; with `group`
        sort the others by their groups as well, as `groups` does."""
        with PartReader(self._folder, part, self._work.spools) as reader:
            kept, again = reader.sifted() if self._work.exact else (reader.heads(), [])
            for head, first in again:
                details: dict[str, str | int] = {
                    "first_file": self._work.names[first.file],
                    "first_line": first.line,
                }
                problem = Problem("duplicate", details)
                source = reader.source(head)
                step = "exact_duplicates"
                self._rejections.add(head.file, head.line, problem, head.digest, source, step)
        if group:
            kept = self._grouped(kept)
        kept_path(self._folder, part).write_bytes(b"".join(kept))
        return Sifted(len(kept), self._rejections.lot())

    # --- split ---

    def groups(self, part: int) -> int:
        """Sort the rows of a part into buckets by their groups' places; groups that a bond joins
        have one place from here on. Returns how many rows there are."""
        data = dedupe.read_heads(kept_path(self._folder, part))
        heads = [data[at : at + HEAD.size] for at in range(0, len(data), HEAD.size)]
        kept_path(self._folder, part).write_bytes(b"".join(self._grouped(heads)))
        return len(heads)

    def _grouped(self, heads: list[bytes]) -> list[bytes]:
        joined = Joined(self._folder)
        if joined:
            heads = [
                head[: GROUP_AT.start]
                + joined.root_of(head[GROUP_AT][:8])
                + head[GROUP_AT][8:]
                + head[GROUP_AT.stop :]
                for head in heads
            ]
        groups = [head[GROUP_AT] for head in heads]
        count = self._work.buckets
        if count == 1:
            buckets = [groups]
        else:
            buckets = [[] for _ in range(count)]
            shift = 8 - (count.bit_length() - 1)
            for group in groups:
                buckets[group[0] >> shift].append(group)
        for number, bucket in enumerate(buckets):
            if bucket:
                append(bucket_path(self._folder, number, self._number), b"".join(bucket))
        return heads

    # --- write ---

    def write(self, part: int, cuts: Cuts) -> dict[str, tuple[str, int]]:
        """Write what a part adds to each file of the version: file, and where it lies with how many
        rows."""
        texts: dict[str, list[bytes]] = {}
        origins: list[bytes] = []
        heads = dedupe.read_heads(kept_path(self._folder, part))
        side_of, told_of = cuts.sides(), self._told
        with PartReader(self._folder, part, self._work.spools) as reader:
            read = reader.read
            for raw in HEAD.iter_unpack(heads):
                digest, file, line, spool, at, length, source, place, stratum, _kind = raw
                side = side_of(place, stratum)
                if side not in texts:
                    texts[side] = []
                texts[side].append(read(spool, at, length))
                end = b',"source":%b}' % read(spool, at + length, source) if source else b"}"
                told = b'{"hash":"%b%b%d%b'
                origins.append(told % (hexlify(digest), told_of(side, file), line, end))
        found = {}
        named = {f"{side}.jsonl": lines for side, lines in texts.items()}
        for name, lines in {**named, PROVENANCE: origins}.items():
            if lines:
                path = self._folder / f"piece-{part:04}-{name}"
                lines.append(b"")
                path.write_bytes(b"\n".join(lines))
                found[name] = (str(path), len(lines) - 1)
        return found

    def _told(self, side: str, file: int) -> bytes:
        """The middle of an entry of the provenance."""
        told = self._middles.get((side, file))
        if told is None:
            name = _JSON.encode(self._work.names[file])
            told = b'","part":"%b","file":%b,"line":' % (side.encode(), name)
            self._middles[(side, file)] = told
        return told


def _traced(
    provenance: Provenance, number: int, raw: bytes, file: int
) -> tuple[SourceRow | None, tuple[int, int]]:
    """The database row that a line of a file is known to come from; file and line to be told."""
    entry = provenance.entry_of(number, raw)
    if entry is None:
        return None, (file, number)
    return entry.source, (file, number) if entry.file is None else (entry.file, entry.at)


def _question(item: Item) -> str:
    for turn in item.turns or ():
        if turn.role == "user":
            return split.plain(turn.content)
    return split.question_of(item.texts)


def kept_path(folder: Path, part: int) -> Path:
    """The heads of the rows of a part that are still in the set, in the order of a version."""
    return folder / f"kept-{part:04}"


def kept_heads(folder: Path, part: int) -> Iterator[Head]:
    return map(Head._make, HEAD.iter_unpack(dedupe.read_heads(kept_path(folder, part))))


def _line_notes(raw: bytes) -> tuple[str, ...]:
    notes = ("crlf",) if raw.endswith(b"\r") else ()
    return (*notes, "bom") if raw.startswith(b"\xef\xbb\xbf") else notes


def bucket_path(folder: Path, bucket: int, spool: int) -> Path:
    """The groups of rows whose places begin alike."""
    return folder / f"groups-{bucket:02}-{spool}"


def append(path: Path, data: bytes | bytearray) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def _lane_of(work: Work) -> PlainLane | None:
    """The lane for plain lines, where nothing is asked that has to look at rows one by one."""
    names = tuple(name for name, _look in work.looks)
    if names not in _PLAIN_STEPS or work.stratify or work.balance:
        return None
    if work.form not in ("auto", CHAT) or ("question" not in work.group and not work.sides_said):
        return None
    return PlainLane(normalise=Normalise.NAME in names)
