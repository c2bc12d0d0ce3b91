"""Replaces personal data by placeholders such as [EMAIL_1], the same for the same value.

Numbers count within one record, by kind, in the order of the first appearance: the same value has
the same placeholder in all messages of its record. They do not go on from record to record: then a
placeholder would depend on which other records there are and in which order they are read, would
tell which records are of the same person, and would keep one question of two persons from being
seen as the same. So a record is always redacted to the same text, in every version.

Who wants to know which records are of the same person gives a key: then a value has the same
pseudonym everywhere ([EMAIL_7f3a9c012b4d]), and who has the key can tell whose it is.
"""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sophia_tui.datasets.personal import find, may_hold
from sophia_tui.datasets.personal_kinds import PLACEHOLDER, Finding, Kind
from sophia_tui.domain.datasets import Example, Message, Pair
from sophia_tui.errors import DataError
from sophia_tui.i18n import _

#: Raised whenever the same text may be redacted in another way than before.
VERSION = 2

_ROUNDS = 4
_HEX_DIGITS = 12
_SHORTEST_KEY = 32


class Pseudonyms:
    """Names of values that are the same in every record: an HMAC-SHA256 of kind and normalised
    value, cut to 48 bits, so that two of a million values share one with a chance of 1 in 600.

    Raises DataError D521 for a key that could be guessed. `fingerprint` belongs into the settings
    of the step that redacts: other keys make other versions. The key itself is shown nowhere.
    """

    def __init__(self, key: str) -> None:
        if len(key) < _SHORTEST_KEY:
            raise DataError(
                "D521",
                _("The key for pseudonyms is too short."),
                _(
                    "It has {length} characters; with fewer than {least}, who has the data could "
                    "guess it and learn whose they are."
                ).format(length=len(key), least=_SHORTEST_KEY),
                _("Set SOPHIA_PSEUDONYM_KEY to a random one: openssl rand -hex 32."),
            )
        self._key = key.encode()
        self.fingerprint = self._digest("fingerprint")[:16]

    def __repr__(self) -> str:
        return f"Pseudonyms({self.fingerprint})"

    def of(self, kind: Kind, value: str) -> str:
        return self._digest(f"{kind.value}\0{value}")[:_HEX_DIGITS]

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def settings(pseudonyms: Pseudonyms | None = None) -> dict[str, Any]:
    """What the manifest's step of redaction says of how it was done."""
    return {"pseudonyms": pseudonyms.fingerprint} if pseudonyms else {}


def redact(
    example: Example | Pair,
    row: bytes,
    pseudonyms: Pseudonyms | None = None,
    rounds: int = _ROUNDS,
) -> tuple[Example | Pair, Counter[str]]:
    """The example without personal data, and how many values were replaced, by kind.

    `row` is the example's canonical line, looked at first because most hold nothing. Redacting what
    was redacted already changes nothing; placeholders that the text holds already keep theirs.
    With one of `rounds` only what is found at first sight is replaced: enough to count.
    Contents, content parts, names, tools, arguments of tool calls and the critique are looked at.
    """
    counts: Counter[str] = Counter()
    if not may_hold(row):
        return example, counts
    record = _Record(pseudonyms, PLACEHOLDER.findall(row.decode("utf-8", "replace")), rounds)
    messages = tuple(record.message(each) for each in example.messages)
    tools = tuple(record.values(tool, numbers=False) for tool in example.tools)
    if isinstance(example, Pair):
        better, worse = record.message(example.chosen), record.message(example.rejected)
        found: Example | Pair = Pair(messages, better, worse, tools)
    else:
        critique = record.text(example.critique) if example.critique else example.critique
        found = replace(example, messages=messages, tools=tools, critique=critique)
    return (found, record.counts) if record.counts else (example, counts)


class _Record:
    """The placeholders of one record, by kind and value; and what was replaced in it."""

    def __init__(
        self, pseudonyms: Pseudonyms | None, standing: Iterable[tuple[str, str]], rounds: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._pseudonyms = pseudonyms
        self._rounds = rounds
        self._last: Counter[str] = Counter()
        self._given: dict[tuple[Kind, str], str] = {}
        for word, number in standing:
            if len(number) < _HEX_DIGITS:
                self._last[word] = max(self._last[word], int(number))

    def message(self, message: Message) -> Message:
        """The message without personal data. Its content says again what is in its parts, so what
        is in both counts once."""
        if not (message.parts or message.name or message.tool_calls):
            content = self.text(message.content)
            return message if content is message.content else replace(message, content=content)
        parts: tuple[dict[str, Any], ...] = ()
        if message.parts:
            outer, self.counts = self.counts, Counter()
            parts = tuple(self._part(part) for part in message.parts)
            inner, self.counts = self.counts, Counter()
            content = self.text(message.content)
            self.counts = outer + (inner | self.counts)
        else:
            content = self.text(message.content)
        return replace(
            message,
            content=content,
            parts=parts,
            name=self._name(message.name) if message.name else message.name,
            tool_calls=tuple(self._call(call) for call in message.tool_calls),
        )

    def text(self, text: str, said_before: str = "") -> str:
        """`said_before` is context: it helps to tell what a value is, and is left out again."""
        # What stood beside a value may show itself once the value is gone, so look again.
        for _round in range(self._rounds):
            shift = len(said_before)
            findings = [each for each in find(said_before + text) if each.start >= shift]
            if not findings:
                break
            parts: list[str] = []
            place = 0
            for each in findings:
                parts += (text[place : each.start - shift], self._placeholder(each))
                place = each.end - shift
                self.counts[each.kind.value] += 1
            text = "".join(parts) + text[place:]
        return text

    def _placeholder(self, finding: Finding) -> str:
        key = (finding.kind, finding.value)
        known = self._given.get(key)
        if known is None:
            word = finding.kind.value.upper()
            if self._pseudonyms:
                name = self._pseudonyms.of(*key)
            else:
                self._last[word] += 1
                name = str(self._last[word])
            known = self._given[key] = f"[{word}_{name}]"
        return known

    def _name(self, name: str) -> str:
        """Names are of letters, digits, hyphens and underscores alone: hosted services refuse
        brackets in them."""
        redacted = self.text(name)
        return redacted if redacted == name else redacted.replace("[", "").replace("]", "")

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        changed = dict(part)
        if isinstance(part.get("text"), str):
            changed["text"] = self.text(part["text"])
        image = part.get("image_url")
        if isinstance(image, Mapping) and not str(image.get("url", "data:")).startswith("data:"):
            changed["image_url"] = {**image, "url": self.text(str(image["url"]))}
        return changed

    # --- tool calls ---

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
            return dict(call)
        return {**call, "function": {**function, "arguments": self._json(function["arguments"])}}

    def _json(self, arguments: str) -> str:
        """The arguments of a call without personal data: still JSON where they were."""
        try:
            value = json.loads(arguments)
        except (ValueError, RecursionError):
            return self.text(arguments)
        if not isinstance(value, dict | list):
            return self.text(arguments)
        replaced = self.values(value)
        if replaced == value:  # written as it was, to the last blank
            return arguments
        return json.dumps(replaced, ensure_ascii=False, separators=(",", ":"))

    def values(self, value: Any, key: str = "", numbers: bool = True) -> Any:
        """The same of lists and mappings. Their names of things stay, but where one is personal
        data itself; without `numbers`, so do numbers."""
        if isinstance(value, Mapping):
            return {
                self.text(name): self.values(each, name, numbers) for name, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.values(each, key, numbers) for each in value]
        if isinstance(value, bool) or not isinstance(value, str | int if numbers else str):
            return value
        # the name of an argument says what its value is, as words in a sentence do
        written = str(value)
        redacted = self.text(written, f"{key}: " if key else "")
        return value if redacted == written else redacted
