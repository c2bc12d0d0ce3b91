"""The documents of a run folder, the light parts, and the program without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune import schema
from finetune.check_base import check_base
from finetune.files import locked
from finetune.journal import Journal
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune

WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "peft", "accelerate", "gguf"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from finetune.cli import main
sys.exit(main(sys.argv[1:]))
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_schema_imports_nothing_heavy() -> None:
    code = (
        "import sys, finetune.schema as s; s.load_recipe('demo'); "
        "print(sorted({'torch', 'transformers', 'peft', 'numpy', 'gguf'} & set(sys.modules)))"
    )
    assert python(code).stdout.strip() == "[]"


def test_without_torch_a_run_fails_and_says_what_to_install(make_run: MakeRun) -> None:
    run = make_run()
    done = python(WITHOUT_TORCH, "train", str(run))
    assert done.returncode == schema.EXIT_UNAVAILABLE
    assert "Traceback" not in done.stderr
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-501"
    assert "pip install" in failed["remedy"] and failed["remedy"] in done.stderr


def test_without_torch_help_and_check_base_work(tiny_base: Path) -> None:
    assert python(WITHOUT_TORCH, "--help").returncode == 0
    done = python(WITHOUT_TORCH, "check-base", str(tiny_base))
    report = json.loads(done.stdout)
    assert (report["kind"], report["found"]) == ("path", True)
    assert 600_000 < report["parameters"] < 1_000_000


def test_check_base_says_what_kind_a_name_is(tmp_path: Path) -> None:
    missing = check_base(str(tmp_path / "x.gguf"))
    assert (missing["kind"], missing["found"]) == ("gguf", False)
    assert missing["remedy"]
    assert check_base("./nowhere")["kind"] == "path"


def test_a_second_run_in_the_same_folder_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    with locked(run / schema.LOCK_FILE):
        assert finetune("train", run) == schema.EXIT_REFUSED
    assert not (run / "events.jsonl").exists()


def test_a_run_spec_survives_being_written_and_read(tmp_path: Path) -> None:
    spec = schema.RunSpec(job_id="ftjob-1", base="org/model", threads=2)
    schema.write_run_spec(tmp_path, spec)
    assert schema.load_run_spec(tmp_path) == spec


def test_numbers_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("learning_rate: 2e-4\n")
    assert schema.load_recipe(tmp_path / "recipe.yaml").learning_rate == 2e-4


@pytest.mark.parametrize("name", schema.recipe_names())
def test_each_recipe_opens_with_the_command_that_runs_it(name: str) -> None:
    schema.load_recipe(name)
    text = (schema.RECIPES_FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# python -m finetune train ")


def test_the_default_recipe_is_that_of_the_schema() -> None:
    assert schema.load_recipe("default") == schema.Recipe()


def test_an_unknown_key_is_named_and_its_value_is_not(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("job_id: a\nbase: b\ntokenn: SECRET\n")
    with pytest.raises(schema.ContractError, match="tokenn") as raised:
        schema.load_run_spec(tmp_path)
    assert "SECRET" not in str(raised.value)


def test_a_folder_without_run_yaml_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("train", tmp_path) == schema.EXIT_USAGE
    assert "FINETUNE-101" in capsys.readouterr().err


def test_a_torn_last_event_is_not_read_and_its_number_is_given_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.state("starting")
    journal.state("running")
    journal.close()
    with open(path, "ab") as file:
        file.write(b'{"number":3,"at')
    first = schema.read_events(path)
    assert [event.number for event in first.events] == [1, 2]
    again = Journal(path)
    again.warning("w")
    again.close()
    second = schema.read_events(path, after=2, offset=first.offset)
    assert [(event.number, event.kind) for event in second.events] == [(3, "warning")]
    assert second.offset == path.stat().st_size
