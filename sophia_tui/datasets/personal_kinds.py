"""The kinds of personal data, what a finding is, and how texts are made alike before a look."""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Kind(StrEnum):
    """In the order in which a place that fits two kinds is given away."""

    SECRET = "secret"  # noqa: S105
    EMAIL = "email"
    PIX = "pix"
    IBAN = "iban"
    CNPJ = "cnpj"
    CPF = "cpf"
    CARD = "card"
    RG = "rg"
    IP = "ip"
    ADDRESS = "address"
    CEP = "cep"
    PHONE = "phone"


class Finding(NamedTuple):
    """`start` and `end` are character positions; `value` is the same for the same datum written
    in two ways (digits alone, lower case, the phone's international form)."""

    kind: Kind
    start: int
    end: int
    value: str


#: What stands in place of a datum: a number within its record, or a keyed pseudonym.
PLACEHOLDER = re.compile(
    r"\[(" + "|".join(kind.value.upper() for kind in Kind) + r")_([0-9]{1,6}|[0-9a-f]{12})\]"
)

# --- one character for one, so that positions stay true ---

_VARIANTS = {0xFF10 + digit: 0x30 + digit for digit in range(10)}
_VARIANTS |= dict.fromkeys((0xA0, 0x2007, 0x2009, 0x200A, 0x202F, 0x3000), 0x20)
_VARIANTS |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFF0D), 0x2D)
_VARIANTS |= {0xFF0E: 0x2E, 0xFF20: 0x40, 0xFF0B: 0x2B, 0xFF08: 0x28, 0xFF09: 0x29, 0xFF0F: 0x2F}
_VARIANTS |= {0xFF1A: 0x3A}
_VARIANT = re.compile("[" + "".join(map(chr, _VARIANTS)) + "]")


def folded(text: str) -> str:
    """The text with plain digits, spaces, hyphens and signs in place of those that look alike."""
    if text.isascii() or not _VARIANT.search(text):
        return text
    return text.translate(_VARIANTS)


# --- what numbers stand beside ---

#: A number without separators stands alone: not inside a longer one, a decimal or an identifier.
ALONE = r"(?<![0-9A-Za-z])(?<![0-9][.,])"
END = r"(?![0-9A-Za-z])(?![.,][0-9])"

SIGNS = re.compile(r"[^0-9A-Za-z]")

# A label says what a bare number is: then it is no CPF, even where its check digits fit.
_OTHER_LABEL = re.compile(
    r"\b(?:pedidos?|order|protocolos?|protocol|ticket|chamado|nota fiscal|nf-?e?|os|matr[íi]cula|"
    r"ean|gtin|sku|lote|isbn|processo|timestamp|ts|backup|rastreio|invoice|nosso n[úu]mero|"
    r"commit|md5|build)"
    r"(?:[ _-]?(?:number|n[úu]mero|id|n[º°o.]{0,2}))?[\"' ]{0,2}[:#=]?[ \"']{0,2}#?\Z",
    re.IGNORECASE,
)


def labelled_otherwise(text: str, start: int) -> bool:
    """Whether the words right before say that a bare number is that of an order, a lot, a call."""
    return bool(_OTHER_LABEL.search(text[max(0, start - 30) : start]))


# Most of a text is no number: patterns that begin with a look back are slow, and are tried only
# where digits and the signs between them are.
_RUN = re.compile(r"[+(0-9][0-9 ./()xX+-]{6,}")
_BEYOND = 3


def in_runs(pattern: re.Pattern[str], text: str, digits: int = 7) -> Iterator[re.Match[str]]:
    """What `pattern.finditer` gives for a pattern of digits and the signs between them, which needs
    at least seven characters, so many digits, and looks at most three ahead."""
    for start, end, held in _runs(text):
        if held >= digits:
            yield from pattern.finditer(text, start, end)


@lru_cache(maxsize=1)  # one text is looked at by many finders
def _runs(text: str) -> list[tuple[int, int, int]]:
    """Start and end, with what is looked at beyond, and how many digits are there."""
    found = []
    for run in _RUN.finditer(text):
        start, end = run.start(), run.end() + _BEYOND
        held = text[start:end].encode("ascii", "ignore").translate(None, _NO_DIGITS)
        found.append((start, end, len(held)))
    return found


_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def candidates(matches: Iterable[re.Match[str]], text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and bare value of every candidate, overlapping ones too.

    The matches are of lookaheads; the candidate is the group that took part.
    """
    for match in matches:
        if match.lastindex is not None:
            start, end = match.span(match.lastindex)
            yield start, end, SIGNS.sub("", text[start:end]).upper()
