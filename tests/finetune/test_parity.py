"""Parity: whatever was made of base and adapter answers as they do, or it is said where not."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune import schema
from finetune.parity import shipped_prompts
from finetune.parity_bounds import BOUNDS
from finetune.templates import fingerprint_of
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, states, write_run
from tests.finetune.parity_engine import Answer, Engine, answering
from tests.finetune.tiny_model import CHATML, pairs, question


def asked() -> list[schema.ParityPrompt]:
    """What was learnt, something that was not, and a chat with a system message."""
    said = [question(town) for town, _goods in pairs()[:5]]
    prompts = [
        schema.ParityPrompt(
            id=f"town-{number}",
            messages=[schema.ParityMessage(role="user", content=each)],
            max_new_tokens=20,
        )
        for number, each in enumerate(said)
    ]
    system = schema.ParityMessage(role="system", content="Answer briefly.")
    user = schema.ParityMessage(role="user", content="What is there to buy?")
    return [*prompts, schema.ParityPrompt(id="system", messages=[system, user], max_new_tokens=12)]


def target(kind: str, path: Path, **more: Any) -> schema.ParityTarget:
    return schema.ParityTarget.model_validate(
        {"name": f"sophia-v1-{kind}", "kind": kind, "path": str(path), **more}
    )


@pytest.fixture(scope="session")
def merged(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path, trained: Path
) -> dict[str, Path]:
    """The adapter merged, by precision; not to be written to."""
    found = {}
    for dtype in ("bfloat16", "float16"):
        folder = tmp_path_factory.mktemp("merged") / "run"
        settings = schema.MergeSettings.model_validate({"dtype": dtype})
        adapter = str(trained / "adapter")
        write_run(folder, tiny_base, dataset, kind="merge", adapter_path=adapter, merge=settings)
        assert finetune("merge", folder) == 0
        found[dtype] = folder / schema.MERGED_FOLDER
    return found


@pytest.fixture
def check(make_run: MakeRun, trained: Path) -> Callable[..., schema.ParityReport]:
    """Compare targets; returns the report."""

    def run(*targets: schema.ParityTarget, **more: Any) -> schema.ParityReport:
        settings = {"targets": targets, "prompts": asked(), "held_out": 0, **more}
        folder = make_run(
            kind="parity",
            adapter_path=str(trained / "adapter"),
            parity=schema.ParitySettings.model_validate(settings),
        )
        assert finetune("parity", folder) == 0
        assert states(folder)[-1] == "succeeded"
        report = schema.read_document(folder / schema.PARITY_FILE, schema.ParityReport)
        assert events(folder, "result")[0].data["passed"] == report.passed
        return report

    return run


def only(report: schema.ParityReport) -> schema.ParityResult:
    """The one form that was compared, beside the arithmetic."""
    arithmetic, found = report.results
    assert (arithmetic.kind, arithmetic.passed) == ("arithmetic", True)
    return found


def codes(result: schema.ParityResult) -> list[str]:
    return [each.code for each in result.reasons]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_merged_model_passes_at_its_precision(
    check: Callable[..., schema.ParityReport], merged: dict[str, Path], dtype: str
) -> None:
    report = check(target("merged", merged[dtype]))
    assert report.passed
    arithmetic, found = report.results
    assert arithmetic.mean_difference is not None and arithmetic.mean_difference < 1e-5
    assert (arithmetic.precision, arithmetic.bound) == ("float32", BOUNDS["float32"])
    assert (found.precision, found.bound) == (dtype, BOUNDS[dtype])
    assert found.mean_difference is not None
    assert 0 < found.mean_difference < BOUNDS[dtype].mean
    assert found.prompts == found.equal == len(asked())
    assert found.places == report.answer_tokens
    assert found.weights_checked is not None and found.weights_checked > 700_000
    assert found.template_fingerprint == report.template_fingerprint == fingerprint_of(CHATML)
    assert found.files["model.safetensors"].sha256
    assert report.adapter_files["adapter_model.safetensors"].bytes > 0


def changed(source: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a merged model with other weights."""
    shutil.copytree(source, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.3.mlp.down_proj.weight",
        "model.layers.2.input_layernorm.weight",
        "lm_head.weight",
    ],
)
def test_one_number_that_is_off_by_one_percent_is_found(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    tmp_path: Path,
    name: str,
    dtype: str,
) -> None:
    place: list[int] = []

    def one(weights: dict[str, torch.Tensor]) -> None:
        flat = weights[name].view(-1)
        index = int(flat.abs().to(torch.float32).argsort()[len(flat) // 2])  # a middling one
        flat[index] = (flat[index].to(torch.float32) * 1.01).to(flat.dtype)
        place.append(index)

    found = only(check(target("merged", changed(merged[dtype], tmp_path / "merged", one))))
    assert not found.passed
    [reason] = found.reasons
    assert (reason.code, reason.values["tensor"], reason.values["wrong"]) == ("weights", name, 1)
    shape = load_file(merged[dtype] / "model.safetensors")[name].shape
    flat = 0
    for size, each in zip(shape, reason.values["place"], strict=True):
        flat = flat * size + each
    assert [flat] == place


def test_a_tensor_left_out_of_the_merge_is_found_in_the_answers_too(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
) -> None:
    base = load_file(tiny_base / "model.safetensors")

    def forget(weights: dict[str, torch.Tensor]) -> None:
        for name in weights:
            if "down_proj" in name:
                weights[name] = base[name].to(torch.bfloat16)

    found = only(check(target("merged", changed(merged["bfloat16"], tmp_path / "merged", forget))))
    assert codes(found) == ["weights", "difference", "greedy"]
    assert found.diverging is not None
    assert found.diverging.prompt in {each.id for each in asked()}
    assert found.diverging.reference != found.diverging.answer
    assert found.reasons[2].values["prompt"] == found.diverging.prompt


def test_another_template_is_named_with_both_fingerprints(
    check: Callable[..., schema.ParityReport], merged: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    shutil.copytree(merged["bfloat16"], folder)
    other = CHATML.replace("<|im_start|>assistant\n", "<|im_start|>assistant: ")
    assert other != CHATML
    (folder / "chat_template.jinja").write_text(other)
    found = only(check(target("merged", folder)))
    assert not found.passed
    template = found.reasons[0]
    assert template.code == "template"
    assert template.values == {"found": fingerprint_of(other), "wanted": fingerprint_of(CHATML)}
    assert "prompt" in codes(found)


def test_a_broken_file_is_a_reason_and_no_failed_run(
    check: Callable[..., schema.ParityReport], merged: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    shutil.copytree(merged["bfloat16"], folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    assert codes(only(check(target("merged", folder)))) == ["broken"]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Engine]]:
    engines: list[Engine] = []

    def start(answer: Answer) -> Engine:
        engines.append(Engine(answer))
        return engines[-1]

    yield start
    for each in engines:
        each.close()


def served(folder: Path, engine: Engine) -> schema.ParityTarget:
    return target("served", folder, name="sophia-v1", address=engine.address, engine="transformers")


@pytest.mark.parametrize("figures", [False, True])
def test_a_served_model_is_asked_over_http_with_its_key(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
    monkeypatch: pytest.MonkeyPatch,
    figures: bool,
) -> None:
    monkeypatch.setenv("SOPHIA_MODEL_TOKEN", "a-key")
    engine = serve(answering(merged["bfloat16"], figures=figures))
    found = only(check(served(merged["bfloat16"], engine)))
    assert found.passed, found.reasons
    assert found.log_probabilities is figures
    assert (found.mean_difference is not None) is figures
    assert (found.prompts, found.equal) == (len(asked()), len(asked()))
    assert engine.keys == {"Bearer a-key"}
    assert {each["model"] for each in engine.asked} == {"sophia-v1"}


def test_another_model_behind_the_name_is_found_by_its_answers(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
    tiny_base: Path,
) -> None:
    engine = serve(answering(tiny_base))
    found = only(check(served(merged["bfloat16"], engine)))
    assert codes(found) == ["greedy"]
    assert found.diverging is not None and found.diverging.prompt == "town-0"


def test_another_name_in_the_answer_is_said(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
) -> None:
    engine = serve(answering(merged["bfloat16"], name="another"))
    found = only(check(served(merged["bfloat16"], engine)))
    assert codes(found) == ["other_model"]
    assert len(engine.asked) == 1


def test_an_engine_that_knows_no_log_probabilities_is_asked_without(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
) -> None:
    plain = answering(merged["bfloat16"])

    def picky(body: dict[str, Any]) -> tuple[int, bytes]:
        refusal = json.dumps({"error": {"message": "`logprobs` is not supported"}}).encode()
        return (400, refusal) if "logprobs" in body else plain(body)

    engine = serve(picky)
    found = only(check(served(merged["bfloat16"], engine)))
    assert found.passed
    assert sum("logprobs" in each for each in engine.asked) == 1


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (404, b"{}", "not_served"),
        (503, b'{"error": {"message": "busy"}}', "refused"),
        (200, b"<html>", "nonsense"),
        (200, b'{"choices": []}', "nonsense"),
    ],
)
def test_what_is_no_answer_is_the_reason(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
    status: int,
    content: bytes,
    code: str,
) -> None:
    engine = serve(lambda _body: (status, content))
    found = only(check(served(merged["bfloat16"], engine)))
    assert (found.passed, codes(found)) == (False, [code])


def test_nobody_there_is_the_reason(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
) -> None:
    engine = serve(lambda _body: (200, b"{}"))
    engine.close()
    found = only(check(served(merged["bfloat16"], engine)))
    assert codes(found) == ["unreachable"]


def test_an_engine_that_hangs_is_waited_for_once(
    check: Callable[..., schema.ParityReport],
    merged: dict[str, Path],
    serve: Callable[[Answer], Engine],
) -> None:
    over = threading.Event()

    def hang(_body: dict[str, Any]) -> tuple[int, bytes]:
        over.wait(60)
        return 200, b"{}"

    engine = serve(hang)
    began = time.monotonic()
    found = only(check(served(merged["bfloat16"], engine), seconds=0.5))
    over.set()
    assert codes(found) == ["silent"]
    assert len(engine.asked) == 1
    assert time.monotonic() - began < 50


def test_the_prompts_that_come_along_are_many_and_of_both_languages() -> None:
    found = shipped_prompts()
    ids = [each.id for each in found]
    assert len(set(ids)) == len(ids) >= 16
    assert sum(each.startswith("pt-") for each in ids) >= 6
    assert sum(each.startswith("en-") for each in ids) >= 6
    assert any(each.messages[0].role == "system" for each in found)
    assert max(len(each.messages[-1].content) for each in found) > 1000
    assert {each.messages[-1].role for each in found} == {"user"}


def test_prompts_that_do_not_fit_are_named_and_held_out_ones_are_asked(
    check: Callable[..., schema.ParityReport], merged: dict[str, Path]
) -> None:
    report = check(target("merged", merged["bfloat16"]), prompts=None, held_out=2)
    assert set(report.prompts_left_out) >= {"en-long", "pt-longo"}  # its context is 512 tokens
    assert report.prompts + len(report.prompts_left_out) == len(shipped_prompts()) + 2


def test_without_anything_to_compare_the_run_is_refused(make_run: MakeRun, trained: Path) -> None:
    assert finetune("parity", make_run(kind="parity", adapter_path=str(trained / "adapter"))) == 2
