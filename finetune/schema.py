"""The contract with a run: its folder's documents, their names and versions.

Light on purpose (pydantic and the standard library): the rest of Sophia imports this module alone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from finetune.document import FORMAT_VERSION as FORMAT_VERSION
from finetune.document import Document as Document
from finetune.document import VersionedDocument as VersionedDocument
from finetune.files import write_whole
from finetune.parity_documents import Divergence as Divergence
from finetune.parity_documents import ParityBound as ParityBound
from finetune.parity_documents import ParityFile as ParityFile
from finetune.parity_documents import ParityKind as ParityKind
from finetune.parity_documents import ParityMessage as ParityMessage
from finetune.parity_documents import ParityPrompt as ParityPrompt
from finetune.parity_documents import ParityReason as ParityReason
from finetune.parity_documents import ParityReport as ParityReport
from finetune.parity_documents import ParityResult as ParityResult
from finetune.parity_documents import ParitySettings as ParitySettings
from finetune.parity_documents import ParityTarget as ParityTarget
from finetune.preview_documents import Lengths as Lengths
from finetune.preview_documents import LineForm as LineForm
from finetune.preview_documents import LineReason as LineReason
from finetune.preview_documents import ListedLines as ListedLines
from finetune.preview_documents import PartPreview as PartPreview
from finetune.preview_documents import PreviewExample as PreviewExample
from finetune.preview_documents import PreviewReport as PreviewReport
from finetune.preview_documents import PreviewSettings as PreviewSettings
from finetune.preview_documents import Segment as Segment
from finetune.recipe import DpoSettings as DpoSettings
from finetune.recipe import EarlyStopping as EarlyStopping
from finetune.recipe import Hook as Hook
from finetune.recipe import LoraSettings as LoraSettings
from finetune.recipe import Number as Number
from finetune.recipe import PromptForm as PromptForm
from finetune.recipe import Recipe as Recipe
from finetune.serve_documents import REFUSED_FILE as REFUSED_FILE
from finetune.serve_documents import RETIRE_FILE as RETIRE_FILE
from finetune.serve_documents import SERVE_FILE as SERVE_FILE
from finetune.serve_documents import SERVED_FILE as SERVED_FILE
from finetune.serve_documents import EngineRefusal as EngineRefusal
from finetune.serve_documents import Served as Served
from finetune.serve_documents import ServedAdapter as ServedAdapter
from finetune.serve_documents import ServePrecision as ServePrecision
from finetune.serve_documents import ServeSpec as ServeSpec
from finetune.serve_documents import state_of as state_of

RUN_FILE = "run.yaml"
EVENTS_FILE = "events.jsonl"
HEARTBEAT_FILE = "heartbeat"
LOG_FILE = "log.txt"
CONTROL_FILE = "control.json"
LOCK_FILE = "run.lock"
CHECKPOINTS_FOLDER = "checkpoints"
ADAPTER_FOLDER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FORM_FILE = "prompt_form.json"
ADAPTER_TEMPLATE_FILE = "chat_template.jinja"
MERGED_FOLDER = "merged"
EXPORTED_FOLDER = "exported"
MANIFEST_FILE = "manifest.json"
EVALUATION_FILE = "evaluation.json"
ANSWERS_FILE = "answers.jsonl"
PREVIEW_FILE = "preview.json"
PARITY_FILE = "parity.json"
CHECKPOINT_MANIFEST_FILE = "checkpoint.json"
TRAIN_FILE = "train.jsonl"
VALID_FILE = "valid.jsonl"
GENERAL_FILE = "general.json"
RECIPES_FOLDER = Path(__file__).parent / "recipes"
#: The general regression set: its name in a report, and its file, whose bytes are that version's.
REGRESSION_SET: Final = "regression"
REGRESSION_FILE = Path(__file__).parent / "regression" / "questions.jsonl"
REGRESSION_VERSION: Final = 1
REGRESSION_HASH: Final = "c1562e4e539f50b77c5661bf29a8d8fe2c04f40e375a535d5eb65e5c76fc1a7a"
#: How long an answer to it may be, in tokens: the same for all, else they don't compare.
REGRESSION_TOKENS: Final = 24

RunKind = Literal["train", "evaluate", "generate", "merge", "export", "upload", "parity", "preview"]
#: How a GGUF file's matrices are written, by llama.cpp's names.
Quantisation = Literal[
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q4_k_s",
    "q4_k_m",
    "q5_k_s",
    "q5_k_m",
    "q6_k",
]
#: The layout of a checkpoint's files that this version writes and reads.
CHECKPOINT_LAYOUT: Final = 2

RunState = Literal["starting", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]
EventKind = Literal["state", "progress", "metric", "warning", "checkpoint", "answer", "result"]
StopAt = Literal["end", "line", "answered"]
TextMeasure = Literal["bleu", "chrf", "similarity"]
#: Examples whose losses stand in a report one by one, for a later comparison of two models.
LOSSES_KEPT: Final = 1000

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED = 0, 1, 2, 3
EXIT_UNAVAILABLE, EXIT_STOPPED = 5, 6


class ContractError(Exception):
    """A document of a run folder is missing, unreadable or of another version."""


class NotYaml(ContractError):
    """A file that people write is no YAML; line and column count from 1, where they are known."""

    def __init__(
        self, file: str, problem: str, line: int | None = None, column: int | None = None
    ) -> None:
        place = "" if line is None else f"line {line}, column {column}: "
        super().__init__(f"{file} is not YAML: {place}{problem}")
        self.file, self.problem, self.line, self.column = file, problem, line, column


D = TypeVar("D", bound=Document)


class Question(BaseModel):
    """A question with the texts of which an answer must contain one; other keys are left aside."""

    model_config = ConfigDict(hide_input_in_errors=True)

    id: str = Field(min_length=1)
    question: str = Field(pattern=r"\S")
    accepted: list[Annotated[str, Field(pattern=r"\S")]] = Field(min_length=1)
    language: str | None = None
    fact: str | None = None


class QuestionSet(Document):
    """Graded questions, in a JSON Lines file or here.

    `stop` ends an answer early: at its first `line`, or once it is `answered`, which holds an
    accepted text; the verdict stays the same then, the rest is not computed. `end` waits for the
    model to end.
    """

    name: str = Field(min_length=1)
    path: str | None = Field(None, description="a JSON Lines file of questions")
    questions: list[Question] | None = Field(None, min_length=1)
    max_new_tokens: int | None = Field(None, ge=1, description="null: as for prompts")
    grade: Literal["before", "after", "both"] = "both"
    stop: StopAt = "end"

    @model_validator(mode="after")
    def _one_origin(self) -> QuestionSet:
        if (self.path is None) == (self.questions is None):
            raise ValueError("either path or questions")
        return self


class EvaluationSettings(Document):
    """What evaluate and generate do; train uses sample_limit for its own look at valid.jsonl."""

    sample_limit: int | None = Field(None, ge=1, description="examples of valid.jsonl; null: all")
    prompts: list[str] = Field(default_factory=list)
    prompt_count: int = Field(4, ge=0, description="questions taken from valid when none given")
    max_new_tokens: int = Field(64, ge=1)
    question_sets: list[QuestionSet] = Field(default_factory=list)
    text_sample: int = Field(0, ge=0, description="held-out examples answered for text_measures")
    text_measures: list[TextMeasure] = Field(
        default_factory=lambda: list[TextMeasure](("bleu", "chrf", "similarity"))
    )
    latency_sample: int = Field(0, ge=0, description="held-out questions answered one by one")

    @field_validator("question_sets")
    @classmethod
    def _names_differ(cls, sets: list[QuestionSet]) -> list[QuestionSet]:
        if len({each.name for each in sets}) != len(sets):
            raise ValueError("two sets have the same name")
        return sets


class MergeSettings(Document):
    """How a merged model is written. bfloat16 keeps float32's range, float16 three more digits;
    float32 rounds nothing and takes twice the room."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"


class ExportSettings(Document):
    """How a GGUF file is written: of `base`, or of the adapter on it where adapter_path is set."""

    name: str = Field("model", pattern=r"^[A-Za-z0-9][\w.-]*$", description="the file's, no ending")
    quantisation: Quantisation = "f16"
    check: bool = Field(True, description="load the file in llama.cpp, where that is installed")


class UploadSettings(Document):
    """Which files of `base` (a folder, or the one file) go to a repository of the hub; sizes in
    bytes, as a person confirmed them. The token is HF_TOKEN in the environment, never here."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    private: bool = True
    files: dict[str, int] = Field(min_length=1)


class RunSpec(VersionedDocument):
    """run.yaml: what was asked."""

    job_id: str = Field(min_length=1)
    kind: RunKind = "train"
    base: str = Field(min_length=1, description="folder, hub id or .gguf file")
    base_revision: str | None = None
    dataset_path: str | None = Field(None, description="folder with train.jsonl and valid.jsonl")
    dataset_hash: str | None = None
    recipe: Recipe = Field(default_factory=Recipe)
    threads: int | Literal["auto"] = "auto"
    adapter_path: str | None = None
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    merge: MergeSettings = Field(default_factory=MergeSettings)
    parity: ParitySettings = Field(default_factory=ParitySettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
    upload: UploadSettings | None = None
    preview: PreviewSettings = Field(default_factory=PreviewSettings)
    resume: bool = Field(True, description="go on from the last good checkpoint, if there is one")
    fitted_max_steps: int | None = Field(
        None, ge=1, description="written by the program when it fits steps to the time budget"
    )
    fitted_threads: int | None = Field(
        None, ge=1, description="written by a training that chose its threads; a resume keeps them"
    )
    fitted_batch_size: int | None = Field(
        None,
        ge=1,
        description="written by a training that ran out of memory: examples computed at once, "
        "fewer than the recipe's batch_size and more often, so a step's examples stay the same",
    )
    fitted_activation_checkpointing: bool = Field(
        False, description="written by a training that ran out of memory with one example at once"
    )


class RunEvent(Document):
    """One line of events.jsonl; numbers run 1, 2, 3 … without gaps, over resumes too."""

    number: int = Field(ge=1)
    at: datetime
    kind: EventKind
    data: dict[str, Any] = Field(default_factory=dict)


class Control(VersionedDocument):
    """control.json: what the operator wants of a running run. The run puts it back to none."""

    action: Literal["none", "pause", "stop"] = "none"
    reason: str | None = Field(
        None, max_length=1000, description="who or what asks, for the events; free text"
    )


class Heartbeat(VersionedDocument):
    """Says that a run lives, and as which process: host, boot, pid and that pid's start time."""

    at: datetime
    host: str
    boot_id: str
    pid: int
    pid_start_time: int = Field(description="field 22 of /proc/PID/stat, clock ticks since boot")
    step: int = 0
    memory_bytes: int | None = Field(None, description="that the process holds now")
    available_bytes: int | None = Field(None, description="that it could still get")
    kernel_kills: int | None = Field(
        None, description="processes that the kernel has ended for want of memory since the boot"
    )


class FileRecord(Document):
    """A file's size in bytes and SHA-256."""

    bytes: int
    sha256: str


class CheckpointManifest(VersionedDocument):
    """checkpoint.json: written last, so a checkpoint that has it is whole."""

    layout: int = Field(1, description="of the files beside it; another one can't be gone on from")
    job_id: str
    at: datetime
    step: int
    total_steps: int
    run_fingerprint: str = Field(description="of data, base, template and recipe")
    state: dict[str, float] = Field(default_factory=dict)
    files: dict[str, FileRecord]


class AdapterForm(VersionedDocument):
    """prompt_form.json beside an adapter: the form it was trained in, which goes where it goes."""

    prompt_form: PromptForm
    system_message: str | None = None
    template_source: Literal["base", "plain", "alpaca"]
    template_fingerprint: str = Field(description="SHA-256 of chat_template.jinja beside it")


class RunManifest(VersionedDocument):
    """manifest.json: what was done, with what, and what came out."""

    job_id: str
    kind: RunKind
    base: str
    base_kind: Literal["path", "hub", "gguf"]
    base_revision: str | None = None
    base_fingerprint: str
    base_file_sha256: str | None = Field(None, description="of the .gguf file")
    dataset_hash: str | None = None
    dataset_files: dict[str, FileRecord] = Field(default_factory=dict)
    template_fingerprint: str = Field(description="SHA-256 of the chat template's text")
    template_source: Literal["base", "plain", "alpaca"]
    template: str | None = Field(None, description="the text, where it is not the base's own")
    prompt_form: PromptForm | None = None
    system_message: str | None = Field(None, description="opens chats that have none, by the form")
    packages: dict[str, str]
    seed: int
    device: str
    threads: int
    started_at: datetime
    finished_at: datetime
    seconds: float = Field(description="of this process; after a resume only its own part")
    steps: int = 0
    total_steps: int = 0
    resumed_from_step: int | None = None
    examples: int = 0
    rehearsal_examples: int = Field(0, description="of the recipe's rehearsal file, beside those")
    packed: bool = Field(False, description="whether batches were packed into one row")
    kept_examples: int = Field(0, description="whose frozen layers were computed once")
    answer_tokens: int = 0
    trained_tokens: int = Field(
        0, description="gone through by all steps, prompts included and padding not"
    )
    tokens_per_second: float | None = None
    train_loss: float | None = Field(None, description="mean of the last logging window")
    eval_loss: float | None = Field(None, description="at the validation of adapter_step")
    adapter_step: int | None = Field(None, description="after which adapter/ was taken")
    adapter_reason: str | None = Field(None, description="why that step's, in a sentence")
    stopped_early: str | None = Field(None, description="why before total_steps, in a sentence")
    precision: str | None = None
    quantization: str | None = None
    optimizer: str | None = None
    processes: int = Field(1, description="that trained together")
    batch_size: int | None = Field(None, description="examples computed at once, at the end")
    memory_bytes: int | None = Field(None, description="the most that the process held")
    gpu_memory_bytes: int | None = Field(None, description="the most that it held on the GPU")
    adapter_files: dict[str, FileRecord] = Field(default_factory=dict)
    merged_files: dict[str, FileRecord] = Field(default_factory=dict)
    merged_dtype: str | None = None
    logit_difference: float | None = Field(
        None, description="greatest difference of a logit, merged against base with adapter"
    )
    exported_files: dict[str, FileRecord] = Field(default_factory=dict)
    exported_quantisation: Quantisation | None = None
    exported_by: str | None = Field(None, description="the program that wrote the numbers")
    exported_check: str | None = Field(None, description="the program that read them, if any")


class GeneralVerdict(VersionedDocument):
    """general.json: which general questions the base itself answers rightly, asked once a run."""

    about: str = Field(description="fingerprint of base, template, questions and their choice")
    asked: int
    right: list[str] = Field(description="ids, in the order they were asked in")


class Score(Document):
    """Loss (nats per answer token) and perplexity on answer tokens, 95 % bootstrap intervals."""

    loss: float
    loss_low: float
    loss_high: float
    perplexity: float
    perplexity_low: float
    perplexity_high: float


class Difference(Document):
    """Loss after minus before, the same examples resampled for both (95 % interval)."""

    loss: float
    loss_low: float
    loss_high: float


class Answer(VersionedDocument):
    """Greedy answers to one prompt: by the base, and by the base with the adapter.

    `set` and `id` name a graded question; `tokens` are those of each answer, the end token too.
    """

    set: str | None = None
    id: str | None = None
    prompt: str
    before: str | None = None
    after: str | None = None
    tokens: dict[Literal["before", "after"], int] = Field(default_factory=dict)


class Share(Document):
    """Right answers of all, and the 95 % interval of the share (Wilson)."""

    right: int
    total: int
    share: float
    low: float
    high: float


class ShareDifference(Document):
    """Share after minus before on the same questions (95 % interval: Newcombe's method 10).

    `gained` were wrong and became right, `lost` the other way round; `p_value` is McNemar's, exact.
    """

    share: float
    low: float
    high: float
    gained: int
    lost: int
    p_value: float


class GradedResult(Document):
    """How a set of questions was answered; by language where the set has several."""

    set: str
    language: str | None = None
    before: Share | None = None
    after: Share | None = None
    difference: ShareDifference | None = None


class GradedAnswer(Document):
    """One graded question with what was answered and the verdict on it."""

    set: str
    id: str
    question: str
    accepted: list[str]
    language: str | None = None
    fact: str | None = None
    before: str | None = None
    after: str | None = None
    before_right: bool | None = None
    after_right: bool | None = None


class Measure(Document):
    """A figure of the answers to held-out questions, 95 % percentile bootstrap intervals.

    bleu, chrf and similarity run from 0 to 1. Seconds are those of one answer asked for alone;
    tokens are those of one answer, or of one question with what comes before it. The difference is
    after minus before, the same examples drawn for both. `by` names the program and its version.
    """

    name: Literal[
        "bleu",
        "chrf",
        "similarity",
        "latency_median",
        "latency_p95",
        "answer_tokens",
        "question_tokens",
    ]
    count: int = Field(description="examples")
    by: str | None = None
    before: float | None = None
    before_low: float | None = None
    before_high: float | None = None
    after: float | None = None
    after_low: float | None = None
    after_high: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


class NotMeasured(Document):
    """Measures that were asked for and not taken, for want of a package."""

    code: str
    measures: list[str]
    package: str


class SampledAnswer(Document):
    """One held-out question of the text sample, by its line in valid.jsonl."""

    line: int
    question: str
    reference: str
    before: str | None = None
    after: str | None = None
    similarity_before: float | None = None
    similarity_after: float | None = None


class ExampleLosses(Document):
    """Answer tokens of an example of valid.jsonl, and nats on all of them together."""

    line: int
    tokens: int
    before: float
    after: float | None = None


class Conversations(Document):
    """Means over the held-out chats: answers in one, and tokens sent to the model for them."""

    count: int
    answers: float
    tokens_in: float


class Preferences(Document):
    """Held-out preference pairs, the adapter against its base.

    `accuracy`: pairs whose chosen answer gained more log probability than the rejected one;
    `margin`: the mean of that difference times beta (the implicit reward of DPO).
    """

    pairs: int
    beta: float
    accuracy: Share
    margin: float


class EvaluationReport(VersionedDocument):
    """evaluation.json: the held-out part before and after, on answer tokens only."""

    job_id: str
    base: str
    adapter_path: str | None
    dataset_hash: str | None
    examples: int
    answer_tokens: int
    examples_truncated: int
    examples_without_answer: int
    before: Score
    after: Score | None = None
    difference: Difference | None = None
    answers: list[Answer] = Field(default_factory=list)
    graded: list[GradedResult] = Field(default_factory=list)
    graded_answers: list[GradedAnswer] = Field(default_factory=list)
    measures: list[Measure] = Field(default_factory=list)
    not_measured: list[NotMeasured] = Field(default_factory=list)
    samples: list[SampledAnswer] = Field(default_factory=list)
    losses: list[ExampleLosses] = Field(default_factory=list)
    conversations: Conversations | None = None
    preferences: Preferences | None = Field(None, description="where valid.jsonl holds pairs")
    weights: str | None = Field(None, description="fingerprint of base, template and adapter")
    adapter_files: dict[str, FileRecord] = Field(
        default_factory=dict, description="the adapter's weights as they were measured"
    )
    held_out: FileRecord | None = Field(None, description="of valid.jsonl: what was measured on")
    device: str | None = None


class EventBatch(NamedTuple):
    """Events read, and the byte offset to go on from."""

    events: list[RunEvent]
    offset: int


def now() -> datetime:
    """The present in UTC."""
    return datetime.now(UTC)


def read_document(path: Path, model: type[D]) -> D:
    """Read a JSON document of the contract; raises ContractError."""
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise ContractError(f"{path}: {describe(error)}") from error


def write_document(path: Path, document: Document, *, durable: bool = True) -> None:
    """Write a JSON document whole or not at all."""
    write_whole(path, document.model_dump_json(indent=2) + "\n", durable=durable)


def load_run_spec(folder: str | Path) -> RunSpec:
    """Read run.yaml of a run folder; raises ContractError that names the field."""
    import yaml

    path = Path(folder) / RUN_FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(f"{path} is not YAML: {type(error).__name__}") from error
    try:
        return RunSpec.model_validate(content)
    except ValidationError as error:
        raise ContractError(f"{path}: {describe(error)}") from error


def write_run_spec(folder: str | Path, spec: RunSpec) -> None:
    """Write run.yaml whole or not at all."""
    import yaml

    text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(Path(folder) / RUN_FILE, text)


def read_events(path: str | Path, after: int = 0, offset: int = 0) -> EventBatch:
    """Events numbered above `after` from byte `offset` on, complete lines only.

    A last line still being written is left for the next call; so is a file that is not there yet.
    Raises ContractError for a complete line that is no event.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return EventBatch([], offset)
    complete = content[: content.rfind(b"\n") + 1]
    events: list[RunEvent] = []
    position = offset
    for line in complete.splitlines(keepends=True):
        try:
            event = RunEvent.model_validate_json(line)
        except ValidationError as error:
            raise ContractError(f"{path}: no event at byte {position}") from error
        position += len(line)
        if event.number > after:
            events.append(event)
    return EventBatch(events, offset + len(complete))


def event_line(event: RunEvent) -> bytes:
    """The event as one line of events.jsonl."""
    content = event.model_dump(mode="json")
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def describe(error: ValidationError) -> str:
    """A validation error in one line, field names and reasons only."""
    parts = [
        f"{'.'.join(str(place) for place in item['loc']) or 'document'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(parts)


def rehearsal_path(recipe: Recipe) -> Path | None:
    """Where the recipe's rehearsal file lies."""
    return _beside_program(recipe.rehearsal)


def general_path(recipe: Recipe) -> Path | None:
    """Where the recipe's general questions lie."""
    return _beside_program(recipe.general_questions)


def _beside_program(name: str | None) -> Path | None:
    return None if name is None else Path(__file__).parent / Path(name).expanduser()


def recipe_names() -> list[str]:
    """Names of the recipes that come with the program."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.yaml"))


def load_recipe(source: str | Path) -> Recipe:
    """A recipe by the name of one that comes along, or by path; raises ContractError, NotYaml
    where the file is none."""
    from finetune.strict_yaml import Unreadable, read_yaml

    named = RECIPES_FOLDER / f"{source}.yaml"
    path = named if str(source) in recipe_names() else Path(source)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(content if content is not None else {})
    except OSError as error:
        known = ", ".join(recipe_names())
        raise ContractError(f"no recipe {source}: {error.strerror}; known: {known}") from error
    except UnicodeDecodeError as error:
        raise NotYaml(str(path), "it is not UTF-8") from error
    except Unreadable as error:
        raise NotYaml(str(path), error.problem, error.line, error.column) from error
    except ValidationError as error:
        raise ContractError(f"{path}: {describe(error)}") from error
