"""`sophia completion bash|zsh|fish`: what a shell completes, a script made from the declarations.

The script holds every verb, option and choice, so that these cost no process; names of jobs,
models, data sets and schedules it asks for by `sophia completion names KIND`.
"""

import asyncio
import contextlib
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sophia_tui import __version__
from sophia_tui.cli import completion_shells
from sophia_tui.cli.grammar import option_name
from sophia_tui.cli.options import COMPLETION_HELP, GLOBAL_HELP
from sophia_tui.domain.operations import Operation
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import _
from sophia_tui.paths import cache_folder, data_folder
from sophia_tui.services.completion import KINDS, kind_of, names_of
from sophia_tui.services.fields import is_list, is_secret, is_switch

SHELLS = ("bash", "zsh", "fish")
#: How long names that were asked for last are good.
_FRESH_SECONDS = 5.0


@dataclass(frozen=True)
class Command:
    """One command as a shell sees it. A value's kind is choices with | between, @ and a kind of
    names, or nothing: then files are offered. `options` are --name for a switch, else --name=kind;
    the last of `places` may come again where `repeats`."""

    name: str
    help: str
    options: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    repeats: bool = False


def commands(operations: Iterable[Operation]) -> list[Command]:
    """Every operation; and what the command line has beside them."""
    found = []
    for chosen in operations:
        options, repeats = [], False
        for name, info in chosen.input.model_fields.items():
            option = option_name(name)
            if is_secret(info):
                continue
            if name in chosen.positional:
                repeats = repeats or is_list(info)
            elif is_switch(info):
                options += [option, f"--no-{option[2:]}"]
            else:
                options.append(f"{option}={kind_of(chosen, name)}")
        places = [kind_of(chosen, name) for name in chosen.positional]
        found.append(Command(chosen.name, _(chosen.help), options, places, repeats))
    found += [
        Command("serve.api", _("Run the HTTP API or the worker in the foreground."),
                ["--host=", "--port="]),
        Command("serve.worker", _("Run the HTTP API or the worker in the foreground."),
                ["--idle-exit="]),
        Command("completion.run", _(COMPLETION_HELP), places=["|".join(SHELLS)]),
        Command("help.run", ""),
    ]  # fmt: skip
    return found


def script(shell: str) -> str:
    """The script for one shell, in the active language."""
    from sophia_tui.services import catalogue

    every = commands(catalogue.registry())
    shared = [
        word.strip()
        for words, _help in GLOBAL_HELP
        for word in words.replace("--lang ", "--lang=")
        .replace("--seen NUMBER", "--seen=")
        .split(",")
    ]
    writers: dict[str, Callable[[list[Command], list[str]], str]] = {
        "bash": _bash,
        "zsh": _zsh,
        "fish": _fish,
    }
    return writers[shell](every, [*shared, "--help", "-h"])


def _verbs(every: list[Command]) -> dict[str, list[Command]]:
    found: dict[str, list[Command]] = {}
    for each in every:
        found.setdefault(each.name.partition(".")[0], []).append(each)
    return found


def _verb(command: Command) -> str:
    return command.name.partition(".")[2]


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _bash(every: list[Command], shared: list[str]) -> str:
    def table() -> Iterator[str]:
        for each in every:
            places = [place or "-" for place in each.places] + ["..."] * each.repeats
            yield f"    {each.name}) options={_quoted(each.options)} places={_quoted(places)} ;;"

    def verbs() -> Iterator[str]:
        for subject, mine in _verbs(every).items():
            words = [_verb(each) for each in mine if _verb(each) != "run"]
            yield f"    {subject}) verbs={_quoted(words)} ;;"

    return completion_shells.BASH.format(
        version=__version__,
        subjects=_quoted(_verbs(every)),
        shared=_quoted(shared),
        verbs="\n".join(verbs()),
        table="\n".join(table()),
    )


def _zsh(every: list[Command], shared: list[str]) -> str:
    def described(word: str, help: str) -> str:
        return shlex.quote(f"{word}:{help}" if help else word)

    def table() -> Iterator[str]:
        for each in every:
            options = " ".join(map(shlex.quote, each.options))
            places = [place or "-" for place in each.places] + ["..."] * each.repeats
            words = " ".join(map(shlex.quote, places))
            yield f"    {each.name}) options=({options}) places=({words}) ;;"

    def verbs() -> Iterator[str]:
        for subject, mine in _verbs(every).items():
            words = [described(_verb(each), each.help) for each in mine if _verb(each) != "run"]
            yield f"    {subject}) verbs=({' '.join(words)}) ;;"

    subjects = [
        described(subject, mine[0].help if len(mine) == 1 else "")
        for subject, mine in _verbs(every).items()
    ]
    return completion_shells.ZSH.format(
        version=__version__,
        subjects=" ".join(subjects),
        shared=" ".join(map(shlex.quote, shared)),
        verbs="\n".join(verbs()),
        table="\n".join(table()),
    )


def _fish(every: list[Command], shared: list[str]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def listed(name: str, words: Iterable[str]) -> str:
        return " ".join(["set", name, *map(quoted, words)])

    def table() -> Iterator[str]:
        for each in every:
            places = [place or "-" for place in each.places] + ["..."] * each.repeats
            yield f"        case {each.name}"
            yield f"            {listed('options', each.options)}"
            yield f"            {listed('places', places)}"

    def verbs() -> Iterator[str]:
        for subject, mine in _verbs(every).items():
            words = [f"{_verb(each)}\t{each.help}" for each in mine if _verb(each) != "run"]
            yield f"        case {subject}"
            yield f"            {listed('verbs', words)}"

    subjects = [
        f"{subject}\t{mine[0].help}" if len(mine) == 1 else subject
        for subject, mine in _verbs(every).items()
    ]
    return completion_shells.FISH.format(
        version=__version__,
        subjects=listed("subjects", subjects),
        shared=listed("shared", shared),
        verbs="\n".join(verbs()),
        table="\n".join(table()),
    )


def names(kind: str) -> list[str]:
    """Names that are there now; of the last seconds' ones where they were asked for just now, and
    none where nobody can tell: a shell that completes is told no errors."""
    kept = _kept(kind)
    with contextlib.suppress(OSError):
        if time.time() - kept.stat().st_mtime < _FRESH_SECONDS:
            return kept.read_text(encoding="utf-8").splitlines()
    try:
        found = asyncio.run(_ask(kind))
    except SophiaError:
        return []
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text("\n".join(found), encoding="utf-8")
        os.replace(temporary, kept)
    return found


def _kept(kind: str) -> Path:
    place = hashlib.sha256(str(data_folder()).encode()).hexdigest()[:12]
    return cache_folder() / f"names-{kind}-{place}.txt"


async def _ask(kind: str) -> list[str]:
    from sophia_tui.domain.context import Face
    from sophia_tui.wiring import House

    house = House(os.environ, readonly=True)

    async def call(name: str, request: Mapping[str, Any]) -> Any:
        return await house.dispatcher.call(name, request, house.context(Face.CLI))

    try:
        return await names_of(kind, call)
    finally:
        await house.close()


def complete(words: list[str], wants_help: bool) -> int:
    """Do what `sophia completion …` asks for; the exit code. Raises UsageError U472."""
    if words[:1] == ["names"] and len(words) == 2 and words[1] in KINDS:
        sys.stdout.write("".join(f"{each}\n" for each in names(words[1])))
        return 0
    if wants_help:
        print(
            _(
                "sophia completion bash|zsh|fish   print the script\n\n"
                'bash: eval "$(sophia completion bash)", or into /etc/bash_completion.d\n'
                "zsh: into a file named _sophia in a folder of $fpath\n"
                "fish: into ~/.config/fish/completions/sophia.fish"
            )
        )
        return 0
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(
            "U472",
            _("There is no completion for that."),
            remedy="sophia completion bash|zsh|fish",
        )
    print(script(words[0]))
    return 0
