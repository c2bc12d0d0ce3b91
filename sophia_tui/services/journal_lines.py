"""Lines of a journal, fit to be shown: no secret of ours stands in them, nor what looks so."""

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from sophia_tui.datasets.secrets import passwords, secrets

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

HIDDEN = "***"
#: Shorter than that, a value is found in words by chance.
_SHORTEST = 4
_NAMED = re.compile(
    r"(?i)\b((?:[a-z0-9]+[_-])*(?:token|password|passwd|pass|senha|secret|api[_-]?key)"
    r"[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&]+)"
)


def without_secrets(line: str, settings: "Settings") -> str:
    """`line` with every secret setting's value, every password in an address, every key by its
    maker's form and every value that is named like one taken out."""
    for value in sorted(_values(settings), key=len, reverse=True):
        line = line.replace(value, HIDDEN)
    found = [*secrets(line), *passwords(line)]
    for each in sorted(found, key=lambda finding: finding.start, reverse=True):
        line = line[: each.start] + HIDDEN + line[each.end :]
    return _NAMED.sub(rf"\g<1>{HIDDEN}", line)


def _values(settings: "Settings") -> set[str]:
    values = set()
    for name in type(settings).model_fields:
        given = getattr(settings, name)
        if not isinstance(given, SecretStr):
            continue
        text = given.get_secret_value()
        values.add(text)
        if "://" in text:
            written = urlsplit(text).password or ""
            values |= {written, unquote(written)}
    return {each for each in values if len(each) >= _SHORTEST}
