"""Takes secrets and personal data out of texts that leave the machine: logs, settings, journals.

Three looks: values that are known to be secret here, wherever and however they are written; what
stands behind a word like password or token; and what the redaction of data sets finds by its form
(keys of known makers, e-mails, CPF, cards, phones, addresses).
"""

import base64
import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Mapping

from sophia_tui.datasets import secrets as forms
from sophia_tui.datasets.personal import Finding, Kind, find

#: A name whose value is secret.
SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase)?(?:$|_)|senha|secret|token|api_?key|_key$|^key$|credential|dsn$",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"""(?P<name>[A-Za-z0-9_.-]*
        (?:pass(?:word|wd|phrase)?|senha|secret|token(?!iz)|api[_-]?key|private[_-]?key|credentials?)
        [A-Za-z0-9_]*)
    (?P<between>\\?["']?[ \t]*[:=][ \t]*)
    (?:(?P<quote>\\?["'])(?P<quoted>(?:(?!(?P=quote)).)*)(?P=quote)
       |(?P<bare>[^\s"'\\,;&|(){}\[\]]+))""",
    re.IGNORECASE | re.VERBOSE,
)
#: Of a token or key these are counts and flags; of a password nothing is.
_PLAIN = re.compile(r"[0-9.]+|true|false|null|none|yes|no|auto|\*+|set|unset", re.IGNORECASE)
_WORST = re.compile(r"pass|senha|secret", re.IGNORECASE)
#: A shorter value is not looked for in texts: it stands in too many words that are no secret. Where
#: settings stand it is masked all the same, by its name.
_SHORT = 6
#: postgresql@15-main.service looks like an e-mail, and is none.
_UNIT = re.compile(
    r"[^\s@]+@[^\s@]*\."
    r"(?:service|socket|timer|target|path|mount|automount|swap|slice|scope|device)"
)
_ROUNDS = 3
MASK = "[SECRET]"


class Masker:
    """`known` are the values that are secret here, as they are; nothing of them is told."""

    def __init__(self, known: Iterable[str]) -> None:
        self._written = {
            way
            for value in known
            for line in {value, *value.splitlines()}
            if len(line.strip()) >= _SHORT
            for way in _ways(line.strip())
        }
        parts = [re.escape(each) for each in sorted(self._written, key=len, reverse=True)]
        self._known = re.compile("|".join(parts)) if parts else None

    def __call__(self, text: str) -> tuple[str, Counter[str]]:
        """The text without them, and how many were taken out, by kind."""
        counts: Counter[str] = Counter()
        if self._known is not None:
            text, number = self._known.subn(MASK, text)
            counts["secret"] += number
        text = _replaced(text, list(forms.secrets(text)), counts)  # may be of many lines
        text = _NAMED.sub(lambda found: _masked(found, counts), text)
        lines = [_personal(line, counts) for line in text.split("\n")]
        return "\n".join(lines), +counts

    def named(self, name: str, value: str) -> tuple[str, Counter[str]]:
        """The value of a field with that name, without them."""
        masked, counts = self(value)
        whole = _NAMED.fullmatch(f"{name}=x") and _is_told_by_name(name, value)
        return (MASK, Counter(secret=1)) if whole else (masked, counts)

    def leaks(self, text: str) -> bool:
        """Whether a secret that is known here stands in the text."""
        return any(each in text for each in self._written)


def _ways(value: str) -> set[str]:
    """How a value stands in logs: plainly, in an address, in JSON, in shell quotes, in base64."""
    raw = value.encode("utf-8", "surrogateescape")
    return {
        value,
        urllib.parse.quote(value, safe="", errors="surrogateescape"),
        urllib.parse.quote_plus(value, errors="surrogateescape"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        value.replace("'", "'\\''"),
        repr(value)[1:-1],
        base64.b64encode(raw).decode().rstrip("="),
    }


def _masked(found: re.Match[str], counts: Counter[str]) -> str:
    value = found["quoted"] if found["quote"] else found["bare"]
    if not _is_told_by_name(found["name"], value):
        return found[0]
    counts["secret"] += 1
    quote = found["quote"] or ""
    return f"{found['name']}{found['between']}{quote}{MASK}{quote}"


def _is_told_by_name(name: str, value: str) -> bool:
    """Whether the value of what is called like a secret is one, and not masked yet."""
    plain = _PLAIN.fullmatch(value) and not _WORST.search(name)
    return bool(value) and not plain and "[SECRET" not in value


def _personal(line: str, counts: Counter[str]) -> str:
    for _round in range(_ROUNDS):  # what stood beside a value may show itself once it is gone
        findings = [each for each in find(line) if not _is_unit(line, each)]
        if not findings:
            break
        line = _replaced(line, findings, counts)
    return line


def _is_unit(line: str, found: Finding) -> bool:
    return found.kind is Kind.EMAIL and bool(_UNIT.fullmatch(line[found.start : found.end]))


def _replaced(text: str, findings: list[Finding], counts: Counter[str]) -> str:
    parts, place = [], 0
    for each in sorted(findings, key=lambda found: found.start):
        if each.start < place:
            continue
        parts += [text[place : each.start], f"[{each.kind.value.upper()}]"]
        counts[each.kind.value] += 1
        place = each.end
    return "".join([*parts, text[place:]])


def secret_values(given: Mapping[str, str]) -> list[str]:
    """The values of what is called as secrets are, and the passwords in addresses."""
    found = []
    for name, value in given.items():
        if SECRET_NAME.search(name):
            found.append(value)
        if "://" in value:
            try:
                parts = urllib.parse.urlsplit(value)
                password = parts.password
            except ValueError:
                password = value  # no address that could be read: all of it
            if password:
                found += [password, urllib.parse.unquote(password)]
    return [each for each in found if each.strip()]
