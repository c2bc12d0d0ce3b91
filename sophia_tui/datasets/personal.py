"""Finds personal data in a text: e-mail, phone, CPF, CNPJ and card, by form and check digits.

What only looks like it stays: numbers of orders and lots, dates, prices, versions, and whatever has
wrong check digits. Public service numbers (0800, 0300, 4004) are nobody's and stay, too.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Kind(StrEnum):
    """In the order in which a place that fits two kinds is given away."""

    EMAIL = "email"
    CNPJ = "cnpj"
    CPF = "cpf"
    CARD = "card"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Finding:
    """`start` and `end` are character positions; `value` is the same for the same datum written
    in two ways (digits alone, lower case, the phone's international form)."""

    kind: Kind
    start: int
    end: int
    value: str


# --- the gate: cheap, and never says no to something that `find` would find ---

_NO_DIGITS = bytes(each for each in range(256) if not 0x30 <= each <= 0x39)
_FEWEST_DIGITS = 8  # a local phone number; a CNPJ with letters may have as few as two
_LETTERED_CNPJ = re.compile(
    rb"(?:[/-]|[\x80-\xff])[0-9A-Za-z]{4}(?:[- ]|[\x80-\xff]{1,3})?[0-9]{2}"
    rb"|[0-9A-Z]{12}[0-9]{2}"
)
_NEAR_DIGITS = re.compile("[0-9](?:[^0-9]{0,3}[0-9]){7}")


def may_hold(row: bytes) -> bool:
    """Whether a canonical line (UTF-8) is worth a look. False is certain, True is not."""
    if b"@" in row or b"\xef\xbc" in row:  # the second begins the full-width forms
        return True
    digits = len(row.translate(None, _NO_DIGITS))
    if digits >= _FEWEST_DIGITS:
        return True
    return digits >= 2 and _LETTERED_CNPJ.search(row) is not None


# --- one character for one, so that positions stay true ---

_VARIANTS = {0xFF10 + digit: 0x30 + digit for digit in range(10)}
_VARIANTS |= dict.fromkeys((0xA0, 0x2007, 0x2009, 0x200A, 0x202F, 0x3000), 0x20)
_VARIANTS |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFF0D), 0x2D)
_VARIANTS |= {0xFF0E: 0x2E, 0xFF20: 0x40, 0xFF0B: 0x2B, 0xFF08: 0x28, 0xFF09: 0x29, 0xFF0F: 0x2F}
_VARIANT = re.compile("[" + "".join(map(chr, _VARIANTS)) + "]")


def _folded(text: str) -> str:
    if text.isascii() or not _VARIANT.search(text):
        return text
    return text.translate(_VARIANTS)


def find(text: str) -> list[Finding]:
    """Every datum in the text, in order, none overlapping another."""
    text = _folded(text)
    finders = [_emails, _cnpjs, _cpfs, _cards, _phones]
    if not _NEAR_DIGITS.search(text):
        finders = finders[:2]
    taken: list[Finding] = []
    for finder in finders:
        for found in finder(text):
            at = bisect_left(taken, found.start, key=lambda each: each.start)
            free_before = at == 0 or taken[at - 1].end <= found.start
            if free_before and (at == len(taken) or found.end <= taken[at].start):
                taken.insert(at, found)
    return taken


# --- e-mail ---

_HOST = re.compile(r"@(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.)+[^\W\d_]{2,24}(?![^\W_])")
# Rarer signs are legal in front of the @, but in texts they are quotes, emphasis and separators.
_LOCAL = re.compile(r"[^\W_][\w.%+'&~-]*\Z")


def _emails(text: str) -> Iterator[Finding]:
    if "@" not in text:
        return
    for host in _HOST.finditer(text):
        floor = max(0, host.start() - 64)
        local = _LOCAL.search(text[floor : host.start()])
        if local:
            start = floor + local.start()
            yield Finding(Kind.EMAIL, start, host.end(), text[start : host.end()].lower())


# --- CPF and CNPJ ---

# A number without separators stands alone: not inside a longer one, a decimal or an identifier.
_ALONE = r"(?<![0-9A-Za-z])(?<![0-9][.,])"
_END = r"(?![0-9A-Za-z])(?![.,][0-9])"
_CPF = re.compile(
    r"(?<![0-9])(?=([0-9]{3}([. -])[0-9]{3}\2[0-9]{3}[-./ ][0-9]{2})(?![0-9]))"
    r"|(?<![0-9])(?=([0-9]{9}[-/][0-9]{2})(?![0-9]))"
    rf"|(?:{_ALONE}|(?<=cpf)|(?<=CPF))(?=([0-9]{{11}}){_END})"
)
_CNPJ = re.compile(
    r"(?<![0-9A-Za-z])(?=([0-9A-Za-z]{2}[. ]?[0-9A-Za-z]{3}[. ]?[0-9A-Za-z]{3}[/ -]"
    r"[0-9A-Za-z]{4}[- ]?[0-9]{2})(?![0-9A-Za-z]))"
    r"|(?<![0-9])(?=([0-9]{2}[. -][0-9]{3}[. -][0-9]{3}[/. -]?[0-9]{4}[-. ]?[0-9]{2}|"
    r"[0-9]{12}-[0-9]{2})(?![0-9]))"
    rf"|(?:{_ALONE}|(?<=cnpj)|(?<=CNPJ))(?=([0-9A-Z]{{12}}[0-9]{{2}}){_END})"
)
_SIGNS = re.compile(r"[^0-9A-Za-z]")


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and bare value of every candidate, overlapping ones too."""
    for match in pattern.finditer(text):
        group = match.lastindex
        if group is None:
            continue
        # the candidate is the outermost group that took part; inner ones are separators
        start, end = max((match.span(each) for each in range(1, group + 1)), key=_width)
        yield start, end, _SIGNS.sub("", text[start:end]).upper()


def _width(span: tuple[int, int]) -> int:
    return span[1] - span[0]


def _cpfs(text: str) -> Iterator[Finding]:
    from stdnum.br import cpf

    for start, end, value in _spans(_CPF, text):
        if len(set(value)) > 1 and cpf.is_valid(value):
            yield Finding(Kind.CPF, start, end, value)


def _cnpjs(text: str) -> Iterator[Finding]:
    from stdnum.br import cnpj

    for start, end, value in _spans(_CNPJ, text):
        lettered = not value.isdigit()
        if lettered and " " in text[start:end]:
            continue  # words and a number, not one number
        if len(set(value)) > 1 and cnpj.is_valid(value):
            yield Finding(Kind.CNPJ, start, end, value)


# --- cards ---

_CARD = re.compile(
    r"(?<![0-9])(?:"
    r"(?=([0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{3})(?![0-9]))|"
    r"(?=([0-9]{4}([ .-])[0-9]{4}\3[0-9]{4}\3[0-9]{1,4})(?![0-9]))|"
    r"(?=([0-9]{4}([ .-])[0-9]{6}\5[0-9]{4,5})(?![0-9])))"
    rf"|{_ALONE}(?=([0-9]{{14,19}}){_END})"
)
_CARD_16 = re.compile(r"(?=([0-9]{4}([ .-])[0-9]{4}\2[0-9]{4}\2[0-9]{4})(?![0-9]))")

#: Issuer ranges as first digits (from, to) and the lengths they are issued in.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),
    ("51", "55", frozenset({16})),
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14})),
    ("36", "36", frozenset({14})),
    ("38", "39", frozenset({14})),
    ("3841", "3841", frozenset({16, 19})),
    ("3528", "3589", frozenset(range(16, 20))),
    ("50", "50", frozenset({16, 18, 19})),
    ("56", "58", frozenset({16, 18, 19})),
    ("6011", "6011", frozenset(range(16, 20))),
    ("606282", "606282", frozenset({16, 19})),
    ("62", "62", frozenset(range(16, 20))),
    ("627780", "627780", frozenset({16})),
    ("636297", "636368", frozenset({16})),
    ("644", "659", frozenset(range(16, 20))),
)


def _is_card(digits: str) -> bool:
    from stdnum import luhn

    issued = any(
        low <= digits[: len(low)] <= high and len(digits) in lengths
        for low, high, lengths in _ISSUERS
    )
    return issued and len(set(digits)) > 1 and luhn.is_valid(digits)


def _cards(text: str) -> Iterator[Finding]:
    for start, end, value in _spans(_CARD, text):
        if _is_card(value):
            yield Finding(Kind.CARD, start, end, value)
        elif len(value) == 19 and (shorter := _CARD_16.match(text, start)):
            # four groups, and the three digits from the back of the card
            end, value = shorter.end(1), _SIGNS.sub("", shorter.group(1))
            if _is_card(value):
                yield Finding(Kind.CARD, start, end, value)


# --- phones ---

_AREA = r"(?:1[1-9]|2[12478]|3[1-8]|4[1-9]|5[1345]|6[1-9]|7[134579]|8[1-9]|9[1-9])"
_BRAZIL = re.compile(
    r"(?<![0-9])(?P<country>\+?55[ .-]?)?(?P<open>\()?(?:0(?:xx)?)?(?P<area>" + _AREA + r")"
    r"(?(open)\))(?P<gap>[ .-]{0,3})(?P<number>9[ .-]?[0-9]{4}(?P<dash>[ .-]?)[0-9]{4}"
    r"|[2-5][0-9]{3}(?P<dash2>[ .-]?)[0-9]{4})(?![0-9])"
)
_LOCAL_MOBILE = re.compile(r"(?<![0-9A-Za-z])(?<![0-9][.,/-])9[0-9]{4}-[0-9]{4}(?![0-9A-Za-z-])")
_LOCAL_BARE = re.compile(r"(?<![0-9])(?:9[ .]?[0-9]|[2-9])[0-9]{3}[ .-]?[0-9]{4}(?![0-9])")
_AMERICA = re.compile(
    r"(?<![0-9+.-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-. ][0-9]{4}"
    r"(?![0-9])"
)
#: What is written as a CPF is none when its check digits are wrong, and no call abroad either.
_ABROAD = re.compile(
    r"(?<![0-9A-Za-z+])(?![0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?![0-9]))"
    r"(?:\+ ?|00)(?=[1-9])[0-9](?:[ .()/-]{0,2}[0-9]){6,17}(?![0-9])"
)
_THOUSANDS = re.compile(r"\+ ?[0-9]{1,3}(?:\.[0-9]{3})+\Z")
_YEARS = re.compile(r"(?:19|20)[0-9]{2}[ .-]?(?:19|20)[0-9]{2}\Z")
_WORD_BEFORE = re.compile(
    r"\b(?:tel|tels|telefone|telefones|fone|fones|cel|celular|whats|whatsapp|wpp|zap|phone|phones|"
    r"mobile|call|ligue|ligar|liga)\b\W{0,4}(?:[^\W\d]+\W{1,3}){0,3}\Z",
    re.IGNORECASE,
)
_GLUED_WORD = re.compile(r"(?:tel|fone|cel|zap|wa\.me/)\Z", re.IGNORECASE)


def _phones(text: str) -> Iterator[Finding]:
    yield from _abroad(text)
    yield from _brazilian(text)
    for match in _AMERICA.finditer(text):
        value = _american(re.sub(r"[^0-9]", "", match.group())[-10:])
        if value:
            yield Finding(Kind.PHONE, match.start(), match.end(), value)
    for match in _LOCAL_MOBILE.finditer(text):
        yield Finding(Kind.PHONE, match.start(), match.end(), _SIGNS.sub("", match.group()))
    for match in _LOCAL_BARE.finditer(text):
        if not _YEARS.match(match.group()) and _announced(text, match.start()):
            yield Finding(Kind.PHONE, match.start(), match.end(), _SIGNS.sub("", match.group()))


def _announced(text: str, start: int) -> bool:
    """Whether the words before say that a phone number follows."""
    before = text[max(0, start - 40) : start]
    return bool(_WORD_BEFORE.search(before) or _GLUED_WORD.search(before))


def _brazilian(text: str) -> Iterator[Finding]:
    for match in _BRAZIL.finditer(text):
        number = _SIGNS.sub("", match["number"])
        if _is_written_as_phone(text, match, mobile=len(number) == 9):
            yield Finding(Kind.PHONE, match.start(), match.end(), f"+55{match['area']}{number}")


def _is_written_as_phone(text: str, match: re.Match[str], mobile: bool) -> bool:
    start, end = match.span()
    if match["open"]:
        return True
    if _announced(text, start):
        return True
    if match["country"] and (mobile or match["country"].startswith("+")):
        return _stands_alone(text, start, end)
    if not mobile and _YEARS.match(match["number"]):
        return False
    if "-" in (match["dash"] or match["dash2"] or ""):
        return _stands_alone(text, start, end) and (mobile or bool(match["gap"]))
    # digits alone or with spaces: a mobile number is told by its area and its 9, if nothing else
    # is joined to it; a landline looks like any number of ten digits
    joined = re.compile(r"[0-9][ .,/-]\Z").search(text[max(0, start - 2) : start])
    follows = re.compile(r"[ .,/-][0-9]").match(text, end)
    return mobile and not joined and not follows and _stands_alone(text, start, end)


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())


def _abroad(text: str) -> Iterator[Finding]:
    for match in _ABROAD.finditer(text):
        written = match.group()
        if _THOUSANDS.match(written):
            continue
        ends = [each.end() for each in re.finditer(r"[0-9]+", written)]
        values = {end: value for end in reversed(ends) if (value := _international(written[:end]))}
        if not values and written.startswith("+"):
            # no plan of numbers knows it, yet somebody wrote it as one
            values = {end: value for end in ends if (value := _as_written(written[:end]))}
        for end, value in values.items():
            yield Finding(Kind.PHONE, match.start(), match.start() + end, value)
            break


def _as_written(written: str) -> str | None:
    digits = re.sub(r"[^0-9]", "", written)
    return f"+{digits}" if len(digits) >= 9 and len(digits) < len(written) - 1 else None


@lru_cache(maxsize=4096)
def _international(written: str) -> str | None:
    import phonenumbers

    sure = not written.startswith("00")
    try:
        number: Any = phonenumbers.parse("+" + re.sub(r"[^0-9]", "", written).removeprefix("00"))
    except phonenumbers.NumberParseException:
        return None
    check = phonenumbers.is_possible_number if sure else phonenumbers.is_valid_number
    if not check(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


@lru_cache(maxsize=4096)
def _american(digits: str) -> str | None:
    import phonenumbers

    number: Any = phonenumbers.parse(digits, "US")
    return f"+1{digits}" if phonenumbers.is_valid_number(number) else None
