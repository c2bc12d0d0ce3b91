"""The env file for the installer's shell: the one parser and writer behind a few verbs.

    envfile.py get|has|unset FILE KEY     envfile.py set FILE KEY    (the value on standard input)
    envfile.py missing FILE KEY...        envfile.py keys FILE
    envfile.py merge|holds FILE           (KEY NUL VALUE NUL ... on standard input)
    envfile.py load FILE                  KEY NUL VALUE NUL ..., or `LINE REASON` for each problem
    envfile.py password                   the password inside a database URL on standard input

Values come and go by pipes alone: arguments can be read by everybody on the machine. Nothing but
the standard library is needed. Exit 0 done, 1 no such key or value, 2 the file is not acceptable,
3 it can't be read or written.
"""

import os
import re
import stat
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sophia_tui import envfile
from sophia_tui.errors import SophiaError
from sophia_tui.files import whole_file

LARGEST = 1 << 20
HEAD = "# Settings of Sophia. Written by the installer; what you change here stays.\n"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that change how programs are found or loaded; no setting of anybody's.
_DANGEROUS = re.compile(
    r"(PATH|IFS|ENV|SHELLOPTS|BASHOPTS|PS4|HOME|SHELL|USER|LOGNAME|UID|EUID|TMPDIR"
    r"|LD_.*|BASH_.*|PYTHON.*|PERL.*|GCONV_PATH|NLSPATH|NODE_OPTIONS|RES_OPTIONS|HOSTALIASES)"
)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def balanced(body: str) -> bool:
    """Whether every quote that is opened in a value is closed again."""
    position, opened = 0, ""
    while position < len(body):
        sign = body[position]
        if sign == "\\" and opened != "'":
            position += 1
        elif opened:
            opened = "" if sign == opened else opened
        elif sign in "'\"":
            opened = sign
        position += 1
    return not opened


def problem_of(line: envfile.EnvLine) -> str | None:
    """Why a line of an --auto-env file is refused; None where it is right."""
    if line.key is None:
        text = line.raw.strip()
        return "no_assignment" if text and not text.startswith("#") else None
    if "\n" in line.raw:
        return "several_lines"
    body = line.raw[len(line.head) : len(line.raw) - len(line.tail)]
    if _CONTROL.search(line.value or ""):
        return "control_sign"
    if not balanced(body):
        return "open_quote"
    return "dangerous" if _DANGEROUS.fullmatch(line.key) else None


def load(path: Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Keys and values of an --auto-env file, and what is wrong with it by line; 0 is the file.

    A byte order mark at the beginning is dropped, line ends may be CRLF, `export ` may precede.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return {}, [(0, "no_file")]
    raw = path.read_bytes()
    if len(raw) > LARGEST:
        return {}, [(0, "too_large")]
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if b"\0" in raw:
        return {}, [(raw[: raw.index(b"\0")].count(b"\n") + 1, "nul")]
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        return {}, [(raw[: problem.start].count(b"\n") + 1, "no_utf8")]
    found: dict[str, str] = {}
    wrong: list[tuple[int, str]] = []
    number = 1
    for line in envfile.parse(content):
        reason = problem_of(line)
        if reason is None and line.key in found:
            reason = "twice"
        if reason is not None:
            wrong.append((number, reason))
        elif line.key is not None:
            found[line.key] = line.value or ""
        number += line.raw.count("\n") + 1
    return found, wrong


def text_of(path: Path) -> str:
    """The file's text; nothing where it is not there."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""


def change(path: Path, changes: dict[str, str | None]) -> None:
    """Set or remove keys, whole or not at all; what is as it should be is not touched."""
    if not all(_KEY.fullmatch(key) for key in changes):
        raise ValueError
    before = text_of(path)
    values = envfile.values(before)
    changes = {key: value for key, value in changes.items() if values.get(key) != value}
    if not changes:
        return
    after = envfile.change(before or HEAD, changes)
    like = path.stat() if path.exists() else None
    with whole_file(path, 0o640, like) as stream:
        if like is None:  # its readers are those of its folder
            os.fchown(stream.fileno(), -1, path.parent.stat().st_gid)
        stream.write(after.encode())


def pairs() -> dict[str, str | None]:
    """What came on standard input."""
    parts = sys.stdin.buffer.read().decode("utf-8").split("\0")
    return dict(zip(parts[0:-1:2], parts[1::2], strict=False))


def run(verb: str, path: Path, keys: list[str]) -> int:
    values = {} if verb in ("load", "password") else envfile.values(text_of(path))
    match verb:
        case "get" if keys[0] in values:
            sys.stdout.write(values[keys[0]])
        case "get" | "has":
            return 0 if keys[0] in values else 1
        case "keys":
            print("\n".join(values))
        case "missing":
            print(" ".join(key for key in keys if not values.get(key)))
        case "set":
            change(path, {keys[0]: sys.stdin.buffer.read().decode("utf-8")})
        case "unset":
            change(path, {keys[0]: None})
        case "merge":
            change(path, pairs())
        case "holds":
            return 0 if all(values.get(key) == value for key, value in pairs().items()) else 1
        case "load":
            found, wrong = load(path)
            if wrong:
                print("\n".join(f"{number} {reason}" for number, reason in wrong))
                return 2
            sys.stdout.write("".join(f"{key}\0{value}\0" for key, value in found.items()))
        case "password":
            sys.stdout.write(unquote(urlsplit(sys.stdin.read()).password or ""))
    return 0


def main() -> int:
    verb, path, *keys = [*sys.argv[1:], "-"][:2] + sys.argv[3:]
    try:
        return run(verb, Path(path), keys)
    except SophiaError as problem:
        print(problem.what, problem.why, sep="\n", file=sys.stderr)
        return 2 if problem.code == "SOPHIA-S120" else 3
    except (OSError, ValueError) as problem:
        # the text of a UnicodeDecodeError or a ValueError may hold the value
        print(getattr(problem, "strerror", None) or type(problem).__name__, file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
