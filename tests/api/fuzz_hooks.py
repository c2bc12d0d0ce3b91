"""Hooks of schemathesis: now and then a field that names something names what is really there, so
that requests come further than `there is no job …`. Loaded by SCHEMATHESIS_HOOKS."""

import hashlib
import json
from typing import Any

import schemathesis

from tests import seeded

JOBS = [seeded.RUNNING, seeded.SUCCEEDED, seeded.PAUSED, seeded.QUEUED, seeded.HOSTED_DONE]
MODELS = [seeded.NEWEST_MODEL, seeded.OLDER_MODEL, seeded.MERGED_MODEL, seeded.HOSTED_MODEL]
KNOWN: dict[str, list[Any]] = {
    "job": JOBS,
    "job_id": JOBS,
    "status": JOBS,
    "model": MODELS,
    "name": [*MODELS, "town", seeded.SCHEDULE],
    "first": [*MODELS, "town"],
    "second": [*MODELS, "town@first"],
    "dataset": ["town", "town@first"],
    "file": ["pairs.jsonl", seeded.UPLOADED],
    "files": [["pairs.jsonl"]],
    "path": ["pairs.jsonl"],
    "source": ["pairs.jsonl"],
    "file_id": [seeded.UPLOADED],
    "training_file": [seeded.UPLOADED],
    "schedule": [seeded.SCHEDULE],
    "persona_id": [seeded.PERSONA],
    "promotion": ["promo-1", "promo-2", "promo-3"],
    "operation": ["prepare.run", "train.start"],
    "key": ["SOPHIA_WINDOW_DAYS", "SOPHIA_TARGETS"],
    "base": [seeded.BASE],
}


def _chance(name: str, given: Any) -> int:
    """The same for the same value, so that a run can be repeated by its seed."""
    text = json.dumps([name, given], default=str, sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def _known(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    found = dict(values)
    for name in values:
        chance = _chance(name, values)
        if name in KNOWN and chance % 4:  # one of four keeps what was made up
            found[name] = KNOWN[name][chance // 4 % len(KNOWN[name])]
    return found


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    if context.operation.path.endswith("/jobs/watch"):  # which waits for the job's end otherwise
        return {**_known(query or {}), "timeout_seconds": 0.2}
    return _known(query)


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    return _known(path_parameters)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _known(body)
