"""What every screen is shown in pictures and pilots: fixed answers of the real operations."""

import json
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from sophia_tui.domain.operations import Output
from sophia_tui.i18n import _
from sophia_tui.services.audit import AuditList, AuditView
from sophia_tui.services.browse_views import BrowseOutput, EditsView, IssueView, RecordView
from sophia_tui.services.calendar_views import CalendarView
from sophia_tui.services.checklists import WORDS
from sophia_tui.services.clean import LeavingRow, PreviewedStep, PreviewOutput, TextChange
from sophia_tui.services.collect import ColumnView, SourceReport, TableView
from sophia_tui.services.datasets import (
    DatasetDetails,
    KeptList,
    KeptRecord,
    RejectedList,
    RejectedRecord,
)
from sophia_tui.services.env_views import EnvChanged, EnvFileView, EnvKeyView, EnvList
from sophia_tui.services.evaluation_rows import MeasureRow
from sophia_tui.services.evaluation_views import (
    AnswerView,
    EvaluationView,
    GradedAnswerView,
    ScoreView,
)
from sophia_tui.services.inspect import (
    Bin,
    DestinationView,
    Distribution,
    FormCount,
    FoundIssue,
    InspectedFile,
    InspectOutput,
    RoleOrder,
)
from sophia_tui.services.job_compare import ComparedJob, DifferenceRow, JobsCompared
from sophia_tui.services.job_curves import CurveRequest, CurveView
from sophia_tui.services.job_settings import JobSettings, SettingRow
from sophia_tui.services.meanwhile import EndedView, MeanwhileView, OthersView
from sophia_tui.services.model_lineage import LineageModel, LineageView
from sophia_tui.services.model_parity_views import ParityView
from sophia_tui.services.model_production import ProductionSpan, ProductionView
from sophia_tui.services.model_states import HappeningView, HistoryView
from sophia_tui.services.monitor import (
    FeedbackDayView,
    FeedbackView,
    LivingView,
    MonitorView,
    NotYetView,
    TrafficPoint,
    TrafficView,
)
from sophia_tui.services.plan_views import (
    CheckItem,
    CheckList,
    PreviewItem,
    PreviewLines,
    PreviewPart,
    TrainPlan,
    TrainPreview,
)
from sophia_tui.services.promotion_views import FileDiff, PromotionList, PromotionView
from sophia_tui.services.quality_gate import GateCheck, GateReport
from sophia_tui.services.schedules import ScheduleList, ScheduleView
from sophia_tui.services.serving import ApiView, DeploymentView, ServeList
from sophia_tui.services.settings import SettingList, SettingView
from sophia_tui.services.setup import CheckView, SetupReport
from sophia_tui.services.setup_begin import AnswersReport, BegunView, ChangeView
from sophia_tui.services.units import ServiceView
from sophia_tui.services.version_views import (
    DiffRow,
    PartDiff,
    SideOfRow,
    StepDiff,
    VersionDiff,
    VersionList,
    VersionView,
)
from sophia_tui.services.views import (
    DatasetList,
    DatasetView,
    EventList,
    EventView,
    JobList,
    ModelFile,
    ModelList,
    ModelView,
)
from tests.tui import stub

NOW = stub.NOW
JOB, DATASET, MODEL = "ftjob-7f2a9c0d1e2f", "ground@0f3a5c9b1d2e", "sophia-v2"


def checks() -> SetupReport:
    """One check in each state, those of a server."""
    return SetupReport(
        ready=False,
        items=[
            CheckView(
                id="store",
                name="Sophia's store",
                state="ok",
                found="Postgres 17.2, < 50 ms",
                detail=["Where: 127.0.0.1:5432/sophia"],
            ),
            CheckView(
                id="base",
                name="Base model",
                state="attention",
                found="none",
                remedy="Set FINETUNE_BASE, or give --base to `sophia train start`.",
            ),
            CheckView(
                id="disk",
                name="Free disk space",
                state="problem",
                found="0.4 GB",
                detail=["/var/lib/sophia: 0.4 GB of 42 GB free"],
                remedy="Free space under /var/lib/sophia.",
                remedy_step="sophia setup prune",
            ),
            CheckView(
                id="services",
                name="Services",
                state="problem",
                found="sophia-worker.service",
                detail=[
                    "sophia-api.service: active (running)",
                    "sophia-worker.service: failed (failed), restarted 3 times",
                ],
                remedy="Set the units up again and start them.",
                remedy_step="units",
            ),
            CheckView(
                id="firewall",
                name="Firewall (UFW)",
                state="unknown",
                found="can't be read without root",
                detail=["The rules can't be read without root: sudo ufw status verbose"],
                remedy="See it by `sudo ufw status verbose`.",
            ),
        ],
    )


def env_keys() -> EnvList:
    path = "/srv/sophia/.env"
    return EnvList(
        files=[EnvFileView(file=path, own=True, writable=True)],
        items=[
            EnvKeyView(file=path, key="OPENAI_API_KEY", value="***", secret=True, known=True),
            EnvKeyView(file=path, key="HTTPS_PROXY", value="***", secret=True),
            EnvKeyView(file="/srv/rag/.env", key="GEN_MODEL", value="sophia-v1"),
        ],
    )


def tested(request: Any) -> AnswersReport:
    """A database with one table; other answers are taken as they are."""
    found = []
    if request.database_url is not None:
        lines = ["qa_cache: public.qa_cache", "feedback: not there (There is no such table.)"]
        found.append(
            CheckView(
                id="source", name="Source database", state="ok", found="qa_cache", detail=lines
            )
        )
    if request.finetune_base == "./nowhere":
        wrong = "./nowhere does not exist"
        found.append(CheckView(id="base", name="Base model", state="problem", found=wrong))
    return AnswersReport(good=all(each.state != "problem" for each in found), items=found)


def begun(request: Any) -> BegunView:
    """The plan of what was answered."""
    items = [
        ChangeView(key=name.upper(), place="/srv/sophia/.env", value="***")
        for name, value in dict(request).items()
        if value is not None
    ]
    return BegunView(written=True, items=items, restart=["sophia-worker.service"])


def tables() -> SourceReport:
    columns = [
        ColumnView(column="qhash", found="text", required=True, usable=True),
        ColumnView(column="citations", found="jsonb", required=False, usable=True),
        ColumnView(
            column="created_at",
            found=None,
            required=True,
            usable=False,
            problem="The column is missing.",
        ),
    ]
    found = TableView(
        table="qa_cache",
        found="public.qa_cache",
        kind="table",
        usable=True,
        rows_estimate=1204,
        columns=columns,
    )
    gone = TableView(table="feedback", usable=False, problem="There is no such table.")
    return SourceReport(items=[found, gone])


def dataset(identifier: str = DATASET) -> DatasetView:
    name, _sign, digest = identifier.partition("@")
    counts = {"rows_in": 301, "rows_kept": 273, "rows_rejected": 28, "redacted": 18}
    counts |= {"duplicate": 9, "last_not_assistant": 19, "train": 218, "valid": 55, "test": 0}
    return DatasetView(
        id=identifier,
        name=name,
        hash=digest * 4,
        folder=f"/data/datasets/{name}/{digest}",
        counts=counts,
        created_by="ana",
        created_at=NOW - timedelta(hours=5),
    )


def manifest() -> dict[str, Any]:
    return {
        "sources": [
            {"file": "qa_cache.jsonl", "rows": 196, "rows_traced": 196, "copy_export": "no"},
            {"file": "conversations.jsonl", "rows": 105, "rows_traced": 38, "copy_export": "no"},
        ],
        "steps": [
            {"step": "redact", "version": 1, "settings": {}},
            {"step": "split", "version": 1, "settings": {"seed": 42, "shares": "80/20"}},
        ],
    }


def rejected() -> RejectedList:
    source = {"table": "public.qa_cache", "key": {"qhash": "16d691b847b4"}}
    items = [
        RejectedRecord(
            file="qa_cache.jsonl", line=105, code="duplicate", reason="As line 104.", source=source
        ),
        RejectedRecord(
            file="conversations.jsonl",
            line=1,
            code="last_not_assistant",
            reason="The last message is not the assistant's.",
        ),
    ]
    return RejectedList(dataset=DATASET, total=28, items=items)


def kept() -> KeptList:
    source = {"table": "public.qa_cache", "key": {"qhash": "851803e05c70"}}
    record = KeptRecord(
        part="train",
        file="qa_cache.jsonl",
        line=63,
        source=source,
        question="How cold is the ripening room?",
        answer="It is kept at 11 degrees.",
    )
    return KeptList(dataset=DATASET, items=[record])


def jobs() -> JobList:
    error = {
        "code": "SOPHIA-J470",
        "what": "The training diverged.",
        "why": "The loss grew from 4.0 to 9.7.",
        "remedy": "Lower the learning rate.",
    }
    return JobList(
        items=[
            stub.job(JOB),
            stub.job("ftjob-6c10aa00bb11", "succeeded", step=500, resulting_model=MODEL),
            stub.job("ftjob-0badcafe0000", "failed", step=60, error=error, seconds_left=None),
        ]
    )


def events(job: str = JOB) -> EventList:
    """A loss that falls, and looks at the held-out part."""
    found = [EventView(number=1, at=NOW, kind="state", data={"state": "running"})]
    for number in range(2, 33):
        data: dict[str, Any] = {"step": number * 10, "loss": round(1.2 + 6 / number, 3)}
        if number % 10 == 0:
            data["eval_loss"] = round(1.5 + 6 / number, 3)
        at = NOW + timedelta(seconds=5 * number)
        found.append(EventView(number=number, at=at, kind="metric", data=data))
    return EventList(job=job, items=found)


def report() -> dict[str, Any]:
    def score(loss: float, perplexity: float) -> dict[str, float]:
        return {
            "loss": loss,
            "loss_low": loss - 0.1,
            "loss_high": loss + 0.1,
            "perplexity": perplexity,
            "perplexity_low": perplexity * 0.9,
            "perplexity_high": perplexity * 1.1,
        }

    return {"before": score(3.2, 24.5), "after": score(1.2, 3.3)}


def evaluation() -> EvaluationView:
    """Measures with and without targets, questions with and without verdicts."""

    def measure(name: str, before: float, after: float, **more: Any) -> MeasureRow:
        return MeasureRow(
            label=name,
            measure=name.lower(),
            before=before,
            after=after,
            difference=after - before,
            **more,
        )

    return EvaluationView(
        model=MODEL,
        base="SmolLM2-135M",
        dataset=DATASET,
        job="ftjob-eva10aa00bb1",
        at=NOW - timedelta(hours=29),
        examples=55,
        answer_tokens=1810,
        rows=[
            measure("Loss", 3.2, 1.2, low=-2.1, high=-1.9, unit="nats"),
            measure("Perplexity", 24.5, 3.3, target="< 2.5", met="not met"),
            measure("Right: held-out", 0.05, 0.72, low=0.5, high=0.8, unit="share"),
            measure("Seconds an answer", 1.9, 1.4, target="< 2", met="met", unit="seconds"),
            MeasureRow(label="Tone", measure="tone", target="> 90 %", met="not measured"),
        ],
        before=ScoreView(**report()["before"]),
        after=ScoreView(**report()["after"]),
        answers=[AnswerView(prompt="Who are you?", before="A model.", after="Sophia.")],
        graded_answers=[
            GradedAnswerView(
                set="held-out",
                id="cold-1",
                language="en",
                question="How cold is the ripening room?",
                accepted=["11 degrees"],
                before="I do not know.",
                before_verdict="wrong",
                after="It is kept at 11 degrees.",
                after_verdict="right",
            )
        ],
    )


def served() -> ServeList:
    deployment = DeploymentView(
        id="deploy-1",
        name=MODEL,
        model="sophia-v2-merged",
        state="ready",
        engine="transformers",
        created_by="ana",
        created_at=NOW - timedelta(hours=20),
    )
    return ServeList(items=[deployment], api=ApiView(address="http://localhost:8000", answers=True))


def models() -> ModelList:
    at = NOW - timedelta(hours=30)
    return ModelList(
        items=[
            ModelView(
                id=MODEL,
                kind="adapter",
                base="SmolLM2-135M",
                job="ftjob-6c10aa00bb11",
                dataset=DATASET,
                evaluation=report(),
                created_at=at,
                state="conditional",
                state_reason="Good for the desk.",
                state_conditions=["desk questions only"],
                state_until=NOW + timedelta(days=40),
                state_by="ana",
                state_at=NOW - timedelta(hours=29),
                version=2,
            ),
            ModelView(id="sophia-v1", kind="adapter", base="SmolLM2-135M", created_at=at),
            ModelView(
                id="gpt-4o-mini",
                kind="hosted",
                base="gpt-4o-mini",
                created_at=at,
                shutdown_at=NOW + timedelta(days=54),
            ),
        ]
    )


def model_shown() -> ModelView:
    sums = [ModelFile(name="adapter_model.safetensors", bytes=4_891_776, sha256="3f" * 32)]
    changes = {"files": sums, "size": 4_891_776, "template_fingerprint": "9a" * 32}
    return models().items[0].model_copy(update=changes)


def model_history() -> HistoryView:
    def happened(hours: float, kind: str, what: str, **more: Any) -> HappeningView:
        at = NOW - timedelta(hours=hours)
        return HappeningView(at=at, kind=kind, what=what, by="ana", **more)

    return HistoryView(
        model=MODEL,
        state="conditional",
        items=[
            happened(27, "parity", "Parity does not hold. Prompt 3 differs.", state="failed"),
            happened(28, "note", "Short answers to long questions."),
            happened(29, "state", "Good for the desk.", state="conditional"),
        ],
    )


def production() -> ProductionView:
    since = NOW - timedelta(hours=28)
    span = {"key": "GEN_MODEL", "file": "/srv/rag/.env"}
    return ProductionView(
        items=[
            ProductionSpan(model=MODEL, since=since, now=True, how="promotion", by="ana", **span),
            ProductionSpan(model="gpt-4o-mini", until=since, exact=False, how="found", **span),
        ]
    )


def lineage() -> LineageView:
    return LineageView(
        asked=MODEL,
        chain=[
            LineageModel(relation="itself", id=MODEL, kind="adapter", state="conditional"),
            LineageModel(relation="trained from", id="SmolLM2-135M", kind="base", state="unknown"),
        ],
        rows=kept().items,
    )


def promotions() -> PromotionList:
    def promotion(name: str, model: str, before: str, **more: Any) -> PromotionView:
        diff = [f"-GEN_MODEL={before}", f"+GEN_MODEL={model}"]
        return PromotionView(
            id=name,
            model=model,
            previous_model=before,
            state="done",
            files=[FileDiff(path="/srv/rag/.env", diff=diff)],
            created_by="ana",
            created_at=NOW - timedelta(hours=28),
            **more,
        )

    return PromotionList(items=[promotion("promotion-2", MODEL, "gpt-4o-mini")])


def traffic(requests: int, seconds: float) -> dict[str, Any]:
    return {
        "model": MODEL,
        "requests": requests,
        "errors": requests // 50,
        "error_rate": 0.02,
        "prompt_tokens": 40 * requests,
        "completion_tokens": 25 * requests,
        "seconds_mean": seconds / 2,
        "seconds_p50": seconds / 2,
        "seconds_p95": seconds,
        "first_token_seconds_p50": 0.12,
    }


def monitor() -> MonitorView:
    since = (NOW - timedelta(days=6)).replace(hour=0, minute=0)
    points = [
        TrafficPoint(
            start=since + timedelta(hours=3 * each), **traffic(10 + each % 8, 1 + each / 40)
        )
        for each in range(2, 50)
        if each % 8
    ]
    days = [
        FeedbackDayView(
            day=(since + timedelta(days=each)).date(),
            positive=8 + each,
            negative=2,
            other=0,
            satisfaction=round((8 + each) / (10 + each), 4),
        )
        for each in range(4)
    ]
    return MonitorView(
        since=since,
        until=NOW,
        zone="UTC",
        alerts=["sophia-v2: One answer in twenty takes longer than 2.2 s; the target is 2 s."],
        target_latency_seconds=2.0,
        target_error_rate=0.01,
        counted_since=since + timedelta(hours=6),
        requests=600,
        errors=12,
        error_rate=0.02,
        models=[TrafficView(**traffic(600, 2.2))],
        bucket_seconds=10_800,
        series=points,
        deployments=[
            LivingView(
                id="deploy-1",
                name=MODEL,
                model="sophia-v2-merged",
                engine="transformers",
                state="ready",
                ready_at=NOW - timedelta(hours=20),
            )
        ],
        documents=FeedbackView(
            state="counted", positive=38, negative=8, other=0, satisfaction=0.826, days=days
        ),
        conversations=FeedbackView(state="empty", cause="No reaction has reached Sophia."),
        not_yet=[NotYetView(name="drift", text="Drift is not measured yet.")],
    )


def settings() -> SettingList:
    return SettingList(
        env_file="/srv/sophia/.env",
        items=[
            SettingView(
                key="OPENAI_API_KEY",
                value="***",
                source="env file",
                changeable=False,
                help="The key of the provider.",
            ),
            SettingView(
                key="SOPHIA_WINDOW_DAYS",
                value="30",
                source="sophia",
                default="30",
                changeable=True,
                help="How many days back are collected.",
            ),
        ],
    )


def schedule() -> ScheduleView:
    return ScheduleView(
        name="weekly-ground",
        operation="prepare.run",
        every="weekly",
        timezone="America/Sao_Paulo",
        options=["name=ground"],
        enabled=True,
        next_at=NOW + timedelta(days=2),
        created_by="maria",
        created_at=NOW - timedelta(days=30),
        version=3,
    )


def meanwhile() -> MeanwhileView:
    return MeanwhileView(
        since=NOW - timedelta(hours=2),
        told="1 job succeeded, 2 changes by maria",
        happened=True,
        ended=[EndedView(state="succeeded", count=1)],
        changes=[OthersView(actor="maria", count=2)],
    )


def audit() -> AuditList:
    def entry(minutes: int, operation: str, outcome: str, **more: Any) -> AuditView:
        return AuditView(
            at=NOW - timedelta(minutes=minutes),
            actor="ana",
            face="console",
            operation=operation,
            outcome=outcome,
            seconds=0.31,
            role="admin",
            **more,
        )

    return AuditList(
        items=[
            entry(5, "promote.run", "refused", target=MODEL, code="SOPHIA-R428"),
            entry(9, "collect.run", "done", request={"window_days": 30}),
            entry(12, "prepare.run", "failed", target="ground", code="SOPHIA-D309"),
        ]
    )


def check_items(after: bool = True) -> list[CheckItem]:
    """A check list with every state, of a training that is done or planned."""
    found: list[tuple[str, Any, str]] = [
        ("examples_valid", "done", "273 examples looked at"),
        ("split_made", "done", "218 for training, 55 for validation"),
        ("token_set", "not_needed", "the base is on this machine"),
        ("test_run_passed", "open", "`sophia train start --try-one-step` makes one"),
    ]
    told = [
        CheckItem(stage="before", name=name, what=_(WORDS[name]), state=state, evidence=evidence)
        for name, state, evidence in found
    ]
    if after:
        done: list[tuple[str, Any, str]] = [
            ("loss_falling", "failed", "1.204 -> 1.310"),
            ("tribunal", "not_available", "The tribunal does not exist yet."),
        ]
        told += [
            CheckItem(stage="after", name=name, what=_(WORDS[name]), state=state, evidence=evidence)
            for name, state, evidence in done
        ]
    return told


def plan() -> TrainPlan:
    """A plan that does not fit, with the setting that would."""
    return TrainPlan(
        dataset=DATASET,
        base="meta-llama/Llama-3.1-8B-Instruct",
        recipe="constitutional",
        ready=True,
        steps=104,
        epochs=3.0,
        summary=[
            "Memory: about 27.4 GB needed, 17.1 GB free on RAM: it does not fit.",
            "  weights 16.1, activations 8.2, logits 1.9, program 0.5 GB",
            "Data: 273 examples, 88,412 tokens, 31,002 of them trained; the longest has 911.",
            "Time: about 9.2 h at 8.0 tokens/s (by the operations a token takes).",
            "Cost: about 7.73 USD (9.20 h at 0.84 USD an hour).",
            "Budget: 20.00 USD.",
        ],
        changes=["batch_size=1", "gradient_accumulation=8", "then about 16.0 GB"],
        command=f"sophia train start {DATASET} --change batch_size=1",
        warnings=["The base is not on this machine."],
        checks=check_items(after=False),
    )


def preview() -> TrainPreview:
    """The first of three pages: what is trained, a problem, and a mark in the text itself."""

    def item(line: int, text: str, problem: str | None = None) -> PreviewItem:
        trained = 0 if problem else 7
        return PreviewItem(line=line, tokens=21, trained_tokens=trained, problem=problem, text=text)

    return TrainPreview(
        dataset=DATASET,
        base="/models/smollm2.gguf",
        prompt_form="chat_template",
        template="base",
        sequence_length=512,
        marks="[[ ]]",
        parts=[
            PreviewPart(file="train.jsonl", lines=6, examples=5, tokens=126, trained_tokens=35),
            PreviewPart(file="valid.jsonl", lines=2, examples=2, tokens=42, trained_tokens=14),
        ],
        listed=[PreviewLines(file="train.jsonl", reason="no token to learn", count=1, lines=[2])],
        refused="1 lines of train.jsonl have no token to learn: 2.",
        part="train",
        offset=0,
        items=[
            item(1, "user: When do you open?\nassistant: [[At nine, \\[[daily\\]].]]"),
            item(2, "user: And this?\nassistant: Not learnt.", "no token to learn"),
        ],
    )


def page(request: Any = None) -> BrowseOutput:
    """The beginning of a file: a good record, an edited one, one without an answer, no JSON; or
    of a distant page or the next issue what was asked for."""
    said = [
        ("When do you open?", "At nine, daily.", []),
        ("Where is the office?", "Rua Direita, 10.\nSecond floor.", []),
        ("", "", [IssueView(code="no_answer", reason="No answer.")]),
        ("", "", [IssueView(code="json", reason="Not valid JSON at character 11.")]),
    ]
    first = request.line if request is not None else 1
    items = []
    for line, (question, answer, issues) in enumerate(said, start=first):
        text = json.dumps({"question": question or "Why?", "answer": answer}, ensure_ascii=False)
        record = RecordView(
            line=line,
            at=100 * line,
            codes=[each.code for each in issues],
            issues=issues,
            usable=not issues,
            edited=line == 2,
            edited_by="rui" if line == 2 else None,
            edited_at=NOW - timedelta(minutes=12) if line == 2 else None,
            question=question,
            answer=answer,
            text='{"answer: broken' if issues and issues[0].code == "json" else text,
            chars=16 if issues and issues[0].code == "json" else len(text),
        )
        items.append(record)
    if request is not None and request.issue:
        items = items[2:]
    count = request.count if request is not None else 50
    exact = first < 1_000 or bool(request is not None and request.exact)
    return BrowseOutput(
        file="pairs.jsonl",
        bytes=9_400_000_000,
        lines=8_214_003 if exact else None,
        lines_about=None if exact else 8_200_000,
        exact=exact,
        next_line=first + 4,
        next_at=100 * first + 400,
        edits=EditsView(version=3, records=1, can_undo=1, can_redo=1, stale=False),
        items=items[:count],
    )


def inspection() -> InspectOutput:
    """Two files with an error, a warning and a note, and a section."""
    spread = Distribution(
        least=2,
        p5=2,
        p25=2,
        p50=4,
        p75=6,
        p95=12,
        p99=20,
        greatest=31,
        mean=4.6,
        histogram=[Bin(least=2, below=4, rows=140), Bin(least=4, below=8, rows=90)],
    )
    return InspectOutput(
        files=[
            InspectedFile(file="/data/pairs.jsonl", bytes=812_004, lines=204, rows=203, usable=197),
            InspectedFile(file="/data/chats.jsonl", bytes=99_120, lines=105, rows=105, usable=105),
        ],
        lines=309,
        rows=308,
        usable=302,
        duplicates=9,
        forms=[FormCount(form="question_answer", rows=197), FormCount(form="chat", rows=105)],
        issues=[
            FoundIssue(
                code="no_answer",
                severity="error",
                count=6,
                reason="No answer.",
                places=["pairs.jsonl:3", "pairs.jsonl:77"],
            ),
            FoundIssue(
                code="duplicate",
                severity="warning",
                count=9,
                reason="The same as an earlier record.",
                places=["pairs.jsonl:12", "chats.jsonl:4"],
            ),
            FoundIssue(
                code="blank", severity="note", count=1, reason="Is blank.", places=["pairs.jsonl:9"]
            ),
        ],
        roles=[RoleOrder(roles="user assistant", rows=290)],
        turns=spread,
        characters=None,
        sections={
            "personal": {
                "count": 15,
                "rows": 13,
                "kinds": {
                    "cpf": {"count": 3, "rows": 3, "lines": [5, 77, 209]},
                    "email": {"count": 12, "rows": 10, "lines": [5, 8, 9, 14, 15, 31, 40]},
                },
            },
            "measured": {"iterations": 3, "by": {"kind": "cpf"}},
        },
        destinations=[
            DestinationView(
                destination="openai",
                name="Hosted provider (OpenAI's rules)",
                verdict="after_preparing",
                why=["6 rows can't be used."],
                todo=["Prepare a version: `sophia prepare`."],
            ),
            DestinationView(
                destination="local",
                name="Training on this machine",
                verdict="ready",
                why=[],
                todo=[],
            ),
        ],
        report="0f3a",
        kept=True,
    )


def version_diff() -> VersionDiff:
    def side(answer: str, part: str = "train") -> SideOfRow:
        return SideOfRow(
            part=part, question="When do you open?", answer=answer, file="pairs.jsonl", line=7
        )

    return VersionDiff(
        first="ground@99aa88bb77cc",
        second=DATASET,
        same=260,
        added=11,
        removed=2,
        changed=1,
        moved=1,
        parts=[PartDiff(part="train", first=210, second=218)],
        steps=[StepDiff(step="redact", first={"version": 1}, second={"version": 2})],
        items=[
            DiffRow(kind="changed", before=side("At nine."), after=side("At ten, daily.")),
            DiffRow(kind="removed", before=side("At noon.")),
            DiffRow(kind="added", after=side("At eleven.")),
            DiffRow(kind="moved", before=side("x"), after=side("x", "valid")),
        ],
    )


def life() -> VersionView:
    """What became of the first version."""
    found = dataset()
    return VersionView(
        id=found.id,
        name=found.name,
        hash=found.hash,
        tags=["production", "v2"],
        protected=["production"],
        rows=273,
        parts={"train": 218, "valid": 55, "test": 0},
        bytes=812_004,
        size="0.8 MB",
        redacted=True,
        jobs=[JOB],
        models=[MODEL],
        created_by="ana",
        created_at=found.created_at,
    )


def clean_preview() -> PreviewOutput:
    """A step that changes a text and one that turns a row away."""
    changed = TextChange(
        file="pairs.jsonl",
        line=7,
        turn=2,
        role="assistant",
        before="Write to [..] or call us.",
        after="Write to [EMAIL_1] or call us.",
    )
    leaving = LeavingRow(
        file="pairs.jsonl", line=9, code="too_short", reason="Too short.", text="Yes."
    )
    steps = [
        PreviewedStep(
            step="redact",
            settings={},
            rows=100,
            changed=1,
            leave=0,
            changes=[changed],
            leaving=[],
        ),
        PreviewedStep(
            step="length",
            settings={"min_characters": 10},
            rows=100,
            changed=0,
            leave=1,
            changes=[],
            leaving=[leaving],
        ),
    ]
    return PreviewOutput(rows=100, stay=99, steps=steps, of_all=["near_duplicates"])


def gate() -> GateReport:
    return GateReport(
        subject=DATASET,
        passed=False,
        refused=False,
        items=[
            GateCheck(
                name="examples",
                what="Examples",
                state="attention",
                told="273; 500 or more are advised.",
            ),
            GateCheck(name="copied", what="Copied answers", state="ok", told="0 %"),
        ],
    )


def full() -> dict[str, Any]:
    """An answer for each operation that a screen asks; a callable gets the request."""
    return {
        "setup.check": checks(),
        "setup.test": tested,
        "setup.begin": begun,
        "setup.validate": CheckView(name="x", state="ok", found="can be used"),
        "env.list": env_keys(),
        "setup.restart": ServiceView(unit="sophia-worker.service", state="ok", found="active"),
        "env.set": EnvChanged(
            file="/srv/sophia/.env",
            key="OPENAI_API_KEY",
            changed=True,
            restart=["sophia-worker.service"],
        ),
        "source.inspect": tables(),
        "datasets.list": DatasetList(items=[dataset(), dataset("ground@99aa88bb77cc")]),
        "datasets.show": DatasetDetails(dataset=dataset(), manifest=manifest()),
        "datasets.rejected": rejected(),
        "datasets.rows": kept(),
        "prepare.browse": page,
        "prepare.inspect": inspection(),
        "prepare.diff": version_diff(),
        "prepare.gate": gate(),
        "prepare.versions": VersionList(items=[life()]),
        "prepare.preview": clean_preview(),
        "jobs.list": jobs(),
        "jobs.show": lambda request: jobs().items[1],
        "jobs.events": _events_after,
        "jobs.log": lambda request: stub.log_of(["loading", "step 310 of 500"], request),
        "jobs.curve": lambda request: stub.curve_of(events().items, request),
        "jobs.settings": job_settings,
        "jobs.compare": jobs_compared,
        "train.checklist": CheckList(job=JOB, dataset=DATASET, base="b", items=check_items()),
        "train.plan": plan(),
        "train.preview": preview(),
        "models.list": models(),
        "models.show": model_shown(),
        "models.history": model_history(),
        "models.production": production(),
        "models.lineage": lineage(),
        "models.alike": ParityView(
            check="ftjob-parity",
            model=MODEL,
            verdict="passed",
            at=NOW,
            by="ana",
            prompts=8,
            template="9a" * 32,
            forms=[],
        ),
        "evaluate.show": evaluation(),
        "serve.list": served(),
        "serve.show": served().items[0],
        "promote.history": promotions(),
        "monitor.show": monitor(),
        "settings.list": settings(),
        "audit.list": audit(),
        "overview.meanwhile": meanwhile(),
        "models.calendar": CalendarView(
            now=NOW, bounds=[90, 30, 7], dates_as_of=NOW.date(), files=[], items=[], lists=[]
        ),
        "schedules.list": ScheduleList(items=[schedule()]),
    }


def _events_after(request: Any) -> EventList:
    return stub.pages_of(events().items, request)


def job_settings(request: Any = None) -> JobSettings:
    return JobSettings(
        job=JOB,
        kind="train",
        base="Qwen/Qwen2.5-0.5B",
        base_revision="060db6499f32",
        dataset=DATASET,
        dataset_hash="99aa88bb77cc" * 5,
        dataset_counts={"train": 8112, "valid": 901},
        examples=8112,
        recipe="default",
        settings=[
            SettingRow(name="learning_rate", value=1e-4, default=2e-4, changed=True),
            SettingRow(name="lora.r", value=16, default=16),
            SettingRow(name="scheduler", value="linear", default="linear"),
        ],
        seed=42,
        host="gpu-1",
        device="cuda:0",
        threads=8,
        precision="bf16",
        memory_bytes=1_240_000_000,
        packages={"torch": "2.9.1", "transformers": "4.57.1"},
        started_at=NOW,
        seconds_running=1800.0,
        cost_usd=0.42,
    )


def jobs_compared(request: Any = None) -> JobsCompared:
    """Two trainings at two rates, and a merge that has no curve."""
    asked = CurveRequest(job=JOB)
    first = stub.curve_of(events().items, asked)
    slower = [
        each.model_copy(update={"data": {**each.data, "loss": each.data["loss"] * 1.2}})
        for each in events().items
        if each.kind == "metric"
    ]
    second = stub.curve_of(slower, asked)
    nothing = stub.curve_of([], asked)

    def job(letter: str, job_id: str, curve: CurveView, note: str = "") -> ComparedJob:
        return ComparedJob(
            letter=letter,
            id=job_id,
            kind="merge" if note else "train",
            status="succeeded",
            dataset=DATASET,
            step=None if note else 320,
            total_steps=None if note else 500,
            examples_per_step=None if note else 16.0,
            note=note,
            curve=curve,
        )

    def row(part: Any, name: str, *values: Any, better: str | None = None) -> DifferenceRow:
        return DifferenceRow(part=part, name=name, values=list(values), same=False, better=better)

    return JobsCompared(
        jobs=[
            job("a", JOB, first),
            job("b", "ftjob-6c10aa00bb11", second),
            job("c", "ftjob-0badcafe0000", nothing, "A job of this kind has no losses over steps."),
        ],
        rows=[
            row("result", "loss", 1.388, 1.665, None, better="a"),
            row("result", "eval_loss", 1.7, 1.7, None),
            row("hyperparameters", "learning_rate", 2e-4, 1e-4, None),
            row("machine", "host", "gpu-1", "gpu-2", "gpu-1"),
        ],
    )


def empty() -> dict[str, Any]:
    """The same of a house where nothing was done yet."""
    found: dict[str, Any] = {
        name: answer.model_copy(update={"items": []})
        for name, answer in full().items()
        if isinstance(answer, BaseModel) and "items" in type(answer).model_fields
    }
    nothing = FeedbackView(state="empty", cause="Nobody has judged an answer yet.")
    changes = {"requests": None, "errors": None, "error_rate": None, "counted_since": None}
    changes |= {"alerts": [], "models": [], "series": [], "deployments": [], "documents": nothing}
    found["monitor.show"] = monitor().model_copy(update={**changes, "note": "Nothing was served."})
    return found


def hostile(value: Any, text: str = stub.HOSTILE) -> Any:
    """The same answer with hostile text in every place for text, ids and keys of dicts too."""
    if isinstance(value, Output):
        changed = {name: hostile(getattr(value, name), text) for name in type(value).model_fields}
        return value.model_copy(update=changed)
    if isinstance(value, list):
        return [hostile(each, text) for each in value]
    if isinstance(value, dict):
        return {_hostile_key(key, text): hostile(each, text) for key, each in value.items()}
    return text if isinstance(value, str) else value


#: Keys that screens look for; a text from outside never stands there.
_OURS = {"before", "after", "sources", "steps", "settings", "step", "file", "rows", "table", "key"}
_OURS |= {"perplexity", "loss", "rows_in", "rows_kept", "rows_rejected", "train", "valid"}


def _hostile_key(key: str, text: str) -> str:
    return key if key in _OURS else f"{text}{key}"
