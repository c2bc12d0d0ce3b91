"""Finds how people are reached: e-mail, phones, where they live, addresses on the Internet.

Rules: RFC 5321, 5322 and 6531 for e-mail, Anatel's numbering plan and E.164 for phones, Correios'
CEP, RFC 791 and 4291 for the Internet. Public service numbers (0800, 0300, 4004) are nobody's and
stay; so do addresses that are not of the public Internet (private, loopback, documentation) or are
a public resolver's, and a CEP alone, which is a place and no person's.
"""

import ipaddress
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sophia_tui.datasets.personal_kinds import (
    SIGNS,
    Finding,
    Kind,
    in_runs,
    labelled_otherwise,
)

# --- e-mail ---

_HOST = re.compile(
    r"@(?:(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.)+(?:[^\W\d_]{2,24}|xn--[0-9A-Za-z-]{2,59})(?![^\W_])"
    r"|\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\])"
)
# Rarer signs are legal in front of the @, but in texts they are quotes, emphasis and separators.
# Read from the @ backwards.
_LOCAL = re.compile(r"[\w.%+'&~-]*[^\W_]|\"[^\"\n@]{1,62}\"")
#: Names of files such as image@2x.png, and the account of services, not of people.
_NO_HOST = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|ico|avif|heic)\Z", re.IGNORECASE)
_NO_PERSON = frozenset({"git"})


def emails(text: str) -> Iterator[Finding]:
    if "@" not in text:
        return
    for host in _HOST.finditer(text):
        before = text[max(0, host.start() - 64) : host.start()]
        local = _LOCAL.match(before[::-1])
        if not local or _NO_HOST.search(host.group()):
            continue
        start = host.start() - local.end()
        if text[start : host.start()].lower() in _NO_PERSON:
            continue
        yield Finding(Kind.EMAIL, start, host.end(), text[start : host.end()].lower())


# --- the Internet ---

_V4 = re.compile(
    r"(?<![0-9A-Za-z.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z_]|\.[0-9]|-[A-Za-z])"
)
_V6 = re.compile(
    r"[0-9A-Fa-f]{0,4}(?:(?::[0-9A-Fa-f]{0,4}){1,6}:[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|(?::[0-9A-Fa-f]{0,4}){2,8})"
)
_VERSION_WORD = re.compile(
    r"(?:\bv|\b(?:vers(?:ão|ao|ões|oes|ion|ions)|firmware|release|build|item|itens|se[çc][ãa]o|"
    r"section|cl[áa]usula|art|artigo|cap[íi]tulo|anexo|chapter|driver|update|upgrade)\b\.?)"
    r"[ :=]{0,2}(?:n[º°o.]{0,2} ?)?\Z",
    re.IGNORECASE,
)
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222"})
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


def ips(text: str) -> Iterator[Finding]:
    if ":" in text:
        for match in _V6.finditer(text):
            found = _v6(text, match.start(), match.end())
            if found:
                yield found
    for match in _V4.finditer(text):
        written = match.group()
        if _VERSION_WORD.search(text[max(0, match.start() - 20) : match.start()]):
            continue
        if _is_somebodys(written) and written not in _RESOLVERS:
            yield Finding(Kind.IP, match.start(), match.end(), written)


def _v6(text: str, start: int, end: int) -> Finding | None:
    """The longest address that begins at one of the groups; a colon before or after the whole is
    punctuation."""
    if text[end : end + 1].isalnum():
        return None
    end -= text[start:end].endswith(":") and not text[start:end].endswith("::")
    while start < end:
        alone = not text[start - 1 : start].isalnum()
        if alone and (value := _somebodys_v6(text[start:end])):
            return Finding(Kind.IP, start, end, value)
        colon = text.find(":", start, end)
        if colon < 0:
            return None
        start = colon + 1
    return None


def _is_somebodys(written: str) -> bool:
    try:
        return ipaddress.ip_address(written).is_global
    except ValueError:
        return False


def _somebodys_v6(written: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return None
    if address.ipv4_mapped is not None:
        return str(address) if address.ipv4_mapped.is_global else None
    return str(address) if address in _GLOBAL_UNICAST and address.is_global else None


# --- where people live ---

_CEP = re.compile(
    r"(?<![0-9])(?:[0-9]{5}-[0-9]{3}|[0-9]{2}\.[0-9]{3}-[0-9]{3}|[0-9]{2}\.?[0-9]{3}[ .]?[0-9]{3})"
    r"(?![0-9A-Za-z-])"
)
_CEP_FORM = re.compile(r"(?:[0-9]{5}|[0-9]{2}\.[0-9]{3})-[0-9]{3}\Z")
_CEP_LABEL = re.compile(r"\bcep\b[ .:nº°\"']{0,6}\Z", re.IGNORECASE)
_STREET = re.compile(
    r"\b(?:rua|r\.|avenida|av\b\.?|travessa|trav\b\.?|tv\b\.?|alameda|al\.|praça|pça\.?|rodovia|"
    r"rod\.|estrada|estr\.|est\.|largo|viela|vila|beco|ladeira|servidão|quadra|qd\.)[ \t]+"
    r"(?:[\w.'’ªº-]+,?[ \t]+){0,7}?[\w.'’ªº-]+"
    r"[ \t]*[,-]?[ \t]*(?:n[º°o.]{1,2}[ \t]*|n[úu]mero[ \t]+|nr\.?[ \t]*)?"
    r"(?<![0-9])[0-9]{1,6}[A-Za-z]?(?![\w/])(?!-[0-9])"
    r"(?:,?[ \t]*-?[ \t]*(?:apto?\.?|apartamento|casa|bloco|bl\.|sala|conj\.?|cj\.|lote|lt\.)"
    r"[ \t]*[0-9A-Za-z]{1,5}\b)*",
    re.IGNORECASE,
)
_NEIGHBOURS = 160


def addresses(text: str) -> Iterator[Finding]:
    """Street and number, and the CEP, where both stand close together."""
    ceps = [each.span() for each in in_runs(_CEP, text, 8) if _is_cep(text, *each.span())]
    if not ceps:
        return
    streets = list(_STREET.finditer(text))
    starts, ends = [each.start() for each in streets], [each.end() for each in streets]
    used: set[int] = set()
    for start, end in ceps:
        near = range(
            bisect_right(ends, start - _NEIGHBOURS), bisect_left(starts, end + _NEIGHBOURS)
        )
        if near:
            yield Finding(Kind.CEP, start, end, SIGNS.sub("", text[start:end]))
            used.update(near)
    for place in sorted(used):
        street = streets[place]
        value = " ".join(re.findall(r"\w+", street.group().lower()))
        yield Finding(Kind.ADDRESS, street.start(), street.end(), value)


def _is_cep(text: str, start: int, end: int) -> bool:
    """Whether its form tells it, or the word before."""
    if _CEP_LABEL.search(text[max(0, start - 12) : start]):
        return True
    joined = text[start - 1 : start]
    return bool(_CEP_FORM.match(text[start:end])) and not (joined.isalnum() or joined in {*".,-"})


# --- phones ---

_AREA = r"(?:1[1-9]|2[12478]|3[1-8]|4[1-9]|5[1345]|6[1-9]|7[134579]|8[1-9]|9[1-9])"
_DASH = r"(?: - |[ .-]?)"
_BRAZIL = re.compile(
    r"(?<![0-9])(?P<country>\+?55[ .-]?|0055[ .-]?)?(?P<open>\()?(?:0(?:xx|[1-9][0-9])?[ -]?)?"
    r"(?P<area>" + _AREA + r")(?(open)\))(?P<gap> ?/ ?|[ .-]{0,3})"
    rf"(?P<number>9[ .-]?[0-9]{{4}}(?P<dash>{_DASH})[0-9]{{4}}|9[0-9]{{2}} [0-9]{{3}} [0-9]{{3}}"
    rf"|[2-5][0-9]{{3}}(?P<dash2>{_DASH})[0-9]{{4}})(?![0-9])",
    re.IGNORECASE,
)
_LOCAL_MOBILE = re.compile(r"(?<![0-9A-Za-z])(?<![0-9][.,/-])9[0-9]{4}-[0-9]{4}(?![0-9A-Za-z-])")
_LOCAL_BARE = re.compile(r"(?<![0-9])(?:9[ .]?[0-9]|[2-9])[0-9]{3}[ .-]?[0-9]{4}(?![0-9])")
_AMERICA = re.compile(
    r"(?<![0-9+.-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-. ][0-9]{4}"
    r"(?![0-9])"
)
#: What is written as a CPF is none when its check digits are wrong, and no call abroad either.
_ABROAD = re.compile(
    r"(?<![0-9A-Za-z+])(?<![0-9][.,/-])(?![0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?![0-9]))"
    r"(?:\+ ?|00)(?=[1-9])[0-9](?:[ .()/-]{0,2}[0-9]){6,17}(?![0-9])"
)
_THOUSANDS = re.compile(r"\+ ?[0-9]{1,3}(?:\.[0-9]{3})+\Z")
_YEARS = re.compile(r"(?:19|20)[0-9]{2}[ .-]?(?:19|20)[0-9]{2}\Z")
_WORD_BEFORE = re.compile(
    r"\b(?:tel|tels|telefone|telefones|fone|fones|cel|celular|whats|whatsapp|wpp|zap|phone|phones|"
    r"mobile|call|ligue|ligar|liga|contato|contact)\b\W{0,4}(?:[^\W\d]+\W{1,3}){0,3}\Z",
    re.IGNORECASE,
)
_JOINED, _FOLLOWED = re.compile(r"[0-9][ .,/-]\Z"), re.compile(r"[ .,/-][0-9]")
_GLUED_WORD = re.compile(r"(?:tel|fone|cel|zap|wa\.me/)\Z", re.IGNORECASE)


def phones(text: str) -> Iterator[Finding]:
    yield from _abroad(text)
    yield from _brazilian(text)
    for match in in_runs(_AMERICA, text, 10):
        value = _american(re.sub(r"[^0-9]", "", match.group())[-10:])
        if value:
            yield Finding(Kind.PHONE, match.start(), match.end(), value)
    for match in in_runs(_LOCAL_MOBILE, text, 9):
        yield Finding(Kind.PHONE, match.start(), match.end(), SIGNS.sub("", match.group()))
    for match in in_runs(_LOCAL_BARE, text, 8):
        if not _YEARS.match(match.group()) and _announced(text, match.start()):
            yield Finding(Kind.PHONE, match.start(), match.end(), SIGNS.sub("", match.group()))


def _announced(text: str, start: int) -> bool:
    """Whether the words before say that a phone number follows."""
    before = text[max(0, start - 40) : start]
    return bool(_WORD_BEFORE.search(before) or _GLUED_WORD.search(before))


def _brazilian(text: str) -> Iterator[Finding]:
    for match in in_runs(_BRAZIL, text, 10):
        number = SIGNS.sub("", match["number"])
        if _is_written_as_phone(text, match, mobile=len(number) == 9):
            yield Finding(Kind.PHONE, match.start(), match.end(), f"+55{match['area']}{number}")


def _is_written_as_phone(text: str, match: re.Match[str], mobile: bool) -> bool:
    start, end = match.span()
    if match["open"] or _announced(text, start):
        return True
    if match.group().isdigit() and labelled_otherwise(text, start):
        return False
    if match["country"] and (mobile or match["country"].startswith("+")):
        return _stands_alone(text, start, end)
    if not mobile and _YEARS.match(match["number"]):
        return False
    if "-" in (match["dash"] or match["dash2"] or ""):
        return _stands_alone(text, start, end) and (mobile or bool(match["gap"]))
    # digits alone or with spaces: a mobile number is told by its area and its 9, if nothing else
    # is joined to it; a landline looks like any number of ten digits
    joined = _JOINED.search(text[max(0, start - 2) : start])
    follows = _FOLLOWED.match(text, end)
    return mobile and not joined and not follows and _stands_alone(text, start, end)


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())


def _abroad(text: str) -> Iterator[Finding]:
    if "+" not in text and "00" not in text:
        return
    for match in in_runs(_ABROAD, text):
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
