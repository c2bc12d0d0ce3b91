"""`parity`: every form of a model held against its base with the adapter, into parity.json.

The reference is base and adapter in 32 bits: their greedy answers, and the log-probability of each
token of them. A form that computes here, and llama.cpp, are led along these answers, so that one
other token does not spoil what follows; a served model is asked in chats, as its clients do.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.answers import (
    Prompt,
    batches,
    end_tokens,
    greedy_tokens,
    template_of,
    warn_if_foreign,
    with_adapter,
)
from finetune.bases import Base, load_base
from finetune.examples import prompt_ids
from finetune.failures import BadRequest, DataFailure
from finetune.files import sha256_of
from finetune.measures import held_out_sample
from finetune.parity_bounds import bound_for
from finetune.parity_compare import Forced, Reference, Tally
from finetune.parity_gguf import along, check_template, precision_of, served_alone
from finetune.parity_http import Client, Trouble
from finetune.parity_served import Served
from finetune.parity_weights import WeightsFound, compare_weights
from finetune.readers import dataset_folder
from finetune.runner import RunContext
from finetune.speed import choose_threads
from finetune.templates import Template, TemplateRefuses, fingerprint_of, render
from finetune.train import run_facts

log = logging.getLogger(__name__)

PROMPTS_FILE = Path(__file__).parent / "prompts" / "parity.jsonl"
#: The key that a served model's front wants; the environment is the only way in.
KEY_VARIABLE = "SOPHIA_MODEL_TOKEN"
#: The engine's name where it is llama.cpp's server, and its names of precisions.
LLAMA = "llamacpp"
LLAMA_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_HELD_OUT_TOKENS = 24
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.*", "chat_template.jinja", "*form.json")


def parity(context: RunContext) -> dict[str, Any]:
    """Compare as run.yaml says; returns the data of the result event."""
    key = os.environ.pop(KEY_VARIABLE, None)  # no process of ours but this one needs it
    spec, asked = context.spec, context.spec.parity
    if spec.adapter_path is None or not asked.targets:
        raise BadRequest(
            101,
            "There is nothing to compare.",
            "run.yaml has no adapter_path, or no parity.targets.",
            "Name the adapter, and the forms of it that are to answer alike.",
        )
    context.progress("load", 0, 0, force=True)
    base = load_base(context, exact=True)
    template = template_of(context, base.tokenizer)
    warn_if_foreign(context, base, template)
    threads = choose_threads(spec.threads, base.device)
    context.journal.state("running", device=str(base.device), **threads)
    model = with_adapter(context, base)
    prompts, left_out = _prompts(context, base, template)
    references = _refer(context, base, model, prompts)
    bench = Bench(context, base, references, trained_template(context, template))
    results = [bench.arithmetic(model.merge_and_unload(safe_merge=True))]
    merged = [each for each in asked.targets if each.kind == "merged"]
    weights = {each.name: bench.weights(each) for each in merged}
    bench.drop_weights()
    results += [bench.merged(each, weights[each.name]) for each in merged]
    results += [bench.exported(each) for each in asked.targets if each.kind == "exported"]
    results += [bench.served(each, key) for each in asked.targets if each.kind == "served"]
    bench.done()
    report = schema.ParityReport(
        job_id=spec.job_id,
        base=spec.base,
        adapter_path=spec.adapter_path,
        seed=spec.recipe.seed,
        prompts=len(references),
        prompts_left_out=left_out,
        answer_tokens=sum(len(each.answer) for each in references),
        template_fingerprint=bench.template,
        adapter_files=_seen(
            path for each in _ADAPTER_FILES for path in Path(spec.adapter_path).glob(each)
        ),
        results=results,
        passed=all(each.passed for each in results),
        seconds=round(context.elapsed(), 1),
    )
    schema.write_document(context.folder / schema.PARITY_FILE, report)
    manifest = schema.RunManifest(
        **run_facts(context, base, template), threads=torch.get_num_threads()
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {
        "parity": schema.PARITY_FILE,
        "passed": report.passed,
        "prompts": report.prompts,
        "forms": [
            each.model_dump(mode="json", include={"name", "kind", "passed", "mean_difference"})
            for each in results
        ],
    }


def trained_template(context: RunContext, template: Template) -> str:
    """The fingerprint of the template that the adapter was trained with: its manifest's, else that
    of the record beside it."""
    path = Path(context.spec.adapter_path or "").expanduser().parent / schema.MANIFEST_FILE
    try:
        return schema.read_document(path, schema.RunManifest).template_fingerprint
    except schema.ContractError as error:
        log.info("no word on the adapter's training: %s", error)
        return template.fingerprint


def shipped_prompts() -> list[schema.ParityPrompt]:
    """The prompts that come along: two languages, system messages, code, signs, long ones."""
    lines = PROMPTS_FILE.read_text(encoding="utf-8").splitlines()
    return [schema.ParityPrompt.model_validate_json(line) for line in lines if line.strip()]


def _prompts(
    context: RunContext, base: Base, template: Template
) -> tuple[list[schema.ParityPrompt], list[str]]:
    """The prompts that the model can be asked, and the ids of those that it can't."""
    spec, asked = context.spec, context.spec.parity
    found = shipped_prompts() if asked.prompts is None else list(asked.prompts)
    if spec.dataset_path is not None and asked.held_out:
        path = dataset_folder(spec) / schema.VALID_FILE
        sample = (
            held_out_sample(path, asked.held_out, spec.recipe.seed, template.prompt_form)
            if path.is_file()
            else []
        )
        found += [_held_out(each.line, [*each.earlier], each.question) for each in sample]
    room = getattr(base.model.config, "max_position_embeddings", None) or 1 << 30
    chosen: list[schema.ParityPrompt] = []
    left_out: list[str] = []
    for prompt in found:
        try:
            ids = prompt_ids(base.tokenizer, _messages(prompt))
        except TemplateRefuses:
            left_out.append(prompt.id)
            continue
        if len(ids) + prompt.max_new_tokens <= room:
            chosen.append(prompt)
        else:
            left_out.append(prompt.id)
    if not chosen:
        raise DataFailure(
            203,
            "There is no prompt that the model could be asked.",
            "Its context is too short for all of them, or its template refuses them.",
            "Put some of your own into run.yaml, as parity.prompts.",
        )
    return chosen, left_out


def _held_out(line: int, earlier: list[dict[str, Any]], question: str) -> schema.ParityPrompt:
    said = [
        schema.ParityMessage(role=each["role"], content=each["content"])
        for each in earlier
        if each["role"] in ("system", "user", "assistant") and isinstance(each["content"], str)
    ]
    messages = [*said, schema.ParityMessage(role="user", content=question)]
    return schema.ParityPrompt(
        id=f"valid-{line}", messages=messages, max_new_tokens=_HELD_OUT_TOKENS
    )


def _messages(prompt: schema.ParityPrompt) -> list[dict[str, Any]]:
    return [each.model_dump() for each in prompt.messages]


def _refer(
    context: RunContext, base: Base, model: Any, prompts: Sequence[schema.ParityPrompt]
) -> list[Reference]:
    """The greedy answers of base and adapter, and how likely each token of them is."""
    asked = [
        Prompt(
            number,
            each.messages[-1].content,
            each.max_new_tokens,
            ("after",),
            earlier=tuple(_messages(each)[:-1]),
        )
        for number, each in enumerate(prompts)
    ]
    answers: dict[int, list[int]] = {}
    for batch in batches(base.tokenizer, asked):
        context.progress("answer", len(answers), len(asked))
        for prompt, tokens in zip(batch, greedy_tokens(context, base, model, batch), strict=True):
            answers[prompt.number] = tokens
    found = []
    for number, each in enumerate(prompts):
        context.ears.check()
        messages = _messages(each)
        ids = prompt_ids(base.tokenizer, messages)
        found.append(
            Reference(
                id=each.id,
                question=each.messages[-1].content,
                messages=tuple(messages),
                max_new_tokens=each.max_new_tokens,
                prompt_text=render(base.tokenizer, messages, prompt=True),
                prompt_ids=tuple(ids),
                answer=tuple(answers[number]),
                forced=forced(model, base.model, ids, answers[number]),
            )
        )
    context.progress("answer", len(asked), len(asked), force=True)
    return found


def forced(model: Any, plain: Any, prompt: Sequence[int], answer: Sequence[int]) -> Forced:
    """What a model says along a given answer, in 32 bits. `plain` is the model without what peft
    puts around it."""
    named = inspect.signature(plain.forward).parameters
    more: dict[str, Any] = {"logits_to_keep": len(answer)} if "logits_to_keep" in named else {}
    ids = torch.tensor([[*prompt, *answer[:-1]]], device=plain.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False, **more).logits[0, -len(answer) :].float()
        values = logits.log_softmax(-1)
        best = values.topk(2, -1)
        chosen = values.gather(1, torch.tensor(answer, device=plain.device)[:, None])[:, 0]
    return Forced(
        tuple(chosen.tolist()),
        tuple(best.indices[:, 0].tolist()),
        tuple((best.values[:, 0] - best.values[:, 1]).tolist()),
    )


class Bench:
    """Holds each form of the model against the references."""

    def __init__(
        self, context: RunContext, base: Base, references: list[Reference], template: str
    ) -> None:
        self.template = template
        self._context = context
        self._asked = context.spec.parity
        self._references = references
        self._tokenizer = base.tokenizer
        self._ends = frozenset(end_tokens(base))
        self._exact: Any = None
        self._done = 0
        self._total = len(references) * (1 + len(self._asked.targets))

    def arithmetic(self, merged: Any) -> schema.ParityResult:
        """Base and adapter made one model here, in 32 bits: whether adding them changes anything
        but the last digits. What comes of it is what the files must hold."""
        self._exact = merged
        result, tally = self._begun("base+adapter", "arithmetic", "float32", "transformers")
        self._lead(tally, merged)
        return self._ended(result, tally, log_probabilities=True)

    def done(self) -> None:
        """Every part was compared; where one broke off, its rest needs no more."""
        self._context.progress("compare", self._total, self._total, force=True)

    def weights(self, target: schema.ParityTarget) -> WeightsFound | Trouble:
        """Whether each number of the files is the right one."""
        self._context.progress("check", self._done, self._total)
        try:
            return compare_weights(Path(target.path), self._exact.state_dict())
        except Exception as error:  # safetensors has errors of its own
            return Trouble(
                "broken",
                f"its files can't be read ({type(error).__name__})",
                kind=type(error).__name__,
            )

    def drop_weights(self) -> None:
        """Give the memory of base and adapter back."""
        self._exact = None

    def merged(
        self, target: schema.ParityTarget, weights: WeightsFound | Trouble
    ) -> schema.ParityResult:
        """A folder that the merge wrote, loaded as any program would load it."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = Path(target.path)
        precision = "unknown" if isinstance(weights, Trouble) else weights.precision
        result, tally = self._begun(target.name, "merged", precision, "transformers", folder)
        if isinstance(weights, Trouble):
            tally.reasons.append(weights.reason)
            return self._ended(result, tally)
        _object_to_weights(tally, weights)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True
            ).eval()
        except Exception as error:  # transformers has an error for each way of being broken
            kind = type(error).__name__
            tally.object("broken", f"it can't be loaded ({kind})", kind=kind)
            return self._ended(result, tally)
        found = self._template_of(tokenizer, tally)
        self._lead(tally, model, tokenizer)
        return self._ended(
            result,
            tally,
            log_probabilities=True,
            template_fingerprint=found,
            weights_checked=weights.checked,
        )

    def exported(self, target: schema.ParityTarget) -> schema.ParityResult:
        """A .gguf file, by llama.cpp's server in a process of its own."""
        path = Path(target.path)
        try:
            precision, trouble = judged_precision(target), None
        except Trouble as told:
            precision, trouble = "unknown", told
        result, tally = self._begun(target.name, "exported", precision, "llama.cpp", path)
        if trouble is not None:
            tally.reasons.append(trouble.reason)
            return self._ended(result, tally)
        if importlib.util.find_spec("xllamacpp") is None:
            tally.object("no_engine", "llama.cpp (the package xllamacpp) is not installed here")
            return self._ended(result, tally)
        found = None
        longest = max(len(each.prompt_ids) + len(each.answer) for each in self._references)
        try:
            with served_alone(
                path,
                longest + 8,
                self._context.folder,
                self._asked.ready_seconds,
                self._asked.seconds,
                self._context.ears.check,
            ) as client:
                found = check_template(client, self._references, self.template, tally)
                for asked in self._references:
                    self._step()
                    tally.along(asked, *along(client, asked))
        except Trouble as told:
            tally.reasons.append(told.reason)
        return self._ended(result, tally, log_probabilities=True, template_fingerprint=found)

    def served(self, target: schema.ParityTarget, key: str | None) -> schema.ParityResult:
        """A name that is served, asked over HTTP where its clients ask."""
        path = Path(target.path)
        try:
            precision = judged_precision(target)
        except Trouble:
            precision = "unknown"  # what the engine has loaded may be whole all the same
        result, tally = self._begun(
            target.name, "served", precision, target.engine or "unknown", path
        )
        found, log_probabilities = None, False
        try:
            if target.engine == LLAMA and target.engine_address is not None:
                engine = Client(target.engine_address, self._asked.seconds, engine_key(target))
                found = check_template(engine, self._references, self.template, tally)
            elif (path / "tokenizer_config.json").is_file():
                found = self._template_beside(path, tally)
            served = Served(
                Client(target.address or "", self._asked.seconds, key), target.name, self._ends
            )
            try:
                served.ask_all(self._references, tally, lambda _number: self._step())
            finally:
                log_probabilities = bool(served.log_probabilities)
        except Trouble as told:
            tally.reasons.append(told.reason)
        return self._ended(
            result, tally, log_probabilities=log_probabilities, template_fingerprint=found
        )

    def _begun(
        self,
        name: str,
        kind: schema.ParityKind,
        precision: str,
        engine: str,
        path: Path | None = None,
    ) -> tuple[schema.ParityResult, Tally]:
        bound = bound_for(precision, self._asked.bounds)
        result = schema.ParityResult(
            name=name,
            kind=kind,
            precision=precision,
            engine=engine,
            path=None if path is None else str(path),
            bound=bound,
            log_probabilities=False,
            files={} if path is None else _seen(path.iterdir() if path.is_dir() else [path]),
        )
        return result, Tally(bound, self._decode)

    def _ended(self, result: schema.ParityResult, tally: Tally, **more: Any) -> schema.ParityResult:
        judged = tally.judged(result.model_copy(update=more))
        log.info("%s %s: %s", judged.kind, judged.name, "passed" if judged.passed else "failed")
        return judged

    def _lead(self, tally: Tally, model: Any, tokenizer: Any = None) -> None:
        """Lead a model along the references; with a tokenizer of its own it reads the prompts by
        that."""
        for asked in self._references:
            self._step()
            ids = asked.prompt_ids
            if tokenizer is not None:
                ids = tuple(_own_ids(tokenizer, asked))
                if ids != asked.prompt_ids and not tally.read_otherwise:
                    tally.read_otherwise = True
                    tally.object(
                        "prompt",
                        f"it reads prompt {asked.id} as {len(ids)} tokens, which are not the "
                        f"{len(asked.prompt_ids)} in the form of the training",
                        prompt=asked.id,
                        tokens=len(ids),
                        wanted=len(asked.prompt_ids),
                    )
            told = forced(model, model, ids or asked.prompt_ids, asked.answer)
            tally.along(asked, told.values, told.tops)

    def _template_of(self, tokenizer: Any, tally: Tally) -> str | None:
        """The fingerprint of the template that a tokenizer brings."""
        text = tokenizer.get_chat_template() if tokenizer.chat_template else None
        found = None if text is None else fingerprint_of(text)
        if found != self.template:
            tally.object(
                "template",
                f"its chat template is {(found or 'none')[:12]}, the training's was "
                f"{self.template[:12]}",
                found=found,
                wanted=self.template,
            )
        return found

    def _template_beside(self, folder: Path, tally: Tally) -> str | None:
        """The same for the folder of an engine that can't be asked for it."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            kind = type(error).__name__
            raise Trouble("broken", f"its tokenizer can't be read ({kind})", kind=kind) from None
        return self._template_of(tokenizer, tally)

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _step(self) -> None:
        self._context.ears.check()
        self._context.progress("compare", self._done, self._total)
        self._done += 1


def _own_ids(tokenizer: Any, asked: Reference) -> list[int]:
    """The prompt as this tokenizer reads it; nothing where its template refuses it."""
    try:
        return prompt_ids(tokenizer, [dict(each) for each in asked.messages])
    except (TemplateRefuses, ValueError):
        return []


def _object_to_weights(tally: Tally, found: WeightsFound) -> None:
    if found.right:
        return
    if found.wrong:
        what = (
            f"{found.wrong} of {found.checked} numbers are not base plus adapter; the first is "
            f"{found.tensor}{list(found.place)}: {found.stored:.6g}, wanted {found.wanted:.6g}"
        )
    else:
        names = [*found.missing, *found.unknown]
        what = f"{len(names)} tensors are missing, unknown or of another shape: {names[0]}"
    tally.object(
        "weights",
        what,
        wrong=found.wrong,
        checked=found.checked,
        tensor=found.tensor or next(iter((*found.missing, *found.unknown)), ""),
        place=list(found.place),
        stored=found.stored,
        wanted=found.wanted,
        tensors=len(found.missing) + len(found.unknown),
    )


def judged_precision(target: schema.ParityTarget) -> str:
    """The coarsest of what its numbers went through: the merged model that a .gguf file was written
    from, its own files, an engine's copy of them, and llama.cpp's cache of keys and values there,
    which has 16 bits. Raises Trouble for a .gguf file that can't be read."""
    path = Path(target.path)
    found = [precision_of(path) if path.suffix == ".gguf" else stored_precision(path)]
    found += [target.made_of] if target.made_of else []
    if target.kind == "served" and target.engine == LLAMA:
        told = _json(Path(target.engine_folder or "") / "served.json").get("precision")
        found += ["float16", LLAMA_PRECISIONS.get(str(told), str(told))]
    known = [each for each in found if each != "unknown"] or found
    return max(known, key=lambda each: bound_for(each, {}).mean)


def engine_key(target: schema.ParityTarget) -> str | None:
    """What an engine of ours wants from who asks it beside its front; it stands in its folder."""
    key = _json(Path(target.engine_folder or "") / "engine.json").get("key")
    return key if isinstance(key, str) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def stored_precision(folder: Path) -> str:
    """The precision that a model's folder says of itself."""
    config = _json(folder / "config.json")
    found = config.get("dtype") or config.get("torch_dtype")
    return found if isinstance(found, str) else "unknown"


def _seen(paths: Any) -> Mapping[str, schema.ParityFile]:
    """Files as they are now, by name."""
    found = sorted(path for path in paths if path.is_file())
    return {
        path.name: schema.ParityFile(
            bytes=path.stat().st_size,
            modified_ns=path.stat().st_mtime_ns,
            sha256=sha256_of(path),
        )
        for path in found
    }
