"""Asks a model a question by its name, with the official client."""

import time

from sophia_tui.domain.serving import ChatAnswer
from sophia_tui.errors import NotFoundError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: The client refuses a blank key, and a server without keys takes any.
_NO_KEY = "no-key"


async def ask(
    base_url: str, api_key: str | None, model: str, question: str, most_tokens: int, seconds: float
) -> ChatAnswer:
    """The model's answer, as likely as can be (temperature 0).

    Raises UnavailableError M455 (client not installed), M456 (no answer), NotFoundError M457.
    """
    try:
        import openai
    except ImportError as problem:
        raise UnavailableError(
            "M455",
            _("A model can't be asked: the package openai is not installed."),
            remedy='pip install "sophia-tui[hosted]"',
        ) from problem
    begun = time.monotonic()
    try:
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or _NO_KEY, max_retries=0, timeout=seconds
        ) as client:
            answer = await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                max_tokens=most_tokens,
                temperature=0,
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
        raise UnavailableError(
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
