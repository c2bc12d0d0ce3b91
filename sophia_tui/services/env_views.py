"""What the operations on env files take and answer."""

from typing import ClassVar

from pydantic import Field, SecretStr

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_


class EnvListing(Input):
    all: bool = Field(
        default=False, description=N_("Also settings of Sophia that the env file does not name.")
    )


class EnvValue(Input):
    key: str = Field(description=N_("The setting's key, e.g. OPENAI_API_KEY."))
    value: SecretStr = Field(description=N_("The new value, from the terminal or standard input:"))


class EnvKey(Input):
    key: str = Field(description=N_("The key to take out of the env file."))


class EnvDeclaration(Input):
    file: str = Field(description=N_("The env file of another service, by its absolute path."))
    restart: list[str] = Field(
        default_factory=list,
        description=N_("A unit that reads it and restarts when it changes. May be repeated."),
    )
    read_by: list[str] = Field(
        default_factory=list,
        description=N_("A unit that reads it and is left alone. May be repeated."),
    )
    elsewhere: list[str] = Field(
        default_factory=list,
        description=N_("A unit of another host that reads a copy, HOST:UNIT. May be repeated."),
    )
    write: bool = Field(default=False, description=N_("Whether Sophia may change it."))
    owner: str | None = Field(
        default=None,
        description=N_(
            "The account that the file and its folders may belong to, beside root. Nobody else may "
            "write to them, nothing on the way may be a link."
        ),
    )
    keys: list[str] = Field(
        default_factory=list,
        description=N_("A key that may change, e.g. *_MODEL; default all. May be repeated."),
    )
    words: str = Field(default="", description=N_("What the file is, for people."))


class EnvFileName(Input):
    file: str = Field(description=N_("The declared file."))


class EnvKeyView(Output):
    """`value` is None where it is a secret, or where nothing is set."""

    table_columns: ClassVar[tuple[str, ...]] = ("file", "key", "value", "help")

    file: str = Field(title=N_("File"))
    key: str = Field(title=N_("Key"))
    value: str | None = Field(default=None, title=N_("Value"))
    secret: bool = Field(default=False, title=N_("Secret"))
    set: bool = Field(default=True, title=N_("Is set"))
    known: bool = Field(default=False, title=N_("Setting of Sophia"))
    help: str = Field(default="", title=N_("Meaning"))


class EnvFileView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("file", "words", "writable", "restart", "refused")

    file: str = Field(title=N_("File"))
    words: str = Field(default="", title=N_("What it is"))
    own: bool = Field(default=False, title=N_("Sophia's own"))
    writable: bool = Field(default=False, title=N_("May be changed"))
    restart: list[str] = Field(default_factory=list, title=N_("Units that restart"))
    read_by: list[str] = Field(default_factory=list, title=N_("Units that read it"))
    elsewhere: list[str] = Field(default_factory=list, title=N_("Units of other hosts"))
    owner: str | None = Field(default=None, title=N_("Owner"))
    keys: list[str] = Field(default_factory=list, title=N_("Keys that may change"))
    refused: str | None = Field(default=None, title=N_("Left alone because"))


class EnvList(Output):
    files: list[EnvFileView] = Field(title=N_("Files"))
    items: list[EnvKeyView] = Field(title=N_("Keys"))
    problem: str | None = Field(default=None, title=N_("Problem"))


class EnvChanged(Output):
    file: str = Field(title=N_("File"))
    key: str = Field(title=N_("Key"))
    changed: bool = Field(title=N_("Changed"))
    restart: list[str] = Field(default_factory=list, title=N_("Units that must restart"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))
