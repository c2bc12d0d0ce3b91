"""Estimates of a training: whether it fits, what would fit, how long it takes, what it costs.

Calculation alone: what the machine has, what earlier runs did and what things cost is given.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import estimates as model
from sophia_tui.domain.jobs import Job
from sophia_tui.services.plan_views import PlanRented, RentedItem
from sophia_tui.services.prices import Item, Rented

if TYPE_CHECKING:
    from finetune.schema import Recipe

#: Bytes of a line of train.jsonl for each token: so few only where text is all signs and accents.
BYTES_A_TOKEN = 2.8
#: Tokens that a chat template puts around an example, its own system message with it.
_TEMPLATE_TOKENS = 48
#: The shortest sequences that are proposed.
_SHORTEST = 128
#: What a training reaches of a linear layer's speed: measured on a processor (0.54 to 0.75 with the
#: 135M base), on GPUs what is reported of well-kept trainings (Chowdhery et al. 2022, arXiv
#: 2204.02311: 0.46 and below).
REACHED = {"cpu": 0.6, "cuda": 0.35}
#: Seconds until the first step (imports, loading), and bytes a second that a base is loaded with.
_START_SECONDS = 15.0
_LOADED = 250e6


@dataclass(frozen=True)
class Fitting:
    """A changed recipe that fits, and the changes as `name=value`, the least harmful first."""

    recipe: "Recipe"
    changes: tuple[str, ...]
    memory: model.Memory


def shape_of(base: str) -> model.Shape:
    """The shape of a base by its folder, its GGUF file, the hub's cache here, or its name.

    Raises UnknownShape.
    """
    path = Path(base).expanduser()
    if path.is_dir():
        return model.shape_of_folder(path)
    if path.is_file():
        return model.shape_of_gguf(path)
    cached = cached_folder(base)
    return model.shape_of_folder(cached) if cached is not None else model.shape_of_name(base)


def cached_folder(hub_id: str, home: Path | None = None) -> Path | None:
    """The newest snapshot of a hub's model on this machine, as huggingface_hub lays them out."""
    import os

    given = os.environ.get("HF_HUB_CACHE")
    place = Path(given) if given else _hub_home(home) / "hub"
    repository = place / f"models--{hub_id.replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def _hub_home(home: Path | None) -> Path:
    import os

    if home is not None:
        return home
    if named := os.environ.get("HF_HOME"):
        return Path(named).expanduser()
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "huggingface"


def lengths_of_bytes(path: Path) -> model.Lengths:
    """Lengths guessed from the bytes of each line, on the long side. Raises OSError."""
    examples = total = longest = 0
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                examples += 1
                total += len(line)
                longest = max(longest, len(line))
    tokens = round(total / BYTES_A_TOKEN) + _TEMPLATE_TOKENS * examples
    return model.Lengths(
        tokens=tokens,
        answer_tokens=tokens,
        longest=round(longest / BYTES_A_TOKEN) + _TEMPLATE_TOKENS,
        examples=examples,
    )


def nearest_that_fits(
    shape: model.Shape, recipe: "Recipe", lengths: model.Lengths, device: model.Device, room: int
) -> Fitting | None:
    """The recipe with the least harmful changes that takes at most `room` bytes; None where none
    does. In the order of harm: smaller batches with more accumulation (the same steps), activation
    checkpointing (the same result, slower), the base in 4 bits, shorter sequences."""
    for changed in _gentler(recipe, lengths):
        memory = model.estimate_memory(shape, changed, lengths, device)
        if memory.total <= room:
            return Fitting(changed, tuple(changes_between(recipe, changed)), memory)
    return None


def _gentler(recipe: "Recipe", lengths: model.Lengths) -> Iterator["Recipe"]:
    """Recipes that take less and less memory."""
    effective = recipe.batch_size * recipe.gradient_accumulation
    size = recipe.batch_size
    while size > 1:
        size = max(1, size // 2)
        recipe = recipe.model_copy(
            update={"batch_size": size, "gradient_accumulation": -(-effective // size)}
        )
        yield recipe
    for update in ({"activation_checkpointing": True}, {"quantization": "nf4"}):
        recipe = recipe.model_copy(update=update)
        yield recipe
    length = min(recipe.sequence_length, max(lengths.longest, _SHORTEST))
    while length > _SHORTEST:
        length = max(_SHORTEST, length // 2)
        recipe = recipe.model_copy(update={"sequence_length": length})
        yield recipe


def changes_between(before: "Recipe", after: "Recipe") -> list[str]:
    """Fields that differ, as `--change` takes them."""
    found = []
    for name in type(before).model_fields:
        value = getattr(after, name)
        if value != getattr(before, name):
            found.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return found


@dataclass(frozen=True)
class Speed:
    """Floating point operations a second that trainings of a base reach here, and by which runs."""

    operations: float
    runs: tuple[str, ...] = ()


def speed_of_runs(jobs: Sequence[Job], shape: model.Shape, mean_length: float) -> Speed | None:
    """The median of what earlier trainings of the same base reached; None where none tells.

    Their tokens a second are taken with their own recipes: one that trains fewer layers or packs is
    faster, and says the same about the machine. `mean_length` is that of the data, in tokens; no
    recipe sees more of an example than its sequence length.
    """
    from pydantic import ValidationError

    from finetune.schema import Recipe

    found: dict[str, float] = {}
    for job in jobs:
        rate = (job.result or {}).get("tokens_per_second")
        if not isinstance(rate, int | float) or isinstance(rate, bool) or rate <= 0:
            continue
        try:
            recipe = Recipe.model_validate((job.request.get("run") or {}).get("recipe") or {})
        except ValidationError:
            continue  # of a version with other fields
        length = min(mean_length, recipe.sequence_length)
        found[job.id] = rate * model.operations_per_token(shape, recipe, length)
    if not found:
        return None
    return Speed(statistics.median(found.values()), tuple(found))


def tokens_to_train(recipe: "Recipe", lengths: model.Lengths, steps: int) -> float:
    """Tokens that so many steps go through."""
    rows = steps * recipe.batch_size * recipe.gradient_accumulation
    if recipe.max_steps is None:  # an epoch's last step may be a small one
        rows = min(rows, round(recipe.epochs * lengths.examples) or 1)
    return rows * min(lengths.mean, recipe.sequence_length)


def start_seconds(shape: model.Shape, recipe: "Recipe", device: model.Device) -> float:
    """From the start of the program to the first step."""
    return _START_SECONDS + model.weight_bytes(shape, recipe, device) / _LOADED


def rented_estimate(entry: Rented, epochs: float) -> PlanRented:
    """The items of a training on a rented machine, and their sum: so many epochs, an evaluation, a
    merge."""
    items = [
        _item("epoch", entry.epoch, epochs),
        _item("evaluation", entry.evaluation, 1),
        _item("merge", entry.merge, 1),
    ]
    hours = round(sum(each.hours for each in items), 2)
    told = entry.told_hours
    return PlanRented(
        machine=entry.machine,
        items=items,
        usd=round(sum(each.usd for each in items), 2),
        hours=hours,
        told_hours=told if told is not None and abs(told - hours) > 0.05 else None,
        as_of=entry.as_of,
        source=entry.source,
    )


def _item(name: str, item: Item, count: float) -> RentedItem:
    return RentedItem(
        name=name, count=count, usd=round(item.usd * count, 2), hours=round(item.hours * count, 4)
    )


def memory_parts(memory: model.Memory) -> Mapping[str, int]:
    """Bytes by what they are for."""
    parts: dict[str, Any] = vars(memory)
    return parts


def is_here(base: str) -> bool:
    """Whether the base's tokenizer can be read without the hub."""
    return Path(base).expanduser().exists() or cached_folder(base) is not None
