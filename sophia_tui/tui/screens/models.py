"""Models: the list with state, scores and use; one in full with lineage, state, notes, checks,
evaluation, questions, files, deployments and its times in production."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.views import ModelView, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import model_text, words
from sophia_tui.tui.parts import Cell, Part, grid, title
from sophia_tui.tui.screens.datasets import source_text
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import MOST_ROWS, Row

_ENDED = ("stopped", "failed")
#: Cells from which on a list beside the detail has room for states, and what scores take at most.
_WITH_STATE, _WIDEST_SCORE = 54, 18


@dataclass(frozen=True)
class Known:
    """A model with its deployments and promotions, newest first."""

    model: ModelView
    deployments: Sequence[Any] = ()
    promotions: Sequence[Any] = ()
    in_production: bool = False

    @property
    def served(self) -> Any:
        """The deployment that lives, or None."""
        return next((each for each in self.deployments if each.state not in _ENDED), None)


@dataclass(frozen=True)
class Told:
    """What else is known of a model; None where there is nothing."""

    evaluation: Any = None
    shown: Any = None
    history: Any = None
    production: Any = None
    job: Any = None
    dataset: Any = None
    rows: Sequence[Any] = field(default_factory=tuple)


class ModelsScreen(DetailScreen):
    """Acts go to the model under the cursor; two marked ones are compared."""

    scopes = ("table", "list", "models")
    name_of_screen = "models"
    listing = "models.list"
    interval = 3.0  # it asks several services

    def heading(self) -> str:
        return _("Models")

    def columns(self) -> Sequence[tuple[str, int]]:
        if self._short:
            return [(_("Model"), 22), (_("in use"), 16)]
        if self.wide:
            name = min(30, self.room - 13 - 16 - 6)
            return [(_("Model"), name), (_("State"), 13), (_("in use"), 16)]
        scores = [score_text(each.model.evaluation) for each in self.data or ()]
        score = min(_WIDEST_SCORE, max([12, *map(cell_len, scores)]))
        rest = self.room - 18 - 9 - 13 - score - 10
        return [
            (_("Model"), 18),
            (_("Kind"), 9),
            (_("State"), 13),
            (_("perplexity"), score),
            (_("in use"), rest),
        ]

    @property
    def _short(self) -> bool:
        """Whether there is room for the sign of the state alone."""
        return self.wide and self.room < _WITH_STATE

    async def rows_of(self) -> list[Known]:
        models = await self.listed()
        served = _by_name(await self._items("serve.list", all=True), "model", "name")
        promoted = await self._items("promote.history")
        promotions = _by_name(promoted, "model", "previous_model")
        force = next((each.model for each in promoted if each.state == "done"), None)
        return [
            Known(each, served[each.id], promotions[each.id], each.id == force) for each in models
        ]

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [
            ("created_at", _("Created")),
            ("id", _("Model")),
            ("kind", _("Kind")),
            ("state", _("State")),
            ("size", _("Size")),
            ("base", _("Base")),
            ("dataset", _("Data set")),
        ]

    async def _items(self, operation: str, **more: Any) -> list[Any]:
        if not self.sophia.may(operation):
            return []
        found: Any = await self.sophia.call(operation, {"limit": MOST_ROWS, **more})
        return list(found.items)

    def to_rows(self, data: list[Known]) -> list[Row]:
        return [Row(each.model.id, self._cells(each), each) for each in data]

    def _cells(self, known: Known) -> tuple[str, ...]:
        model = known.model
        name = model.id
        use = []
        if known.in_production:
            use.append(_("production"))
        if known.served is not None:
            use.append(words.state_word(known.served.state))
        glyphs = self.sophia.glyphs
        if self._short:
            return (f"{model_text.state_sign(model.state, glyphs)} {name}", " ".join(use))
        kind = str(worded("kind", model.kind))
        state = model_text.state_text(model.state, glyphs)
        if self.wide:
            return (name, state, " ".join(use))
        return (name, kind, state, score_text(model.evaluation), " ".join(use))

    async def tell(self, row: Row) -> Told:
        model: ModelView = row.data.model
        dataset = await self._asked("datasets.show", "dataset", model.dataset)
        rows = await self._asked("datasets.rows", "dataset", dataset and model.dataset, limit=3)
        return Told(
            evaluation=await self._asked(
                "evaluate.show", "model", model.evaluation and model.id, answers=True
            ),
            shown=await self._asked("models.show", "model", model.id),
            history=await self._asked("models.history", "model", model.id, limit=MOST_ROWS),
            production=await self._asked("models.production", "model", model.id),
            job=await self._asked("jobs.show", "job", model.job),
            dataset=dataset,
            rows=rows.items if rows is not None else (),
        )

    async def _asked(self, operation: str, field: str, value: Any, **more: Any) -> Any:
        """An operation's answer; None without a value, and where what it names is gone."""
        if not value or not self.sophia.may(operation):
            return None
        try:
            return await self.sophia.call(operation, {field: value, **more})
        except SophiaError as problem:
            if problem.exit_code != 4:
                raise
            return None

    def detail(self, row: Row, told: Told, width: int) -> Content:
        known: Known = row.data
        glyphs, now = self.sophia.glyphs, self.sophia.now()
        model = known.model
        parts: list[Part] = [
            (visible(model.id), "bold"),
            f"  {visible(str(worded('kind', model.kind)))}",
            (
                "  " + model_text.state_text(model.state, glyphs),
                model_text.state_style(model.state),
            ),
        ]
        if known.in_production:
            parts += ["  ", (_("in production"), words.STYLES["ok"])]
        if model.shutdown_at is not None:
            parts += [
                "  ",
                (f"! {_('ends')} {words.ends(now, model.shutdown_at)}", words.STYLES["attention"]),
            ]
        parts.append("\n")
        parts += model_text.standing(model, glyphs)
        parts += _lineage(known, told, width, glyphs)
        parts += model_text.remarks(told.history)
        parts += model_text.checks(told.history, glyphs)
        parts += _evaluation(told.evaluation, width, glyphs)
        parts += _questions(told.evaluation, glyphs)
        parts += model_text.files(told.shown or model)
        parts += _deployments(known, width, glyphs)
        parts += _promotions(known, width, glyphs)
        parts += model_text.times(told.production, width, glyphs)
        return Content.assemble(*parts)

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        if row is None:
            return {"refresh": False} if operation == "models.calendar" else {}
        fields = self.sophia.dispatcher.registry.get(operation).input.model_fields
        known: Known = row.data
        if operation == "promote.rollback":
            done = [each for each in known.promotions if each.state == "done"]
            return {"promotion": done[0].id} if done and known.in_production else {}
        if operation in ("serve.stop", "serve.ask"):
            return {"name": known.served.name} if known.served is not None else {}
        if operation == "models.state":
            return {"model": row.key, "seen_version": known.model.version}
        if operation == "evaluate.compare":
            both = [*self.marked, *([row.key] if row.key not in self.marked else [])][:2]
            return dict(zip(("first", "second"), both, strict=False))
        if operation == "datasets.rows":
            return {"dataset": known.model.dataset} if known.model.dataset else {}
        if operation == "train.start":
            return {}
        if operation == "models.calendar":
            return {"refresh": False}
        return {"model": row.key} if "model" in fields else {}


def _by_name(found: Sequence[Any], *names: str) -> Mapping[str, list[Any]]:
    """What names a model in one of these fields, in its order, by the model."""
    kept: defaultdict[str, list[Any]] = defaultdict(list)
    for each in found:
        for name in {getattr(each, key) for key in names}:
            kept[name].append(each)
    return kept


def score_text(report: Mapping[str, Any] | None) -> str:
    """Perplexity before and after, from a report as it is kept; a dash before the first one."""
    try:
        before, after = (report or {})["before"], (report or {}).get("after")
        shown = [number(float(before["perplexity"]), 1)]
        shown += [number(float(after["perplexity"]), 1)] if after else []
    except (KeyError, TypeError, ValueError):
        return "-"
    return " > ".join(shown)


def _lineage(known: Known, told: Told, width: int, glyphs: words.Glyphs) -> list[Part]:
    """From an answer back to the rows of the owner's tables; gaps are said."""
    model, none = known.model, _("not known")
    job = none
    if told.job is not None:
        steps = "" if told.job.step is None else _steps(told.job.step)
        loss = "" if told.job.loss is None else f"{_('loss')} {number(told.job.loss, 2)}"
        state = words.state_word(told.job.status)
        job = "  ".join(each for each in (told.job.id, state, steps, loss) if each)
    elif model.job:
        job = model.job
    of = "  ".join(
        each
        for each in (model.id, model.parent and _("made of {model}").format(model=model.parent))
        if each
    )
    chain = [(_("answer"), _("of every request for {model}").format(model=model.id))]
    chain += [(_("model"), of), (_("base"), model.base), (_("job"), job)]
    chain.append((_("data set"), _dataset_text(model, told) or none))
    for each in told.rows:
        place = source_text(each.source) or f"{each.file}:{each.line}"
        chain.append((_("source row"), f"{place}  {each.question}"))
    wide = max(len(name) for name, _value in chain)
    arrow = "<" if glyphs.ascii_only else "←"
    parts = title(_("Where an answer comes from"))
    for index, (name, value) in enumerate(chain):
        sign = arrow if index else " "
        fitted = (
            glyphs.fit(value, max(20, width - wide - 4)).rstrip()
            if name == _("source row")
            else visible(value)
        )
        parts += [f"{sign} ", (f"{name:<{wide}}", "dim"), f"  {fitted}\n"]
    return parts


def _steps(count: int) -> str:
    return ngettext("{n} step", "{n} steps", count).format(n=number(count))


def _dataset_text(model: ModelView, told: Told) -> str:
    if told.dataset is None:
        return model.dataset or ""
    counts = told.dataset.dataset.counts
    rows = counts.get("rows_in", 0)
    kept = ngettext("{kept} of {rows_in} row kept", "{kept} of {rows_in} rows kept", rows).format(
        kept=number(counts.get("rows_kept", 0)), rows_in=number(rows)
    )
    return f"{told.dataset.dataset.id}  {kept}"


def _evaluation(told: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    if told is None:
        return [*title(_("Evaluation")), (_("not evaluated yet") + "\n", "dim")]
    at = "" if told.at is None else words.shown(told.at)
    rows = [_measured(each, glyphs) for each in told.rows if each.before is not None]
    heads = [_("measure"), _("before"), _("after"), _("change (95 % interval)"), _("target")]
    parts = [*title(_("Evaluation"), at), *grid(heads, rows, width, glyphs)]
    missing = [f"{each.label} {each.target}" for each in told.rows if each.met == "not measured"]
    if missing:
        parts += [(_("Not measured: {names}").format(names=", ".join(missing)) + "\n", "dim")]
    return [*parts, *(f"{visible(each)}\n" for each in told.notes)]


def _measured(row: Any, glyphs: words.Glyphs) -> list[Cell]:
    change = "" if row.difference is None else _figure(row.difference, row.unit)
    if change and row.low is not None and row.high is not None:
        change += f" ({_figure(row.low, row.unit)} .. {_figure(row.high, row.unit)})"
    target: Cell = ""
    if row.target is not None:
        health = "ok" if row.met == "met" else "attention"
        target = (f"{glyphs.health[health]} {row.target}", words.STYLES[health])
    after = _figure(row.after, row.unit)
    return [row.label, _figure(row.before, row.unit), after, change, target]


def _figure(value: float | None, unit: str | None) -> str:
    if value is None:
        return "-"
    if unit == "share":
        return f"{number(100 * value)} %"
    if unit == "usd":
        return words.money(value)
    return number(value, 1 if abs(value) >= 100 else 2)


def _questions(told: Any, glyphs: words.Glyphs) -> list[Part]:
    """Graded questions with both verdicts, then those that nobody graded."""
    if told is None or not (told.graded_answers or told.answers):
        return []
    parts = title(_("Questions"))
    for each in told.graded_answers:
        parts += [(visible_lines(each.question), "bold"), (f"  {visible(each.set)}\n", "dim")]
        parts += _answer(_("before"), each.before, each.before_verdict, glyphs)
        parts += _answer(_("after"), each.after, each.after_verdict, glyphs)
    for each in told.answers:
        parts.append((visible_lines(each.prompt) + "\n", "bold"))
        parts += _answer(_("before"), each.before, None, glyphs)
        parts += _answer(_("after"), each.after, None, glyphs)
    return parts


def _answer(name: str, text: str | None, verdict: str | None, glyphs: words.Glyphs) -> list[Part]:
    if text is None:
        return []
    parts: list[Part] = [(f"  {name}  ", "dim")]
    if verdict is not None:
        health = "ok" if verdict == "right" else "problem"
        word = _("right") if verdict == "right" else _("wrong")
        parts.append((f"{glyphs.health[health]} {word}  ", words.STYLES[health]))
    return [*parts, f"{visible_lines(text)}\n"]


def _deployments(known: Known, width: int, glyphs: words.Glyphs) -> list[Part]:
    parts = title(_("Deployments"))
    if not known.deployments:
        return [*parts, (_("not served") + "\n", "dim")]
    rows: list[list[Cell]] = [
        [
            each.name,
            (words.state_word(each.state), words.state_style(each.state)),
            words.shown(each.created_at)[:16],
            each.engine,
        ]
        for each in known.deployments
    ]
    created = _("Created ({zone})").format(zone=words.zone())
    heads = [_("Name"), _("State"), created, _("Engine")]
    return [*parts, *grid(heads, rows, width, glyphs)]


def _promotions(known: Known, width: int, glyphs: words.Glyphs) -> list[Part]:
    parts = title(_("Promotions"))
    if not known.promotions:
        return [*parts, (_("never promoted") + "\n", "dim")]
    rows: list[list[Cell]] = []
    for each in known.promotions:
        what = _("rolled back to {model}") if each.rolls_back else _("{model} promoted")
        if each.previous_model:
            what += ", " + _("before it {previous}").format(previous=each.previous_model)
        rows.append(
            [
                words.shown(each.created_at)[:16],
                each.id,
                str(worded("state", each.state)),
                what.format(model=each.model) + f" ({each.created_by})",
            ]
        )
    created = _("Created ({zone})").format(zone=words.zone())
    return [*parts, *grid([created, _("Promotion"), _("State"), ""], rows, width, glyphs)]
