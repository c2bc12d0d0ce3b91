"""What is told before a training starts: memory, data, time, money, and the check lists.

People read `summary` and the check list; the parts are for programs. Amounts of memory are bytes.
"""

from datetime import date
from typing import ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_

CheckState = Literal["done", "open", "failed", "not_available", "not_needed"]
Stage = Literal["before", "after"]


class CheckItem(Output):
    """One line of a check list: `name` for programs, `what` for people, and what shows it."""

    table_columns: ClassVar[tuple[str, ...]] = ("what", "state", "evidence")
    machine_only: ClassVar[frozenset[str]] = frozenset({"name", "stage"})

    name: str
    stage: Stage
    what: str = Field(title=N_("Check"))
    state: CheckState = Field(title=N_("State"))
    evidence: str = Field(default="", title=N_("Evidence"))


class CheckList(Output):
    """The check lists before and after a training."""

    job: str | None = Field(default=None, title=N_("Job"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    base: str | None = Field(default=None, title=N_("Base"))
    items: list[CheckItem] = Field(title=N_("Check list"))


class MemoryPart(Output):
    name: str
    bytes: int


class PlanMemory(Output):
    """`fits` is null where the base's shape or the machine is not known."""

    needed_bytes: int
    free_bytes: int
    floor_bytes: int
    total_bytes: int
    device: Literal["cpu", "cuda"]
    device_name: str
    fits: bool
    shape_by: Literal["config", "gguf", "name"]
    parts: list[MemoryPart]


class PlanLines(Output):
    """Lines of train.jsonl for one reason; the first thousand of them."""

    reason: str
    count: int
    lines: list[int]


class PlanData(Output):
    """Tokens as trained on. `counted_by` the base's own tokenizer, or guessed from the bytes."""

    examples: int
    tokens: int
    trained_tokens: int | None
    longest: int
    counted_by: Literal["tokenizer", "bytes"]
    listed: list[PlanLines] = Field(default_factory=list)


class PlanTime(Output):
    """`by`: speed of earlier runs here of the same base, or a FLOPs rule with a probe."""

    seconds: float
    tokens_per_second: float
    by: Literal["earlier_runs", "flops_rule", "time_budget"]
    runs: list[str] = Field(default_factory=list)


class RentedItem(Output):
    name: str
    count: float
    usd: float
    hours: float


class PlanRented(Output):
    """A rented machine in place of this one, item by item."""

    machine: str
    items: list[RentedItem]
    usd: float
    hours: float
    told_hours: float | None = None
    as_of: date
    source: str


class PlanMoney(Output):
    """`usd` is null where it is not known. `by`: the machine's hours, or the provider's price."""

    usd: float | None
    by: Literal["machine_hours", "provider_price", "unknown"]
    budget_usd: float | None
    within_budget: bool | None
    needs_confirmation: bool


class TrainPlan(Output):
    """What a training would take, before it starts. `ready`: `train start` would queue it, and who
    trains would take it; null where that can't be known, for the provider does not answer."""

    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"memory", "data", "time", "money", "rented"}
    )

    dataset: str = Field(title=N_("Data set"))
    base: str = Field(title=N_("Base"))
    recipe: str | None = Field(default=None, title=N_("Recipe"))
    provider: str | None = Field(default=None, title=N_("Provider"))
    ready: bool | None = Field(title=N_("It would start"))
    steps: int | None = Field(default=None, title=N_("Steps"))
    epochs: float | None = Field(default=None, title=N_("Epochs"))
    summary: list[str] = Field(default_factory=list, title=N_("Estimate"))
    refusals: list[str] = Field(default_factory=list, title=N_("Why it would be refused"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))
    changes: list[str] = Field(default_factory=list, title=N_("What would make it fit"))
    command: str | None = Field(default=None, title=N_("As a command"))
    memory: PlanMemory | None = None
    data: PlanData | None = None
    time: PlanTime | None = None
    money: PlanMoney | None = None
    rented: PlanRented | None = None
    checks: list[CheckItem] = Field(default_factory=list, title=N_("Check list"))


class SegmentView(Output):
    text: str
    trained: bool
    tokens: int


class PreviewItem(Output):
    """One example; people read `text`, in which what is trained stands between marks."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"segments", "rejected"})
    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    line: int = Field(title=N_("Line"))
    form: str | None = Field(default=None, title=N_("Form"))
    tokens: int = Field(title=N_("Tokens"))
    trained_tokens: int = Field(title=N_("Tokens trained"))
    cut_tokens: int = Field(default=0, title=N_("Tokens cut off"))
    problem: str | None = Field(default=None, title=N_("Problem"))
    text: str = Field(title=N_("Text"))
    segments: list[SegmentView] = Field(default_factory=list)
    rejected: list[SegmentView] | None = None


class PreviewPart(Output):
    file: str = Field(title=N_("File"))
    lines: int = Field(title=N_("Lines"))
    examples: int = Field(title=N_("Examples"))
    tokens: int = Field(title=N_("Tokens"))
    trained_tokens: int = Field(title=N_("Tokens trained"))
    longest: int | None = Field(default=None, title=N_("Longest"))


class PreviewLines(Output):
    """Lines of a file for one reason; the first thousand of them."""

    as_is: ClassVar[frozenset[str]] = frozenset({"lines"})
    table_columns: ClassVar[tuple[str, ...]] = ("file", "reason", "count", "lines")

    file: str = Field(title=N_("File"))
    reason: str = Field(title=N_("Problem"))
    count: int = Field(title=N_("Count"))
    lines: list[int] = Field(title=N_("Lines"))


class TrainPreview(Output):
    """What is trained. `refused` says why a training would be refused at once."""

    dataset: str = Field(title=N_("Data set"))
    base: str = Field(title=N_("Base"))
    prompt_form: str = Field(title=N_("Prompt form"))
    template: str = Field(title=N_("Template of"))
    sequence_length: int = Field(title=N_("Sequence length"))
    marks: str = Field(title=N_("Marks around what is trained"))
    parts: list[PreviewPart] = Field(title=N_("Totals"))
    listed: list[PreviewLines] = Field(default_factory=list, title=N_("Lines to look at"))
    refused: str | None = Field(default=None, title=N_("Why it would be refused"))
    part: str = Field(title=N_("Part"))
    offset: int = Field(title=N_("Passed over"))
    items: list[PreviewItem] = Field(default_factory=list, title=N_("Examples"))
