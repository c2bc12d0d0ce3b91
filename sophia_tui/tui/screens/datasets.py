"""Data sets: the versions; one in full with its sum, its files, its steps and what was rejected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from textual.content import Content

from sophia_tui.datasets.codes import REASONS, summary
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.views import key_word, worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part, grid, pairs, title
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.preview import BLOCK
from sophia_tui.tui.screens.table import MOST_ROWS, Row
from sophia_tui.tui.widgets.plate import error_text

if TYPE_CHECKING:
    pass

_REJECTED_SHOWN = 200
#: Operations that need a version.
_OF_ONE = (
    "prepare.browse",
    "prepare.gate",
    "prepare.split",
    "datasets.tag",
    "datasets.export",
    "datasets.delete",
)
#: Counts that are no rejection codes.
_PARTS = ("rows_in", "rows_kept", "rows_rejected", "redacted", "train", "valid", "test")


@dataclass(frozen=True)
class Told:
    """What a version's manifest says, and the first of its rejected records."""

    manifest: Mapping[str, Any]
    rejected: Sequence[Any] = ()
    total: int = 0
    version: Any = None
    problem: SophiaError | None = field(default=None)


class DatasetsScreen(DetailScreen):
    """Every row that went in is kept or rejected, and what was rejected is listed."""

    scopes = ("table", "list", "datasets")
    name_of_screen = "datasets"
    listing = "datasets.list"

    def heading(self) -> str:
        return _("Data sets")

    def columns(self) -> Sequence[tuple[str, int]]:
        name = self.room - 8 - 10 - 4 if self.wide else 28
        shape = [(_("Data set"), name), (_("Kept"), 8), (_("Rejected"), 10)]
        if not self.wide:
            shape += [(_("Created"), 13), (_("by"), self.room - 28 - 8 - 10 - 13 - 8)]
        return shape

    async def rows_of(self) -> list[Any]:
        return await self.listed()

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [
            ("created_at", _("Created")),
            ("id", _("Data set")),
            ("rows_kept", _("Kept")),
            ("rows_rejected", _("Rejected")),
            ("created_by", _("by")),
        ]

    def to_rows(self, data: list[Any]) -> list[Row]:
        return [Row(each.id, self._cells(each), each) for each in data]

    def _cells(self, item: Any) -> tuple[str, ...]:
        counts = item.counts
        cells = (item.id, _count(counts, "rows_kept"), _count(counts, "rows_rejected"))
        if self.wide:
            return cells
        return (*cells, words.age(self.sophia.now(), item.created_at), item.created_by)

    async def tell(self, row: Row) -> Told:
        if row.key == self.told_of and isinstance(self.told, Told) and self.told.problem is None:
            # a version never changes, but its tags and what is made of it do
            return replace(self.told, version=await self._life(row.data))
        shown: Any = await self.sophia.call("datasets.show", {"dataset": row.key})
        version = await self._life(row.data)
        try:
            listed: Any = await self.sophia.call(
                "datasets.rejected", {"dataset": row.key, "limit": _REJECTED_SHOWN}
            )
        except SophiaError as problem:
            return Told(shown.manifest, version=version, problem=problem)
        return Told(shown.manifest, listed.items, listed.total, version)

    async def _life(self, dataset: Any) -> Any:
        """Tags of the version, and what was trained on it; None where that can't be asked."""
        if not self.sophia.may("prepare.versions"):
            return None
        found: Any = await self.sophia.call(
            "prepare.versions", {"name": dataset.name, "limit": MOST_ROWS}
        )
        return next((each for each in found.items if each.id == dataset.id), None)

    def detail(self, row: Row, told: Told, width: int) -> Content:
        counts, glyphs = row.data.counts, self.sophia.glyphs
        parts: list[Part] = [(visible(row.key), "bold"), "\n"]
        parts.append(
            _("{rows_in} rows in = {kept} kept + {rejected} rejected").format(
                rows_in=_count(counts, "rows_in"),
                kept=_count(counts, "rows_kept"),
                rejected=_count(counts, "rows_rejected"),
            )
            + "\n"
        )
        split = ", ".join(
            f"{key_word(each)} {_count(counts, each)}"
            for each in ("train", "valid", "test", "redacted")
            if counts.get(each)
        )
        parts.append(split + "\n")
        parts += _life_parts(told.version)
        parts += self._reasons(counts, width)
        parts += _files(told.manifest, width, glyphs)
        parts += _steps(told.manifest, width, glyphs)
        parts += ["\n", *pairs([(_("Folder"), row.data.folder)])]
        parts += self._records(told, width)
        return Content.assemble(*parts)

    def _reasons(self, counts: Mapping[str, int], width: int) -> list[Part]:
        found = [
            [number(count), code, summary(code) if code in REASONS else ""]
            for code, count in sorted(counts.items(), key=lambda each: -each[1])
            if code not in _PARTS and count
        ]
        if not found:
            return []
        return [
            *title(_("Rejected by reason")),
            *grid(["", "", ""], found, width, self.sophia.glyphs),
        ]

    def _records(self, told: Told, width: int) -> list[Part]:
        if told.problem is not None:
            return ["\n", error_text(told.problem, self.sophia.log_path)]
        if not told.rejected:
            return []
        note = ""
        if told.total > len(told.rejected):
            note = _("the first {shown} of {total}").format(
                shown=number(len(told.rejected)), total=number(told.total)
            )
        rows = [
            [
                f"{each.file}:{each.line}",
                each.code,
                "  ".join(text for text in (each.reason, source_text(each.source)) if text),
            ]
            for each in told.rejected
        ]
        heads = [_("Place"), _("Code"), _("Reason, source row")]
        return [*title(_("Rejected records"), note), *grid(heads, rows, width, self.sophia.glyphs)]

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        declared = self.sophia.dispatcher.registry.get(operation)
        found: dict[str, Any] = {}
        if row and "dataset" in declared.input.model_fields:
            found["dataset"] = row.key
        if operation == "prepare.browse" and row:
            return {"file": row.key, "part": "train"}
        if operation == "prepare.diff":
            return self._two(row)
        if operation == "train.preview":
            found["limit"] = BLOCK
            if self.sophia.glyphs.ascii_only:
                found["ascii"] = True
        return found

    def _two(self, row: Row | None) -> dict[str, Any]:
        """The two marked versions, or the one marked and the one under the cursor; the older one
        first."""
        names = self.marked if len(self.marked) >= 2 else [*self.marked, row.key if row else ""]
        found = [each for each in (self.row_of(name) for name in dict.fromkeys(names)) if each]
        if len(found) > 2:
            return {}
        order = list(self.rows)[::-1]  # of one moment, the list has the newer one on top
        found.sort(key=lambda each: order.index(each.key) if each.key in order else -1)
        found.sort(key=lambda each: str(each.data.created_at or ""))
        return dict(zip(("first", "second"), (each.key for each in found), strict=False))

    def not_now(self, operation: str) -> str:
        if operation in _OF_ONE and self.shown is None:
            return _("There is no data set here.")
        if operation == "prepare.diff" and len(self._two(self.shown)) < 2:
            return _("Mark a version with space, then go to the one to compare it with.")
        return super().not_now(operation)

    def act(self, name: str) -> bool:
        if name == "inspect":
            if not self.sophia.may("prepare.inspect"):
                self.say(_("You may not inspect files."))
                return True
            from sophia_tui.tui.screens.inspection import InspectionScreen

            self.sophia.show(InspectionScreen(self.sophia, {}))
            return True
        return super().act(name)


def _life_parts(version: Any) -> list[Part]:
    if version is None:
        return []
    parts: list[Part] = []
    if version.notice:
        parts.append((f"! {visible(version.notice)}\n", "bold $warning"))
    tags = [
        _("{tag} (protected)").format(tag=each) if each in version.protected else each
        for each in version.tags
    ]
    found = pairs(
        [
            (_("Tags"), ", ".join(tags)),
            (_("Size"), version.size),
            (_("Jobs on it"), ", ".join(version.jobs)),
            (_("Models of it"), ", ".join(version.models)),
        ]
    )
    return [*parts, "\n", *found]


def _count(counts: Mapping[str, int], name: str) -> str:
    return number(counts.get(name, 0))


def source_text(source: Mapping[str, Any] | None) -> str:
    """The row of the owner's table that a record comes from."""
    if not source:
        return ""
    key = source.get("key")
    told = (
        ", ".join(f"{name} {value}" for name, value in key.items())
        if isinstance(key, dict)
        else key
    )
    return f"{source.get('table', '')} {told or ''}".strip()


def _files(manifest: Mapping[str, Any], width: int, glyphs: words.Glyphs) -> list[Part]:
    rows = [
        [
            str(each.get("file", "")),
            number(each.get("rows", 0)),
            number(each["rows_traced"]) if "rows_traced" in each else "-",
            str(worded("copy_export", each.get("copy_export", "-"))),
        ]
        for each in manifest.get("sources", ())
        if isinstance(each, dict)
    ]
    if not rows:
        return []
    heads = [_("File"), _("Rows"), _("Rows traced"), _("COPY export")]
    return [*title(_("Files")), *grid(heads, rows, width, glyphs)]


def _steps(manifest: Mapping[str, Any], width: int, glyphs: words.Glyphs) -> list[Part]:
    rows = []
    for each in manifest.get("steps", ()):
        rest = {key: value for key, value in each.items() if key not in ("step", "version")}
        settings = rest.pop("settings", None) or rest
        rows.append(
            [str(each.get("step", "")), str(each.get("version", "")), words.shown(settings)]
        )
    if not rows:
        return []
    heads = [_("Step"), _("Version"), _("Settings")]
    return [*title(_("Steps")), *grid(heads, rows, width, glyphs)]
