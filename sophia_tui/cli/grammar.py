"""The command line's grammar, built from the declarations: one argparse parser per operation."""

import argparse
import re
import typing
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.fields import choices_of, is_list, is_secret, is_switch

#: argparse's own words, so that they reach the catalogues.
ARGPARSE_WORDS = (
    N_("usage: "),
    N_("options"),
    N_("positional arguments"),
    N_("show this help message and exit"),
    N_("the following arguments are required: %s"),
    N_("unrecognized arguments: %s"),
    N_("expected one argument"),
    N_("expected at least one argument"),
    N_("ignored explicit argument %r"),
    N_("invalid choice: %(value)r (choose from %(choices)s)"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("ambiguous option: %(option)s could match %(matches)s"),
)


_DESCENDING = re.compile("-[a-z][a-z_]*")


class _Parser(argparse.ArgumentParser):
    def parse_args(self, args: typing.Any = None, namespace: typing.Any = None) -> typing.Any:
        """A column to sort by may follow `--sort` with a `-` before it: it is no option."""
        words = list(args or ())
        for place in range(len(words) - 2, -1, -1):
            if words[place] == "--sort" and _DESCENDING.fullmatch(words[place + 1]):
                words[place : place + 2] = [f"--sort={words[place + 1]}"]
        return super().parse_args(words, namespace)

    def error(self, message: str) -> typing.NoReturn:
        raise UsageError(
            "U002",
            _("The command line is not valid."),
            message,
            _("See `{program} --help`.").format(program=self.prog),
        )


def option_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def secret_fields(model: type[BaseModel]) -> list[str]:
    """Fields that are read from the terminal or standard input, never from argv."""
    return [name for name, info in model.model_fields.items() if is_secret(info)]


def piped_fields(model: type[BaseModel]) -> frozenset[str]:
    """Fields that are read from standard input where they are not given."""
    return getattr(model, "piped", frozenset())


def has_lines(info: FieldInfo) -> bool:
    """Whether a secret may have more than one line."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and extra.get("lines") is True


def _help(info: FieldInfo) -> str:
    described = info.description or ""
    text = _(described).replace("%", "%%")
    if info.is_required() or info.default in (None, "", [], False) or info.default_factory:
        return text
    default = info.default.value if isinstance(info.default, Enum) else info.default
    return _("{text} Default: {default}.").format(text=text, default=default)


def _add_field(
    parser: argparse.ArgumentParser, name: str, info: FieldInfo, place: bool, piped: bool
) -> None:
    settings: dict[str, Any] = {"help": _help(info), "default": argparse.SUPPRESS}
    choices = choices_of(info)
    if choices:
        settings["choices"] = choices
    elif not is_switch(info):
        settings["metavar"] = name.upper()
    if place:
        needed = info.is_required() and not piped
        settings["nargs"] = "*" if is_list(info) else None if needed else "?"
        if not choices:
            settings["metavar"] = name.upper()
        parser.add_argument(name, **settings)
    elif is_switch(info):
        parser.add_argument(option_name(name), action=argparse.BooleanOptionalAction, **settings)
    elif is_list(info):
        parser.add_argument(option_name(name), action="append", **settings)
    else:
        parser.add_argument(
            option_name(name), required=info.is_required() and not piped, **settings
        )


def parser_for(operation: Operation) -> argparse.ArgumentParser:
    """The parser of one operation's own options."""
    vars(argparse)["_"] = _  # argparse looks its own words up by this name
    words = [operation.subject] if operation.verb == "run" else [operation.subject, operation.verb]
    notes = []
    if operation.danger is not Danger.NONE:
        notes.append(_("This changes what is hard to change back; confirm it with --yes."))
    if columns := getattr(operation.input, "sorts", ()):
        notes.append(_("Columns of --sort: {columns}.").format(columns=", ".join(columns)))
    if operation.dry_run:
        notes.append(_("With --dry-run it shows what would be done and changes nothing."))
    if operation.detaches:
        notes.append(
            _("With --detach a job does it in the background; `sophia jobs watch` follows.")
        )
    parser = _Parser(
        prog=" ".join(["sophia", *words]),
        description=_(operation.help),
        epilog=" ".join([*notes, _("Needs the role {role}.").format(role=operation.role.value)]),
        allow_abbrev=False,
        add_help=False,
    )
    secrets = secret_fields(operation.input)
    for name, info in operation.input.model_fields.items():
        if name not in secrets:
            piped = name in piped_fields(operation.input)
            _add_field(parser, name, info, name in operation.positional, piped)
    return parser
