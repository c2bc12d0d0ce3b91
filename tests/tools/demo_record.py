"""A recorded run of the demo, and the store that it filled once more: what was really measured.

    python -m tests.tools.demo_record DATA_FOLDER

keeps what `sophia demo` has left in that folder: the runs' own files and the rows that nothing
but a model can make. `replay` does the rest again: it loads the sample, collects and prepares by
the services, and takes in events, models and scores as the worker does.
"""

import argparse
import gzip
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from sophia_tui.domain.context import Face
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.wiring import House
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observer

FILE = Path(__file__).with_name("demo_run.json.gz")
PERSON, HOST = "maria", "desk-1"
#: Stands for the data folder in what is kept.
_DATA = "@DATA@"
_KEPT = ("run.yaml", "events.jsonl", "manifest.json", "evaluation.json")
_ADAPTER = "adapter/adapter_config.json"
#: Rows that are put back as they were; jobs are taken in anew.
_TABLES = ("promotions", "deployments", "model_checks", "model_remarks", "served_requests")
_PEOPLE = {"created_by", "by", "actor", "state_by"}
_HOSTS = {"host", "worker_id"}
#: What a job's row says once its run was looked at.
_OBSERVED = ("step", "total_steps", "loss", "seconds_left", "result", "resulting_model", "error")
_PROCESS = ("pid", "boot_id", "process_started", "heartbeat_at", "worker_id", "finished_at")


def record(data: Path) -> None:
    """Keep the run that lies in a data folder whose store is started: the jobs that succeeded, and
    the last promotion that did."""
    url = EmbeddedServer(data / "postgres").url()
    rows: dict[str, list[Any]] = {}
    with psycopg.connect(url) as connection:
        for table in ("jobs", *_TABLES):
            query = sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY 1").format(_name(table))
            rows[table] = [_anonymous(row) for (row,) in connection.execute(query).fetchall()]
        began = connection.execute("SELECT min(at) FROM sophia.audit").fetchone()
    rows["promotions"] = [each for each in rows["promotions"] if each["state"] == "done"][-1:]
    for table in ("model_checks", "model_remarks"):
        rows[table] = rows[table][-1:]
    rows["jobs"] = [each for each in rows["jobs"] if each["state"] == "succeeded"]
    rows["jobs"].sort(key=lambda each: each["created_at"])
    for each in rows["jobs"]:  # a replay writes nowhere else
        each["request"]["history_file"] = str(data / "demo" / "history.jsonl")
    runs = {
        each["id"]: {
            name: path.read_text(encoding="utf-8")
            for name in (*_KEPT, _ADAPTER)
            if (path := data / "runs" / each["id"] / name).is_file()
        }
        for each in rows["jobs"]
    }
    env = (data / "demo" / "app.env").read_text(encoding="utf-8")
    assert began is not None
    kept = {"began": began[0].isoformat(), "rows": rows, "runs": runs, "env": env}
    text = json.dumps(kept, ensure_ascii=False, sort_keys=True).replace(str(data), _DATA)
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))


def _name(table: str) -> sql.Identifier:
    return sql.Identifier("sophia", table)


def _anonymous(value: Any) -> Any:
    """Without who ran it, and on which machine."""
    if isinstance(value, list):
        return [_anonymous(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _anonymous(each) for key, each in value.items()}
    for key in found:
        if found[key] and isinstance(found[key], str):
            found[key] = PERSON if key in _PEOPLE else HOST if key in _HOSTS else found[key]
    return found


class Clock:
    """Stands still where it is set."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def environment(data: Path) -> dict[str, str]:
    """Of a house on that data folder: its embedded store, the demo's own files."""
    return {
        "SOPHIA_DATA_DIR": str(data),
        "FINETUNE_DIR": str(data / "demo" / "finetune"),
        "FINETUNE_HISTORY": str(data / "demo" / "history.jsonl"),
        "SOPHIA_MANAGED_ENV_FILES": str(data / "demo" / "app.env"),
        "SOPHIA_ROLES": f"{PERSON}=admin",
        "XDG_CACHE_HOME": str(data / "cache"),
        "LANG": "C.UTF-8",
    }


async def replay(data: Path) -> tuple[House, Clock]:
    """An open house whose clock stands right after the recorded run. Nothing is trained or asked:
    what a model made is taken in from the record, everything else is done again."""
    found = json.loads(gzip.decompress(FILE.read_bytes()).decode().replace(_DATA, str(data)))
    clock = Clock(datetime.fromisoformat(found["began"]))
    house = House(environment(data))
    house.clock = clock  # type: ignore[assignment]
    house.actor = PERSON
    folder = data / "demo" / "finetune"
    folder.mkdir(parents=True)
    (data / "demo" / "app.env").write_text(found["env"], encoding="utf-8")
    await _collected_and_prepared(house, folder, found["rows"]["jobs"][0]["dataset"])
    store = await house.store()
    url = EmbeddedServer(data / "postgres").url()
    finisher, observer = Finisher(clock, house.settings), Observer()
    for row in found["rows"]["jobs"]:
        _lay_out(Path(row["run_folder"]), found["runs"][row["id"]])
        blank = {**dict.fromkeys((*_OBSERVED, *_PROCESS)), "last_event": 0, "event_offset": 0}
        _put(url, "jobs", [{**row, **blank, "state": "running"}])
        job = await store.jobs.get(row["id"])
        assert job is not None
        seen = await observer.copy(store.jobs, job)
        job = await store.jobs.get(row["id"])
        assert job is not None
        job = await store.jobs.update(job.id, version=job.version, **seen.figures)
        clock.at = datetime.fromisoformat(row["finished_at"])
        await finisher.succeed(store, job, seen)
    for table in _TABLES:
        _put(url, table, found["rows"][table])
    clock.at = max([clock.at, *map(datetime.fromisoformat, _moments(found["rows"]))])
    return house, clock


def _moments(rows: Mapping[str, list[Any]]) -> Iterator[str]:
    """When the last things happened."""
    yield from (each["finished_at"] for each in rows["promotions"] if each.get("finished_at"))
    yield from (each["at"] for each in rows["served_requests"])


async def _collected_and_prepared(house: House, folder: Path, recorded: str) -> None:
    async def ask(name: str, request: Mapping[str, Any]) -> Any:
        return await house.dispatcher.call(name, request, house.context(Face.CLI, confirmed=True))

    await ask("samples.load", {})
    await ask("collect.run", {"folder": str(folder), "window_days": 7})
    asked = {"folder": str(folder), "files": ["qa_cache.jsonl"], "name": "demo", "split": "90/10"}
    made = await ask("prepare.run", asked)
    moment = house.clock.now().timestamp()
    for path in folder.rglob("*"):
        os.utime(path, (moment, moment))
    # the record is of another state of the sample, else: record a demo anew
    assert made.dataset.id == recorded, (made.dataset.id, recorded)


def _lay_out(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _put(url: str, table: str, rows: list[Any]) -> None:
    query = sql.SQL(
        "INSERT INTO {name} OVERRIDING SYSTEM VALUE"
        " SELECT * FROM jsonb_populate_recordset(NULL::{name}, %s)"
    ).format(name=_name(table))
    with psycopg.connect(url) as connection:
        connection.execute(query, [json.dumps(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    record(parser.parse_args().data)
    print(FILE)


if __name__ == "__main__":
    main()
