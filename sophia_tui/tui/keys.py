"""The one registry of keys: it binds keys to screens, operations and acts by name, and feeds the
bindings, the footer, the help and the palette. What an operation is, its declaration says."""

import re
from dataclasses import dataclass, replace

from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

#: Keys with names that every terminal sends for nothing else.
_NAMED = {
    "colon", "comma", "delete", "down", "end", "enter", "escape", "full_stop", "home", "insert",
    "left", "minus", "pagedown", "pageup", "plus", "question_mark", "right", "semicolon", "slash",
    "space", "tab", "up",
}  # fmt: skip
#: Scopes of screens without a list.
_NO_LISTS = {
    "form", "result", "overview", "monitor", "review", "browser", "editor", "preview", "step",
    "value", "wizard", "help", "inspection", "setup",
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """`target` is `screen.NAME`, `act.NAME` or an operation's name.

    `scope` is the screen where the key counts; empty: everywhere. `rank` orders the footer (0: not
    in it); lower ranks stay longest in a narrow window.
    """

    key: str
    target: str
    text: str
    scope: str = ""
    rank: int = 0
    others: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The key as people read it."""
        known = _SHOWN.get(self.key, self.key.upper() if self.key[:1] == "f" else self.key)
        return _(known) if self.key == "space" else known

    @property
    def types(self) -> bool:
        """Whether a field that has the focus takes it as a sign."""
        return len(self.key) == 1 or self.key in _SIGNS


_SHOWN = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "escape": "esc",
    "enter": "enter",
    "space": N_("space"),
    "asterisk": "*",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "f": "f",
}
_SIGNS = (
    *("question_mark", "colon", "slash", "space", "asterisk", "equals_sign"),
    *("less_than_sign", "greater_than_sign"),
)

#: Screens by the digit that opens them.
SCREENS = (
    Key("1", "screen.overview", N_("Overview"), rank=20),
    Key("2", "screen.setup", N_("Set-up"), rank=25),
    Key("3", "screen.datasets", N_("Data"), rank=22),
    Key("4", "screen.jobs", N_("Jobs"), rank=21),
    Key("5", "screen.models", N_("Models"), rank=23),
    Key("6", "screen.monitor", N_("Monitor"), rank=24),
    Key("7", "screen.review", N_("Review"), rank=26),
    Key("8", "screen.settings", N_("Settings"), rank=27),
    Key("9", "screen.audit", N_("Log"), rank=28),
)
#: The operation that each screen with data shows; who may not ask it is not offered the screen.
SHOWS = {
    "overview": "overview.show",
    "setup": "setup.check",
    "datasets": "datasets.list",
    "jobs": "jobs.list",
    "models": "models.list",
    "monitor": "monitor.show",
    "settings": "settings.list",
    "audit": "audit.list",
}
#: Operations that a screen of their own shows better than a form and a result; the field of the
#: request that names the row to open there.
SHOWN_BY = {
    **{operation: (screen, "") for screen, operation in SHOWS.items()},
    "datasets.show": ("datasets", "dataset"),
    "jobs.show": ("jobs", "job"),
    "jobs.events": ("jobs", "job"),
    "jobs.log": ("jobs", "job"),
    "jobs.watch": ("jobs", "job"),
    "models.show": ("models", "model"),
}
#: The key that fills an empty screen.
FILLED_BY = {
    "datasets": "prepare.run",
    "jobs": "train.start",
    "models": "train.start",
    "monitor": "serve.model",
    "audit": "collect.run",
    "schedules": "schedules.add",
    "calendar": "env.declare",
}

KEYS = (
    *SCREENS,
    Key("colon", "act.palette", N_("commands"), rank=1, others=("ctrl+p",)),
    Key("question_mark", "act.help", N_("help"), rank=2, others=("f1",)),
    Key("q", "act.quit", N_("quit"), rank=12, others=("f10",)),
    Key("r", "act.refresh", N_("refresh"), rank=30, others=("f5",)),
    Key("escape", "act.back", N_("back")),
    Key("y", "act.copy", N_("copy")),
    Key("f9", "act.typed", N_("what would I type")),
    Key("w", "act.save", N_("save to file"), scope="result", rank=5),
    Key("slash", "act.find", N_("search"), scope="result", rank=6),
    Key("f", "act.next_hit", N_("find next"), scope="result", rank=7),
    Key("h", "act.previous_hit", N_("find before"), scope="result", rank=8),
    Key("o", "act.only", N_("only these lines"), scope="result", rank=9),
    Key("f6", "act.regex", N_("text or pattern"), scope="result"),
    Key("f7", "act.match_case", N_("capitals"), scope="result"),
    Key("n", "act.next_change", N_("next change"), scope="changes", rank=3),
    Key("p", "act.previous_change", N_("change before"), scope="changes", rank=3),
    Key("t", "act.next_step", N_("next step"), scope="changes", rank=5),
    Key("b", "act.look_into", N_("look into"), scope="changes", rank=5),
    Key("m", "act.more", N_("more of them"), scope="changes", rank=6),
    Key("enter", "act.next", N_("next step"), scope="overview", rank=29),
    Key("d", "models.calendar", N_("models that end"), scope="overview"),
    Key("n", "models.succeed", N_("move off it"), scope="overview"),
    Key("slash", "act.filter", N_("filter"), scope="table", rank=10),
    Key("enter", "act.open", N_("open"), scope="table", rank=4),
    Key("space", "act.mark", N_("mark"), scope="list", rank=18),
    Key("asterisk", "act.mark_all", N_("mark all shown, or none"), scope="list"),
    Key("equals_sign", "act.sort", N_("sort"), scope="list", rank=13),
    Key("greater_than_sign", "act.next_rows", N_("later rows"), scope="list"),
    Key("less_than_sign", "act.previous_rows", N_("earlier rows"), scope="list"),
    Key("r", "act.refresh", N_("check again"), scope="setup", rank=5, others=("f5",)),
    Key("a", "act.apply", N_("apply the remedy"), scope="setup", rank=6),
    Key("o", "act.output", N_("its output"), scope="setup", rank=11),
    Key("e", "act.environment", N_("env keys"), scope="setup", rank=7),
    Key("w", "act.first_setup", N_("first set-up"), scope="setup", rank=8),
    Key("s", "samples.load", N_("sample data"), scope="setup", rank=18),
    Key("c", "collect.run", N_("collect"), scope="setup", rank=19),
    Key("escape", "act.back", N_("back"), scope="step", rank=4),
    Key("e", "act.change", N_("edit"), scope="environment", rank=5),
    Key("u", "env.unset", N_("take away"), scope="environment", rank=6),
    Key("escape", "act.back", N_("back"), scope="environment", rank=7),
    Key("f2", "act.run", N_("write"), scope="value", rank=4),
    Key("escape", "act.back", N_("back"), scope="value", rank=5),
    Key("f2", "act.run", N_("go on"), scope="wizard", rank=4),
    Key("escape", "act.back", N_("back"), scope="wizard", rank=5),
    Key("f4", "act.leave", N_("leave, to go on later"), scope="wizard", rank=6),
    Key("c", "jobs.cancel", N_("cancel"), scope="jobs", rank=8),
    Key("p", "jobs.pause", N_("pause"), scope="jobs", rank=6),
    Key("u", "jobs.resume", N_("resume"), scope="jobs", rank=5),
    Key("l", "act.log", N_("log"), scope="jobs", rank=7),
    Key("t", "train.start", N_("train"), scope="jobs", rank=11),
    Key("b", "act.earlier", N_("earlier in the queue"), scope="jobs"),
    Key("n", "act.later", N_("later in the queue"), scope="jobs"),
    Key("d", "schedules.list", N_("schedules"), scope="jobs"),
    Key("a", "schedules.add", N_("add a schedule"), scope="jobs"),
    Key("v", "act.losses", N_("other loss"), scope="job_compare", rank=4),
    Key("x", "act.axis", N_("axis"), scope="job_compare", rank=5),
    Key("a", "act.everything", N_("all or differences"), scope="job_compare", rank=6),
    Key("escape", "act.back", N_("back"), scope="job_compare", rank=7),
    Key("e", "schedules.change", N_("change"), scope="schedules", rank=3),
    Key("a", "schedules.add", N_("add a schedule"), scope="schedules", rank=6),
    Key("g", "schedules.run-now", N_("run at once"), scope="schedules", rank=7),
    Key("x", "schedules.remove", N_("remove"), scope="schedules", rank=8),
    Key("escape", "act.back", N_("back"), scope="schedules", rank=5),
    Key("k", "train.checklist", N_("check list"), scope="jobs", rank=17),
    Key("i", "act.settings", N_("its settings"), scope="jobs", rank=14),
    Key("v", "act.series", N_("other figures"), scope="jobs", rank=16),
    Key("e", "act.kinds", N_("kinds of events"), scope="jobs", rank=19),
    Key("h", "act.hold", N_("hold lines"), scope="jobs", rank=9),
    Key("f", "act.find", N_("find"), scope="jobs", rank=15),
    Key("g", "act.find_newer", N_("hit after it"), scope="jobs"),
    Key("o", "act.dataset", N_("its data set"), scope="jobs"),
    Key("x", "jobs.compare", N_("compare"), scope="jobs", rank=18),
    Key("i", "act.inspect", N_("inspect"), scope="datasets", rank=5),
    Key("n", "prepare.run", N_("prepare"), scope="datasets", rank=6),
    Key("b", "prepare.browse", N_("look into"), scope="datasets", rank=7),
    Key("t", "train.start", N_("train"), scope="datasets", rank=8),
    Key("c", "collect.run", N_("collect"), scope="datasets", rank=9),
    Key("v", "train.preview", N_("what is trained"), scope="datasets", rank=10),
    Key("o", "datasets.rows", N_("source rows"), scope="datasets", rank=11),
    Key("p", "prepare.preview", N_("what cleaning changes"), scope="datasets", rank=12),
    Key("k", "prepare.clean", N_("clean"), scope="datasets", rank=13),
    Key("d", "prepare.diff", N_("compare"), scope="datasets", rank=18),
    Key("s", "prepare.split", N_("split anew"), scope="datasets"),
    Key("a", "prepare.gate", N_("quality gate"), scope="datasets"),
    Key("g", "datasets.tag", N_("tag"), scope="datasets"),
    Key("e", "datasets.export", N_("export"), scope="datasets"),
    Key("x", "datasets.delete", N_("delete"), scope="datasets"),
    Key("f", "prepare.forget", N_("forget a person"), scope="datasets"),
    Key("b", "act.look_into", N_("look into"), scope="inspection", rank=3),
    Key("a", "act.everything", N_("look at everything"), scope="inspection", rank=5),
    Key("p", "prepare.preview", N_("what cleaning changes"), scope="inspection", rank=6),
    Key("n", "prepare.run", N_("prepare"), scope="inspection", rank=7),
    Key("k", "prepare.clean", N_("clean"), scope="inspection", rank=9),
    Key("w", "prepare.report", N_("write report"), scope="inspection", rank=11),
    Key("d", "prepare.duplicates", N_("near-duplicates"), scope="inspection"),
    Key("c", "prepare.contradictions", N_("contradictions"), scope="inspection"),
    Key("escape", "act.back", N_("back"), scope="inspection", rank=8),
    Key("enter", "act.open", N_("open"), scope="browser", rank=9),
    Key("escape", "act.back", N_("back"), scope="browser", rank=13),
    Key("n", "act.next_page", N_("next page"), scope="browser", rank=3),
    Key("p", "act.previous_page", N_("page before"), scope="browser", rank=11),
    Key("g", "act.go_to_line", N_("go to line"), scope="browser", rank=4),
    Key("slash", "act.search", N_("search"), scope="browser", rank=5),
    Key("f", "act.next_hit", N_("find next"), scope="browser", rank=10),
    Key("h", "act.previous_hit", N_("find before"), scope="browser"),
    Key("f6", "act.regex", N_("text or pattern"), scope="browser"),
    Key("f7", "act.match_case", N_("capitals"), scope="browser"),
    Key("v", "act.view", N_("raw"), scope="browser", rank=7),
    Key("m", "act.more", N_("more of it"), scope="browser", rank=8),
    Key("k", "act.less", N_("back in it"), scope="browser"),
    Key("l", "act.source", N_("what it was made of"), scope="browser", rank=8),
    Key("a", "act.first_page", N_("first page"), scope="browser"),
    Key("z", "act.last_page", N_("last page"), scope="browser"),
    Key("i", "act.next_issue", N_("next issue"), scope="browser", rank=6),
    Key("o", "act.previous_issue", N_("issue before"), scope="browser", rank=14),
    Key("c", "act.code", N_("one code only"), scope="browser", rank=15),
    Key("e", "act.edit", N_("edit"), scope="browser", rank=7),
    Key("u", "act.undo", N_("undo"), scope="browser", rank=8),
    Key("d", "act.redo", N_("do again"), scope="browser"),
    Key("s", "prepare.save", N_("save"), scope="browser", rank=8),
    Key("x", "act.exact", N_("exact lines"), scope="browser", rank=8),
    Key("f2", "act.run", N_("take over"), scope="editor", rank=4),
    Key("f3", "act.changes", N_("what changes"), scope="editor", rank=4),
    Key("escape", "act.back", N_("back"), scope="editor", rank=5),
    Key("n", "act.next_page", N_("next page"), scope="preview", rank=3),
    Key("p", "act.previous_page", N_("page before"), scope="preview", rank=3),
    Key("e", "evaluate.run", N_("evaluate"), scope="models", rank=6),
    Key("c", "evaluate.compare", N_("compare"), scope="models", rank=8),
    Key("m", "promote.run", N_("promote"), scope="models", rank=5),
    Key("b", "promote.rollback", N_("roll back"), scope="models", rank=7),
    Key("s", "serve.model", N_("serve"), scope="models", rank=19),
    Key("a", "serve.ask", N_("ask it"), scope="models"),
    Key("x", "serve.stop", N_("stop serving"), scope="models"),
    Key("g", "models.merge", N_("merge"), scope="models"),
    Key("p", "models.parity", N_("compare its forms"), scope="models"),
    Key("k", "models.alike", N_("whether its forms are alike"), scope="models"),
    Key("w", "evaluate.report", N_("write report"), scope="models"),
    Key("v", "models.gate", N_("gate"), scope="models"),
    Key("o", "datasets.rows", N_("source rows"), scope="models"),
    Key("l", "models.lineage", N_("lineage"), scope="models", rank=9),
    Key("j", "models.state", N_("decide on its state"), scope="models"),
    Key("u", "models.note", N_("add a note"), scope="models"),
    Key("h", "models.production", N_("when it was in production"), scope="models"),
    Key("f", "models.verify", N_("check its files"), scope="models"),
    Key("i", "evaluate.roi", N_("return on investment"), scope="models"),
    Key("t", "train.start", N_("train"), scope="models"),
    Key("d", "models.calendar", N_("models that end"), scope="models"),
    Key("n", "models.succeed", N_("move off it"), scope="models"),
    Key("n", "models.succeed", N_("move off it"), scope="calendar", rank=3),
    Key("u", "act.ask", N_("ask the providers"), scope="calendar", rank=5),
    Key("escape", "act.back", N_("back"), scope="calendar", rank=6),
    Key("p", "act.period", N_("period"), scope="monitor", rank=4),
    Key("m", "act.model", N_("one model"), scope="monitor", rank=5),
    Key("s", "serve.model", N_("serve"), scope="monitor", rank=6),
    Key("a", "serve.ask", N_("ask it"), scope="monitor", rank=7),
    Key("x", "serve.stop", N_("stop serving"), scope="monitor", rank=8),
    Key("m", "monitor.show", N_("feedback by day"), scope="review", rank=31),
    Key("d", "datasets.list", N_("data sets"), scope="review", rank=31),
    Key("b", "prepare.browse", N_("look into"), scope="review", rank=31),
    Key("c", "evaluate.compare", N_("compare"), scope="review", rank=31),
    Key("a", "serve.ask", N_("ask it"), scope="review", rank=31),
    Key("e", "settings.set", N_("edit"), scope="settings", rank=5),
    Key("u", "settings.unset", N_("unset"), scope="settings", rank=6),
    Key("n", "collect.run", N_("collect"), scope="audit", rank=18),
    Key("escape", "act.back", N_("back"), scope="form", rank=6),
    Key("escape", "act.back", N_("back"), scope="result", rank=4),
    Key("escape", "act.back", N_("back"), scope="help", rank=5),
    Key("o", "act.operations", N_("all operations"), scope="help", rank=4),
    Key("f2", "act.run", N_("run"), scope="form", rank=4),
    Key("f3", "act.dry_run", N_("dry run"), scope="form", rank=5),
    Key("f4", "act.detach", N_("in the background"), scope="form", rank=7),
    Key("f7", "act.copy_command", N_("copy the command"), scope="form"),
    Key("escape", "act.back", N_("back"), scope="typed", rank=4),
    Key("enter", "act.copy", N_("copy"), scope="typed", rank=3),
    Key("w", "act.save", N_("save to file"), scope="typed", rank=5),
    Key("escape", "act.back", N_("back"), scope="drafts", rank=4),
    Key("enter", "act.open", N_("open"), scope="drafts", rank=3),
    Key("x", "act.throw_away", N_("throw away"), scope="drafts", rank=5),
    Key("f8", "act.clear_draft", N_("clear the draft"), scope="form", rank=5),
)


def remapped(changes: str) -> tuple[Key, ...]:
    """The registry with SOPHIA_KEYS applied: `target=key` pairs separated by commas.

    Raises UsageError U010 for a target that does not exist, U063 for a key that is taken, U064 for
    one that no terminal sends.
    """
    chosen = dict(
        (part.partition("=")[0].strip(), part.partition("=")[2].strip())
        for part in changes.split(",")
        if part.strip()
    )
    unknown = [target for target in chosen if all(each.target != target for each in KEYS)]
    if unknown or not all(chosen.values()):
        raise UsageError(
            "U010",
            _("SOPHIA_KEYS names what can't be bound: {names}.").format(names=", ".join(unknown)),
            remedy=_("Write target=key pairs, e.g. act.refresh=f6; help lists the targets."),
        )
    found = tuple(
        replace(each, key=chosen[each.target], others=()) if each.target in chosen else each
        for each in KEYS
    )
    for key in chosen.values():
        _require_key(key)
    for each in found:
        if each.target in chosen:
            _require_alone(each, found)
    return found


def _require_key(key: str) -> None:
    """Raises UsageError U064 for what no terminal sends, or sends for another key as well."""
    named = re.fullmatch(r"f([1-9]|1[0-9]|2[0-4])|ctrl\+[c-gkln-ru-y]", key) or key in _NAMED
    if not named and (len(key) != 1 or not key.isprintable()):
        raise UsageError(
            "U064",
            _("SOPHIA_KEYS names a key that can't be used: {key}.").format(key=visible(key)),
            _("It is no key, or terminals and tmux take it for something else."),
            _("Take a letter, a digit, a sign, f1 to f24, or one of: {names}.").format(
                names=", ".join(sorted(_NAMED))
            ),
        )


def _require_alone(key: Key, every: tuple[Key, ...]) -> None:
    """Raises UsageError U063 where the key leads to another place on the same screen."""
    for other in every:
        if other.target == key.target or key.key not in (other.key, *other.others):
            continue
        if _together(key.scope, other.scope):
            raise UsageError(
                "U063",
                _("SOPHIA_KEYS gives {key} to two: {first} and {second}.").format(
                    key=key.shown, first=key.target, second=other.target
                ),
                _("Both count on the same screen ({scope}).").format(
                    scope=key.scope or other.scope or _("everywhere")
                ),
                _("Choose another key, or give {second} another one as well.").format(
                    second=other.target
                ),
            )


def _together(first: str, second: str) -> bool:
    """Whether two scopes hold on one screen."""
    both = {first, second}
    return first == second or "" in both or ("table" in both and not both & _NO_LISTS)


def while_typing(found: list[Key]) -> list[Key]:
    """Of these the keys that count while a field has the focus, by the key that does."""
    kept = []
    for each in found:
        for key in (each.key, *each.others):
            alone = replace(each, key=key, others=())
            if not alone.types and key != "enter":
                kept.append(alone)
                break
    return kept


def for_scopes(keys: tuple[Key, ...], scopes: tuple[str, ...]) -> list[Key]:
    """The keys that count where these scopes hold; a scope's own word for a key goes before the
    one of everywhere."""
    found = [each for each in keys if each.scope in scopes]
    own = {(each.key, each.target) for each in found if each.scope}
    return [each for each in found if each.scope or (each.key, each.target) not in own]
