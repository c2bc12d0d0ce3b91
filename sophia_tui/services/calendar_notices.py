"""What people are told of models that end: once for each bound that is passed, never a flood."""

from datetime import datetime
from typing import TYPE_CHECKING

from sophia_tui.domain.protocols import Store
from sophia_tui.services.calendar_looks import EndingModelView, endings
from sophia_tui.services.calendar_views import CalendarView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


async def announce_endings(store: Store, settings: "Settings", view: CalendarView) -> int:
    """Note what is amiss, for every channel that is set up; how many messages that may be. Noted
    again, nothing is told twice."""
    found = endings(view) if settings.channels else []
    for each in found:
        body = {
            "about": "model",
            "event": event_of(each, view.now),
            **each.model_dump(mode="json", exclude={"told"}),
        }
        about = f"model:{each.model}"
        await store.notifications.add(about, body["event"], settings.channels, body)
    return len(found)


def event_of(found: EndingModelView, now: datetime) -> str:
    """What happened, the same each time it is seen: the bound that was passed before which day; a
    model that answers no more is told of again each month that it is still named."""
    use = "base-" if found.use == "base" else ""
    if found.state == "ends" and (found.days_left or 0) > 0:
        return f"{use}ends-{found.threshold}@{found.ends}"
    return f"{use}{found.state}@{now:%Y-%m}"
