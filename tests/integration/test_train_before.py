"""What is told before a training, on a real store with a real tiny base and real previews."""

import json
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.cli.output import render
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import DataError, RefusedError, UnconfirmedError, UsageError
from sophia_tui.i18n import speaking
from sophia_tui.paths import Paths
from sophia_tui.providers.machine_memory import DeviceMemory
from sophia_tui.services import train_plan
from sophia_tui.services.plan_views import CheckItem
from sophia_tui.services.prices import load_prices
from sophia_tui.services.train import TrainRequest, TrainService
from sophia_tui.services.train_before import (
    ChecklistRequest,
    PreviewRequest,
    TrainBeforeService,
)
from sophia_tui.services.train_plan import Planner
from sophia_tui.settings import Settings, load
from tests import seeded
from tests.finetune.tiny_model import build_tiny_model, chat, pairs
from tests.integration.worker_house import SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)
HUB = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def written(folder: Path, rows: list[dict[str, Any]], valid: int = 4) -> DatasetVersion:
    """A version of these rows."""
    folder.mkdir()
    files = {}
    for name, some in (("train.jsonl", rows), ("valid.jsonl", rows[:valid])):
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in some).encode()
        (folder / name).write_bytes(text)
        files[name] = {"bytes": len(text), "rows": len(some)}
    counts = {"rows_in": len(rows) + valid, "rows_kept": len(rows) + valid, "rows_rejected": 0}
    counts |= {"train": len(rows), "valid": valid}
    digest = f"{abs(hash(folder.name)):064x}"[:64]
    return DatasetVersion(
        "town", digest, str(folder), counts, {"files": files}, "maria", datetime.now(UTC)
    )


ROWS = [chat(*pair) for pair in pairs()] * 4
MUTE = {
    "messages": [
        {"role": "user", "content": "And this?"},
        {"role": "assistant", "content": "It is not learnt.", "weight": 0},
    ]
}


@pytest.fixture
async def version(store: Store, tmp_path: Path) -> DatasetVersion:
    found = written(tmp_path / "whole", ROWS)
    await store.datasets.add(found)
    return found


class Office:
    """The two services over one planner."""

    def __init__(self, store: Store, settings: Settings, paths: Paths) -> None:
        clock, prices = SystemClock(), lambda: load_prices(settings, paths)
        self.store, self.paths = store, paths
        self.planner = Planner(store, settings, paths, clock, prices)
        self.train = TrainService(
            store, settings, paths, clock, self._wake, prices, planner=self.planner
        )
        self.before = TrainBeforeService(store, settings, clock, prices, self.planner)

    async def _wake(self) -> None:
        pass


@pytest.fixture
def office(store: Store, settings: Settings, paths: Paths) -> Office:
    return Office(store, settings, paths)


def priced(settings: Settings, **more: Any) -> Settings:
    return settings.model_copy(update={"machine_usd_per_hour": 2.0, **more})


@pytest.fixture
def probed(paths: Paths) -> None:
    """A probe of not long ago: one GFLOPS, so that a tiny training costs something."""
    keep_probe(paths, 1.0)


def keep_probe(paths: Paths, gflops: float) -> None:
    paths.previews.mkdir(parents=True, exist_ok=True)
    kept = {"device": "cpu", "gflops": gflops, "host": socket.gethostname()}
    kept["at"] = datetime.now(UTC).timestamp()
    (paths.previews / "speed.json").write_text(json.dumps(kept))


@pytest.mark.usefixtures("probed")
async def test_a_plan_counts_tokens_and_tells_memory_and_time(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    plan = await office.before.plan(
        CONTEXT, TrainRequest(base=str(tiny), recipe="default", epochs=2)
    )
    assert plan.ready and plan.refusals == [] and plan.steps == 4
    assert plan.data is not None and plan.data.counted_by == "tokenizer"
    assert plan.data.examples == 32 and 0 < (plan.data.trained_tokens or 0) < plan.data.tokens
    assert plan.memory is not None and plan.memory.fits and plan.memory.shape_by == "config"
    assert plan.memory.needed_bytes == sum(each.bytes for each in plan.memory.parts)
    assert plan.time is not None and plan.time.by == "flops_rule" and plan.time.seconds > 0
    assert plan.money is not None and plan.money.usd is None
    assert not plan.money.needs_confirmation
    assert await office.store.jobs.page() == []


@pytest.mark.usefixtures("probed")
async def test_a_dry_run_of_the_start_answers_the_same_document(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    request = TrainRequest(base=str(tiny), recipe="default")
    plan = await office.before.plan(CONTEXT, request)
    view = await office.train.start(replace(CONTEXT, dry_run=True), request)
    assert view.plan is not None and view.status == "draft"
    machine = {"free_bytes": 0}
    assert view.plan.memory is not None and plan.memory is not None
    assert view.plan.memory.model_copy(update=machine) == plan.memory.model_copy(update=machine)
    assert (view.plan.data, view.plan.time, view.plan.money) == (plan.data, plan.time, plan.money)
    assert view.plan.checks == plan.checks
    assert await office.store.jobs.page() == []


@pytest.mark.usefixtures("probed")
async def test_a_plan_names_the_floors_and_hours_that_hold_a_start_back(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    changes = {"memory_floor_mb": 900_000_000, "quiet_hours": "00:00-12:00,12:00-24:00"}
    office = Office(store, settings.model_copy(update=changes), paths)
    plan = await office.before.plan(CONTEXT, TrainRequest(base=str(tiny), recipe="default"))
    told = "\n".join([*plan.summary, *plan.changes])
    assert plan.memory is not None and not plan.memory.fits
    assert "SOPHIA_MEMORY_FLOOR_MB" in told and "smaller base" not in told
    held = [each for each in plan.warnings if each.startswith("It would not start at once.")]
    assert len(held) == 2 and "SOPHIA_QUIET_HOURS" in held[1]


async def test_a_recipe_that_is_not_there_is_told_in_the_persons_language(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    with speaking("pt_BR"), pytest.raises(UsageError) as caught:
        await office.before.plan(CONTEXT, TrainRequest(base=str(tiny), recipe="nada"))
    assert caught.value.why.startswith("Nenhuma receita")


@pytest.mark.usefixtures("probed")
async def test_what_does_not_fit_has_a_command_that_does(
    office: Office, version: DatasetVersion, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = DeviceMemory("cpu", "RAM", 24_000_000_000, 12_000_000_000)
    monkeypatch.setattr(train_plan, "main_memory", lambda: small)
    request = TrainRequest(base=HUB, recipe="default", change=["packing=false"], budget=5)
    plan = await office.before.plan(CONTEXT, request)
    assert plan.memory is not None and plan.memory.fits is False
    assert plan.memory.shape_by == "name"
    assert (
        plan.command is not None
        and plan.changes[:2]
        == [
            "quantization=nf4",
            "batch_size=1",
        ]
    ) or "quantization=nf4" in plan.changes
    assert plan.command is not None
    assert "--base " + HUB in plan.command and "--change quantization=nf4" in plan.command
    assert "--change packing=false" in plan.command and "--budget 5" in plan.command
    changes = [each for each in plan.command.split() if "=" in each]
    again = TrainRequest(base=HUB, recipe="default", change=changes)
    fitting = await office.before.plan(CONTEXT, again)
    assert fitting.memory is not None and fitting.memory.fits


@pytest.mark.usefixtures("probed")
async def test_a_base_that_is_not_here_is_guessed_and_that_is_said(
    office: Office, version: DatasetVersion
) -> None:
    plan = await office.before.plan(CONTEXT, TrainRequest(base=HUB))
    assert plan.data is not None and plan.data.counted_by == "bytes"
    assert any("not on this machine" in each for each in plan.warnings)
    check = by_name(plan.checks)
    assert check["token_set"].state == "open" and check["examples_valid"].state == "open"


async def test_earlier_runs_of_the_base_here_tell_the_speed(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    done = trained(version, str(tiny), tokens_per_second=1000.0)
    await office.store.jobs.add(done)
    await office.store.jobs.add(
        replace(done, id="ftjob-elsewhere234", worker_id="other:1:a")  # another machine's speed
    )
    plan = await office.before.plan(CONTEXT, TrainRequest(base=str(tiny), recipe="default"))
    assert plan.time is not None and plan.time.by == "earlier_runs"
    assert plan.time.runs == [done.id]
    assert 700 < plan.time.tokens_per_second < 1300


def trained(version: DatasetVersion, base: str, **result: Any) -> Job:
    return Job(
        id="ftjob-earlier23456",
        kind=JobKind.TRAIN,
        state="succeeded",
        base=base,
        dataset=version.id,
        request={"run": {"recipe": {}}},
        created_by="maria",
        created_at=datetime.now(UTC),
        worker_id=f"{socket.gethostname()}:1:a",
        result=result,
    )


async def test_cut_examples_and_lines_without_a_trained_token_are_listed(
    office: Office, store: Store, tmp_path: Path, tiny: Path, paths: Paths
) -> None:
    long = chat("Brovik " * 60, "bells " * 60)
    rows = [*ROWS[:5], MUTE, *ROWS[:3], long]
    await store.datasets.add(written(tmp_path / "wrong", rows))
    keep_probe(paths, 50.0)
    request = TrainRequest(base=str(tiny), change=["sequence_length=128"])
    plan = await office.before.plan(CONTEXT, request)
    assert plan.data is not None
    listed = {each.reason: each.lines for each in plan.data.listed}
    assert 6 in listed["no_answer_token"] and 10 in {
        line for each in listed.values() for line in each
    }
    assert not plan.ready and any("6" in each for each in plan.refusals)
    # and the start, which has this look to go by, refuses with the lines
    with pytest.raises(DataError) as refused:
        await office.train.start(CONTEXT, request)
    assert refused.value.code == "SOPHIA-J565" and 6 in refused.value.details["lines"]
    assert "leave_out" in refused.value.remedy
    left = TrainRequest(
        base=str(tiny), change=["sequence_length=128", "rows_without_answer=leave_out"]
    )
    assert (await office.before.plan(CONTEXT, left)).ready
    assert (await office.train.start(CONTEXT, left)).status == "queued"


async def test_a_preview_shows_what_is_trained_token_by_token(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    request = PreviewRequest(base=str(tiny), limit=2, offset=1)
    found = await office.before.preview(CONTEXT, request)
    assert [each.line for each in found.items] == [2, 3]
    first = found.items[0]
    assert "".join(each.text for each in first.segments if each.trained).startswith("Tarelle is")
    assert "What is Tarelle" in "".join(each.text for each in first.segments if not each.trained)
    assert "⟦Tarelle is famous for its bells." in first.text
    assert sum(each.tokens for each in first.segments) == first.tokens
    train = next(each for each in found.parts if each.file == "train.jsonl")
    assert train.examples == 32 and train.trained_tokens < train.tokens


async def test_a_preview_of_chosen_lines_in_ascii_and_of_the_held_out_part(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    chosen = PreviewRequest(base=str(tiny), lines=[7], ascii=True)
    found = await office.before.preview(CONTEXT, chosen)
    assert [each.line for each in found.items] == [7] and "[[Maluno" in found.items[0].text
    held_out = PreviewRequest(base=str(tiny), part="valid", offset=3, limit=5)
    found = await office.before.preview(CONTEXT, held_out)
    assert [each.line for each in found.items] == [4]
    with pytest.raises(UsageError, match="J574"):
        await office.before.preview(
            CONTEXT, PreviewRequest(base=str(tiny), part="valid", lines=[1])
        )


async def test_hostile_text_is_shown_and_told_apart_from_marks(
    office: Office, store: Store, tmp_path: Path, tiny: Path
) -> None:
    row = chat("x\x1b[31m⟧", "y")
    await store.datasets.add(written(tmp_path / "hostile", [row, *ROWS]))
    found = await office.before.preview(CONTEXT, PreviewRequest(base=str(tiny), limit=1))
    text = found.items[0].text
    assert "\x1b" not in text and "␛[31m" in text and "\\⟧" in text


async def test_a_look_is_kept_and_a_base_that_changes_is_looked_at_anew(
    office: Office, version: DatasetVersion, tiny: Path, tmp_path: Path, paths: Paths
) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(tiny, mine)
    await office.before.preview(CONTEXT, PreviewRequest(base=str(mine), limit=1))
    order = await train_order(office, str(mine))
    assert office.planner.previews.kept(order) is not None
    assert [each.name for each in paths.previews.iterdir() if each.is_dir()] == []
    assert all(stat.S_IMODE(each.stat().st_mode) & 0o077 == 0 for each in paths.previews.iterdir())
    (mine / "config.json").write_text((mine / "config.json").read_text() + " ")
    assert office.planner.previews.kept(order) is None


async def train_order(office: Office, base: str) -> Any:
    from sophia_tui.services.train import local_order

    return await local_order(office.store, load({}), TrainRequest(base=base))


@pytest.mark.usefixtures("probed")
async def test_what_costs_is_confirmed_and_the_job_says_by_whom(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    office = Office(store, priced(settings), paths)
    request = TrainRequest(base=str(tiny), recipe="default")
    with pytest.raises(UnconfirmedError) as asked:
        await office.train.start(CONTEXT, request)
    assert asked.value.code == "SOPHIA-J562" and "USD" in asked.value.what
    assert await store.jobs.page() == []
    view = await office.train.start(replace(CONTEXT, confirmed=True), request)
    job = await store.jobs.get(view.id)
    assert job is not None and job.request["confirmed"]["by"] == "maria"
    assert job.request["confirmed"]["usd"] == job.request["estimate"]["usd_estimated"] > 0
    found = await office.before.checklist(CONTEXT, ChecklistRequest(job=view.id))
    assert by_name(found.items)["budget_confirmed"].state == "done"


@pytest.mark.usefixtures("probed")
@pytest.mark.parametrize("face", [Face.WORKER, Face.CLI], ids=["worker", "inner work"])
async def test_where_nobody_can_be_asked_the_budget_alone_counts(
    face: Face, store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    office = Office(store, priced(settings, training_budget_usd=100.0), paths)
    context = replace(CONTEXT, face=face, inner=face is Face.CLI)
    request = TrainRequest(base=str(tiny), recipe="default")
    assert (await office.train.start(context, request)).status == "queued"
    tight = Office(store, priced(settings, training_budget_usd=0.0), paths)
    with pytest.raises(RefusedError, match="J561"):
        await tight.train.start(context, request)


@pytest.mark.usefixtures("probed")
async def test_above_the_budget_is_refused_also_when_confirmed(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    office = Office(store, priced(settings, training_budget_usd=1000.0), paths)
    confirmed = replace(CONTEXT, confirmed=True)
    request = TrainRequest(base=str(tiny), budget=0.0001)
    with pytest.raises(RefusedError) as refused:
        await office.train.start(confirmed, request)
    assert refused.value.code == "SOPHIA-J561" and refused.value.details["budget"] == 0.0001
    plan = await office.before.plan(CONTEXT, request)
    assert not plan.ready and plan.money is not None and plan.money.within_budget is False
    assert by_name(plan.checks)["budget_confirmed"].state == "failed"


async def test_the_first_training_measures_the_machine_where_it_costs(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    """No training and no probe of before: with a price the time is measured, not passed over."""
    office = Office(store, priced(settings), paths)
    asked: list[float] = []

    async def probe(check: Any, seconds: float) -> dict[str, Any]:
        asked.append(seconds)
        return {"device": "cpu", "gflops": 1.0}

    office.planner._runs.probe = probe  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match="J561"):
        await office.train.start(CONTEXT, TrainRequest(base=str(tiny), budget=0.0001))
    assert len(asked) == 1
    free = Office(store, settings, paths)
    free.planner._runs.probe = probe  # type: ignore[method-assign]
    assert (await free.train.start(CONTEXT, TrainRequest(base=str(tiny)))).status == "queued"
    assert len(asked) == 1  # without a price and a budget nobody asks


async def test_an_unknown_cost_is_not_zero(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    async def silent(check: Any, seconds: float) -> dict[str, Any]:
        return {}

    office = Office(store, priced(settings), paths)
    office.planner._runs.probe = silent  # type: ignore[method-assign]
    with pytest.raises(UnconfirmedError, match="J562"):
        await office.train.start(CONTEXT, TrainRequest(base=str(tiny)))
    yes = replace(CONTEXT, confirmed=True)
    for each in (office, Office(store, settings, paths)):  # with a price, and without
        with pytest.raises(RefusedError, match="J563"):
            await each.train.start(yes, TrainRequest(base=str(tiny), budget=5))
    plan = await office.before.plan(CONTEXT, TrainRequest(base=str(tiny), budget=5))
    assert not plan.ready and plan.money is not None and plan.money.needs_confirmation
    for_nothing = Office(store, settings.model_copy(update={"machine_usd_per_hour": 0.0}), paths)
    started = await for_nothing.train.start(CONTEXT, TrainRequest(base=str(tiny), budget=5))
    assert started.status == "queued"


async def test_data_of_doors_is_trained_on_only_by_name(
    office: Office, store: Store, version: DatasetVersion, tiny: Path, tmp_path: Path
) -> None:
    doors = [
        replace(
            written(tmp_path / name, ROWS),
            name=name,
            created_at=datetime.now(UTC) + timedelta(minutes=number + 1),
        )
        for number, name in enumerate(["upload", "upload-rooms", "adaptive", "persona-ana"])
    ]
    for each in doors:
        await store.datasets.add(each)
    request = TrainRequest(base=str(tiny))
    assert (await office.train.start(CONTEXT, request)).dataset == version.id
    for each in doors:
        named = request.model_copy(update={"dataset": each.id})
        assert (await office.train.start(CONTEXT, named)).dataset == each.id
    uploader = replace(doors[0], name="uploads-of-mine")  # a name that only looks like one
    await store.datasets.add(uploader)
    assert (await office.train.start(CONTEXT, request)).dataset == uploader.id


@pytest.mark.usefixtures("probed")
async def test_a_dry_run_that_would_be_refused_says_so_first(
    store: Store, settings: Settings, paths: Paths, version: DatasetVersion, tiny: Path
) -> None:
    office = Office(store, priced(settings), paths)
    dry = replace(CONTEXT, dry_run=True)
    view = await office.train.start(dry, TrainRequest(base=str(tiny), budget=0.0001))
    assert view.exit_code() == 3
    lines = render(view, plain=False).splitlines()
    assert lines[0].startswith("Why it would be refused: About ")
    assert "0.00010 USD" in lines[0]
    assert not any(each.startswith("Result") for each in lines)
    assert view.model_dump(mode="json")["result"]["recipe"]
    fine = await office.train.start(dry, TrainRequest(base=str(tiny)))
    assert fine.exit_code() == 0


async def test_earlier_runs_tell_the_same_speed_whatever_length_a_recipe_allows(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    await office.store.jobs.add(trained(version, str(tiny), tokens_per_second=1000.0))
    rates = []
    for length in (1024, 100_000):
        request = TrainRequest(base=str(tiny), change=[f"sequence_length={length}"])
        plan = await office.before.plan(CONTEXT, request)
        assert plan.time is not None
        rates.append(plan.time.tokens_per_second)
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("epochs: 2\nlora: r: 8\n", "line 2, column 8", "a colon makes no sense here"),
        ("epochs: 2\nseed: 'topsecret\n", "line 3", "a quotation mark is not closed"),
        ("lora:\n  r: 8\n  r: 16\n", "line 3, column 3", "the same field stands twice"),
        ("epochs: 2\nepochs: 2\n", "line 2, column 1", "the same field stands twice"),
        ("seed: !topsecret 1\n", "line 1, column 7", "a tag that means nothing here"),
    ],
)
async def test_a_recipe_that_is_no_yaml_says_where_and_why(
    text: str, place: str, problem: str, office: Office, version: DatasetVersion, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text)
    with pytest.raises(UsageError, match="J414") as refused:
        await office.train.start(CONTEXT, TrainRequest(base=HUB, recipe=str(recipe)))
    assert place in refused.value.why and problem in refused.value.why
    assert "topsecret" not in refused.value.why


@pytest.mark.parametrize("change", ["hooks=[]", "rehearsal=/etc/passwd", "batch_size", "seed=3"])
async def test_only_harmless_fields_of_a_recipe_can_be_changed_in_a_request(
    change: str, office: Office, version: DatasetVersion, tiny: Path
) -> None:
    with pytest.raises(UsageError, match="J566"):
        await office.train.start(CONTEXT, TrainRequest(base=str(tiny), change=[change]))
    with pytest.raises(UsageError, match="J415") as wrong:
        await office.train.start(CONTEXT, TrainRequest(base=str(tiny), change=["batch_size=0"]))
    assert wrong.value.remedy


def by_name(items: list[CheckItem]) -> dict[str, CheckItem]:
    return {each.name: each for each in items}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "town"


async def test_the_list_after_a_training_is_ticked_from_what_is_there(
    office: Office, store: Store, town: Path
) -> None:
    town.mkdir()
    await seeded.fill(store, town)
    found = await office.before.checklist(CONTEXT, ChecklistRequest(job=seeded.SUCCEEDED))
    states = {each.name: each.state for each in found.items}
    assert states["epochs_done"] == "done" and states["loss_falling"] == "done"
    assert states["tribunal"] == "not_available"
    assert states["data_in_place"] == "done" and states["split_made"] == "done"
    assert states["deployment_chosen"] == "done"
    assert all(each.evidence for each in found.items)
    failed = await office.before.checklist(CONTEXT, ChecklistRequest(job=seeded.FAILED))
    states = {each.name: each.state for each in failed.items}
    assert states["epochs_done"] == "failed" and states["loss_falling"] == "failed"
    assert states["merged"] == "open" and states["deployment_chosen"] == "open"


async def test_changed_data_is_not_where_the_trainer_finds_it(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    (Path(version.folder) / "train.jsonl").write_text("{}\n")
    found = await office.before.checklist(CONTEXT, ChecklistRequest(base=str(tiny)))
    assert by_name(found.items)["data_in_place"].state == "failed"


async def test_a_try_that_passed_ticks_the_test_run(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    tried = replace(
        trained(version, str(tiny)),
        id="ftjob-tried2345672",
        request={"run": {"recipe": {"try_one_step": True}}},
    )
    request = ChecklistRequest(base=str(tiny))
    before = by_name((await office.before.checklist(CONTEXT, request)).items)
    assert before["test_run_passed"].state == "open"
    await office.store.jobs.add(tried)
    after = by_name((await office.before.checklist(CONTEXT, request)).items)
    assert (after["test_run_passed"].state, after["test_run_passed"].evidence) == ("done", tried.id)


async def test_an_evaluation_has_no_check_list(office: Office, store: Store, town: Path) -> None:
    town.mkdir()
    await seeded.fill(store, town)
    with pytest.raises(UsageError, match="J576"):
        await office.before.checklist(CONTEXT, ChecklistRequest(job=seeded.EVALUATED))


async def test_steps_that_a_time_budget_cut_are_not_all_epochs(
    office: Office, version: DatasetVersion, tiny: Path
) -> None:
    job = replace(trained(version, str(tiny)), step=40, total_steps=40)
    await office.store.jobs.add(job)
    fitted = {"state": "running", "total_steps": 40, "planned_steps": 100}
    event = JobEvent(job.id, 1, datetime.now(UTC), "state", fitted)
    await office.store.jobs.append_events(job.id, [event], 10)
    found = await office.before.checklist(CONTEXT, ChecklistRequest(job=job.id))
    check = by_name(found.items)["epochs_done"]
    assert check.state == "failed" and "40" in check.evidence and "100" in check.evidence
