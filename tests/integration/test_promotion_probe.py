"""No answer, no promotion: the official client asks a real HTTP server before a file is touched."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sophia_tui import settings
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.promotions import Outside
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import RefusedError, SophiaError, UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.providers.chat import ask
from sophia_tui.providers.health_look import look
from sophia_tui.providers.model_probe import probe
from sophia_tui.services.catalogue import registry
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_views import PromoteRollback, PromoteRun, PromotionView
from sophia_tui.tui.effects import effect_of
from tests.integration.test_promote import Clock

NAME = "sophia-v1"


class ModelServer(ThreadingHTTPServer):
    """A server of models whose behaviour the test chooses; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = "answers"
        self.keys: list[str | None] = []
        self.bodies: list[dict[str, Any]] = []
        self.let_go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        self.server.keys.append(self.headers.get("authorization"))
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        behaviour = self.server.behaviour
        if behaviour == "hangs":
            self.server.let_go.wait(20)
        elif behaviour == "trickles":
            self.send_response(200)
            self.end_headers()
            while not self.server.let_go.wait(0.05):
                self.wfile.write(b" ")
        elif behaviour == "html":
            self._send(200, b"<html>Welcome to nginx</html>", "text/html")
        elif behaviour == "unknown":
            self._json(404, {"error": {"message": "The model does not exist", "code": "x"}})
        elif behaviour == "echoes the key":
            self._json(401, {"error": {"message": f"Bad key {self.headers['authorization']}"}})
        elif behaviour == "takes no max_tokens" and "max_tokens" in body:
            self._json(400, {"error": {"message": "Unsupported parameter: max_tokens"}})
        elif behaviour == "nothing in it":
            self._json(200, {"id": "x", "object": "chat.completion", "choices": []})
        else:
            name = {"another model answers": "llama", "dated": f"{NAME}-2026-11-01"}.get(
                behaviour, NAME
            )
            message = {"role": "assistant", "content": "x"}
            choice = {"index": 0, "finish_reason": "length", "message": message}
            answer = {"id": "x", "object": "chat.completion", "created": 1, "model": name}
            self._json(200, {**answer, "choices": [choice]})

    def do_GET(self) -> None:
        if self.server.behaviour == "takes no max_tokens":
            self._json(200, {"id": NAME, "object": "model", "created": 1, "owned_by": "x"})
        else:
            self._json(404, {"error": {"message": "no such model"}})

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        """Tests say nothing."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.let_go.set()
        found.shutdown()
        thread.join()


class Bench:
    """A service over one env file, with the real probe."""

    def __init__(self, store: Store, folder: Path, env: str, **chosen: str) -> None:
        self.file = folder / "app.env"
        self.file.write_text(env)
        self.before = env
        self.history = folder / "history.jsonl"
        loaded = settings.load(
            {
                "SOPHIA_MANAGED_ENV_FILES": str(self.file),
                "FINETUNE_HISTORY": str(self.history),
                **chosen,
            }
        )
        self.service = PromoteService(
            store, loaded, Paths(folder / "data"), Clock(), Outside(probe, ask, look)
        )

    async def promote(self, dry_run: bool = False, **more: Any) -> PromotionView:
        context = Context("maria", Face.CLI, Role.ADMIN, dry_run=dry_run, confirmed=True)
        return await self.service.run(context, PromoteRun(model=NAME, **more))

    async def refused(self, **more: Any) -> SophiaError:
        """The error of a promotion that must leave everything as it is."""
        with pytest.raises(SophiaError) as caught:
            await self.promote(**more)
        assert self.file.read_text() == self.before
        assert not self.history.exists()
        return caught.value


async def add_model(store: Store, kind: ModelKind = ModelKind.ADAPTER) -> None:
    await store.models.add(Model(NAME, kind, "base", datetime.now(UTC)))


async def test_a_name_that_answers_is_promoted_and_the_record_says_where(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, f"GEN_MODEL=old\nOPENAI_BASE_URL={server.url}\n")
    view = await bench.promote()
    assert f"GEN_MODEL={NAME}" in bench.file.read_text()
    assert any(server.url in note for note in view.notes)
    assert (server.bodies[0]["model"], server.bodies[0]["max_tokens"]) == (NAME, 1)
    [row] = await store.promotions.page(10)
    assert row.notes["probe"]["places"][0]["address"] == server.url
    assert json.loads(bench.history.read_text())["probe"]["answered"] is True


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("unknown", "404"),
        ("html", "no answer of the OpenAI protocol"),
        ("nothing in it", "no answer of the OpenAI protocol"),
        ("another model answers", "llama"),
        ("hangs", "within 0.5 seconds"),
    ],
)
async def test_what_does_not_answer_by_its_name_is_not_promoted(
    store: Store, tmp_path: Path, server: ModelServer, behaviour: str, told: str
) -> None:
    await add_model(store)
    server.behaviour = behaviour
    bench = Bench(
        store,
        tmp_path,
        "GEN_MODEL=old\n",
        OPENAI_BASE_URL=server.url,
        SOPHIA_PROBE_SECONDS="0.5" if behaviour == "hangs" else "10",
    )
    problem = await bench.refused()
    assert isinstance(problem, UnavailableError)
    assert problem.code == "SOPHIA-P012"
    assert told in problem.why
    assert "sophia serve model" in problem.remedy
    assert await store.promotions.page(10) == []
    assert len(server.bodies) == 1  # asked once, never again by itself


async def test_where_nobody_listens_nothing_is_promoted(store: Store, tmp_path: Path) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    problem = await bench.refused()
    assert problem.code == "SOPHIA-P012"
    assert "Nobody listens" in problem.why


@pytest.mark.parametrize("behaviour", ["dated", "takes no max_tokens"])
async def test_providers_answer_in_their_own_ways(
    store: Store, tmp_path: Path, server: ModelServer, behaviour: str
) -> None:
    await add_model(store)
    server.behaviour = behaviour
    bench = Bench(store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL=server.url)
    await bench.promote()
    assert NAME in bench.file.read_text()


async def test_a_local_model_needs_an_address_and_a_hosted_one_a_key(
    store: Store, tmp_path: Path
) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, "GEN_MODEL=old\n")
    problem = await bench.refused()
    assert isinstance(problem, UsageError)
    assert problem.code == "SOPHIA-P014"
    assert f"sophia serve model {NAME}" in problem.remedy
    await store.models.update(NAME, kind=ModelKind.HOSTED)
    assert (await bench.refused()).code == "SOPHIA-P013"


async def test_the_env_files_own_address_and_key_are_asked_first(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    bench = Bench(
        store,
        tmp_path,
        f"GEN_MODEL=old\nOPENAI_BASE_URL={server.url}\nMY_KEY=its-own\nOPENAI_API_KEY=${{MY_KEY}}\n",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        OPENAI_API_KEY="sophias",
    )
    await bench.promote()
    assert set(server.keys) == {"Bearer its-own"}


async def test_the_key_of_served_models_goes_to_our_own_address_alone(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    own = server.url.removesuffix("/v1").replace("127.0.0.1", "localhost")
    keys = {"SOPHIA_MODEL_TOKEN": "for-models", "OPENAI_API_KEY": "sk-provider"}
    ours = Bench(
        store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL=server.url, API_URL=own, **keys
    )
    await ours.promote(dry_run=True)
    other = Bench(store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL=server.url, **keys)
    await other.promote(dry_run=True)
    assert server.keys == ["Bearer for-models", "Bearer sk-provider"]


async def test_a_key_that_a_server_repeats_is_not_told(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    server.behaviour = "echoes the key"
    bench = Bench(
        store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-s3cr3t"
    )
    problem = await bench.refused()
    assert "401" in problem.why
    assert "s3cr3t" not in str(problem)


async def test_the_plan_says_whether_it_would_answer(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, "GEN_MODEL=old\n", OPENAI_BASE_URL=server.url)
    good = await bench.promote(dry_run=True)
    assert any("answers at" in note for note in good.notes)
    server.behaviour = "unknown"
    bad = await bench.promote(dry_run=True)
    assert any("refused" in note and "404" in note for note in bad.notes)
    assert bench.file.read_text() == bench.before


async def test_who_knows_better_may_go_without_and_the_record_says_so(
    store: Store, tmp_path: Path
) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, "GEN_MODEL=old\n")
    view = await bench.promote(probe=False)
    assert any("--no-probe" in note for note in view.notes)
    assert json.loads(bench.history.read_text())["probe"]["answered"] is None


async def test_the_way_back_is_asked_too_and_a_person_may_go_without(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    bench = Bench(store, tmp_path, f"GEN_MODEL=old\nOPENAI_BASE_URL={server.url}\n")
    await bench.promote()
    server.behaviour = "unknown"
    context = Context("maria", Face.CLI, Role.ADMIN, confirmed=True)
    with pytest.raises(UnavailableError, match="SOPHIA-P012") as told:
        await bench.service.rollback(context, PromoteRollback())
    assert "old" in told.value.what and "--no-probe" in told.value.remedy
    assert f"GEN_MODEL={NAME}" in bench.file.read_text()
    view = await bench.service.rollback(context, PromoteRollback(probe=False))
    assert bench.file.read_text() == bench.before
    assert any("--no-probe" in note for note in view.notes)


async def test_the_time_limit_holds_for_a_server_that_trickles(server: ModelServer) -> None:
    server.behaviour = "trickles"
    begun = time.monotonic()
    found = await probe(server.url, None, NAME, 0.3)
    assert not found.answered
    assert time.monotonic() - begun < 5


async def test_a_way_back_that_is_refused_speaks_of_the_way_back(
    store: Store, tmp_path: Path, server: ModelServer
) -> None:
    await add_model(store)
    await store.models.add(Model("earlier", ModelKind.ADAPTER, "base", datetime.now(UTC)))
    bench = Bench(store, tmp_path, f"GEN_MODEL=earlier\nOPENAI_BASE_URL={server.url}\n")
    await bench.promote()
    server.behaviour = "unknown"
    context = Context("maria", Face.CLI, Role.ADMIN, confirmed=True)
    with pytest.raises(UnavailableError, match="SOPHIA-P012") as told:
        await bench.service.rollback(context, PromoteRollback())
    assert "sophia serve model earlier" in told.value.remedy
    assert "`sophia promote rollback --no-probe`" in told.value.remedy
    assert "promote again" not in str(told.value)

    class Asked:
        async def call(self, _operation: str, _request: object, dry_run: bool) -> PromotionView:
            planned = Context("maria", Face.CLI, Role.ADMIN, dry_run=dry_run, confirmed=True)
            plan: PromotionView = await bench.service.rollback(planned, PromoteRollback())
            return plan

    with pytest.raises(RefusedError, match="U492") as dialog:
        await effect_of(Asked(), registry().get("promote.rollback"), {})  # type: ignore[arg-type]
    assert "way back to earlier" in dialog.value.what
    assert "--no-probe" in dialog.value.remedy and "promote again" not in str(dialog.value)
