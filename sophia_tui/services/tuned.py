"""What a training that ended well leaves for the door that it came by: links, a persona's model."""

import os
from pathlib import Path

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.protocols import Store
from sophia_tui.files import temporary_beside, write_problem


def link(path: Path, target: Path) -> None:
    """Let `path` lead to `target`, at once and whole; what lay there and is no link is put aside.

    Raises SetupError S101.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_symlink():
            aside = 1
            while os.path.lexists(kept := path.with_name(f"{path.name}.before-{aside}")):
                aside += 1
            os.rename(path, kept)
        os.symlink(target, temporary)
        os.replace(temporary, path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise write_problem(path, problem) from problem


async def note_success(store: Store, job: Job, adapter: Path) -> None:
    """May be done again. Raises SetupError S101 where a link can't be made."""
    adaptive, persona = (job.request.get(door) or {} for door in ("adaptive", "persona"))
    if persona.get("id") and job.resulting_model:
        await store.personas.tuned(persona["id"], job.resulting_model)
    if adaptive.get("root"):
        link(Path(adaptive["root"]) / "out" / "adapter", adapter)
