"""What a text says, put apart from how it is written: its words without case, accents, courtesy and
small words, and one word for those that mean the same (Portuguese and English).

Nothing here knows records or files. A word that is not known stands for itself.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

#: Raised with anything here that changes what is found to be nearly the same.
VERSION = 2

#: Numbers with their separators, currencies and units, words, and ends of sentences.
TOKEN = re.compile(
    r"\d+(?:[.,:/\-]\d+)+|[Rr]\$|[Uu][Ss]\$|[$€£%°]|[\u3040-\u30ff\u3400-\u9fff]|"
    r"[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019][^\W_]+)*|[.!?]+"
)

#: Words of which it is remembered what they say.
_REMEMBERED = 1 << 16
_ACCENTS = re.compile("[\u0300-\u036f]+")
_GROUPED = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*(?:[.,](\d{1,2}))?")
_DECIMAL = re.compile(r"(\d+)[.,](\d{1,2})")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th|o|a)")
_MIXED = re.compile(r"(\d+)([a-z]+)")
#: Stands behind a single letter that is a name. It is a letter to `TOKEN`, and has no case.
NAMED = "\u02ee"
#: A capital that is a small word, too, behind a word and blanks or within quotes and brackets: so
#: neither a sentence nor a line begins with it.
_LETTER = re.compile(
    r"[AEIO](?:(?<=\w[ \u00a0].)|(?<=\w[ \u00a0]{2}.)|(?<=\w[-/].)|"
    r"(?<=[(\"'\u201c\u2018].)(?=[)\"'\u201d\u2019](?!\w)))(?![\w\u02ee]|['\u2019]\w)"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_ARTICLE = re.compile(r"(?<!\w)[oe\u00e9\u00e0](?!\w)")
_SENTENCE_END = re.compile(r"[.!?\n]")
_AFTER_NAME = ".,;:!?)]\"'\u201d\u2019/"
_MOST_LETTERS = 1000  # of a text: further ones stay small words
_NEAR = 100  # characters looked at on either side of such a letter


def words(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


#: Without a meaning of their own: leaving them out or changing them changes nothing.
SMALL = words(
    "a o as os um uma de do da dos das em na nos nas ao aos e que eu me meu minha meus minhas voce "
    "voces nos por pelo pela pelos pelas "
    "the an of in at by i my your it its is are am be do does did and that this you we us "
    "will our"
)
#: Said out of courtesy, or to begin and end with.
COURTESY = words(
    "oi ola oie alo opa pessoal galera prezado prezada prezados prezadas caro cara atenciosamente "
    "obrigado obrigada obrigados agradeco grato grata valeu abraco abracos cordialmente favor "
    "gentileza amigo amigos amiga saudacoes senhores enfim "
    "hello hi hey thanks thank thx please kindly regards sincerely cheers greetings folks guys pls "
    "plz"
)
#: What is told apart by a letter or a Roman number: behind these there is no pronoun or article.
_LETTERED = words(
    "grade grades level class type category group plan phase part section annex appendix tier "
    "series option team block building room zone band version model chapter table schedule "
    "article sector gate terminal platform stage step volume vitamin "
    "grau nivel classe tipo categoria grupo plano fase parte secao anexo apendice faixa serie "
    "opcao turma time bloco predio sala zona versao modelo capitulo tabela artigo setor portao "
    "plataforma etapa passo volume titulo vitamina funcionario empregado cliente candidato aluno "
    "produto item filial loja servidor ponto caso cenario exemplo letra nota conta cargo equipe "
    "linha lote modulo unidade torre quadra padrao perfil prova questao alternativa"
)
#: Where one of these stands, "A", "E" and "O" may be Portuguese words.
_PORTUGUESE = words(
    "de da dos das os que para com em na nas nos um uma voce nao por se ao meu minha qual "
    "quanto quando onde como"
)
#: Courtesies of more than one word, as they are folded.
_COURTESIES = tuple(
    tuple(phrase.split())
    for phrase in (
        "bom dia",
        "boa tarde",
        "boa noite",
        "tudo bem com voces",
        "tudo bem",
        "tudo bom",
        "como vai",
        "por favor",
        "por gentileza",
        "desde ja agradeco",
        "desde ja",
        "muito obrigado",
        "muito obrigada",
        "fico no aguardo",
        "fico a disposicao",
        "estou a disposicao",
        "no aguardo",
        "aguardo retorno",
        "gostaria de saber",
        "gostaria de perguntar",
        "queria saber",
        "quero saber",
        "poderia me dizer",
        "pode me dizer",
        "poderia me informar",
        "preciso saber",
        "tenho uma duvida",
        "uma duvida",
        "com licenca",
        "um abraco",
        "good morning",
        "good afternoon",
        "good evening",
        "good day",
        "thank you very much",
        "thank you so much",
        "thank you",
        "many thanks",
        "thanks in advance",
        "thanks a lot",
        "in advance",
        "best regards",
        "kind regards",
        "warm regards",
        "best wishes",
        "dear team",
        "dear all",
        "dear sir or madam",
        "dear sirs",
        "hi there",
        "hello there",
        "i would like to know",
        "i would like to ask",
        "i'd like to know",
        "i want to know",
        "could you tell me",
        "can you tell me",
        "could you please tell me",
        "i was wondering",
        "i have a question",
        "quick question",
        "excuse me",
        "how are you",
    )
)
#: Phrases, and the word that says the same.
_SAID_BY = {
    tuple(phrase.split()): word
    for phrase, word in {
        "de novo": "novamente",
        "outra vez": "novamente",
        "mais uma vez": "novamente",
        "no centro": "central",
        "do centro": "central",
        "entrar em contato": "contatar",
        "da mesma forma": "igualmente",
        "de graca": "gratis",
        "hoje em dia": "atualmente",
        "give back": "return",
        "send back": "return",
        "pick up": "collect",
        "once again": "again",
        "get in touch": "contact",
        "for free": "free",
        "free of charge": "free",
        "find out": "discover",
        "set up": "install",
        "carry out": "perform",
    }.items()
}
#: Courtesies, and what one word says as well.
PHRASES = (*_COURTESIES, *_SAID_BY)
STARTS = frozenset(phrase[0] for phrase in PHRASES)
SECONDS = frozenset(phrase[1] for phrase in PHRASES)
#: One word of each phrase; without any of them there is none.
MARKS = frozenset(max(phrase, key=len) for phrase in PHRASES)
LONGEST_PHRASE = max(len(phrase) for phrase in PHRASES)
_BY_START = {
    start: sorted(([*phrase] for phrase in PHRASES if phrase[0] == start), key=len, reverse=True)
    for start in STARTS
}


def said_by_phrase(words: Sequence[str]) -> str:
    """The one word that says what a phrase says; "" for a courtesy."""
    return _SAID_BY.get(tuple(words), "")


#: Each line: words that may stand for one another in what customers ask and are answered.
_SAME = """
enviar mandar remeter despachar expedir
envia manda remete despacha
envie mande remeta despache
enviam mandam remetem despacham
enviamos mandamos remetemos despachamos
enviado mandado remetido despachado
enviada mandada remetida despachada
envio remessa despacho
prazo tempo
preco valor custo
precos valores custos
custa vale
depois apos
trocar substituir
troca substituicao
comprar adquirir
comprado adquirido
comprada adquirida
compra aquisicao
compramos adquirimos
responsavel encarregado
cancelar encerrar anular rescindir
cancelamento encerramento
escolha selecione
escolher selecionar
logo assim
sai parte
problema transtorno incidente inconveniente
problemas transtornos incidentes inconvenientes
fica esta encontra-se situa-se
defeito falha avaria
defeitos falhas avarias
errado incorreto indevido equivocado
errada incorreta indevida equivocada
pacote embrulho encomenda
para pra pro
taxa tarifa cobranca
guarde conserve mantenha
guardar conservar manter
equipe time
completo inteiro integral
completa inteira
disponivel acessivel
necessario preciso obrigatorio
necessaria obrigatoria
mostrar apresentar exibir
mostre apresente exiba
avisar informar comunicar notificar
avise informe comunique notifique
avisamos informamos comunicamos notificamos
utiliza usa emprega
utilizar usar empregar
regras normas
regra norma
inicial primeiro
exige requer pede demanda
exigir requerer demandar
novamente
central centrico
reembolso estorno devolucao
reembolsar estornar
aplicativo app
cliente consumidor comprador
clientes consumidores compradores
chegar vir
chegou veio
ajudar auxiliar
ajuda auxilio
comecar iniciar
comeca inicia
terminar concluir finalizar
termina conclui finaliza
obter conseguir
receber ganhar
responder retornar
perguntar questionar
rapido veloz ligeiro
rapidamente depressa
grande enorme
pequeno diminuto
bonito belo
carro automovel veiculo
casa residencia
empresa companhia firma
empresas companhias firmas
loja estabelecimento
funcionario empregado colaborador
funcionarios empregados colaboradores
telefone fone
conserto reparo
consertar reparar
realizar fazer efetuar
realizado feito efetuado
realize faca efetue
entrar acessar
acesse entre
verificar conferir checar
verifique confira cheque
alterar mudar modificar
altere mude modifique
alteracao mudanca modificacao
corrigir retificar
aguardar esperar
aguarde espere
solicitar requisitar
solicite peca requisite
solicitacao requisicao
permitir autorizar
permitido autorizado
possuir ter
possui tem
informacoes dados
apenas somente so
tambem igualmente
talvez possivelmente
atualmente hoje
imediatamente ja
normalmente geralmente
local lugar
pagar quitar
pago quitado
pagou quitou
boleto fatura
faturas boletos
ship send dispatch
ships sends dispatches
shipped sent dispatched
shipping delivery
price cost
prices costs
bought purchased acquired
buy purchase order
choose select pick
cancel terminate end
cancellation termination
leaves departs
leave depart
broken damaged faulty defective
photo picture image
photos pictures images
collects fetches
keep retain
team staff crew
answers replies responds
answer reply respond
complete full entire whole
available accessible
big large
get receive obtain
gets receives obtains
accept take
accepts takes
collect retrieve
companies businesses firms
company business firm
need require have
needs requires
show present display
shows presents displays
refund reimbursement
refunds reimbursements
try attempt
following next
necessary required mandatory needed
call phone ring
uses employs utilizes
use employ utilize
initial first
booking reservation
bookings reservations
parcel package
parcels packages
amount sum total
bill invoice
bills invoices
start begin
starts begins
help assist aid
helps assists
fix repair mend
fixed repaired
quick fast rapid
quickly rapidly
car automobile
house home
shop store
shops stores
customer client
customers clients
employee worker
ask inquire
allow permit
allowed permitted
check verify
change modify alter
changed modified altered
also too
only just
maybe perhaps
usually normally
immediately instantly
buyers purchasers
rules regulations
rule regulation
sorry apologetic
error mistake
errors mistakes
correct right
incorrect wrong
smartphone mobile cellphone
R$ reais real brl
US$ dolares dolar dollars dollar usd
€ euros euro eur
£ pounds pound gbp
% percent
kg quilo quilos kilo kilos
km quilometro quilometros kilometer kilometers
dia dias
day days
hora horas h hs
hour hours hrs hr
minuto minutos min
minute minutes mins
semana semanas
week weeks
mes meses
month months
ano anos
year years
"""
_DENIALS = words("nao nunca jamais nem sem nenhum nenhuma ninguem no not never without none nobody")
_NUMBER_WORDS = words(
    "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze quatorze quinze "
    "dezesseis dezessete dezoito dezenove vinte trinta quarenta cinquenta sessenta setenta oitenta "
    "noventa cem cento duzentos trezentos mil milhao meio meia "
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million half"
)
MONTHS = words(
    "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro "
    "january february march april may june july august september october november december"
)
WEEKDAYS = words(
    "segunda terca quarta quinta sexta sabado domingo "
    "monday tuesday wednesday thursday friday saturday sunday"
)
UNITS = words(
    "R$ US$ € £ % dia hora minuto semana mes ano segundo segundos kg grama gramas g mg litro "
    "litros ml metro metros m cm mm km parcela parcelas gb mb tb "
    "day hour minute week month year second seconds gram grams liter liters litre litres meter "
    "meters mile miles pound pounds ounce ounces inch inches foot feet instalment instalments"
)
DENIALS = _DENIALS | {"cannot", "nothing", "nada", "neither", "nor", "impossivel", "proibido"}
NUMBER_WORDS = _NUMBER_WORDS
#: Never taken for a slip of another word, nor another for one of them.
KEPT_APART = (
    DENIALS
    | NUMBER_WORDS
    | MONTHS
    | WEEKDAYS
    | UNITS
    | words(
        "sim yes antes depois apos before after mais menos more less maior menor entre ate desde "
        "acima abaixo above below dentro fora inside outside aberto fechado open closed pode podem "
        "podia deve with com dias horas anos semanas meses minutos days hours weeks months years "
        "must should could would shall might"
    )
)


@cache
def _same() -> dict[str, str]:
    """Every word of a line of `_SAME` by its line's first; a word on two lines joins neither."""
    heads: dict[str, str] = {}
    twice: set[str] = set()
    for line in _SAME.splitlines():
        words = line.split()
        for word in words:
            if heads.get(word, words[0]) != words[0]:
                twice.add(word)
            heads[word] = words[0]
    return {word: head for word, head in heads.items() if word not in twice}


@lru_cache(_REMEMBERED)
def fold(word: str) -> str:
    """Without case, accents and Unicode's other forms of one letter. Currencies in capitals."""
    if word.isascii():
        return word.upper() if "$" in word else word.lower()
    plain = unicodedata.normalize("NFKD", word).casefold().replace("\u2019", "'")
    return _ACCENTS.sub("", plain)


@lru_cache(_REMEMBERED)
def says(word: str) -> tuple[str, ...]:
    """What a folded word says, in words that mean the same for all who write them differently;
    nothing for courtesy and small words."""
    if word[0].isdecimal():
        return _number(word)
    if word in SMALL or word in COURTESY:
        return ()
    if "'" in word:
        return _contracted(word)
    if word == "cannot":
        return ("can", "not")
    head = _same().get(word, word)
    return (head,)


def _contracted(word: str) -> tuple[str, ...]:
    if word.endswith("n't"):
        verb = {"ca": "can", "wo": "will"}.get(word[:-3], word[:-3])
        return (*(() if verb in SMALL else (verb,)), "not")
    stem, _mark, _ending = word.partition("'")
    return says(stem) if stem else (word,)


def _number(word: str) -> tuple[str, ...]:
    if grouped := _GROUPED.fullmatch(word):
        whole = re.sub(r"[.,]", "", word[: grouped.start(2) - 1] if grouped[2] else word)
        return (_with_decimals(whole, grouped[2] or ""),)
    if decimal := _DECIMAL.fullmatch(word):
        return (_with_decimals(decimal[1], decimal[2]),)
    if ordinal := _ORDINAL.fullmatch(word):
        return (ordinal[1],)
    if word[0] == "0" and len(word) == 2:
        return (word[1],)
    if mixed := _MIXED.fullmatch(word):
        return (mixed[1], *says(mixed[2]))
    return (re.sub(r"[-.]", "/", word) if word.count("-") == 2 or word.count(".") == 2 else word,)


def _with_decimals(whole: str, decimals: str) -> str:
    rest = decimals.rstrip("0")
    return f"{whole}.{rest}" if rest else whole


def composed(text: str) -> str:
    """In composed characters, as `TOKEN` needs it (nearly all text is already), with a mark behind
    letters that are names: the words of one letter that they look like say nothing."""
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if not _LETTER.search(text):
        return text
    return _LETTER.sub(_named_letter, text, count=_MOST_LETTERS)


def _named_letter(found: re.Match[str]) -> str:
    """Grade A, plan E: not where every word has a capital, nor where "I" may be the pronoun, or "A"
    begin a Portuguese sentence in a text without full stops."""
    letter, text, at = found[0], found.string, found.start()
    before = _SENTENCE_END.split(text[max(0, at - _NEAR) : at])[-1]
    behind = _SENTENCE_END.split(text[at + 1 : at + 1 + _NEAR])[0]
    words = _WORD.findall(before)
    labelled = bool(words) and fold(words[-1]) in _LETTERED
    last = at + 1 == len(text) or text[at + 1] in _AFTER_NAME
    if words and words[0].istitle():
        del words[0]
    words += _WORD.findall(behind)
    if not labelled and not last and (letter == "I" or _portuguese(words, before + behind)):
        return letter
    small = sum(word.islower() for word in words)
    return letter + NAMED if small * 3 >= len(words) else letter


def _portuguese(words: list[str], text: str) -> bool:
    return not _PORTUGUESE.isdisjoint(map(fold, words)) or bool(_ARTICLE.search(text))


def shown(word: str) -> str:
    """A word of a composed text as it was written."""
    return word.removesuffix(NAMED)


def words_of(text: str) -> list[str]:
    """The folded words of a text in their order, courtesies of several words left out."""
    words = [fold(token) for token in TOKEN.findall(composed(text)) if token[0] not in ".!?"]
    if MARKS.isdisjoint(words):
        return words
    kept: list[str] = []
    at = 0
    while at < len(words):
        length = phrase_at(words, at)
        if not length:
            kept.append(words[at])
        elif said := said_by_phrase(words[at : at + length]):
            kept.append(said)
        at += length or 1
    return kept


def phrase_at(words: Sequence[str], at: int) -> int:
    """How many words make a courtesy that begins there, 0 for none."""
    for phrase in _BY_START.get(words[at], ()):
        if words[at : at + len(phrase)] == phrase:
            return len(phrase)
    return 0


def said_in(text: str) -> list[str]:
    """What a text says, word by word."""
    return [said for word in words_of(text) for said in says(word)]
