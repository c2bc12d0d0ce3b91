"""What the shells offer, asked of the shells themselves; zsh and fish where they are installed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sophia_tui.cli.completion import script
from sophia_tui.cli.main import main
from sophia_tui.services.catalogue import registry
from tests import seeded

#: A `sophia` that answers for names, notes that it was asked, and has one that a shell could obey.
STUB = """#!/bin/sh
echo "$*" >>"$0.asked"
case "$*" in
  "completion names jobs") printf 'ftjob-one\\nftjob-two\\n$(touch pwned)\\n' ;;
  "completion names models") printf 'ft:gpt-4o::B1\\nsophia-v1\\n' ;;
  "completion names datasets") printf 'town@0a1b\\nvillage@2c3d\\n' ;;
esac
"""

BASH = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
COMP_WORDBREAKS=$' \\t\\n"\\'@><=;|&(:'
_sophia
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
compdef() { }
compset() { PREFIX=${PREFIX#*=} }
_files() { print -- FILES }
compadd() { shift; local each; for each; do [[ $each == ${PREFIX}* ]] && print -r -- $each; done }
_describe() { local each; for each in ${(P)4}; do each=${each%%:*}
  [[ $each == ${PREFIX}* ]] && print -r -- $each; done }
source $1
words=(${(z)2}) ; [[ $2 == *' ' ]] && words+=('')
CURRENT=$#words PREFIX=$words[-1]
_sophia
"""

FISH = """source $argv[1]; complete -C $argv[2]"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stub = tmp_path / "sophia"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return tmp_path


def offered(shell: str, line: str, folder: Path) -> list[str]:
    """What is offered for a line with the cursor at its end."""
    file = folder / f"completion.{shell}"
    if not file.exists():
        file.write_text(script(shell))
    program = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    start = {
        "bash": ["bash", "--norc", "-uc", program, "bash"],
        "zsh": ["zsh", "-fc", program, "zsh"],
        "fish": ["fish", "--no-config", "-c", program],
    }[shell]
    ran = subprocess.run(
        [*start, str(file), line],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8"},
        timeout=60,
    )
    assert ran.stderr == "", ran.stderr
    found = [each.split("\t")[0] for each in ran.stdout.splitlines()]
    return sorted(each for each in found if each)


def shells() -> list[object]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"),
        )
        for name in ("bash", "zsh", "fish")
    ]


@pytest.mark.parametrize("shell", shells())
def test_verbs_options_and_choices_are_offered_and_sophia_is_not_asked(
    shell: str, folder: Path
) -> None:
    verbs = sorted(each.verb for each in registry() if each.subject == "jobs")
    assert offered(shell, "sophia jobs ", folder) == verbs
    assert {"jobs", "train", "serve", "completion"} <= set(offered(shell, "sophia ", folder))
    assert offered(shell, "sophia comp", folder) == ["completion"]
    assert offered(shell, "sophia completion ", folder) == ["bash", "fish", "zsh"]
    options = offered(shell, "sophia train start --", folder)
    assert {"--base", "--accept-few", "--no-accept-few", "--json", "--quiet"} <= set(options)
    line = "sophia --lang pt_BR --json prepare convert a.jsonl --to hosted"
    assert offered(shell, line, folder) == ["hosted_pairs"]
    assert offered(shell, "sophia serve api --po", folder) == ["--port"]
    assert not (folder / "sophia.asked").exists()


@pytest.mark.parametrize("shell", shells())
def test_names_are_those_that_are_there(shell: str, folder: Path) -> None:
    assert offered(shell, "sophia jobs show ftjob-t", folder) == ["ftjob-two"]
    assert offered(shell, "sophia train start vil", folder)[0].startswith("village")
    assert offered(shell, "sophia evaluate compare sophia-v1 soph", folder) == ["sophia-v1"]
    offered(shell, "sophia jobs show ", folder)
    assert not (folder / "pwned").exists()


def test_bash_completes_behind_its_word_breaks(folder: Path) -> None:
    assert offered("bash", "sophia models show ft:g", folder) == ["gpt-4o::B1"]
    assert offered("bash", "sophia datasets show town@0", folder) == ["0a1b"]
    assert offered("bash", "sophia prepare convert --to=conv", folder) == ["conversations"]


def test_every_operation_and_option_stands_in_every_script() -> None:
    for shell in ("bash", "zsh", "fish"):
        text = script(shell)
        for each in registry():
            assert f"{each.name})" in text or f"case {each.name}\n" in text


def test_bash_offers_verbs_within_a_seventh_of_a_second(folder: Path) -> None:
    offered("bash", "sophia ", folder)
    fastest = 1.0
    for _n in range(5):
        begun = time.perf_counter()
        offered("bash", "sophia train start --ba", folder)
        fastest = min(fastest, time.perf_counter() - begun)
    assert fastest < 0.15


async def test_names_come_from_the_store_and_are_kept_for_seconds(
    store_url: str, tmp_path: Path
) -> None:
    from sophia_tui.paths import Paths
    from sophia_tui.settings import load
    from sophia_tui.store.own import open_store

    store = await open_store(load({"SOPHIA_STORE_URL": store_url}), Paths(tmp_path / "data"))
    await seeded.fill(store, tmp_path)
    await store.close()
    environment = {
        **os.environ,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "SOPHIA_STORE_URL": store_url,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def names(kind: str, **other: str) -> list[str]:
        return subprocess.run(
            [sys.executable, "-m", "sophia_tui.cli.main", "completion", "names", kind],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**environment, **other},
        ).stdout.splitlines()

    assert seeded.RUNNING in names("jobs")
    assert seeded.NEWEST_MODEL in names("models")
    assert any(each.startswith("town@") for each in names("datasets"))
    assert names("schedules") == [seeded.SCHEDULE]
    for kept in (tmp_path / "cache" / "sophia").glob("names-jobs-*"):
        os.utime(kept)  # as if it were asked for just now, however slow this machine is
    nobody = "postgresql://nobody@127.0.0.1:9/none"
    assert seeded.RUNNING in names("jobs", SOPHIA_STORE_URL=nobody)  # those of seconds ago
    elsewhere = str(tmp_path / "elsewhere")
    assert names("jobs", SOPHIA_STORE_URL=nobody, XDG_CACHE_HOME=elsewhere) == []


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2
    assert "SOPHIA-U472" in capsys.readouterr().err
