"""The faces start a console for each operation; see tests/tui/conftest.py."""

from tests.tui.conftest import style_tokens_are_kept

__all__ = ["style_tokens_are_kept"]
