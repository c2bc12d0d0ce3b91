"""A person as somebody names them, to find and to forget what is held of them: identifiers, read
from what was typed, how they look in texts, and how they are told without telling them."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: What may stand before a value, with a colon; source tables may, too.
KINDS = ("customer", "email", "phone", "cpf", "cnpj", "name")
TABLES = ("customers", "conversations", "messages", "qa_cache", "feedback", "docs")
_PART = re.compile(r"[;\n]+")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_NUMBER = re.compile(r"[+\d][\d\s.()/-]*")
#: What may stand between the digits of a number, as people write it.
_BETWEEN = r"[\s.()/_\-\u2010-\u2015]{0,3}"
_ACCENTS = re.compile("[\u0300-\u036f]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Identifier:
    """`kind` is one of KINDS, or the name of a table of the source."""

    kind: str
    value: str

    @property
    def masked(self) -> str:
        """What may be written down of it: enough to know which of several was meant."""
        if self.kind == "email":
            local, _sign, domain = self.value.partition("@")
            return f"email:{local[:1]}***@{domain[:1]}***"
        if self.kind == "name":
            return "name:" + " ".join(f"{word[:1]}." for word in self.value.split())
        return f"{self.kind}:***{self.value[-2:] if len(self.value) > 4 else ''}"


@dataclass(frozen=True)
class Sought:
    """What to look for. `patterns` are regular expressions over folded text, `rows` the keys of
    source rows by the table's bare name. Where none of `words` stands in a folded text and none of
    `numbers` in its digits, no pattern is found in it: a quick look before the slow one."""

    patterns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def fold(text: str) -> str:
    """Text as it is searched: no case, no accents, full-width digits as plain ones."""
    if text.isascii():
        return text.lower()
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()


def read_identifiers(text: str) -> tuple[list[Identifier], int]:
    """The identifiers in a text, one a line or parted by semicolons, and the number (from 1) of
    the first part that can't be read, 0 for none."""
    found: list[Identifier] = []
    parts = [each.strip() for each in _PART.split(text) if each.strip()]
    for number, part in enumerate(parts, 1):
        mine = _read(part)
        if not mine:
            return [], number
        found += mine
    return list(dict.fromkeys(found)), 0


def _read(part: str) -> list[Identifier]:
    kind, sign, value = (each.strip() for each in part.partition(":"))
    if sign and kind.lower() in (*KINDS, *TABLES):
        kind = kind.lower()
        if kind in ("phone", "cpf", "cnpj"):
            value = _digits(value)
            return [Identifier(kind, value)] if len(value) >= 8 else []
        if kind == "email":
            return [Identifier(kind, value)] if _EMAIL.fullmatch(value) else []
        if kind == "name":  # one short word is everybody's
            return [Identifier(kind, value)] if len(value) >= 4 else []
        return [Identifier(kind, value)] if value else []
    if _EMAIL.fullmatch(part):
        return [Identifier("email", part)]
    if _NUMBER.fullmatch(part):
        return _numbers(part)
    if _UUID.fullmatch(part):
        return [Identifier("customer", part)]
    if " " in part and len(part) >= 4:
        return [Identifier("name", part)]
    return [Identifier("customer", part)] if part.isprintable() else []


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _numbers(part: str) -> list[Identifier]:
    """A number without a word before it: all that it can be."""
    digits = _digits(part)
    if part.startswith("+"):
        return [Identifier("phone", digits)] if len(digits) >= 8 else []
    found = []
    if len(digits) == 14:
        found.append(Identifier("cnpj", digits))
    if len(digits) == 11 and _is_cpf(digits):
        found.append(Identifier("cpf", digits))
    if 10 <= len(digits) <= 13 and not (found and digits[2] != "9"):
        found.append(Identifier("phone", digits))
    if not found and digits == part:
        found.append(Identifier("customer", part))
    return found


def _is_cpf(digits: str) -> bool:
    """Whether both check digits fit (module 11 over the digits before, weights from 2 upwards)."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digits[n]) * (length + 1 - n) for n in range(length))
        if int(digits[length]) != total * 10 % 11 % 10:
            return False
    return True


def patterns_of(identifiers: Sequence[Identifier]) -> tuple[str, ...]:
    """How the values stand in folded texts, as regular expressions that Python and Postgres read
    alike. An id of a row stands in no text."""
    found = []
    for each in identifiers:
        if each.kind == "email":
            found.append(rf"(?<![\w.+-]){_escaped(fold(each.value))}(?![\w-]|\.\w)")
        elif each.kind == "phone":
            found.append(_phone(each.value))
        elif each.kind in ("cpf", "cnpj"):
            found.append(rf"(?<!\d){_BETWEEN.join(each.value)}(?!\d)")
        elif each.kind == "name":
            words = [_escaped(word) for word in fold(each.value).split()]
            joined = r"\s+".join(words)
            found.append(rf"(?<!\w){joined}(?!\w)")
    return tuple(dict.fromkeys(found))


def needles_of(identifiers: Sequence[Identifier]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The `words` and `numbers` of Sought for the patterns of these."""
    words: list[str] = []
    numbers: list[str] = []
    for each in identifiers:
        if each.kind == "email":
            words.append(fold(each.value))
        elif each.kind == "name":
            words.append(max(fold(each.value).split(), key=len))
        elif each.kind == "phone":
            numbers.append(each.value[-8:])
        elif each.kind in ("cpf", "cnpj"):
            numbers.append(each.value)
    return tuple(words), tuple(numbers)


def _escaped(text: str) -> str:
    return re.sub(r"([^\w\s@])", r"\\\1", text)


def _phone(digits: str) -> str:
    """The number with and without its country code, and a Brazilian one with and without the
    carrier's 0 and the ninth digit of mobiles, also without its area code where no other stands
    before it."""
    national = digits
    for prefix in ("0055", "55"):
        if digits.startswith(prefix) and 10 <= len(digits) - len(prefix) <= 11:
            national = digits.removeprefix(prefix)
            break
    national = national.lstrip("0") if len(national) > 11 or national[:1] == "0" else national
    if len(national) not in (10, 11):
        plain = _BETWEEN.join(digits)
        return rf"(?<!\d){plain}(?!\d)"
    area, local = national[:2], national[2:]
    rest = local[-8:]
    mobile = len(local) == 9 or rest[0] in "6789"
    ninth = f"(?:9{_BETWEEN})?" if mobile else ""
    whole = f"{ninth}{_BETWEEN.join(rest)}"
    before = rf"(?:(?:\+|00)?55{_BETWEEN})?(?:0{_BETWEEN})?"
    with_area = rf"(?<!\d){before}{_BETWEEN.join(area)}{_BETWEEN}{whole}(?!\d)"
    alone = rf"(?<!\d)(?<!\d[\s).\-])(?<!\d\)[\s\-]){whole}(?!\d)"
    return f"(?:{with_area}|{alone})"
