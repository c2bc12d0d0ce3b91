"""The entry of `sophia`: finds the verb, builds its parser, runs it, prints the result."""

import gc
import io
import os
import sys
from collections.abc import Sequence

from sophia_tui import __version__
from sophia_tui.cli.options import Globals, split_globals
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import (
    LANGUAGES,
    _,
    detect_language,
    match_language,
    set_language,
    unknown_language,
)
from sophia_tui.signs import sign_plainly, wants_plain_signs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `sophia`; ends the process with the exit code of errors.py."""
    if arguments is None:
        gc.disable()  # help and refusals end before collecting pays; work turns it on again
    set_language(detect_language(os.environ))
    for stream in (sys.stdout, sys.stderr):
        # a terminal of another encoding gets \\u…, never a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        code = _run(split_globals(given))
        sys.stdout.flush()
    except SophiaError as problem:
        from sophia_tui.cli.output import print_error

        print_error(problem, as_json)
        code = problem.exit_code
    except BrokenPipeError:  # the reader of our output went away (`| head`): no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 1
    if not gc.isenabled():
        gc.freeze()  # nor is there anything worth collecting at the end
    sys.exit(code)


def _run(options: Globals) -> int:
    if options.language is not None:
        language = match_language(options.language)
        if language is None:
            raise UsageError(
                "U003",
                _("There is no language {language}.").format(language=options.language),
                remedy="--lang en|pt_BR",
            )
        set_language(language)
    elif (unknown := unknown_language(os.environ)) and sys.stderr.isatty() and options.words:
        from sophia_tui.textsafe import visible

        text = _("SOPHIA_LANG names no language of Sophia: {language}. There are: {languages}.")
        told = text.format(language=visible(unknown), languages=", ".join(LANGUAGES))
        sys.stderr.write(f"{told}\n")
    if options.version:
        print(__version__)
        return 0
    words = options.words
    if not words and not options.help:
        return _console(options)
    if not options.json and (options.ascii or wants_plain_signs(os.environ)):
        for stream in (sys.stdout, sys.stderr):
            sign_plainly(stream)
    if words[:1] == ["serve"] and words[1:2] in (["api"], ["worker"]):
        gc.enable()
        from sophia_tui.cli.serve import serve

        return serve(words[1:], options)
    if words[:1] == ["completion"]:
        from sophia_tui.cli.completion import complete

        return complete(words[1:], options.help)
    if not words or words == ["help"]:
        from sophia_tui.cli.help_cache import help_text

        print(help_text())
        return 0
    from sophia_tui.cli.command import run_command

    return run_command(options)


def _console(options: Globals) -> int:
    if options.json or options.quiet or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "U004",
            _("The console needs a terminal."),
            _("Standard input or output is not one."),
            _("Use a verb; `sophia --help` lists them."),
        )
    from sophia_tui.i18n import get_language
    from sophia_tui.tui.app import run_console
    from sophia_tui.wiring import House

    house = House(os.environ, readonly=options.readonly, language=get_language())
    return run_console(house, options.ascii, language_given=options.language is not None)


if __name__ == "__main__":
    main()
