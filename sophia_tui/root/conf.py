"""managed.conf: which env files and units of other services the root helper may touch.

    [/srv/rag/rag.env]
    words   = The assistant's API
    restart = rag-api.service rag-worker.service
    read-by = rag-report.service
    elsewhere = web2:rag-api.service
    write   = yes
    owner   = rag
    keys    = GEN_MODEL EXPANSION_MODEL *_MODEL

A section for each file; `restart`, `read-by` or `elsewhere` names a unit at least, everything else
may be left out. `elsewhere` are units of other hosts, which people restart. Without `write = yes`
the file is only read. Whatever is not exactly this is refused with its line, and then nothing of
the file counts.
"""

import os
import re
from collections.abc import Mapping, Sequence

from sophia_tui.domain.managed import ManagedFile, is_elsewhere, is_unit
from sophia_tui.errors import SetupError
from sophia_tui.i18n import _

#: The largest managed.conf, in bytes, and how many files it may declare.
MOST_BYTES = 64 * 1024
MOST_FILES = 100
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KEY_PATTERN = re.compile(r"[A-Za-z0-9_*]+")
_KEYS = ("words", "restart", "read-by", "elsewhere", "write", "owner", "keys")
#: Where no env file lies: what is there only looks like files.
_NEVER = ("/proc", "/sys", "/dev")


def why_no_path(path: str) -> str | None:
    """Why no env file can be declared by this path, or None."""
    if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
        return _("It is no absolute path without . and .. in it.")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in path) or "]" in path:
        return _("Its name has signs that no declaration can hold.")
    if any(path == each or path.startswith(each + "/") for each in _NEVER):
        return _("There are no files of this machine's disks.")
    return None


def parse(content: bytes) -> tuple[ManagedFile, ...]:
    """The declared files. Raises SetupError P062 with the line."""
    if len(content) > MOST_BYTES:
        raise _wrong(1, _("The file is larger than {limit} bytes.").format(limit=MOST_BYTES))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        where = content.count(b"\n", 0, problem.start) + 1
        raise _wrong(where, _("It is no text in UTF-8.")) from None
    found: list[ManagedFile] = []
    section: dict[str, str] | None = None
    begun = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \t")
        if any(ord(sign) < 32 or ord(sign) == 127 for sign in line):
            raise _wrong(number, _("A control character stands in it."))
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if section is not None:
                found.append(_declaration(section, begun))
            section, begun = {"path": _section(line, number, found, section)}, number
            continue
        key, sign, value = (part.strip(" \t") for part in line.partition("="))
        if section is None or not sign or key not in _KEYS:
            raise _wrong(number, _("It is no section and no setting that is known."))
        if key in section:
            raise _wrong(number, _("{key} stands twice in its section.").format(key=key))
        section[key] = value
    if section is not None:
        found.append(_declaration(section, begun))
    return tuple(found)


def _section(
    line: str, number: int, found: Sequence[ManagedFile], before: Mapping[str, str] | None
) -> str:
    path = line[1:-1]
    why = why_no_path(path) if line.endswith("]") else _("The section has no end.")
    if why:
        raise _wrong(number, why)
    if any(each.path == path for each in found) or (before and before["path"] == path):
        raise _wrong(number, _("The file is declared twice."))
    if len(found) >= MOST_FILES:
        raise _wrong(number, _("More than {limit} files are declared.").format(limit=MOST_FILES))
    return path


def _declaration(section: Mapping[str, str], line: int) -> ManagedFile:
    units = {key: tuple(section.get(key, "").split()) for key in ("restart", "read-by")}
    elsewhere = tuple(section.get("elsewhere", "").split())
    here = [*units["restart"], *units["read-by"]]
    every = [*here, *elsewhere]
    if not every:
        raise _wrong(line, _("No unit is named that reads the file."))
    strange = [each for each in here if not is_unit(each)]
    strange += [each for each in elsewhere if not is_elsewhere(each)]
    if strange or len(set(every)) != len(every):
        raise _wrong(line, _("A unit's name is none, or stands twice."))
    if section.get("write", "no") not in ("yes", "no"):
        raise _wrong(line, _("write is yes or no."))
    owner = section.get("owner") or None
    if owner is not None and not _ACCOUNT.fullmatch(owner):
        raise _wrong(line, _("owner is no account's name."))
    keys = tuple(section.get("keys", "").split())
    if any(not _KEY_PATTERN.fullmatch(each) for each in keys):
        raise _wrong(line, _("keys are letters, digits, _ and *."))
    return ManagedFile(
        path=section["path"],
        words=section.get("words", ""),
        restart=units["restart"],
        read_by=units["read-by"],
        writable=section.get("write") == "yes",
        owner=owner,
        keys=keys,
        elsewhere=elsewhere,
    )


def render(files: Sequence[ManagedFile]) -> str:
    """managed.conf that `parse` reads as these files. Raises SetupError P062."""
    parts = [
        _("# Env files and units of other services that Sophia's root helper may touch.") + "\n"
    ]
    for each in files:
        told = {
            "words": each.words,
            "restart": " ".join(each.restart),
            "read-by": " ".join(each.read_by),
            "elsewhere": " ".join(each.elsewhere),
            "write": "yes" if each.writable else "no",
            "owner": each.owner or "",
            "keys": " ".join(each.keys),
        }
        lines = [f"{key} = {value}" for key, value in told.items() if value]
        parts.append("\n".join([f"[{each.path}]", *lines, ""]))
    text = "\n".join(parts)
    if parse(text.encode("utf-8")) != tuple(files):
        raise _wrong(1, _("Its name has signs that no declaration can hold."))
    return text


def _wrong(line: int, why: str) -> SetupError:
    return SetupError(
        "P062",
        _("managed.conf can't be read, so nothing in it counts."),
        _("Line {line}: {why}").format(line=line, why=why),
        _("Correct that line, or use `sophia env declare`."),
        line=line,
    )
