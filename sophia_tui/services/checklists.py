"""The check lists before and after a training, ticked from what the store and the run folder hold.

Nothing is guessed: each item says what shows it, and what does not exist yet is not available.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobKind, JobState
from sophia_tui.domain.models import Model, ModelKind, PromotionState
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_, _, money, ngettext, number
from sophia_tui.services.estimates import is_here
from sophia_tui.services.merge import whole_merged
from sophia_tui.services.plan_views import CheckItem, CheckState, Stage
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from finetune.schema import PreviewReport
    from sophia_tui.settings import Settings

WORDS = {
    "examples_valid": N_("all examples valid"),
    "split_made": N_("split made"),
    "data_in_place": N_("data where the trainer finds it"),
    "token_set": N_("token set"),
    "test_run_passed": N_("a test-only run passed"),
    "budget_confirmed": N_("budget confirmed"),
    "epochs_done": N_("all epochs done"),
    "loss_falling": N_("loss falling"),
    "tribunal": N_("tribunal above 0.7"),
    "checkpoints_kept": N_("checkpoints kept"),
    "merged": N_("merged"),
    "on_this_machine": N_("here on this machine"),
    "generation_tested": N_("a generation tested"),
    "deployment_chosen": N_("deployment chosen"),
}
_LEAST_LOSSES = 4
_EVENTS = 5000
_JOBS = 500


def _item(stage: Stage, name: str, state: CheckState, evidence: str = "") -> CheckItem:
    return CheckItem(stage=stage, name=name, what=_(WORDS[name]), state=state, evidence=evidence)


def _before(name: str, state: CheckState, evidence: str = "") -> CheckItem:
    return _item("before", name, state, evidence)


def _after(name: str, state: CheckState, evidence: str = "") -> CheckItem:
    return _item("after", name, state, evidence)


async def before_checks(
    store: Store,
    settings: "Settings",
    version: DatasetVersion | None,
    base: str,
    hosted: bool,
    preview: "PreviewReport | None",
    budget: CheckItem,
) -> list[CheckItem]:
    """The list before a training of that base on that version."""
    return [
        _examples_valid(version, hosted, preview),
        _split_made(version),
        _data_in_place(version),
        _token_set(settings, base, hosted),
        await _test_run(store, version, base, hosted),
        budget,
    ]


def _examples_valid(
    version: DatasetVersion | None, hosted: bool, preview: "PreviewReport | None"
) -> CheckItem:
    name = "examples_valid"
    if version is None:
        return _before(name, "open", _("The data set is not in the store."))
    counts = version.counts
    prepared = ngettext(
        "prepared: {kept} row kept, {rejected} rejected",
        "prepared: {kept} rows kept, {rejected} rejected",
        counts.get("rows_kept", 0),
    ).format(kept=counts.get("rows_kept", 0), rejected=counts.get("rows_rejected", 0))
    if hosted:
        return _before(name, "done", prepared)
    from sophia_tui.services.train_preview import REASONS

    if preview is None:
        return _before(
            name, "open", prepared + "; " + _("`sophia train preview` looks with this base")
        )
    wrong = {
        each.reason: each.count
        for part in preview.parts
        for each in part.listed
        if each.reason != "truncated"
    }
    if wrong:
        told = ", ".join(
            f"{_(REASONS.get(reason, reason))}: {number(count)}"
            for reason, count in sorted(wrong.items())
        )
        return _before(name, "failed", told)
    examples = sum(part.examples for part in preview.parts)
    return _before(
        name,
        "done",
        ngettext("{count} example looked at", "{count} examples looked at", examples).format(
            count=examples
        ),
    )


def _split_made(version: DatasetVersion | None) -> CheckItem:
    counts = version.counts if version is not None else {}
    train, valid = counts.get("train", 0), counts.get("valid", 0)
    there = version is not None and (Path(version.folder) / "valid.jsonl").is_file()
    told = _("{train} for training, {valid} for validation").format(train=train, valid=valid)
    return _before("split_made", "done" if train and valid and there else "open", told)


def _data_in_place(version: DatasetVersion | None) -> CheckItem:
    name = "data_in_place"
    if version is None:
        return _before(name, "failed", _("The data set is not in the store."))
    folder, wrong = Path(version.folder), []
    written = {
        file: about
        for file, about in (version.manifest.get("files") or {}).items()
        if file in ("train.jsonl", "valid.jsonl")
    }
    for file in written or ("train.jsonl",):
        try:
            size = (folder / file).stat().st_size
        except OSError:
            wrong.append(file)
            continue
        if file in written and size != written[file].get("bytes"):
            wrong.append(file)
    if wrong:
        told = _("missing or changed: {files}").format(files=", ".join(wrong))
        return _before(name, "failed", told)
    return _before(name, "done", visible(version.folder))


def _token_set(settings: "Settings", base: str, hosted: bool) -> CheckItem:
    name = "token_set"
    key = settings.openai_api_key if hosted else settings.huggingface_token
    is_set = key is not None and bool(key.get_secret_value().strip())
    setting = "OPENAI_API_KEY" if hosted else "HUGGINGFACE_TOKEN"
    if is_set:
        return _before(name, "done", setting)
    if hosted and (settings.openai_base_url or "").strip():
        return _before(name, "not_needed", _("a server of your own: OPENAI_BASE_URL"))
    if hosted:
        return _before(name, "failed", _("{setting} is not set").format(setting=setting))
    if is_here(base):
        return _before(name, "not_needed", _("the base is on this machine"))
    told = _("{setting} is not set; gated bases of the hub want it").format(setting=setting)
    return _before(name, "open", told)


async def _test_run(
    store: Store, version: DatasetVersion | None, base: str, hosted: bool
) -> CheckItem:
    name = "test_run_passed"
    if hosted:
        return _before(name, "not_available", _("a provider has no test-only run"))
    found = await store.jobs.page(_JOBS, 0, (), (JobKind.TRAIN.value,))
    for job in found:  # newest first
        if not job.is_try or job.base != base or version is None or job.dataset != version.id:
            continue
        if job.state == JobState.SUCCEEDED:
            return _before(name, "done", job.id)
        if job.state == JobState.FAILED:
            return _before(name, "failed", f"{job.id} {(job.error or {}).get('code', '')}".strip())
    told = _("`sophia train start --try-one-step` makes one")
    return _before(name, "open", told)


def budget_check(
    usd: float | None, needs: bool, confirmed: dict[str, Any] | None, refused: str = ""
) -> CheckItem:
    """The item on the money: what was confirmed by whom, or why nobody needs to."""
    name = "budget_confirmed"
    if refused:
        return _before(name, "failed", refused)
    if confirmed:
        who, said = visible(str(confirmed.get("by"))), confirmed.get("usd")
        told = _("an unknown cost, by {who}").format(who=who)
        if said is not None:
            told = _("{usd} USD, by {who}").format(usd=money(float(said)), who=who)
        return _before(name, "done", told)
    if not needs:
        told = _("no cost is known") if usd is None else _("it costs nothing")
        return _before(name, "not_needed", told)
    if usd is None:
        return _before(name, "open", _("the cost is not known, and to be confirmed"))
    return _before(name, "open", _("{usd} USD are to be confirmed").format(usd=money(usd)))


class AfterChecks:
    """The list after a training, of one job."""

    def __init__(self, store: Store, job: Job) -> None:
        self._store = store
        self._job = job

    async def items(self) -> list[CheckItem]:
        """The list. Reads the job's events, its run folder, models, evaluations, deployments."""
        events = await self._events()
        wanted = self._job.resulting_model
        model = await self._store.models.get(wanted) if wanted else None
        return [
            self._epochs_done(events),
            _loss_falling(events),
            _after("tribunal", "not_available", _("The tribunal does not exist yet.")),
            self._checkpoints_kept(events),
            await self._merged(model),
            self._on_this_machine(model),
            await self._generation_tested(model),
            await self._deployment_chosen(model),
        ]

    async def _events(self) -> list[JobEvent]:
        found: list[JobEvent] = []
        while True:
            after = found[-1].number if found else 0
            page = await self._store.jobs.events(self._job.id, after, _EVENTS)
            found += page
            if len(page) < _EVENTS:
                return found

    def _epochs_done(self, events: Sequence[JobEvent]) -> CheckItem:
        job, name = self._job, "epochs_done"
        total = number(job.total_steps) if job.total_steps else "?"
        told = f"{_(job.state)}, {number(job.step or 0)}/{total}"
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            return _after(name, "failed", told)
        if job.state != JobState.SUCCEEDED:
            return _after(name, "open", told)
        planned = [
            int(each.data["planned_steps"])
            for each in events
            if each.kind == "state" and isinstance(each.data.get("planned_steps"), int)
        ]
        whole = max([job.total_steps or 0, *planned])
        if (job.step or 0) < whole:
            short = _("{done} of {planned} planned steps").format(done=job.step or 0, planned=whole)
            return _after(name, "failed", short)
        return _after(name, "done", told)

    def _checkpoints_kept(self, events: Sequence[JobEvent]) -> CheckItem:
        from finetune.schema import CHECKPOINT_MANIFEST_FILE, CHECKPOINTS_FOLDER

        name = "checkpoints_kept"
        written = [each for each in events if each.kind == "checkpoint"]
        if self._job.provider != "local":
            told = _("{count} at the provider").format(count=len(written))
            return _after(name, "done" if written else "open", told)
        folder = Path(self._job.run_folder or "") / CHECKPOINTS_FOLDER
        kept = sorted(each.parent.name for each in folder.glob(f"*/{CHECKPOINT_MANIFEST_FILE}"))
        if kept and self._job.run_folder:
            return _after(name, "done", ", ".join(kept))
        if written:
            return _after(name, "failed", _("written, and no longer there"))
        return _after(name, "open", _("none was written yet"))

    async def _merged(self, model: Model | None) -> CheckItem:
        name = "merged"
        if model is None:
            return _after(name, "open", _("there is no model yet"))
        if model.kind is not ModelKind.ADAPTER:
            return _after(name, "not_needed", _("it is no adapter of this machine"))
        merged = await whole_merged(self._store, model.id)
        if merged is None:
            told = _("`sophia models merge {model}`").format(model=model.id)
            return _after(name, "open", told)
        return _after(name, "done", merged.id)

    def _on_this_machine(self, model: Model | None) -> CheckItem:
        name = "on_this_machine"
        if model is None:
            return _after(name, "open", _("there is no model yet"))
        if model.kind is ModelKind.HOSTED:
            return _after(name, "not_available", _("a hosted model stays at its provider"))
        folder = Path(model.path or "")
        written = _adapter_sizes(folder.parent)
        try:
            wrong = [
                each for each, size in written.items() if (folder / each).stat().st_size != size
            ]
        except OSError:
            wrong = list(written)
        if wrong or not written:
            return _after(name, "failed", _("not whole: {path}").format(path=visible(str(folder))))
        return _after(name, "done", visible(str(folder)))

    async def _generation_tested(self, model: Model | None) -> CheckItem:
        name = "generation_tested"
        if model is None:
            return _after(name, "open", _("there is no model yet"))
        for each in await self._store.evaluations.page(model.id, limit=20):
            report = each.report
            answers = [*(report.get("answers") or []), *(report.get("graded_answers") or [])]
            if any(answer.get("after") for answer in answers if isinstance(answer, dict)):
                told = ngettext(
                    "{count} answer in {evaluation}",
                    "{count} answers in {evaluation}",
                    len(answers),
                ).format(count=len(answers), evaluation=each.id)
                return _after(name, "done", told)
        told = _("`sophia evaluate {model}`").format(model=visible(model.id))
        return _after(name, "open", told)

    async def _deployment_chosen(self, model: Model | None) -> CheckItem:
        name = "deployment_chosen"
        if model is None:
            return _after(name, "open", _("there is no model yet"))
        names = {model.id, f"{model.id}-merged"}
        served = [
            each.name
            for each in await self._store.deployments.page(limit=100, living=True)
            if each.model_id in names
        ]
        if served:
            return _after(name, "done", _("served as {name}").format(name=visible(served[0])))
        for each in await self._store.promotions.page(limit=100):
            if each.model_id in names and each.state is PromotionState.DONE:
                return _after(name, "done", _("promoted: {id}").format(id=each.id))
        told = _("`sophia serve model {model}` or `sophia promote {model}`").format(
            model=visible(model.id)
        )
        return _after(name, "open", told)


def _loss_falling(events: Sequence[JobEvent]) -> CheckItem:
    """The mean of the last quarter of the training losses lies below that of the first."""
    name = "loss_falling"
    losses = [
        float(each.data["loss"])
        for each in events
        if each.kind == "metric"
        and "eval_loss" not in each.data
        and isinstance(each.data.get("loss"), int | float)
    ]
    if len(losses) < _LEAST_LOSSES:
        told = ngettext(
            "{count} loss, {least} are needed", "{count} losses, {least} are needed", len(losses)
        ).format(count=len(losses), least=_LEAST_LOSSES)
        return _after(name, "open", told)
    part = max(1, len(losses) // 4)
    first, last = statistics.fmean(losses[:part]), statistics.fmean(losses[-part:])
    return _after(
        name, "done" if last < first else "failed", f"{number(first, 3)} -> {number(last, 3)}"
    )


def _adapter_sizes(run_folder: Path) -> dict[str, int]:
    """Bytes of the adapter's files, as the run's manifest says."""
    from finetune.schema import MANIFEST_FILE, ContractError, RunManifest, read_document

    try:
        manifest = read_document(run_folder / MANIFEST_FILE, RunManifest)
    except ContractError:
        return {}
    written = manifest.adapter_files or manifest.merged_files
    return {name: each.bytes for name, each in written.items()}
