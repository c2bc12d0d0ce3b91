"""What others do in datasets_benchmark.py: the verdict on structure, and exact duplicates, of one
file of chats. Imports nothing of ours, and is run by a Python that has the peers.

python datasets_peer.py json|datasets|polars FILE
"""

import hashlib
import json
import sys
import tempfile
from typing import Any

ROLES = {"system", "user", "assistant"}


def good(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and messages[-1]["role"] == "assistant"
        and all(
            each["role"] in ROLES and isinstance(each["content"], str) and each["content"].strip()
            for each in messages
        )
    )


def digest(messages: Any) -> bytes:
    return hashlib.blake2b(json.dumps(messages).encode(), digest_size=8).digest()


def with_json(path: str) -> tuple[int, int]:
    usable, seen = 0, set()
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            messages = json.loads(line)["messages"]
            usable += good(messages)
            seen.add(digest(messages))
    return usable, usable - len(seen)


def with_datasets(path: str) -> tuple[int, int]:
    import datasets

    def check(batch: dict[str, Any]) -> dict[str, Any]:
        return {
            "good": [good(each) for each in batch["messages"]],
            "digest": [digest(each) for each in batch["messages"]],
        }

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache)
        told = rows.map(check, batched=True, num_proc=2, remove_columns=["messages"])
        usable = sum(told["good"])
        return usable, usable - len(set(told["digest"]))


def with_polars(path: str) -> tuple[int, int]:
    import polars

    rows = polars.scan_ndjson(path)
    each = polars.element()
    messages = polars.col("messages")
    fine = (
        (messages.list.len() > 0)
        & (messages.list.last().struct.field("role") == "assistant")
        & messages.list.eval(
            each.struct.field("role").is_in(list(ROLES))
            & (each.struct.field("content").str.strip_chars().str.len_bytes() > 0)
        ).list.all()
    )
    told = rows.select(fine.alias("good"), messages.hash().alias("digest")).collect()
    usable = int(told["good"].sum())
    return usable, usable - told["digest"].n_unique()


def main() -> None:
    do = {"json": with_json, "datasets": with_datasets, "polars": with_polars}[sys.argv[1]]
    usable, duplicates = do(sys.argv[2])
    print(f"{usable:,} usable, {duplicates:,} duplicates")


if __name__ == "__main__":
    main()
