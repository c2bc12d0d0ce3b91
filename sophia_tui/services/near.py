"""Near-duplicates and contradicting answers in files of training data, for a person to look at.

Changes nothing. What was found is kept in a cache and shown page by page while the files are as
they were.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import Input, Output
from sophia_tui.errors import UnconfirmedError
from sophia_tui.files import whole_folder, write_problem
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.data_files import chosen_files
from sophia_tui.services.inspection_words import DIFFERENCES
from sophia_tui.services.kept_reports import file_states, key_of, sweep
from sophia_tui.services.operations import operation
from sophia_tui.services.views import MOST_ROWS

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Raised when what an earlier version found can't be shown by this one.
_FORMAT = 1
_NEAR, _CONTRADICTIONS = "near", "contradictions"
#: Megabytes that a search takes without being asked about.
UNASKED_MB = 300
_SAMPLE_BYTES = 1 << 20
_OTHERS = 10


class NearInput(Input):
    path: str | None = Field(
        default=None,
        description=N_("A file, or a folder with *.jsonl files; FINETUNE_DIR by default."),
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
    )
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class NearRow(Output):
    """Texts that are long are cut: of a question the end is shown, of an answer the beginning."""

    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))


class NearCluster(Output):
    """`kept` is file:line of the best written one; `others` are the first ones that say the same,
    `count` how many they are."""

    table_columns: ClassVar[tuple[str, ...]] = ("kept", "count", "places", "question")

    kept: str = Field(title=N_("Kept"))
    count: int = Field(title=N_("Others"))
    places: list[str] = Field(title=N_("Places"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))
    others: list[NearRow] = Field(title=N_("Near-duplicates"))


class NearList(Output):
    """`others` are the rows that would go, of `rows`."""

    rows: int = Field(title=N_("Rows"))
    total: int = Field(title=N_("Clusters"))
    others: int = Field(title=N_("Near-duplicates"))
    items: list[NearCluster] = Field(title=N_("Clusters"))


class DifferenceView(Output):
    """`kind` is number, unit, date, name or yes_no."""

    kind: str = Field(title=N_("Kind"))
    first: str = Field(title=N_("First answer"))
    second: str = Field(title=N_("Second answer"))


class ContradictionView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("first", "second", "differs", "question")

    first: str = Field(title=N_("First"))
    second: str = Field(title=N_("Second"))
    differs: str = Field(title=N_("What differs"))
    question: str = Field(title=N_("Question"))
    first_answer: str = Field(title=N_("First answer"))
    second_question: str = Field(title=N_("Second question"))
    second_answer: str = Field(title=N_("Second answer"))
    differences: list[DifferenceView] = Field(title=N_("Differences"))


class ContradictionList(Output):
    rows: int = Field(title=N_("Rows"))
    total: int = Field(title=N_("Contradictions"))
    items: list[ContradictionView] = Field(title=N_("Contradictions"))


class NearService:
    """Needs `settings` for the folder, `paths` for where what was found is kept."""

    def __init__(self, settings: "Settings", paths: Paths) -> None:
        self._settings = settings
        self._paths = paths

    @operation(
        "prepare.duplicates",
        N_("List rows that say the same in nearly the same words, and which of them is kept."),
        detaches=True,
        positional=("path",),
    )
    async def duplicates(self, context: Context, request: NearInput) -> NearList:
        """Raises DataError D301 to D306 and D501, NotFoundError D305 and D533, RefusedError D534,
        UnconfirmedError D532 above UNASKED_MB of memory, CancelledError."""
        found = await self._found(context, request, _NEAR)
        items = [_cluster(each, found.names) for each in found.items]
        counts = found.counts
        return NearList(
            rows=counts["rows"],
            total=counts["found"],
            others=counts["others"],
            items=items,
        )

    @operation(
        "prepare.contradictions",
        N_("List answers to the same question that can't both be right, side by side."),
        detaches=True,
        positional=("path",),
    )
    async def contradictions(self, context: Context, request: NearInput) -> ContradictionList:
        """Raises what `duplicates` raises."""
        found = await self._found(context, request, _CONTRADICTIONS)
        items = [_contradiction(each, found.names) for each in found.items]
        counts = found.counts
        return ContradictionList(rows=counts["rows"], total=counts["found"], items=items)

    async def _found(self, context: Context, request: NearInput, name: str) -> "_Found":
        import asyncio

        selection = await asyncio.to_thread(
            chosen_files, context, self._settings, request.path, request.files, "D534", "D533"
        )
        files = selection.files
        state = _state(name, [str(each) for each in files])
        folder = self._paths.inspections / f"{name}-{key_of(state)}"
        if not (folder / "counts.json").is_file():
            await asyncio.to_thread(_ask, context, files)
            await self._search(context, state, folder)
        return await asyncio.to_thread(_read, folder, request, [each.name for each in files])

    async def _search(self, context: Context, state: dict[str, Any], folder: Path) -> None:
        """Whole or not at all; known by what the files were before they were read."""
        import asyncio

        from sophia_tui.datasets.near_files import NearTask
        from sophia_tui.datasets.process import run_engine

        name, files = state["name"], [path for path, *_known in state["files"]]
        await asyncio.to_thread(sweep, self._paths.inspections, f"{name}-*/near.json", _holds)
        try:
            with whole_folder(folder) as made:
                task = NearTask(context.language, name, files, str(made))
                counts = await run_engine(task, context)
                (made / "near.json").write_bytes(json.dumps(state).encode())
                (made / "counts.json").write_bytes(json.dumps(counts).encode())
        except OSError as problem:
            raise write_problem(folder, problem) from problem


@dataclass(frozen=True)
class _Found:
    counts: dict[str, int]
    items: list[dict[str, Any]]
    names: list[str]


def _state(name: str, files: Sequence[str]) -> dict[str, Any]:
    """What a search depends on."""
    from sophia_tui.datasets import contradictions, near, near_slips, wording

    versions = [near.VERSION, near_slips.VERSION, wording.VERSION, contradictions.VERSION]
    return {"format": _FORMAT, "name": name, "versions": versions, "files": file_states(files)}


def _holds(state: dict[str, Any]) -> bool:
    return state == _state(state["name"], [path for path, *_known in state["files"]])


def _ask(context: Context, files: Sequence[Path]) -> None:
    """Say how much memory the search takes, and ask where it is much."""
    from sophia_tui.datasets.near import memory_needed
    from sophia_tui.datasets.sources import unreadable

    rows = size = 0
    for path in files:
        try:
            with path.open("rb") as stream:
                sample = stream.read(_SAMPLE_BYTES)
            whole = path.stat().st_size
        except OSError as problem:
            raise unreadable(path, problem) from problem
        size += whole
        rows += sample.count(b"\n") * whole // max(1, len(sample))
    needed = memory_needed(rows, size) // 1_000_000
    if needed > UNASKED_MB and not context.confirmed:
        raise UnconfirmedError(
            "D532",
            _("The search for near-duplicates takes about {mb} MB of memory.").format(mb=needed),
            ngettext(
                "It holds the words of about {rows} row.",
                "It holds the words of about {rows} rows.",
                rows,
            ).format(rows=rows),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            megabytes=needed,
            rows=rows,
        )


def _read(folder: Path, request: NearInput, names: list[str]) -> _Found:
    from itertools import islice

    counts = json.loads((folder / "counts.json").read_bytes())
    with (folder / "found.jsonl").open("rb") as stream:
        lines = islice(stream, request.offset, request.offset + request.limit)
        return _Found(counts, [json.loads(line) for line in lines], names)


def _where(place: dict[str, Any], names: list[str]) -> str:
    return f"{names[place['file']]}:{place['line']}"


def _cluster(found: dict[str, Any], names: list[str]) -> NearCluster:
    kept, others = found["kept"], found["others"]
    return NearCluster(
        kept=_where(kept, names),
        count=len(others),
        places=[_where(each, names) for each in others[:_OTHERS]],
        question=kept["question"],
        answer=kept["answer"],
        others=[
            NearRow(
                file=names[each["file"]],
                line=each["line"],
                question=each["question"],
                answer=each["answer"],
            )
            for each in others[:_OTHERS]
        ],
    )


def _contradiction(found: dict[str, Any], names: list[str]) -> ContradictionView:
    first, second = found["first"], found["second"]
    return ContradictionView(
        first=_where(first, names),
        second=_where(second, names),
        differs=", ".join(_(DIFFERENCES[each["kind"]]) for each in found["differs"]),
        question=first["question"],
        first_answer=first["answer"],
        second_question=second["question"],
        second_answer=second["answer"],
        differences=[DifferenceView(**each) for each in found["differs"]],
    )
