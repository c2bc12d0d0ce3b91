"""The way back from an act, as the operation that takes it back: said after the act, in place of
one question more before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class WayBack:
    operation: str
    request: dict[str, Any]


def way_back(operation: str, request: Mapping[str, Any], result: BaseModel) -> WayBack | None:
    """None where there is no way back, or none that one operation goes."""
    made: Any = result
    if operation == "promote.run":
        return WayBack("promote.rollback", {"promotion": made.id})
    if operation == "promote.rollback":
        # by the promotion's own way: the gate may refuse today what was promoted then
        return WayBack("promote.rollback", {"before": made.id})
    if operation == "jobs.pause":
        return WayBack("jobs.resume", {"job": made.id})
    if operation == "serve.model":
        return WayBack("serve.stop", {"name": made.name})
    if operation == "schedules.add":
        return WayBack("schedules.remove", {"schedule": made.name})
    if operation == "datasets.tag":
        if made.moved_from:
            return WayBack("datasets.tag", {"dataset": made.moved_from, "tag": made.tag})
        return WayBack("datasets.untag", {"dataset": made.reference})
    if operation == "prepare.edit":
        return WayBack("prepare.undo", {"file": request["file"]})
    return None
