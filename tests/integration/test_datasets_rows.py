"""datasets.rows: each kept record with its text and the row it comes from, over a real version."""

import json
from pathlib import Path

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import NotFoundError
from sophia_tui.services.datasets import DatasetsService, RowsInput

CONTEXT = Context("ana", Face.CLI, Role.VIEWER)
#: Part, file, line, question: in the order in which a version lists origins, parts mixed.
ROWS = [
    ("valid", "a.jsonl", 3, "Where is the key?"),
    ("train", "a.jsonl", 1, "When do you open?"),
    ("train", "b.jsonl", 7, "Onde fica a CHAVE?"),
]


@pytest.fixture
async def service(store: Store, tmp_path: Path) -> DatasetsService:
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    origins = []
    for part, file, line, question in ROWS:
        said = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": f"Answer {line}"},
        ]
        parts[part].append(json.dumps({"messages": said}))
        source = {"table": "public.qa_cache", "key": {"qhash": str(line)}}
        origins.append(json.dumps({"part": part, "file": file, "line": line, "source": source}))
    for part, lines in parts.items():
        (tmp_path / f"{part}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "provenance.jsonl").write_text("".join(f"{line}\n" for line in origins))
    await store.datasets.add(DatasetVersion("town", "a" * 64, str(tmp_path), {"rows_in": 3}))
    return DatasetsService(store.datasets)


async def asked(service: DatasetsService, **request) -> list[tuple[str, int, str]]:
    found = await service.rows(CONTEXT, RowsInput(dataset="town", **request))
    return [(each.part, each.line, each.question) for each in found.items]


async def test_every_record_stands_beside_its_own_origin(service: DatasetsService) -> None:
    assert await asked(service) == [(part, line, text) for part, _file, line, text in ROWS]
    [first, *_rest] = (await service.rows(CONTEXT, RowsInput(dataset="town"))).items
    assert first.answer == "Answer 3"
    assert first.source == {"table": "public.qa_cache", "key": {"qhash": "3"}}


async def test_part_text_limit_and_offset_choose(service: DatasetsService) -> None:
    assert [line for _part, line, _text in await asked(service, part="train")] == [1, 7]
    assert [line for _part, line, _text in await asked(service, text="chave")] == [7]
    assert [line for _part, line, _text in await asked(service, text="answer 3")] == [3]
    assert [line for _part, line, _text in await asked(service, offset=1, limit=1)] == [1]


async def test_a_version_whose_folder_is_gone_says_so(
    service: DatasetsService, tmp_path: Path
) -> None:
    (tmp_path / "provenance.jsonl").unlink()
    with pytest.raises(NotFoundError, match="D405"):
        await asked(service)
