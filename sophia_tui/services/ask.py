"""Ask: one question to a served model, by its name and over HTTP, as any client would."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.serving import ChatAnswer
from sophia_tui.i18n import N_
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_SECONDS = 120.0
Asker = Callable[[str, str | None, str, str, int, float], Awaitable[ChatAnswer]]


class AskRequest(Input):
    name: str = Field(description=N_("The name that is served."))
    question: str = Field(min_length=1, max_length=100_000, description=N_("The question."))
    tokens: int = Field(
        default=128, ge=1, le=8192, description=N_("How long the answer may be, in tokens.")
    )


class AskView(Output):
    name: str = Field(title=N_("Model"))
    address: str = Field(title=N_("Address"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))
    seconds: float = Field(title=N_("Seconds"))
    prompt_tokens: int | None = Field(default=None, title=N_("Tokens of the question"))
    completion_tokens: int | None = Field(default=None, title=N_("Tokens of the answer"))


class AskService:
    """Asks at our own front. `ask` is the official client's road."""

    def __init__(self, settings: "Settings", ask: Asker) -> None:
        self._settings = settings
        self._ask = ask

    @operation(
        "serve.ask",
        N_("Ask a served model one question, as a client would."),
        role=Role.OPERATOR,
        target="name",
        positional=("name", "question"),
    )
    async def ask(self, context: Context, request: AskRequest) -> AskView:
        """Raises NotFoundError M457, UnavailableError M455, M456."""
        tokens = (
            self._settings.model_token,
            self._settings.operator_token,
            self._settings.finetune_token,
        )
        token = next(filter(None, tokens), None)
        address = f"{self._settings.api_url.rstrip('/')}/v1"
        found = await self._ask(
            address,
            token.get_secret_value() if token else None,
            request.name,
            request.question,
            request.tokens,
            _SECONDS,
        )
        return AskView(
            name=request.name,
            address=address,
            question=textsafe.visible_lines(request.question),
            answer=textsafe.visible_lines(found.text),
            seconds=found.seconds,
            prompt_tokens=found.prompt_tokens,
            completion_tokens=found.completion_tokens,
        )
