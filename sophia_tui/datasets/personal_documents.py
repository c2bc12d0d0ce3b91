"""Finds numbers of documents and accounts: CPF, CNPJ, RG, cards, IBAN and random Pix keys.

Rules: Receita Federal for CPF and CNPJ (with letters by IN RFB 2.229/2024), São Paulo's modulo 11
for RG, ISO/IEC 7812 for cards, ISO 13616 for IBAN, Banco Central's Pix manual for keys and codes.
"""

import re
from collections.abc import Iterator
from operator import mul

from sophia_tui.datasets.personal_kinds import (
    ALONE,
    END,
    SIGNS,
    Finding,
    Kind,
    candidates,
    in_runs,
    labelled_otherwise,
)

# --- CPF and CNPJ ---

_BETWEEN = r"(?: ?[./-] ?| {1,2})"
_CPF = re.compile(
    rf"(?<![0-9])(?=([0-9]{{3}}{_BETWEEN}[0-9]{{3}}{_BETWEEN}[0-9]{{3}}{_BETWEEN}[0-9]{{2}})"
    r"(?![0-9]))"
    rf"|(?<![0-9])(?=([0-9]{{9}}{_BETWEEN}[0-9]{{2}})(?![0-9]))"
    rf"|(?:{ALONE}|(?<=cpf)|(?<=CPF))(?=([0-9]{{11}}){END})"
)
_CNPJ = re.compile(
    rf"(?<![0-9])(?=([0-9]{{2}}{_BETWEEN}[0-9]{{3}}{_BETWEEN}[0-9]{{3}}{_BETWEEN}?[0-9]{{4}}"
    rf"{_BETWEEN}?[0-9]{{2}})(?![0-9]))"
    rf"|(?<![0-9])(?=([0-9]{{8}}{_BETWEEN}?[0-9]{{4}}{_BETWEEN}[0-9]{{2}})(?![0-9]))"
    rf"|(?:{ALONE}|(?<=cnpj)|(?<=CNPJ))(?=([0-9]{{14}}){END})"
)
_X = "[0-9A-Za-z]"
_CNPJ_LETTERED = re.compile(
    rf"(?<!{_X})(?=({_X}{{2}}[. ]?{_X}{{3}}[. ]?{_X}{{3}} ?[/-] ?{_X}{{4}} ?[-. ]? ?[0-9]{{2}})"
    rf"(?!{_X}))"
    rf"|(?<!{_X})(?=({_X}{{2}} {_X}{{3}} {_X}{{3}} {_X}{{4}} [0-9]{{2}})(?!{_X}))"
    rf"|(?:{ALONE}|(?<=cnpj)|(?<=CNPJ))(?=((?:[0-9A-Z]{{12}}|[0-9a-z]{{12}})-?[0-9]{{2}}){END})"
)
_MOMENT = re.compile(
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]\Z"
)


def cpfs(text: str) -> Iterator[Finding]:
    for start, end, value in candidates(in_runs(_CPF, text, 11), text):
        if not _is_cpf(value):
            continue
        if end - start == len(value) and labelled_otherwise(text, start):
            continue
        yield Finding(Kind.CPF, start, end, value)


def _is_cpf(value: str) -> bool:
    """Eleven digits, the last two of which are each the weighted sum of those before, modulo 11."""
    digits = [*map(int, value)]
    first = sum(map(mul, digits[:9], range(1, 10))) % 11 % 10
    second = sum(map(mul, digits[:10], range(10))) % 11 % 10
    return digits[9:] == [first, second] and len(set(digits)) > 1


def cnpjs(text: str) -> Iterator[Finding]:
    """Those of digits alone."""
    for start, end, value in candidates(in_runs(_CNPJ, text, 14), text):
        bare = end - start == len(value)
        if bare and (_MOMENT.match(value) or labelled_otherwise(text, start)):
            continue
        if _is_cnpj(value):
            yield Finding(Kind.CNPJ, start, end, value)


def lettered_cnpjs(text: str) -> Iterator[Finding]:
    for start, end, value in candidates(_CNPJ_LETTERED.finditer(text), text):
        if value.isdigit() or not _is_cnpj(value) or not _is_one_number(text[start:end]):
            continue
        if end - start > len(value) or not labelled_otherwise(text, start):
            yield Finding(Kind.CNPJ, start, end, value)


def _is_cnpj(value: str) -> bool:
    from stdnum.br import cnpj

    return len(set(value)) > 1 and cnpj.is_valid(value)


def _is_one_number(written: str) -> bool:
    """Not words and a figure that happen to have the lengths of a CNPJ's pieces."""
    tight = written.replace(" / ", "/").replace(" - ", "-")
    return " " not in tight or any(each.isdigit() for each in written[:-2])


# --- RG ---

_RG = re.compile(
    r"(?:\b|_)(?:r\.?g\.?(?![a-z])|registro geral|(?:c[ée]dula|carteira|documento) de identidade|"
    r"identidade|identity card|id card)"
    r"(?:[\s:.,=\"'()#-]|n[º°o.]|n[úu]mero|number|is|é|e|sob|rg){0,12}?"
    r"((?:(?:[A-Z]{2}|M)[- ]?)?(?<![0-9])(?:[0-9]{1,3}(?:[. ][0-9]{3}){1,3}(?:[ -][0-9Xx])?"
    r"|[0-9]{5,10}(?:[ -]?[0-9Xx])?))(?![0-9A-Za-z])(?!,[0-9])",
    re.IGNORECASE,
)
_RG_PAULISTA = re.compile(r"(?<![0-9A-Za-z.])[0-9]{2}\.[0-9]{3}\.[0-9]{3}-[0-9Xx](?![0-9A-Za-z-])")


def rgs(text: str) -> Iterator[Finding]:
    """Those that a word announces."""
    for match in _RG.finditer(text):
        value = SIGNS.sub("", match[1]).upper()
        yield Finding(Kind.RG, match.start(1), match.end(1), value)


def paulista_rgs(text: str) -> Iterator[Finding]:
    """Those of São Paulo are told by form and check digit, without a word before."""
    for match in in_runs(_RG_PAULISTA, text, 8):
        value = SIGNS.sub("", match.group()).upper()
        if _paulista_fits(value):
            yield Finding(Kind.RG, match.start(), match.end(), value)


def _paulista_fits(value: str) -> bool:
    """São Paulo's check digit: weights 2 to 9, and 100 for the check digit itself, modulo 11."""
    check = 10 if value[-1] == "X" else int(value[-1])
    total = sum(int(each) * weight for each, weight in zip(value[:-1], range(2, 10), strict=True))
    return len(set(value)) > 1 and (total + 100 * check) % 11 == 0


# --- cards ---

_GAP = r"(?:[.-]| {1,2})"
_CARD = re.compile(
    r"(?<![0-9])(?:"
    rf"(?=([0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{3}})(?![0-9]))|"
    rf"(?=([0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{1,4}})(?![0-9]))|"
    rf"(?=([0-9]{{4}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}})(?![0-9]))|"
    rf"(?=([0-9]{{4}}{_GAP}[0-9]{{3}}{_GAP}[0-9]{{3}}{_GAP}[0-9]{{3}})(?![0-9])))"
    rf"|{ALONE}(?=([0-9]{{13,19}}){END})"
)
_CARD_16 = re.compile(rf"(?=([0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}})(?![0-9]))")

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


def cards(text: str) -> Iterator[Finding]:
    for start, end, value in candidates(in_runs(_CARD, text, 13), text):
        if end - start == len(value) and labelled_otherwise(text, start):
            continue
        if _is_card(value):
            yield Finding(Kind.CARD, start, end, value)
        elif len(value) == 19 and (shorter := _CARD_16.match(text, start)):
            # four groups, and the three digits from the back of the card
            end, value = shorter.end(1), SIGNS.sub("", shorter.group(1))
            if _is_card(value):
                yield Finding(Kind.CARD, start, end, value)


# --- IBAN ---

#: The registry's countries and the length of their numbers.
IBAN_LENGTHS = {
    each[:2]: int(each[2:])
    for each in (  # noqa: SIM905
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
        "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
        "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
        "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
        "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    ).split()
}
_IBAN_START = re.compile(r"(?<![0-9A-Za-z])([A-Za-z]{2})[0-9]{2}[ -]?[0-9A-Za-z]")
_IBAN_SIGN = re.compile(r"[ -]?([0-9A-Za-z])")


def ibans(text: str) -> Iterator[Finding]:
    from stdnum import iban

    for match in _IBAN_START.finditer(text):
        length = IBAN_LENGTHS.get(match[1].upper())
        if length is None:
            continue
        value, end = _take(text, match.start(), length)
        if len(value) < length or text[end : end + 1].isalnum():
            continue
        if iban.is_valid(value, check_country=False):
            yield Finding(Kind.IBAN, match.start(), end, value)


def _take(text: str, start: int, length: int) -> tuple[str, int]:
    """So many letters and digits, at most one space or hyphen between two; and where they end."""
    taken: list[str] = []
    while len(taken) < length and (sign := _IBAN_SIGN.match(text, start)):
        taken.append(sign[1])
        start = sign.end()
    return "".join(taken).upper(), start


# --- Pix ---

_HEX = "[0-9A-Fa-f]"
_UUID = rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_PIX_KEY = re.compile(rf"(?<![0-9A-Za-z-]){_UUID}(?![0-9A-Za-z-])")
_PIX_WORDS = re.compile(r"\bpix\b|chave aleat[óo]ria", re.IGNORECASE)
_PIX_NEAR = 60
#: The key inside the code for copy and paste: subfield 01 after the name of the system.
_PIX_CODE = re.compile(r"br\.gov\.bcb\.pix01([0-9]{2})", re.IGNORECASE)


def pixes(text: str) -> Iterator[Finding]:
    """Random keys, and any key inside a code; keys that are an e-mail, a phone, a CPF or a CNPJ
    outside of one are found as such."""
    for code in _PIX_CODE.finditer(text):
        end = code.end() + int(code[1])
        key = text[code.end() : end]
        if len(key) == int(code[1]) and len(key) > 0:
            yield Finding(Kind.PIX, code.end(), end, key.lower())
    if not _PIX_WORDS.search(text):
        return
    for match in _PIX_KEY.finditer(text):
        near = text[max(0, match.start() - _PIX_NEAR) : match.end() + _PIX_NEAR // 2]
        if _PIX_WORDS.search(near):
            yield Finding(Kind.PIX, match.start(), match.end(), match.group().lower())
