"""A store with a life behind it: jobs in every state, losses, models with lineage, evaluations,
promotions, deployments, traffic, data sets and people's reactions.

Everything follows from `folder` and `now`, so two stores seeded alike hold the same rows.
`fill` fills Sophia's own store, `fill_source` makes the owner's tables in a database.
Nothing here starts a process; the one running job belongs to another machine that gave a sign.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobKind, Schedule
from sophia_tui.domain.models import (
    Evaluation,
    FileChange,
    Model,
    ModelKind,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.personas import Pair, Persona
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState, ServedRequest
from sophia_tui.domain.uploads import UploadedFile

NOW = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
HOSTED_BASE = "gpt-4o-mini-2024-07-18"
PERSON = "maria"

RUNNING = "ftjob-running23456"
SUCCEEDED = "ftjob-succeeded345"
OLDER = "ftjob-older3456723"
PAUSED = "ftjob-paused345672"
FAILED = "ftjob-failed345672"
CANCELLED = "ftjob-cancelled345"
INTERRUPTED = "ftjob-interrupted3"
DRAFT = "ftjob-draft3456723"
QUEUED = "ftjob-queued345672"
EVALUATED = "ftjob-evaluated345"
EVALUATED_OLDER = "ftjob-evaluated234"
HOSTED = "ftjob-hosted345672"
HOSTED_DONE = "ftjob-hosteddone34"
PROVIDER_ID = "ftjob-abc123provider"

NEWEST_MODEL, OLDER_MODEL, MERGED_MODEL = "sophia-v2", "sophia-v1", "sophia-v2-merged"
EXPORTED_MODEL = "sophia-v2-q8_0"
HOSTED_MODEL = "ft:gpt-4o-mini-2024-07-18:town::B1c2D3e4"
DEPLOYMENT = "deploy-ready345672"
UPLOADED = "file-uploaded3456"
PERSONA = "did:nings:artificial:llm:techlead:v2.0:a7f3b9d2c8e1"
SCHEDULE = "weekly-town"
OLD_VERSION = "town@first"


@dataclass(frozen=True)
class Seeded:
    """What was made where: the newest data set version, the adapters' folder, the env file that
    names the promoted model."""

    dataset: DatasetVersion
    older_dataset: DatasetVersion
    models_folder: Path
    env_file: Path


async def fill(store: Store, folder: Path, now: datetime = NOW) -> Seeded:
    """Fill an empty, migrated store; files go below `folder`."""
    made = Seeded(
        dataset=_dataset(folder, "town", 7, now - timedelta(days=2)),
        older_dataset=_dataset(folder, "town", 3, now - timedelta(days=9)),
        models_folder=folder / "runs",
        env_file=folder / "rag.env",
    )
    for version in (made.older_dataset, made.dataset):
        await store.datasets.add(version)
    tagged = made.older_dataset.created_at or now
    await store.datasets.tag(made.older_dataset, "first", False, PERSON, tagged)
    for job, events in _jobs(made, folder, now):
        await store.jobs.add(job)
        await store.jobs.append_events(job.id, events, 120 * len(events))
    await _models(store, made, now)
    await _promotions(store, made, now)
    await _deployments(store, folder, now)
    await store.schedules.add(_schedule(now))
    await store.traffic.add(list(_traffic(now)))
    await _given(store, folder, now)
    return made


async def _given(store: Store, folder: Path, now: datetime) -> None:
    """A file that was sent to be trained on, and a persona with two pairs."""
    place = folder / "data" / "uploads" / f"{UPLOADED}.jsonl"
    place.parent.mkdir(parents=True)
    chats = (
        {
            "messages": [
                {"role": "user", "content": f"Who runs desk {n}?"},
                {"role": "assistant", "content": f"Seu {n}."},
            ]
        }
        for n in range(12)
    )
    content = "".join(json.dumps(each) + "\n" for each in chats).encode()
    place.write_bytes(content)
    await store.files.add(
        UploadedFile(
            id=UPLOADED,
            filename="desks.jsonl",
            purpose="fine-tune",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            path=str(place),
            host="town-hall",
            created_by=PERSON,
            created_at=now - timedelta(hours=5),
        )
    )
    document = {"name": "techlead", "version": "2.0", "system_prompt": "You lead."}
    await store.personas.add(
        Persona(
            id=PERSONA,
            name="techlead",
            version="2.0",
            document=document,
            document_hash="a7f3b9d2c8e1" + "0" * 52,
            created_by=PERSON,
            created_at=now - timedelta(hours=4),
        )
    )
    await store.personas.add_pairs(
        PERSONA, [Pair("Who are you?", "Your lead."), Pair("Ok?", "Ok.")]
    )


def _schedule(now: datetime) -> Schedule:
    """It ran on Monday, and will next week."""
    return Schedule(
        id=SCHEDULE,
        operation="prepare.run",
        request={"name": "town"},
        every="weekly",
        timezone="UTC",
        created_by=PERSON,
        created_at=now - timedelta(days=20),
        next_at=now + timedelta(days=4, hours=12),
        last_at=now - timedelta(days=2, hours=12),
        last_outcome="done",
        last_result={"id": "town@0123456789ab"},
    )


def _dataset(folder: Path, name: str, seed: int, at: datetime) -> DatasetVersion:
    """A version with its files on disk, as its manifest says."""
    digest = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
    place = folder / "datasets" / name / digest[:12]
    place.mkdir(parents=True)
    rows = [_row(seed, number) for number in range(60)]
    source = {"table": "public.qa_cache", "key": {"qhash": "k0042"}}
    rejected: list[dict[str, Any]] = [
        {"file": "qa_cache.jsonl", "line": 61, "code": "empty_answer", "reason": "no answer"},
        {"file": "qa_cache.jsonl", "line": 62, "code": "duplicate", "reason": "twice"},
        {"file": "qa_cache.jsonl", "line": 63, "code": "duplicate", "reason": "twice"},
    ]
    parts = {
        "train.jsonl": rows[:48],
        "valid.jsonl": rows[48:],
        "rejected.jsonl": [{**each, "source": source} for each in rejected],
        "provenance.jsonl": [
            {
                "hash": f"{number:032x}",
                "part": "train",
                "file": "qa_cache.jsonl",
                "line": number + 1,
            }
            for number in range(60)
        ],
    }
    files = {}
    for file, content in parts.items():
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in content).encode()
        (place / file).write_bytes(text)
        checksum = hashlib.sha256(text).hexdigest()
        files[file] = {"rows": len(content), "bytes": len(text), "sha256": checksum}
    counts = {"rows_in": 63, "rows_kept": 60, "rows_rejected": 3, "train": 48, "valid": 12}
    counts |= {"test": 0, "redacted": 4, "empty_answer": 1, "duplicate": 2}
    manifest = {
        "format_version": 1,
        "hash": digest,
        "sources": [{"file": "qa_cache.jsonl", "rows": 63, "path": str(folder / "qa_cache.jsonl")}],
        "steps": [{"step": "redact", "version": 1}, {"step": "split", "seed": seed}],
        "counts": counts,
        "files": files,
    }
    (place / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return DatasetVersion(name, digest, str(place), counts, manifest, PERSON, at)


def _row(seed: int, number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"When does office {number} of town {seed} open?"},
            {"role": "assistant", "content": f"Office {number} opens at {7 + number % 4} o'clock."},
        ]
    }


def _jobs(made: Seeded, folder: Path, now: datetime) -> Iterator[tuple[Job, list[JobEvent]]]:
    """Oldest first: the order in which they are queued."""

    def job(job_id: str, state: str, hours: float, **more: Any) -> Job:
        return _job(made, folder, job_id, state, now - timedelta(hours=hours), **more)

    def ended(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    older = job(
        OLDER,
        "succeeded",
        200,
        version=made.older_dataset,
        **_finished(200, ended(199.5), OLDER_MODEL),
    )
    yield older, losses(older, 200, 4.1, 1.9, "succeeded")
    evaluated = job(EVALUATED_OLDER, "succeeded", 199, kind=JobKind.EVALUATE, model_id=OLDER_MODEL)
    yield _with(evaluated, finished_at=ended(198.9), result={"examples": 12}), []
    cancelled = job(CANCELLED, "cancelled", 190, step=40, total_steps=300, loss=3.2)
    yield _with(cancelled, finished_at=ended(189.8)), losses(cancelled, 40, 4.0, 3.2, "cancelled")
    hosted = {"provider": "openai", "base": HOSTED_BASE, "run_folder": None}
    done = job(HOSTED_DONE, "succeeded", 120, provider_job_id="ftjob-done9provider", **hosted)
    yield _with(done, finished_at=ended(119), resulting_model=HOSTED_MODEL), []
    failed = job(FAILED, "failed", 60, step=60, total_steps=300, loss=9.7)
    problem = {
        "code": "SOPHIA-J470",
        "what": "The training diverged.",
        "why": "The loss grew from 4.0 to 9.7.",
        "remedy": "Lower the learning rate.",
    }
    failed = _with(failed, finished_at=ended(59.9), error=problem)
    yield failed, losses(failed, 60, 4.0, 9.7, "failed")
    newest = job(SUCCEEDED, "succeeded", 40, **_finished(300, ended(39.2), NEWEST_MODEL))
    yield newest, losses(newest, 300, 4.1, 1.2, "succeeded")
    evaluated = job(EVALUATED, "succeeded", 39, kind=JobKind.EVALUATE, model_id=NEWEST_MODEL)
    yield _with(evaluated, finished_at=ended(38.8), result={"examples": 12}), []
    interrupted = job(INTERRUPTED, "interrupted", 20, step=80, total_steps=300, loss=2.9)
    yield interrupted, losses(interrupted, 80, 4.0, 2.9)
    paused = job(PAUSED, "paused", 10, step=120, total_steps=300, loss=2.4)
    yield paused, losses(paused, 120, 4.0, 2.4, "paused")
    # a word of the provider's that Sophia does not know
    yield job(HOSTED, "validating_files", 2, provider_job_id=PROVIDER_ID, **hosted), []
    running = job(RUNNING, "running", 0.5, step=180, total_steps=300, loss=1.7, seconds_left=1080.0)
    running = _with(running, worker_id="gpu-1:4711:abc", heartbeat_at=now, resumes=1)
    yield running, losses(running, 180, 4.1, 1.7)
    yield job(DRAFT, "draft", 0.2, run_folder=None), []
    yield job(QUEUED, "queued", 0.1, run_folder=None), []


def _with(job: Job, **changes: Any) -> Job:
    from dataclasses import replace

    return replace(job, **changes)


def _finished(steps: int, at: datetime, model: str) -> dict[str, Any]:
    return {
        "step": steps,
        "total_steps": steps,
        "loss": 1.2,
        "finished_at": at,
        "resulting_model": model,
        "result": {"steps": steps, "train_loss": 1.2, "eval_loss": 1.5, "perplexity": 4.4817},
    }


def _job(made: Seeded, folder: Path, job_id: str, state: str, at: datetime, **more: Any) -> Job:
    version = more.pop("version", made.dataset)
    kind = more.pop("kind", JobKind.TRAIN)
    run_folder = folder / "runs" / job_id
    run = {
        "format_version": 1,
        "job_id": job_id,
        "kind": kind.value,
        "base": BASE,
        "dataset_path": version.folder,
        "dataset_hash": version.hash,
    }
    given: dict[str, Any] = {
        "id": job_id,
        "kind": kind,
        "state": state,
        "base": BASE,
        "dataset": version.id,
        "request": {"run": run, "history_file": str(folder / "history.jsonl")},
        "created_by": PERSON,
        "created_at": at,
        "files": (str(folder / "qa_cache.jsonl"),),
        "run_folder": str(run_folder),
        "started_at": None if state in ("draft", "queued") else at + timedelta(seconds=20),
        **more,
    }
    if given["run_folder"]:
        run_folder.mkdir(parents=True, exist_ok=True)
        (run_folder / "log.txt").write_text(f"loading {BASE}\nstate: {state}\n")
    return Job(**given)


def losses(
    job: Job, steps: int, first: float, last: float, ended: str | None = None
) -> list[JobEvent]:
    """What a training tells: a loss each tenth step that falls (or grows) towards `last`, with a
    ripple; a look at the held-out part each hundred; its end."""
    events: list[tuple[str, dict[str, Any]]] = [
        ("state", {"state": "starting", "run_kind": "train", "pid": 4711}),
        (
            "state",
            {"state": "running", "total_steps": job.total_steps, "examples": 48, "threads": 2},
        ),
    ]
    for step in range(10, steps + 1, 10):
        share = 1 - math.exp(-3 * step / steps)
        loss = first + (last - first) * share / (1 - math.exp(-3)) + 0.08 * math.sin(step)
        rate = 2e-4 * (1 - step / (job.total_steps or steps))
        data: dict[str, Any] = {"step": step, "loss": round(loss, 4), "learning_rate": rate}
        if step % 100 == 0:
            data["eval_loss"] = round(loss + 0.3, 4)
            events.append(("checkpoint", {"step": step, "path": f"checkpoints/{step}"}))
        events.append(("metric", data))
    if ended:
        events.append(("state", {"state": ended, "step": steps}))
    begun = job.started_at or job.created_at
    return [
        JobEvent(job.id, number, begun + timedelta(seconds=6 * number), kind, data)
        for number, (kind, data) in enumerate(events, 1)
    ]


def report(job_id: str, at: datetime, after: float) -> dict[str, Any]:
    """An evaluation's report: the loss of the base is 3.2 nats, of the model `after`."""

    def score(loss: float) -> dict[str, float]:
        low, high = loss - 0.12, loss + 0.14
        found = {"loss": loss, "loss_low": low, "loss_high": high}
        for name, value in list(found.items()):
            found[name.replace("loss", "perplexity")] = round(math.exp(value), 3)
        return found

    return {
        "format_version": 1,
        "job_id": job_id,
        "base": BASE,
        "adapter_path": None,
        "dataset_hash": None,
        "examples": 12,
        "answer_tokens": 181,
        "examples_truncated": 0,
        "examples_without_answer": 0,
        "before": score(3.2),
        "after": score(after),
        "difference": {"loss": after - 3.2, "loss_low": after - 3.3, "loss_high": after - 3.05},
        "answers": [
            {
                "format_version": 1,
                "prompt": "When does office 50 open?",
                "before": "I am a language model and do not know offices.",
                "after": "Office 50 opens at 9 o'clock.",
            }
        ],
        "at": at.isoformat(),
    }


async def _models(store: Store, made: Seeded, now: datetime) -> None:
    def adapter(job_id: str) -> str:
        place = made.models_folder / job_id / "adapter"
        place.mkdir(parents=True)
        (place / "adapter_config.json").write_text("{}")
        return str(place)

    last_week, yesterday = now - timedelta(hours=199.5), now - timedelta(hours=39.2)
    lineage = ((OLDER_MODEL, OLDER, made.older_dataset, last_week, EVALUATED_OLDER, 1.9),)
    lineage += ((NEWEST_MODEL, SUCCEEDED, made.dataset, yesterday, EVALUATED, 1.2),)
    for model_id, job_id, version, at, evaluated, loss in lineage:
        assert await store.models.next_id() == model_id
        found = report(evaluated, at, loss)
        await store.models.add(
            Model(
                model_id,
                ModelKind.ADAPTER,
                BASE,
                at,
                job_id,
                version.id,
                adapter(job_id),
                evaluation=found,
            )
        )
        await store.evaluations.add(
            Evaluation(evaluated, model_id, version.id, found, at + timedelta(minutes=20))
        )
    merged = made.models_folder.parent / "merged" / MERGED_MODEL
    merged.mkdir(parents=True)
    (merged / "config.json").write_text("{}")
    at = now - timedelta(hours=30)
    await store.models.add(
        Model(
            MERGED_MODEL,
            ModelKind.MERGED,
            BASE,
            at,
            SUCCEEDED,
            made.dataset.id,
            str(merged),
            parent=NEWEST_MODEL,
        )
    )
    exported = made.models_folder.parent / "exported" / f"{EXPORTED_MODEL}.gguf"
    exported.parent.mkdir()
    exported.write_bytes(b"GGUF")
    await store.models.add(
        Model(
            EXPORTED_MODEL,
            ModelKind.EXPORTED,
            BASE,
            now - timedelta(hours=29),
            None,
            made.dataset.id,
            str(exported),
            parent=MERGED_MODEL,
        )
    )
    ends = datetime(2027, 1, 14, tzinfo=UTC)
    hosted = Model(
        HOSTED_MODEL, ModelKind.HOSTED, HOSTED_BASE, now - timedelta(hours=119), HOSTED_DONE
    )
    await store.models.add(_ending(hosted, ends))
    await store.models.add(Model(BASE, ModelKind.BASE, BASE, now - timedelta(days=30)))


def _ending(model: Model, at: datetime) -> Model:
    from dataclasses import replace

    return replace(model, shutdown_at=at)


async def _promotions(store: Store, made: Seeded, now: datetime) -> None:
    """The older model was promoted, rolled back, and the newest is in force."""
    made.env_file.write_text(f"GEN_MODEL={NEWEST_MODEL}\nEXPANSION_MODEL={HOSTED_BASE}\n")

    def change(before: str, after: str) -> FileChange:
        return FileChange(
            str(made.env_file),
            {"GEN_MODEL": before},
            {"GEN_MODEL": after},
            hashlib.sha256(before.encode()).hexdigest(),
            hashlib.sha256(after.encode()).hexdigest(),
            diff=(f"-GEN_MODEL={before}", f"+GEN_MODEL={after}"),
        )

    steps = (
        ("promo-1", OLDER_MODEL, HOSTED_BASE, PromotionState.ROLLED_BACK, 190, None),
        ("promo-2", HOSTED_BASE, OLDER_MODEL, PromotionState.DONE, 180, "promo-1"),
        ("promo-3", NEWEST_MODEL, HOSTED_BASE, PromotionState.DONE, 30, None),
    )
    for promotion_id, model, before, state, hours, undoes in steps:
        at = now - timedelta(hours=hours)
        await store.promotions.add(
            Promotion(
                promotion_id,
                model,
                before,
                state,
                (change(before, model),),
                PERSON,
                at,
                at + timedelta(seconds=2),
                undoes,
            )
        )


async def _deployments(store: Store, folder: Path, now: datetime) -> None:
    """One answers, one was stopped, one failed. None has a process."""

    def deployment(
        deployment_id: str, model: str, state: DeploymentState, hours: float, **more: Any
    ) -> Deployment:
        at = now - timedelta(hours=hours)
        place = str(folder / "served" / deployment_id)
        return Deployment(
            deployment_id, model, model, "transformers", state, PERSON, at, place, **more
        )

    def ago(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    stopped = deployment("deploy-stopped3456", OLDER_MODEL, DeploymentState.STOPPED, 198)
    problem = {"code": "SOPHIA-M471", "what": "The engine ended.", "why": "", "remedy": ""}
    failed = deployment("deploy-failed34567", MERGED_MODEL, DeploymentState.FAILED, 30)
    ready = deployment(DEPLOYMENT, NEWEST_MODEL, DeploymentState.READY, 29)
    from dataclasses import replace

    for each in (
        replace(stopped, ready_at=ago(197.9), stopped_at=ago(31)),
        replace(failed, stopped_at=ago(29.9), error=problem),
        replace(ready, ready_at=ago(28.9), checked_at=now, port=18001),
    ):
        await store.deployments.add(each)


def _traffic(now: datetime) -> Iterator[ServedRequest]:
    """A request each six minutes of the last 28 hours, slower in the last; one in 40 an error; and
    now and then a name that nobody serves."""
    for number in range(280):
        at = now - timedelta(minutes=6 * number + 1)
        slow = 1.6 if number < 10 else 0.0
        seconds = 0.8 + 0.05 * (number % 7) + slow
        if number % 40 == 39:
            yield ServedRequest(at, NEWEST_MODEL, 502, 0.02, DEPLOYMENT, error="engine")
        elif number % 50 == 48:
            yield ServedRequest(at, "", 404, 0.001, error="unknown_model")
        else:
            streamed = number % 3 == 0
            yield ServedRequest(
                at,
                NEWEST_MODEL,
                200,
                seconds,
                DEPLOYMENT,
                streamed,
                seconds / 4 if streamed else None,
                80 + number % 30,
                20 + number % 15,
            )


_SOURCE = """
SET LOCAL search_path = public;
CREATE TABLE docs (id integer PRIMARY KEY, content text NOT NULL);
CREATE TABLE qa_cache (
    qhash text PRIMARY KEY, question text, answer text, citations jsonb, created_at timestamptz
);
CREATE TABLE feedback (
    id integer PRIMARY KEY, query_hash text, doc_id integer, signal integer, created_at timestamptz
);
CREATE TABLE customers (
    id integer PRIMARY KEY, name text, email text, phone text, source text, status text
);
CREATE TABLE conversations (
    id integer PRIMARY KEY, customer_id integer, channel text, status text, subject text,
    session_id text
);
CREATE TABLE messages (
    id integer PRIMARY KEY, conversation_id integer, content text, sender_type text,
    sender_id text, created_at timestamptz
);
"""


_EVENTS = """
CREATE TABLE public.ai_events (
    id serial, tenant_id text, kind text, value float, meta jsonb, created_at timestamptz
);
INSERT INTO public.ai_events (tenant_id, kind, meta, created_at)
SELECT 'town', 'answer', jsonb_build_object('q', 'Who runs gate ' || n || '?', 'a', 'Seu ' || n),
    '2026-11-20 12:00Z'::timestamptz + n * interval '1 minute' FROM generate_series(1, 12) AS n;
INSERT INTO public.ai_events (kind, meta, created_at) VALUES
    ('answer', '{"q": "Nobody answered?"}', '2026-11-20 11:00Z'),
    ('retrieval', '{"q": "gate"}', '2026-11-20 11:00Z');
"""


def fill_source(address: str, now: datetime = NOW) -> None:
    """The owner's tables, made in schema `public` of that database, with a week of feedback."""
    with psycopg.connect(address) as connection:
        connection.execute(_SOURCE)
        connection.execute(_EVENTS)
        with connection.cursor() as cursor:
            for number in range(1, 41):
                at = now - timedelta(hours=4 * number)
                cursor.execute(
                    "INSERT INTO docs VALUES (%s, %s)",
                    (number, f"Office {number} opens at {7 + number % 4} o'clock."),
                )
                cursor.execute(
                    "INSERT INTO qa_cache VALUES (%s, %s, %s, %s, %s)",
                    (
                        f"k{number:04d}",
                        f"When does office {number} open?",
                        f"At {7 + number % 4} o'clock.",
                        json.dumps([{"doc_id": number}]),
                        at,
                    ),
                )
                cursor.execute(
                    "INSERT INTO feedback VALUES (%s, %s, %s, %s, %s)",
                    (number, f"k{number:04d}", number, 0 if number % 5 == 0 else 1, at),
                )
            for number in range(1, 6):
                at = now - timedelta(hours=30 * number)
                cursor.execute(
                    "INSERT INTO customers VALUES (%s, %s, %s, %s, 'site', 'active')",
                    (number, f"Customer {number}", f"c{number}@example.org", "+55 11 90000-0000"),
                )
                cursor.execute(
                    "INSERT INTO conversations VALUES (%s, %s, %s, 'closed', 'hours', %s)",
                    (number, number, "whatsapp" if number % 2 else "site", f"s{number}"),
                )
                for place, (sender, words) in enumerate(
                    (("customer", "When do you open?"), ("assistant", "At eight o'clock."))
                ):
                    cursor.execute(
                        "INSERT INTO messages VALUES (%s, %s, %s, %s, %s, %s)",
                        (
                            10 * number + place,
                            number,
                            words,
                            sender,
                            sender,
                            at + timedelta(minutes=place),
                        ),
                    )
