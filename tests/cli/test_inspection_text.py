"""An inspection as text: one table of issues, each section in words, in both languages."""

from collections.abc import Iterator
from typing import Any

import pytest

from sophia_tui.cli.output import render
from sophia_tui.datasets.inspection import PROBES
from sophia_tui.domain.passages import Table
from sophia_tui.i18n import set_language
from sophia_tui.services.inspect import (
    Bin,
    DestinationView,
    Distribution,
    FormCount,
    FoundIssue,
    InspectedFile,
    InspectedInput,
    InspectOutput,
    IssueLine,
    IssueList,
    RoleOrder,
)
from sophia_tui.services.inspection_words import SECTIONS, Teller

LINES = list(range(1, 21))
SHARE = {"count": 40, "share": 0.4}
CONTEXT = {"encoding": "o200k_base", "context": 65_536, "tokens": 3_393, "content_tokens": 2_556}
LENGTHS = {"mean": 36.5, "p0": 30, "p50": 38, "p90": 40, "p95": 41, "p99": 42, "longest": 43}
ALL: dict[str, Any] = {
    "near": {
        "rows": 100,
        "clusters": 1,
        "others": 19,
        "share": 0.19,
        "lines": LINES[1:],
        "largest": [{"kept": 1, "others": LINES[1:]}],
    },
    "contradictions": {
        "rows": 100,
        "pairs": 20,
        "first": [{"first": 1, "second": line, "differs": ["number", "date"]} for line in LINES],
    },
    "personal": {
        "count": 31,
        "rows": 30,
        "kinds": {"email": {"count": 31, "rows": 30, "lines": LINES}},
    },
    "secrets": {"count": 0, "rows": 0, "kinds": {}},
    "tokens": {
        "rows": 100,
        "images": 0,
        "counts": [
            {
                **CONTEXT,
                "answer_tokens": 1_198,
                "lengths": {**LENGTHS, "longest_line": 3},
                "cut": {"count": 30, "lines": LINES},
            }
        ],
        "model": None,
    },
    "languages": {
        "rows": 100,
        "whole": True,
        "languages": [{"language": "pt", **SHARE}],
        "undecided": {"count": 0, "share": 0.0},
        "mixed": {
            **SHARE,
            "lines": [{"line": line, "asked": "pt", "answered": "en"} for line in LINES],
        },
    },
    "topics": {
        "missing": None,
        "categories": None,
        "topics": {
            "rows": 100,
            "by": "somebody's",
            "items": [{"name": f"topic{each}", **SHARE, "lines": LINES[:5]} for each in range(30)],
            "rest": {"count": 2, "share": 0.02},
            "balance": 0.8,
            "diversity": 4.5,
        },
    },
    "answers": {
        "rows": 100,
        "turns": [[1, 100]],
        "answer_characters": {"mean": 43.7, "p5": 30, "p50": 41, "p95": 79},
        "short": {**SHARE, "lines": LINES},
        "copied": {"count": 0, "share": 0.0, "lines": []},
        "unusable": {**SHARE, "lines": LINES, "codes": {"json": 1}},
    },
    "constitutional": {
        "total": 12,
        "valid": 6,
        "success_rate": 0.5,
        "all_valid": False,
        "categories": {"care": 2, "honesty": 4},
        "category_count": 2,
        "categories_enough": False,
        "difficulty": {"hard": 3, "medium": 2, "easy": 1},
        "difficulty_shares": {"hard": 0.5, "medium": 0.3333, "easy": 0.1667},
        "difficulty_balanced": False,
        "same_ids": 2,
    },
}


@pytest.fixture(autouse=True)
def english_after() -> Iterator[None]:
    yield
    set_language("en")


def _found(files: int = 1, **sections: Any) -> InspectOutput:
    file = InspectedFile(file="/data/a b.jsonl", bytes=9, lines=10, rows=10, usable=8)
    kept = [file, file.model_copy(update={"file": "/data/b.jsonl", "lines": 500})]
    spread = dict.fromkeys(("least", "p5", "p25", "p50", "p75", "p95", "p99", "greatest"), 2)
    issues = {"no_answer": "error", "personal_data": "warning", "crlf": "note"}
    return InspectOutput(
        files=kept[:files],
        lines=510,
        rows=510,
        usable=500,
        duplicates=0,
        forms=[FormCount(form="chat", rows=500)],
        issues=[
            FoundIssue(
                code=code,
                severity=severity,
                count=216,
                reason="So it is.",
                places=[f"a b.jsonl:{line}" for line in LINES],
            )
            for code, severity in issues.items()
        ],
        roles=[RoleOrder(roles="user assistant", rows=500)],
        turns=Distribution(**spread, mean=2.0, histogram=[Bin(least=2, below=4, rows=500)]),
        characters=None,
        sections=sections,
        destinations=[
            DestinationView(
                destination="local",
                name="Here",
                verdict="after_preparing",
                why=["One thing.", "Another."],
                todo=["Do it."],
            ),
            DestinationView(
                destination="openai", name="There", verdict="unfit", why=["Too few."], todo=[]
            ),
        ],
        report="0f3a",
        kept=True,
    )


def test_issues_are_one_table_with_the_first_places() -> None:
    shown = render(_found(), False).splitlines()
    begin = shown.index("Issues")
    places = "1, 2, 3, 4, 5 and 211 more"
    assert [" ".join(each.split()) for each in shown[begin + 1 : begin + 3]] == [
        "Severity Count Code First places Reason",
        f"error 216 no_answer {places} So it is.",
    ]
    assert shown[begin + 5] == (
        "All lines of one issue: sophia prepare issues '/data/a b.jsonl' --code no_answer"
    )


def test_places_of_several_files_name_each_once() -> None:
    found = _found(2, personal={"count": 3, "rows": 3, "kinds": {"cpf": _held([9, 10, 11])}})
    shown = render(found, False)
    assert "a b.jsonl: 1, 2, 3, 4, 5 and 211 more" in shown
    assert "a b.jsonl: 9, 10; b.jsonl: 1" in shown  # the section counts on through both
    assert "sophia prepare issues /data --also personal --code personal_data" in shown


def _held(lines: list[int]) -> dict[str, Any]:
    return {"count": len(lines), "rows": len(lines), "lines": lines}


def test_every_section_has_words_and_short_lines() -> None:
    assert set(ALL) == set(SECTIONS) == set(PROBES)
    shown = render(_found(**ALL), False)
    for told in (
        "19 of 100 rows (19 %) say what another one says",
        "20 pairs of answers to one question can't both be right",
        "number, date",
        "e-mail address  31     30    1, 2, 3, 4, 5 and 25 more",
        "o200k_base  3,393   1,198       36.5  38          41          43",
        "30 rows are longer than the context of 65,536 tokens: 1, 2, 3, 4, 5 and 25 more.",
        "pt        40    40 %",
        "and 20 more",
        "smaller ones  2     2 %",
        "Rows that can't be used  40    40 %   1, 2, 3, 4, 5 and 35 more",
        "6 of 12 examples keep all rules; all should.",
        "hard        3     50 %",
        "sophia prepare issues '/data/a b.jsonl' --everything --code personal_data",
        "sophia prepare contradictions '/data/a b.jsonl'",
    ):
        assert told in shown, told
    sections = shown[shown.index("Near-duplicates") : shown.index("What it can be used for")]
    assert max(map(len, sections.splitlines())) <= 100
    for raw in ("content_tokens", "differs:", "lines:", "whole", "topic20"):
        assert raw not in shown, raw


def test_sections_are_told_in_portuguese() -> None:
    set_language("pt_BR")
    shown = render(_found(**ALL), False)
    for told in (
        "erro       216",
        "1, 2, 3, 4, 5 e mais 211",
        "Dados pessoais",
        "endereço de e-mail",
        "Chaves e senhas",
        "número, data",
        "65.536",
        "difícil",
        "Here: depois de preparado",
        "O que fazer: Do it.",
    ):
        assert told in shown, told
    english = {" rows", "Rows", " more", "Share", " of ", "None", "Kept", "All "}
    titles = {title for each in Teller(_found(**ALL)).sections() for title in _titles(each)}
    assert not [word for word in english if any(word in title for title in titles)]


def _titles(passage: Any) -> Iterator[str]:
    yield passage.title
    for part in passage.parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Table):
            yield from part.titles


def test_a_verdict_is_said_in_words_with_its_sentences_in_a_row() -> None:
    shown = render(_found(), False)
    assert "Here: once it is prepared\n  One thing. Another.\n  What to do: Do it.\n" in shown
    assert "There: not as it is\n  Too few." in shown
    assert "after_preparing" not in shown and ".," not in shown


def test_plain_text_has_a_line_for_each_figure() -> None:
    shown = render(_found(**ALL), True)
    assert "Severity: error\nCount: 216\nCode: no_answer\n" in shown
    assert "Kind: e-mail address\nCount: 31\n" in shown


def test_a_section_that_nobody_has_words_for_is_shown_plainly() -> None:
    shown = render(_found(measured={"by": {"kind": "\x1b[31m"}, "rows": 1204}), False)
    assert "\nmeasured\nby: kind: ␛[31m\nrows: 1,204\n" in shown


def test_json_keeps_everything() -> None:
    found = _found(**ALL).model_dump(mode="json")
    assert found["sections"] == ALL
    assert len(found["issues"][0]["places"]) == 20
    assert found["destinations"][0]["verdict"] == "after_preparing"


def test_severities_of_lines_are_words() -> None:
    line = IssueLine(
        file="a.jsonl", line=1, code="crlf", severity="warning", reason="So.", details={}
    )
    set_language("pt_BR")
    assert "aviso" in render(IssueList(total=1, items=[line]), False)


def test_the_help_of_also_names_every_section() -> None:
    described = InspectedInput.model_fields["also"].description or ""
    assert all(name in described for name in PROBES)
