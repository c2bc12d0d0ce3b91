"""What is told of a preparation: steps and manifest of the version, or why there is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sophia_tui.datasets import split
from sophia_tui.datasets.codes import summary
from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.redact import Pseudonyms
from sophia_tui.datasets.redact import settings as redact_settings
from sophia_tui.datasets.rejections import Rejections
from sophia_tui.datasets.split import KEYS
from sophia_tui.datasets.steps import Redact, Step
from sophia_tui.datasets.version import FORMAT_VERSION
from sophia_tui.domain.datasets import CHAT, PAIRS
from sophia_tui.errors import DataError
from sophia_tui.i18n import _, ngettext
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.pipeline import Request
    from sophia_tui.datasets.sources import Passed

READER_VERSION = 1
FORMATS_VERSION = 2
REPAIR_VERSION = 1


def steps_of(
    request: "Request",
    recipe: Sequence[Step],
    repaired: bool,
    form: str,
    pseudonyms: Pseudonyms | None,
) -> list[dict[str, Any]]:
    """Every step with its version and settings. Of a version that is split anew these are its own,
    but for the split."""
    steps: list[dict[str, Any]] = list(request.done_before)
    if not steps:
        line_bytes = {"line_bytes": MAX_LINE_BYTES}
        steps.append({"step": "read", "version": READER_VERSION, "settings": line_bytes})
        if repaired:
            steps.append({"step": "repair_copy_export", "version": REPAIR_VERSION, "settings": {}})
        form_settings = {"form": PAIRS} if form == PAIRS else {}
        steps.append({"step": "convert", "version": FORMATS_VERSION, "settings": form_settings})
    for each in recipe:
        recorded = redact_settings(pseudonyms) if isinstance(each, Redact) else each.recorded()
        steps.append({"step": each.NAME, "version": each.VERSION, "settings": recorded})
    settings: dict[str, Any] = {"shares": request.split, "seed": request.seed}
    if set(request.group) != set(KEYS):
        settings["group"] = sorted(request.group)
    if request.stratify:
        settings["stratify"] = request.stratify
    if request.held_out:
        settings = {"held_out": sorted(request.held_out)}
    return [*steps, {"step": "split", "version": split.VERSION, "settings": settings}]


def manifest_of(
    request: "Request",
    steps: list[dict[str, Any]],
    form: str,
    kept: int,
    rows_in: int,
    rejections: Rejections,
    sources: list[dict[str, Any]],
    passed: "Sequence[Passed]",
    told: dict[str, Counter[str]],
) -> dict[str, Any]:
    """All but the hash and what is known only once the parts are written."""
    rejected = rejections.count
    redactions = told.get(Redact.NAME, Counter())
    counts = {
        "rows_in": rows_in,
        "rows_kept": kept,
        "rows_rejected": rejected,
        "redacted": redactions.total(),
        **dict(sorted(rejections.by_code.items())),
    }
    return {
        "format_version": FORMAT_VERSION,
        "name": request.name,
        "created_at": request.created_at.isoformat(),
        "seed": request.seed,
        "redacted": any(step["step"] == Redact.NAME for step in steps),
        **({"form": PAIRS} if form == PAIRS else {}),
        "sources": sources,
        "passed_over": [asdict(each) for each in passed],
        "steps": steps,
        "counts": counts,
        "rejected_by_step": dict(sorted(rejections.by_step.items())),
        "sum": f"{rows_in} = {kept} + {rejected}",
        "redactions": dict(sorted(redactions.items())),
    }


def nothing_usable(rejections: Rejections, rows_in: int) -> DataError:
    examples = rejections.examples()
    why = "; ".join(
        f"{count} × {summary(code)} ({visible(', '.join(examples[code][:3]))})"
        for code, count in rejections.by_code.most_common(5)
    )
    remedy = _("Correct the named lines.")
    if rejections.by_code["copy_export"]:
        remedy = _("Repair the export (`sophia prepare repair`), or collect again.")
    return DataError(
        "D307",
        ngettext(
            "No usable example in {count} row.", "No usable example in {count} rows.", rows_in
        ).format(count=rows_in),
        why or _("The files are empty."),
        remedy,
        rows_in=rows_in,
        rejected=dict(rejections.by_code),
        examples=examples,
    )


def mixed(forms: Counter[str]) -> DataError:
    return DataError(
        "D380",
        _("The files hold both chats and preference pairs."),
        _(
            "{chats} lines are chats and {pairs} are preference pairs; a data set has one form."
        ).format(chats=forms[CHAT], pairs=forms[PAIRS]),
        _("Say which ones it is to be made of: --form chat or --form pairs; or name the files."),
    )
