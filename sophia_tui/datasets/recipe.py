"""A recipe: which steps of cleaning, in which order, with which settings; read from options such as
`length:max_characters=4000` or from a small YAML file, and refused where it says what can't be.
"""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import msgspec

from sophia_tui.datasets.sources import unreadable
from sophia_tui.datasets.steps import STEPS, ExactDuplicates, Normalise, Redact, Step
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: What is done where nothing is said: by `prepare.run`, and by `prepare.clean`.
USUAL: tuple[Step, ...] = (Redact(), ExactDuplicates())
THOROUGH: tuple[Step, ...] = (Normalise(), Redact(), ExactDuplicates())
_BY_NAME = {step.NAME: step for step in STEPS}
_MOST_BYTES = 1 << 20


def of_options(options: Sequence[str]) -> tuple[Step, ...]:
    """The steps of options like `redact`, `length:max_characters=4000,min_turns=2` and
    `drop:codes=crlf+bom`. Raises UsageError D543 to D545."""
    return _checked([_of_option(option) for option in options])


def of_file(path: Path) -> tuple[Step, ...]:
    """The steps of a YAML file: a list, or a mapping with `steps`, of names or of a name with its
    settings. Raises DataError D306, UsageError D543 to D545."""
    import yaml

    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    try:
        told = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        raise _no_recipe(path, f"YAML: {mark.line + 1}" if mark else "YAML") from problem
    if isinstance(told, dict) and set(told) == {"steps"}:
        told = told["steps"]
    if not isinstance(told, list) or not told:
        raise _no_recipe(path, _("It is no list of steps."))
    return _checked([_of_entry(path, entry) for entry in told])


def written(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The recipe as plain data that `read_back` reads."""
    return [{step.NAME: msgspec.to_builtins(step)} for step in steps]


def read_back(told: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
    """The recipe that was written. Raises UsageError D543 to D545."""
    return _checked([_step(*next(iter(entry.items()))) for entry in told])


def with_files(steps: Sequence[Step], place: Callable[[str], str]) -> tuple[Step, ...]:
    """The same steps, each file that one compares with where `place` says that it lies."""
    return tuple(
        msgspec.structs.replace(step, file=place(step.file)) if hasattr(step, "file") else step
        for step in steps
    )


def without_redacting(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(step for step in steps if not isinstance(step, Redact))


def _of_option(option: str) -> Step:
    name, _colon, rest = option.partition(":")
    settings: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise _bad_setting(name.strip(), _("{part} has no value.").format(part=visible(part)))
        settings[key.strip()] = value.strip()
    return _step(name.strip(), settings)


def _of_entry(path: Path, entry: Any) -> Step:
    if isinstance(entry, str):
        return _of_option(entry)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _no_recipe(path, _("A step is a name, or one name with its settings."))
    [(name, settings)] = entry.items()
    if settings is not None and not isinstance(settings, dict):
        raise _bad_setting(str(name), _("Its settings are no mapping."))
    return _step(str(name), settings or {})


def _step(name: str, settings: dict[str, Any]) -> Step:
    kind = _BY_NAME.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, _BY_NAME, 1)
        remedy = _("Steps are: {names}.").format(names=", ".join(_BY_NAME))
        if near:
            remedy = _("Did you mean {name}?").format(name=near[0]) + " " + remedy
        raise UsageError(
            "D543", _("There is no step {name}.").format(name=visible(name)), remedy=remedy
        )
    hints = get_type_hints(kind)
    given = {key: _value(hints.get(key), value) for key, value in settings.items()}
    try:
        step: Step = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as problem:
        raise _bad_setting(name, str(problem)) from problem
    wrong = step.wrong()
    if wrong is None and hasattr(step, "codes") and not step.codes:
        wrong = _("Say which codes, like {example}.").format(example=f"{name}:codes=crlf+bom")
    if wrong is None and hasattr(step, "keep") and step.keep == ():
        wrong = _("Say which, like {example}.").format(example=f"{name}:keep=pt+en")
    if wrong and hasattr(step, "codes"):
        raise _bad_setting(name, wrong, _("`sophia prepare inspect` names issues by their codes."))
    if wrong:
        raise _bad_setting(name, wrong)
    return step


def _value(hint: Any, value: Any) -> Any:
    """Lists and mappings of an option are written with + and :."""
    if not isinstance(value, str):
        return value
    if get_origin(hint) is tuple:
        return [part for part in value.split("+") if part]
    if get_origin(hint) is dict:
        pairs = (part.rpartition(":") for part in value.split("+") if part)
        return {key: each for key, _colon, each in pairs}
    return value


def _checked(steps: Sequence[Step]) -> tuple[Step, ...]:
    last: Step | None = None
    for step in steps:
        if last is not None and _rank(step) < _rank(last):
            raise UsageError(
                "D545",
                _("The step {name} can't come after {other}.").format(
                    name=step.NAME, other=last.NAME
                ),
                _("Steps that look at all rows together come last, in their own order."),
                _("Put {name} before {other}.").format(name=step.NAME, other=last.NAME),
            )
        if last is not None and step.OF_ALL and _rank(step) == _rank(last) and last.OF_ALL:
            raise UsageError(
                "D541",
                _("The step {name} stands twice.").format(name=step.NAME),
                remedy=_("Name it once."),
            )
        last = step
    return tuple(steps)


def _rank(step: Step) -> int:
    return STEPS.index(type(step)) if step.OF_ALL else -1


def _bad_setting(name: str, why: str, more: str = "") -> UsageError:
    kind = _BY_NAME.get(name)
    fields = ", ".join(kind.__struct_fields__) if kind else ""
    remedy = _("It has no settings.")
    if fields:
        remedy = _("Its settings are: {names}.").format(names=fields)
    return UsageError(
        "D544",
        _("The step {name} can't have these settings.").format(name=visible(name)),
        visible(why),
        f"{remedy} {more}".strip(),
    )


def _no_recipe(path: Path, why: str) -> UsageError:
    return UsageError(
        "D546",
        _("{file} is no recipe.").format(file=visible(path.name)),
        why,
        _("Write a list of steps, each a name like redact, or a name with its settings."),
    )
