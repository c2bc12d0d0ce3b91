"""Throw-away services: each operation is one declaration and one method, and nothing else."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from pydantic import Field, SecretStr

from sophia_tui import wiring
from sophia_tui.api.app import create_app
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.operations import Danger, Input, NoInput, Output
from sophia_tui.errors import NotFoundError, UnavailableError
from sophia_tui.services import catalogue
from sophia_tui.services.operations import Registry, operation
from sophia_tui.wiring import House

TOKEN = "a-token-of-the-owner"
VIEWER_TOKEN = "a-token-that-looks"
OPERATOR_TOKEN = "a-token-that-works"


class Name(Input):
    name: str = Field(description="Who is greeted.", max_length=40)
    times: int = Field(default=1, ge=1, le=9, description="How often.")
    tone: Literal["warm", "cold"] = Field(default="warm", description="How.")
    words: list[str] = Field(default_factory=list, description="What is added.")


class Greeting(Output):
    text: str = Field(title="Greeting")
    times: int = Field(default=1, title="Times")


class Password(Input):
    account: str = Field(description="Whose.")
    password: SecretStr = Field(description="The password.")


class GreetingService:
    """The one operation of the tests that show what adding an operation takes."""

    @operation("greeting.say", "Greet somebody.", positional=("name",))
    async def say(self, context: Context, request: Name) -> Greeting:
        context.progress(Progress("greeting", 1, 1))
        words = " ".join([f"Hello {request.name}", *request.words])
        return Greeting(text=f"{words} ({context.actor})", times=request.times)


class ActsService:
    """One operation for each thing that the dispatcher enforces."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Context]] = []

    @operation(
        "acts.write",
        "Write something.",
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        target="name",
        positional=("name",),
    )
    async def write(self, context: Context, request: Name) -> Greeting:
        self.done.append(("write", context))
        return Greeting(text="dry" if context.dry_run else "wet")

    @operation(
        "acts.erase",
        "Erase something.",
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        target="name",
        positional=("name",),
    )
    async def erase(self, context: Context, request: Name) -> Greeting:
        self.done.append(("erase", context))
        return Greeting(text="gone")

    @operation("acts.train", "Train.", role=Role.OPERATOR, writes=True, trains=True)
    async def train(self, context: Context, request: NoInput) -> Greeting:
        return Greeting(text="training")

    @operation("acts.enter", "Enter.", role=Role.OPERATOR, writes=True, target="account")
    async def enter(self, context: Context, request: Password) -> Greeting:
        return Greeting(text=str(len(request.password.get_secret_value())))

    @operation("acts.peek", "Look with a password.")
    async def peek(self, context: Context, request: Password) -> Greeting:
        return Greeting(text="seen")

    @operation("acts.lose", "Lose something.", writes=True, target="name", positional=("name",))
    async def lose(self, context: Context, request: Name) -> Greeting:
        raise NotFoundError("M998", "Nothing is there.", "It was lost.", "Look elsewhere.")

    @operation("acts.unplug", "Ask what is away.")
    async def unplug(self, context: Context, request: NoInput) -> Greeting:
        raise UnavailableError("S998", "It is away.")

    @operation("acts.crash", "Run into a defect.", writes=True)
    async def crash(self, context: Context, request: NoInput) -> Greeting:
        raise RuntimeError("SECRET text of a record")

    @operation("acts.wait", "Wait until told to stop.")
    async def wait(self, context: Context, request: NoInput) -> Greeting:
        self.done.append(("waiting", context))
        while True:
            context.cancel.check()
            await asyncio.sleep(0.01)

    @operation("acts.many", "Answer with many lines.")
    async def many(self, context: Context, request: NoInput) -> Greeting:
        return Greeting(text="line\n" * 100_000)


class AwayStore:
    """A store that does not answer; what the health check and the audit then do is tested."""

    async def __call__(self) -> Any:
        raise UnavailableError("S001", "The database at 10.1.2.3 does not answer.")


def make_house(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    services: tuple[type, ...] = (GreetingService, ActsService),
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> House:
    """A house over throw-away services, which lives in `folder` alone."""
    monkeypatch.chdir(folder)
    for service in services:

        async def build(house: House, kind: type = service) -> Any:
            return kind()

        monkeypatch.setitem(wiring.FACTORIES, service.__name__, build)
    environment = {
        "SOPHIA_DATA_DIR": str(folder / "data"),
        "FINETUNE_TOKEN": TOKEN,
        "SOPHIA_VIEWER_TOKEN": VIEWER_TOKEN,
        "SOPHIA_OPERATOR_TOKEN": OPERATOR_TOKEN,
        **(settings or {}),
    }
    return House(
        {key: value for key, value in environment.items() if value},
        operations=Registry(services),
        **options,
    )


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *services: type) -> Registry:
    """Make `services` the whole of Sophia for the command line in this process."""
    registry = Registry(services)
    make_house(monkeypatch, folder, services)
    monkeypatch.setattr(catalogue, "registry", lambda: registry)
    monkeypatch.setenv("SOPHIA_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # kept help is of other operations
    return registry


def client(house: House, token: str | None = TOKEN, **headers: str) -> httpx.AsyncClient:
    """An HTTP client on the house's API, without a network between."""
    if token is not None:
        headers["x-admin-token"] = token
    transport = httpx.ASGITransport(create_app(house))
    return httpx.AsyncClient(transport=transport, base_url="http://sophia.test", headers=headers)


def audited(house: House) -> list[dict[str, Any]]:
    """What the audit holds; without a store it lies in the spool."""
    spool = house.paths.audit_spool
    return [json.loads(line) for line in spool.read_text().splitlines()] if spool.exists() else []
