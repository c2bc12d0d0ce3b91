"""Prints how fast a data set is prepared, and in how much memory: rows/s and peak MB.

python tests/benchmarks/prepare_benchmark.py [rows, default 1000000]
"""

import json
import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sophia_tui.datasets.pipeline import Request, prepare

WORDS = ("pedido", "entrega", "prazo", "queijo", "troca", "nota", "caixa", "frete", "leite", "café")


def write_rows(path: Path, rows: int) -> None:
    """Short question/answer rows: about 1 in 20 holds personal data, 1 in 50 is a duplicate."""
    chance = random.Random(42)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            question = " ".join(chance.choices(WORDS, k=8)) + f" {number}?"
            answer = " ".join(chance.choices(WORDS, k=20)) + '\n"certo"'
            if number % 20 == 0:
                answer += f" CPF 529.982.247-25, ligue (35) 9{number % 10000:04}-0101"
            if number % 50 or not number:
                row = {"question": question, "answer": answer, "citations": [{"doc_id": number}]}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        data, scratch = Path(folder, "data"), Path(folder, "scratch")
        data.mkdir()
        scratch.mkdir()
        write_rows(data / "rows.jsonl", rows)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = (data / "rows.jsonl").stat().st_size
        started = time.perf_counter()
        report = prepare(
            Request(
                folder=str(data),
                scratch=str(scratch),
                name="benchmark",
                created_at=datetime.now(UTC),
                target=str(Path(folder, "datasets")),
            ),
            lambda stage, done, total: None,
        )
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = report.manifest["counts"]
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB in {seconds:.1f} s: {rows / seconds:,.0f} rows/s")
    print(f"peak {peak / 1024:.0f} MB ({before / 1024:.0f} MB before)")
    print(f"{report.manifest['sum']}; {report.manifest['redactions']}; train {counts['train']:,}")


if __name__ == "__main__":
    main()
