"""How many of a dataset's instructions the text encoder cuts, counted while its captions are read.

dataset/<sha256, 16 hex>.instructions.json     in a root, beside the index; where some are cut
"""

from collections.abc import Callable

from factory.dataset.dataset import Dataset
from factory.dataset.index import FOLDER
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import find_stamped
from schemas.ledger.stamped import to_stamped_json
from schemas.training.root import InstructionsRecord


def say_truncation(store: ObjectStore, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Say what is cut of a dataset, and let its root know it for later starts."""
    found, digest = dataset.instructions, dataset.digest
    if found is None:
        found = find_truncation(store, digest)
    elif found.truncated:
        data = to_stamped_json(found)
        patiently(lambda: store.put(_key(digest), data))
    if found is not None and found.truncated:
        say(
            f"truncated {found.truncated} of {found.instructions} instructions (limit {found.limit} "
            "tokens)"
        )


def truncated_of(store: ObjectStore, digest: str) -> int:
    """How many instructions are cut of the dataset with this digest. Raises `Damaged`."""
    found = find_truncation(store, digest)
    return found.truncated if found else 0


def find_truncation(store: ObjectStore, digest: str) -> InstructionsRecord | None:
    """What a root says of the dataset with this digest; None where nothing is cut. Raises `Damaged`."""
    key = _key(digest)
    return find_stamped(store, key, InstructionsRecord, "such a record")


def _key(digest: str) -> str:
    return f"{FOLDER}{digest[:16]}.instructions.json"
