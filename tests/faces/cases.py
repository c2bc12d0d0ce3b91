"""A sensible request for each operation, on the store that tests/seeded.py makes.

An operation without an entry fails test_every_operation.py: whoever adds one adds its case here.
Times are said, so that an answer does not depend on when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import seeded


@dataclass(frozen=True)
class Case:
    """`error` is the code that is the right answer on this store; `changes` names the tables whose
    rows change, the audit aside. `left_out` is the reason why the operation is not performed here,
    and says where it is."""

    request: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    changes: tuple[str, ...] = ()
    left_out: str = ""


PERIOD = {"since": "2026-11-20T00:00:00-03:00", "until": "2026-11-25T12:00:00-03:00"}

CASES: dict[str, Case] = {
    "overview.show": Case(),
    "overview.meanwhile": Case({"since": "2026-11-20T00:00:00-03:00"}),
    "setup.check": Case(),
    # no services are here; tests/integration/test_services.py has some
    "setup.services": Case(error="SOPHIA-S387"),
    "setup.restart": Case({"unit": "sophia-worker"}, error="SOPHIA-S387"),
    # this is no server; tests/integration/test_setup_steps.py runs some
    "setup.apply": Case({"step": "health"}, error="SOPHIA-S421"),
    "setup.test": Case({"finetune_dir": "finetune", "finetune_base": "./nowhere"}),
    # tests/integration/test_setup_begin.py writes
    "setup.begin": Case(error="SOPHIA-S422"),
    "setup.validate": Case({"key": "SOPHIA_WINDOW_DAYS", "value": "0"}),
    "setup.usage": Case(),
    "setup.bundle": Case(),
    "setup.backups": Case(),
    "setup.backup": Case(
        {"secrets": False},
        left_out="The archive's name, size and sum are of its moment; "
        "tests/integration/test_backup.py makes and restores some.",
    ),
    "setup.restore": Case({"file": "sophia-none.tar.zst"}, error="SOPHIA-S404"),
    "setup.prune": Case({"checkpoint_days": 0, "event_days": 0}),
    "collect.run": Case({**PERIOD, "what": ["qa_cache", "feedback_pairs"]}),
    "source.inspect": Case(),
    "prepare.run": Case({"name": "town", "seed": 5}, changes=("dataset_versions",)),
    "prepare.convert": Case({"source": "pairs.jsonl", "to": "conversations"}),
    "prepare.repair": Case({"suspected": True}),
    "prepare.clean": Case({"name": "clean", "seed": 5}, changes=("dataset_versions",)),
    "prepare.preview": Case({"rows": 3, "shown": 1, "seed": 5}),
    "prepare.split": Case(
        {"dataset": "town", "split": "90/10", "seed": 5}, changes=("dataset_versions",)
    ),
    "prepare.duplicates": Case({"path": "pairs.jsonl", "limit": 5}),
    "prepare.contradictions": Case({"path": "pairs.jsonl", "limit": 5}),
    "prepare.advice": Case({"conversations": 1200, "usd": 600.0, "people": "yes"}),
    "prepare.report": Case({"files": ["pairs.jsonl"], "also": ["tokens"]}),
    "prepare.inspect": Case({"files": ["pairs.jsonl"], "again": True}),
    "prepare.issues": Case({"code": ["no_question"], "limit": 3}),
    "prepare.browse": Case({"file": "pairs.jsonl", "line": 3, "count": 2, "chars": 100}),
    "prepare.search": Case({"file": "pairs.jsonl", "text": "office 1", "limit": 4}),
    "prepare.edit": Case(
        {"file": "pairs.jsonl", "line": 2, "record": '{"question": "Who?", "answer": "Ana."}'}
    ),
    "prepare.undo": Case({"file": "pairs.jsonl"}),
    # nothing was edited; tests/integration/test_browse.py saves
    "prepare.save": Case({"file": "pairs.jsonl", "to": "edited.jsonl"}, error="SOPHIA-D584"),
    "prepare.gate": Case({"dataset": "town", "seed": 7}),
    "datasets.list": Case({"match": "town", "sort": "rows_kept"}),
    "datasets.show": Case({"dataset": "town"}),
    "datasets.rejected": Case({"dataset": "town", "code": "duplicate", "limit": 1}),
    "datasets.rows": Case({"dataset": "town", "part": "valid", "text": "office 5", "limit": 2}),
    "prepare.versions": Case({"name": "town", "deleted": True}),
    "prepare.diff": Case({"first": seeded.OLD_VERSION, "second": "town", "limit": 3}),
    "prepare.holds": Case({"person": "customers:2; name:office 17"}),
    "prepare.forget": Case(
        {"person": "qa_cache:k0042; name:office 17"}, changes=("dataset_versions",)
    ),
    # no model is named here; tests/hosted/test_vary.py asks one
    "prepare.vary": Case({"file": "pairs.jsonl", "model": "writer"}, error="SOPHIA-J510"),
    "datasets.tag": Case(
        {"dataset": "town", "tag": "approved", "protect": True}, changes=("dataset_tags",)
    ),
    "datasets.untag": Case({"dataset": "town@first"}, changes=("dataset_tags",)),
    "datasets.export": Case({"dataset": "town@first", "part": "valid", "compression": "zst"}),
    # one that a job does not wait for is deleted by tests/integration/test_versions.py
    "datasets.delete": Case({"dataset": "town"}, error="SOPHIA-D555"),
    "train.start": Case(
        {
            "dataset": "town",
            "base": seeded.BASE,
            "max_steps": 5,
            "learning_rate": 0.0003,
            "accept_few": True,
        },
        changes=("jobs",),
    ),
    "train.plan": Case(
        {"dataset": "town", "base": seeded.BASE, "change": ["batch_size=1"], "budget": 20.0}
    ),
    # no base is here; tests/integration/test_train_before.py shows real previews
    "train.preview": Case(
        {"dataset": "town", "base": "./nowhere", "limit": 2}, error="SOPHIA-J431"
    ),
    "train.checklist": Case({"job": seeded.SUCCEEDED}),
    "finetune.run": Case({"base": seeded.BASE}, changes=("dataset_versions", "jobs")),
    "files.add": Case({"path": "pairs.jsonl"}, changes=("uploaded_files",)),
    "files.list": Case({"purpose": "fine-tune", "limit": 3}),
    "files.show": Case({"file": seeded.UPLOADED}),
    "files.delete": Case({"file": seeded.UPLOADED}, changes=("uploaded_files",)),
    "tuning.create": Case(
        {
            "file": seeded.UPLOADED,
            "model": seeded.BASE,
            "n_epochs": 1,
            "suffix": "town",
            "metadata": '{"team": "desk"}',
        },
        changes=("dataset_versions", "jobs"),
    ),
    "tuning.list": Case({"limit": 3}),
    "tuning.show": Case({"job": seeded.SUCCEEDED}),
    "tuning.events": Case({"job": seeded.RUNNING, "limit": 3}),
    "tuning.checkpoints": Case({"job": seeded.RUNNING}),
    "adaptive.start": Case({"source": "table"}, changes=("dataset_versions", "jobs")),
    "adaptive.status": Case(),
    "adaptive.cancel": Case(error="SOPHIA-J621"),
    "personas.handshake": Case(
        {"persona": '{"name": "guide", "version": "1"}'}, changes=("personas",)
    ),
    "personas.list": Case(),
    "personas.show": Case({"persona_id": seeded.PERSONA}),
    "personas.tune": Case(
        {"persona_id": seeded.PERSONA, "training_data": '[{"input": "When?", "output": "At 9."}]'},
        changes=("persona_pairs",),
    ),
    "jobs.list": Case({"match": "town@", "sort": "created_at", "limit": 3}),
    "jobs.show": Case({"job": seeded.SUCCEEDED}),
    "jobs.events": Case({"job": seeded.RUNNING, "after": 3, "limit": 5}),
    "jobs.curve": Case({"job": seeded.RUNNING, "series": ["loss", "learning_rate"], "points": 10}),
    "jobs.settings": Case({"job": seeded.SUCCEEDED}),
    "jobs.compare": Case({"jobs": [seeded.SUCCEEDED, seeded.RUNNING], "points": 5}),
    "jobs.checkpoints": Case({"job": seeded.SUCCEEDED}),
    "jobs.log": Case({"job": seeded.FAILED, "match": "re:^state", "lines": 5}),
    "jobs.watch": Case({"job": seeded.PAUSED}),
    "jobs.cancel": Case({"job": seeded.PAUSED}, changes=("jobs", "job_events")),
    "jobs.pause": Case({"job": seeded.QUEUED}, changes=("jobs",)),
    "jobs.resume": Case({"job": seeded.PAUSED}, changes=("jobs",)),
    "jobs.queue": Case({"limit": 3}),
    "jobs.move": Case({"job": seeded.QUEUED, "to": "first"}),
    "schedules.list": Case({"sort": "name"}),
    "schedules.add": Case(
        {
            "operation": "prepare.run",
            "every": "30 2 1 * *",
            "options": ["name=town", "seed=5"],
            "timezone": "UTC",
            "name": "monthly-town",
        },
        changes=("schedules",),
    ),
    "schedules.change": Case(
        {"schedule": seeded.SCHEDULE, "every": "monthly", "seen_version": 1}, changes=("schedules",)
    ),
    "schedules.remove": Case({"schedule": seeded.SCHEDULE}, changes=("schedules",)),
    "schedules.run-now": Case({"schedule": seeded.SCHEDULE}, changes=("schedules",)),
    "evaluate.run": Case(
        {"model": seeded.NEWEST_MODEL, "prompts": ["When do you open?", "Where?"], "limit": 4},
        changes=("jobs",),
    ),
    "evaluate.show": Case({"model": seeded.OLDER_MODEL}),
    "evaluate.list": Case({"model": seeded.NEWEST_MODEL, "limit": 5}),
    "evaluate.compare": Case({"first": seeded.OLDER_MODEL, "second": seeded.NEWEST_MODEL}),
    "evaluate.report": Case({"model": seeded.NEWEST_MODEL, "second": seeded.OLDER_MODEL}),
    "evaluate.roi": Case(
        {
            "messages": 10_000,
            "tokens_in_before": 500,
            "tokens_out_before": 300,
            "tokens_in_after": 400,
            "tokens_out_after": 250,
            "price_in_before": 0.03,
            "price_out_before": 0.06,
            "price_in_after": 0.012,
            "price_out_after": 0.016,
        }
    ),
    "prices.list": Case(),
    "models.list": Case({"kind": ["adapter", "base"], "match": "SOPHIA", "sort": "id"}),
    "models.lineage": Case({"model": seeded.MERGED_MODEL, "text": "office 5", "limit": 2}),
    "models.note": Case(
        {"model": seeded.NEWEST_MODEL, "text": "Answers well."}, changes=("model_remarks",)
    ),
    "models.state": Case(
        {
            "model": seeded.NEWEST_MODEL,
            "state": "conditional",
            "reason": "Good enough for the desk.",
            "condition": ["only desk questions"],
            "until": "2027-01-31",
            "seen_version": 1,
        },
        changes=("model_remarks", "models"),
    ),
    "models.history": Case({"model": seeded.NEWEST_MODEL, "limit": 5}),
    "models.production": Case({"at": "2026-11-24T12:00:00-03:00"}),
    "models.verify": Case({"model": seeded.NEWEST_MODEL}, changes=("models",)),
    "models.show": Case({"model": seeded.MERGED_MODEL}),
    # nothing was measured here; tests/integration/test_model_gate.py seeds evaluations
    "models.gate": Case({"model": seeded.MERGED_MODEL}, changes=("model_checks",)),
    # no provider is asked here; tests/hosted/test_calendar.py asks a stand-in
    "models.calendar": Case(),
    # a base is trained on this machine alone; tests/hosted/test_succession.py goes the whole way
    "models.succeed": Case(
        {"model": "gpt-4o-mini", "answers": "cache", "days": 36500, "prompts": 5, "seed": 7},
        changes=("successions", "golden_answers"),
    ),
    "models.succession": Case(),
    "models.delete": Case({"model": seeded.OLDER_MODEL}, error="SOPHIA-J610"),
    # no provider is named here; tests/hosted/test_provider_service.py asks one
    "provider.delete": Case({"model": seeded.HOSTED_MODEL}, error="SOPHIA-J510"),
    "provider.check": Case({"base": "gpt-4o-mini"}, error="SOPHIA-J510"),
    "provider.files": Case(error="SOPHIA-J510"),
    "provider.remove": Case({"file": "file-abc"}, error="SOPHIA-J510"),
    "models.merge": Case({"model": seeded.OLDER_MODEL}, changes=("jobs",)),
    # its merged files are not there; tests/integration/test_model_parity.py has real ones
    "models.parity": Case({"model": seeded.OLDER_MODEL}, error="SOPHIA-M563"),
    "models.alike": Case({"model": seeded.NEWEST_MODEL}, error="SOPHIA-M564"),
    # adapters alone: no merged model of the seeded ones is whole
    "models.export": Case({"model": seeded.OLDER_MODEL, "adapter": True}, changes=("jobs",)),
    # tests/integration/test_upload.py asks with a token, and lists what would be sent
    "models.upload": Case({"model": seeded.HOSTED_MODEL, "to": "ana/towns"}, error="SOPHIA-M531"),
    # a model that can be served would start an engine: the tests of serving do that
    "serve.model": Case({"model": seeded.HOSTED_MODEL}, error="SOPHIA-M435"),
    # nobody answers at API_URL here; tests/integration/test_serving.py asks a real engine
    "serve.ask": Case({"name": seeded.NEWEST_MODEL, "question": "When?"}, error="SOPHIA-M456"),
    "serve.list": Case({"all": True, "limit": 2}),
    "serve.show": Case({"name": seeded.NEWEST_MODEL}),
    "serve.stop": Case({"name": seeded.NEWEST_MODEL}, changes=("deployments",)),
    # that the model is asked first is shown by tests/integration/test_promotion_probe.py
    "promote.run": Case(
        {"model": seeded.OLDER_MODEL, "probe": False, "override": "It answers well enough."},
        changes=("promotions", "model_remarks"),
    ),
    "promote.rollback": Case({"promotion": "promo-3", "probe": False}, changes=("promotions",)),
    # tests/integration/test_promotion_kill.py leaves some half done
    "promote.repair": Case(),
    "promote.confirm": Case({"promotion": "promo-3"}, error="SOPHIA-P085"),
    "promote.history": Case({"limit": 2}),
    "monitor.show": Case({**PERIOD, "model": seeded.NEWEST_MODEL}),
    "notifications.list": Case({"limit": 5}),
    # tests/integration/test_notifications.py sends to real servers
    "notifications.test": Case(error="SOPHIA-T433"),
    "settings.list": Case({"match": "hours", "sort": "key"}),
    "settings.set": Case({"key": "SOPHIA_WINDOW_DAYS", "value": "14"}, changes=("settings",)),
    "settings.unset": Case({"key": "SOPHIA_IDLE_HOURS"}, changes=("settings",)),
    "env.list": Case({"all": True}),
    "env.set": Case(
        left_out="It makes a file that all others would read; tests/integration/test_env.py sets."
    ),
    "env.unset": Case({"key": "OPENAI_BASE_URL"}, error="SOPHIA-S445"),
    "env.declare": Case(
        left_out="It is root's alone, at the command line; tests/integration/test_env.py does it."
    ),
    "env.undeclare": Case(
        left_out="It is root's alone, at the command line; tests/integration/test_env.py does it."
    ),
    "audit.list": Case({"match": "done"}),
    "audit.changes": Case(
        {"operation": "settings.set", "target": "SOPHIA_WINDOW_DAYS", "since": 0}
    ),
    "store.status": Case(),
    "store.start": Case(),
    "store.stop": Case(error="SOPHIA-S032"),  # a server that is not Sophia's own
    "store.migrate": Case(),
    "samples.load": Case(error="SOPHIA-S320"),
    "demo.run": Case(left_out="It trains for minutes; tests/unit/test_demo.py performs it."),
}
