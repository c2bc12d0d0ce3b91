"""What is written down of a promotion: its lines in history.jsonl, and words for people."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.domain.models import Promotion
from sophia_tui.files import append_line
from sophia_tui.i18n import _

#: What the history keeps of a promotion's notes.
_KEPT = ("probe", "gate", "golden", "elsewhere", "to", "before")

#: The model of a way back to a time in which no model was named.
NO_MODEL = "-"


def named_model(model_id: str) -> str:
    """The model in words, where there is none as well."""
    return _("no model") if model_id == NO_MODEL else model_id


def units_of(promotion: Promotion) -> list[str]:
    """The units that restart with it, as they were declared when it was planned."""
    return [str(each) for each in promotion.notes.get("units", [])]


def elsewhere_of(promotion: Promotion) -> list[dict[str, Any]]:
    """Units of other hosts that people restart: `unit` is HOST:UNIT, `confirmed_by` who did."""
    return [dict(each) for each in promotion.notes.get("elsewhere", [])]


def by_hand(unit: str) -> str:
    """The command that restarts a unit of another host."""
    host, _sign, name = unit.partition(":")
    return f"ssh {host} sudo systemctl restart {name}"


def record_line(promotion: Promotion) -> None:
    """The promotion's line, once. Raises SetupError S101."""
    kind = "rollback" if promotion.rolls_back else "promotion"
    line: dict[str, Any] = {
        "kind": kind,
        "id": promotion.id,
        "at": promotion.created_at.isoformat(),
        "job": promotion.notes.get("job"),
        "model": promotion.model_id,
        "previous_model": promotion.previous_model,
        "by": promotion.created_by,
        "files": [{"path": each.path, "keys": sorted(each.after)} for each in promotion.changes],
    }
    if promotion.rolls_back:
        line["rolls_back"] = promotion.rolls_back
    line |= {key: promotion.notes[key] for key in _KEPT if key in promotion.notes}
    _append(promotion, line)


def is_way_back(promotion: Promotion) -> bool:
    """Whether it takes others back; one that returns to the newest state takes none."""
    return promotion.rolls_back is not None or "to" in promotion.notes


def repair_line(promotion: Promotion, kind: str, at: datetime, why: str) -> None:
    """That it was undone (`promotion_undone`) or finished later (`promotion_finished`), once."""
    _append(
        promotion,
        {
            "kind": kind,
            "id": promotion.id,
            "at": at.isoformat(),
            "step": promotion.step,
            "why": why,
        },
    )


def stands(promotion: Promotion, *kinds: str) -> bool:
    """Whether the history has a line of one of these kinds for it; of none: any line."""
    history = Path(promotion.notes["history"])
    if not history.is_file():
        return False
    with history.open("rb") as lines:
        for raw in lines:
            if promotion.id.encode() in raw:
                try:
                    line = json.loads(raw)
                except ValueError:  # torn
                    continue
                if line.get("id") == promotion.id and (not kinds or line.get("kind") in kinds):
                    return True
    return False


def _append(promotion: Promotion, line: dict[str, Any]) -> None:
    append_line(
        Path(promotion.notes["history"]),
        json.dumps(line, ensure_ascii=False).encode("utf-8"),
        unless=lambda: stands(promotion, line["kind"]),
    )
