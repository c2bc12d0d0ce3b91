"""The sample data in finetune/samples: its manifest tells the truth, in both directions."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Row = dict[str, Any]

SAMPLES = Path(__file__).resolve().parents[2] / "finetune" / "samples"
TABLES = ("docs", "qa_cache", "feedback", "customers", "conversations", "messages")
KEYS = {"docs": "id", "qa_cache": "qhash", "conversations": "id", "messages": "id"}
TEXTS = {
    "docs": ("title", "content"),
    "qa_cache": ("question", "answer"),
    "messages": ("content",),
}
WINDOW_MINUTES = 30 * 24 * 60


def read_lines(path: Path) -> list[Row]:
    """Every line of a JSON Lines file as an object."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    rows = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    assert all(isinstance(row, dict) for row in rows)
    return rows


MANIFEST: Row = yaml.safe_load((SAMPLES / "manifest.yaml").read_text(encoding="utf-8"))
SOURCE = {table: read_lines(SAMPLES / "source" / f"{table}.jsonl") for table in TABLES}
HELDOUT = read_lines(SAMPLES / "heldout_questions.jsonl")
FACTS: list[Row] = MANIFEST["facts"]
DIRT: Row = MANIFEST["dirt"]
QUESTIONS = {row["qhash"]: row for row in SOURCE["qa_cache"]}
DOCUMENTS = {row["id"]: row for row in SOURCE["docs"]}


def normalised(question: str) -> str:
    return " ".join(question.casefold().split())


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def accepts(fact: Row, text: str) -> bool:
    return any(accepted.casefold() in text.casefold() for accepted in fact["accepted"])


def keys_where(table: str, holds: Callable[[Row], bool]) -> list[Any]:
    """The manifest's names of the rows for which `holds`."""
    if table == "feedback":
        return [line for line, row in enumerate(SOURCE[table], 1) if holds(row)]
    return [row[KEYS.get(table, "id")] for row in SOURCE[table] if holds(row)]


# --- Personal data, by form and check digits -----------------------------------------------------


def valid_cpf(digits: str) -> bool:
    def check(count: int) -> int:
        total = sum(int(d) * (count + 1 - i) for i, d in enumerate(digits[:count]))
        return total * 10 % 11 % 10

    return digits[9:] == f"{check(9)}{check(10)}"


def valid_cnpj(characters: str) -> bool:
    """Receita Federal's rule since 2026, in which a letter counts as its ASCII code less 48."""

    def check(count: int) -> int:
        weights = [(count - 1 - i) % 8 + 2 for i in range(count)]
        total = sum((ord(c) - 48) * w for c, w in zip(characters, weights, strict=False))
        return 0 if total % 11 < 2 else 11 - total % 11

    return characters[12:] == f"{check(12)}{check(13)}"


def valid_card(digits: str) -> bool:
    """Luhn."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(n // 10 + n % 10 for n in doubled) % 10 == 0


def finds(pattern: str, valid: Callable[[str], bool] = lambda _: True) -> Callable[[str], bool]:
    """Whether a text holds the pattern with right check digits (given without punctuation)."""
    compiled = re.compile(pattern)

    def found(text: str) -> bool:
        matches = (match.group() for match in compiled.finditer(text))
        return any(valid(re.sub(r"[^0-9A-Z]", "", match)) for match in matches)

    return found


PERSONAL_DATA = {
    "cpf": finds(r"(?<!\d)\d{3}\.?\d{3}\.?\d{3}-?\d{2}(?!\d)", valid_cpf),
    "cnpj": finds(r"\b[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/[0-9A-Z]{4}-\d{2}\b", valid_cnpj),
    "email": finds(r"[\w.+-]+@[\w-]+\.\w+"),
    "phone": finds(r"\b\d{2}\)? 9\d{4}-\d{4}\b"),
    "card": finds(r"\b\d{4} \d{4} \d{4} \d{4}\b|\b\d{4} \d{6} \d{5}\b", valid_card),
}
TEXT_DIRT: dict[str, Callable[[str], bool]] = {
    "double_quotes": lambda text: '"' in text,
    "backslashes": lambda text: "\\" in text,
    "newlines": lambda text: "\n" in text.strip(),
    "tabs": lambda text: "\t" in text,
    "emoji": finds("[\U0001f300-\U0001faff\u2600-\u27bf]"),
    "right_to_left_marks": lambda text: "\u200f" in text,
    "ansi_escapes": lambda text: "\x1b[" in text,
    "mojibake": finds("[\u00c3\u00c2][\u0080-\u00bf]"),
}


# --- Counts and form -----------------------------------------------------------------------------


def test_each_table_has_the_rows_that_the_manifest_counts() -> None:
    assert {table: len(rows) for table, rows in SOURCE.items()} == MANIFEST["rows"]


def test_the_breakdowns_are_right() -> None:
    def count(table: str, column: str) -> dict[str, int]:
        values = (row[column] for row in SOURCE[table])
        return dict(Counter("null" if value is None else str(value) for value in values))

    ages = [row["created_at_minutes_ago"] for row in SOURCE["qa_cache"]]
    assert MANIFEST["breakdown"] == {
        "qa_cache": {
            "fact_wordings": sum(len(fact["qhashes"]) for fact in FACTS),
            "older_than_30_days": sum(age > WINDOW_MINUTES for age in ages),
            "last_30_days": sum(age <= WINDOW_MINUTES for age in ages),
        },
        "feedback_signal": count("feedback", "signal"),
        "conversations_channel": count("conversations", "channel"),
        "conversations_status": count("conversations", "status"),
        "messages_sender_type": count("messages", "sender_type"),
    }


def test_the_corpus_is_as_large_as_promised() -> None:
    assert Counter(fact["language"] for fact in FACTS) == {"en": 30, "pt-BR": 28}
    assert len(SOURCE["docs"]) >= 60
    assert len(clean_questions()) >= 400
    assert sum(row["signal"] in (1, -1) for row in SOURCE["feedback"]) >= 150
    assert len(SOURCE["customers"]) >= 25
    assert len(SOURCE["conversations"]) >= 80
    assert len(SOURCE["messages"]) >= 600
    assert {row["channel"] for row in SOURCE["conversations"]} == {"site", "whatsapp"}


def clean_questions() -> set[str]:
    """The qhashes of questions of the last 30 days that are in no list of dirt, all answered and
    cited."""
    dirty = set(listed_keys(DIRT["qa_cache"]))
    return {qhash for qhash in QUESTIONS if qhash not in dirty}


def listed_keys(dirt: Any) -> Iterator[Any]:
    """Every key that stands anywhere in a table's dirt."""
    if isinstance(dirt, dict) and set(dirt) == {"row", "of"}:
        yield dirt["row"]
    elif isinstance(dirt, dict):
        for each in dirt.values():
            yield from listed_keys(each)
    elif isinstance(dirt, list):
        for each in dirt:
            yield from listed_keys(each)
    else:
        yield dirt


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_the_columns_of_the_schema(table: str) -> None:
    sql = (SAMPLES / "source" / "schema.sql").read_text(encoding="utf-8")
    match = re.search(rf"CREATE TABLE {table} \((.*?)\n\);", sql, re.DOTALL)
    assert match
    columns = {line.split()[0] for line in match[1].strip().splitlines()}
    if table == "feedback":
        columns.remove("id")  # generated always
    for row in SOURCE[table]:
        assert {name.removesuffix("_minutes_ago") for name in row} == columns


def test_the_schema_has_no_foreign_keys() -> None:
    sql = (SAMPLES / "source" / "schema.sql").read_text(encoding="utf-8").upper()
    assert "REFERENCES" not in sql
    assert "FOREIGN KEY (" not in sql


@pytest.mark.parametrize("table", [table for table in TABLES if table != "feedback"])
def test_keys_are_unique(table: str) -> None:
    keys = keys_where(table, lambda _: True)
    assert len(set(keys)) == len(keys)


def test_times_are_whole_minutes_clear_of_the_edge_of_the_window() -> None:
    half_a_day = 12 * 60
    for table in ("qa_cache", "feedback", "conversations", "messages"):
        for row in SOURCE[table]:
            age = row["created_at_minutes_ago"]
            assert isinstance(age, int)
            assert age > 0
            assert abs(age - WINDOW_MINUTES) >= half_a_day


def test_no_text_has_what_postgres_cannot_store() -> None:
    for table in TABLES:
        assert "\\u0000" not in json.dumps(SOURCE[table])


def test_messages_run_forward_in_time() -> None:
    ages = [row["created_at_minutes_ago"] for row in SOURCE["messages"]]
    assert ages == sorted(ages, reverse=True)
    first: dict[int, int] = {}
    for row in SOURCE["messages"]:
        first.setdefault(row["conversation_id"], row["created_at_minutes_ago"])
    for row in SOURCE["conversations"]:
        if row["id"] in first:
            assert first[row["id"]] == row["created_at_minutes_ago"]


def test_a_question_is_hashed_from_its_normalised_text_unless_listed() -> None:
    listed = {entry["row"] for entry in DIRT["qa_cache"]["exact_duplicates"]}
    listed |= set(DIRT["qa_cache"]["empty_questions"])
    for qhash, row in QUESTIONS.items():
        if qhash not in listed:
            assert qhash == hash_of(normalised(row["question"]))
        else:
            assert qhash in (hash_of(row["question"]), hash_of(normalised(row["question"])))


# --- Facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact["id"]))
def test_every_answer_to_a_fact_and_its_document_hold_an_accepted_answer(fact: Row) -> None:
    for qhash in fact["qhashes"]:
        assert QUESTIONS[qhash]["answer"] == fact["answer"]
        assert accepts(fact, QUESTIONS[qhash]["answer"])
        assert fact["doc_id"] in [c["doc_id"] for c in QUESTIONS[qhash]["citations"]]
    for qhash in fact["also"]:
        assert accepts(fact, QUESTIONS[qhash]["answer"])
    assert accepts(fact, DOCUMENTS[fact["doc_id"]]["content"])


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact["id"]))
def test_each_fact_is_asked_in_five_clean_wordings_or_more(fact: Row) -> None:
    assert len(clean_questions() & set(fact["qhashes"])) >= 5


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact["id"]))
def test_an_accepted_answer_is_no_echo_and_no_answer_to_another_fact(fact: Row) -> None:
    for other in FACTS:
        if other["id"] != fact["id"]:
            assert not accepts(fact, other["answer"])
    for row in HELDOUT:
        if row["fact"] == fact["id"]:
            assert not accepts(fact, row["question"])


def test_a_citation_carries_the_title_of_its_document() -> None:
    for row in SOURCE["qa_cache"]:
        for citation in row["citations"] or []:
            if citation["doc_id"] in DOCUMENTS:
                assert citation["title"] == DOCUMENTS[citation["doc_id"]]["title"]


def test_answers_and_documents_are_short() -> None:
    # 60 tokens at most: the demo's tokenizer makes two tokens or more of a long foreign word
    assert all(len(fact["answer"].split()) <= 20 for fact in FACTS)
    assert all(len(row["content"].split()) <= 40 for row in SOURCE["docs"])


def words(text: str) -> frozenset[str]:
    """The different words of a text, without case and punctuation."""
    return frozenset(re.findall(r"\w+", text.casefold()))


def test_no_heldout_wording_equals_or_nearly_equals_what_training_may_see() -> None:
    asked = [words(row["question"] or "") for row in SOURCE["qa_cache"]]
    written = [words(row["content"] or "") for row in SOURCE["messages"] + SOURCE["docs"]]
    for row in HELDOUT:
        own = words(row["question"])
        assert own
        # Jaccard: shared words by all words
        assert all(len(own & other) < 0.7 * len(own | other) for other in asked + written)


def test_heldout_wordings_differ_from_each_other() -> None:
    assert len({words(row["question"]) for row in HELDOUT}) == len(HELDOUT)


def test_every_fact_has_two_heldout_wordings_with_its_accepted_answers() -> None:
    facts = {fact["id"]: fact for fact in FACTS}
    assert Counter(row["fact"] for row in HELDOUT) == dict.fromkeys(facts, 2)
    assert len({row["id"] for row in HELDOUT}) == len(HELDOUT)
    assert dict(Counter(row["language"] for row in HELDOUT)) == MANIFEST["heldout_questions"]
    for row in HELDOUT:
        fact = facts[row["fact"]]
        for name in ("language", "accepted", "doc_id"):
            assert row[name] == fact[name]
        assert row["demo"] == (fact["id"] in MANIFEST["demo_part"]["facts"])


# --- The demo's part -----------------------------------------------------------------------------

DEMO: Row = MANIFEST["demo_part"]


def test_the_demos_part_has_the_facts_documents_and_questions_that_the_manifest_counts() -> None:
    facts = [fact for fact in FACTS if fact["id"] in DEMO["facts"]]
    assert len(facts) == len(DEMO["facts"])
    asked = Counter(row["language"] for row in HELDOUT if row["demo"])
    assert sorted({fact["doc_id"] for fact in facts}) == DEMO["docs"]
    assert sum(len(fact["qhashes"]) for fact in facts) == DEMO["wordings"]
    assert dict(asked) == DEMO["heldout_questions"]
    assert min(asked["en"], asked["pt-BR"]) >= 20


def test_the_first_citation_tells_whether_a_question_is_in_the_demos_part() -> None:
    ours = {h for fact in FACTS if fact["id"] in DEMO["facts"] for h in fact["qhashes"]}
    also = {h for fact in FACTS if fact["id"] in DEMO["facts"] for h in fact["also"]}
    cited = {
        qhash
        for qhash, row in QUESTIONS.items()
        if row["citations"] and row["citations"][0]["doc_id"] in DEMO["docs"]
    }
    assert cited == ours | also
    assert not {fact["doc_id"] for fact in FACTS if fact["id"] not in DEMO["facts"]} & set(
        DEMO["docs"]
    )


def test_the_last_seven_days_asked_about_the_demos_part_alone() -> None:
    week, month, half_a_day = 7 * 1440, 30 * 1440, 720
    for row in SOURCE["qa_cache"]:
        age = row["created_at_minutes_ago"]
        cited = row["citations"] and row["citations"][0]["doc_id"] in DEMO["docs"]
        assert (
            age < week - half_a_day
            if cited and age < month
            else age > week + half_a_day or (cited and age > month)
        )


def test_positive_feedback_joins_a_document_that_holds_the_answer() -> None:
    fact_of = {h: fact for fact in FACTS for h in fact["qhashes"] + fact["also"]}
    dirt = DIRT["feedback"]
    kinds = [kind for kind in dirt if kind.startswith(("missing_", "null_", "positive_"))]
    listed = {line for kind in kinds for line in dirt[kind]}
    joined = set()
    for line, row in enumerate(SOURCE["feedback"], 1):
        if row["signal"] == 1 and line not in listed:
            fact = fact_of[row["query_hash"]]
            assert accepts(fact, DOCUMENTS[row["doc_id"]]["content"])
            joined.add(fact["id"])
    assert joined == {fact["id"] for fact in FACTS}


def test_negative_feedback_joins_a_document_without_the_answer_unless_contradictory() -> None:
    fact_of = {h: fact for fact in FACTS for h in fact["qhashes"] + fact["also"]}
    contradictory = {entry["row"] for entry in DIRT["feedback"]["contradictory"]}
    for line, row in enumerate(SOURCE["feedback"], 1):
        if row["signal"] == -1 and row["query_hash"] in fact_of and row["doc_id"] in DOCUMENTS:
            holds = accepts(fact_of[row["query_hash"]], DOCUMENTS[row["doc_id"]]["content"])
            assert holds == (line in contradictory)


# --- Dirt ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TEXTS)
@pytest.mark.parametrize("group", ["personal_data", "text"])
def test_the_listed_text_dirt_is_there_and_there_is_no_other(table: str, group: str) -> None:
    detectors = PERSONAL_DATA if group == "personal_data" else TEXT_DIRT
    found = {kind: texts_where(table, detect) for kind, detect in detectors.items()}
    assert {kind: keys for kind, keys in found.items() if keys} == DIRT[table].get(group, {})


def holds_text(row: Row, table: str, detect: Callable[[str], bool]) -> bool:
    return any(detect(row[column]) for column in TEXTS[table] if row[column])


def texts_where(table: str, detect: Callable[[str], bool]) -> list[Any]:
    return keys_where(table, lambda row: holds_text(row, table, detect))


def test_every_kind_of_personal_data_and_text_dirt_occurs() -> None:
    for group, kinds in (("personal_data", PERSONAL_DATA), ("text", TEXT_DIRT)):
        assert set(DIRT["qa_cache"][group]) == set(kinds)
        assert set(DIRT["messages"][group]) == set(kinds)


def test_personal_data_is_at_example_com() -> None:
    for table in TABLES:
        for address in re.findall(r"[\w.+-]+@[\w.-]+\w", json.dumps(SOURCE[table])):
            assert address.endswith("@example.com")


def test_lookalikes_are_no_personal_data() -> None:
    for table in ("qa_cache", "messages"):
        for row in SOURCE[table]:
            if row[KEYS[table]] in DIRT[table]["lookalikes"]:
                assert not any(holds_text(row, table, d) for d in PERSONAL_DATA.values())
                assert any(re.search(r"\d{4}", row[c] or "") for c in TEXTS[table])


def is_blank(text: str | None) -> bool:
    return text is not None and not text.strip()


CONVERSATIONS = {row["id"] for row in SOURCE["conversations"]}
CUSTOMERS = {row["id"] for row in SOURCE["customers"]}
SPEAKERS: dict[int, list[str]] = {}
for message in SOURCE["messages"]:
    SPEAKERS.setdefault(message["conversation_id"], []).append(message["sender_type"])

ROW_DIRT: list[tuple[str, str, Callable[[Row], bool]]] = [
    ("docs", "empty_content", lambda r: is_blank(r["content"])),
    ("qa_cache", "empty_answers", lambda r: is_blank(r["answer"])),
    ("qa_cache", "null_answers", lambda r: r["answer"] is None),
    ("qa_cache", "empty_questions", lambda r: is_blank(r["question"])),
    ("qa_cache", "empty_citations", lambda r: r["citations"] == []),
    ("qa_cache", "null_citations", lambda r: r["citations"] is None),
    (
        "qa_cache",
        "dangling_citations",
        lambda r: any(c["doc_id"] not in DOCUMENTS for c in r["citations"] or []),
    ),
    (
        "qa_cache",
        "unanswered",
        lambda r: bool(re.match("I could not find|Não encontrei", r["answer"] or "")),
    ),
    (
        "feedback",
        "missing_question",
        lambda r: (
            r["query_hash"] is not None
            and r["query_hash"] not in QUESTIONS
            and r["doc_id"] in DOCUMENTS
        ),
    ),
    (
        "feedback",
        "missing_document",
        lambda r: (
            r["doc_id"] is not None
            and r["doc_id"] not in DOCUMENTS
            and r["query_hash"] in QUESTIONS
        ),
    ),
    (
        "feedback",
        "missing_both",
        lambda r: r["query_hash"] not in QUESTIONS and r["doc_id"] not in DOCUMENTS,
    ),
    ("feedback", "null_document", lambda r: r["doc_id"] is None),
    ("feedback", "null_question", lambda r: r["query_hash"] is None),
    ("feedback", "other_signals", lambda r: r["signal"] not in (1, -1)),
    (
        "feedback",
        "positive_for_null_answer",
        lambda r: (
            r["signal"] == 1
            and r["query_hash"] in QUESTIONS
            and QUESTIONS[r["query_hash"]]["answer"] is None
        ),
    ),
    (
        "feedback",
        "positive_to_empty_document",
        lambda r: (
            r["signal"] == 1
            and r["doc_id"] in DOCUMENTS
            and is_blank(DOCUMENTS[r["doc_id"]]["content"])
        ),
    ),
    ("customers", "null_email", lambda r: r["email"] is None),
    ("customers", "null_phone", lambda r: r["phone"] is None),
    ("conversations", "without_messages", lambda r: r["id"] not in SPEAKERS),
    (
        "conversations",
        "missing_customer",
        lambda r: r["customer_id"] is not None and r["customer_id"] not in CUSTOMERS,
    ),
    ("conversations", "null_customer", lambda r: r["customer_id"] is None),
    ("conversations", "null_subject", lambda r: r["subject"] is None),
    ("conversations", "longer_than_10_messages", lambda r: len(SPEAKERS.get(r["id"], [])) > 10),
    (
        "conversations",
        "customer_wrote_last",
        lambda r: (
            r["status"] in ("open", "pending") and SPEAKERS.get(r["id"], [""])[-1] == "customer"
        ),
    ),
    (
        "conversations",
        "closed_by_the_customers_word",
        lambda r: (
            r["status"] in ("closed", "resolved") and SPEAKERS.get(r["id"], [""])[-1] == "customer"
        ),
    ),
    ("messages", "missing_conversation", lambda r: r["conversation_id"] not in CONVERSATIONS),
    ("messages", "null_content", lambda r: r["content"] is None),
    ("messages", "empty_content", lambda r: is_blank(r["content"])),
    (
        "messages",
        "other_sender_types",
        lambda r: r["sender_type"] not in ("customer", "assistant", "agent"),
    ),
] + [
    (table, "older_than_30_days", lambda r: r["created_at_minutes_ago"] > WINDOW_MINUTES)
    for table in ("qa_cache", "feedback", "conversations", "messages")
]


@pytest.mark.parametrize(
    ("table", "kind", "holds"), ROW_DIRT, ids=[f"{table}-{kind}" for table, kind, _ in ROW_DIRT]
)
def test_the_listed_dirt_is_there_and_there_is_no_other(
    table: str, kind: str, holds: Callable[[Row], bool]
) -> None:
    listed = DIRT[table][kind]
    assert listed
    assert sorted(keys_where(table, holds)) == sorted(listed)


def pairs(table: str, kind: str) -> Iterator[tuple[Row, Row]]:
    """The two rows of each listed duplicate."""
    rows = dict(zip(keys_where(table, lambda _: True), SOURCE[table], strict=True))
    assert DIRT[table][kind]
    for entry in DIRT[table][kind]:
        assert entry["row"] != entry["of"]
        yield rows[entry["row"]], rows[entry["of"]]


EXACT = {
    "docs": ("title", "content"),
    "qa_cache": ("question", "answer"),
    "feedback": ("query_hash", "doc_id", "signal", "created_at_minutes_ago"),
    "conversations": ("session_id", "subject", "customer_id", "created_at_minutes_ago"),
    "messages": ("conversation_id", "content", "sender_type", "created_at_minutes_ago"),
}


@pytest.mark.parametrize("table", EXACT)
def test_exact_duplicates_are_those_listed(table: str) -> None:
    for duplicate, original in pairs(table, "exact_duplicates"):
        assert all(duplicate[column] == original[column] for column in EXACT[table])
    values = Counter(tuple(row[column] for column in EXACT[table]) for row in SOURCE[table])
    repeated = sum(count - 1 for count in values.values())
    assert repeated == len(DIRT[table]["exact_duplicates"])


@pytest.mark.parametrize("table", ["docs", "qa_cache", "messages"])
def test_near_duplicates_are_near_and_not_exact(table: str) -> None:
    column = TEXTS[table][0] if table == "qa_cache" else "content"
    for duplicate, original in pairs(table, "near_duplicates"):
        assert duplicate[column] != original[column]
        words, others = (set(re.findall(r"\w+", row[column])) for row in (duplicate, original))
        assert len(words & others) >= 0.4 * len(words | others)


def test_the_customer_who_is_there_twice_differs_only_in_the_source() -> None:
    for duplicate, original in pairs("customers", "near_duplicates"):
        different = {name for name in duplicate if duplicate[name] != original[name]}
        assert different == {"id", "source"}


def test_contradictory_votes_are_on_one_question_and_document() -> None:
    for down, up in pairs("feedback", "contradictory"):
        assert (down["query_hash"], down["doc_id"]) == (up["query_hash"], up["doc_id"])
        assert (down["signal"], up["signal"]) == (-1, 1)


def test_the_messages_of_the_copied_conversation_repeat_the_original() -> None:
    def said(conversation: int) -> list[str]:
        rows = SOURCE["messages"]
        return [row["content"] for row in rows if row["conversation_id"] == conversation]

    entry = DIRT["conversations"]["exact_duplicates"][0]
    assert said(entry["row"]) == said(entry["of"])
    copied = keys_where("messages", lambda row: bool(row["conversation_id"] == entry["row"]))
    assert copied == DIRT["messages"]["copied_with_their_conversation"]
