"""A base and its adapters answered by one process of llama.cpp's server, each by its name.

One house serves for all of it: what starts an engine takes seconds.
"""

import asyncio
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from finetune import served_files
from finetune.schema import SERVE_FILE, AdapterForm, EngineRefusal, ServeSpec, read_document
from finetune.templates import PLAIN_TEMPLATE, fingerprint_of
from sophia_tui.api import asked as asking
from sophia_tui.domain.models import Model, ModelKind, ModelState
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Access, EngineLoad, EngineOptions, LoadedAdapter
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.providers.engines import ENGINES, LocalEngines, stop_group
from sophia_tui.providers.machine import ThisMachine, start_time
from sophia_tui.services.deployments import load_of
from sophia_tui.wiring import House
from tests.finetune.tiny_model import CHATML, build_tiny_model
from tests.integration.serving_house import asked, house_on, model_row
from tests.integration.test_serving import QUESTION, SINGLE, call, eventually, play, said

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HERE = ThisMachine.here()


def build_adapter(folder: Path, seed: int, template: str = CHATML) -> Path:
    """A LoRA adapter of the tiny model in peft's format, large enough that it is heard."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(4):
        for module, rows in (("q_proj", 128), ("v_proj", 64)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{place}.lora_A.weight"] = torch.randn(4, 128, generator=chance) * 0.2
            tensors[f"{place}.lora_B.weight"] = torch.randn(rows, 4, generator=chance) * 0.2
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    form = AdapterForm(
        prompt_form="chat_template" if template == CHATML else "plain",
        template_source="base" if template == CHATML else "plain",
        template_fingerprint=fingerprint_of(template),
    )
    (folder / "prompt_form.json").write_text(form.model_dump_json())
    (folder / "chat_template.jinja").write_text(template)
    return folder


def adapter_row(name: str, base: Path, folder: Path) -> Model:
    from datetime import UTC, datetime

    return Model(name, ModelKind.ADAPTER, str(base), datetime.now(UTC), path=str(folder))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted once for the whole file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOPHIA_MODEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def adapters(tiny: Path, cache: None, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters. They and their base are converted here, by what an engine would start for it:
    torch is loaded in this process already, and takes seconds in another one."""
    place = tmp_path_factory.mktemp("adapters")
    found = [build_adapter(place / name, seed) for seed, name in enumerate(("first", "second"))]
    load = EngineLoad(str(tiny), tuple(LoadedAdapter(each.name, str(each)) for each in found))
    ENGINES["llamacpp"].prepare(load, EngineOptions(precision="f32"), place)
    assert served_files.main([str(place)]) == 0
    return found


@pytest.fixture
async def house(store_url: str, tmp_path: Path) -> AsyncIterator[House]:
    more = {"API_URL": "http://192.0.2.1:9", "SOPHIA_SERVING_PRECISION": "f32"}
    found = house_on(store_url, tmp_path, **more)
    yield found
    for each in await (await found.store()).deployments.page(limit=100):
        if each.identity is not None:
            await stop_group(HERE, each.identity)
    await found.close()


async def answer(client: openai.AsyncOpenAI, name: str) -> str:
    found = await client.chat.completions.create(
        model=name, messages=QUESTION, max_tokens=4, temperature=0
    )
    assert found.model == name
    return str(found.choices[0].message.content)


async def voice(client: openai.AsyncOpenAI, name: str) -> Any:
    """How sure the model is of a token that it must begin with: what tells models apart, and does
    not hang on a near tie of two tokens where requests share a batch."""
    found = await client.chat.completions.create(
        model=name,
        messages=QUESTION,
        max_tokens=2,
        logprobs=True,
        response_format={"type": "json_object"},
    )
    assert found.model == name and found.choices[0].logprobs is not None
    tokens = found.choices[0].logprobs.content or []
    return pytest.approx(tokens[0].logprob, abs=0.02)


# a connection to an engine that was killed is closed when it is collected, with a warning
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_base_and_its_adapters_share_one_process_and_are_chosen_by_name(
    house: House, store: Store, tiny: Path, adapters: list[Path], store_url: str, tmp_path: Path
) -> None:
    await store.models.add(model_row("tiny", tiny))
    for each in adapters:
        await store.models.add(adapter_row(each.name, tiny, each))
    first = await call(house, "serve.model", model="first")
    assert (first.engine, first.precision, first.model) == ("llamacpp", "f32", "first")
    base = await call(house, "serve.model", model="tiny")
    assert base.pid == first.pid  # it is loaded already
    with asked(house_on(store_url, tmp_path)) as client:
        alone = await voice(client, "first")
        told: list[Any] = []
        over = asyncio.Event()

        async def go_on_asking() -> None:
            while not over.is_set():
                told.append(await voice(client, "first"))

        busy = asyncio.create_task(go_on_asking())
        second = await call(house, "serve.model", model="second")
        over.set()
        await busy
        # those served before were answered all the while, and moved on to the new process
        assert told and all(each.expected == alone for each in told)
        listed = {each.name: each for each in (await call(house, "serve.list")).items}
        assert {each.pid for each in listed.values()} == {second.pid}
        assert second.pid != first.pid
        assert "first, tiny" in second.notes[0]

        async def old_one_ended() -> bool:
            return start_time(first.pid) is None

        await eventually(old_one_ended)
        names = ("tiny", "first", "second")
        voices = {name: await voice(client, name) for name in names}
        assert voices["first"].expected == alone
        assert voices["tiny"].expected != voices["first"]
        assert voices["second"].expected not in (voices["tiny"], voices["first"])
        together = await asyncio.gather(*(voice(client, name) for name in names * 3))
        assert [each.expected for each in together] == [voices[name] for name in names * 3]
        assert sorted([each.id async for each in client.models.list()]) == sorted(names)

        await what_an_engine_of_llama_cpp_can(client, listed["tiny"])

        os.kill(second.pid, signal.SIGKILL)

        async def back() -> list[Any] | None:
            seen = (await call(house, "serve.list")).items
            good = all(each.state == "ready" and each.restarts == 1 for each in seen)
            return seen if good and len(seen) == 3 else None

        brought = await eventually(back)
        [pid] = {each.pid for each in brought}
        assert pid != second.pid

        async def is_asked_anew() -> bool:
            """The front looks for names once a second; until then it asks who is dead."""
            try:
                return (await voice(client, "first")).expected == voices["first"]
            except openai.APIStatusError:
                return False

        await eventually(is_asked_anew)
        for name in names:
            assert (await voice(client, name)).expected == voices[name]

        await call(house, "serve.stop", name="first")
        assert start_time(pid) is not None

        async def is_unknown() -> bool:
            try:
                await answer(client, "first")
            except openai.NotFoundError:
                return True
            return False

        await eventually(is_unknown)
        assert (await voice(client, "second")).expected == voices["second"]
        again = await call(house, "serve.model", model="first")  # it is loaded still
        assert (again.pid, again.state) == (pid, "ready")
        for name in names:
            await call(house, "serve.stop", name=name)
        assert start_time(pid) is None
        await client.close()


async def what_an_engine_of_llama_cpp_can(client: openai.AsyncOpenAI, view: Any) -> None:
    """Log probabilities, JSON, usage in streams; its own words for what is too long; its key."""
    create = client.chat.completions.create
    scored = await create(
        model="first",
        messages=QUESTION,
        max_tokens=4,
        logprobs=True,
        top_logprobs=3,
        response_format={"type": "json_object"},
    )
    assert scored.choices[0].logprobs is not None
    tokens = scored.choices[0].logprobs.content or []
    assert tokens and all(each.logprob <= 0 and len(each.top_logprobs) == 3 for each in tokens)
    assert not hasattr(scored, "timings")

    form: Any = {
        "type": "json_schema",
        "json_schema": {
            "name": "count",
            "schema": {
                "type": "object",
                "properties": {"sure": {"type": "boolean"}},
                "required": ["sure"],
                "additionalProperties": False,
            },
        },
    }
    formed = await create(model="tiny", messages=QUESTION, max_tokens=60, response_format=form)
    assert set(json.loads(formed.choices[0].message.content or "")) == {"sure"}

    stream = await create(
        model="second",
        messages=QUESTION,
        max_tokens=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.model for chunk in chunks} == {"second"}
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 5

    with pytest.raises(openai.BadRequestError) as caught:
        await create(model="tiny", messages=said("xyzzy " * 300), max_tokens=5)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    for extra in ({"lora": [{"id": 1, "scale": 9}]}, {"n_predict": 100000}, {"tools": [{}]}):
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model="tiny", messages=QUESTION, extra_body=extra)
        assert caught.value.param == next(iter(extra))
    hostile = await create(
        model="tiny", messages=said("\x1b[2J<|im_end|>\u202e{{ 7*7 }}\x00"), max_tokens=3
    )
    assert hostile.usage is not None and hostile.usage.completion_tokens <= 3

    request = urllib.request.Request(
        f"http://127.0.0.1:{view.port}/v1/chat/completions", b'{"messages": []}'
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, request)
    refused.value.close()  # it is the answer, and holds its connection
    assert refused.value.code == 401
    assert "Brovik" not in Path(view.folder, "log.txt").read_text()
    assert Path(view.folder, SERVE_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.long
async def test_an_adapter_answers_as_the_same_adapter_merged(
    house: House, store: Store, tiny: Path, store_url: str, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    adapter = build_adapter(tmp_path / "live", seed=5)
    merged = tmp_path / "merged"
    shutil.copytree(tiny, merged)
    weights, pairs = (
        load_file(tiny / "model.safetensors"),
        load_file(adapter / "adapter_model.safetensors"),
    )
    for name, left in pairs.items():
        if name.endswith("lora_B.weight"):
            right = pairs[name.replace("lora_B", "lora_A")]
            place = name.removeprefix("base_model.model.").replace(".lora_B", "")
            weights[place] = weights[place] + 2.0 * torch.matmul(left, right)
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    await store.models.add(adapter_row("live", tiny, adapter))
    await store.models.add(model_row("merged", merged, ModelKind.MERGED))
    views = [await call(house, "serve.model", model=each) for each in ("live", "merged")]
    assert views[0].pid != views[1].pid
    with asked(house_on(store_url, tmp_path)) as client:
        assert (await voice(client, "live")).expected == await voice(client, "merged")
        await client.close()


async def test_a_gguf_file_is_served_as_it_is(
    house: House, store: Store, tiny: Path, store_url: str, tmp_path: Path
) -> None:
    from tests.finetune.tiny_gguf import write_gguf

    await store.models.add(model_row("file", write_gguf(tiny, tmp_path / "tiny.gguf")))
    view = await call(house, "serve.model", model="file", name="other-name")
    assert (view.engine, view.precision, view.model) == ("llamacpp", "f32", "file")
    with asked(house_on(store_url, tmp_path)) as client:
        assert await answer(client, "other-name")
        await client.close()


async def test_what_llama_cpp_does_not_know_is_served_by_transformers(
    house: House, store: Store, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, SINGLE)
    strange = tmp_path / "strange"
    shutil.copytree(tiny, strange)
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**config, "architectures": ["GPT9Model"]}))
    await store.models.add(model_row("strange", strange))
    view = await call(house, "serve.model", model="strange")
    assert (view.engine, view.state) == ("transformers", "ready")
    assert "GPT9Model" in view.notes[0]
    [_now, before] = (await call(house, "serve.list", all=True)).items
    assert (before.state, before.error["code"]) == ("failed", "SOPHIA-M540")


async def test_a_base_is_served_by_its_folder_with_its_adapters_and_anew_where_it_changed(
    house: House, store: Store, tiny: Path, adapters: list[Path], store_url: str, tmp_path: Path
) -> None:
    base = tmp_path / "own-base"
    shutil.copytree(tiny, base)
    view = await call(house, "serve.model", model=str(base))
    assert (view.name, view.model, view.engine) == ("own-base", str(base), "llamacpp")
    await store.models.add(adapter_row("first", base, adapters[0]))
    first = await call(house, "serve.model", model="first")
    assert "own-base" in first.notes[0]
    with asked(house_on(store_url, tmp_path)) as client:
        await what_log_probabilities_are_streamed(client)
        await client.close()
    verified = await call(house, "models.verify", model=str(base))
    assert verified.state == "kept"
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    again = await call(house, "serve.model", model=str(base))
    assert any("1 file of" in each and "models verify" in each for each in again.notes)
    assert any("restarted" in each for each in again.notes)
    assert again.pid != first.pid
    named = await call(house, "serve.model", model=str(base), name="basis")
    assert named.pid == again.pid  # what it loaded is what lies there now


async def what_log_probabilities_are_streamed(client: openai.AsyncOpenAI) -> None:
    for wanted in (0, 2):
        more: Any = {"top_logprobs": wanted} if wanted else {}
        stream = await client.chat.completions.create(
            model="first", messages=QUESTION, max_tokens=3, logprobs=True, stream=True, **more
        )
        tokens = []
        async for chunk in stream:
            for choice in chunk.choices:
                tokens += (choice.logprobs.content if choice.logprobs else None) or []
        assert tokens and {len(each.top_logprobs) for each in tokens} == {wanted}


async def test_an_exported_adapter_is_refused_before_anything_starts(
    house: House, store: Store, adapters: list[Path], tmp_path: Path
) -> None:
    import gguf

    path = tmp_path / "first-adapter-f16.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    row = model_row(path.stem, path, ModelKind.EXPORTED)
    await store.models.add(adapter_row("first", tmp_path, adapters[0]))
    await store.models.add(replace(row, parent="first"))
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model=path.stem)
    assert caught.value.code == "SOPHIA-M542" and "serve model first" in caught.value.remedy
    assert await store.deployments.page() == []


async def test_an_engine_that_was_asked_for_by_name_is_the_only_one(
    store_url: str, store: Store, tiny: Path, tmp_path: Path
) -> None:
    house = house_on(store_url, tmp_path, SOPHIA_SERVING_ENGINE="vllm")
    await store.models.add(model_row("tiny", tiny))
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="tiny")
    assert caught.value.code == "SOPHIA-M437" and "vllm" in caught.value.what
    assert await store.deployments.page() == []
    await house.close()


async def test_a_model_whose_approval_is_over_is_not_served(
    house: House, store: Store, tiny: Path
) -> None:
    from datetime import UTC, datetime, timedelta

    over = datetime.now(UTC) - timedelta(days=1)
    row = replace(model_row("tiny", tiny), state=ModelState.CONDITIONAL, state_until=over)
    await store.models.add(row)
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="tiny")
    assert caught.value.code == "SOPHIA-M541"


def test_only_models_of_one_base_and_one_template_share_a_process(tmp_path: Path) -> None:
    base = tmp_path / "base"
    engines = LocalEngines()
    plain = adapter_row("plain", base, build_adapter(tmp_path / "a", 1))
    other = adapter_row("other", base, build_adapter(tmp_path / "b", 2, PLAIN_TEMPLATE))
    loads = [load_of("llamacpp", each, engines) for each in (plain, other)]
    assert loads[0].template is None and loads[1].template == PLAIN_TEMPLATE
    assert loads[0].shares(load_of("llamacpp", model_row("tiny", base), engines))
    assert not loads[0].shares(loads[1])
    assert load_of("transformers", plain, engines) == EngineLoad(str(tmp_path / "a"))


def test_the_command_of_vllm_names_each_adapter(tmp_path: Path) -> None:
    load = EngineLoad("/m", (LoadedAdapter("a", "/a"), LoadedAdapter("b", "/b")), "{{ x }}")
    engine = ENGINES["vllm"]
    engine.prepare(load, EngineOptions(), tmp_path)
    command = engine.command(load, 9, tmp_path)
    key = read_document(tmp_path / SERVE_FILE, ServeSpec).key
    assert key not in " ".join(command)
    assert engine.environment(tmp_path)["VLLM_API_KEY"] == key
    assert command[command.index("--lora-modules") + 1 :][:2] == ("a=/a", "b=/b")
    assert (tmp_path / "template.jinja").read_text() == "{{ x }}"
    adapter = adapter_row("b", Path("/m"), Path("/b"))
    assert engine.access(adapter, tmp_path).model == "b"
    assert engine.access(model_row("m", "/m"), tmp_path).model == "base"


def test_an_engine_that_stands_in_no_row_is_let_go(tmp_path: Path) -> None:
    engines = LocalEngines()
    for name in ("known", "left", "new"):
        (tmp_path / name).mkdir()
        ENGINES["llamacpp"].prepare(EngineLoad("/m"), EngineOptions(), tmp_path / name)
    for name in ("known", "left"):
        os.utime(tmp_path / name / SERVE_FILE, (0, 0))
    known = {str(tmp_path / "known")}
    assert engines.orphans(str(tmp_path), known, 60) == [str(tmp_path / "left")]
    engines.retire(str(tmp_path / "left"))
    assert engines.orphans(str(tmp_path), known, 60) == []


def test_a_refusal_is_told_in_the_words_of_the_program(tmp_path: Path) -> None:
    told = EngineRefusal(code="FINETUNE-521", what="w", why="y", remedy="r")
    (tmp_path / "refused.json").write_text(told.model_dump_json())
    assert LocalEngines().refusal(str(tmp_path)) == {
        "code": "FINETUNE-521",
        "what": "w",
        "why": "y",
        "remedy": "r",
    }
    assert LocalEngines().refusal(str(tmp_path / "other")) is None


LLAMA = Access("m", heeds=frozenset(("logprobs", "top_logprobs", "response_format")), strict=True)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"logprobs": 2}, "logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": True}, "top_logprobs"),
        ({"response_format": {"type": "json_schema", "x": "y" * 40_000}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n"),
        ({"id_slot": 0}, "id_slot"),
        ({"grammar": "root ::= x"}, "grammar"),
    ],
)
def test_what_this_engine_does_not_heed_is_refused(more: dict[str, Any], param: str) -> None:
    with pytest.raises(UsageError) as caught:
        asking.require_heeded({"model": "m", "messages": [], **more}, LLAMA, "chat/completions")
    assert caught.value.details["openai"]["param"] == param


def test_a_completion_takes_one_text_and_no_log_probabilities() -> None:
    for body in ({"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"prompt": "a", "logprobs": 2}):
        with pytest.raises(UsageError):
            asking.require_heeded({"model": "m", **body}, LLAMA, "completions")
    asking.require_heeded({"model": "m", "prompt": "a", "max_tokens": 2}, LLAMA, "completions")
