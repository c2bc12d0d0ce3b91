"""Reads YAML that people write: a field that stands twice is an error, and errors name the place
and the problem in words of ours, never what stands there."""

from __future__ import annotations

from typing import Any, Final

import yaml

_TWICE: Final = "the same field stands twice"
#: What PyYAML's texts begin with, and what a person can do something with.
_PROBLEMS: Final = (
    (_TWICE, _TWICE),
    ("mapping values are not allowed", "a colon makes no sense here; quote a text that holds one"),
    ("could not find expected ':'", "a colon is missing after a field's name"),
    ("found character", "a tab, or another sign that nothing begins with"),
    ("found a tab", "a tab, or another sign that nothing begins with"),
    ("found unexpected end of stream", "a quotation mark is not closed"),
    ("expected <block end>", "the indentation does not fit the lines before"),
    ("expected ','", "a comma or a closing bracket is missing"),
    ("found undefined alias", "an alias that is defined nowhere"),
    ("could not determine a constructor", "a tag that means nothing here"),
    ("but found another document", "there is more than one document"),
)
_OTHER: Final = "what stands there can't be read"


class Unreadable(Exception):
    """What is wrong; line and column count from 1, and are None where nobody knows them."""

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.line, self.column = problem, line, column


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[tuple[str, str]] = set()
        for key, _value in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.tag, str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, _TWICE, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str) -> Any:
    """The text's value. Raises Unreadable."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        told = error.problem or ""
        mark = error.problem_mark or error.context_mark
        problem = next((ours for begins, ours in _PROBLEMS if told.startswith(begins)), _OTHER)
        if mark is None:
            raise Unreadable(problem) from error
        raise Unreadable(problem, mark.line + 1, mark.column + 1) from error
    except yaml.YAMLError as error:
        raise Unreadable("it holds a sign that YAML does not allow") from error
