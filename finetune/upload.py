"""`upload`: a model's files into one repository of the hub, as one commit: all of them or none.

Large files are stored before the commit, each by its hash; those that an attempt that died had
stored are not sent again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.failures import BadRequest, Refused, RunFailure, Unavailable, WorkFailure
from finetune.runner import RunContext

_REFUSED = (401, 403)


def upload(context: RunContext) -> dict[str, Any]:
    """Upload as run.yaml says; returns the data of the result event."""
    wanted = context.spec.upload
    if wanted is None:
        raise BadRequest(
            101,
            "There is nothing to upload.",
            "run.yaml has no upload.",
            "Name the repository and the files.",
        )
    folder = Path(context.spec.base).expanduser()
    paths = _as_confirmed(folder, wanted.files)
    context.journal.state("running", device="network", total_steps=len(paths))
    with _told(wanted.repository):
        return _upload(context, wanted, paths)


def _upload(
    context: RunContext, wanted: schema.UploadSettings, paths: dict[str, Path]
) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd, HfApi

    # of this run's environment alone: not what somebody left in the home folder
    token = os.environ.get("HF_TOKEN") or False
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    api.create_repo(wanted.repository, private=wanted.private, exist_ok=True)
    found = api.repo_info(wanted.repository)
    if wanted.private and not found.private:
        raise Refused(
            528,
            f"The repository {wanted.repository} is public.",
            "It was there before, and the model is to be private.",
            "Take another name, make it private on the hub, or ask for a public upload.",
        )
    done: list[Any] = []
    size = 0
    for place, (name, path) in enumerate(paths.items()):
        context.ears.check()
        context.progress("send", place, len(paths), force=True, file=name, sent_bytes=size)
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        api.preupload_lfs_files(wanted.repository, [addition], free_memory=False)
        done.append(addition)
        size += path.stat().st_size
    context.ears.check()
    message = f"{context.spec.job_id}: {', '.join(paths)}"[:200]
    commit = api.create_commit(wanted.repository, done, commit_message=message)
    context.progress("send", len(paths), len(paths), force=True, sent_bytes=size)
    return {
        "repository": wanted.repository,
        "url": f"{api.endpoint}/{wanted.repository}",
        "commit": commit.oid,
        "private": bool(found.private),
        "files": list(paths),
        "bytes": size,
    }


def _as_confirmed(folder: Path, files: dict[str, int]) -> dict[str, Path]:
    """The files by their names on the hub. Raises Refused 527 where one is not what was confirmed:
    another size, or not there."""
    found = {}
    for name, size in files.items():
        path = folder / name if folder.is_dir() else folder
        if not path.is_file() or path.name != name or path.stat().st_size != size:
            raise Refused(
                527,
                f"The file {name} is not the one that was to be uploaded.",
                f"{path} had {size} bytes when the upload was asked for.",
                "Look at the model's files, then ask for the upload again.",
            )
        found[name] = path
    return found


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """The hub client's errors as failures: what the hub answered, and never what it was sent."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except RunFailure:
        raise
    except Exception as error:
        cause = _first(error, (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled))
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in _REFUSED:
            raise Refused(
                528,
                f"The hub does not let this token write to {repository}.",
                f"It answered {status}.",
                "Set HUGGINGFACE_TOKEN to a token that may write there (sophia settings), then "
                "resume the job.",
            ) from error
        if isinstance(cause, HfHubHTTPError):
            raise WorkFailure(
                530,
                f"The hub refused the upload to {repository}.",
                f"It answered {status}: {(cause.server_message or 'nothing')[:300]}",
                "Mend what it names, then resume the job: stored files are not sent again.",
            ) from error
        if cause is not None:
            raise Unavailable(
                529,
                "The hub can't be reached.",
                f"{type(cause).__name__}.",
                "Check the network (proxy, HF_ENDPOINT, HF_HUB_OFFLINE), then resume the job: "
                "stored files are not sent again.",
            ) from error
        raise


def _first(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> Any:
    """The error, or the first that it came from, of one of these kinds."""
    while error is not None:
        if isinstance(error, kinds):
            return error
        error = error.__cause__ or error.__context__
    return None
