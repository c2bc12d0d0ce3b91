"""Parity of exported models: llama.cpp's server in a process of its own, led along the answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.parity_bounds import BOUNDS
from finetune.templates import fingerprint_of
from tests.finetune.helpers import finetune, write_run
from tests.finetune.test_parity import asked, codes, only
from tests.finetune.tiny_model import CHATML

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path, trained: Path
) -> dict[str, Path]:
    """The adapter merged in 32 bits, and that as .gguf files by precision; not to be written to."""
    place = tmp_path_factory.mktemp("exported")
    merge = write_run(
        place / "merge",
        tiny_base,
        dataset,
        kind="merge",
        adapter_path=str(trained / "adapter"),
        merge=schema.MergeSettings(dtype="float32"),
    )
    assert finetune("merge", merge) == 0
    found = {"merged": merge / schema.MERGED_FOLDER}
    for name in ("f32", "q8_0"):
        settings = schema.ExportSettings.model_validate(
            {"name": "m", "quantisation": name, "check": False}
        )
        folder = write_run(place / name, found["merged"], dataset, kind="export", export=settings)
        assert finetune("export", folder) == 0
        found[name] = folder / schema.EXPORTED_FOLDER / "m.gguf"
    return found


def check(
    folder: Path, base: Path, dataset: Path, trained: Path, *places: Path, **more: Any
) -> schema.ParityReport:
    """Compare merged folders and .gguf files; returns the report."""
    targets = [
        schema.ParityTarget(
            name=f"form-{number}",
            kind="exported" if each.suffix == ".gguf" else "merged",
            path=str(each),
        )
        for number, each in enumerate(places)
    ]
    settings = {"targets": targets, "prompts": asked(), "held_out": 0, **more}
    run = write_run(
        folder,
        base,
        dataset,
        kind="parity",
        adapter_path=str(trained / "adapter"),
        parity=schema.ParitySettings.model_validate(settings),
    )
    assert finetune("parity", run) == 0
    return schema.read_document(run / schema.PARITY_FILE, schema.ParityReport)


def test_exported_models_pass_at_their_precision(
    exported: dict[str, Path], tiny_base: Path, dataset: Path, trained: Path, tmp_path: Path
) -> None:
    places = [exported[each] for each in ("merged", "f32", "q8_0")]
    report = check(tmp_path / "run", tiny_base, dataset, trained, *places)
    arithmetic, merged, f32, q8_0 = report.results
    assert report.passed, [each.reasons for each in report.results]
    # 1e-3 in 32 bits, whoever computes: here, from the files, in llama.cpp
    for each in (arithmetic, merged, f32):
        assert (each.precision, each.bound.mean) == ("float32", 1e-3)
        assert each.mean_difference is not None and each.mean_difference < 1e-3
        assert each.log_probabilities and each.ties == 0
    assert (f32.engine, q8_0.precision) == ("llama.cpp", "q8_0")
    assert f32.template_fingerprint == fingerprint_of(CHATML)
    assert q8_0.mean_difference is not None
    assert 1e-3 < q8_0.mean_difference < BOUNDS["q8_0"].mean
    assert f32.places > 50


def test_another_template_and_another_model_in_the_file_are_named(
    exported: dict[str, Path], tiny_base: Path, dataset: Path, trained: Path, tmp_path: Path
) -> None:
    content = exported["f32"].read_bytes()
    told, other = b"assistant\n{% endif", b"assistant:{% endif"
    assert content.count(told) == 1
    (tmp_path / "template.gguf").write_bytes(content.replace(told, other))
    (tmp_path / "broken.gguf").write_bytes(content[: len(content) // 2])
    (tmp_path / "no.gguf").write_bytes(b"GGUF and nothing else")
    base = write_run(
        tmp_path / "base",
        tiny_base,
        dataset,
        kind="export",
        export=schema.ExportSettings(name="base", quantisation="f32", check=False),
    )
    assert finetune("export", base) == 0
    places = [tmp_path / f"{each}.gguf" for each in ("template", "broken", "no")]
    places.append(base / schema.EXPORTED_FOLDER / "base.gguf")
    report = check(tmp_path / "run", tiny_base, dataset, trained, *places)
    _arithmetic, template, broken, nothing, untrained = report.results
    assert codes(template)[:2] == ["template", "prompt"]
    wanted = CHATML.replace("assistant\n{% endif", "assistant:{% endif")
    assert template.reasons[0].values["found"] == fingerprint_of(wanted)
    assert codes(broken) == codes(nothing) == ["broken"]
    assert codes(untrained) == ["difference", "greedy"]
    assert untrained.diverging is not None and untrained.diverging.prompt == "town-0"


def test_a_server_that_never_says_it_is_ready_is_given_up(
    exported: dict[str, Path],
    tiny_base: Path,
    dataset: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = (sys.executable, "-c", "import sys; sys.stdin.read()")
    monkeypatch.setattr("finetune.parity_gguf.PROGRAM", silent)
    report = check(
        tmp_path / "run", tiny_base, dataset, trained, exported["f32"], ready_seconds=0.3
    )
    assert codes(only(report)) == ["silent"]
