"""Rows that a training can't learn from: written to files whole, told, and refused or left out."""

from __future__ import annotations

from pathlib import Path

from finetune import schema
from finetune.examples import ExampleSet, named, unreadable
from finetune.failures import BadRequest, DataFailure, Refused, RunFailure
from finetune.files import write_whole

#: In the run folder: one file for each reason, a line number in each row.
LINES_FOLDER = "lines"


def write_lines(folder: Path, file_name: str, part: ExampleSet) -> dict[schema.LineReason, str]:
    """Every line that is listed for a reason, in a file of the run folder; the paths from there."""
    written: dict[schema.LineReason, str] = {}
    stem = Path(file_name).stem
    for reason, lines in part.by_reason().items():
        path = folder / LINES_FOLDER / f"{stem}-{reason}.txt"
        if lines:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, "".join(f"{line}\n" for line in lines), durable=False)
            written[reason] = f"{LINES_FOLDER}/{path.name}"
        else:
            path.unlink(missing_ok=True)  # of an earlier sitting with other settings
    return written


def refusal(recipe: schema.Recipe, file_name: str, part: ExampleSet) -> RunFailure | None:
    """Why a training on this file would not begin; None where it would."""
    found = unusable(recipe, file_name, part)
    if found is None and recipe.rows_without_answer == "refuse":
        found = _without_answer(file_name, part)
    if found is not None or part.usable:
        return found
    return DataFailure(
        203,
        f"There is nothing to learn in {file_name}.",
        "No line has an assistant's answer (with weight 1) within sequence_length.",
        "Look at the warnings of this run, raise sequence_length, or prepare the data again.",
    )


def unusable(recipe: schema.Recipe, file_name: str, part: ExampleSet) -> RunFailure | None:
    """Why a file is none for this recipe: lines that can't be read, or of the other method."""
    if part.unreadable:
        return unreadable(file_name, part.unreadable, part.whys)
    if not part.other_form:
        return None
    lines = part.other_form
    what = f"{_said(lines)} of {file_name}"
    if recipe.method == "dpo":
        return DataFailure(
            212,
            f"{what}: no preference pair, and the recipe's method is dpo.",
            "DPO learns from pairs: `messages`, `chosen` and `rejected`.",
            "Take a data set of pairs, or method: supervised in the recipe.",
        )
    return DataFailure(
        212,
        f"{what}: a preference pair, and the recipe's method is supervised.",
        "Supervised training learns from chats with one answer.",
        "Take method: dpo in the recipe, or a data set of chats.",
    )


def refuse_mixture(recipe: schema.Recipe) -> None:
    """Raises BadRequest for a recipe whose parts learn from different kinds of examples."""
    for name in ("rehearsal", "base_pull"):
        if recipe.method == "dpo" and getattr(recipe, name):
            raise BadRequest(
                214,
                f"A training on preference pairs can't have `{name}`.",
                "It is about chats, and method dpo learns from pairs alone; its reference is the "
                "base already.",
                f"Leave {name} out of the recipe.",
            )


def _without_answer(file_name: str, part: ExampleSet) -> RunFailure | None:
    where = f"All lines: {LINES_FOLDER}/{Path(file_name).stem}"
    if part.without_answer:
        cut = len(set(part.without_answer) & set(part.truncated))
        return Refused(
            210,
            f"{_said(part.without_answer)} of {file_name}: no token would be learnt.",
            f"Every answer there has weight 0, is empty, or lies beyond sequence_length ({cut}). "
            f"{where}-no_answer_token.txt",
            "Correct the data set or raise sequence_length; with rows_without_answer: leave_out "
            "the training goes on without these rows.",
        )
    if part.refused_by_template:
        return Refused(
            211,
            f"{_said(part.refused_by_template)} of {file_name}: the template can't render it.",
            "It doesn't know a role there, tools and their calls, or the order of the turns. "
            f"{where}-template_refuses.txt",
            "Correct the data set or take another prompt_form; with rows_without_answer: "
            "leave_out the training goes on without these rows.",
        )
    return None


def _said(lines: list[int]) -> str:
    if len(lines) == 1:
        return f"Line {lines[0]}"
    return f"{len(lines)} lines ({named(lines)})"
