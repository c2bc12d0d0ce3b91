"""Asks a served model as its clients do: over HTTP, by its name, in chats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.parity_compare import OTHER, Reference, Tally
from finetune.parity_http import Client, Refused, Trouble

_ENOUGH = 1


@dataclass
class Served:
    """One served name. `log_probabilities` is None until it is known whether it returns them."""

    client: Client
    name: str
    ends: frozenset[int]
    log_probabilities: bool | None = None

    def ask_all(
        self, references: Sequence[Reference], tally: Tally, before_each: Callable[[int], None]
    ) -> None:
        """Ask every prompt and count what comes. Raises Trouble at the first that has no answer."""
        for number, asked in enumerate(references):
            before_each(number)
            self._count(asked, self._answer(asked), tally)

    def _answer(self, asked: Reference) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": list(asked.messages),
            "max_tokens": len(asked.answer),
            "temperature": 0,
        }
        if self.log_probabilities is False:
            return self._told(body)
        try:
            return self._told({**body, "logprobs": True, "top_logprobs": _ENOUGH})
        except Refused as refused:
            # only an engine that has said nothing yet may not know of log-probabilities
            if self.log_probabilities or not 400 <= refused.reason.values["status"] < 500:
                raise
            self.log_probabilities = False
            return self._told(body)

    def _told(self, body: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = self.client.post("/chat/completions", body)
        named = told.get("model")
        if isinstance(named, str) and named not in ("", self.name):
            raise Trouble("other_model", f"another model answers: {named[:200]}", named=named[:200])
        return told

    def _count(self, asked: Reference, told: dict[str, Any], tally: Tally) -> None:
        try:
            choice = told["choices"][0]
            text = choice["message"]["content"] or ""
            content = (choice.get("logprobs") or {}).get("content")
            read = (told.get("usage") or {}).get("prompt_tokens")
            if not isinstance(text, str):
                raise TypeError
        except (LookupError, TypeError, AttributeError):
            raise Trouble("nonsense", "what it answered is no chat completion") from None
        if isinstance(read, int) and read != len(asked.prompt_ids) and not tally.read_otherwise:
            tally.read_otherwise = True
            tally.object(
                "prompt",
                f"it reads prompt {asked.id} as {read} tokens, which are "
                f"{len(asked.prompt_ids)} in the form of the training",
                prompt=asked.id,
                tokens=read,
                wanted=len(asked.prompt_ids),
            )
        if isinstance(content, list) and content:
            self.log_probabilities = True
            ended = choice.get("finish_reason") == "stop" and not tally.same(asked, text)
            values, tops = self._along(asked, content, ended, tally)
            tally.along(asked, values, tops, text)
        else:
            self.log_probabilities = bool(self.log_probabilities)
            tally.text(asked, text)

    def _along(
        self, asked: Reference, content: list[Any], ended: bool, tally: Tally
    ) -> tuple[list[float | None], list[int | None]]:
        """Its tokens as far as they are the reference's, and the first that is not."""
        values: list[float | None] = []
        tops: list[int | None] = []
        told = list(content)
        for place, token in enumerate(asked.answer):
            if told and _is_token(told[0], token, tally.decode):
                value = told.pop(0).get("logprob")
                values.append(float(value) if isinstance(value, int | float) else None)
            elif tally.in_character(asked, place):  # llama.cpp gives no figure of such a one
                values.append(None)
            elif told:
                tops.append(OTHER)
                return values, tops
            else:
                break
            tops.append(token)
        rest = asked.answer[len(tops) :]
        if rest and ended and rest[0] not in self.ends:  # where the reference goes on
            tops.append(OTHER)
        return values, tops


def _is_token(told: Any, token: int, decode: Callable[[Sequence[int]], str]) -> bool:
    """Whether an entry of an engine's log-probabilities is about that token."""
    if not isinstance(told, dict):
        return False
    if isinstance(told.get("id"), int):
        return bool(told["id"] == token)
    return bool(told.get("token") == decode([token]))
