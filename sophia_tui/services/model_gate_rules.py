"""The gate's rules, each judged by the evaluations and checks that are there.

Intervals decide, not points: a better figure whose interval reaches over the bound does not pass.
What is missing does not pass either, and says which command gets it. A failed parity of the files
as they are, and files that changed since, are not for a person to override: what failed outranks
what is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sophia_tui.domain.model_gates import Reason
from sophia_tui.domain.models import Evaluation, Model, ModelCheck, ModelState
from sophia_tui.i18n import _, clock_day, clock_time, ngettext, number
from sophia_tui.services.evaluation_compare import ratio
from sophia_tui.services.model_gate_views import (
    LABELS,
    ModelGateCheck,
    State,
    base_name,
    signed,
)
from sophia_tui.services.quality import percent
from sophia_tui.textsafe import visible

Report = Mapping[str, Any]
#: What is to be measured: of the model, of the current one, or whether all its forms answer alike.
Want = Literal["evaluate", "evaluate_current", "parity"]


@dataclass(frozen=True)
class Measured:
    """An adapter with its newest evaluations that the gate looks at: on the held-out part, and with
    general questions. `files` are the sha256 of its weights as they lie there now, by name."""

    model: Model
    held_out: Evaluation | None
    regression: Evaluation | None
    files: Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    """What is known of a model that should be promoted. `current` is what production uses, where it
    is ours and another adapter."""

    name: str
    mine: Measured
    current: Measured | None
    parity: ModelCheck | None
    now: datetime
    #: Forms of the model whose files are no more as parity saw them.
    changed: tuple[str, ...] = ()
    #: What parity must have asked: the model itself where it is a file of its own, ...
    form: str | None = None
    #: ... and the names under which this very model is served now, its own first.
    served: tuple[str, ...] = ()
    #: Forms that speak of the model: itself, what it was made of, and the names that serve it.
    own: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """The command that measures what is missing."""
        return f"sophia models gate {self.name} --run"


@dataclass
class Judgement:
    """What comes of the rules, as they are gone through."""

    checks: list[ModelGateCheck] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
    regression: dict[str, Any] = field(default_factory=dict)

    def keep(
        self,
        name: str,
        state: State,
        told: str,
        code: str = "",
        remedy: str = "",
        overridable: bool = True,
        **figures: Any,
    ) -> None:
        """One rule's outcome; with a code it stands against the model."""
        self.checks.append(
            ModelGateCheck(name=name, what=_(LABELS[name]), state=state, told=told, **figures)
        )
        if state != "ok":
            self.reasons.append(Reason(code, f"{_(LABELS[name])}: {told}", remedy, overridable))

    def missing(
        self, name: str, code: str, told: str, want: Want, run: str, overridable: bool = True
    ) -> None:
        """Evidence that nobody has gathered yet."""
        remedy = _("Run `{command}`.").format(command=run)
        self.keep(name, "missing", told, code, remedy, overridable)
        if want not in self.wants:
            self.wants.append(want)


def judge(evidence: Evidence, rules: Mapping[str, float]) -> Judgement:
    """All rules that are set."""
    found = Judgement()
    if "loss" in rules:
        _loss(evidence, rules, found)
    if "parity" in rules:
        _parity(evidence, rules, found)
    if "lost" in rules:
        _regression(evidence, rules, found)
    return found


def state_reason(model: Model, now: datetime) -> Reason | None:
    """What a person's word on the model says against its promotion; None: nothing. Approval takes
    the place of no measure: a candidate that keeps the rules passes, an approved one that does not
    is for a person to override."""
    command = f"sophia models state {model.id} STATE --reason REASON"
    if model.state in (ModelState.REJECTED, ModelState.RETIRED):
        what = _("{model} is {state}.").format(model=model.id, state=_(model.state.value))
        return Reason(
            "M580",
            f"{what} {visible(model.state_reason or '')}".strip(),
            _("Give it another state first: `{command}`.").format(command=command),
        )
    over = model.state_until is None or model.state_until <= now
    if model.state is ModelState.CONDITIONAL and over:
        until = clock_day(model.state_until) if model.state_until else "-"
        return Reason(
            "M581",
            _("{model} was allowed on conditions until {until}, and that is over.").format(
                model=model.id, until=until
            ),
            _("Look at it again, then give it a state: `{command}`.").format(command=command),
        )
    return None


def old(at: datetime, rules: Mapping[str, float], now: datetime) -> bool:
    """Whether evidence of that time is older than the rules allow."""
    return "days" in rules and now - at > timedelta(days=rules["days"])


# -- what every piece of evidence has to be


def _unusable(
    made: Evaluation | None,
    of: Measured,
    rules: Mapping[str, float],
    now: datetime,
    none: tuple[str, str],
) -> tuple[str, str] | None:
    """Code and sentence of why an evaluation does not count; `none` where there is none."""
    if made is None:
        return none
    if old(made.created_at, rules, now):
        return "M588", _("The evaluation of {model} is of {at}, too long ago.").format(
            model=of.model.id, at=clock_time(made.created_at)
        )
    measured = _measured(made)
    if not measured or measured != dict(of.files):
        return "M589", _("The evaluation {id} is not of the files that {model} has now.").format(
            id=made.id, model=of.model.id
        )
    return None


def _measured(made: Evaluation) -> dict[str, str]:
    files = made.report.get("adapter_files") or {}
    return {name: each["sha256"] for name, each in files.items()}


def _differ(made: Evaluation | None, of: Measured) -> bool:
    """Whether other weights lie there than were measured; that none are known is another thing."""
    measured = _measured(made) if made else {}
    return bool(measured and of.files) and measured != dict(of.files)


# -- the loss


def _loss(evidence: Evidence, rules: Mapping[str, float], found: Judgement) -> None:
    mine, current = evidence.mine, evidence.current
    problem = _unusable(
        mine.held_out,
        mine,
        rules,
        evidence.now,
        (
            "M582",
            _("{model} was not measured on its held-out part yet.").format(model=mine.model.id),
        ),
    )
    if problem or mine.held_out is None:
        code, told = problem or ("M582", "")
        found.missing(
            "loss", code, told, "evaluate", evidence.run, not _differ(mine.held_out, mine)
        )
        return
    if current is None:
        _against_base(mine.held_out, mine.model, rules, found)
        return
    other = current.held_out
    problem = _unusable(
        other,
        current,
        rules,
        evidence.now,
        (
            "M583",
            _("{current} was not measured on the held-out part of {model} yet.").format(
                current=current.model.id, model=mine.model.id
            ),
        ),
    )
    if problem or other is None:
        code, told = problem or ("M583", "")
        found.missing("loss", code, told, "evaluate_current", evidence.run)
        return
    if current.model.dataset != mine.model.dataset:
        found.notes.append(
            _(
                "{current} was trained on other data: it may have learnt some of the examples that "
                "both are measured on, which speaks for it."
            ).format(current=current.model.id)
        )
    figures = _paired_loss(mine.held_out.report, other.report)
    if figures is None:
        found.keep(
            "loss",
            "missing",
            _("The losses of {model} and {current} can't be put side by side.").format(
                model=mine.model.id, current=current.model.id
            ),
            "M595",
            _(
                "Their tokenizers differ and some examples are cut, or no example is the same: "
                "measure both on all examples, with a sequence length that holds them."
            ),
        )
        return
    _judged_loss(figures, current.model.id, [mine.held_out.id, other.id], rules, found)


def _against_base(
    made: Evaluation, model: Model, rules: Mapping[str, float], found: Judgement
) -> None:
    difference = made.report.get("difference") or {}
    figures = {
        "difference": difference.get("loss"),
        "low": difference.get("loss_low"),
        "high": difference.get("loss_high"),
        "paired": made.report.get("examples") or 0,
        "unit": "token",
        "by": "bootstrap",
    }
    _judged_loss(figures, base_name(model.base), [made.id], rules, found)


def _paired_loss(mine: Report, other: Report) -> dict[str, Any] | None:
    """The model's loss minus the other's on the same examples: a token, or a whole answer where
    their tokens differ (nats of different tokens do not compare, those of the same text do)."""
    theirs = {each["line"]: each for each in other.get("losses") or []}
    pairs = [
        (each, theirs[each["line"]]) for each in mine.get("losses") or [] if each["line"] in theirs
    ]
    if not pairs:
        return None
    alike = all(one["tokens"] == two["tokens"] for one, two in pairs)
    cut = mine.get("examples_truncated") or other.get("examples_truncated")
    if not alike and cut:
        return None
    turned = [(_nats(one) - _nats(two), one["tokens"] if alike else 1) for one, two in pairs]
    return {"unit": "token" if alike else "answer", **ratio(turned)}


def _nats(row: Mapping[str, Any]) -> float:
    after = row.get("after")
    return float(row["before"] if after is None else after)


def _judged_loss(
    figures: Mapping[str, Any],
    other: str,
    evaluations: list[str],
    rules: Mapping[str, float],
    found: Judgement,
) -> None:
    count, high, bound = int(figures["paired"]), figures.get("high"), rules["loss"]
    plain = {
        "other": other,
        "difference": figures["difference"],
        "low": figures.get("low"),
        "high": high,
        "bound": bound,
        "count": count,
        "by": figures.get("by"),
        "evaluations": evaluations,
        "figures": {"unit": figures["unit"]},
    }
    if high is None or count < rules.get("examples", 0):
        told = ngettext(
            "{count} example was measured in both; at least {least} are wanted.",
            "{count} examples were measured in both; at least {least} are wanted.",
            count,
        ).format(count=number(count), least=number(max(2, int(rules.get("examples", 0)))))
        remedy = _("Measure on more examples: a larger held-out part, or no --limit.")
        found.keep("loss", "missing", told, "M585", remedy, **plain)
        return
    template = _(
        "{difference} nats a token against {other} ({low} to {high}, {count} examples); "
        "the whole interval must lie below {bound}."
    )
    if figures["unit"] == "answer":
        template = _(
            "{difference} nats an answer against {other} ({low} to {high}, {count} examples, other "
            "tokens); the whole interval must lie below {bound}."
        )
    told = template.format(
        difference=signed(figures["difference"]),
        other=other,
        low=signed(figures["low"]),
        high=signed(high),
        count=number(count),
        bound=signed(bound),
    )
    remedy = _("Train longer or on better data, or measure on more examples.")
    found.keep("loss", "ok" if high < bound else "failed", told, "M584", remedy, **plain)


# -- parity


def _parity(evidence: Evidence, rules: Mapping[str, float], found: Judgement) -> None:
    made, command = evidence.parity, f"sophia models parity {evidence.name}"
    if made is None:
        told = _("Whether all forms of {model} answer alike was not checked yet.").format(
            model=evidence.name
        )
        found.missing("parity", "M586", told, "parity", command)
        return
    results = made.report.get("results") or []
    changed = ", ".join(evidence.changed)
    if changed or not _same_files(made.report, evidence.mine.files):
        told = _("The parity check {id} is not of the files that {model} has now.").format(
            id=made.id, model=changed or evidence.mine.model.id
        )
        lost = not changed and not evidence.mine.files
        found.missing("parity", "M589", told, "parity", command, overridable=lost)
        return
    if not made.passed:
        _failed_parity(evidence, made, command, found)
        return
    if old(made.created_at, rules, evidence.now):
        told = _("The parity check {id} is of {at}, too long ago.").format(
            id=made.id, at=clock_time(made.created_at)
        )
        found.missing("parity", "M588", told, "parity", command)
        return
    if unasked := _unasked(evidence, results):
        told = _("The parity check {id} did not ask {names}.").format(
            id=made.id, names=", ".join(dict.fromkeys(unasked))
        )
        found.missing("parity", "M586", told, "parity", command)
        return
    told = _("All forms answered alike on {at}.").format(at=clock_time(made.created_at))
    found.keep("parity", "ok", told, evaluations=[made.id])


def _unasked(evidence: Evidence, results: Iterable[Report]) -> list[str]:
    """A file and what serves it may have one name."""
    asked = {(each["name"], each.get("kind") == "served") for each in results}
    wanted = [(evidence.form, False)] if evidence.form else []
    wanted += [(each, True) for each in evidence.served]
    return [name for name, served in wanted if (name, served) not in asked]


def _failed_parity(evidence: Evidence, made: ModelCheck, command: str, found: Judgement) -> None:
    """However old, and whatever it did not ask. Each of its reasons stands against the model under
    its own code. Where only relatives failed (a coarse export, say), a person may override it."""
    failed = [each for each in made.report.get("results") or [] if not each.get("passed", True)]
    relatives = bool(failed) and not any(
        each["name"] in evidence.own or each.get("kind") == "arithmetic" for each in failed
    )
    reasons = [
        (str(each.get("code", "")).removeprefix("SOPHIA-"), str(each.get("what", "")))
        for each in made.report.get("reasons") or []
    ]
    told = _("The forms do not answer alike. {why}").format(
        why=" ".join(each for _c, each in reasons)
    )
    remedy = _("Merge or export it again, then run `{command}`.").format(command=command)
    told = told.strip()
    found.keep("parity", "failed", told, "M587", remedy, relatives, evaluations=[made.id])
    for code, what in reasons:
        found.reasons.append(Reason(code, f"{_(LABELS['parity'])}: {what}", remedy, relatives))


def _same_files(report: Report, files: Mapping[str, str]) -> bool:
    """Whether a parity check was of these weights. It may list other files beside them."""
    said = report.get("adapter_files") or {}
    return bool(files) and all(
        (said.get(name) or {}).get("sha256") == digest for name, digest in files.items()
    )


# -- general questions


def shipped() -> dict[tuple[str, str, tuple[str, ...]], str | None]:
    """The regression set as its questions stand in reports, each with its language."""
    from finetune.grading import regression_questions

    return {
        (each.id, each.question, tuple(each.accepted)): each.language
        for each in regression_questions()
    }


Verdicts = dict[tuple[str, str, tuple[str, ...]], bool]


def verdicts(
    report: Report, side: Literal["before_right", "after_right"], known: Iterable[Any]
) -> Verdicts:
    """What became of the regression set's questions; a file of that name with others counts for
    nothing."""
    wanted = set(known)
    found: Verdicts = {}
    for each in report.get("graded_answers") or []:
        key = (each["id"], each["question"], tuple(each["accepted"]))
        right = each.get(side)
        if key in wanted and right is not None:
            found[key] = right
    return found


def _regression(evidence: Evidence, rules: Mapping[str, float], found: Judgement) -> None:
    mine, current = evidence.mine, evidence.current
    known = shipped()
    problem = _unusable(
        mine.regression,
        mine,
        rules,
        evidence.now,
        ("M590", _("{model} was not asked the general questions yet.").format(model=mine.model.id)),
    )
    if problem or mine.regression is None:
        code, told = problem or ("M590", "")
        differ = _differ(mine.regression, mine)
        found.missing("lost_base", code, told, "evaluate", evidence.run, not differ)
        return
    report = mine.regression.report
    after = verdicts(report, "after_right", known)
    before = verdicts(report, "before_right", known)
    found.regression = _by_language(known, before, after)
    _lost(
        "lost_base",
        _Asked(base_name(mine.model.base), before, after, [mine.regression.id]),
        evidence,
        rules,
        found,
    )
    if current is None:
        return
    other = current.regression
    problem = _unusable(
        other,
        current,
        rules,
        evidence.now,
        (
            "M594",
            _("{model} was not asked the general questions yet.").format(model=current.model.id),
        ),
    )
    if problem or other is None:
        code, told = problem or ("M594", "")
        found.missing("lost_current", code, told, "evaluate_current", evidence.run)
        return
    theirs = verdicts(other.report, "after_right", known)
    _lost(
        "lost_current",
        _Asked(current.model.id, theirs, after, [mine.regression.id, other.id]),
        evidence,
        rules,
        found,
    )


@dataclass(frozen=True)
class _Asked:
    """The other model's verdicts and the model's own."""

    other: str
    first: Verdicts
    second: Verdicts
    evaluations: list[str]


def _lost(
    name: str, asked: _Asked, evidence: Evidence, rules: Mapping[str, float], found: Judgement
) -> None:
    """Judge what the model answers no more. Newcombe's interval of the paired difference, and
    McNemar's exact p beside it (finetune/grading.py)."""
    from finetune.grading import Pairs, share_difference

    same = [key for key in asked.second if key in asked.first]
    count, least, bound = len(same), int(rules.get("items", 1)), rules["lost"]
    want: Want = "evaluate" if name == "lost_base" else "evaluate_current"
    if count < max(1, least):
        told = ngettext(
            "{count} general question was put to both; at least {least} are wanted.",
            "{count} general questions were put to both; at least {least} are wanted.",
            count,
        ).format(count=number(count), least=number(least))
        if len(asked.second) < least and "evaluate" not in found.wants:
            found.wants.append("evaluate")
        found.missing(name, "M591", told, want, f"{evidence.run} --items {max(least, 1)}")
        return
    pairs = Pairs.of((asked.first[key], asked.second[key]) for key in same)
    turned = share_difference(pairs)
    right = pairs.both + pairs.only_first
    now = pairs.both + pairs.only_second
    plain: dict[str, Any] = {
        "other": asked.other,
        "difference": turned.share,
        "low": turned.low,
        "high": turned.high,
        "bound": bound,
        "count": count,
        "by": "Newcombe 10",
        "evaluations": asked.evaluations,
        "figures": {
            "right": now,
            "right_other": right,
            "lost": turned.lost,
            "gained": turned.gained,
            "p_mcnemar": turned.p_value,
        },
    }
    if right < rules.get("right", 0):
        told = _(
            "Too few to judge: {other} answers {right} of {count} rightly, and at least {least} "
            "are wanted; now {now}, {lost} lost and {gained} gained."
        ).format(
            other=asked.other,
            right=number(right),
            count=number(count),
            least=number(int(rules["right"])),
            now=number(now),
            lost=number(turned.lost),
            gained=number(turned.gained),
        )
        remedy = _("Ask all of them (no --items), or take a base that knows more.")
        found.keep(name, "missing", told, "M592", remedy, **plain)
        if count < len(shipped()):
            found.wants.append(want)
        return
    told = _(
        "{now} of {count} right, {other} {right}: {lost} lost, {gained} gained, {change} "
        "points ({low} to {high}); at most {bound} may be lost."
    ).format(
        now=number(now),
        count=number(count),
        other=asked.other,
        right=number(right),
        lost=number(turned.lost),
        gained=number(turned.gained),
        change=signed(100 * turned.share, 1),
        low=signed(100 * turned.low, 1),
        high=signed(100 * turned.high, 1),
        bound=percent(bound),
    )
    remedy = _(
        "Rehearse general questions, learn more gently, or ask more of them: the interval is "
        "narrower then."
    )
    kept = -turned.low <= bound
    found.keep(name, "ok" if kept else "failed", told, "M593", remedy, **plain)
    if not kept and count < len(shipped()):
        found.wants.append(want)


def _by_language(
    known: Mapping[Any, str | None], before: Verdicts, after: Verdicts
) -> dict[str, Any]:
    """How many of each language were right, by the base and by the model."""
    from finetune.schema import REGRESSION_HASH, REGRESSION_VERSION

    languages: dict[str, dict[str, int]] = {}
    for key in after:
        if key not in before:
            continue
        row = languages.setdefault(
            known[key] or "", {"asked": 0, "right_before": 0, "right_after": 0}
        )
        row["asked"] += 1
        row["right_before"] += before[key]
        row["right_after"] += after[key]
    return {
        "version": REGRESSION_VERSION,
        "sha256": REGRESSION_HASH,
        "questions": len(known),
        "asked": sum(each["asked"] for each in languages.values()),
        "languages": languages,
    }
