"""What a person searches for: text or a regular expression, with or without regard to capitals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sophia_tui.errors import UsageError
from sophia_tui.i18n import _
from sophia_tui.services.browse_views import places_of
from sophia_tui.textsafe import visible

_PREFIX = "re:"


@dataclass(frozen=True)
class Wanted:
    """`text` is a pattern where `regex`; empty: nothing is searched for."""

    text: str = ""
    regex: bool = False
    match_case: bool = False

    def typed(self, text: str) -> "Wanted":
        """As a person typed it: `re:` before a pattern says that it is one."""
        if text.startswith(_PREFIX):
            return replace(self, text=text.removeprefix(_PREFIX), regex=True)
        return replace(self, text=text)

    def otherwise(self, what: str) -> "Wanted":
        """Looked for in the other way: `regex` or `match_case`."""
        if what == "regex":
            return replace(self, regex=not self.regex)
        return replace(self, match_case=not self.match_case)

    @property
    def mode(self) -> str:
        """How it is looked for, in words."""
        kind = _("regular expression") if self.regex else _("text")
        return f"{kind}, {_('exact case') if self.match_case else _('any case')}"

    @property
    def shown(self) -> str:
        return f"/{visible(self.text)}/ {self.mode}"

    @property
    def asked(self) -> dict[str, Any]:
        """What a search is asked with."""
        return {"text": self.text, "regex": self.regex, "match_case": self.match_case}

    def places(self, text: str) -> Sequence[tuple[int, int]]:
        """Where a text holds it; nowhere for a pattern that is wrong."""
        if not self.text or not text:
            return ()
        try:
            return places_of(text, self.text, self.regex, self.match_case)
        except UsageError:
            return ()

    @property
    def wrong(self) -> str:
        """What is wrong with the pattern and where; empty where nothing is."""
        try:
            places_of("", self.text, self.regex, self.match_case)
        except UsageError as problem:
            return problem.why
        return ""

    @classmethod
    def recalled(cls, kept: Any) -> "Wanted":
        """From plain data, whatever they are."""
        if not isinstance(kept, Mapping) or not isinstance(kept.get("text"), str):
            return cls()
        return cls(kept["text"], kept.get("regex") is True, kept.get("match_case") is True)
