"""Fields of a recipe that nothing honours yet: asking for one is refused, never ignored."""

from __future__ import annotations

from typing import Final

from finetune import schema
from finetune.failures import BadRequest

UNBUILT: Final = (
    "base_pull",
    "general_questions",
    "general_floor",
)


def refuse_unbuilt(recipe: schema.Recipe) -> None:
    """Raises BadRequest for a recipe that asks for what does not exist yet."""
    plain = schema.Recipe()
    for name in UNBUILT:
        wanted, default = (_value(each, name) for each in (recipe, plain))
        if wanted != default:
            raise BadRequest(
                104,
                f"The recipe asks for {name}, which this version can't do yet.",
                f"It is {wanted!r}.",
                "Leave it out.",
            )


def _value(recipe: schema.Recipe, name: str) -> object:
    found: object = recipe
    for part in name.split("."):
        found = getattr(found, part)
    return found
