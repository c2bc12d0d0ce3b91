"""What a face may ask of a service, declared once: the declaration itself and its parts."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from sophia_tui.domain.context import Role
from sophia_tui.domain.passages import Passage


class Input(BaseModel):
    """Base of every operation's input: unknown fields are refused, texts are stripped.

    `private` are fields that hold a data set's text: the audit, which is for good, leaves them out.
    `piped` are fields whose value the command line takes from standard input (as `-`) where it is
    not given: what should stand in no list of processes and no shell history.
    """

    private: ClassVar[frozenset[str]] = frozenset()
    piped: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=True, frozen=True, defer_build=True
    )


class Output(BaseModel):
    """Base of every operation's output. Field titles are texts for people (gettext).

    `table_columns` are the fields that a table of many shows, in order, the last one of any length;
    empty: those that hold something. `--json` always has all. `as_is` are fields that are
    shown by `plainly`. `machine_only` are fields that people read elsewhere in the same output, in
    another form.
    """

    table_columns: ClassVar[tuple[str, ...]] = ()
    as_is: ClassVar[frozenset[str]] = frozenset()
    machine_only: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, defer_build=True)

    def exit_code(self) -> int:
        """What the command line ends with once it has shown this; see errors.py."""
        return 0

    def foretold_refusal(self) -> str | None:
        """Of a dry run: the code that the act itself would be refused with."""
        return None

    def troubles(self) -> "Output":
        """What --quiet tells of it where it is no success: all of it, or what is amiss."""
        return self

    def passages(self, name: str) -> Sequence[Passage] | None:
        """What people at the command line read in place of a field's data; None: the data."""
        return None

    def remarks(self) -> list[str]:
        """Sentences for people at the command line, beside the answer and no part of it."""
        return []


def plainly(value: Any) -> str:
    """A number that is a name (a process, a line) without separators; a time in its own zone."""
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return str(value)


def as_data(model: BaseModel) -> dict[str, Any]:
    """A model as plain JSON data. Half of a surrogate pair, as the name of a file may hold one, is
    no text that JSON's own writer takes: it stands there as a question mark."""
    try:
        return model.model_dump(mode="json")
    except UnicodeEncodeError:
        found: dict[str, Any] = json.loads(json.dumps(_whole(model.model_dump()), default=str))
        return found


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_whole(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


class NoInput(Input):
    """An operation that needs nothing."""


class Danger(StrEnum):
    """NONE runs at once; CONFIRM asks; TYPE_NAME asks for the target's name typed (console)."""

    NONE = "none"
    CONFIRM = "confirm"
    TYPE_NAME = "type_name"


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked: `name` is `subject.verb`, e.g. `train.start`.

    `help` is one English sentence, translated where it is shown. `writes` operations are audited
    and refused under --readonly. `target` names the input field that says what is acted upon (for
    the audit and for TYPE_NAME), `typed` the targets that CONFIRM asks for typed as well, `makes`
    the output field that names what it made: then the audit names that. `trains` operations need
    ALLOW_FINETUNE=true over HTTP.
    `one_only` operations are never done on all marked rows of a list at once: they take each
    other's place, or each wants a decision of its own.
    `positional` are input fields that the command line takes without an option name. `streams`
    operations tell parts of their answer as they come (Context.tell): one JSON object a line on the
    command line, server-sent events over HTTP. `detaches` operations may be asked for in the
    background (Context.detach): then a job does them, and its view is the answer. Their input is
    stored with the job, so it holds no secret; done again from the start, they do no harm.
    """

    name: str
    help: str
    service: type
    method: str
    input: type[BaseModel]
    output: type[BaseModel]
    role: Role = Role.VIEWER
    writes: bool = False
    danger: Danger = Danger.NONE
    typed: frozenset[str] = frozenset()
    dry_run: bool = False
    trains: bool = False
    streams: bool = False
    detaches: bool = False
    one_only: bool = False
    target: str | None = None
    makes: str | None = None
    positional: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]

    @property
    def command(self) -> str:
        """What a person types for it."""
        return " ".join(["sophia", self.subject, *([] if self.verb == "run" else [self.verb])])


Handler = Callable[..., Awaitable[Any]]
