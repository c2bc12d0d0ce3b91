"""A scroll that stays at its end as text comes and windows change, unless the person scrolls up."""

from textual.containers import VerticalScroll


class Tail(VerticalScroll):
    """Textual's anchor, which only a scroll away from the end sets free."""

    def on_mount(self) -> None:
        self.anchor()

    def release_anchor(self) -> None:
        super().release_anchor()
        self.call_after_refresh(self._hold)

    def _hold(self) -> None:
        """Who scrolls down at the end, or where all is in sight, goes on following."""
        if round(self.scroll_target_y) >= self.max_scroll_y:
            self.anchor()
