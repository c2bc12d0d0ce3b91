"""What all tests of the console share: the style sheets are cut into tokens once a process."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from textual.css import parse


@pytest.fixture(scope="session", autouse=True)
def style_tokens_are_kept() -> Iterator[None]:
    """Every app reads the same style sheets several times, which is a good part of its start."""
    tokenize = parse.tokenize

    @functools.cache
    def kept(css: str, read_from: Any) -> list[Any]:
        return list(tokenize(css, read_from))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parse, "tokenize", lambda css, read_from: iter(kept(css, read_from)))
        yield
