"""The registry of models over the real services and a store with a life behind it: lineage,
production by date, states and notes, files and their sums."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetune.provenance import file_records
from finetune.schema import (
    ADAPTER_FOLDER,
    MANIFEST_FILE,
    FileRecord,
    RunManifest,
    write_document,
)
from sophia_tui.domain.context import Face, Role
from sophia_tui.domain.models import (
    CheckKind,
    ModelCheck,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    SophiaError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.model_production import spans
from sophia_tui.settings import load
from sophia_tui.store.own import open_store
from sophia_tui.wiring import House, SystemClock
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed
from tests import seeded

EXPORTED = seeded.EXPORTED_MODEL


class FixedClock:
    """The hour of the seeds, which a test may move."""

    at = seeded.NOW

    def now(self) -> datetime:
        return self.at


class Town:
    """A house on the seeded store, and how it is asked."""

    def __init__(self, house: House, store: Store, folder: Path) -> None:
        self.house = house
        self.store = store
        self.folder = folder
        self.clock = FixedClock()

    async def ask(self, operation: str, role: Role = Role.ADMIN, **request: Any) -> Any:
        context = self.house.context(Face.CLI, actor="ana", role=role)
        return await self.house.dispatcher.call(operation, request, context)


@pytest.fixture
async def town(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Town]:
    environment = {
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": store_url,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "SOPHIA_MANAGED_ENV_FILES": str(tmp_path / "rag.env"),
        "SOPHIA_TIMEZONE": "America/Sao_Paulo",
    }
    store = await open_store(load(environment), Paths(tmp_path / "data"))
    await seeded.fill(store, tmp_path)
    seeded.fill_source(store_url)
    house = House(environment)
    asked = Town(house, store, tmp_path)
    monkeypatch.setattr(house, "clock", asked.clock)
    yield asked
    await house.close()
    await store.close()


async def test_a_model_leads_to_its_job_data_set_and_rows_and_to_what_was_made_of_it(
    town: Town,
) -> None:
    view = await town.ask("models.lineage", model=EXPORTED)
    chain = [(each.relation, each.id) for each in view.chain]
    assert chain == [
        ("itself", EXPORTED),
        ("made of", seeded.MERGED_MODEL),
        ("made of", seeded.NEWEST_MODEL),
        ("trained from", seeded.BASE),
    ]
    assert [each.id for each in view.jobs] == [seeded.SUCCEEDED]
    assert view.dataset.id.startswith("town@")
    assert view.dataset.sources == ["qa_cache.jsonl"]
    assert len(view.rows) == 5
    below = await town.ask("models.lineage", model=seeded.NEWEST_MODEL, row=7)
    made = [(each.relation, each.id) for each in below.chain[2:]]
    assert made == [("made of it", seeded.MERGED_MODEL), ("made of it", EXPORTED)]
    assert [each.question for each in below.rows] == ["When does office 6 of town 7 open?"]
    assert [each.id for each in below.evaluations] == [seeded.EVALUATED]
    served = [(each.id, each.model) for each in below.deployments]
    assert served == [
        (seeded.DEPLOYMENT, seeded.NEWEST_MODEL),
        ("deploy-failed34567", seeded.MERGED_MODEL),
    ]
    assert [(each.promotion, each.now) for each in below.production] == [("promo-3", True)]


async def test_rows_are_found_by_their_text_and_a_gap_is_said(town: Town) -> None:
    found = await town.ask("models.lineage", model=seeded.NEWEST_MODEL, text="OFFICE 11 ")
    assert [each.question for each in found.rows] == ["When does office 11 of town 7 open?"]
    nothing = await town.ask("models.lineage", model=seeded.NEWEST_MODEL, row=99)
    assert nothing.rows == []
    assert any("No record" in each for each in nothing.gaps)


@pytest.mark.parametrize(
    ("reference", "model"),
    [
        (seeded.SUCCEEDED, seeded.NEWEST_MODEL),  # the job that made it
        (seeded.EVALUATED_OLDER, seeded.OLDER_MODEL),  # an evaluation of it
        ("deploy-failed34567", seeded.MERGED_MODEL),
        ("promo-1", seeded.OLDER_MODEL),
        ("qa_cache:k0002", seeded.NEWEST_MODEL),  # made eight hours ago
        ("public.qa_cache:qhash=k0040", seeded.HOSTED_BASE),  # after the rollback
        ("messages:51", seeded.HOSTED_BASE),
    ],
)
async def test_whatever_names_an_answer_leads_to_its_model(
    town: Town, reference: str, model: str
) -> None:
    view = await town.ask("models.lineage", model=reference)
    assert view.model.id == model
    assert view.notes


async def test_an_answer_whose_time_names_no_model_says_so(town: Town) -> None:
    await town.store.promotions.update("promo-1", changes=())
    await town.store.promotions.update("promo-2", changes=())
    await town.store.promotions.update("promo-3", changes=())
    (town.folder / "rag.env").write_text("OTHER=1\n")
    view = await town.ask("models.lineage", model="qa_cache:k0002")
    assert view.model is None
    assert "GEN_MODEL" in view.gaps[0]
    of_customer = await town.ask("models.lineage", model="messages:50")
    assert of_customer.gaps == ["The message 50 is no answer: customer wrote it."]
    with pytest.raises(NotFoundError, match="SOPHIA-M513"):
        await town.ask("models.lineage", model="qa_cache:none")
    with pytest.raises(NotFoundError, match="SOPHIA-M512"):
        await town.ask("models.lineage", model="nothing-of-that-name")


async def test_a_data_set_leads_to_the_models_that_were_trained_on_it(town: Town) -> None:
    view = await town.ask("models.lineage", model="town@first", limit=1)
    assert view.model is None
    assert [(each.relation, each.id) for each in view.chain] == [
        ("trained on it", seeded.OLDER_MODEL)
    ]
    assert len(view.rows) == 1


async def test_a_model_that_was_deleted_keeps_its_place_in_the_lineage(town: Town) -> None:
    await town.store.models.update(seeded.MERGED_MODEL, deleted_at=seeded.NOW)
    view = await town.ask("models.lineage", model=EXPORTED)
    assert [each.deleted_at for each in view.chain] == [None, seeded.NOW, None, None]
    await town.store.datasets.delete(await town.store.datasets.get("town"), "ana", seeded.NOW)
    view = await town.ask("models.lineage", model=EXPORTED)
    assert view.dataset is not None


async def test_production_is_told_by_date(town: Town) -> None:
    view = await town.ask("models.production")
    named = [(each.model, each.key, each.how, each.exact, each.now) for each in view.items]
    assert named == [
        (seeded.NEWEST_MODEL, "GEN_MODEL", "promotion", True, True),
        (seeded.HOSTED_BASE, "EXPANSION_MODEL", "found", False, True),
        (seeded.HOSTED_BASE, "GEN_MODEL", "rollback", True, False),
        (seeded.OLDER_MODEL, "GEN_MODEL", "promotion", True, False),
        (seeded.HOSTED_BASE, "GEN_MODEL", "found", False, False),
    ]
    assert [(each.name, each.model) for each in view.deployed] == [(seeded.NEWEST_MODEL,) * 2]

    async def at(hours: float) -> list[str]:
        moment = (seeded.NOW - timedelta(hours=hours)).isoformat()
        found = await town.ask("models.production", at=moment)
        return [each.model for each in found.items if each.key == "GEN_MODEL"]

    assert await at(0) == [seeded.NEWEST_MODEL]
    assert await at(31) == [seeded.HOSTED_BASE]
    assert await at(185) == [seeded.OLDER_MODEL]
    assert await at(500) == [seeded.HOSTED_BASE]
    alone = await town.ask("models.production", model=seeded.OLDER_MODEL)
    assert [each.promotion for each in alone.items] == ["promo-1"]


async def test_a_change_by_hand_makes_the_time_uncertain(town: Town) -> None:
    (town.folder / "rag.env").write_text("GEN_MODEL=gpt-4o\n")
    view = await town.ask("models.production")
    told = {each.model: each for each in view.items}
    assert (told["gpt-4o"].how, told["gpt-4o"].exact, told["gpt-4o"].now) == (
        "by_hand",
        False,
        True,
    )
    assert (told[seeded.NEWEST_MODEL].exact, told[seeded.NEWEST_MODEL].now) == (False, False)
    assert any("by hand" in each for each in view.notes)
    then = await town.ask("models.production", at=seeded.NOW.isoformat())
    assert {each.model for each in then.items} == {"gpt-4o", seeded.NEWEST_MODEL}
    lineage = await town.ask("models.lineage", model="gpt-4o")
    assert [each.id for each in lineage.chain] == ["gpt-4o"]
    assert [each.how for each in lineage.production] == ["by_hand"]
    assert lineage.gaps == ["Of gpt-4o nothing but the name is known."]


async def test_a_promotion_that_was_undone_is_an_attempt_and_no_time_in_production(
    town: Town,
) -> None:
    [done] = [each for each in await town.store.promotions.page() if each.id == "promo-3"]
    failed = replace(
        done,
        id="promo-4",
        model_id=seeded.OLDER_MODEL,
        state=PromotionState.UNDONE,
        created_at=seeded.NOW - timedelta(minutes=5),
        finished_at=seeded.NOW - timedelta(minutes=4),
        error={"what": "the unit did not stay up"},
    )
    await town.store.promotions.add(failed)
    view = await town.ask("models.production")
    assert [(each.promotion, each.why) for each in view.attempts] == [
        ("promo-4", "the unit did not stay up")
    ]
    assert view.items[0].model == seeded.NEWEST_MODEL


async def test_a_file_that_can_not_be_read_is_named(town: Town) -> None:
    (town.folder / "rag.env").unlink()
    view = await town.ask("models.production")
    assert "rag.env" in view.notes[0]
    assert [each.now for each in view.items] == [False] * len(view.items)


def test_two_changes_by_hand_between_two_promotions_end_where_they_were_seen() -> None:
    def promotion(number: int, before: str, after: str) -> Promotion:
        at = seeded.NOW + timedelta(days=number)
        change = seeded.FileChange("/e", {"GEN_MODEL": before}, {"GEN_MODEL": after}, "a", "b")
        state = PromotionState.DONE
        return Promotion(f"p{number}", after, before, state, (change,), "ana", at, at)

    found = spans([promotion(1, "a", "b"), promotion(2, "c", "d")], {"/e": {"GEN_MODEL": "d"}})
    told = [(each.model, each.how, each.exact) for each in found]
    assert told == [
        ("d", "promotion", True),
        ("c", "by_hand", False),
        ("b", "promotion", False),
        ("a", "found", False),
    ]
    between = seeded.NOW + timedelta(days=1, hours=1)
    assert {each.model for each in found if each.covers(between)} == {"b", "c"}


async def test_notes_and_states_are_kept_with_who_and_why(town: Town) -> None:
    await town.ask("models.note", Role.OPERATOR, model=seeded.NEWEST_MODEL, text="Too long.")
    view = await town.ask(
        "models.state",
        model=seeded.NEWEST_MODEL,
        state="conditional",
        reason="Good for the desk.",
        condition=["desk only"],
        until="2026-12-31",
    )
    assert (view.state, view.before, view.by) == ("conditional", "candidate", "ana")
    assert view.conditions == ["desk only"]
    assert view.until.isoformat() == "2027-01-01T02:59:59+00:00"  # in São Paulo
    told = await town.ask("models.history", model=seeded.NEWEST_MODEL)
    kinds = [each.kind for each in told.items]
    assert set(kinds) >= {"note", "state", "evaluate", "deployment", "promotion", "adapter"}
    assert told.items == sorted(told.items, key=lambda each: each.at, reverse=True)
    [given] = [each for each in told.items if each.kind == "state"]
    assert given.what == "Good for the desk. On condition: desk only. Until 2026-12-31."


async def test_states_are_an_administrators_and_make_sense(town: Town) -> None:
    asked: dict[str, Any] = {"model": seeded.NEWEST_MODEL, "reason": "r"}
    with pytest.raises(RefusedError, match="SOPHIA-R403"):
        await town.ask("models.state", Role.OPERATOR, state="approved", **asked)
    for wrong, code in (
        ({"state": "conditional"}, "M506"),
        ({"state": "conditional", "condition": ["x"]}, "M506"),
        ({"state": "approved", "condition": ["x"]}, "M507"),
        ({"state": "conditional", "condition": ["x"], "until": "2026-11-24"}, "M508"),
    ):
        with pytest.raises(UsageError, match=f"SOPHIA-{code}"):
            await town.ask("models.state", **asked, **wrong)
    assert (await town.store.models.get(seeded.NEWEST_MODEL)).version == 1


@pytest.mark.parametrize("state", ["rejected", "retired"])
async def test_to_turn_down_what_production_names_is_asked_first(town: Town, state: str) -> None:
    asked = {"model": seeded.NEWEST_MODEL, "state": state, "reason": "Wrong about the fees."}
    with pytest.raises(UnconfirmedError, match=f"Production names .* to be {state}") as question:
        await town.ask("models.state", **asked)
    assert question.value.code == "SOPHIA-M514"
    assert (await town.store.models.get(seeded.NEWEST_MODEL)).state == "candidate"
    context = town.house.context(Face.CLI, actor="ana", role=Role.ADMIN, confirmed=True)
    view = await town.house.dispatcher.call("models.state", asked, context)
    assert view.state == state
    # what no promotion in force and no env file names is turned down unasked
    await town.ask("models.state", **(asked | {"model": seeded.OLDER_MODEL}))
    (town.folder / "rag.env").write_text(f"GEN_MODEL={seeded.OLDER_MODEL}\n")
    with pytest.raises(UnconfirmedError, match="M514"):
        await town.ask("models.state", **(asked | {"model": seeded.OLDER_MODEL}))


async def test_a_conditional_approval_expires_by_itself(town: Town) -> None:
    await town.ask(
        "models.state",
        model=seeded.NEWEST_MODEL,
        state="conditional",
        reason="r",
        condition=["c"],
        until="2026-11-30",
    )
    town.clock.at = seeded.NOW + timedelta(days=10)
    assert (await town.ask("models.show", model=seeded.NEWEST_MODEL)).state == "expired"
    expired = await town.ask("models.list", state=["expired"])
    assert [each.id for each in expired.items] == [seeded.NEWEST_MODEL]
    assert (await town.ask("models.list", state=["conditional"])).items == []


async def test_the_second_of_two_is_told_who_was_faster(town: Town) -> None:
    seen = (await town.ask("models.show", model=seeded.NEWEST_MODEL)).version
    asked: dict[str, Any] = {"model": seeded.NEWEST_MODEL, "seen_version": seen, "reason": "r"}
    await town.ask("models.state", state="approved", **asked)
    town.clock.at = seeded.NOW + timedelta(seconds=12)
    with pytest.raises(ConflictError) as refused:
        await town.ask("models.state", state="candidate", **asked)
    assert refused.value.code == "SOPHIA-M500"
    assert refused.value.why == "Its state is approved: ana gave it, 12 seconds ago."
    assert (await town.store.models.get(seeded.NEWEST_MODEL)).state == "approved"
    assert len(await town.store.remarks.page(seeded.NEWEST_MODEL)) == 1


async def test_bases_and_hosted_names_are_known_without_a_row_of_their_own(town: Town) -> None:
    found = await town.ask("models.list", match="gpt-4o-mini", sort="id")
    assert [(each.id, each.kind, each.version) for each in found.items] == [
        (seeded.HOSTED_MODEL, "hosted", 1),
        (seeded.HOSTED_BASE, "hosted", 0),
    ]
    shown = await town.ask("models.show", model=seeded.HOSTED_BASE)
    assert (shown.kind, shown.files) == ("hosted", [])
    await town.ask("models.note", model=seeded.HOSTED_BASE, text="Ends in January.")
    assert (await town.store.models.get(seeded.HOSTED_BASE)).version == 1
    lineage = await town.ask("models.lineage", model=seeded.BASE)
    assert {each.id for each in lineage.chain if each.relation == "trained from it"} == {
        seeded.NEWEST_MODEL,
        seeded.OLDER_MODEL,
    }
    assert {each.id for each in lineage.chain if each.relation == "in turn"} == {
        seeded.MERGED_MODEL,
        EXPORTED,
    }
    assert lineage.deployments == []


async def test_models_are_listed_by_kind_text_and_size(town: Town) -> None:
    adapters = await town.ask("models.list", kind=["adapter"], sort="id")
    assert [each.id for each in adapters.items] == [seeded.OLDER_MODEL, seeded.NEWEST_MODEL]
    await town.ask("models.verify", model=EXPORTED)
    by_size = await town.ask("models.list", sort="-size", limit=2)
    assert (by_size.items[0].id, by_size.items[0].size) == (EXPORTED, 4)
    of_job = await town.ask("models.list", match=seeded.HOSTED_DONE.upper())
    assert [each.id for each in of_job.items] == [seeded.HOSTED_MODEL]


async def test_files_are_kept_once_and_differences_named(town: Town) -> None:
    folder = Path((await town.store.models.get(seeded.MERGED_MODEL)).path or "")
    (folder / "model.safetensors").write_bytes(b"weights")
    first = await town.ask("models.verify", model=seeded.MERGED_MODEL)
    assert (first.state, first.files, first.bytes) == ("kept", 2, 9)
    again = await town.ask("models.verify", model=seeded.MERGED_MODEL)
    assert (again.state, again.exit_code()) == ("intact", 0)
    (folder / "model.safetensors").write_bytes(b"weighty")
    (folder / "config.json").unlink()
    (folder / "extra.bin").write_bytes(b"x")
    wrong = await town.ask("models.verify", model=seeded.MERGED_MODEL)
    assert [(each.name, each.state) for each in wrong.differences] == [
        ("config.json", "missing"),
        ("extra.bin", "added"),
        ("model.safetensors", "changed"),
    ]
    assert (wrong.state, wrong.exit_code()) == ("differs", 1)
    shown = await town.ask("models.show", model=seeded.MERGED_MODEL)
    assert [each.name for each in shown.files] == ["config.json", "model.safetensors"]
    with pytest.raises(UsageError, match="SOPHIA-M509"):
        await town.ask("models.verify", model=seeded.HOSTED_MODEL)
    (town.folder / "exported" / f"{EXPORTED}.gguf").unlink()
    with pytest.raises(NotFoundError, match="SOPHIA-M510"):
        await town.ask("models.verify", model=EXPORTED)


async def test_the_files_of_a_local_base_are_summed_and_kept(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    repository = hub / f"models--{seeded.BASE.replace('/', '--')}"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="SOPHIA-M509"):
        await town.ask("models.verify", model=seeded.BASE)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    first = await town.ask("models.verify", model=seeded.BASE)
    assert (first.state, first.files, first.path) == ("kept", 1, str(snapshot))
    shown = await town.ask("models.show", model=seeded.BASE)
    assert [(each.name, each.bytes) for each in shown.files] == [("config.json", 2)]
    (snapshot / "config.json").write_text("{ }")
    assert (await town.ask("models.verify", model=seeded.BASE)).state == "differs"


async def test_checks_stand_in_the_history_and_the_lineage(town: Town) -> None:
    reasons = {"reasons": [{"code": "M560", "what": "Prompt 3 differs."}]}
    check = ModelCheck(
        "check-1", seeded.NEWEST_MODEL, CheckKind.PARITY, False, reasons, seeded.NOW, "ana"
    )
    await town.store.checks.add(check)
    told = await town.ask("models.history", model=seeded.NEWEST_MODEL, limit=1)
    assert told.items[0].what == "Parity does not hold. Prompt 3 differs."
    lineage = await town.ask("models.lineage", model=seeded.NEWEST_MODEL, limit=0)
    assert [(each.id, each.passed) for each in lineage.checks] == [("check-1", False)]


async def test_a_training_leaves_the_files_and_the_template_of_its_adapter(town: Town) -> None:
    job = await town.store.jobs.get(seeded.INTERRUPTED)
    assert job is not None
    folder = Path(job.run_folder or "")
    adapter = folder / ADAPTER_FOLDER
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    made = file_records(sorted(adapter.iterdir()))
    write_manifest(folder, job.id, made)
    await Finisher(SystemClock(), load({})).succeed(town.store, job, Observed())
    done = await town.store.jobs.get(job.id)
    assert done is not None and done.state == "succeeded"
    model = await town.store.models.get(done.resulting_model or "")
    assert model is not None
    assert model.files == {name: each.model_dump() for name, each in made.items()}
    assert model.template_fingerprint == "9a" * 32
    assert (await town.ask("models.verify", model=model.id)).state == "intact"
    # of one that was made before sums were kept, the run's manifest says how it was made
    await town.store.models.update(model.id, files=None)
    (adapter / "adapter_model.safetensors").write_bytes(b"weightz")
    wrong = await town.ask("models.verify", model=model.id)
    assert [(each.name, each.state) for each in wrong.differences] == [
        ("adapter_model.safetensors", "changed")
    ]


def write_manifest(folder: Path, job_id: str, files: dict[str, FileRecord]) -> None:
    manifest = RunManifest(
        job_id=job_id,
        kind="train",
        base=seeded.BASE,
        base_kind="hub",
        base_fingerprint="b",
        template_fingerprint="9a" * 32,
        template_source="base",
        packages={},
        seed=1,
        device="cpu",
        threads=1,
        started_at=seeded.NOW,
        finished_at=seeded.NOW,
        seconds=1,
        adapter_files=files,
    )
    write_document(folder / MANIFEST_FILE, manifest)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("models.merge", "M431"),
        ("models.upload", "M531"),
        ("models.delete", "J611"),
        ("models.export", "M521"),
        ("evaluate.run", "J440"),
    ],
)
async def test_a_base_that_the_list_shows_is_told_what_it_lacks(
    town: Town, operation: str, code: str
) -> None:
    listed = [each.id for each in (await town.ask("models.list")).items]
    assert seeded.HOSTED_BASE in listed
    assert await town.store.models.get(seeded.HOSTED_BASE) is None  # jobs alone name it
    more = {"to": "me/mine"} if operation == "models.upload" else {}
    for model, wanted in ((seeded.HOSTED_BASE, code), ("nobody", "M404")):
        context = town.house.context(Face.CLI, actor="ana", role=Role.ADMIN, confirmed=True)
        with pytest.raises(SophiaError) as told:
            await town.house.dispatcher.call(operation, {"model": model, **more}, context)
        assert told.value.code == f"SOPHIA-{wanted}"
