"""Why a recipe's file can't be read, in the active language; never with what stands in it."""

from typing import TYPE_CHECKING

from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from finetune.schema import ContractError

#: The texts of finetune.strict_yaml.
TEXTS = (
    N_("the same field stands twice"),
    N_("a colon makes no sense here; quote a text that holds one"),
    N_("a colon is missing after a field's name"),
    N_("a tab, or another sign that nothing begins with"),
    N_("a quotation mark is not closed"),
    N_("the indentation does not fit the lines before"),
    N_("a comma or a closing bracket is missing"),
    N_("an alias that is defined nowhere"),
    N_("a tag that means nothing here"),
    N_("there is more than one document"),
    N_("what stands there can't be read"),
    N_("it holds a sign that YAML does not allow"),
    N_("it is not UTF-8"),
)


def recipe_problem(problem: "ContractError") -> str:
    """Line, column and problem of a file that is no YAML; else what the program says."""
    from finetune.schema import NotYaml

    if not isinstance(problem, NotYaml):
        return str(problem)
    if problem.line is None:
        return _("{file} is not YAML: {problem}.").format(
            file=visible(problem.file), problem=_(problem.problem)
        )
    return _("{file} is not YAML in line {line}, column {column}: {problem}.").format(
        file=visible(problem.file),
        line=problem.line,
        column=problem.column,
        problem=_(problem.problem),
    )
