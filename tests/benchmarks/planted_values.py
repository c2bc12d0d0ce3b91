"""Invented personal data and secrets in their written forms, for measuring what finds them.

Imports nothing of Sophia's: the forms come from published rules alone, named at each maker. Every
maker takes a random.Random and gives the value as a person or a program would write it.
"""

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

_UPPER_DIGITS = string.ascii_uppercase + string.digits
_WORD = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def words(joined: str) -> list[str]:
    return joined.split("|")


FIRST = words(
    "maria|joao|ana|pedro|lucas|julia|marcos|fernanda|rafael|beatriz|thiago|"
    "camila|andre|larissa|bruno|patricia|gustavo|aline|diego|vanessa|emma|"
    "oliver|noah|charlotte"
)
LAST = words(
    "silva|souza|oliveira|santos|lima|pereira|ferreira|costa|almeida|ribeiro|"
    "gomes|martins|araujo|barbosa|rocha|dias|smith|johnson|brown|taylor|walker|"
    "hughes|o'neil|mcdonald"
)


@dataclass(frozen=True)
class Value:
    """`hint`: it can only be told with words around it that say what it is."""

    written: str
    hint: bool = False


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def letters(rng: random.Random, count: int, alphabet: str = _WORD) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def _pick(rng: random.Random, *weighted: tuple[float, str]) -> str:
    return rng.choices([form for _, form in weighted], [weight for weight, _ in weighted])[0]


def shape(value: str, mask: str) -> str:
    """`value` put into the places of the letter x of `mask`."""
    characters = iter(value)
    return "".join(next(characters) if each == "x" else each for each in mask)


# --- e-mail: RFC 5321 and 5322 (dot-atom, quoted string, domain literal), RFC 6531 (beyond ASCII)


def email(rng: random.Random) -> Value:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    plain = last.replace("'", "")
    local = rng.choice(
        (
            f"{first}.{plain}",
            f"{first}{plain}{rng.randint(1, 99)}",
            f"{first[0]}{plain}",
            f"{first}_{plain}",
            f"{first}-{plain}",
            f"{first}.{plain}+{rng.choice(('loja', 'news', 'sophia', 'x1'))}",
            f"{first}{rng.randint(1960, 2009)}",
            f"{first}.{last}",
            f"contato.{plain}",
            f"{digits(rng, 5)}",
            f"{first}%{plain}",
            f"{first}&{plain}",
        )
    )
    domain = rng.choice(
        words(
            "gmail.com|hotmail.com|outlook.com.br|yahoo.com.br|uol.com.br|bol.com.br|"
            "terra.com.br|icloud.com|usp.br|mail.empresa-exemplo.com.br|padaria.net.br|"
            "proton.me|example.org|sub.dominio.example.co.uk|startup.io|"
            "escritorio.adv.br|clinica.med.br|x.dev|loja.technology|museu.museum|"
            "3com.example.com|correio.pt|web.de"
        )
    )
    kind = rng.random()
    if kind < 0.03:
        local = f'"{first} {plain}"'
    elif kind < 0.05:
        domain = f"[{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.7]"
    elif kind < 0.08:
        local, domain = rng.choice(("joão", "conceição", "josé")) + f".{plain}", "correio.com.br"
    elif kind < 0.11:
        domain = rng.choice(
            ("ação.com.br", "xn--ao-siaa1c.com.br", "müller.de", "café.example.com")
        )
    written = f"{local}@{domain}"
    if rng.random() < 0.1:
        written = written.upper() if rng.random() < 0.5 else written.title()
    return Value(written)


# --- phones: Anatel's numbering plan (codes of area, 9 digits mobile, 8 fixed), ITU-T E.164, E.123,
# --- RFC 3966 (tel:)

AREAS = words(
    "11|12|13|14|15|16|17|18|19|21|22|24|27|28|31|32|33|34|35|37|38|41|42|43|44|"
    "45|46|47|48|49|51|53|54|55|61|62|63|64|65|66|67|68|69|71|73|74|75|77|79|81|"
    "82|83|84|85|86|87|88|89|91|92|93|94|95|96|97|98|99"
)


def brazilian_phone(rng: random.Random) -> Value:
    area = rng.choice(AREAS)
    mobile = rng.random() < 0.75
    number = "9" + rng.choice("123456789999888777") + digits(rng, 7)
    if not mobile:
        number = rng.choice("2345") + digits(rng, 7)
    body = "xxxxx-xxxx" if mobile else "xxxx-xxxx"
    masks: list[tuple[float, str]] = [
        (5, f"({area}) {body}"),
        (4, f"{area} {body}"),
        (2, f"({area}){body}"),
        (2, f"{area}-{body}"),
        (2, f"({area}) " + body.replace("-", "")),
        (2, f"{area} " + body.replace("-", "")),
        (2, f"{area} " + body.replace("-", " ")),
        (1, f"{area}." + body.replace("-", ".")),
        (1, f"({area}) " + body.replace("-", ".")),
        (1, f"({area}) " + body.replace("-", " ")),
        (2, f"0{area} {body}"),
        (1, f"(0{area}) {body}"),
        (1, f"0XX{area} {body}"),
        (1, f"(0{rng.choice(('15', '21', '31', '41'))}{area}) {body}"),
        (4, f"+55 {area} {body}"),
        (3, f"+55 ({area}) {body}"),
        (3, f"+55{area}" + body.replace("-", "")),
        (2, f"55{area}" + body.replace("-", "")),
        (1, f"+55-{area}-{body}"),
        (1, f"+55 {area} " + body.replace("-", " ")),
        (1, f"0055 {area} {body}"),
        (1, f"{area} / {body}"),
        (1, f"({area}) " + body.replace("-", "\u2013")),
        (1, f"({area})\u00a0" + body.replace("-", "\u2011")),
        (1, f"{area} " + body.replace("-", " - ")),
    ]
    if mobile:
        masks += [
            (2, f"({area}) x xxxx-xxxx"),
            (2, f"{area} x xxxx-xxxx"),
            (1, f"{area} x xxxx xxxx"),
            (1, f"+55 {area} x xxxx-xxxx"),
            (1, f"({area}) x.xxxx.xxxx"),
            (1, f"{area} xxx xxx xxx"),
            (4, f"{area}xxxxxxxxx"),
        ]
    mask = _pick(rng, *masks)
    written = shape(number, mask)
    hint = mask.startswith(("55", f"{area} / ")) or (mask == f"{area} " + body.replace("-", " - "))
    if rng.random() < 0.05:  # written as to a neighbour, without area
        return Value(shape(number, body), hint=True)
    if not mobile and rng.random() < 0.06:
        return Value(area + number, hint=True)
    return Value(written, hint)


def foreign_phone(rng: random.Random) -> Value:
    area, exchange = rng.choice(("212", "305", "415", "617", "702")), f"{rng.randint(222, 989)}"
    line = digits(rng, 4)
    masks = (
        f"+1 {area} {exchange} {line}",
        f"+1 ({area}) {exchange}-{line}",
        f"+1-{area}-{exchange}-{line}",
        f"+1{area}{exchange}{line}",
        f"1-{area}-{exchange}-{line}",
        f"({area}) {exchange}-{line}",
        f"{area}-{exchange}-{line}",
        f"{area}.{exchange}.{line}",
        shape("4" + digits(rng, 8), "+44 7xxx xxxxx") + digits(rng, 1),
        shape(digits(rng, 7), "+44 20 7xxx xxxx"),
        shape(digits(rng, 7), "+44 (0)20 7xxx xxxx"),
        shape(digits(rng, 8), "+351 9" + rng.choice("1236") + "x xxx xxx")[:16],
        shape(digits(rng, 7), "00351 91x xxx xxx")[:17],
        shape(digits(rng, 8), "+54 9 11 xxxx-xxxx"),
        shape(digits(rng, 8), "+49 151 xxxxxxxx"),
        shape(digits(rng, 7), "+49 (0)30 xxxxxxx"),
        shape(digits(rng, 8), "+33 6 xx xx xx xx"),
        shape(digits(rng, 8), "+33 (0)6 xx xx xx xx"),
        shape(digits(rng, 8), "+34 6xx xxx xxx"),
        shape(digits(rng, 7), "+598 9x xxx xxx")[:15],
        shape(digits(rng, 6), "+595 981 xxxxxx"),
        shape(digits(rng, 8), "+81 90-xxxx-xxxx"),
        shape(digits(rng, 8), "+91 98xxx xxxxx"),
        shape(digits(rng, 6), "+244 923 xxx xxx"),
        shape(digits(rng, 8), "+3519" + rng.choice("1236") + "xxxxxxx")[:13],
    )
    written = rng.choice(masks)
    return Value(written, hint=not written.startswith(("+", "00")))


def phone(rng: random.Random) -> Value:
    return brazilian_phone(rng) if rng.random() < 0.7 else foreign_phone(rng)


# --- CPF and CNPJ: Receita Federal (modulo 11); the alphanumeric CNPJ of IN RFB 2.229/2024 counts a
# --- character as its ASCII code less 48


def cpf_digits(rng: random.Random) -> str:
    base = digits(rng, 9)
    while len(set(base)) == 1:
        base = digits(rng, 9)
    for length in (9, 10):
        total = sum(int(base[place]) * (length + 1 - place) for place in range(length))
        base += str(total * 10 % 11 % 10)
    return base


def cpf(rng: random.Random) -> Value:
    mask = _pick(
        rng,
        (8, "xxx.xxx.xxx-xx"),
        (5, "xxxxxxxxxxx"),
        (2, "xxxxxxxxx-xx"),
        (1, "xxx xxx xxx xx"),
        (1, "xxx.xxx.xxx.xx"),
        (1, "xxx.xxx.xxx/xx"),
        (1, "xxx-xxx-xxx-xx"),
        (1, "xxx xxx xxx-xx"),
        (1, "xxx.xxx.xxx xx"),
        (1, "xxxxxxxxx/xx"),
        (0.5, "xxx.xxx.xxx\u2013xx"),
        (0.5, "xxx.xxx.xxx\u2011xx"),
        (0.5, "xxx. xxx. xxx-xx"),
        (0.5, "xxx.xxx.xxx - xx"),
    )
    return Value(shape(cpf_digits(rng), mask))


def cnpj_characters(rng: random.Random, alphanumeric: bool) -> str:
    alphabet = _UPPER_DIGITS if alphanumeric else string.digits
    base = letters(rng, 8, alphabet)
    branch = letters(rng, 4, alphabet) if alphanumeric and rng.random() < 0.5 else "0001"
    base += branch if rng.random() < 0.9 else digits(rng, 4)
    if alphanumeric and base.isdigit():
        base = "A" + base[1:]
    for length in (12, 13):
        weights = [(length - 1 - place) % 8 + 2 for place in range(length)]
        rest = sum(w * (ord(c) - 48) for w, c in zip(weights, base, strict=True)) % 11
        base += "0" if rest < 2 else str(11 - rest)
    return base


def cnpj(rng: random.Random) -> Value:
    alphanumeric = rng.random() < 0.35
    value = cnpj_characters(rng, alphanumeric)
    mask = _pick(
        rng,
        (8, "xx.xxx.xxx/xxxx-xx"),
        (4, "xxxxxxxxxxxxxx"),
        (2, "xxxxxxxx/xxxx-xx"),
        (1, "xx xxx xxx/xxxx-xx"),
        (1, "xx.xxx.xxx/xxxx.xx"),
        (1, "xx.xxx.xxx-xxxx-xx"),
        (1, "xx.xxx.xxx/xxxxxx"),
        (1, "xx xxx xxx xxxx xx"),
        (0.5, "xx.xxx.xxx/xxxx\u2013xx"),
        (0.5, "xx.xxx.xxx / xxxx-xx"),
        (0.5, "xxxxxxxxxxxx-xx"),
    )
    written = shape(value, mask)
    if alphanumeric and rng.random() < 0.1:
        written = written.lower()
    return Value(written)


# --- RG: no rule for the whole country; Sao Paulo's check digit is modulo 11 with weights 2 to 9


def rg(rng: random.Random) -> Value:
    base = rng.choice("12345") + digits(rng, 7)
    total = sum(int(each) * weight for each, weight in zip(base, range(2, 10), strict=True))
    check = (11 - total % 11) % 11
    paulista = base + ("X" if check == 10 else str(check))
    kind = rng.random()
    if kind < 0.2:
        return Value(shape(paulista, "xx.xxx.xxx-x"))
    if kind < 0.45:
        mask = rng.choice(
            ("xx.xxx.xxx-x", "xxxxxxxx-x", "xxxxxxxxx", "xx.xxx.xxx x", "xx xxx xxx x")
        )
        return Value(shape(paulista, mask), hint=True)
    if kind < 0.6:
        state = rng.choice(("MG-", "MG ", "MG", "M-"))
        return Value(state + shape(digits(rng, 8), rng.choice(("xx.xxx.xxx", "xxxxxxxx"))), True)
    mask = rng.choice(
        (
            "xx.xxx.xxx-x",
            "x.xxx.xxx",
            "xxxxxxx",
            "xxxxxxxxxx",
            "xx.xxx.xxx",
            "xxxxxxxx-x",
            "xxx.xxx",
        )
    )
    tail = rng.choice(("", "", " SSP/BA", " SSP-PE", " DETRAN/RJ", " SSP/RS"))
    # who issued it is no part of the number and may stay
    return (
        Value(shape("1" + digits(rng, 12), mask), True)
        if not tail
        else Value(shape("2" + digits(rng, 12), mask), True)
    )


# --- cards: ISO/IEC 7812 (Luhn), the issuers' published ranges


def luhn(body: str) -> str:
    total = 0
    for place, each in enumerate(reversed(body)):
        number = int(each) * (2 if place % 2 == 0 else 1)
        total += number - 9 if number > 9 else number
    return body + str(-total % 10)


def card(rng: random.Random) -> Value:
    prefix, length = rng.choice(
        (
            ("4", 16),
            ("4", 16),
            ("4", 13),
            ("4", 19),
            ("51", 16),
            ("53", 16),
            ("55", 16),
            ("2221", 16),
            ("2350", 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("36", 14),
            ("38", 14),
            ("300", 14),
            ("6011", 16),
            ("65", 16),
            ("3528", 16),
            ("3589", 16),
            ("636368", 16),
            ("438935", 16),
            ("504175", 16),
            ("451416", 16),
            ("5090", 16),
            ("6504", 16),
            ("606282", 16),
            ("506699", 16),
            ("627780", 16),
        )
    )
    value = luhn(prefix + digits(rng, length - len(prefix) - 1))
    groups = {13: (4, 3, 3, 3), 14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4), 19: (4, 4, 4, 4, 3)}
    mark = _pick(rng, (6, " "), (4, ""), (2, "-"), (1, "."), (0.5, "\u00a0"), (0.5, "  "))
    return Value(shape(value, mark.join("x" * size for size in groups[length])))


# --- Pix: Banco Central's manual of initiation standards: the random key is a UUID, also in the
# --- "copy and paste" code (EMV, field 26 with br.gov.bcb.pix, key in subfield 01)


def uuid(rng: random.Random) -> str:
    value = letters(rng, 32, "0123456789abcdef")
    value = value[:12] + "4" + value[13:16] + rng.choice("89ab") + value[17:]
    return shape(value, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")


def pix(rng: random.Random) -> Value:
    key = uuid(rng)
    if rng.random() < 0.15:
        key = key.upper()
    return Value(key, hint=True)


def pix_code(rng: random.Random, key: str) -> str:
    name = rng.choice(FIRST).upper()
    account = f"0014br.gov.bcb.pix01{len(key):02}{key}"
    return (
        f"00020126{len(account):02}{account}52040000530398654{5:02}{rng.randint(10, 99)}.00"
        f"5802BR59{len(name):02}{name}6009SAO PAULO62070503***6304{letters(rng, 4, _HEX.upper())}"
    )


# --- IBAN: ISO 13616 and its registry of national forms (n digits, a upper case, c both)

IBAN_FORMS = {
    "BR": "n23a1c1",
    "PT": "n21",
    "DE": "n18",
    "FR": "n10c11n2",
    "ES": "n20",
    "IT": "a1n10c12",
    "GB": "a4n14",
    "NL": "a4n10",
    "CH": "n5c12",
    "BE": "n12",
    "AT": "n16",
    "IE": "a4n14",
    "PL": "n24",
    "LU": "n3c13",
    "NO": "n11",
    "MT": "a4n5c18",
}


def iban(rng: random.Random) -> Value:
    country = rng.choice(list(IBAN_FORMS))
    alphabets = {"n": string.digits, "a": string.ascii_uppercase, "c": _UPPER_DIGITS}
    body, form = "", IBAN_FORMS[country]
    while form:
        kind, form = form[0], form[1:]
        size = ""
        while form and form[0].isdigit():
            size, form = size + form[0], form[1:]
        body += letters(rng, int(size), alphabets[kind])
    number = int("".join(str(int(each, 36)) for each in body + country + "00"))
    value = f"{country}{98 - number % 97:02}{body}"
    mark = _pick(rng, (5, " "), (5, ""), (0.5, "-"), (0.5, "\u00a0"))
    written = mark.join(value[place : place + 4] for place in range(0, len(value), 4))
    return Value(written.lower() if rng.random() < 0.05 else written)


# --- addresses of machines: RFC 791 and RFC 4291/5952; only those of the public Internet


def ip(rng: random.Random) -> Value:
    if rng.random() < 0.6:
        first = rng.choice(
            (45, 138, 143, 152, 168, 170, 177, 179, 186, 187, 189, 191, 200, 201, 85)
        )
        rest = [rng.randint(1, 254), rng.randint(0, 254), rng.randint(1, 254)]
        if (first, rest[0]) == (168, 63):
            rest[0] = 64
        return Value(".".join(str(each) for each in (first, *rest)))
    head = rng.choice(("2804", "2801", "2001:12f0", "2a02", "2606", "2800"))
    groups = head.split(":")
    groups += [letters(rng, rng.randint(1, 4), "0123456789abcdef") for _ in range(8 - len(groups))]
    groups = [group.lstrip("0") or "0" for group in groups]
    if rng.random() < 0.5:
        start = rng.randint(len(head.split(":")) + 1, 5)
        tail = groups[rng.randint(start + 2, 8) :]
        written = ":".join(groups[:start]) + "::" + ":".join(tail)
    else:
        written = ":".join(groups)
    if rng.random() < 0.08:
        written = f"::ffff:{ip_v4(rng)}"
    return Value(written.upper() if rng.random() < 0.1 else written)


def ip_v4(rng: random.Random) -> str:
    return f"{rng.choice((177, 189, 200, 201))}." + ".".join(
        str(rng.randint(1, 254)) for _ in "abc"
    )


# --- addresses of people: Correios' CEP (five digits and three) with the lines of an envelope

STREETS = words(
    "das Flores|XV de Novembro|Sete de Setembro|José Bonifácio|dos Andradas|"
    "Santa Rita|Dom Pedro II|Presidente Vargas|João Pessoa|da Consolação|"
    "Brigadeiro Faria Lima|Doutor Arnaldo|Marechal Deodoro|24 de Maio|"
    "das Palmeiras|São Bento|Amazonas"
)
CITIES = words(
    "São Paulo/SP|Campinas - SP|Belo Horizonte/MG|Recife - PE|Porto Alegre, RS|"
    "Pouso Alegre - MG|Curitiba/PR|Salvador - BA|Niterói, RJ|Manaus/AM"
)
QUARTERS = [
    "Centro",
    "Jardim América",
    "Vila Nova",
    "Bela Vista",
    "Boa Viagem",
    "Savassi",
    "São José",
]


@dataclass(frozen=True)
class Home:
    """An address as it is written, and the two pieces of it that must not stay."""

    written: str
    street: str
    cep: str


def home(rng: random.Random) -> Home:
    way = rng.choice(
        words(
            "Rua|Rua|Rua|R.|Av.|Avenida|Av|Travessa|Alameda|Praça|Rodovia|Estrada|rua|av.|Tv.|Al."
        )
    )
    name, number = rng.choice(STREETS), str(rng.randint(1, 4999))
    street = (
        way
        + " "
        + name
        + rng.choice((f", {number}", f", nº {number}", f" {number}", f", n. {number}"))
    )
    cep = shape(
        rng.choice("0123456789") + digits(rng, 7),
        rng.choice(("xxxxx-xxx", "xxxxx-xxx", "xxxxx-xxx", "xxxxxxxx", "xx.xxx-xxx", "xxxxx xxx")),
    )
    label = rng.choice(("CEP ", "CEP: ", "cep ", "CEP.: ", "Cep:"))
    if "-" in cep and rng.random() < 0.3:
        label = ""
    extra = rng.choice(
        ("", "", f", apto {rng.randint(1, 200)}", f", casa {rng.randint(1, 9)}", " - fundos")
    )
    quarter, city = rng.choice(QUARTERS), rng.choice(CITIES)
    written = rng.choice(
        (
            f"{street}{extra}, {quarter}, {city}, {label}{cep}",
            f"{street}{extra} - {quarter} - {city} - {label}{cep}",
            f"{street}{extra}\n{quarter}\n{label}{cep} {city}",
            f"{label}{cep}, {street}{extra}, {quarter}, {city}",
            f"{street}{extra}, {label}{cep}, {city}",
        )
    )
    return Home(written, street, cep)


# --- secrets: the forms that their makers publish (developer pages, secret-scanning lists)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(rng: random.Random) -> str:
    """RFC 7519."""
    head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    body = _base64url(
        json.dumps({"sub": digits(rng, 10), "iat": rng.randint(10**9, 2 * 10**9)}).encode()
    )
    return f"{head}.{body}.{_base64url(rng.randbytes(32))}"


def pem(rng: random.Random) -> str:
    """RFC 7468."""
    label = rng.choice(
        (
            "PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
        )
    )
    body = base64.b64encode(rng.randbytes(rng.choice((32, 118, 600)))).decode()
    lines = [body[place : place + 64] for place in range(0, len(body), 64)]
    mark = "\\n" if rng.random() < 0.2 else "\n"
    return mark.join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"))


def password_url(rng: random.Random) -> Value:
    """RFC 3986, userinfo; only the password must go."""
    password = letters(rng, rng.randint(6, 20), _WORD + "_-.~!$&'*+=")
    return Value(password)


SECRETS: dict[str, Callable[[random.Random], str]] = {
    "openai": lambda rng: "sk-" + letters(rng, 48),
    "openai project": lambda rng: (
        "sk-proj-" + letters(rng, 74, _WORD + "_-") + "T3BlbkFJ" + letters(rng, 74, _WORD + "_-")
    ),
    "anthropic": lambda rng: "sk-ant-api03-" + letters(rng, 93, _WORD + "_-") + "AA",
    "aws key id": lambda rng: (
        rng.choice(("AKIA", "ASIA")) + letters(rng, 16, string.ascii_uppercase + "234567")
    ),
    "github": lambda rng: rng.choice(("ghp_", "gho_", "ghu_", "ghs_", "ghr_")) + letters(rng, 36),
    "github fine-grained": lambda rng: "github_pat_" + letters(rng, 22) + "_" + letters(rng, 59),
    "gitlab": lambda rng: "glpat-" + letters(rng, 20, _WORD + "_-"),
    "slack": lambda rng: (
        rng.choice(("xoxb-", "xoxp-")) + f"{digits(rng, 12)}-{digits(rng, 12)}-{letters(rng, 24)}"
    ),
    "slack hook": lambda rng: (
        f"https://hooks.slack.com/services/T{letters(rng, 8, _UPPER_DIGITS)}"
        f"/B{letters(rng, 8, _UPPER_DIGITS)}/{letters(rng, 24)}"
    ),
    "google": lambda rng: "AIza" + letters(rng, 35, _WORD + "_-"),
    "google client": lambda rng: "GOCSPX-" + letters(rng, 28, _WORD + "_-"),
    "stripe": lambda rng: (
        rng.choice(("sk_live_", "rk_live_", "sk_test_")) + letters(rng, rng.choice((24, 99)))
    ),
    "stripe hook": lambda rng: "whsec_" + letters(rng, 32),
    "sendgrid": lambda rng: (
        "SG." + letters(rng, 22, _WORD + "_-") + "." + letters(rng, 43, _WORD + "_-")
    ),
    "twilio": lambda rng: "SK" + letters(rng, 32, _HEX),
    "npm": lambda rng: "npm_" + letters(rng, 36),
    "pypi": lambda rng: "pypi-AgEIcHlwaS5vcmc" + letters(rng, 70, _WORD + "_-"),
    "hugging face": lambda rng: "hf_" + letters(rng, 34, string.ascii_letters),
    "telegram": lambda rng: (
        digits(rng, 10).replace("0", "1") + ":AA" + letters(rng, 33, _WORD + "_-")
    ),
    "mercado pago": lambda rng: (
        f"APP_USR-{digits(rng, 16)}-{digits(rng, 6)}-{letters(rng, 32, _HEX)}-{digits(rng, 9)}"
    ),
    "digitalocean": lambda rng: "dop_v1_" + letters(rng, 64, _HEX),
    "databricks": lambda rng: "dapi" + letters(rng, 32, _HEX),
    "shopify": lambda rng: "shpat_" + letters(rng, 32, _HEX),
    "jwt": jwt,
    "pem": pem,
}


def secret(rng: random.Random) -> Value:
    return Value(rng.choice(list(SECRETS.values()))(rng))


def bearer(rng: random.Random) -> Value:
    """RFC 6750: an opaque token that only the word before it tells."""
    return Value(letters(rng, rng.choice((24, 32, 40, 64)), _WORD + "-._~+/"))
