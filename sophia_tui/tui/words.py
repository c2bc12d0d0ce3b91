"""How values look on the console: ages, rates, bars, sparklines, glyphs. Widths are cells.

Ages are coarse on purpose: a text that changes every second is sent over the line every second.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from sophia_tui.i18n import N_, _, local, moment_text, ngettext, number
from sophia_tui.textsafe import plain_sign, visible

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sophia_tui.domain.operations import Operation

STAGES = {
    "collect": N_("Collect"),
    "prepare": N_("Prepare"),
    "train": N_("Train"),
    "evaluate": N_("Evaluate"),
    "promote": N_("Promote"),
    "monitor": N_("Monitor"),
}
#: Verbs and subjects of operations as words of the palette.
VERBS = {
    "run": N_("run"),
    "show": N_("show"),
    "meanwhile": N_("tell what happened meanwhile"),
    "list": N_("list"),
    "start": N_("start"),
    "stop": N_("stop"),
    "status": N_("status"),
    "watch": N_("follow"),
    "events": N_("events"),
    "log": N_("log"),
    "cancel": N_("cancel"),
    "pause": N_("pause"),
    "resume": N_("resume"),
    "rollback": N_("take back"),
    "history": N_("history"),
    "set": N_("set"),
    "unset": N_("unset"),
    "check": N_("check"),
    "apply": N_("run a step of the installer"),
    "begin": N_("write the first answers"),
    "validate": N_("check a value"),
    "inspect": N_("inspect"),
    "migrate": N_("migrate"),
    "repair": N_("repair"),
    "rejected": N_("rejected records"),
    "load": N_("load"),
    "rows": N_("source rows"),
    "merge": N_("merge"),
    "parity": N_("compare its forms"),
    "alike": N_("whether its forms are alike"),
    "ask": N_("ask"),
    "model": N_("start"),
    "compare": N_("compare"),
    "report": N_("report"),
    "add": N_("take in"),
    "delete": N_("delete"),
    "create": N_("create"),
    "checkpoints": N_("checkpoints"),
    "curve": N_("curves"),
    "settings": N_("with what it works"),
    "handshake": N_("greet"),
    "tune": N_("tune"),
    "roi": N_("return on investment"),
    "gate": N_("quality gate"),
    "advice": N_("whether tuning is worth it"),
    "plan": N_("estimate before the start"),
    "preview": N_("what is trained"),
    "checklist": N_("check list"),
    "services": N_("services"),
    "restart": N_("restart a service"),
    "usage": N_("what takes room"),
    "prune": N_("tidy up"),
    "test": N_("try out"),
    "queue": N_("the queue"),
    "move": N_("move in the queue"),
    "change": N_("change"),
    "remove": N_("remove"),
    "run-now": N_("run at once"),
    "files": N_("files"),
    "browse": N_("look into"),
    "search": N_("search"),
    "edit": N_("edit a record"),
    "undo": N_("undo an edit"),
    "save": N_("save the edits"),
    "clean": N_("clean"),
    "split": N_("split anew"),
    "convert": N_("convert"),
    "duplicates": N_("near-duplicates"),
    "contradictions": N_("contradictions"),
    "issues": N_("issues, line by line"),
    "versions": N_("versions"),
    "diff": N_("compare versions"),
    "tag": N_("give a tag"),
    "untag": N_("take a tag away"),
    "holds": N_("who holds a person"),
    "forget": N_("forget a person"),
    "vary": N_("make variations"),
    "lineage": N_("lineage"),
    "note": N_("add a note"),
    "state": N_("decide on the state"),
    "production": N_("what production named"),
    "verify": N_("check the files"),
    "upload": N_("send to a hub"),
    "export": N_("export"),
    "declare": N_("declare"),
    "undeclare": N_("take a declaration back"),
    "confirm": N_("confirm restarts"),
    "backup": N_("back up"),
    "backups": N_("backups"),
    "bundle": N_("pack for support"),
    "restore": N_("put a backup back"),
    "calendar": N_("until when they answer"),
    "changes": N_("what another person changed"),
    "succeed": N_("move off one that ends"),
    "succession": N_("ways off those that end"),
}
#: Verbs that mean something else for one subject.
_VERBS_OF = {
    "schedules.add": N_("add"),
    "promote.repair": N_("finish or undo what was cut off"),
    "models.gate": N_("gate before promotion"),
}
#: Operations whose verb and subject make no title.
_TITLES = {
    "overview.meanwhile": N_("what happened while you were away"),
    "prepare.preview": N_("what cleaning changes"),
}
#: What the button of a question before an act says: the act itself, never a mere yes.
ACTS = {
    "adaptive.cancel": N_("Stop the training"),
    "datasets.delete": N_("Delete the version"),
    "env.undeclare": N_("Take the declaration back"),
    "env.unset": N_("Take the key out"),
    "files.delete": N_("Delete the file"),
    "jobs.cancel": N_("Cancel the job"),
    "models.delete": N_("Delete the model"),
    "models.succeed": N_("Go on with it"),
    "models.state": N_("Give the state"),
    "prepare.forget": N_("Forget the person"),
    "promote.rollback": N_("Roll back"),
    "promote.run": N_("Promote the model"),
    "provider.delete": N_("Delete the model"),
    "provider.remove": N_("Delete the file"),
    "schedules.remove": N_("Remove the schedule"),
    "serve.stop": N_("Stop serving"),
    "setup.apply": N_("Run the step"),
    "setup.begin": N_("Write them"),
    "setup.prune": N_("Remove what is named"),
    "setup.restart": N_("Restart the service"),
    "setup.restore": N_("Put the backup back"),
    "store.stop": N_("Stop the store"),
    "train.start": N_("Start the training"),
}
SUBJECTS = {
    "overview": N_("overview"),
    "setup": N_("set-up"),
    "collect": N_("collection"),
    "source": N_("source"),
    "prepare": N_("data set preparation"),
    "datasets": N_("data sets"),
    "train": N_("training"),
    "jobs": N_("jobs"),
    "notifications": N_("notifications"),
    "evaluate": N_("evaluation"),
    "models": N_("models"),
    "promote": N_("promotion"),
    "prices": N_("prices"),
    "finetune": N_("fine-tuning"),
    "monitor": N_("figures in use"),
    "settings": N_("settings"),
    "env": N_("env files"),
    "audit": N_("log of actions"),
    "store": N_("store"),
    "demo": N_("demo"),
    "samples": N_("sample data"),
    "schedules": N_("schedules"),
    "serve": N_("serving"),
    "files": N_("uploaded files"),
    "tuning": N_("tuning by the protocol"),
    "adaptive": N_("adaptive training"),
    "personas": N_("personas"),
    "provider": N_("provider"),
}
#: Other words by which people look for a subject or a verb in the palette.
ALSO = {
    "samples": N_("sample example demonstration test data"),
    "jobs": N_("job task queue"),
    "datasets": N_("data set version records"),
    "settings": N_("configuration preferences options"),
    "prices": N_("cost money"),
    "store": N_("database"),
    "serve": N_("deploy answer"),
    "audit": N_("history journal"),
    "cancel": N_("stop abort end"),
    "delete": N_("remove erase"),
    "load": N_("import fill"),
    "rollback": N_("undo revert"),
    "set": N_("change configure"),
}
STATES = {
    "draft": N_("draft"),
    "queued": N_("queued"),
    "validating": N_("validating"),
    "running": N_("running"),
    "pausing": N_("pausing"),
    "paused": N_("paused"),
    "succeeded": N_("succeeded"),
    "failed": N_("failed"),
    "cancelled": N_("cancelled"),
    "interrupted": N_("interrupted"),
    "starting": N_("starting"),
    "ready": N_("ready"),
    "stopping": N_("stopping"),
    "stopped": N_("stopped"),
}
#: Kinds of events, and what a run itself says in them (it knows no languages).
EVENTS = {
    "state": N_("state"),
    "progress": N_("progress"),
    "metric": N_("metric"),
    "warning": N_("warning"),
    "checkpoint": N_("checkpoint"),
    "message": N_("message"),
    "answer": N_("answer"),
    "result": N_("result"),
}
REASONS = {
    "asked by the control file": N_("asked by the control file"),
    "the last step": N_("the last step"),
    "the base has no chat template; the plain one is used": N_(
        "the base has no chat template; the plain one is used"
    ),
    "fewer general questions are answered rightly than general_floor allows": N_(
        "fewer general questions are answered rightly than general_floor allows"
    ),
}
#: Fields that hold amounts of money.
_MONEY = frozenset({"usd", "brl"})
#: How a stage does, in a word.
HEALTH = {
    "ok": N_("ok"),
    "attention": N_("attention"),
    "problem": N_("problem"),
    "empty": N_("empty"),
    "unknown": N_("not known"),
}
STYLES = {
    "ok": "$success",
    "attention": "bold $warning",
    "problem": "bold $error",
    "empty": "dim",
    "unknown": "dim",
}
_STATE_HEALTH = {
    "succeeded": "ok",
    "running": "ok",
    "failed": "problem",
    "interrupted": "problem",
    "paused": "attention",
    "pausing": "attention",
    "cancelled": "attention",
    "ready": "ok",
    "starting": "attention",
    "stopping": "attention",
}


def operation_title(operation: "Operation") -> str:
    """`verb: object` in the active language, or the operation's own title."""
    if operation.name in _TITLES:
        return _(_TITLES[operation.name])
    verb = _(_VERBS_OF.get(operation.name) or VERBS.get(operation.verb, operation.verb))
    subject = _(SUBJECTS.get(operation.subject, operation.subject))
    return f"{verb}: {subject}"


def act_word(operation: "Operation") -> str:
    """What doing it is called on a button."""
    return _(ACTS[operation.name]) if operation.name in ACTS else operation_title(operation)


def state_word(state: str) -> str:
    """A job's state in the active language; a provider's own word as it is."""
    return _(STATES[state]) if state in STATES else visible(state)


def event_word(kind: str) -> str:
    return _(EVENTS[kind]) if kind in EVENTS else visible(kind)


def event_value(name: str, value: Any) -> str:
    """A value of an event; whole numbers as they are, since many are names (pid, step)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and name == "state":
        return state_word(value)
    return _(REASONS[value]) if isinstance(value, str) and value in REASONS else shown(value)


def state_style(state: str) -> str:
    return STYLES[_STATE_HEALTH.get(state, "empty")]


#: What stands for signs that are no letters where only ASCII may be drawn.
class Glyphs:
    """The signs of the console: Unicode, or ASCII alone. `plain_curves`: charts without braille,
    which some terminals have no letters for."""

    def __init__(self, ascii_only: bool, plain_curves: bool = False) -> None:
        self.ascii_only = ascii_only
        self.plain_curves = ascii_only or plain_curves
        self.health = (
            {"ok": "+", "attention": "!", "problem": "x", "empty": "-", "unknown": "?"}
            if ascii_only
            else {"ok": "✓", "attention": "!", "problem": "✗", "empty": "·", "unknown": "?"}
        )
        self.cut = "~" if ascii_only else "…"
        self.mark = "*" if ascii_only else "●"
        self._ascending, self._descending = ("^", "v") if ascii_only else ("↑", "↓")
        self._spark = "_.-~^" if ascii_only else "▁▂▃▄▅▆▇█"
        self._full, self._rest = ("#", "-") if ascii_only else ("█", "░")

    def sparkline(self, values: Sequence[float]) -> str:
        """One sign for each value, from the lowest to the highest."""
        kept = [value for value in values if value == value and abs(value) != float("inf")]
        if not kept:
            return ""
        low, high = min(kept), max(kept)
        top = len(self._spark) - 1
        span = high - low
        return "".join(
            self._spark[round((value - low) / span * top) if span else top // 2] for value in kept
        )

    def bar(self, done: int, total: int, width: int) -> str:
        """`width` cells, filled by done/total."""
        filled = min(width, width * done // total) if total > 0 else 0
        return self._full * filled + self._rest * (width - filled)

    def order(self, sort: str) -> str:
        """The direction of a list's order: `-` before a column is descending."""
        return self._descending if sort.startswith("-") else self._ascending

    def arrow(self, width: int) -> str:
        """An arrow to the right, `width` cells long."""
        line, head = ("-", ">") if self.ascii_only else ("─", "→")
        return line * (width - 1) + head if width > 1 else " " * width

    def fit(self, text: str, width: int) -> str:
        """`text` made harmless and exactly `width` cells wide; a mark stands where it was cut."""
        text = visible(text)
        if self.ascii_only:
            text = "".join(map(plain_sign, text))
        if cell_len(text) <= width:
            return text + " " * (width - cell_len(text))
        return set_cell_size(text, max(0, width - 1)) + self.cut if width > 0 else ""


def age(now: datetime, at: datetime | None) -> str:
    """How long ago, in the coarse words of the module's docstring."""
    if at is None:
        return ""
    minutes = max(0, int((now - at).total_seconds() // 60))
    if minutes < 1:
        return _("just now")
    if minutes < 60:
        return _("{minutes} min ago").format(minutes=minutes)
    hours = minutes // 60
    if hours < 48:
        return _("{hours} h ago").format(hours=hours)
    return ngettext("{days} day ago", "{days} days ago", hours // 24).format(
        days=number(hours // 24)
    )


def ends(now: datetime, at: datetime | None) -> str:
    """How long a model still answers; `at` is the first day without it, midnight UTC."""
    from sophia_tui.services.prices import days_until

    if at is None:
        return _("never")
    days = days_until(at.astimezone(UTC).date(), now)
    if days <= 0:
        return _("ended")
    return ngettext("in {days} day", "in {days} days", days).format(days=number(days))


def duration(seconds: float | None) -> str:
    """A duration, rounded so that it changes seldom."""
    if seconds is None or seconds != seconds:
        return ""
    minutes = int(seconds // 60)
    if minutes < 1:
        return _("< 1 min")
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)


def shown_field(row: "BaseModel", name: str) -> str:
    """The field's value as its kind wants it shown."""
    from sophia_tui.domain.operations import plainly
    from sophia_tui.services.views import worded

    value = getattr(row, name)
    if name in _MONEY and isinstance(value, float):
        return money(value)
    if value is not None and name in getattr(type(row), "as_is", ()):
        return visible(plainly(value))
    return shown(worded(name, value))


def money(value: float) -> str:
    """An amount with two decimals; what is less than a cent with as many as it takes."""
    return number(value, 2 if abs(value) >= 0.01 or not value else 5)


def rate(value: float) -> str:
    """A number of any size with two significant digits; small ones as powers of ten."""
    return f"{value:.2g}".replace(".", number(0.5, 1)[1])


def pace(value: float) -> str:
    """A rate with two significant digits, so that it changes seldom."""
    return number(float(f"{value:.2g}"), 0 if value >= 9.95 else 1 if value >= 0.995 else 2)


def zone() -> str:
    """The zone that times are shown in: this machine's."""
    return datetime.now().astimezone().strftime("%Z")


def shown(value: Any) -> str:
    """A value for people, on one line, harmless for the terminal."""
    from pydantic import BaseModel

    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return f"{moment_text(value, seconds=True)} {local(value):%Z}"
    if isinstance(value, float):
        return number(value, 4 if abs(value) < 10 else 1) if abs(value) >= 1e-9 else "0"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, BaseModel):
        from sophia_tui.domain.operations import as_data

        return shown(as_data(value))
    if isinstance(value, dict):
        from sophia_tui.services.views import key_word

        return ", ".join(f"{key_word(name)}: {shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value) or "-"
    return visible(str(value))
