"""Tokens of the HTTP API: which role a request's token stands for. Never logged, never compared
with `==`."""

import contextlib
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sophia_tui.api.attempts import Attempts
from sophia_tui.domain.context import Role
from sophia_tui.errors import UnauthenticatedError
from sophia_tui.i18n import _
from sophia_tui.roles import as_role

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

HEADER = b"x-admin-token"


def _digest(token: bytes) -> bytes:
    """Digests have one length, so that the comparison tells nothing about a token's length."""
    return hashlib.sha256(token).digest()


@dataclass(frozen=True)
class _Known:
    """`models_only`: good for /v1 and nothing else, where it stands for an operator."""

    digest: bytes
    role: Role
    models_only: bool = False


def _encodings(token: str) -> set[bytes]:
    """As HTTP clients may send it: UTF-8, or Latin-1 where it fits into that."""
    every = {token.encode("utf-8", "surrogateescape")}
    with contextlib.suppress(UnicodeEncodeError):
        every.add(token.encode("latin-1"))
    return every


class Tokens:
    """The tokens in force, as digests. Made once, when the API starts.

    A word that two settings share counts with the lower role. Raises UsageError T423 where
    SOPHIA_API_ROLE is no role.
    """

    def __init__(self, settings: "Settings") -> None:
        granted = (
            (settings.viewer_token, Role.VIEWER, False),
            (settings.operator_token, Role.OPERATOR, False),
            (settings.model_token, Role.OPERATOR, True),
            (settings.finetune_token, as_role(settings.api_role, "SOPHIA_API_ROLE"), False),
        )
        self._known = tuple(
            _Known(_digest(encoded), role, models_only)
            for token, role, models_only in sorted(granted, key=lambda g: list(Role).index(g[1]))
            if token is not None and token.get_secret_value().strip()
            for encoded in _encodings(token.get_secret_value().strip())
        )
        self.attempts = Attempts(settings.wrong_tokens)

    def role_of(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        asks_model: bool = False,
        client: str = "-",
    ) -> Role:
        """The role of the request with these raw headers; `asks_model`: it is for /v1; `client` is
        whose wrong tokens are counted together.

        Raises UnauthenticatedError R401, TooManyError R470.
        """
        given = [_digest(token) for token in _given(headers)]
        found: Role | None = None
        ours = False
        for digest in given:
            for known in self._known:  # every one is looked at: the time tells nothing
                same = hmac.compare_digest(digest, known.digest)
                ours = ours or same
                same = same and (asks_model or not known.models_only)
                if same and found is None:
                    found = known.role
        if found is None:
            if self._known and given and not ours:  # one that is ours, at another door, is no guess
                self.attempts.wrong(client)
            raise self._unknown(asks_model)
        return found

    def _unknown(self, asks_model: bool) -> UnauthenticatedError:
        why = _("No token came with the request, or not the right one.")
        remedy = _("Send the token in the header x-admin-token, or as Authorization: Bearer.")
        if not self._known:
            why = _("No token is set on this server.")
            remedy = _("Set FINETUNE_TOKEN in Sophia's .env and restart the API.")
        elif asks_model:
            remedy = _("Send SOPHIA_MODEL_TOKEN as the API key (Authorization: Bearer).")
        return UnauthenticatedError("R401", _("The API needs a token."), why, remedy)


def _given(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """The first token of each header: who sends many in one request guesses."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == HEADER:
            found.setdefault(name, value.strip())
        elif name == b"authorization":
            scheme, _sign, token = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                found.setdefault(name, token.strip())
    return filter(None, found.values())
