"""What the calendar of models answers."""

from datetime import date, datetime
from typing import ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _

#: Words of `state`, `severity` and `source`, and of the steps of a succession.
WORDS = (
    *(N_("ok"), N_("ends"), N_("ended"), N_("gone"), N_("unserved"), N_("untrainable")),
    *(N_("local"), N_("unknown"), N_("warning"), N_("urgent"), N_("error")),
    *(N_("operator"), N_("provider"), N_("shipped"), N_("waiting"), N_("done")),
)

Severity = Literal["ok", "unknown", "warning", "urgent", "error"]


class CalendarRequest(Input):
    refresh: bool = Field(
        default=False,
        description=N_("Ask every provider for its list of models now; else what it said lately."),
    )


class CalendarEntry(Output):
    """One model id in one env file.

    `state` is ok, ends, ended, gone (the provider does not list it), unserved (a name of ours that
    nobody serves), untrainable (a base that takes no new training), local (weights of this
    machine) or unknown. `use` is asked (for answers) or base. `ends` is the first day
    without; `source` whose date it is: operator, provider or shipped (came with Sophia).
    `threshold` is the bound of SOPHIA_CALENDAR_DAYS that was passed last. `listed` is what the
    provider's list says, `as_of` when. `command` begins the way out.
    """

    table_columns: ClassVar[tuple[str, ...]] = (
        "model",
        "key",
        "severity",
        "ends",
        "days_left",
        "file",
        "told",
    )

    model: str = Field(title=N_("Model"))
    file: str = Field(title=N_("File"))
    key: str = Field(title=N_("Key"))
    use: str = Field(title=N_("Used for"))
    address: str = Field(title=N_("Provider"))
    provider_key: str = Field(default="", title=N_("Provider's key"))
    key_of: str = Field(default="", title=N_("Whose key"))
    state: str = Field(title=N_("State"))
    severity: Severity = Field(title=N_("How grave"))
    ends: date | None = Field(default=None, title=N_("Ends"))
    source: str = Field(default="", title=N_("Whose date"))
    why: str = Field(default="", title=N_("Why this date"))
    days_left: int | None = Field(default=None, title=N_("Days left"))
    threshold: int | None = Field(default=None, title=N_("Bound passed, in days"))
    listed: bool | None = Field(default=None, title=N_("Listed by the provider"))
    as_of: datetime | None = Field(default=None, title=N_("List as of"))
    successor: str = Field(default="", title=N_("Successor"))
    succession: str = Field(default="", title=N_("Succession"))
    told: str = Field(default="", title=N_("What it means"))
    command: str = Field(default="", title=N_("Way out"))


class ProviderListView(Output):
    """What an address said when it was asked for its models. `problem` says why its list can't be
    had, or does not tell what is missing; `as_of` is then when it was had last."""

    table_columns: ClassVar[tuple[str, ...]] = ("address", "as_of", "models", "complete", "problem")

    address: str = Field(title=N_("Provider"))
    provider_key: str = Field(default="", title=N_("Provider's key"))
    as_of: datetime | None = Field(default=None, title=N_("List as of"))
    models: int = Field(default=0, title=N_("Models"))
    complete: bool = Field(default=False, title=N_("Complete"))
    problem: str = Field(default="", title=N_("Problem"))


class UnreadFile(Output):
    file: str = Field(title=N_("File"))
    why: str = Field(title=N_("Why"))


class CalendarView(Output):
    now: datetime = Field(title=N_("Now"))
    bounds: list[int] = Field(title=N_("Warned from so many days on"))
    dates_as_of: date = Field(title=N_("Dates as of"))
    files: list[str] = Field(title=N_("Price files"))
    items: list[CalendarEntry] = Field(title=N_("Models"))
    lists: list[ProviderListView] = Field(title=N_("Providers' lists"))
    unread: list[UnreadFile] = Field(default_factory=list, title=N_("Files that can't be read"))
    problem: str = Field(default="", title=N_("Problem"))

    def exit_code(self) -> int:
        """1 where a model is named that answers no more."""
        return int(any(each.severity == "error" for each in self.items))

    def troubles(self) -> "CalendarView":
        amiss = [each for each in self.items if each.severity not in ("ok", "unknown")]
        return self.model_copy(update={"items": amiss})

    def remarks(self) -> list[str]:
        told = dict.fromkeys(
            f"{each.told} {_('Way out: `{command}`').format(command=each.command)}"
            for each in self.items
            if each.command and each.severity not in ("ok", "unknown")
        )
        return [*told, *([self.problem] if self.problem else [])]
