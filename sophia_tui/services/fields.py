"""The fields of an operation's input, as any face needs them: kinds, choices, secrets, and the
command line that asks for the same."""

import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sophia_tui.domain.operations import Danger, Operation


def plain_type(annotation: Any) -> Any:
    """The annotation without `| None`; of a union of several kinds, text."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [each for each in typing.get_args(annotation) if each is not type(None)]
        return kept[0] if len(kept) == 1 else str
    return annotation


def choices_of(info: FieldInfo) -> list[str] | None:
    """The allowed words of a Literal or an Enum, else None."""
    plain = plain_type(info.annotation)
    if typing.get_origin(plain) is typing.Literal:
        return [str(each) for each in typing.get_args(plain)]
    if isinstance(plain, type) and issubclass(plain, Enum):
        return [str(each.value) for each in plain]
    return None


def is_list(info: FieldInfo) -> bool:
    return typing.get_origin(plain_type(info.annotation)) in (list, tuple, Sequence)


def is_switch(info: FieldInfo) -> bool:
    return plain_type(info.annotation) is bool


def is_secret(info: FieldInfo) -> bool:
    return plain_type(info.annotation) is SecretStr


def is_optional(info: FieldInfo) -> bool:
    """Whether None is a value of the field."""
    if typing.get_origin(info.annotation) not in (typing.Union, types.UnionType):
        return False
    return type(None) in typing.get_args(info.annotation)


def default_of(info: FieldInfo) -> Any:
    """The default as plain data (an enum's value); None where the field is required."""
    value = None if info.is_required() else info.get_default(call_default_factory=True)
    return value.value if isinstance(value, Enum) else value


def changed_from_default(model: type[BaseModel], request: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `request` that says something: values other than the defaults."""
    return {
        name: value
        for name, value in request.items()
        if model.model_fields[name].is_required() or value != default_of(model.model_fields[name])
    }


def equivalent(operation: Operation, request: Mapping[str, Any], dry_run: bool = False) -> str:
    """The command line for the same request, quoted for a shell. Secrets stand nowhere in it."""
    words = operation.command.split()
    fields = operation.input.model_fields
    placed: list[str] = []
    for name in operation.positional:
        value = request.get(name)
        placed += [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
    options: list[str] = []
    for name, value in request.items():
        if name in operation.positional or value is None or is_secret(fields[name]):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                options += [f"--{option}", str(each)]
    if dry_run:
        options.append("--dry-run")
    elif operation.danger is not Danger.NONE:
        options.append("--yes")
    words += options
    placed = [each for each in placed if each != "None"]
    if any(each.startswith("-") for each in placed):
        words.append("--")
    return shlex.join([*words, *placed])
