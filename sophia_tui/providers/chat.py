"""Asks a model a question by its name, with the official client."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sophia_tui.domain.serving import PROBE_HEADERS, ChatAnswer
from sophia_tui.errors import NotFoundError, OutsideError
from sophia_tui.i18n import _
from sophia_tui.providers import openai_errors
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: The client refuses a blank key, and a server without keys takes any.
_NO_KEY = "no-key"
_THINKING_TOKENS = 1024


async def ask_uncounted(
    base_url: str, api_key: str | None, model: str, question: str, most_tokens: int, seconds: float
) -> ChatAnswer:
    """As `ask`, but our own front does not count it as the traffic of production."""
    return await ask(base_url, api_key, model, question, most_tokens, seconds, PROBE_HEADERS)


async def ask(
    base_url: str,
    api_key: str | None,
    model: str,
    question: str,
    most_tokens: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> ChatAnswer:
    """The model's answer, as likely as can be (temperature 0).

    Raises UnavailableError M455 (client not installed), M456 (no answer), NotFoundError M457.
    """
    try:
        import openai
    except ImportError as problem:
        raise OutsideError(
            "M455",
            _("A model can't be asked: the package openai is not installed."),
            remedy='pip install "sophia-tui[hosted]"',
        ) from problem
    begun = time.monotonic()
    try:
        async with openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or _NO_KEY,
            max_retries=0,
            timeout=seconds,
            default_headers=headers,
        ) as client:
            try:
                answer = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": question}],
                    max_tokens=most_tokens,
                    temperature=0,
                )
            except openai.BadRequestError:
                # a model that thinks takes neither of the two, and needs room for its thoughts
                answer = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": question}],
                    max_completion_tokens=max(most_tokens, _THINKING_TOKENS),
                )
            text = answer.choices[0].message.content or ""
            usage = answer.usage
    except openai.NotFoundError as problem:
        raise NotFoundError(
            "M457",
            _("No model is served as {name}.").format(name=visible(model)),
            remedy=_("`sophia serve list` lists them."),
        ) from problem
    except (openai.OpenAIError, AttributeError, IndexError, TypeError) as problem:
        status = getattr(problem, "status_code", None)
        raise OutsideError(
            "M456",
            _("{name} did not answer.").format(name=visible(model)),
            f"HTTP {status}" if status else type(problem).__name__,
            _("`sophia serve list` says what answers, and where."),
        ) from problem
    return ChatAnswer(
        text=text,
        seconds=round(time.monotonic() - begun, 3),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
    )


class OpenAIChat:
    """A chat model behind an address, for many questions. Implements domain.protocols.ChatModel."""

    def __init__(self, base_url: str | None, api_key: str | None, seconds: float = 300.0) -> None:
        self._base_url = base_url
        self._api_key = api_key or _NO_KEY
        self._seconds = seconds
        self._opened: AsyncOpenAI | None = None

    async def ask(
        self, model: str, messages: list[dict[str, str]], most_tokens: int, temperature: float
    ) -> ChatAnswer:
        import openai

        begun = time.monotonic()
        try:
            response = await self._client().chat.completions.with_raw_response.create(
                model=model,
                messages=messages,  # type: ignore[arg-type]
                max_tokens=most_tokens,
                temperature=temperature,
            )
            text: str = response.http_response.text
        except openai.APIStatusError as problem:
            raise openai_errors.refused(problem.response, self._api_key) from problem
        except openai.OpenAIError as problem:
            raise openai_errors.away(type(problem.__cause__ or problem).__name__) from problem
        return _answer(text, self._api_key, time.monotonic() - begun)

    def _client(self) -> "AsyncOpenAI":
        if self._opened is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            self._opened = AsyncOpenAI(
                api_key=self._api_key,
                base_url=self._base_url or "https://api.openai.com/v1",
                default_headers=PROBE_HEADERS,  # Sophia's own questions, asked of our own front too
                max_retries=0,  # who asks is told, and waits as the server says
                http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=self._seconds),
            )
        return self._opened

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()


def _answer(text: str, api_key: str, seconds: float) -> ChatAnswer:
    """Raises UnavailableError J524 for what is no answer of the protocol."""
    try:
        plain = json.loads(text)
        said = plain["choices"][0]["message"]["content"] or ""
        usage = plain.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        raise openai_errors.senseless(openai_errors.said(text, api_key)) from problem
    prompt, completion = (each if isinstance(each, int) else None for each in counts)
    return ChatAnswer(str(said), round(seconds, 3), prompt, completion)
