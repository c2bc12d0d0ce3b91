"""What a dangerous act would change, asked of the services before a person confirms it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.operations import Operation
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.disk_use import shown_size
from sophia_tui.textsafe import visible
from sophia_tui.tui import words

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


async def effect_of(
    sophia: "Console", operation: Operation, request: Mapping[str, Any]
) -> list[str]:
    """Sentences, harmless for the terminal; none where only the declaration is known.

    Raises SophiaError where the act would be refused: then there is nothing to confirm.
    """
    if operation.name in ("promote.run", "promote.rollback"):
        return await _promotion(sophia, operation, request)
    if operation.name == "serve.stop" and request.get("name"):
        return await _stop(sophia, str(request["name"]))
    if operation.name == "setup.apply":
        planned: Any = await sophia.call(operation.name, request, dry_run=True)
        return [visible(planned.effect), visible(planned.command)]
    if operation.name == "setup.prune":
        return _pruned(await sophia.call(operation.name, request, dry_run=True))
    if operation.name == "datasets.delete":
        return _version(await sophia.call(operation.name, request, dry_run=True))
    if operation.name == "prepare.forget":
        return _forgotten(await sophia.call(operation.name, request, dry_run=True))
    if operation.dry_run:
        await sophia.call(operation.name, request, dry_run=True)
    return []


async def _promotion(
    sophia: "Console", operation: Operation, request: Mapping[str, Any]
) -> list[str]:
    """The plan of a promotion or of its way back: models, env files, how to return."""
    plan: Any = await sophia.call(operation.name, request, dry_run=True)
    refusals = {
        _("It would be refused: {why}").partition("{")[0],
        _("It would be refused: no answer at {address}. {why}").partition("{")[0],
    }
    refused = [each for each in plan.notes if each.startswith(tuple(refusals))]
    back = operation.name == "promote.rollback"
    if refused and back:
        raise RefusedError(
            "U492",
            _("The way back to {model} is refused now.").format(model=visible(plan.model)),
            " ".join(refused),
            _("Or go back without asking it: `sophia promote rollback --no-probe`."),
        )
    if refused:
        raise RefusedError(
            "U491",
            _("{model} can't be promoted now.").format(model=visible(plan.model)),
            " ".join(refused),
            _("Mend the cause, then promote again."),
        )
    # the plan of a rollback names the model that leaves as the previous one
    told = [
        _("In production afterwards: {model}").format(model=visible(plan.model)),
        _("In production now: {model}").format(model=visible(plan.previous_model or "-")),
    ]
    for each in plan.files:
        told.append(_("Env file: {path}").format(path=visible(each.path)))
        told += [f"  {visible(line)}" for line in _changes(each.diff)]
    if plan.restarts:
        units = ", ".join(visible(each) for each in plan.restarts)
        told.append(_("Restarts: {units}").format(units=units))
    told += [
        _("By hand afterwards: {command}").format(command=visible(each.command))
        for each in plan.elsewhere
    ]
    if plan.checks:
        told.append(
            _("Health check, else everything is put back: {checks}").format(
                checks=" ".join(visible(each) for each in plan.checks)
            )
        )
    said = (
        _("Nothing was changed: this is the plan."),
        _("These units would restart: {units}.").partition("{")[0],
    )
    told += [visible(each) for each in plan.notes if not each.startswith(said)]
    if back:
        told.append(_("Takes back: {promotion}").format(promotion=visible(plan.rolls_back or "-")))
    else:
        told.append(_("`sophia promote rollback` takes it back."))
    return told


def _changes(diff: Sequence[str]) -> list[str]:
    """Old and new of each key, of lines as they stand in the file."""
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for line in diff:
        key, _sign, value = line[1:].partition("=")
        (new if line.startswith("+") else old)[key.removeprefix("export ").strip()] = value
    return [
        f"{key}: {old.get(key, _('not there'))} -> {new.get(key, _('not there'))}"
        for key in dict.fromkeys((*old, *new))
        if key
    ]


def _pruned(plan: Any) -> list[str]:
    """How much would go, in all and of each kind."""
    if not plan.items:
        return [_("Nothing would be removed.")]
    told = [
        _("Would be removed for good: {count}, {size} in all.").format(
            count=number(len(plan.items)), size=shown_size(plan.freed_bytes)
        )
    ]
    for what in dict.fromkeys(each.what for each in plan.items):
        mine = [each for each in plan.items if each.what == what]
        size = shown_size(sum(each.bytes for each in mine))
        told.append(f"  {visible(what)}: {number(len(mine))}, {size}")
    if plan.kept:
        told.append(_("Would be kept: {count}").format(count=number(len(plan.kept))))
    return [*told, _("The dry run lists each of them.")]


def _version(plan: Any) -> list[str]:
    """How large the version is, and what was made of it."""
    told = [
        _("Would be removed for good: {size} in {folder}").format(
            size=plan.size, folder=visible(plan.folder)
        )
    ]
    made = {_("Jobs on it"): plan.jobs, _("Models of it"): plan.models, _("Tags"): plan.tags}
    told += [f"{title}: {visible(', '.join(each))}" for title, each in made.items() if each]
    return [*told, *(visible(each) for each in plan.kept_by)]


def _forgotten(plan: Any) -> list[str]:
    """In how many versions how many rows are theirs, and what is left to do elsewhere."""
    rows = sum(each.rows for each in plan.versions)
    told = [
        ngettext(
            "Rows of the person: {rows}, in {versions} version.",
            "Rows of the person: {rows}, in {versions} versions.",
            len(plan.versions),
        ).format(rows=number(rows), versions=number(len(plan.versions))),
        _("Models trained on them: {models}").format(
            models=visible(", ".join(plan.models)) or number(0)
        ),
        _("Other places that hold them, or may: {count}").format(count=number(len(plan.elsewhere))),
    ]
    return [*told, _("The dry run lists each of them.")]


async def _stop(sophia: "Console", name: str) -> list[str]:
    """What is served under the name, and whether production names it."""
    if not sophia.may("serve.show"):
        return []
    found: Any = await sophia.call("serve.show", {"name": name})
    told = [
        _("Served as {name}: {model}, {state}").format(
            name=visible(found.name),
            model=visible(found.model),
            state=words.state_word(found.state),
        )
    ]
    return [*told, await _in_production(sophia, found)]


async def _in_production(sophia: "Console", deployment: Any) -> str:
    if not sophia.may("models.production"):
        return _("Whether production uses it is not known to you.")
    found: Any = await sophia.call("models.production", {"model": deployment.name})
    named = dict.fromkeys(visible(each.file) for each in found.items if each.now)
    if not named:
        return _("No env file of production names it.")
    files = ", ".join(named)
    return _("Production asks for it: {files} name it, and get no answer afterwards.").format(
        files=files
    )
