"""SOPHIA_ROLES and its like: words to roles."""

from sophia_tui.domain.context import Role
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _


def as_role(word: str, where: str) -> Role:
    """The role a setting names. Raises UsageError T423."""
    try:
        return Role(word)
    except ValueError:
        raise UsageError(
            "T423",
            _("{setting} names a role that does not exist.").format(setting=where),
            _("The roles are viewer, operator and admin."),
            _("Correct {setting}.").format(setting=where),
        ) from None


def read_roles(text: str) -> dict[str, Role]:
    """The role of each user that SOPHIA_ROLES names. Raises UsageError T423, T425."""
    given: dict[str, Role] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, sign, role = (part.strip() for part in pair.partition("="))
        if not (name and sign and role):
            raise UsageError(
                "T425",
                _("SOPHIA_ROLES can't be read."),
                _("Part {number} is no user=role pair.").format(
                    number=text.split(pair)[0].count(",") + 1
                ),
                _("Write it like maria=admin,*=viewer."),
            )
        given[name] = as_role(role, "SOPHIA_ROLES")
    return given
