"""Notifications: which were sent, and a test message. What is told when is the worker's."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.notifications import Messenger, Notification
from sophia_tui.domain.operations import NoInput, Output
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.notification_text import message_of
from sophia_tui.services.operations import operation
from sophia_tui.services.views import Page

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


class NotificationView(Output):
    table_columns: ClassVar[tuple[str, ...]] = (
        "created_at",
        "job",
        "event",
        "channel",
        "state",
        "tries",
        "error",
    )

    job: str = Field(title=N_("Job"))
    event: str = Field(title=N_("Event"))
    channel: str = Field(title=N_("Channel"))
    state: str = Field(title=N_("State"))
    tries: int = Field(title=N_("Tries"))
    created_at: datetime | None = Field(title=N_("Noted"))
    sent_at: datetime | None = Field(default=None, title=N_("Sent"))
    next_at: datetime | None = Field(default=None, title=N_("Next try"))
    error: str | None = Field(default=None, title=N_("Error"))

    @classmethod
    def of(cls, found: Notification) -> "NotificationView":
        return cls(
            job=found.job_id,
            event=found.event,
            channel=found.channel,
            state=found.state,
            tries=found.tries,
            created_at=found.created_at,
            sent_at=found.sent_at,
            next_at=found.next_at if found.state == "waiting" else None,
            error=found.error,
        )


class NotificationList(Output):
    channels: list[str] = Field(title=N_("Channels that are set up"))
    items: list[NotificationView] = Field(title=N_("Notifications"))


class ChannelTest(Output):
    channel: str = Field(title=N_("Channel"))
    sent: bool = Field(title=N_("Sent"))
    error: dict[str, str] | None = Field(default=None, title=N_("Error"))


class ChannelTests(Output):
    items: list[ChannelTest] = Field(title=N_("Channels"))

    def exit_code(self) -> int:
        return int(any(not each.sent for each in self.items))


class NotificationsService:
    """Shows notifications, and tries the channels."""

    def __init__(
        self, store: Store, settings: "Settings", messenger: Callable[[], Messenger]
    ) -> None:
        self._store = store
        self._settings = settings
        self._messenger = messenger

    @operation("notifications.list", N_("List what people were told about jobs, newest first."))
    async def page(self, context: Context, request: Page) -> NotificationList:
        found = await self._store.notifications.page(request.limit, request.offset)
        return NotificationList(
            channels=list(self._settings.channels), items=[NotificationView.of(x) for x in found]
        )

    @operation(
        "notifications.test",
        N_("Send a test message by every channel that is set up."),
        role=Role.OPERATOR,
        writes=True,
    )
    async def test(self, context: Context, request: NoInput) -> ChannelTests:
        """Raises UsageError T433 where no channel is set up."""
        if not self._settings.channels:
            raise UsageError(
                "T433",
                _("No channel for notifications is set up."),
                remedy=_(
                    "Set SOPHIA_WEBHOOK_URL, or SOPHIA_SMTP_URL and SOPHIA_EMAIL_TO, or "
                    "SOPHIA_WHATSAPP_TOKEN, SOPHIA_WHATSAPP_PHONE_ID and SOPHIA_WHATSAPP_TO."
                ),
            )
        message = message_of({"test": True, "event": "test"}, self._settings.notification_language)
        items = []
        for channel in self._settings.channels:
            try:
                await self._messenger().send(channel, message)
            except SophiaError as problem:
                said = problem.as_dict()
                told = {name: said[name] for name in ("code", "what", "why", "remedy")}
                items.append(ChannelTest(channel=channel, sent=False, error=told))
            else:
                items.append(ChannelTest(channel=channel, sent=True))
        return ChannelTests(items=items)
