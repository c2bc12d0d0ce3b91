"""How to train: the recipe of a run, with bounds and defaults. Light: pydantic alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from finetune.document import Document

#: chat_template: the base's own, `plain` where it has none; plain, alpaca: said in full by us;
#: critique: as chat_template, with a system message and the critique before the revised answer.
PromptForm = Literal["chat_template", "plain", "alpaca", "critique"]

#: Opens the chats of the critique form where the recipe says nothing else.
CRITIQUE_SYSTEM_MESSAGE = (
    "Você é um assistente que pensa antes de responder. Examine primeiro a sua resposta, entre "
    "[ANÁLISE INTERNA] e [FIM DA ANÁLISE], quanto à verdade, à sabedoria e à justiça; depois dê a "
    "resposta revisada."
)


def _number_from_text(value: object) -> object:
    """YAML 1.1 reads 2e-4 (no dot) as text; people write learning rates just so."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_number_from_text)]


class LoraSettings(Document):
    """Low-rank adapters; `all-linear` means every linear layer but the output head."""

    r: int = Field(16, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: Number = Field(0.05, ge=0, lt=1)
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    bias: Literal["none"] = "none"
    frozen_share: Number = Field(
        0.0, ge=0, lt=1, description="of the layers, from the lowest on: these get no adapter"
    )
    rank_stabilized: bool = Field(
        False, description="rsLoRA: scale by alpha / sqrt(r) in place of alpha / r"
    )
    weight_decomposed: bool = Field(
        False, description="DoRA: magnitude and direction of the weights apart"
    )


class DpoSettings(Document):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

    beta: Number = Field(0.1, gt=0, le=2)


class EarlyStopping(Document):
    """Stop where validations in a row are no better."""

    patience: int = Field(3, ge=1, description="validations without improvement")
    minimum_improvement: Number = Field(0.0, ge=0)
    measure: str = Field(
        "eval_loss",
        min_length=1,
        description="eval_loss (lower is better), or a hook's score as HOOK.SCORE",
    )
    higher_is_better: bool = False


class Hook(Document):
    """A program that judges the adapter of this moment and prints scores as one JSON object.

    It is run in the run folder with FINETUNE_HOOK_ADAPTER (a folder that is there as long as it
    runs), FINETUNE_HOOK_BASE, FINETUNE_HOOK_STEP and FINETUNE_HOOK_EPOCH in its environment, and
    without tokens and keys. The last line of its standard output is a JSON object of numbers; they
    stand in a metric event as NAME.SCORE. A hook that fails is a warning and ends nothing, unless
    early stopping hangs on its score.
    """

    command: list[str] = Field(min_length=1)
    every_steps: int | None = Field(None, ge=1, description="null: after each epoch")
    timeout_seconds: Number = Field(600, gt=0)
    name: str = Field("hook", min_length=1, pattern=r"^[a-z][a-z0-9_]*$")


class Recipe(Document):
    """How to train. Defaults are those of the local training the owner described."""

    method: Literal["supervised", "dpo"] = "supervised"
    dpo: DpoSettings = Field(default_factory=DpoSettings)
    lora: LoraSettings = Field(default_factory=LoraSettings)
    quantization: Literal["none", "nf4", "auto"] = Field(
        "none",
        description="nf4: QLoRA, the base in 4 bits (bitsandbytes; on a processor too, slowly); "
        "auto: nf4 where a GPU is, else none",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 where the GPU has it, and for packed batches where the processor "
        "has it; else fp32",
    )
    optimizer: Literal["adamw", "paged_adamw_8bit", "auto"] = Field(
        "adamw",
        description="paged_adamw_8bit needs a GPU and is adamw without one, with a warning; "
        "auto: paged_adamw_8bit where a GPU is, else adamw",
    )
    activation_checkpointing: bool = Field(
        False, description="compute activations anew in the backward pass: less memory, more time"
    )
    neftune_alpha: Number | None = Field(
        None, gt=0, description="noise on the embeddings (Jain et al. 2023, arXiv 2310.05914)"
    )
    epochs: Number = Field(2.0, gt=0)
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; overrides epochs")
    time_budget_seconds: Number | None = Field(
        None, gt=0, description="whole run, loading included; steps are fitted once, only down"
    )
    learning_rate: Number = Field(2e-4, gt=0)
    scheduler: Literal["constant", "linear", "cosine"] = "linear"
    warmup_ratio: Number = Field(0.0, ge=0, lt=1)
    decay_ratio: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="last share of the steps, over which a constant rate falls to 0",
    )
    weight_decay: Number = Field(0.0, ge=0)
    max_grad_norm: Number = Field(1.0, gt=0)
    sequence_length: int = Field(1024, ge=8)
    batch_size: int = Field(2, ge=1)
    gradient_accumulation: int = Field(8, ge=1)
    packing: bool = Field(
        False,
        description="a batch's examples end to end in one row, what all begin with once, frozen "
        "layers once for the whole training: the same losses in less time where examples are short",
    )
    length_grouping: bool = Field(
        False, description="examples of like length in a batch: less padding, a coarser shuffle"
    )
    rehearsal: str | None = Field(
        None,
        description="file of general questions with the base's own answers, trained on beside the "
        "data set against forgetting; relative to the folder of this program",
    )
    dataset_repeats: int = Field(
        1, ge=1, description="how often an epoch takes the data set beside what is rehearsed, once"
    )
    base_pull: Number = Field(
        0.0,
        ge=0,
        description="weight of the pull towards the base: what is rehearsed is not learnt then but "
        "held to the chances that the base gives each next token of it",
    )
    general_questions: str | None = Field(
        None,
        description="file of general questions, asked again at each validation to see forgetting; "
        "relative to the folder of this program",
    )
    general_sample: int = Field(
        32, ge=1, description="general questions asked again at most, of those the base knows"
    )
    general_floor: Number | None = Field(
        None, ge=0, le=1, description="stop where the share of them still right falls below"
    )
    general_below: Literal["stop", "warn"] = Field(
        "stop", description="what happens below general_floor; warn: it is told, and goes on"
    )
    eval_steps: int | None = Field(
        None, ge=1, description="steps between two validations; null: at each epoch's end"
    )
    early_stopping: EarlyStopping | None = None
    keep_best: bool = Field(
        False, description="the adapter of the best validation in place of the last step's"
    )
    hooks: list[Hook] = Field(default_factory=list)
    save_steps: int = Field(200, ge=1)
    save_total_limit: int = Field(2, ge=1)
    logging_steps: int = Field(20, ge=1)
    seed: int = Field(42, ge=0)
    prompt_form: PromptForm = "chat_template"
    system_message: str | None = Field(
        None,
        min_length=1,
        description="opens every chat that has no system message of its own; null: none, and in "
        "the critique form one that asks for the critique",
    )
    rows_without_answer: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="examples of which no token would be learnt: the training is refused with "
        "their lines, or goes on without them",
    )
    try_one_step: bool = Field(
        False,
        description="one step and one validation, nothing kept: a rehearsal of the run that says "
        "seconds of a step and peak memory in its result",
    )

    @property
    def opening(self) -> str | None:
        """The system message that opens chats which have none."""
        if self.system_message is None and self.prompt_form == "critique":
            return CRITIQUE_SYSTEM_MESSAGE
        return self.system_message
