"""Options that every verb knows, taken from the command line before anything heavy is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _


@dataclass
class Globals:
    """Options that mean the same for every verb; they may stand anywhere before `--`."""

    json: bool = False
    quiet: bool = False
    plain: bool = False
    readonly: bool = False
    yes: bool = False
    dry_run: bool = False
    detach: bool = False
    ascii: bool = False
    help: bool = False
    version: bool = False
    language: str | None = None
    seen: int | None = None
    words: list[str] = field(default_factory=list)


_LONGEST_NUMBER = 15
_SWITCHES = {
    "--json": "json",
    "--quiet": "quiet",
    "-q": "quiet",
    "--plain": "plain",
    "--readonly": "readonly",
    "--yes": "yes",
    "--dry-run": "dry_run",
    "--detach": "detach",
    "--ascii": "ascii",
    "--help": "help",
    "-h": "help",
    "--version": "version",
}

GLOBAL_HELP = (
    ("--json", N_("Print the result as one JSON document; nothing else goes to standard output.")),
    (
        "--quiet, -q",
        N_("For cron: say nothing where all is well but what --json asks for; never ask."),
    ),
    ("--lang en|pt_BR", N_("The language of texts; default from the environment.")),
    ("--plain", N_("Plain lines without tables or progress, for screen readers and scripts.")),
    ("--readonly", N_("Refuse everything that changes something.")),
    ("--yes", N_("Confirm a dangerous act without being asked.")),
    ("--dry-run", N_("Show what would be done and change nothing, where the verb can.")),
    ("--detach", N_("Let a job do it in the background, where the verb can, and show the job.")),
    (
        "--seen NUMBER",
        N_("Refuse where another person changed it since; `sophia audit changes` has the number."),
    ),
    ("--ascii", N_("Only ASCII signs, in the console and in text; letters stay letters.")),
    ("--version", N_("Print the version.")),
)


COMPLETION_HELP = N_("Print what bash, zsh or fish needs to complete Sophia's commands.")


def split_globals(arguments: Sequence[str]) -> Globals:
    """Take the options that every verb knows out of `arguments`; the rest stays in `words`.

    Raises UsageError U001 for `--lang` without a value, U061 for `--seen` without a number.
    """
    found = Globals()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.words += [word, *rest]
            break
        if word in _SWITCHES:
            setattr(found, _SWITCHES[word], True)
        elif word == "--lang" or word.startswith("--lang="):
            if "=" not in word and not rest:
                raise UsageError("U001", _("--lang needs a language."), remedy="--lang en|pt_BR")
            found.language = word.partition("=")[2] if "=" in word else rest.pop(0)
        elif word == "--seen" or word.startswith("--seen="):
            given = word.partition("=")[2] if "=" in word else "".join(rest[:1])
            del rest[: "=" not in word]
            if not given.isascii() or not given.isdecimal() or len(given) > _LONGEST_NUMBER:
                raise UsageError("U061", _("--seen needs a number."), remedy="--seen 1204")
            found.seen = int(given)
        else:
            found.words.append(word)
    return found
