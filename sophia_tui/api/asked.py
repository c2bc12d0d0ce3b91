"""What clients of /v1 ask: read, and checked as far as the engines don't.

An engine trips over some bodies, ignores other parts without a word, and takes a prompt of any
length though it never comes back from it: each is refused here, with the parameter named.
Nothing of a body stands in an error.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from sophia_tui.domain.serving import Access
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
#: No tokenizer packs more bytes than that into each token of a real text, by far.
_BYTES_OF_TOKEN = 16
#: What the engine generates at most where nobody says.
_DEFAULT_TOKENS = 1024
_TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
_RANGES = {"temperature": (0, 2), "top_p": (0, 1)}
#: What the engines would pass over in silence, or fail at, and the values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "generation_config": (),  # it would go around the limits
}
#: OpenAI's parameters that mean the same to all engines.
_KNOWN = frozenset(
    (
        "model",
        "messages",
        "prompt",
        *_TOKEN_LIMITS,
        *_RANGES,
        *_UNSUPPORTED,
        "stop",
        "stream",
        "stream_options",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "user",
        "metadata",
        "store",
        "tool_choice",
        "parallel_tool_calls",
    )
)
_MOST_TOP = 20
#: A form that an answer must have becomes a grammar, whose making takes time.
_FORM_BYTES = 32_768


def read(content: bytes, path: str) -> dict[str, Any]:
    """The body of a request for `path`. Raises UsageError M451."""
    try:
        body = json.loads(content, parse_constant=_refuse_number, parse_float=_finite)
        # what can't be written again can't be passed on: half a character, too deep a nesting
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise bad(_("The body must be a JSON object of finite numbers and whole characters."), None)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise bad(_("`model` must name a model."), "model")
    if path == "chat/completions":
        _check_messages(body.get("messages"))
    _check_values(body)
    # merged models sample, so that a temperature counts; who names none wants the same answer again
    return {**body, "temperature": body.get("temperature") or 0}


def fitted(body: dict[str, Any], context: int | None) -> dict[str, Any]:
    """The body with no more tokens asked for than a context of `context` tokens holds.

    Raises UsageError M495 where its text surely does not fit; what is only probably too long is
    left to the engine, for its tokenizer alone could tell.
    """
    if context is None:
        return body
    texts = (body.get("prompt"), *(each["content"] for each in _messages(body)))
    size = sum(len(text.encode()) for each in texts for text in _strings(each))
    if size > context * _BYTES_OF_TOKEN:
        raise UsageError(
            "M495",
            _("The text does not fit into the model's context."),
            _("It has {size} bytes; the context holds {tokens} tokens.").format(
                size=size, tokens=context
            ),
            _("Ask with less text."),
            openai={
                "code": "context_length_exceeded",
                "param": "messages" if "messages" in body else "prompt",
            },
        )
    room = max(1, context - math.ceil(size / _BYTES_OF_TOKEN))
    wanted = [key for key in _TOKEN_LIMITS if body.get(key) is not None]
    if not wanted:
        return {**body, "max_tokens": min(room, _DEFAULT_TOKENS)}
    return {**body, **{key: min(body[key], room) for key in wanted}}


def bad(what: str, param: str | None) -> UsageError:
    return UsageError("M451", what, openai={"param": param})


def _refuse_number(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _messages(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in body.get("messages") or []:
        if isinstance(each, dict) and "content" in each:
            yield each


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _check_messages(value: Any) -> None:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in value)
        or not all(isinstance(each.get("content"), str | list | None) for each in value)
    ):
        raise bad(_("`messages` must be a list of messages with a role."), "messages")
    if not {each["role"] for each in value} <= _ROLES:
        roles = ", ".join(sorted(_ROLES))
        raise bad(_("A message's role must be one of {roles}.").format(roles=roles), "messages")


def _check_values(body: dict[str, Any]) -> None:
    for key in _TOKEN_LIMITS:
        if body.get(key) is not None and not (_is_number(body[key], int) and body[key] >= 1):
            raise bad(_("`{key}` must be a whole number from 1.").format(key=key), key)
    for key, (low, high) in _RANGES.items():
        value = body.get(key)
        if value is not None and not (_is_number(value, int | float) and low <= value <= high):
            what = _("`{key}` must be a number from {low} to {high}.")
            raise bad(what.format(key=key, low=low, high=high), key)


def require_heeded(body: dict[str, Any], access: Access, path: str) -> None:
    """Refuse what this engine would pass over in silence, or take for something else.

    Raises UsageError M451, M496.
    """
    chat = path == "chat/completions"
    for key, harmless in _UNSUPPORTED.items():
        value = body.get(key)
        if value is None or any(value == each and type(value) is type(each) for each in harmless):
            continue
        if key not in access.heeds or not chat:
            raise _not_heeded(key)
    if access.strict:
        for key in body:
            if key not in _KNOWN:
                raise _not_heeded(key)
        if not chat and not isinstance(body.get("prompt"), str):
            raise bad(_("`prompt` must be a text."), "prompt")
    if body.get("logprobs") is not None and not isinstance(body["logprobs"], bool) and chat:
        raise bad(_("`logprobs` must be true or false."), "logprobs")
    top = body.get("top_logprobs")
    if top is not None and not (_is_number(top, int) and 0 <= top <= _MOST_TOP):
        what = _("`{key}` must be a number from {low} to {high}.")
        raise bad(what.format(key="top_logprobs", low=0, high=_MOST_TOP), "top_logprobs")
    form = body.get("response_format")
    if form is not None and len(json.dumps(form)) > _FORM_BYTES:
        raise bad(_("`response_format` is too large."), "response_format")


def _not_heeded(key: str) -> UsageError:
    return UsageError(
        "M496",
        _("`{key}` is not supported by this engine.").format(key=visible(key)[:100]),
        remedy=_("Leave it out."),
        openai={"param": key},
    )


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
