"""What the check of the set-up answers with."""

from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _


class CheckRequest(Input):
    only: list[str] = Field(default_factory=list, description=N_("Only the checks with these ids."))
    ask_provider: bool = Field(
        default=False,
        description=N_("Ask the provider whether it takes the key; else what it said lately."),
    )


class CheckView(Output):
    """One check; `state` is ok, attention, problem, or unknown where it can't be told.

    `remedy_step` is what mends it: the name of an installer step (for `sophia setup apply`), or a
    command that begins with `sophia `. `id` never changes.
    """

    table_columns: ClassVar[tuple[str, ...]] = ("id", "state", "name", "found")

    id: str = Field(default="", title=N_("Id"))
    name: str = Field(title=N_("Check"))
    state: str = Field(title=N_("State"))
    found: str = Field(title=N_("Found"))
    detail: list[str] = Field(default_factory=list, title=N_("Details"))
    remedy: str = Field(default="", title=N_("What to do"))
    remedy_step: str = Field(default="", title=N_("Remedy"))


class SetupReport(Output):
    """`ready` where no check is a problem: what wants attention, and what can't be told, keeps
    nothing from working. `fresh`: nobody has set anything here yet."""

    ready: bool = Field(title=N_("Ready"))
    fresh: bool = Field(default=False, title=N_("Fresh"))
    items: list[CheckView] = Field(title=N_("Checks"))

    def exit_code(self) -> int:
        return 0 if self.ready else 1

    def troubles(self) -> "SetupReport":
        amiss = [each for each in self.items if each.state != "ok"]
        return self.model_copy(update={"items": amiss})

    def remarks(self) -> list[str]:
        told = []
        for each in self.items:
            if each.state != "ok" and each.remedy:
                step = each.remedy_step
                how = step if step.startswith("sophia ") else f"sophia setup apply {step}"
                told.append(f"{each.id}: {each.remedy}" + (f" ({how})" if step else ""))
        return told or ([_("Nothing to do.")] if self.ready else [])
