"""Texts with personal data planted in them, texts that only look so, and clean ones.

Imports nothing of Sophia's. All come from a seed; Portuguese and English, turns of support chats,
logs, forms and code.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import planted_values as values
from tests.benchmarks.planted_values import Value, digits, letters, shape


@dataclass(frozen=True)
class Planted:
    """`spans` are the places in `text` that must not stay."""

    kind: str
    text: str
    spans: tuple[tuple[int, int], ...]


# Around any value; nothing in them says what it is.
_BARE = (
    "{v}",
    "Pode ser {v}, por favor.",
    "Anota aí: {v}",
    "ok, segue {v}",
    "É {v}. Consegue verificar?",
    "Oi! Tudo bem? {v} obrigada!",
    "Sure, it is {v}.",
    "here you go: {v} thanks",
    "O cliente informou ({v}) e desligou.",
    "> {v}\nisso mesmo?",
    '"{v}"',
    "“{v}”",
    "**{v}**",
    "Bom dia;{v};ativo",
    "1. {v}\n2. (sem resposta)",
    "dados,{v},novo cadastro",
    "{v}\n",
    "[{v}]",
    "Segue:{v}",
    "titular {v}/ativo",
)

_HINTED: dict[str, tuple[str, ...]] = {
    "email": (
        "Meu e-mail é {v}.",
        "email:{v}",
        "E-mail: {v} / senha esquecida",
        "Me manda no {v}, tá?",
        "Contact <{v}> for the invoice.",
        "mailto:{v}",
        "[escreva](mailto:{v})",
        "from={v};to=",
        "Please write to {v}; I read it daily.",
        '{{"email":"{v}","ok":true}}',
        "o endereço {v}? não funciona!",
    ),
    "phone": (
        "Meu telefone é {v}.",
        "Me liga no {v} depois das 18h",
        "tel.: {v}",
        "Fone {v}",
        "Cel: {v}",
        "WhatsApp {v}",
        "meu zap: {v}",
        "celular/whats {v}",
        "Contato: {v} (falar com Ana)",
        "Please call me at {v}.",
        "My phone number is {v}, any time",
        "Mobile: {v}",
        "tel:{v}",
        "Ligue para {v} ou venha aqui",
        "O número dele é {v}",
        '{{"telefone": "{v}"}}',
    ),
    "cpf": (
        "Meu CPF é {v}.",
        "CPF: {v}",
        "cpf nº {v}",
        "CPF/MF {v}, residente em Campinas",
        "inscrito no CPF sob o n. {v},",
        "My tax number (CPF) is {v}",
        "cpf={v}&ok=1",
        "nota no cpf {v} por favor",
        '{{"cpf":"{v}"}}',
        "CPF{v}",
        "titular_cpf_{v}",
    ),
    "cnpj": (
        "Nosso CNPJ é {v}.",
        "CNPJ: {v}",
        "inscrita no CNPJ/MF sob o nº {v}, com sede",
        "The company id (CNPJ) is {v}",
        "cnpj={v}&ie=isento",
        "Emitir a nota para {v}",
        '{{"cnpj":"{v}"}}',
    ),
    "rg": (
        "Meu RG é {v}.",
        "RG: {v}",
        "RG nº {v} SSP",
        "portador da cédula de identidade {v}",
        "carteira de identidade n. {v}, expedida em 2010",
        "Documento de identidade: {v}",
        "identidade {v}",
        "My Brazilian ID card (RG) is {v}",
        "R.G. {v}",
        "registro geral {v}",
        '{{"rg": "{v}"}}',
    ),
    "card": (
        "O cartão é {v}, vence 08/29.",
        "cartão final? não: {v} inteiro",
        "Número do cartão: {v} CVV 123",
        "Card number: {v}, exp 08/29",
        "my card {v} was refused",
        "passei no crédito {v}",
        '{{"card":"{v}"}}',
    ),
    "pix": (
        "Minha chave Pix é {v}.",
        "Pix: {v}",
        "chave aleatória {v}",
        "Pode fazer o PIX para {v}?",
        "Segue a chave pix aleatória:\n{v}",
        "My Pix key: {v}",
        "manda um pix {v}",
        "Chave PIX (aleatória): {v}. Nome: Ana",
    ),
    "iban": (
        "IBAN: {v}",
        "My IBAN is {v}.",
        "Transfira para {v}, por favor.",
        "IBAN {v} BIC DEUTDEFF",
        "conta no exterior {v}",
    ),
    "ip": (
        "Meu IP é {v}.",
        "client {v} connected",
        '{v} - - [12/May/2025:10:11:12 -0300] "GET / HTTP/1.1" 200 512',
        "acesso de {v} bloqueado",
        "ip={v} status=403",
        "ping {v}",
        "X-Forwarded-For: {v}, 10.0.0.1",
        "Failed password for root from {v} port 52144 ssh2",
        '{{"ip": "{v}"}}',
    ),
    "secret": (
        "A chave é {v}",
        "api_key={v}",
        'export API_KEY="{v}"',
        "Authorization: Bearer {v}",
        'client = Client(api_key="{v}")',
        "my token {v} does not work",
        "{v}",
        "token: {v}, e agora?",
        '{{"key": "{v}"}}',
    ),
}

_BEARER = (
    "Authorization: Bearer {v}",
    'curl -H "Authorization: Bearer {v}" https://api.example.com/v1/me',
    "authorization: bearer {v}",
    "headers = {{'Authorization': 'Bearer {v}'}}",
)
_URLS = (
    "postgres://app:{v}@db.example.com:5432/prod",
    "postgresql://svc_rw:{v}@10.2.0.4/loja?sslmode=require",
    "DATABASE_URL=mysql://root:{v}@mysql/app",
    "redis://:{v}@cache:6379/0",
    "mongodb+srv://admin:{v}@cluster0.ab1cd.mongodb.net/",
    "git clone https://ana:{v}@git.example.com/x/y.git",
    "amqp://guest2:{v}@rabbit:5672/vhost",
    "ftp://site:{v}@ftp.example.com/pub",
)

# Before and after; with figures of their own, so that neighbours must be told apart.
_BEFORE = (
    "",
    "",
    "",
    "",
    "Olá, boa tarde! ",
    "Meu pedido 48213 não chegou. ",
    "Paguei R$ 135,90 em 12/05/2025. ",
    "Hi there, order #77120 is late. ",
    "Sou cliente desde 2019. ",
    "São 3 caixas de 12 unidades. ",
    "[10:32] Cliente: ",
    "Cliente: ",
    "Em 2025-03-14 às 09:15 falei com vocês.\n",
    "I paid $49.99 on May 3, 2025. ",
)
_AFTER = (
    "",
    "",
    "",
    "",
    " Obrigado.",
    " O pedido é o 90871.",
    " Thanks a lot!",
    "\nAguardo retorno até as 18h.",
    " Valor total 1.250,00.",
    " (2 de 3)",
    " desde 2021",
    " It was 30% off.",
    "\n[10:33] Atendente: um momento",
)


def _plant(rng: random.Random, kind: str, frame: str, value: str) -> Planted:
    before = rng.choice(_BEFORE) + frame.partition("{v}")[0].replace("{{", "{")
    after = frame.partition("{v}")[2].replace("}}", "}") + rng.choice(_AFTER)
    return Planted(kind, before + value + after, ((len(before), len(before) + len(value)),))


def _simple(
    kind: str, maker: Callable[[random.Random], Value]
) -> Callable[[random.Random], Planted]:
    def plant(rng: random.Random) -> Planted:
        value = maker(rng)
        frames = _HINTED[kind]
        if not value.hint and rng.random() < 0.5:
            frames = _BARE
        return _plant(rng, kind, rng.choice(frames), value.written)

    return plant


def _phone(rng: random.Random) -> Planted:
    if rng.random() < 0.05:  # WhatsApp's click to chat
        frame = rng.choice(
            ("https://wa.me/{v}", "chama: wa.me/{v}", "https://api.whatsapp.com/send?phone={v}")
        )
        return _plant(rng, "phone", frame, "55" + rng.choice(values.AREAS) + "9" + digits(rng, 8))
    return _simple("phone", values.phone)(rng)


def _pix(rng: random.Random) -> Planted:
    if rng.random() < 0.85:
        return _simple("pix", values.pix)(rng)
    key = values.uuid(rng)
    code = values.pix_code(rng, key)
    frame = rng.choice(("Pix copia e cola: {v}", "{v}", "segue o código {v}"))
    planted = _plant(rng, "pix", frame, code)
    start = planted.text.index(key)
    return Planted("pix", planted.text, ((start, start + len(key)),))


def _address(rng: random.Random) -> Planted:
    home = values.home(rng)
    frame = rng.choice(
        (
            "Moro na {v}.",
            "Endereço: {v}",
            "Entregar em {v}",
            "{v}",
            "My address is {v}",
            "Favor enviar para:\n{v}\n",
            "endereço de entrega {v}, obrigado",
        )
    )
    planted = _plant(rng, "address", frame, home.written)
    street, cep = planted.text.index(home.street), planted.text.rindex(home.cep)
    spans = ((street, street + len(home.street)), (cep, cep + len(home.cep)))
    return Planted("address", planted.text, spans)


def _secret(rng: random.Random) -> Planted:
    kind = rng.random()
    if kind < 0.1:
        return _plant(rng, "secret", rng.choice(_BEARER), values.bearer(rng).written)
    if kind < 0.2:
        return _plant(rng, "secret", rng.choice(_URLS), values.password_url(rng).written)
    return _simple("secret", values.secret)(rng)


KINDS: dict[str, Callable[[random.Random], Planted]] = {
    "email": _simple("email", values.email),
    "phone": _phone,
    "cpf": _simple("cpf", values.cpf),
    "cnpj": _simple("cnpj", values.cnpj),
    "rg": _simple("rg", values.rg),
    "card": _simple("card", values.card),
    "address": _address,
    "pix": _pix,
    "iban": _simple("iban", values.iban),
    "ip": _simple("ip", values.ip),
    "secret": _secret,
}
#: Those whose form carries a check digit throughout.
CHECKED = ("cpf", "cnpj", "card", "iban")


def planted(kind: str, count: int, seed: int) -> list[Planted]:
    rng = random.Random(f"{kind} {seed}")
    return [KINDS[kind](rng) for _ in range(count)]


# --- what only looks like it


def _wrong(rng: random.Random, value: str) -> str:
    """With its last digit another one."""
    return value[:-1] + rng.choice([each for each in string.digits if each != value[-1]])


def _order(rng: random.Random) -> str:
    word = rng.choice(
        (
            "Pedido",
            "pedido nº",
            "Order #",
            "order number",
            "OS",
            "Nota fiscal",
            "Ticket",
            "Matrícula",
        )
    )
    return f"{word} {digits(rng, rng.choice((5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17)))}"


def _protocol(rng: random.Random) -> str:
    moment = f"20{rng.randint(19, 26)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    clock = f"{rng.randint(0, 23):02}{rng.randint(0, 59):02}{rng.randint(0, 59):02}"
    return f"Protocolo {moment}{rng.choice((clock, digits(rng, 3), digits(rng, 8), ''))}"


def _version(rng: random.Random) -> str:
    number = ".".join(str(rng.randint(0, 40)) for _ in range(rng.choice((3, 4, 4))))
    frame = rng.choice(
        (
            "versão {n}",
            "v{n}",
            "version {n}",
            "firmware {n}",
            "Atualize para a {n}-beta",
            "Release {n}",
            "item {n} do contrato",
            "build {n}",
        )
    )
    return frame.format(n=number)


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1990, 2026)
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return rng.choice(
        (
            f"Vence em {day:02}/{month:02}/{year}",
            f"{day:02}.{month:02}.{year} - {day:02}.{month:02}.{year + 1}",
            f"{year}-{month:02}-{day:02}T{clock}Z",
            f"{year}-{month:02}-{day:02} {clock}.123",
            f"backup {year}{month:02}{day:02}{clock.replace(':', '')}",
            f"timestamp {rng.randint(10**9, 2 * 10**9)}",
            f"ts={rng.randint(10**12, 2 * 10**12)}",
            f"de {year} a {year + 3}, das 10:30 às 18:45",
            f"temporada {year}-{year + 1}, rodada 12",
        )
    )


def _price(rng: random.Random) -> str:
    return rng.choice(
        (
            f"R$ {rng.randint(1, 99)}.{digits(rng, 3)}.{digits(rng, 3)},{digits(rng, 2)}",
            f"R$ {rng.randint(1, 999)}.{digits(rng, 3)},{digits(rng, 2)} em 12x",
            f"US$ {rng.randint(1, 99)},{digits(rng, 3)},{digits(rng, 3)}.{digits(rng, 2)}",
            f"população de {rng.randint(10, 99)}.{digits(rng, 3)}.{digits(rng, 3)} habitantes",
            f"{rng.randint(1000, 9999)} {rng.randint(1000, 9999)} unidades, 10 caixas",
            f"entre {rng.randint(1000, 4999)}-{rng.randint(5000, 9999)} reais",
        )
    )


def _hash(rng: random.Random) -> str:
    size = rng.choice((7, 12, 32, 40, 64))
    name = {7: "commit", 12: "image", 32: "md5", 40: "commit", 64: "sha256"}[size]
    return f"{name} {letters(rng, size, '0123456789abcdef')}"


def _measure(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{rng.randint(100, 4000)}x{rng.randint(100, 4000)} pixels",
            f"{rng.randint(1, 99)},{digits(rng, 3)} kg e {rng.randint(1, 99)}.{digits(rng, 4)} m",
            f"-23.{digits(rng, 6)}, -46.{digits(rng, 6)}",
            f"pi é 3.{digits(rng, 15)}",
            f"{rng.randint(10, 99)} {rng.randint(10, 99)} {rng.randint(10, 99)} são os sorteados",
            f"MAC {':'.join(letters(rng, 2, '0123456789abcdef') for _ in range(6))}",
            f"tempo 0{rng.randint(1, 9)}:{rng.randint(10, 59)}:{rng.randint(10, 59)}",
            f"média 0.{digits(rng, 11)}",
        )
    )


def _code(rng: random.Random) -> str:
    upper = string.ascii_uppercase
    return rng.choice(
        (
            f"SKU {letters(rng, 3, upper)}-{digits(rng, 4)}-{digits(rng, 4)}",
            f"EAN 789{digits(rng, 10)}",
            f"rastreio {letters(rng, 2, upper)}{digits(rng, 9)}BR",
            f"ISBN 978-85-{digits(rng, 4)}-{digits(rng, 3)}-{digits(rng, 1)}",
            f"placa {letters(rng, 3, upper)}{digits(rng, 1)}{rng.choice(upper)}{digits(rng, 2)}",
            f"processo {digits(rng, 7)}-{digits(rng, 2)}.20{digits(rng, 2)}.8.26.{digits(rng, 4)}",
            f"NCM {digits(rng, 4)}.{digits(rng, 2)}.{digits(rng, 2)}",
            f"request_id={values.uuid(rng)}",
            f"lote {letters(rng, 2, upper)}{digits(rng, 12)}",
            f"peça {digits(rng, 3)}.{digits(rng, 3)}.{digits(rng, 3)}",
            f"chamado INC{digits(rng, 7)}",
            f"modelo {letters(rng, 2, upper)}-{digits(rng, 3)}.{digits(rng, 3)}/{digits(rng, 4)}",
        )
    )


def _wrong_check(rng: random.Random) -> str:
    kind = rng.choice(("cpf", "cnpj", "card", "iban"))
    if kind == "cpf":
        return "código " + shape(_wrong(rng, values.cpf_digits(rng)), "xxx.xxx.xxx-xx")
    if kind == "cnpj":
        value = _wrong(rng, values.cnpj_characters(rng, rng.random() < 0.3))
        return "registro " + shape(value, "xx.xxx.xxx/xxxx-xx")
    if kind == "card":
        return "vale " + shape(
            _wrong(rng, values.luhn("5" + digits(rng, 14))), "xxxx xxxx xxxx xxxx"
        )
    value = "".join(each for each in values.iban(rng).written.upper() if each.isalnum())
    wrong = rng.choice([each for each in string.digits if each != value[3]])
    return "ref " + value[:3] + wrong + value[4:]


def _technical(rng: random.Random) -> str:
    return rng.choice(
        (
            f"acesse 192.168.{rng.randint(0, 9)}.1 no navegador",
            "o servidor escuta em 127.0.0.1:8000 e em ::1",
            f"rede 10.{rng.randint(0, 255)}.0.0/16, máscara 255.255.0.0",
            f"use std::vector e Foo::Bar, linha {rng.randint(1, 999)}",
            f"npm install @escopo/pacote@{rng.randint(1, 20)}.2.3",
            "@app.route('/x') e @property são decoradores",
            "siga @sophia_oficial nas redes",
            "sua chave começa com sk- e tem 48 letras",
            "Authorization: Bearer <seu token>",
            "-----BEGIN PUBLIC KEY-----",
            "O CEP 01310-100 fica em São Paulo?",
            f"o CEP {digits(rng, 5)}-{digits(rng, 3)} é atendido",
            "SAC 0800 728 2323 ou 4004-0001",
            f"Python 3.{rng.randint(8, 14)}.{rng.randint(0, 20)} e Postgres 18.{rng.randint(0, 9)}",
            "https://example.com:8443/a/b?page=2&size=100",
            f"CSS: #{letters(rng, 6, '0123456789abcdef')}; margin: 10px 20px 30px 40px",
            f"UPDATE t SET n = {digits(rng, 6)} WHERE id IN ({digits(rng, 4)}, {digits(rng, 4)})",
            "ligue 190 ou 192 em emergências",
            f"art. {rng.randint(1, 300)} da Lei 13.709/2018",
            "arquivo a@2x.png e fundo@3x.jpg",
            "2001:db8::1 é um exemplo da documentação",
            "CPF tem 11 dígitos e o CNPJ, 14",
        )
    )


LOOK_ALIKES: dict[str, Callable[[random.Random], str]] = {
    "order": _order,
    "protocol": _protocol,
    "version": _version,
    "date": _date,
    "price": _price,
    "hash": _hash,
    "measure": _measure,
    "code": _code,
    "wrong check": _wrong_check,
    "technical": _technical,
}


def look_alikes(kind: str, count: int, seed: int) -> list[str]:
    rng = random.Random(f"{kind} {seed}")
    return [
        rng.choice(_BEFORE)
        + LOOK_ALIKES[kind](rng)
        + rng.choice(("", ".", ", certo?", " ok", *_AFTER))
        for _ in range(count)
    ]


# --- clean text

_OPENINGS = (
    "Olá, tudo bem?",
    "Bom dia!",
    "Hi, how can I help you?",
    "Boa tarde, em que posso ajudar?",
    "Good morning.",
    "Obrigado pelo contato.",
    "Thank you for waiting.",
    "Claro!",
    "Of course.",
)
_SENTENCES = (
    "Seu pedido {a} saiu para entrega em {d} e chega em até {n} dias úteis.",
    "O produto custa R$ {p} à vista ou {n}x de R$ {q} sem juros.",
    "A garantia é de {n} meses a partir da data da nota.",
    "Para trocar, abra o aplicativo, toque em Pedidos e escolha o motivo da troca.",
    "Qual é o seu CPF? Preciso dele para achar o cadastro.",
    "Por favor, informe o e-mail usado na compra.",
    "A loja da Avenida Paulista abre das {h} às 18h de segunda a sábado.",
    "O frete para Campinas é de R$ {q} e o prazo, de {n} dias.",
    "Enviaremos o comprovante do Pix assim que o banco confirmar.",
    "A senha precisa de {n} caracteres, um número e um símbolo.",
    "O reembolso aparece na fatura do cartão em até {n} ciclos.",
    "Nosso estoque tem {a} unidades do modelo azul e {n} do verde.",
    "Your order {a} shipped on {d} and arrives within {n} business days.",
    "The plan costs ${q} per month and includes {n} GB of storage.",
    "To reset the router, hold the button for {n} seconds and wait.",
    "We answer between {h} and 6 pm, Monday to Friday.",
    "The capital of Australia is Canberra, with about {a} inhabitants.",
    "Between {y} and {z} sales grew {n} percent.",
    "A reunião de {y} tratou de {n} temas, e a de {z}, de outros.",
    "A temperatura média foi de {q} graus em {y}.",
    "O artigo tem {a} palavras em {n} páginas.",
    "Multiplique {a} por {n} e some {b}.",
    "O código de erro {b} indica falta de papel na bandeja {n}.",
    "Use `sum(x for x in range({a}))` to get the total.",
    "Run the command again with the option --limit {a}.",
    "O telefone está no rodapé do site, e o endereço, na página de contato.",
    "Quer que eu confirme o endereço de entrega?",
    "Dom Casmurro foi publicado em {y} por Machado de Assis.",
    "A nota {b}, série {n}, já foi autorizada.",
    "The meeting moved from room {a} to room {b}.",
)


def clean(count: int, seed: int) -> list[str]:
    rng = random.Random(f"clean {seed}")
    return [_clean(rng) for _ in range(count)]


def _clean(rng: random.Random) -> str:
    said = [rng.choice(_OPENINGS)] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 4)):
        year = rng.randint(1890, 2020)
        said.append(
            rng.choice(_SENTENCES).format(
                a=rng.randint(100, 99999),
                b=rng.randint(100, 9999),
                n=rng.randint(2, 24),
                d=f"{rng.randint(1, 28):02}/{rng.randint(1, 12):02}/{rng.randint(2018, 2026)}",
                p=f"{rng.randint(1, 9)}.{digits(rng, 3)},{digits(rng, 2)}",
                q=f"{rng.randint(10, 99)},{digits(rng, 2)}",
                h=f"{rng.randint(7, 10)}h",
                y=year,
                z=year + rng.randint(1, 6),
            )
        )
    return " ".join(said)
