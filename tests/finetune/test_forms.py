"""The prompt form that was trained goes with the adapter: to evaluation, answers, merge, server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.examples import encode_whole
from finetune.readers import read_lines
from finetune.recipe import CRITIQUE_SYSTEM_MESSAGE
from finetune.templates import ALPACA_TEMPLATE, PLAIN_TEMPLATE, render, set_template
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest, write_run
from tests.finetune.tiny_model import CHATML, answer, build_tokenizer, pairs, question, write_lines

HOSTILE = "It's \"so\": C:\\new\ttab\r\nline {{ 7 * 7 }} {% raw %} 'é' 😀"
FORMS: dict[str, dict[str, Any]] = {
    "chat": {"prompt_form": "chat_template"},
    "opened": {"prompt_form": "chat_template", "system_message": HOSTILE},
    "plain": {"prompt_form": "plain"},
    "alpaca": {"prompt_form": "alpaca"},
    "alpaca opened": {"prompt_form": "alpaca", "system_message": "Below is an instruction."},
    "critique": {"prompt_form": "critique"},
}
CHAT = [{"role": "user", "content": "Olá?"}, {"role": "assistant", "content": "Bom dia."}]


def critique_row(town: str, goods: str) -> dict[str, Any]:
    """A line of the critique form, with the fields that are not trained on."""
    return {
        "id": f"towns_{town}",
        "category": "towns",
        "prompt": question(town),
        "response_initial": "I am not sure.",
        "critique": f"[VERITAS] Known: {goods}.\n[SOPHIA] Say it.\n[DIKE] Fair.",
        "response_revised": answer(town, goods),
        "reasoning": "It is so.",
        "values_applied": ["verdade"],
        "difficulty": "easy",
    }


@pytest.fixture(scope="module")
def critiques(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("critiques")
    rows = [critique_row(*pair) for pair in pairs()]
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "valid.jsonl", rows[:4])
    return folder


@pytest.fixture(scope="module", params=FORMS)
def trained_so(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    dataset: Path,
    critiques: Path,
) -> Path:
    """A short training in one of the forms."""
    recipe = {**FORMS[request.param], "max_steps": 2, "sequence_length": 512}
    data = critiques if request.param == "critique" else dataset
    run = write_run(tmp_path_factory.mktemp("form") / "run", tiny_base, data, recipe)
    assert finetune("train", run) == 0
    return run


def trained_text(run: Path, chat: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """What the training of this run made of a chat."""
    recipe = schema.load_run_spec(run).recipe
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHATML
    set_template(tokenizer, recipe.prompt_form, recipe.opening)
    return render(tokenizer, chat, prompt=prompt)


def test_the_merged_folder_renders_byte_for_byte_what_was_trained(
    make_run: MakeRun, trained_so: Path
) -> None:
    from transformers import AutoTokenizer

    # run.yaml of a merge need not know the form: it lies beside the adapter.
    run = make_run(kind="merge", adapter_path=str(trained_so / "adapter"))
    assert finetune("merge", run) == 0
    tokenizer = AutoTokenizer.from_pretrained(run / "merged")
    for chat in (CHAT, [{"role": "system", "content": "Own."}, *CHAT, *CHAT]):
        for prompt in (False, True):
            told = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
            assert told == trained_text(trained_so, chat, prompt=prompt)
    assert manifest(run).template_fingerprint == manifest(trained_so).template_fingerprint
    assert manifest(run).prompt_form == manifest(trained_so).prompt_form


def test_answers_and_scores_use_the_adapters_form(
    make_run: MakeRun, trained_so: Path, dataset: Path
) -> None:
    data = schema.load_run_spec(trained_so).dataset_path
    run = make_run(
        kind="evaluate",
        adapter_path=str(trained_so / "adapter"),
        dataset_path=data,
        recipe={"sequence_length": 512},
        evaluation=schema.EvaluationSettings(prompt_count=1, max_new_tokens=2),
    )
    assert finetune("evaluate", run) == 0
    assert manifest(run).template_fingerprint == manifest(trained_so).template_fingerprint
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    assert report.examples_truncated == 0
    recipe = schema.load_run_spec(trained_so).recipe
    told = {event.data["reason"] for event in events(run, "warning")}
    assert told == (
        set()
        if recipe.opening is None and recipe.prompt_form == "chat_template"
        else {"adapter_form"}
    )


def test_every_form_is_told_in_the_manifest(trained_so: Path) -> None:
    recipe, found = schema.load_run_spec(trained_so).recipe, manifest(trained_so)
    assert (found.prompt_form, found.system_message) == (recipe.prompt_form, recipe.opening)
    own = found.template is not None
    assert own == (recipe.prompt_form != "chat_template" or recipe.opening is not None)
    text = (trained_so / "adapter" / "chat_template.jinja").read_bytes().decode()
    assert found.template in (text, None)


def test_a_system_message_is_text_to_the_template() -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHATML
    set_template(tokenizer, "chat_template", HOSTILE)
    assert render(tokenizer, CHAT).startswith(f"<|im_start|>system\n{HOSTILE}<|im_end|>\n")


@pytest.mark.parametrize("start", ["\n", "  ", "\n  {% set x = 1 %}\n"])
def test_what_the_base_template_begins_with_stays(start: str) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = start + CHATML
    own = [{"role": "system", "content": "Own."}, *CHAT]
    before = render(tokenizer, own)
    set_template(tokenizer, "chat_template", "Ours.")
    assert render(tokenizer, own) == before
    assert render(tokenizer, CHAT) == before.replace("Own.", "Ours.")


def test_the_critique_is_a_part_of_the_answer_and_learnt(critiques: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHATML
    set_template(tokenizer, "critique", schema.Recipe(prompt_form="critique").opening)
    row = next(read_lines(critiques / "train.jsonl", "critique")).row
    assert row is not None
    found = encode_whole(tokenizer, row.messages)
    town, goods = pairs()[0]
    asked = (
        f"<|im_start|>system\n{CRITIQUE_SYSTEM_MESSAGE}<|im_end|>\n"
        f"<|im_start|>user\n{question(town)}<|im_end|>\n<|im_start|>assistant\n"
    )
    told = (
        f"[ANÁLISE INTERNA]\n[VERITAS] Known: {goods}.\n[SOPHIA] Say it.\n[DIKE] Fair.\n"
        f"[FIM DA ANÁLISE]\n\n{answer(town, goods)}<|im_end|>"
    )
    assert found.text == f"{asked}{told}\n"
    learnt = [token for token, flag in zip(found.ids, found.mask, strict=True) if flag]
    assert tokenizer.decode(learnt) == told


def test_in_another_form_a_critique_line_teaches_the_revised_answer_alone(critiques: Path) -> None:
    row = next(read_lines(critiques / "train.jsonl", "chat_template")).row
    assert row is not None
    assert row.messages[-1]["content"] == answer(*pairs()[0])


def test_the_alpaca_form_is_the_documents_own() -> None:
    tokenizer = build_tokenizer()
    set_template(tokenizer, "alpaca")
    text = render(tokenizer, [{"role": "user", "content": "Do."}], prompt=True)
    assert text == "<|im_start|>### Instruction:\nDo.\n\n### Response:\n"
    whole = render(tokenizer, CHAT)
    assert whole.endswith("### Response:\nBom dia.<|im_end|>\n\n")


@pytest.mark.parametrize(("form", "text"), [("alpaca", ALPACA_TEMPLATE), ("plain", PLAIN_TEMPLATE)])
def test_the_forms_said_in_full_are_what_stands_beside_the_adapter(
    make_run: MakeRun, form: str, text: str
) -> None:
    run = make_run(recipe={"prompt_form": form, "max_steps": 1})
    assert finetune("train", run) == 0
    assert (run / "adapter" / "chat_template.jinja").read_text() == text
    record = json.loads((run / "adapter" / "prompt_form.json").read_text())
    assert record["template_fingerprint"] == manifest(run).template_fingerprint


def test_an_adapter_whose_form_was_tampered_with_is_refused(
    make_run: MakeRun, trained: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "copied"
    shutil.copytree(trained / "adapter", adapter)
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    run = make_run(kind="merge", adapter_path=str(adapter))
    assert finetune("merge", run) == schema.EXIT_FAILED
    assert events(run, "state")[-1].data["code"] == "FINETUNE-213"


def test_an_adapter_of_before_takes_the_form_of_run_yaml(
    make_run: MakeRun, trained: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "older"
    shutil.copytree(trained / "adapter", adapter)
    (adapter / "prompt_form.json").unlink()
    run = make_run(
        kind="generate",
        adapter_path=str(adapter),
        recipe={"prompt_form": "alpaca"},
        evaluation=schema.EvaluationSettings(prompts=["Hi?"], max_new_tokens=2),
    )
    assert finetune("generate", run) == 0
    assert manifest(run).template == ALPACA_TEMPLATE
