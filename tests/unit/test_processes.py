"""How many processes share a training."""

from pathlib import Path

import pytest

from sophia_tui.providers.processes import together, visible_gpus

TRAIN = ["/python", "-m", "finetune", "train", "/runs/ftjob-1"]


@pytest.mark.parametrize(
    ("chosen", "count"),
    [("0,1,3", 3), ("2", 1), ("", 0), ("-1", 0), ("0,-1,2", 1), ("GPU-8932f937, GPU-d1", 2)],
)
def test_the_gpus_that_a_program_sees_by_its_environment(chosen: str, count: int) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}) == count


def test_without_a_word_on_it_all_gpus_of_the_machine_are_seen(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == 3
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1


def test_several_gpus_are_used_together_by_torchrun() -> None:
    assert together(TRAIN, {"CUDA_VISIBLE_DEVICES": "0,1"}, "auto") == [
        *("/python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *TRAIN[1:],
    ]


@pytest.mark.parametrize("gpus", ["", "0"])
def test_one_gpu_or_none_needs_one_process(gpus: str) -> None:
    assert together(TRAIN, {"CUDA_VISIBLE_DEVICES": gpus}, "auto") == TRAIN


def test_the_setting_wins_over_what_there_is() -> None:
    assert "4" in together(TRAIN, {"CUDA_VISIBLE_DEVICES": ""}, "4")
    assert together(TRAIN, {"CUDA_VISIBLE_DEVICES": "0,1"}, "1") == TRAIN


@pytest.mark.parametrize(
    "command", [["/python", "-m", "finetune", "evaluate", "/runs/x"], ["/stand-in", "train", "/x"]]
)
def test_other_programs_are_started_as_they_are(command: list[str]) -> None:
    assert together(command, {"CUDA_VISIBLE_DEVICES": "0,1"}, "2") == command
