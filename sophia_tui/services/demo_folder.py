"""The demo's own folder below the data folder: its data, its env file, how far it came."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sophia_tui import envfile
from sophia_tui.domain.samples import DEMO_BASE, DEMO_QUESTIONS
from sophia_tui.errors import ConflictError, NotFoundError
from sophia_tui.files import write_problem, write_whole
from sophia_tui.i18n import _
from sophia_tui.paths import Paths

#: What the invented owner's service used before; the first demo promotes in its place.
_ENV = """\
# Stands in for the env file of the service that answers questions. `sophia demo` promotes into
# this file alone; nothing reads it.
GEN_MODEL=gpt-4o-mini
EXPANSION_MODEL=gpt-4o-mini
SUMMARY_MODEL=gpt-4o-mini
"""
_ADDRESS = "OPENAI_BASE_URL"
#: Sets of graded questions, by the file's name in the samples.
HELDOUT, GENERAL = "heldout_questions", "general_questions"


@dataclass(frozen=True)
class Question:
    """A held-out question and one of its right answers."""

    question: str
    expected: str


@dataclass(frozen=True)
class DemoState:
    """Since when a demo is under way (ISO 8601; None: the last one came to its end), and the model
    that the last one left behind as served."""

    began: str | None = None
    served: str | None = None


class DemoFolder:
    """Makes nothing until `make` or `locked`."""

    def __init__(self, paths: Paths) -> None:
        self._models = paths.models
        self.path = paths.data / "demo"
        self.finetune = self.path / "finetune"
        self.env_file = self.path / "app.env"
        self.history = self.path / "history.jsonl"

    def base(self) -> str:
        """The base model that the installer fetched. Raises NotFoundError M410."""
        path = self._models / DEMO_BASE
        if not path.is_file():
            raise NotFoundError(
                "M410",
                _("The demo's base model is not there."),
                str(path),
                _("Run `./install_sophia_llm.sh --demo`: it fetches the model first."),
            )
        return str(path)

    def make(self, address: str) -> None:
        """The folders, and the env file where there is none; it names where served models answer.

        Raises SetupError S101.
        """
        self._make_folder(self.finetune)
        text = self.env_file.read_text(encoding="utf-8") if self.env_file.exists() else _ENV
        changed = text
        if envfile.values(text).get(_ADDRESS) != address:
            changed = envfile.change(text, {_ADDRESS: address})
        if changed != text or not self.env_file.exists():
            write_whole(self.env_file, changed.encode("utf-8"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One demo at a time in one data folder. Raises ConflictError S331, SetupError S101."""
        self._make_folder(self.path)
        with (self.path / "lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    "S331",
                    _("Another demo is running here."),
                    remedy=_("Wait until it has ended; `sophia jobs list` shows its jobs."),
                ) from None
            yield

    def read_state(self) -> DemoState:
        """What the last demo left; a torn or foreign file counts as nothing."""
        try:
            found = json.loads((self.path / "state.json").read_bytes())
            return DemoState(**found)
        except (OSError, ValueError, TypeError):
            return DemoState()

    def write_state(self, state: DemoState) -> None:
        """Raises SetupError S101."""
        write_whole(self.path / "state.json", json.dumps(asdict(state)).encode("utf-8"))

    def questions(self) -> list[Question]:
        """The held-out questions that the demo shows with their answers, in order."""
        found = {
            row["id"]: Question(row["question"], row["accepted"][0]) for row in self._rows(HELDOUT)
        }
        return [found[each] for each in DEMO_QUESTIONS]

    def question_sets(self) -> dict[str, str]:
        """Files of graded questions by name: wordings that training never saw, of the part that the
        demo learns; and general questions, which show what was forgotten. Raises SetupError S101.
        """
        files = {}
        for name in (HELDOUT, GENERAL):
            rows = [row for row in self._rows(name) if row.get("demo", True)]
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path = self.path / f"{name}.jsonl"
            write_whole(path, "".join(lines).encode("utf-8"))
            files[name] = str(path)
        return files

    def _rows(self, name: str) -> list[dict[str, Any]]:
        from finetune.schema import RECIPES_FOLDER

        path = RECIPES_FOLDER.parent / "samples" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as problem:
            raise write_problem(folder, problem) from problem
