"""Records of which it is known what is nearly the same, and questions whose answers contradict.

Made by a seed alone. It imports nothing of ours, and its synonyms, greetings and typing slips are
what people write, not what any search knows. A record's meaning is its frame and what fills it:
records of one meaning are near-duplicates, all others are not, however much they look alike.
"""

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


NAMES = _list(
    "Ana Beatriz,Mariana,Marina,João Pedro,Joana,Luís,Luísa,Carla,Carlos,Paulo,Paula,"
    "Fernanda,Fernando,Rafael,Rafaela,Thiago,Beatriz,Gustavo,Helena,Helen,Júlio,Júlia,"
    "Márcio,Márcia,Renato,Renata,Sérgio,Tereza,Vinícius,Yasmin,Oliver,Olivia,Peter,Petra,"
    "Robert,Roberta,Susan,Simon"
)
SURNAMES = _list(
    "Silva,Souza,Oliveira,Pereira,Costa,Castro,Almeida,Araújo,Barros,Barbosa,Cardoso,"
    "Carvalho,Dias,Freitas,Gomes,Lima,Lopes,Machado,Mendes,Moraes,Nunes,Ramos,Ribeiro,"
    "Rocha,Teixeira,Miller"
)
CITIES = _list(
    "Santos,Campinas,Curitiba,Recife,Fortaleza,Belém,Manaus,Natal,Goiânia,Vitória,Salvador,"
    "Londrina,Maringá,Joinville,Blumenau,Uberaba,Uberlândia,Sorocaba,Bauru,Franca,Palmas,"
    "Macapá,Lisboa,Porto"
)
MONTHS = {
    "pt": _list(
        "janeiro,fevereiro,março,abril,maio,junho,julho,agosto,setembro,outubro,novembro,dezembro"
    ),
    "en": _list(
        "January,February,March,April,May,June,July,August,September,October,November,December"
    ),
}
GOODS = {
    "pt": _list(
        "queijo minas,queijo prato,iogurte natural,leite integral,leite desnatado,manteiga,"
        "margarina,bola,bolo,bolsa,casaco,camisa,camiseta,cadeira,carteira,geladeira,fogão,"
        "forno,micro-ondas,pato,prato,rato de borracha,gato de pelúcia,tinta branca,"
        "tinta preta,porta,ponte de solda,carro de mão,carta registrada,corta-vento,"
        "luminária,impressora,notebook,teclado,monitor,mochila,relógio,tênis de corrida,"
        "bicicleta,capacete,colchão,travesseiro,cobertor,panela"
    ),
    "en": _list(
        "butter,butler tray,cheese,chess set,desk,disk,chair,chain,lamp,laptop,keyboard,"
        "monitor,printer,pointer,jacket,racket,helmet,bicycle,mattress,pillow,blanket,"
        "kettle,mirror,carpet,basket,bucket,wallet,pallet,backpack,running shoes,"
        "leather boots,rubber boots,coat,boat cover"
    ),
}
UNITS = {
    "pt": ("dias", "horas", "semanas", "meses", "minutos"),
    "en": ("days", "hours", "weeks", "months", "minutes"),
}

#: Question, and the answer's frame. A `/not` frame is the same said the other way round.
FRAMES = {
    "pt": (
        (
            "Em quanto tempo vocês enviam {good} para {city}?",
            "O prazo para enviar {good} até {city} é de {number} {unit} depois da confirmação.",
        ),
        (
            "Qual é o preço de {good} na loja de {city}?",
            "Hoje {good} custa R$ {number},90 na loja de {city}, à vista.",
        ),
        (
            "Posso trocar {good} comprado em {day} de {month}?",
            "Você pode trocar {good} em até {number} {unit}, com a nota fiscal em mãos.",
        ),
        (
            "Quem é o responsável pelo pedido {code} de {name}?",
            "O pedido {code} de {name} está com {other}, que responde até {day} de {month}.",
        ),
        (
            "Vocês aceitam cartão na compra de {good}?",
            "{yes}, a compra de {good} {does} ser paga com cartão em {number} parcelas.",
        ),
        (
            "O aluguel de {good} inclui a entrega em {city}?",
            "O valor do aluguel de {good} {does} incluir a entrega no bairro central de {city}.",
        ),
        (
            "Como cancelar a assinatura {code} antes de {day} de {month}?",
            "Para cancelar a assinatura {code}, abra o painel, escolha sair e confirme com {name}.",
        ),
        (
            "O caminhão sai de {city} para {place} a que horas?",
            "O caminhão parte de {city} para {place} às {number} horas, todos os dias úteis.",
        ),
        (
            "{name} já pagou a fatura de {month}?",
            "A fatura de {month} de {name} foi paga no dia {day}, no valor de R$ {number},00.",
        ),
        (
            "Onde fica o manual de {good} modelo {code}?",
            "O manual de {good} modelo {code} fica na página de suporte, na seção de documentos.",
        ),
        (
            "Minha {good} chegou com defeito, o que faço agora?",
            "Lamentamos o problema com {good}. Envie uma foto para {name} em até {number} {unit}.",
        ),
        (
            "A garantia de {good} cobre queda?",
            "A garantia de {good} vale por {number} {unit} e {does} cobrir queda ou uso errado.",
        ),
    ),
    "en": (
        (
            "How long does it take to ship the {good} to {city}?",
            "We ship the {good} to {city} within {number} {unit} after the payment is confirmed.",
        ),
        (
            "What is the price of the {good} in the {city} store?",
            "The {good} costs ${number}.90 in the {city} store today, taxes included.",
        ),
        (
            "Can I return the {good} bought on {month} {day}?",
            "You can return the {good} within {number} {unit} if you still have the receipt.",
        ),
        (
            "Who is in charge of order {code} from {name}?",
            "Order {code} from {name} is with {other}, who will answer until {month} {day}.",
        ),
        (
            "Do you accept credit cards for the {good}?",
            "{yes}, the {good} {does} be paid with a credit card in {number} instalments.",
        ),
        (
            "When does the truck leave {city} for {place}?",
            "The truck leaves {city} for {place} at {number} o'clock on every working day.",
        ),
        (
            "How do I cancel the subscription {code} before {month} {day}?",
            "To cancel the subscription {code}, open the panel, choose stop and call {name}.",
        ),
        (
            "Where is the manual of the {good} model {code}?",
            "The manual of the {good} model {code} is on the support page, below documents.",
        ),
        (
            "My {good} arrived broken, what should I do now?",
            "We are sorry about the {good}. Send a photo to {name} within {number} {unit}.",
        ),
        (
            "Has {name} paid the invoice of {month}?",
            "The {month} invoice of {name} was paid on the {day}th, in the amount of ${number}.",
        ),
    ),
}
#: Sentences that answers go on with; a record has none to three of them.
FURTHER = {
    "pt": (
        "O código de rastreio chega por mensagem assim que o pacote sair do depósito.",
        "Se preferir, a retirada pode ser feita no balcão, sem custo.",
        "Guarde o comprovante até o fim do processo.",
        "Nossa equipe atende de segunda a sexta, das 9 às 18 horas.",
        "O endereço precisa estar completo, com bloco e apartamento.",
        "Em feriados o serviço funciona em horário reduzido.",
        "A segunda via do boleto fica disponível no aplicativo.",
        "Pedidos grandes recebem desconto na próxima compra.",
        "Para empresas, o cadastro exige o contrato social.",
        "O reembolso cai na conta em poucos dias.",
        "Caso o cliente esteja ausente, tentamos novamente no dia seguinte.",
        "É necessário mostrar um documento com foto na hora.",
        "O técnico vai avisar antes de sair.",
        "Esse produto utiliza embalagem reciclada.",
        "Consulte o regulamento para conhecer as regras completas.",
        "O pagamento inicial garante a reserva.",
    ),
    "en": (
        "The tracking code arrives by message as soon as the parcel leaves the warehouse.",
        "If you prefer, you may collect it at the counter at no cost.",
        "Keep the receipt until the end of the process.",
        "Our team answers from Monday to Friday, between 9 and 18 hours.",
        "The address must be complete, with block and apartment.",
        "On holidays the service runs with reduced hours.",
        "A second copy of the bill is available in the app.",
        "Big orders get a discount on the next purchase.",
        "Companies need to show the articles of association.",
        "The refund reaches the account in a few days.",
        "If nobody is at home, we try again on the following day.",
        "It is necessary to show a document with a photo.",
        "The technician will call before leaving.",
        "This product uses recycled packaging.",
        "Read the terms to know the complete rules.",
        "The initial payment secures the booking.",
    ),
}
#: What may stand for a word without another meaning, as a thesaurus has it.
SYNONYMS = {
    "pt": {
        "enviar": ("mandar", "remeter", "despachar"),
        "envie": ("mande", "remeta"),
        "enviam": ("mandam", "despacham"),
        "prazo": ("tempo",),
        "preço": ("valor",),
        "depois": ("após",),
        "trocar": ("substituir",),
        "comprado": ("adquirido",),
        "responsável": ("encarregado",),
        "cancelar": ("encerrar", "anular"),
        "escolha": ("selecione",),
        "assim": ("logo",),
        "parte": ("sai",),
        "problema": ("transtorno", "incidente"),
        "fica": ("está", "encontra-se"),
        "defeito": ("falha",),
        "errado": ("incorreto", "indevido"),
        "pacote": ("embrulho",),
        "custo": ("cobrança",),
        "guarde": ("conserve", "mantenha"),
        "equipe": ("time",),
        "completo": ("inteiro",),
        "disponível": ("acessível",),
        "necessário": ("preciso", "obrigatório"),
        "mostrar": ("apresentar", "exibir"),
        "avisar": ("informar",),
        "utiliza": ("usa", "emprega"),
        "regras": ("normas",),
        "inicial": ("primeiro",),
        "exige": ("requer", "pede"),
        "novamente": ("outra vez", "de novo"),
        "reembolso": ("estorno",),
        "aplicativo": ("app",),
        "cliente": ("comprador",),
        "chegou": ("veio",),
        "central": ("do centro",),
    },
    "en": {
        "ship": ("send", "dispatch"),
        "price": ("cost",),
        "return": ("give back",),
        "bought": ("purchased",),
        "accept": ("take",),
        "choose": ("select", "pick"),
        "cancel": ("end", "terminate"),
        "leaves": ("departs",),
        "broken": ("damaged", "faulty"),
        "photo": ("picture", "image"),
        "sorry": ("apologetic",),
        "collect": ("pick up",),
        "keep": ("retain", "save"),
        "team": ("staff", "crew"),
        "answers": ("replies", "responds"),
        "complete": ("full", "entire"),
        "available": ("accessible",),
        "big": ("large",),
        "get": ("receive",),
        "purchase": ("order",),
        "companies": ("businesses", "firms"),
        "need": ("have",),
        "show": ("present",),
        "refund": ("reimbursement",),
        "try": ("attempt",),
        "following": ("next",),
        "necessary": ("required", "mandatory"),
        "call": ("phone",),
        "uses": ("employs",),
        "initial": ("first",),
        "booking": ("reservation",),
        "parcel": ("package",),
        "amount": ("sum",),
        "bill": ("invoice",),
    },
}
GREETINGS = {
    "pt": (
        ("Olá!", ""),
        ("Oi, tudo bem?", ""),
        ("Bom dia.", "Obrigado!"),
        ("Boa tarde,", ""),
        ("Olá, boa noite!", "Desde já agradeço."),
        ("Oi pessoal,", "Valeu!"),
        ("Por favor,", ""),
        ("Prezados,", "Atenciosamente."),
        ("", "Fico no aguardo."),
        ("Gostaria de saber:", ""),
    ),
    "en": (
        ("Hello!", ""),
        ("Hi there,", "Thanks!"),
        ("Good morning.", ""),
        ("Hey,", "Thank you very much."),
        ("Please,", ""),
        ("Dear team,", "Best regards."),
        ("", "Thanks in advance."),
        ("I would like to know:", ""),
        ("Excuse me,", ""),
    ),
}
NEAR_KEYS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "kp", "m": "nk", "n": "bm", "o": "ip", "p": "ol",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "xa",
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """`meaning` is the same for near-duplicates alone. `kind` is how it was made: base, an edit's
    name, or sibling."""

    question: str
    answer: str
    meaning: int
    kind: str

    @property
    def text(self) -> str:
        return f"{self.question}\n{self.answer}"


@dataclass(frozen=True)
class Truth:
    """`contradicting` are pairs of places in `records` whose answers to one question differ."""

    records: list[Record]
    contradicting: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Meaning:
    language: str
    frame: int
    slots: tuple[tuple[str, str], ...]
    negative: bool
    further: tuple[int, ...]


def near_truth(rows: int, seed: int = 6) -> Truth:
    """About 3 in 10 records are edited from an earlier one, 4 in 10 are siblings of one."""
    maker = _Maker(random.Random(seed))
    records: list[Record] = []
    while len(records) < rows:
        meaning = maker.meaning()
        family = [meaning]
        for _sibling in range(maker.chance.choice((0, 0, 1, 1, 2, 3))):
            if (sibling := maker.sibling(maker.chance.choice(family))) is not None:
                family.append(sibling)
        for place, each in enumerate(family):
            number = maker.number_of(each)
            kind = "sibling" if place else "base"
            records.append(Record(*maker.said(each), number, kind))
            if maker.chance.random() < 0.3:
                for _edit in range(maker.chance.choice((1, 1, 1, 2, 3))):
                    records.append(Record(*maker.edited(each), number, maker.kind))
    del records[rows:]
    maker.chance.shuffle(records)
    return Truth(records)


def contradicting_truth(pairs: int, seed: int = 7) -> Truth:
    """Pairs of one question, often asked in other words, of which one fact of the answer differs;
    as many questions whose answers differ in words alone; and siblings with another question."""
    maker = _Maker(random.Random(seed))
    records: list[Record] = []
    planted: list[tuple[Record, Record]] = []
    while len(planted) < pairs:
        meaning = maker.meaning()
        question, answer = maker.said(meaning)
        first = Record(question, answer, maker.number_of(meaning), "base")
        changed = maker.contradiction(meaning)
        if changed is None:
            continue
        other, kind = changed
        asked, told = maker.said(other)
        if maker.chance.random() < 0.6:
            asked, _same = maker.edited_text(asked, "", other.language)
        second = Record(asked, told, maker.number_of(other), kind)
        planted.append((first, second))
        records += [first, second]
        agreeing = maker.meaning()
        number = maker.number_of(agreeing)
        records.append(Record(*maker.said(agreeing), number, "base"))
        records.append(Record(*maker.edited(agreeing), number, "agrees"))
        if (sibling := maker.sibling(agreeing)) is not None:
            records.append(Record(*maker.said(sibling), maker.number_of(sibling), "sibling"))
    maker.chance.shuffle(records)
    place = {id(record): number for number, record in enumerate(records)}
    return Truth(records, [(place[id(one)], place[id(two)]) for one, two in planted])


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.kind = ""
        self._numbers: dict[_Meaning, int] = {}

    def number_of(self, meaning: _Meaning) -> int:
        return self._numbers.setdefault(meaning, len(self._numbers))

    def meaning(self) -> _Meaning:
        """A new one, asked for the first time."""
        while True:
            language = self.chance.choice(("pt", "pt", "en"))
            frame = self.chance.randrange(len(FRAMES[language]))
            slots = tuple((name, self.fill(name, language)) for name in _slots(language, frame))
            further = self.chance.sample(range(16), self.chance.choice((0, 1, 1, 2, 3)))
            negative = self.chance.random() < 0.3
            made = _Meaning(language, frame, slots, negative, tuple(sorted(further)))
            if not _has_yes(made):
                made = _Meaning(language, frame, slots, False, made.further)
            if self._new(made):
                return made

    def _new(self, meaning: _Meaning) -> bool:
        if meaning in self._numbers or _twice(meaning):
            return False
        self.number_of(meaning)
        return True

    def fill(self, slot: str, language: str) -> str:
        chance = self.chance
        if slot == "good":
            return chance.choice(GOODS[language])
        if slot in ("name", "other"):
            return f"{chance.choice(NAMES)} {chance.choice(SURNAMES)}"
        if slot in ("city", "place"):
            return chance.choice(CITIES)
        if slot == "month":
            return chance.choice(MONTHS[language])
        if slot == "unit":
            return chance.choice(UNITS[language])
        if slot == "code":
            letters = "".join(chance.choices("ABCDEFGHKLMN", k=2))
            return f"{letters}-{chance.randrange(100, 9999)}"
        return str(chance.randrange(2, 29 if slot == "day" else 400))

    def sibling(self, meaning: _Meaning) -> _Meaning | None:
        """Another meaning in nearly the same words."""
        for _try in range(5):
            slots = dict(meaning.slots)
            negative = meaning.negative
            if "place" in slots and self.chance.random() < 0.5:
                slots["city"], slots["place"] = slots["place"], slots["city"]
            elif _has_yes(meaning) and self.chance.random() < 0.4:
                negative = not negative
            else:
                slot = self.chance.choice([name for name in slots])
                slots[slot] = self.fill(slot, meaning.language)
            made = _Meaning(
                meaning.language, meaning.frame, tuple(slots.items()), negative, meaning.further
            )
            if self._new(made):
                return made
        return None

    def contradiction(self, meaning: _Meaning) -> tuple[_Meaning, str] | None:
        """What is asked stays, one fact of what is answered does not; and which kind of fact."""
        question = FRAMES[meaning.language][meaning.frame][0]
        slots = dict(meaning.slots)
        free = [name for name in slots if "{" + name + "}" not in question]
        kinds = [(name, name) for name in free]
        if _has_yes(meaning):
            kinds += [("", "yes"), ("", "yes")]
        if not kinds:
            return None
        slot, kind = self.chance.choice(kinds)
        for _try in range(5):
            if slot:
                slots[slot] = self.fill(slot, meaning.language)
            made = _Meaning(
                meaning.language,
                meaning.frame,
                tuple(slots.items()),
                meaning.negative if slot else not meaning.negative,
                meaning.further,
            )
            if self._new(made):
                return made, kind
        return None

    def said(self, meaning: _Meaning) -> tuple[str, str]:
        question, answer = FRAMES[meaning.language][meaning.frame]
        words = dict(meaning.slots)
        portuguese = meaning.language == "pt"
        if meaning.negative:
            words |= {"yes": "Não" if portuguese else "No"}
            words |= {"does": "não pode" if portuguese else "cannot"}
        else:
            words |= {"yes": "Sim" if portuguese else "Yes"}
            words |= {"does": "pode" if portuguese else "can"}
        more = [FURTHER[meaning.language][number] for number in meaning.further]
        return question.format(**words), " ".join([answer.format(**words), *more])

    def edited(self, meaning: _Meaning) -> tuple[str, str]:
        return self.edited_text(*self.said(meaning), meaning.language)

    def edited_text(self, question: str, answer: str, language: str) -> tuple[str, str]:
        edits = self._edits(language)
        self.kind = self.chance.choice([*edits, "mixed"])
        chosen = [self.kind] if self.kind != "mixed" else self.chance.sample(list(edits), 3)
        before = (question, answer)
        for name in chosen:
            question, answer = edits[name](question, answer)
        if (question, answer) == before:
            self.kind = "case"
            return question.lower(), answer.lower()
        return question, answer

    def _edits(self, language: str) -> dict[str, Callable[[str, str], tuple[str, str]]]:
        def both(change: Callable[[str], str]) -> Callable[[str, str], tuple[str, str]]:
            return lambda question, answer: (change(question), change(answer) if answer else answer)

        def one(change: Callable[[str], str]) -> Callable[[str, str], tuple[str, str]]:
            def apply(question: str, answer: str) -> tuple[str, str]:
                if answer and self.chance.random() < 0.7:
                    return question, change(answer)
                return change(question), answer

            return apply

        return {
            "typos": one(self._typos),
            "case": both(self._case),
            "accents": both(self._accents),
            "space": both(self._space),
            "punctuation": both(self._punctuation),
            "swap": one(self._swap),
            "greeting": lambda question, answer: self._greeting(question, answer, language),
            "sentences": self._sentences,
            "synonyms": both(lambda text: self._synonyms(text, language)),
        }

    def _typos(self, text: str) -> str:
        words = text.split(" ")
        for _slip in range(self.chance.choice((1, 1, 2, 2, 3))):
            places = [n for n, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
            if not places:
                break
            place = self.chance.choice(places)
            words[place] = self._slip(words[place])
        if len(words) > 6 and self.chance.random() < 0.1:  # a space that was not hit
            place = self.chance.randrange(len(words) - 1)
            if words[place].isalpha() and words[place + 1].isalpha():
                words[place : place + 2] = [words[place] + words[place + 1]]
        return " ".join(words)

    def _slip(self, word: str) -> str:
        at = self.chance.randrange(len(word) - 1)
        kind = self.chance.choice(("drop", "double", "turn", "beside"))
        if kind == "drop":
            return word[:at] + word[at + 1 :]
        if kind == "double":
            return word[:at] + word[at] + word[at:]
        if kind == "turn" and word[at] != word[at + 1]:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        beside = NEAR_KEYS.get(word[at].lower())
        return word[:at] + (self.chance.choice(beside) if beside else "") + word[at + 1 :]

    def _case(self, text: str) -> str:
        return self.chance.choice((str.lower, str.upper, str.title, str.swapcase))(text)

    def _accents(self, text: str) -> str:
        apart = unicodedata.normalize("NFD", text)
        if self.chance.random() < 0.2:
            return apart
        return "".join(sign for sign in apart if not unicodedata.combining(sign))

    def _space(self, text: str) -> str:
        wide = self.chance.choice(("  ", "\t", " \u00a0", "\n", "   "))
        words = text.split(" ")
        made = "".join(w + (wide if self.chance.random() < 0.3 else " ") for w in words)
        return made + self.chance.choice(("", "\n", "  "))

    def _punctuation(self, text: str) -> str:
        kind = self.chance.choice(("none", "more", "quotes", "other"))
        if kind == "none":
            words = [word.rstrip(".,?!:") for word in text.split(" ")]
            return " ".join(words)
        if kind == "more":
            return text.replace("?", "???").replace(". ", "... ").rstrip(".") + "!!"
        if kind == "quotes":
            return f"\u201c{text}\u201d"
        return text.replace(". ", "; ").replace(", ", " - ")

    def _swap(self, text: str) -> str:
        """Two neighbours change places; not numbers, codes and names, whose order has a meaning."""
        words = text.split(" ")
        for _time in range(self.chance.choice((1, 1, 2))):
            places = [
                number
                for number in range(1, len(words) - 1)
                if words[number].islower()
                and words[number + 1].islower()
                and words[number].isalpha()
                and words[number + 1].isalpha()
                and not {"não", "not", "cannot"} & {words[number], words[number + 1]}
            ]
            if places:
                at = self.chance.choice(places)
                words[at], words[at + 1] = words[at + 1], words[at]
        return " ".join(words)

    def _greeting(self, question: str, answer: str, language: str) -> tuple[str, str]:
        before, after = self.chance.choice(GREETINGS[language])
        asked = " ".join(part for part in (before, question, after) if part)
        if answer and self.chance.random() < 0.3:
            answer = f"{'Olá! ' if language == 'pt' else 'Hello! '}{answer}"
        return asked, answer

    def _sentences(self, question: str, answer: str) -> tuple[str, str]:
        parts = answer.split(". ")
        if len(parts) < 2:
            return self._greeting(question, answer, "pt" if "ã" in answer else "en")
        parts[-1] = parts[-1].rstrip(".")
        self.chance.shuffle(parts)
        return question, ". ".join(parts) + "."

    def _synonyms(self, text: str, language: str) -> str:
        words = text.split(" ")
        places = [n for n, word in enumerate(words) if word.lower() in SYNONYMS[language]]
        self.chance.shuffle(places)
        for place in places[: self.chance.choice((1, 1, 2))]:
            other = self.chance.choice(SYNONYMS[language][words[place].lower()])
            words[place] = other.capitalize() if words[place][0].isupper() else other
        return " ".join(words)


def _slots(language: str, frame: int) -> list[str]:
    said = " ".join(FRAMES[language][frame])
    every = ("good", "city", "place", "number", "unit", "day", "month", "code", "name", "other")
    return [slot for slot in every if "{" + slot + "}" in said]


def _has_yes(meaning: _Meaning) -> bool:
    return "{does}" in FRAMES[meaning.language][meaning.frame][1]


def _twice(meaning: _Meaning) -> bool:
    """From a place to itself, or two people of one name: such records mean nothing."""
    slots = dict(meaning.slots)
    return slots.get("city", "") == slots.get("place", "-") or slots.get("name", "") == slots.get(
        "other", "-"
    )
