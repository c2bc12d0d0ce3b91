"""The screens, one module each with its style sheet beside it; imported when they are opened."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console
    from sophia_tui.tui.screens.base import SophiaScreen

#: The class of each screen that a digit opens; its module has the screen's name.
CLASSES = {
    "overview": "OverviewScreen",
    "setup": "SetupScreen",
    "datasets": "DatasetsScreen",
    "jobs": "JobsScreen",
    "models": "ModelsScreen",
    "monitor": "MonitorScreen",
    "review": "ReviewScreen",
    "settings": "SettingsScreen",
    "audit": "AuditScreen",
}


def made(name: str, sophia: "Console") -> "SophiaScreen":
    """A new screen of that name."""
    found: SophiaScreen = getattr(import_module(f"{__name__}.{name}"), CLASSES[name])(sophia)
    return found
