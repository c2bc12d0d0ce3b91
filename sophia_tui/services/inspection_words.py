"""An inspection in words: its issues, verdicts, figures and sections as sentences and short tables,
for the command line, the console and the page.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.passages import Cell, Passage, Share, Table
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.quality import percent

if TYPE_CHECKING:
    from sophia_tui.services.inspect import DestinationView, Distribution, InspectOutput

SEVERITIES = {"error": N_("error"), "warning": N_("warning"), "note": N_("note")}
VERDICTS = {
    "ready": N_("ready as it is"),
    "after_preparing": N_("once it is prepared"),
    "unfit": N_("not as it is"),
}
SECTIONS = {
    "near": N_("Near-duplicates"),
    "contradictions": N_("Contradictions"),
    "personal": N_("Personal data"),
    "secrets": N_("Keys and passwords"),
    "tokens": N_("Tokens"),
    "languages": N_("Languages"),
    "topics": N_("Topics and categories"),
    "answers": N_("Answers"),
    "constitutional": N_("Constitutional examples"),
}
#: What answers that contradict each other differ in.
DIFFERENCES = {
    "number": N_("number"),
    "unit": N_("unit"),
    "date": N_("date"),
    "name": N_("name"),
    "yes_no": N_("yes or no"),
}
_KINDS = {
    "secret": N_("key, token or password"),
    "email": N_("e-mail address"),
    "pix": N_("Pix key"),
    "iban": "IBAN",
    "cnpj": "CNPJ",
    "cpf": "CPF",
    "card": N_("card number"),
    "rg": "RG",
    "ip": N_("IP address"),
    "address": N_("postal address"),
    "cep": "CEP",
    "phone": N_("phone number"),
}
_LEVELS = {"hard": N_("hard"), "medium": N_("medium"), "easy": N_("easy")}

Part = str | Table | Mapping[str, Any]


class Teller:
    """Tells of one report. `listed`: so many places of each list at most, twice as many rows."""

    def __init__(self, found: "InspectOutput", listed: int = 5) -> None:
        self._found = found
        self._listed = listed

    # -- what a report always has

    def issues(self) -> list[Part]:
        """One table, and the command that lists all lines."""
        found = self._found.issues
        if not found:
            return [_("None.")]
        titles = (_("Severity"), _("Count"), _("Code"), _("First places"), _("Reason"))
        rows: list[tuple[Cell, ...]] = [
            (
                _(SEVERITIES.get(each.severity, each.severity)),
                each.count,
                each.code,
                self._places(map(_split, each.places), each.count),
                each.reason,
            )
            for each in found
        ]
        text = _("All lines of one issue: {command}")
        return [Table(titles, tuple(rows)), text.format(command=self._command(found[0].code))]

    def sections(self) -> list[Passage]:
        """A passage for each; one that is not known here keeps its name and its data."""
        return [self.section(name, each) for name, each in self._found.sections.items()]

    def section(self, name: str, section: Any) -> Passage:
        """Raises nothing for a section that is not known here: it stays plain data."""
        known = _TOLD.get(name)
        if known is None:
            plain = section if isinstance(section, Mapping) else {name: section}
            return Passage(name, (plain,))
        return Passage(_(SECTIONS[name]), tuple(known(self, section)))

    def roles(self, rows: int = 10) -> list[Part]:
        found = self._found.roles
        titles = (_("Rows"), _("Roles in their order"))
        parts: list[Part] = [Table(titles, tuple((each.rows, each.roles) for each in found[:rows]))]
        if len(found) > rows:
            parts.append(_("and {count} more").format(count=number(len(found) - rows)))
        return parts

    # -- sections

    def _near(self, section: Mapping[str, Any]) -> list[Part]:
        if not section["others"]:
            return [_nothing_of(section["rows"])]
        text = _("{others} of {rows} rows ({share}) say what another one says; groups: {groups}.")
        told = text.format(
            others=number(section["others"]),
            rows=number(section["rows"]),
            share=percent(section["share"]),
            groups=number(section["clusters"]),
        )
        rows = tuple(
            (self._lines([each["kept"]]), self._lines(each["others"]))
            for each in section["largest"][: self._listed]
        )
        return [
            told,
            Table((_("Kept"), _("Nearly the same")), rows),
            _all_of(f"sophia prepare duplicates {self._path}"),
        ]

    def _contradictions(self, section: Mapping[str, Any]) -> list[Part]:
        if not section["pairs"]:
            return [_nothing_of(section["rows"])]
        text = ngettext(
            "{count} pair of answers to one question can't both be right, of {rows} rows.",
            "{count} pairs of answers to one question can't both be right, of {rows} rows.",
            section["pairs"],
        )
        rows = tuple(
            (
                self._lines([each["first"]]),
                self._lines([each["second"]]),
                ", ".join(_(DIFFERENCES.get(kind, kind)) for kind in each["differs"]),
            )
            for each in section["first"][: self._listed]
        )
        return [
            text.format(count=number(section["pairs"]), rows=number(section["rows"])),
            Table((_("First"), _("Second"), _("What differs")), rows),
            _all_of(f"sophia prepare contradictions {self._path}"),
        ]

    def _personal(self, section: Mapping[str, Any]) -> list[Part]:
        return self._held(section, "personal_data")

    def _secrets(self, section: Mapping[str, Any]) -> list[Part]:
        return self._held(section, "secret")

    def _held(self, section: Mapping[str, Any], code: str) -> list[Part]:
        if not section["count"]:
            return [_("None.")]
        titles = (_("Kind"), _("Count"), _("Rows"), _("First lines"))
        rows = tuple(
            (
                _(_KINDS.get(kind, kind)),
                each["count"],
                each["rows"],
                self._lines(each["lines"], each["rows"]),
            )
            for kind, each in section["kinds"].items()
        )
        text = ngettext("In {count} row.", "In {count} rows.", section["rows"])
        told = text.format(count=number(section["rows"]))
        return [told, Table(titles, rows), *self._all_lines(code)]

    def _tokens(self, section: Mapping[str, Any]) -> list[Part]:
        sizes = (_("Mean"), _("Half up to"), _("95 % up to"), _("Longest"))
        titles = (_("Encoding"), _("Tokens"), _("Of answers"), *sizes)
        rows: list[tuple[Cell, ...]] = []
        cuts: list[Part] = []
        for each in section["counts"]:
            lengths, cut = each["lengths"], each["cut"]
            figures = (each["tokens"], each["answer_tokens"], float(lengths["mean"]))
            more = (lengths["p50"], lengths["p95"], lengths["longest"])
            rows.append((each["encoding"], *figures, *more))
            cuts.append(self._cut(each["encoding"], each["context"], cut))
        parts: list[Part] = [Table(titles, tuple(rows)), *cuts]
        if any(each["cut"]["count"] for each in section["counts"]):
            parts += self._all_lines("cut")
        if section.get("images"):
            text = ngettext(
                "{count} image was not counted.",
                "{count} images were not counted.",
                section["images"],
            )
            parts.append(text.format(count=number(section["images"])))
        model = section.get("model")
        if model is not None:
            exact = model["exact"] or "own" in model
            text = _("{model}: counted by {encoding}; {exact}.")
            parts.append(
                text.format(
                    model=model["name"],
                    encoding=model["encoding"],
                    exact=_("its own") if exact else _("an estimate"),
                )
            )
        return parts

    def _cut(self, encoding: str, context: int, cut: Mapping[str, Any]) -> str:
        if not cut["count"]:
            text = _("{encoding}: every row fits into the context of {context} tokens.")
            return text.format(encoding=encoding, context=number(context))
        text = ngettext(
            "{encoding}: {count} row is longer than the context of {context} tokens: {lines}.",
            "{encoding}: {count} rows are longer than the context of {context} tokens: {lines}.",
            cut["count"],
        )
        return text.format(
            encoding=encoding,
            count=number(cut["count"]),
            context=number(context),
            lines=self._lines(cut["lines"], cut["count"]),
        )

    def _languages(self, section: Mapping[str, Any]) -> list[Part]:
        items = [{**each, "name": each["language"]} for each in section["languages"]]
        if section["undecided"]["count"]:
            items.append({**section["undecided"], "name": _("undecided")})
        parts: list[Part] = [_of(section["rows"], section["whole"])]
        parts.append(self._shares(_("Language"), items))
        mixed = section["mixed"]
        if mixed["count"]:
            text = ngettext(
                "Asked in one language and answered in another: {count} row (line {lines}).",
                "Asked in one language and answered in another: {count} rows (lines {lines}).",
                mixed["count"],
            )
            lines = self._lines([each["line"] for each in mixed["lines"]], mixed["count"])
            parts.append(text.format(count=number(mixed["count"]), lines=lines))
            parts += self._all_lines("mixed_languages")
        return parts

    def _topics(self, section: Mapping[str, Any]) -> list[Part]:
        parts: list[Part] = []
        topics, categories = section.get("topics"), section.get("categories")
        if topics is None:
            missing = section.get("missing") or {}
            text = _("Topics are not known: {package} is not installed. In the checkout: {command}")
            told = {"package": missing.get("package"), "command": missing.get("install")}
            parts.append(text.format(**told))
        for heading, found in ((_("Topic"), topics), (_("Category"), categories)):
            if not found:
                continue
            items, rest = found["items"], found.get("rest")
            smaller = [{**rest, "name": _("smaller ones")}] if rest and rest["count"] else []
            text = _("As varied as {diversity} equally large ones; balance {balance} of 1.")
            told_of = text.format(
                diversity=number(found["diversity"], 1), balance=number(found["balance"], 2)
            )
            parts.append(_of(found["rows"], not any("low" in each for each in items)))
            parts += [told_of, self._shares(heading, items, smaller)]
        return parts

    def _answers(self, section: Mapping[str, Any]) -> list[Part]:
        lengths = section["answer_characters"]
        text = _("Half of the answers have up to {p50} characters, 95 % up to {p95}.")
        names = {"short": _("Short answers"), "copied": _("Copied answers")}
        names["unusable"] = _("Rows that can't be used")
        rows = tuple(
            (
                name,
                section[key]["count"],
                Share(section[key]["share"]),
                self._lines(section[key]["lines"], section[key]["count"]) or "-",
            )
            for key, name in names.items()
            if key in section
        )
        return [
            text.format(p50=number(lengths["p50"]), p95=number(lengths["p95"])),
            Table((_("What"), _("Rows"), _("Share"), _("First lines")), rows),
        ]

    def _constitutional(self, section: Mapping[str, Any]) -> list[Part]:
        if not section["total"]:
            return [_("None.")]
        text = _("{valid} of {total} examples keep all rules; all should.")
        parts: list[Part] = [
            text.format(valid=number(section["valid"]), total=number(section["total"]))
        ]
        if section.get("same_ids"):
            told = ngettext(
                "{count} has the id of an earlier one.",
                "{count} have the id of an earlier one.",
                section["same_ids"],
            )
            parts.append(told.format(count=number(section["same_ids"])))
            parts += self._all_lines("same_id")
        for heading, counts in (
            (_("Category"), section["categories"]),
            (_("Difficulty"), {_(_LEVELS[k]): n for k, n in section["difficulty"].items()}),
        ):
            if total := sum(counts.values()):
                items = [{"name": k, "count": n, "share": n / total} for k, n in counts.items()]
                parts.append(self._shares(heading, items))
        return parts

    # -- pieces

    def _shares(
        self,
        heading: str,
        items: Sequence[Mapping[str, Any]],
        last: Sequence[Mapping[str, Any]] = (),
    ) -> Table:
        """What is left out stands in one row, added up. An interval where any has one."""
        most = 2 * self._listed
        kept = list(items) if len(items) <= most + 1 else list(items[:most])
        if left := items[len(kept) :]:
            summed = {key: sum(each[key] for each in left) for key in ("count", "share")}
            name = _("and {count} more").format(count=number(len(left)))
            kept.append({**summed, "name": name})
        kept += last
        drawn = any("low" in each for each in kept)
        titles = (heading, _("Rows"), _("Share"), *([_("Lies between")] if drawn else []))
        rows: list[tuple[Cell, ...]] = []
        for each in kept:
            row: tuple[Cell, ...] = (each["name"], each["count"], Share(each["share"]))
            if drawn:
                between = ""
                if "low" in each:
                    between = f"{percent(each['low'])} - {percent(each['high'])}"
                row += (between,)
            rows.append(row)
        return Table(titles, tuple(rows))

    def _lines(self, lines: Sequence[int], count: int | None = None) -> str:
        """Lines counted on through all files, as places; `count` is how many there are of them."""
        return self._places(map(self._place, lines), len(lines) if count is None else count)

    def _place(self, line: int) -> tuple[str, str]:
        """The file and the line in it of a line counted on through all files."""
        before = 0
        for each in self._found.files:
            if line <= before + each.lines:
                return Path(each.file).name, str(line - before)
            before += each.lines
        return "", str(line)

    def _places(self, places: Iterable[tuple[str, str]], count: int) -> str:
        """The first ones, each file named once, and how many more; of one file, lines alone."""
        shown = [each for each, _place in zip(places, range(self._listed), strict=False)]
        several = len(self._found.files) > 1
        told = "; ".join(
            (f"{file}: " if several and file else "") + ", ".join(line for _file, line in group)
            for file, group in groupby(shown, lambda each: each[0])
        )
        if count <= len(shown):
            return told
        return told + " " + _("and {count} more").format(count=number(count - len(shown)))

    @property
    def _path(self) -> str:
        """What was read, as a command names it; what came from standard input has no name."""
        files = [Path(each.file) for each in self._found.files]
        if not files or files[0].parent.name.startswith("sophia-input-"):
            return _("FILE")
        return shlex.quote(str(files[0] if len(files) == 1 else files[0].parent))

    def _all_lines(self, code: str) -> list[Part]:
        """The command for them; what is told from a sample is no issue and has none."""
        if any(each.code == code for each in self._found.issues):
            return [_all_of(self._command(code))]
        return []

    def _command(self, code: str) -> str:
        from sophia_tui.datasets.inspection import PROBES

        asked = [name for name in self._found.sections if name in PROBES]
        also = [f"--also {name}" for name in asked]
        if len(asked) == len(PROBES):
            also = ["--everything"]
        words = ["sophia prepare issues", self._path, *also, f"--code {code}"]
        return " ".join(words)


_TOLD: dict[str, Callable[[Teller, Any], list[Part]]] = {
    "near": Teller._near,
    "contradictions": Teller._contradictions,
    "personal": Teller._personal,
    "secrets": Teller._secrets,
    "tokens": Teller._tokens,
    "languages": Teller._languages,
    "topics": Teller._topics,
    "answers": Teller._answers,
    "constitutional": Teller._constitutional,
}


def destinations(found: Sequence["DestinationView"]) -> list[Part]:
    """Of each its verdict, and below it why and what to do."""
    parts: list[Part] = []
    for each in found:
        parts.append(f"{each.name}: {_(VERDICTS.get(each.verdict, each.verdict))}")
        if each.why:
            parts.append("  " + " ".join(each.why))
        if each.todo:
            parts.append("  " + _("What to do: {remedy}").format(remedy=" ".join(each.todo)))
    return parts


def distribution(found: "Distribution") -> list[Part]:
    """How large they are, and how many rows of which size."""
    total = sum(each.rows for each in found.histogram) or 1
    text = _("Half have up to {p50}, 95 % up to {p95}; the greatest is {greatest}.")
    told = text.format(
        p50=number(found.p50), p95=number(found.p95), greatest=number(found.greatest)
    )
    rows = tuple(
        (f"{number(each.least)} - {number(each.below - 1)}", each.rows, Share(each.rows / total))
        for each in found.histogram
    )
    return [told, Table((_("Range"), _("Rows"), _("Share")), rows)]


def _split(place: str) -> tuple[str, str]:
    file, _colon, line = place.rpartition(":")
    return file, line


def _of(rows: int, whole: bool) -> str:
    text = _("Of all {rows} rows.") if whole else _("Of {rows} rows drawn by the seed.")
    return text.format(rows=number(rows))


def _nothing_of(rows: int) -> str:
    return _("None in {rows} rows.").format(rows=number(rows))


def _all_of(command: str) -> str:
    return _("All of them: {command}").format(command=command)
