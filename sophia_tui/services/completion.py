"""What an input field may be completed with: words, or names that are there now. A shell's
completion and the console's forms ask here."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sophia_tui.domain.operations import Operation
from sophia_tui.services.fields import choices_of
from sophia_tui.textsafe import visible

#: Which names a field takes, by its own name, or by its subject and name.
NAMES = {
    "job": "jobs",
    "model": "models",
    "dataset": "datasets",
    "schedule": "schedules",
    "finetune.status": "jobs",
    "evaluate.first": "models",
    "evaluate.second": "models",
    "prepare.first": "datasets",
    "prepare.second": "datasets",
    "serve.name": "models",
}
KINDS = ("jobs", "models", "datasets", "schedules")
#: Fields that take files or folders of this machine.
FILES = frozenset(
    {
        "env_file",
        "file",
        "files",
        "finetune_dir",
        "folder",
        "output",
        "path",
        "prompts",
        "source",
        "validation_file",
    }
)
#: How many names are offered.
MOST_NAMES = 200

Call = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


def kind_of(chosen: Operation, name: str) -> str:
    """Choices with | between, @ and a kind of names, or nothing: then files are offered."""
    info = chosen.input.model_fields[name]
    if chosen.subject == "settings" and name == "key":
        from sophia_tui.settings import keys, storable

        return "|".join(each for each in keys() if storable(each))
    choices = choices_of(info)
    if choices:
        return "|".join(choices)
    kind = NAMES.get(f"{chosen.subject}.{name}") or NAMES.get(name)
    return f"@{kind}" if kind else ""


async def names_of(kind: str, call: Call) -> list[str]:
    """Names of a kind that are there now, as `call` (an operation by name) tells them.

    Raises SophiaError.
    """
    request = {"limit": MOST_NAMES} if kind != "schedules" else {}
    listed = await call(f"{kind}.list", request)
    found = [_name(each) for each in getattr(listed, "items", ())]
    # what holds a control sign could not be typed again as it is shown
    return [each for each in found if each == visible(each) and " " not in each]


def _name(row: Any) -> str:
    """What a command takes for it: ids, and a schedule's name."""
    return str(getattr(row, "id", None) or row.name)
