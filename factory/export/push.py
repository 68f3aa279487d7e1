"""An export on the Hub: the files that its manifest names, each once, the card last."""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from factory.errors import ConfigError, EditmillError, ServerUnavailable, first_line
from factory.ledger.manifest import newest_manifest, unit_lines
from factory.ledger.plan import read_plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.storage.patience import read_named
from schemas.export import Verdict

FILES_AT_ONCE = 25
"""In one commit on the Hub; as many are in memory."""
PATHS_AT_ONCE = 500
"""That are asked for at once."""


class Hub(Protocol):
    """Of `huggingface_hub.HfApi` what is asked here."""

    def create_repo(self, repo_id: str, **options: Any) -> Any: ...

    def get_paths_info(self, repo_id: str, paths: list[str], **options: Any) -> Any: ...

    def create_commit(self, repo_id: str, **options: Any) -> Any: ...


def hub(repository: str) -> Hub:
    """The Hub, by the token of the environment or of `hf auth login`.

    Raises `ConfigError` without one, and for what cannot be a repository's name. Nothing is asked yet.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(
            f"--push: must be a repository's name on the Hub, as me/pairs, got {repository!r}: "
            f"{first_line(error)}"
        ) from None
    token = get_token()
    if token is None:
        raise ConfigError(
            "--push: needs a token of the Hub that may write, got none; set HF_TOKEN, or `hf auth login`"
        )
    found: Hub = HfApi(token=token, endpoint=os.environ.get("HF_ENDPOINT"))
    return found


def files_of(run: Run) -> Iterator[tuple[str, str]]:
    """Key and sha256 of all that a sealed export stored, in order."""
    newest = newest_manifest(run)
    assert newest is not None
    plan = read_plan(run)
    for line in unit_lines(run, newest[1]):
        for row in whole_commit(run, find_commit(run, plan, line.unit, line)).rows:
            if row["verdict"] == Verdict.STORED:
                yield row["key"], row["sha256"]


def push(
    run: Run,
    api: Hub,
    repository: str,
    laid_out: Mapping[str, bytes],
    *,
    public: bool = False,
    told: Callable[[int], None] = lambda count: None,
) -> int:
    """Bring a sealed export to a dataset's repository, which is made where there is none; how many files
    had to be sent.

    `laid_out` are the card and the indices. What stands there with the same bytes is not sent again, so
    that a push that was broken off is gone on with. Raises `ServerUnavailable` where the Hub takes it not.
    """
    from huggingface_hub import CommitOperationAdd

    where: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}
    sent = 0
    try:
        api.create_repo(**where, private=not public, exist_ok=True)
        files = files_of(run)
        while some := list(islice(files, PATHS_AT_ONCE)):
            there = _hashes(api, where, [key for key, _ in some])
            lacking = [(key, sha256) for key, sha256 in some if there.get(key) != sha256]
            for first in range(0, len(lacking), FILES_AT_ONCE):
                part = lacking[first : first + FILES_AT_ONCE]
                api.create_commit(
                    **where,
                    operations=[
                        CommitOperationAdd(key, _bytes(run, key, sha)) for key, sha in part
                    ],
                    commit_message=f"Add {part[0][0]} and {len(part) - 1} more",
                )
                sent += len(part)
                told(sent)
        # Last: until then nobody reads a part of it as the whole.
        beside = [CommitOperationAdd(name, data) for name, data in laid_out.items()]
        api.create_commit(**where, operations=beside, commit_message="Add the card and indices")
    except EditmillError:
        raise
    except Exception as error:  # of the Hub's client and of whichever library it sends by
        raise ServerUnavailable(
            f"--push {repository}: the Hub did not take it: {first_line(error)}; {run.place.uri} "
            "is whole, and the same command goes on"
        ) from None
    return sent


def _hashes(api: Hub, where: Mapping[str, Any], paths: list[str]) -> dict[str, str]:
    """Of the files there that are stored by their hash, as all large ones are."""
    found = api.get_paths_info(paths=paths, **where)
    return {one.path: one.lfs.sha256 for one in found if getattr(one, "lfs", None)}


def _bytes(run: Run, key: str, sha256: str) -> bytes:
    return read_named(
        run.place, key, sha256, f"{run.place.uri}/{key}: not the bytes that were sealed"
    )
