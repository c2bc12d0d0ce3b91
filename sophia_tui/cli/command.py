"""One verb from the words to the result: finds the operation, parses, asks, runs, prints."""

import gc
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sophia_tui.cli import grammar
from sophia_tui.cli.options import COMPLETION_HELP, GLOBAL_HELP, Globals
from sophia_tui.domain.operations import Danger, Operation, Output
from sophia_tui.errors import UnconfirmedError, UsageError
from sophia_tui.i18n import _, get_language
from sophia_tui.services import catalogue
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.services.operations import Registry


def run_command(options: Globals) -> int:
    """Run the verb that `options.words` name; the exit code. Raises SophiaError."""
    operations = catalogue.registry()
    chosen, rest = _find(operations, options.words, options.help)
    if chosen is None:
        print(_subject_help(operations, options.words[0]))
        return 0
    parser = grammar.parser_for(chosen)
    if options.help:
        print(parser.format_help().rstrip())
        return 0
    request = {**_piped(chosen), **vars(parser.parse_args(rest)), **_secrets(chosen, options)}
    confirmed = options.yes or _confirmed(chosen, request, options)
    gc.enable()
    import asyncio

    try:
        return asyncio.run(_perform(chosen, request, confirmed, options))
    except asyncio.CancelledError:  # the second ^C: the work itself was cut
        return 1


def _find(
    operations: "Registry", words: list[str], wants_help: bool
) -> tuple[Operation | None, list[str]]:
    """The operation that the words name; None where a subject's help is wanted.

    Raises UsageError U006.
    """
    subject = words[0]
    verbs = {each.verb: each for each in operations if each.subject == subject}
    if not verbs:
        raise UsageError(
            "U006",
            _("There is no command {command}.").format(command=subject),
            remedy=_("`sophia --help` lists them."),
        )
    if len(words) > 1 and words[1] in verbs:
        return verbs[words[1]], words[2:]
    if "run" in verbs and not (wants_help and len(verbs) > 1):
        return verbs["run"], words[1:]
    alone = len(words) == 1 or words[1].startswith("-")
    if alone and not wants_help and "show" in verbs and not _needs(verbs["show"]):
        return verbs["show"], words[1:]  # `sophia overview`
    if len(words) == 1 or "run" in verbs:  # `sophia promote MODEL --help`
        return None, []
    raise UsageError(
        "U006",
        _("There is no command {command}.").format(command=f"{subject} {words[1]}"),
        remedy=_("`sophia {subject} --help` lists its commands.").format(subject=subject),
    )


def _needs(operation: Operation) -> bool:
    """Whether something has to be named."""
    return any(each.is_required() for each in operation.input.model_fields.values())


def overview() -> str:
    """The help of `sophia` itself, in the active language."""
    lines = [
        _("Sophia: collect, prepare, train, evaluate, promote and monitor your own model."),
        "",
        _("`sophia` alone opens the console. Commands:"),
        "",
    ]
    names = [(_typed(each), _(each.help)) for each in catalogue.registry()]
    names += [_foreground(), ("completion bash|zsh|fish", _(COMPLETION_HELP))]
    space = max(len(name) for name, _help in names)
    lines += [f"  {name:<{space}}  {help_}" for name, help_ in names]
    lines += ["", _("Options of every command:"), ""]
    space = max(len(name) for name, _help in GLOBAL_HELP)
    lines += [f"  {name:<{space}}  {_(help_)}" for name, help_ in GLOBAL_HELP]
    lines += [
        "",
        _(
            "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 not found, "
            "5 unavailable (database, provider)."
        ),
    ]
    return "\n".join(lines)


def _foreground() -> tuple[str, str]:
    """The two words of `serve` that are no operations."""
    return "serve api|worker", _("Run the HTTP API or the worker in the foreground.")


def _typed(operation: Operation) -> str:
    return operation.subject if operation.verb == "run" else f"{operation.subject} {operation.verb}"


def _subject_help(operations: "Registry", subject: str) -> str:
    mine = [(_typed(each), _(each.help)) for each in operations if each.subject == subject]
    if subject == "serve":
        mine.append(_foreground())
    space = max(len(name) for name, _help in mine)
    lines = [f"  sophia {name:<{space}}  {help_}" for name, help_ in mine]
    for each in operations:
        if each.subject == subject and each.verb == "run":  # what the subject alone does
            lines += ["", grammar.parser_for(each).format_help().rstrip()]
    return "\n".join(lines)


async def _perform(
    chosen: Operation, request: dict[str, Any], confirmed: bool, options: Globals
) -> int:
    import asyncio
    import signal

    from sophia_tui.cli.output import (
        ProgressLine,
        print_line,
        print_part,
        print_quietly,
        print_result,
    )
    from sophia_tui.domain.context import CancelSignal, Face
    from sophia_tui.i18n import set_zone
    from sophia_tui.wiring import House

    house = House(os.environ, readonly=options.readonly, language=get_language())
    cancel = CancelSignal()
    progress = ProgressLine(quiet=options.json or options.quiet, plain=options.plain)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop() -> None:
        # the first ^C asks the service to stop between two steps, the second one insists
        if cancel.requested and task is not None:
            task.cancel()
        cancel.request()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        context = house.context(
            Face.CLI,
            dry_run=options.dry_run,
            detach=options.detach,
            confirmed=confirmed,
            seen=options.seen,
            cancel=cancel,
            progress=progress,
            tell=(print_part if options.json else print_line)
            if chosen.streams
            else lambda _part: None,
        )
        try:
            result = await house.dispatcher.call(chosen.name, request, context)
        except UnconfirmedError as question:
            if not _asks_here(options):
                raise
            progress.close()
            if not _yes(_("{question} Go on? [y/N] ").format(question=visible(question.what))):
                raise
            confirmed_now = replace(context, confirmed=True)
            result = await house.dispatcher.call(chosen.name, request, confirmed_now)
        set_zone("")  # people read times in this machine's zone, here as on the console
    finally:
        progress.close()
        await house.close()
    if options.quiet and not options.json:
        print_quietly(result)
    else:
        print_result(result, options.json, options.plain)
    return result.exit_code() if isinstance(result, Output) else 0


def _piped(chosen: Operation) -> dict[str, str]:
    """What is taken from standard input where it is not given."""
    from sophia_tui.services.standard_input import STANDARD_INPUT

    return dict.fromkeys(grammar.piped_fields(chosen.input), STANDARD_INPUT)


def _secrets(chosen: Operation, options: Globals) -> dict[str, str]:
    """Secrets come from a prompt without echo, or as lines of standard input (of a field of many
    lines: all that are left); never from argv.

    Raises UsageError U471 where --quiet forbids the prompt.
    """
    import getpass

    found: dict[str, str] = {}
    names = list(grammar.secret_fields(chosen.input))
    for name in names:
        title = _(chosen.input.model_fields[name].description or name)
        if sys.stdin.isatty() and options.quiet:
            raise UsageError(
                "U471",
                _("With --quiet nothing is asked."),
                _("The command needs what is secret: {field}.").format(field=name),
                _("Send it to standard input."),
            )
        if sys.stdin.isatty():
            found[name] = getpass.getpass(f"{title} ")
        elif grammar.has_lines(chosen.input.model_fields[name]):
            found[name] = sys.stdin.read()
        elif name == names[-1]:
            # what follows its line is never left out in silence: it makes the value a wrong one
            found[name] = sys.stdin.read().removesuffix("\n")
        else:
            found[name] = sys.stdin.readline().rstrip("\n")
    return found


def _confirmed(chosen: Operation, request: dict[str, Any], options: Globals) -> bool:
    """Ask at a terminal; anywhere else only --yes confirms."""
    if chosen.danger is Danger.NONE or options.dry_run or not _asks_here(options):
        return False
    target = request.get(chosen.target or "", "")
    return _yes(_("{help} {target} Go on? [y/N] ").format(help=_(chosen.help), target=target))


def _asks_here(options: Globals) -> bool:
    """Whether a person sits at a terminal who may be asked."""
    if options.json or options.quiet:
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


def _yes(question: str) -> bool:
    sys.stderr.write(question)
    sys.stderr.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes", "s", "sim")
