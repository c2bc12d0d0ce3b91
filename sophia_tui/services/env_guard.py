"""What holds for keys of Sophia's env file, whoever writes them."""

from sophia_tui import envfile
from sophia_tui.domain.context import Context
from sophia_tui.errors import RefusedError, UnconfirmedError, UsageError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible


def require_near(context: Context, key: str, verb: str = "set") -> None:
    """Who holds a token must not widen what it opens. Raises RefusedError S451."""
    from sophia_tui import settings

    if not context.from_afar or key not in settings.GUARDED_KEYS:
        return
    raise RefusedError(
        "S451",
        _("{key} is not changed over HTTP.").format(key=key),
        _("It guards the HTTP API or Sophia's database."),
        _("On the server: `{command}`").format(command=f"sophia env {verb} {key}"),
    )


def require_usable(key: str, value: str) -> None:
    """Raises UsageError S120 for what no line can hold, S452 for a token that can be guessed."""
    from sophia_tui import settings

    envfile.quote(value)
    if key in settings.TOKEN_KEYS and len(value.strip()) < settings.LEAST_TOKEN:
        raise UsageError(
            "S452",
            _("{key} is too short.").format(key=key),
            _("A token has at least {count} characters.").format(count=settings.LEAST_TOKEN),
            _("`openssl rand -hex 32` makes one."),
        )


def require_yes(context: Context, key: str, kept: str | None) -> None:
    """A wrong address leaves Sophia without its tables. `kept` is where the old content goes.

    Raises UnconfirmedError S453.
    """
    from sophia_tui import settings

    if key not in settings.DATABASE_KEYS or context.confirmed:
        return
    told = _("{key} says which database is used; a wrong value stops Sophia.").format(key=key)
    if kept is not None:
        told += " " + kept_words(kept)
    raise UnconfirmedError(
        "S453",
        told,
        _("Nobody has confirmed that yet."),
        _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
    )


def kept_words(folder: str) -> str:
    return _("The env file's old content is kept as a backup in {folder}.").format(
        folder=visible(folder)
    )
