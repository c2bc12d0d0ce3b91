"""Near-duplicates, contradictions and leakage, against records whose truth is known."""

import random
from pathlib import Path

import pytest

from sophia_tui.datasets import wording
from sophia_tui.datasets.contradictions import Asked, asked
from sophia_tui.datasets.leakage import Leakage
from sophia_tui.datasets.near import Cluster, find_near, memory_needed
from sophia_tui.datasets.near_slips import slip_kind, slips
from sophia_tui.domain.datasets import Example, Message
from sophia_tui.errors import DataError
from tests.benchmarks.near_benchmark import contradicting, score
from tests.benchmarks.near_truth import Record, contradicting_truth, near_truth


def near(*texts: str) -> list[Cluster]:
    return list(find_near(enumerate(texts)))


def alike(one: str, other: str) -> bool:
    return near(one, other) != []


def chat(*said: str) -> Example:
    roles = ("user", "assistant") * len(said)
    return Example(tuple(map(Message, roles, said)))


def test_planted_near_duplicates_are_found_and_no_sibling_is() -> None:
    truth = near_truth(4_000)
    found = list(find_near((place, each.text) for place, each in enumerate(truth.records)))
    got = score(truth, [[each.kept, *each.others] for each in found])
    assert got.recall >= RECALL
    assert got.precision >= 0.995
    for kind in ("accents", "case", "greeting", "punctuation", "sentences", "space", "swap"):
        assert got.by_kind[kind] >= 0.99, kind


RECALL = 0.97

BASE = "Posso trocar a camisa azul comprada em 3 de maio na loja de Santos?"


@pytest.mark.parametrize(
    "other",
    [
        "POSSO TROCAR A CAMISA AZUL COMPRADA EM 3 DE MAIO NA LOJA DE SANTOS",
        "Olá, bom dia! Posso trocar a camisa azul comprada em 3 de maio na loja de Santos? Grato!",
        "Posso  trocar a camisa\u00a0azul,\ncomprada em 3 de maio, na loja de Santos???",
        "Posso substituir a camisa azul adquirida em 3 de maio na loja de Santos?",
        "Posso trocra a camisa azul comprada em 3 de maio na loja de Santos?",
        "Posso trocar a camisa azul comprada em 03 de maio na loja de Santos?",
    ],
)
def test_another_way_of_writing_is_a_near_duplicate(other: str) -> None:
    assert alike(BASE, other)


@pytest.mark.parametrize(
    "other",
    [
        "Posso trocar a camisa azul comprada em 4 de maio na loja de Santos?",
        "Posso trocar a camisa azul comprada em 3 de junho na loja de Santos?",
        "Não posso trocar a camisa azul comprada em 3 de maio na loja de Santos?",
        "Posso trocar a camisa verde comprada em 3 de maio na loja de Santos?",
        "Posso trocar a camisa azul comprada em 3 de maio na loja de Campinas?",
        "Posso trocar a camiseta azul comprada em 3 de maio na loja de Santos?",
    ],
)
def test_another_meaning_in_the_same_words_is_none(other: str) -> None:
    assert not alike(BASE, other)


LETTERS = "How many days of holiday does grade {} get?"
NIVEIS = "Quantos dias de férias tem o nível {} da empresa?"


@pytest.mark.parametrize("said", [LETTERS, NIVEIS, "Is the rule for the plan ({}) new?"])
def test_a_letter_that_is_a_name_says_something(said: str) -> None:
    assert near(*(said.format(letter) for letter in "AEIOB")) == []
    assert alike(said.format("A"), f"Hello! {said.format('A')}")
    rows = [Asked(n, said.format(each), f"{n + 5} days.") for n, each in enumerate("AEIO")]
    assert contradicting(rows) == []
    rows.append(Asked(4, said.format("E"), "20 days."))
    assert [(each.first, each.second) for each in contradicting(rows)] == [(1, 4)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Posso trocar a camisa e o casaco?", "Posso trocar camisa, casaco?"),
        ("POSSO TROCAR A CAMISA E O CASACO?", "posso trocar a camisa e o casaco?"),
        ("Can I return the shoes?", "can i return the shoes?"),
        ("How To Return A Product", "How to return a product"),
        ("Qual o prazo?\nA entrega demora", "qual o prazo? a entrega demora"),
        ("Vou pagar o boleto A loja fecha", "vou pagar o boleto a loja fecha"),
    ],
)
def test_articles_and_pronouns_of_one_letter_say_nothing(one: str, other: str) -> None:
    assert alike(one, other)


def test_of_letters_without_end_only_the_first_are_looked_at() -> None:
    text = wording.composed("grade A " * 5_000)
    assert text.count(wording.NAMED) == 1_000
    assert text.startswith(f"grade A{wording.NAMED} ") and text.endswith("grade A ")


def test_answers_that_differ_in_a_letter_are_told_as_they_were_written() -> None:
    rows = [Asked(0, "Which grade am I in?", "You are in grade A since then.")]
    rows.append(Asked(1, "Which grade am I in?", "You are in grade E since then."))
    [found] = contradicting(rows)
    assert [(each.kind, each.first, each.second) for each in found.differs] == [("name", "A", "E")]


def test_the_work_for_a_word_does_not_grow_with_the_square_of_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[int] = []

    def counted(word: str) -> int:
        hashed.append(len(word))
        return hash(word) & 0xFFFF_FFFF

    monkeypatch.setattr("sophia_tui.datasets.near_slips._hash", counted)
    words = ["holiday", "x" * 300_000, "x" * 299_999, "y" * 65, "z" * 64]
    assert slips(words, [50, 1, 1, 1, 1], [False] * 5) == {}
    assert max(hashed) == 64
    assert len(hashed) < 64**2  # the longest word's forms without one letter and without two


def test_a_long_word_is_looked_for_as_it_is_in_an_evaluation_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def shortened(word: str) -> set[str]:
        made.append(len(word))
        return {word}

    monkeypatch.setattr("sophia_tui.datasets.leakage._shortened", shortened)
    held = Leakage([("e", 1, chat("x" * 300_000, "What?"))])
    assert held.holds(chat("x" * 300_000, "What is that?")) is not None
    assert held.holds(chat("x" * 300_001, "What is that?")) is None
    assert max(made) < 65


def test_who_stands_in_whose_place_is_another_meaning() -> None:
    assert not alike("O caminhão vai de Santos para Bauru.", "O caminhão vai de Bauru para Santos.")
    assert alike("Abrimos às 9. Fechamos às 18.", "Fechamos às 18. Abrimos às 9.")


def test_what_is_found_depends_on_no_order_and_no_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = list(enumerate(each.text for each in near_truth(7_000).records))
    found = list(find_near(texts))
    random.Random(1).shuffle(texts)
    assert list(find_near(texts)) == found
    monkeypatch.setattr("sophia_tui.datasets.near_words._ALONE", 8_000)
    assert list(find_near(texts)) == found


def test_the_best_written_one_is_kept() -> None:
    [found] = near(
        "oi, qual e o preco do cafe?", "QUAL É O PREÇO DO CAFÉ?", "Qual é o preço do café?"
    )
    assert found == Cluster(2, (0, 1))


def test_texts_that_say_nothing_are_the_same_only_if_they_are() -> None:
    assert near("", "?", "Olá", "Bom dia", "olá!") == [Cluster(2, (4,))]
    assert near("só um") == []


def test_a_slip_is_rarer_than_the_word_that_was_meant() -> None:
    words = ["entrega", "entrgea", "queijo", "gato", "rato", "junho", "julho"]
    assert slips(words, [50, 1, 40, 30, 1, 90, 1], [False] * 7) == {1: [(0,)]}


@pytest.mark.parametrize(
    ("one", "two", "kind"),
    [
        ("casa", "casa", None),
        ("casa", "acsa", "turned"),
        ("casa", "cassa", "doubled"),
        ("casa", "cata", "inner"),
        ("casa", "caso", "edge"),
        ("casa", "casas", "edge"),
        ("casa", "carta", None),
    ],
)
def test_kinds_of_slips(one: str, two: str, kind: str | None) -> None:
    assert slip_kind(one, two) == slip_kind(two, one) == kind


def test_memory_grows_with_rows_and_words() -> None:
    assert memory_needed(0, 0) < memory_needed(1000, 1 << 20) < memory_needed(1000, 1 << 24)


def test_planted_contradictions_are_found_and_none_is_dropped() -> None:
    truth = contradicting_truth(400)
    rows = [Asked(n, each.question, each.answer) for n, each in enumerate(truth.records)]
    found = contradicting(rows)
    pairs = {(each.first, each.second) for each in found}
    planted = {(min(pair), max(pair)) for pair in truth.contradicting}
    assert len(planted & pairs) >= 0.9 * len(planted)
    agreeing = [pair for pair in pairs if _mean_the_same(truth.records, *pair)]
    assert len(agreeing) <= 0.02 * len(pairs)
    for cluster in find_near((n, each.text) for n, each in enumerate(truth.records)):
        inside = {cluster.kept, *cluster.others}
        assert not any(one in inside and two in inside for one, two in planted)


def _mean_the_same(records: list[Record], one: int, two: int) -> bool:
    return records[one].meaning == records[two].meaning


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("O prazo é de 5 dias úteis.", "O prazo é de 7 dias úteis.", "number"),
        ("O prazo é de 5 dias.", "O prazo é de 5 horas.", "unit"),
        ("Fechamos em janeiro.", "Fechamos em julho.", "date"),
        ("Fale com a Marina do balcão.", "Fale com a Mariana do balcão.", "name"),
        ("Sim, aceitamos cartão.", "Não aceitamos cartão.", "yes_no"),
        ("You can pay by card here.", "You cannot pay by card here.", "yes_no"),
        ("A loja aceita cartão no balcão.", "A loja não aceita cartão no balcão.", "yes_no"),
        ("It costs $30 today.", "It costs $35 today.", "number"),
    ],
)
def test_what_contradicts(first: str, second: str, kind: str) -> None:
    rows = [Asked(1, "Como funciona isso?", first), Asked(2, "como funciona isso", second)]
    [found] = contradicting(rows)
    assert (found.first, found.second) == (1, 2)
    assert [each.kind for each in found.differs] == [kind]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("O prazo é de 5 dias úteis.", "São 5 dias úteis de prazo."),
        ("O prazo é de 5 dias.", "O prazo é de 5 dias, e de 8 para o Acre."),
        ("Sim.", "Sim, claro, com prazer."),
        ("Custa R$ 30,00.", "Custa 30 reais."),
    ],
)
def test_what_does_not_contradict(first: str, second: str) -> None:
    rows = [Asked(1, "Como funciona isso?", first), Asked(2, "como funciona isso", second)]
    assert contradicting(rows) == []


def test_a_question_is_asked_in_its_context() -> None:
    one = asked(chat("Vendem café?", "Sim.", "Quanto custa?", "R$ 30."))
    two = asked(chat("Vendem queijo?", "Sim.", "Quanto custa?", "R$ 45."))
    rows = [Asked(1, *one), Asked(2, *two)]
    assert contradicting(rows) == []
    rows = [Asked(1, *one), Asked(2, one[0], "R$ 45.")]
    assert len(contradicting(rows)) == 1


EVALUATION = [
    ("held.jsonl", 1, chat("Qual é o horário da loja de Santos?", "Das 9 às 18.")),
    ("held.jsonl", 2, chat("Oi", "Olá! Em que posso ajudar com o seu pedido?")),
]


@pytest.mark.parametrize(
    ("example", "line"),
    [
        (chat("Qual é o horário da loja de Santos?", "Abre às 9."), 1),
        (chat("bom dia, qual e o horario da loja de santos", "Abre às 9."), 1),
        (chat("Qual é o hroário da loja de Santos?", "Abre às 9."), 1),
        (chat("Vendem pão?", "Sim.", "Qual é o horário da loja de Santos?", "9 às 18."), 1),
        (chat("oi", "Olá! Em que posso ajudar com o seu pedido"), 2),
        (chat("Qual é o horário da loja de Campinas?", "Das 9 às 18."), None),
        (chat("Oi", "Bom dia!"), None),
    ],
)
def test_what_stands_in_the_evaluation_set_is_found(example: Example, line: int | None) -> None:
    found = Leakage(EVALUATION).holds(example)
    assert (found.line if found else None) == line


def test_an_evaluation_set_that_breaks_off_is_named() -> None:
    with pytest.raises(DataError, match="SOPHIA-D306"):
        Leakage.of_files([Path("/proc/self/mem")])  # it opens, and can't be read
