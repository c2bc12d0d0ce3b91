"""Models: the list with scores and use; one in full with lineage, evaluation, questions,
deployments and promotions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.views import ModelView, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.parts import Cell, Part, grid, title
from sophia_tui.tui.screens.datasets import source_text
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import MOST_ROWS, Row

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_ENDED = ("stopped", "failed")


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
    job: Any = None
    dataset: Any = None
    rows: Sequence[Any] = field(default_factory=tuple)


class ModelsScreen(DetailScreen):
    """Acts go to the model under the cursor; two marked ones are compared."""

    scopes = ("table", "models")
    name_of_screen = "models"
    interval = 3.0  # it asks several services

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.marked: list[str] = []

    def heading(self) -> str:
        return _("Models")

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return [(_("Model"), 25), (_("in use"), 13)]
        rest = self.room - 24 - 9 - 13 - 12 - 8
        return [
            (_("Model"), 24),
            (_("Kind"), 9),
            (_("perplexity"), 13),
            (_("in use"), 12),
            (_("Created"), rest),
        ]

    async def rows_of(self) -> list[Known]:
        found: Any = await self.sophia.call("models.list", {"limit": MOST_ROWS})
        served = await self._items("serve.list", all=True)
        promoted = await self._items("promote.history")
        force = next((each.model for each in promoted if each.state == "done"), None)
        return [
            Known(
                each,
                [one for one in served if each.id in (one.model, one.name)],
                [one for one in promoted if each.id in (one.model, one.previous_model)],
                each.id == force,
            )
            for each in found.items
        ]

    async def _items(self, operation: str, **more: Any) -> list[Any]:
        if not self.sophia.may(operation):
            return []
        found: Any = await self.sophia.call(operation, {"limit": MOST_ROWS, **more})
        return list(found.items)

    def to_rows(self, data: list[Known]) -> list[Row]:
        return [Row(each.model.id, self._cells(each), each) for each in data]

    def _cells(self, known: Known) -> tuple[str, ...]:
        model, sign = known.model, "*" if self.sophia.glyphs.ascii_only else "●"
        name = f"{sign} {model.id}" if model.id in self.marked else model.id
        use = []
        if known.in_production:
            use.append(_("production"))
        if known.served is not None:
            use.append(words.state_word(known.served.state))
        if self.wide:
            return (name, " ".join(use))
        kind = str(worded("kind", model.kind))
        age = words.age(self.sophia.now(), model.created_at)
        return (name, kind, score_text(model.evaluation), " ".join(use), age)

    async def tell(self, row: Row) -> Told:
        model: ModelView = row.data.model
        dataset = await self._asked("datasets.show", "dataset", model.dataset)
        rows: Any = None
        if dataset is not None and self.sophia.may("datasets.rows"):
            rows = await self._asked("datasets.rows", "dataset", model.dataset, limit=3)
        return Told(
            evaluation=await self._asked("evaluate.show", "model", model.evaluation and model.id),
            job=await self._asked("jobs.show", "job", model.job),
            dataset=dataset,
            rows=rows.items if rows is not None else (),
        )

    async def _asked(self, operation: str, field: str, value: Any, **more: Any) -> Any:
        """An operation's answer; None without a value, and where what it names is gone."""
        if not value:
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
        parts: list[Part] = [(visible(model.id), "bold"), f"  {visible(str(worded('kind', model.kind)))}"]
        if known.in_production:
            parts += ["  ", (_("in production"), words.STYLES["ok"])]
        if model.shutdown_at is not None:
            parts += [
                "  ",
                (f"! {_('ends')} {words.ends(now, model.shutdown_at)}", words.STYLES["attention"]),
            ]
        parts.append("\n")
        parts += _lineage(known, told, width, glyphs)
        parts += _evaluation(told.evaluation, width, glyphs)
        parts += _questions(told.evaluation, glyphs)
        parts += _deployments(known, width, glyphs)
        parts += _promotions(known, width, glyphs)
        return Content.assemble(*parts)

    def act(self, name: str) -> bool:
        if name != "mark":
            return super().act(name)
        key = self.selected_key
        if key in self.marked:
            self.marked.remove(key)
        elif key:
            self.marked = [*self.marked, key][-2:]
        if self.data is not None:
            self.draw()
        return True

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        if row is None:
            return {}
        fields = self.sophia.dispatcher.registry.get(operation).input.model_fields
        known: Known = row.data
        if operation == "promote.rollback":
            done = [each for each in known.promotions if each.state == "done"]
            return {"promotion": done[0].id} if done and known.in_production else {}
        if operation == "serve.stop":
            return {"name": known.served.name} if known.served is not None else {}
        if operation == "evaluate.compare":
            both = [*self.marked, *([row.key] if row.key not in self.marked else [])][:2]
            names = [name for name, info in fields.items() if info.is_required()]
            return {"models": both} if "models" in fields else dict(zip(names, both, strict=False))
        if operation == "datasets.rows":
            return {"dataset": known.model.dataset} if known.model.dataset else {}
        if operation == "train.start":
            return {}
        return {"model": row.key} if "model" in fields else {}


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
        steps = "" if told.job.step is None else _("{n} steps").format(n=number(told.job.step))
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


def _dataset_text(model: ModelView, told: Told) -> str:
    if told.dataset is None:
        return model.dataset or ""
    counts = told.dataset.dataset.counts
    kept = _("{kept} of {rows_in} rows kept").format(
        kept=number(counts.get("rows_kept", 0)), rows_in=number(counts.get("rows_in", 0))
    )
    return f"{told.dataset.dataset.id}  {kept}"


def _evaluation(told: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    if told is None:
        return [*title(_("Evaluation")), (_("not evaluated yet") + "\n", "dim")]
    at = "" if told.at is None else words.shown(told.at)
    rows = [_measured(each, glyphs) for each in getattr(told, "rows", ())]
    heads = [_("measure"), _("before"), _("after"), _("difference"), _("between"), _("target"), ""]
    return [*title(_("Evaluation"), at), *grid(heads, rows, width, glyphs)]


def _measured(row: Any, glyphs: words.Glyphs) -> list[Cell]:
    met: Cell = ""
    if row.met is not None:
        health = "ok" if row.met else "attention"
        word = _("met") if row.met else _("missed")
        met = (f"{glyphs.health[health]} {word}", words.STYLES[health])
    between = (
        "" if row.low is None or row.high is None else f"{_figure(row.low)} .. {_figure(row.high)}"
    )
    return [
        _(str(row.measure)),
        _figure(row.before),
        _figure(row.after),
        _figure(row.difference),
        between,
        "" if row.target is None else _figure(row.target),
        met,
    ]


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, 0 if value == int(value) and abs(value) >= 10 else 2)
    return visible(str(value))


def _questions(told: Any, glyphs: words.Glyphs) -> list[Part]:
    answers = list(getattr(told, "answers", ()) or ())
    if not answers:
        return []
    parts = title(_("Questions"))
    wide = max(cell_len(_("before")), cell_len(_("after")))
    for each in answers:
        parts += [(visible_lines(each.prompt) + "\n", "bold")]
        for name, text, right in (
            (_("before"), each.before, getattr(each, "before_right", None)),
            (_("after"), each.after, getattr(each, "after_right", None)),
        ):
            if text is None:
                continue
            verdict: Part = ""
            if right is not None:
                health = "ok" if right else "problem"
                word = _("right") if right else _("wrong")
                verdict = (f"{glyphs.health[health]} {word}  ", words.STYLES[health])
            parts += [(f"  {name:<{wide}}  ", "dim"), verdict, f"{visible_lines(text)}\n"]
    return parts


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
    heads = [_("Name"), _("State"), _("Created"), _("Engine")]
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
    return [*parts, *grid([_("Created"), _("Promotion"), _("State"), ""], rows, width, glyphs)]
