"""A tokenizer as llama.cpp reads it: tokens, merges or scores, special tokens, chat template.

How llama.cpp cuts a text before it merges is compiled in, under names; which one is meant is
recognised by the tokenizer's own rules, and where none is, nothing is written: a model whose text
is cut otherwise than in training answers worse, and nobody sees why.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from finetune.failures import Refused

if TYPE_CHECKING:
    from gguf import GGUFWriter

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LOWER, _UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_NO_LETTER = r"[^\r\n\p{L}\p{N}]?"
#: llama.cpp's name by how a text is cut, step by step.
_CUTS: dict[tuple[str, ...], str] = {
    ("bytes and words",): "gpt-2",
    ("digits", "bytes and words"): "smollm",
    (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}", "bytes"): "llama-bpe",
    (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}|{_REST}", "bytes"): "qwen2",
    (
        rf"{_NO_LETTER}{_UPPER}*{_LOWER}+|{_NO_LETTER}{_UPPER}+{_LOWER}*|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "bytes",
    ): "tekken",
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "▁"


@dataclass
class Vocabulary:
    """What stands in the file; `types` are gguf.TokenType's numbers."""

    model: Literal["gpt2", "llama"]
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    space_before: bool = False
    first: bool = False
    last: bool = False


def vocabulary_of(tokenizer: Any, rows: int) -> Vocabulary:
    """The vocabulary of a fast tokenizer, filled up to the `rows` that the embeddings have.

    Raises Refused 522 for a tokenizer that llama.cpp has no like of.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _unknown(f"{type(tokenizer).__name__} is no fast tokenizer.")
    content = json.loads(backend.to_str())
    model = content["model"]
    if model["type"] != "BPE":
        raise _unknown(f"Its model is {model['type']}.")
    tokens, types = _tokens(content, tokenizer, rows)
    merges = [each.split(" ", 1) if isinstance(each, str) else each for each in model["merges"]]
    if model.get("byte_fallback"):
        found = Vocabulary("llama", "default", tokens, types)
        found.scores = _scores(tokens, merges)
        found.space_before = _spaced(content)
    else:
        found = Vocabulary("gpt2", _cut(content), tokens, types)
        found.merges = [" ".join(pair) for pair in merges]
    ids = tokenizer("a")["input_ids"]
    found.first = bool(ids) and ids[0] == tokenizer.bos_token_id
    found.last = bool(ids) and ids[-1] == tokenizer.eos_token_id
    return found


def _unknown(why: str) -> Refused:
    return Refused(
        522,
        "The model's tokenizer can't be written for llama.cpp.",
        why,
        "Serve the merged model as it is, or convert it by llama.cpp's own program.",
    )


def _tokens(content: dict[str, Any], tokenizer: Any, rows: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    by_id = {number: text for text, number in content["model"]["vocab"].items()}
    kinds: dict[int, TokenType] = {}
    for added in content.get("added_tokens") or ():
        by_id[added["id"]] = added["content"]
        kinds[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    if max(by_id, default=0) >= rows:
        raise _unknown(f"It has token {max(by_id)}, and the embeddings have {rows} rows.")
    fallback = bool(content["model"].get("byte_fallback"))
    tokens, types = [], []
    for number in range(rows):
        text = by_id.get(number)
        if text is None:
            tokens.append(f"[PAD{number}]")
            types.append(int(TokenType.UNUSED))
            continue
        kind = kinds.get(number, TokenType.NORMAL)
        if fallback and _BYTE.fullmatch(text):
            kind = TokenType.BYTE
        elif fallback and text == content["model"].get("unk_token"):
            kind = TokenType.UNKNOWN
        tokens.append(text)
        types.append(int(kind))
    return tokens, types


def _scores(tokens: list[str], merges: list[list[str]]) -> list[float]:
    """SentencePiece merges what scores highest; its own scores are the order of merging, negative.
    A token that no merge makes comes last."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(each, len(merges))) for each in tokens]


def _steps(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _cut(content: dict[str, Any]) -> str:
    normaliser = [each["type"] for each in _steps(content.get("normalizer"), "normalizers")]
    if normaliser not in ([], ["NFC"]):
        raise _unknown(f"It changes texts by {', '.join(normaliser)}.")
    steps: list[str] = []
    for step in _steps(content.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
            steps.append("bytes and words" if step.get("use_regex", True) else "bytes")
        elif step["type"] == "Digits" and step["individual_digits"]:
            steps.append("digits")
        elif step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
            steps.append(str(step["pattern"].get("Regex") or step["pattern"]))
        else:
            steps.append(json.dumps(step, sort_keys=True))
    name = _CUTS.get(tuple(steps))
    if name is None:
        raise _unknown(f"It cuts texts by: {' then '.join(steps)[:300]}.")
    return name


def _spaced(content: dict[str, Any]) -> bool:
    """Whether a space is set before a text; raises Refused where it is changed in another way."""
    before = False
    for step in _steps(content.get("normalizer"), "normalizers"):
        if step == {"type": "Prepend", "prepend": _SPACE}:
            before = True
        elif step["type"] != "Replace" or step.get("content") != _SPACE:
            raise _unknown(f"It changes texts by {step['type']}.")
    for step in _steps(content.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] != "Metaspace" or step.get("split"):
            raise _unknown(f"It cuts texts by {step['type']}.")
        before = step.get("prepend_scheme", "always") != "never"
    return before


def write_vocabulary(
    writer: GGUFWriter, tokenizer: Any, found: Vocabulary, ends: list[int]
) -> None:
    """`ends` are the tokens that end an answer, by the model's generation config."""
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.model == "gpt2":
        writer.add_token_merges(found.merges)
    else:
        writer.add_token_scores(found.scores)
    writer.add_add_space_prefix(found.space_before)
    writer.add_add_bos_token(found.first)
    writer.add_add_eos_token(found.last)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    others = [each for each in ends if each != tokenizer.eos_token_id]
    for add, end in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(end)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.get_chat_template())
