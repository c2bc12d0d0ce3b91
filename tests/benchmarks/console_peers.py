"""The consoles beside which ours is measured, pinned, each in a virtual environment of its own
below the cache folder; and the keys that do there what ours do here."""

import os
import subprocess
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.console_terminal import cache


@dataclass(frozen=True)
class Press:
    """`keys` and the words that the picture shows then; `back` returns to where they were typed."""

    what: str
    keys: str
    words: tuple[str, ...] = ()
    back: str = "\x1b"


@dataclass(frozen=True)
class Peer:
    """`arguments` are made for a folder of its own; `painted` are words of its first picture.
    `limits` is what is not compared, in words."""

    package: str
    arguments: Callable[[Path], list[str]]
    painted: tuple[str, ...]
    presses: tuple[Press, ...]
    before: str = ""
    limits: str = ""

    @property
    def name(self) -> str:
        return self.package.partition("==")[0]

    def command(self, folder: Path) -> list[str]:
        """What starts it, installed on first use."""
        home = cache() / self.package
        program = home / "bin" / self.name
        if not program.exists():
            venv.create(home, with_pip=True, clear=True)
            subprocess.run([home / "bin" / "pip", "install", "--quiet", self.package], check=True)
        return [str(program), *self.arguments(folder)]

    def environment(self, folder: Path) -> dict[str, str]:
        kept = ("PATH", "LD_LIBRARY_PATH")
        (folder / "home").mkdir(exist_ok=True)
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(folder / "home"),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }


def _database(folder: Path) -> list[str]:
    return ["--no-download-tzdata", str(folder / "small.db")]


def _collection(folder: Path) -> list[str]:
    made = folder / "collection"
    made.mkdir(exist_ok=True)
    for number in range(8):
        text = f"name: Request {number}\nurl: http://127.0.0.1:9/{number}\n"
        (made / f"request-{number}.posting.yaml").write_text(text)
    return ["--collection", str(made)]


_PALETTE = ("Search for commands",)
PEERS = (
    Peer(
        "harlequin==2.17.0",
        _database,
        ("Data Catalog", "Run Query", "Quit"),
        (
            Press("help", "\x1bOP"),
            Press("palette", "\x10", _PALETTE),
            Press("screen", "\x1b[19~", ("Query History",)),
            Press("cursor", "\t", back=""),
        ),
    ),
    Peer(
        "posting==2.11.1",
        _collection,
        ("Collection", "Request", "Response", "Send"),
        (
            Press("help", "\x1bOP"),
            Press("palette", "\x10", _PALETTE),
            Press("screen", "\x0f"),
            Press("cursor", "\t", back=""),
        ),
    ),
    Peer(
        "dolphie==6.18.0",
        lambda _folder: ["--tab-setup"],
        ("Connect to a Host", "Username"),
        (Press("palette", "?", _PALETTE), Press("screen", "`", ("Connect to a Host",))),
        before="\x1b",
        limits="no MySQL here: its window that asks for one, and what opens without",
    ),
)
