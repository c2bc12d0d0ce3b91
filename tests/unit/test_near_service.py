"""Near-duplicates and contradictions as people ask for them: pages, places, and the question."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets.inspection import Asked, inspect
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.errors import NotFoundError, RefusedError, UnconfirmedError
from sophia_tui.paths import Paths
from sophia_tui.services import near
from sophia_tui.services.near import NearInput, NearService
from sophia_tui.settings import load

ROWS = (
    ("Qual é o horário da loja de Santos?", "A loja abre às 9 horas."),
    ("Vocês vendem queijo?", "Sim, vendemos queijo de todo tipo."),
    ("QUAL E O HORARIO DA LOJA DE SANTOS", "a loja abre às 9 horas"),
    ("Vocês vendem queijo?", "Não, queijo nós não vendemos mais."),
)


def context(**options: Any) -> Context:
    return Context("ana", Face.CLI, Role.OPERATOR, **options)


@pytest.fixture
def service(tmp_path: Path) -> NearService:
    folder = tmp_path / "finetune"
    folder.mkdir()
    rows = [json.dumps({"question": one, "answer": two}) + "\n" for one, two in ROWS]
    (folder / "a.jsonl").write_text("broken\n" + "".join(rows[:2]))
    (folder / "b.jsonl").write_text("\n" + "".join(rows[2:]))
    settings = load({"FINETUNE_DIR": str(folder)})
    return NearService(settings, Paths(tmp_path / "data"))


def test_clusters_have_their_lines_and_what_is_kept(service: NearService) -> None:
    found = asyncio.run(service.duplicates(context(), NearInput()))
    assert (found.rows, found.total, found.others) == (4, 1, 1)
    [cluster] = found.items
    assert (cluster.kept, cluster.places) == ("a.jsonl:2", ["b.jsonl:2"])
    assert cluster.others[0].question == ROWS[2][0]


def test_contradictions_stand_side_by_side(service: NearService) -> None:
    found = asyncio.run(service.contradictions(context(), NearInput()))
    [pair] = found.items
    assert (pair.first, pair.second, pair.differs) == ("a.jsonl:3", "b.jsonl:3", "yes or no")
    assert (pair.first_answer, pair.second_answer) == (ROWS[1][1], ROWS[3][1])


def test_a_page_is_read_from_what_was_found(
    service: NearService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(service.duplicates(context(), NearInput()))
    monkeypatch.setattr(NearService, "_search", None)
    page = asyncio.run(service.duplicates(context(), NearInput(offset=1)))
    assert (page.total, page.items) == (1, [])


def test_much_memory_is_asked_about(service: NearService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "UNASKED_MB", 1)
    with pytest.raises(UnconfirmedError) as asked:
        asyncio.run(service.duplicates(context(), NearInput()))
    assert asked.value.details["megabytes"] > 1
    assert asyncio.run(service.duplicates(context(confirmed=True), NearInput())).total == 1


def test_a_path_is_looked_for_and_refused_from_afar(service: NearService) -> None:
    with pytest.raises(NotFoundError):
        asyncio.run(service.duplicates(context(), NearInput(path="nowhere.jsonl")))
    afar = Context("ana", Face.API, Role.OPERATOR)
    with pytest.raises(RefusedError):
        asyncio.run(service.duplicates(afar, NearInput(path="/etc/passwd")))


def test_an_inspection_has_both_as_sections(service: NearService, tmp_path: Path) -> None:
    files = tuple(str(tmp_path / "finetune" / name) for name in ("a.jsonl", "b.jsonl"))
    (tmp_path / "report").mkdir()
    asked = Asked(files, 1000, ("near", "contradictions"))
    report = inspect(asked, tmp_path / "report", lambda *_told: None)
    sections = report["sections"]
    assert sections["near"]["largest"] == [{"kept": 2, "others": [5]}]
    assert sections["near"]["share"] == 0.25
    assert sections["contradictions"]["first"] == [{"first": 3, "second": 6, "differs": ["yes_no"]}]
