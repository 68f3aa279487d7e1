"""What a start will ask the hub for, to be said before: without a network it is tried for long."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from schemas.recipe import ModelSource

_COMMIT = re.compile(r"[0-9a-f]{40}")


def still_to_fetch(sources: Sequence[ModelSource]) -> list[str]:
    """A line for each model of which the hub's cache holds nothing at its revision; none offline."""
    wanted = [source for source in sources if _is_on_hub(source)]
    if not wanted:
        return []
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return []
    return [
        f"fetches {source.source}@{source.revision} from {constants.ENDPOINT} into "
        f"{constants.HF_HUB_CACHE}; where it is not reached this is tried for half a minute, with "
        "HF_HUB_OFFLINE=1 not at all"
        for source in wanted
        if not _snapshot(constants.HF_HUB_CACHE, source).is_dir()
    ]


def _is_on_hub(source: ModelSource) -> bool:
    """Only a hub's has a revision, unless the same name is a folder here."""
    is_pinned = _COMMIT.fullmatch(source.revision or "")
    return bool(is_pinned) and not os.path.exists(os.path.expanduser(source.source))


def _snapshot(cache: str, source: ModelSource) -> Path:
    """Where the hub's library keeps a revision of a model."""
    folder = f"models--{source.source.replace('/', '--')}"
    return Path(cache) / folder / "snapshots" / str(source.revision)
