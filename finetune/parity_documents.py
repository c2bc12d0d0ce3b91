"""Documents of a parity check: whether all forms of one model answer alike."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from finetune.document import Document, VersionedDocument

ParityKind = Literal["arithmetic", "merged", "exported", "served"]
#: What can stand against a form of the model. `difference`: its log-probabilities; `greedy`: its
#: answers; `weights`: a number in its files; `prompt`: the tokens that a prompt becomes.
ParityCode = Literal[
    "template",
    "prompt",
    "weights",
    "difference",
    "greedy",
    "broken",
    "no_engine",
    "not_served",
    "other_model",
    "refused",
    "silent",
    "unreachable",
    "nonsense",
]


class ParityMessage(Document):
    role: Literal["system", "user", "assistant"]
    content: str


class ParityPrompt(Document):
    """A chat that every form of the model goes on with."""

    id: str = Field(min_length=1)
    messages: list[ParityMessage] = Field(min_length=1)
    max_new_tokens: int = Field(24, ge=1, le=1024)


class ParityBound(Document):
    """How far a form of the model may be off, in nats.

    `mean`: of the difference of the log-probability that the reference's answer tokens have,
    over all of them. `tie`: where the reference's first two tokens are closer than that, either
    may come first. `equal`: the least share of prompts whose tokens are those of the reference,
    up to such a tie.
    """

    mean: float = Field(gt=0)
    tie: float = Field(gt=0)
    equal: float = Field(gt=0, le=1)


class ParityTarget(Document):
    """A form of the model that is held against base and adapter.

    A merged one has its folder as `path`, an exported one its .gguf file, a served one the
    `address` that its clients ask (…/v1) under its `name`, the `path` of what it serves, and its
    engine with the address and the folder of that, for what only the engine itself can say.
    `made_of` is the precision of the merged model that a .gguf file was written from.
    """

    name: str = Field(min_length=1)
    kind: Literal["merged", "exported", "served"]
    path: str
    made_of: str | None = None
    address: str | None = None
    engine: str | None = None
    engine_address: str | None = None
    engine_folder: str | None = None


class ParitySettings(Document):
    """What parity does; `prompts` null: those that come along. `seconds` may an engine take for an
    answer, and `ready_seconds` until it is there."""

    targets: list[ParityTarget] = Field(default_factory=list)
    prompts: list[ParityPrompt] | None = None
    held_out: int = Field(4, ge=0, le=1000, description="questions of valid.jsonl beside them")
    seconds: float = Field(60.0, gt=0, le=3600, allow_inf_nan=False)
    ready_seconds: float = Field(120.0, gt=0, le=86400, allow_inf_nan=False)
    bounds: dict[str, ParityBound] = Field(
        default_factory=dict, description="by precision, in place of those of the table"
    )


class ParityReason(Document):
    """Why a form of the model did not pass; `values` are what the sentence is made of."""

    code: ParityCode
    what: str
    values: dict[str, Any] = Field(default_factory=dict)


class Divergence(Document):
    """The first prompt that is answered otherwise. `place` is the token's, from 1; `gap` the
    distance in nats between the first two tokens of the reference there."""

    prompt: str = Field(description="its id")
    question: str
    place: int
    gap: float
    reference: str
    answer: str


class ParityFile(Document):
    """A file as it was when it was looked at."""

    bytes: int
    modified_ns: int
    sha256: str


class ParityResult(Document):
    """What came of one form. Figures are null where its engine gave none."""

    name: str
    kind: ParityKind
    precision: str
    engine: str
    path: str | None = None
    bound: ParityBound
    log_probabilities: bool = Field(description="whether the engine returns them")
    prompts: int = 0
    places: int = Field(0, description="answer tokens whose log-probabilities were compared")
    mean_difference: float | None = None
    max_difference: float | None = None
    equal: int = Field(0, description="prompts with the reference's tokens, up to a tie")
    ties: int = Field(0, description="prompts that went another way at a tie")
    diverging: Divergence | None = None
    template_fingerprint: str | None = None
    weights_checked: int | None = Field(None, description="numbers of its files, one by one")
    files: dict[str, ParityFile] = Field(default_factory=dict)
    passed: bool = False
    reasons: list[ParityReason] = Field(default_factory=list)


class ParityReport(VersionedDocument):
    """parity.json: each form of a model against its base with the adapter."""

    job_id: str
    base: str
    adapter_path: str | None
    seed: int
    prompts: int
    prompts_left_out: list[str] = Field(
        default_factory=list, description="ids of those that the model's context does not hold"
    )
    answer_tokens: int = 0
    template_fingerprint: str
    adapter_files: dict[str, ParityFile] = Field(default_factory=dict)
    results: list[ParityResult] = Field(default_factory=list)
    passed: bool = False
    seconds: float = 0.0
