"""The Python that starts ours, how many processes train together here, and their command."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEVICES = Path("/dev")


def own_python() -> str:
    """The Python that runs us, by a path that stays what it is.

    On a server we are started through a link that an upgrade turns to the next release: what was
    started from this release goes on in it. The program itself may be a link out of the virtual
    environment, so only its folder is resolved.
    """
    program = Path(sys.executable)
    return str(program.parent.resolve() / program.name)


def visible_gpus(environment: Mapping[str, str], devices: Path = _DEVICES) -> int:
    """NVIDIA GPUs that a program with this environment sees, without asking a driver."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        numbers = [each.strip() for each in chosen.split(",") if each.strip()]
        # the driver stops at the first that is not there, which -1 is a word for
        return next((i for i, each in enumerate(numbers) if each == "-1"), len(numbers))
    return sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia[0-9]*"))


def together(command: Sequence[str], environment: Mapping[str, str], wanted: str) -> list[str]:
    """The command of a training, begun by torchrun where several processes are to share it.

    `wanted` is a number or `auto`: one for each GPU that the program sees. Other commands than
    `python -m finetune train …` are as they are.
    """
    python, *rest = command
    if rest[:3] != ["-m", "finetune", "train"]:
        return list(command)
    count = visible_gpus(environment) if wanted == "auto" else int(wanted)
    if count <= 1:
        return list(command)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return [python, *torchrun, *rest]
