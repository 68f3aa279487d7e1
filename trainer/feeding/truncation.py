"""How many of a dataset's instructions the text encoder cuts, counted while its captions are read.

dataset/<sha256, 16 hex>.instructions.json     in a root, beside the index; where some are cut
"""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.errors import Damaged, ObjectMissing, first_line
from factory.models.family import checkpoint_family, family_fields
from factory.models.find import model_folder
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from schemas.recipe import ModelSource
from schemas.stamped import from_stamped_json, to_stamped_json
from schemas.training import InstructionsRecord
from trainer.feeding.index import FOLDER

USUAL = 77
"""Tokens that a model takes that does not say how many."""
MOST = 10**6
"""A larger limit is a tokenizer's way to say that it has none."""


class Truncation:
    """Hears every instruction from threads; the tokenizer is loaded for the first that may be too long."""

    def __init__(self, model: ModelSource) -> None:
        self.limit = _limit(model)
        """Tokens, the two marks included."""
        self._source = model
        self.found: InstructionsRecord | None = None
        """None until a dataset was read."""
        self._lock = Lock()
        self._tokenizer: Any = None
        self._is_longer = lru_cache(4096)(self._measured)

    def cuts(self, instruction: str) -> bool:
        """Whether the encoder reads less than all of it."""
        # No token is less than a byte of plain text.
        if instruction.isascii() and len(instruction) + 2 <= self.limit:
            return False
        with self._lock:
            return self._is_longer(instruction)

    def count(self, said: NDArray[np.uint8], is_cut: NDArray[np.bool_]) -> None:
        """Of all rows: the names of their instructions, each 16 bytes, and whether those are cut."""
        whole, cut = (len(np.unique(rows, axis=0)) for rows in (said, said[is_cut]))
        self.found = InstructionsRecord(instructions=whole, truncated=cut, limit=self.limit)

    def _measured(self, instruction: str) -> bool:
        # Here, because whoever opens a dataset comes by, long before torch is needed.
        from factory.engine.text import TextEncoder

        if self._tokenizer is None:
            self._tokenizer = _load(self._source)
        text = TextEncoder(self._tokenizer, None)
        text.limit = self.limit
        return text.truncates(instruction)


def say_truncation(
    store: ObjectStore, digest: str, truncation: Truncation, say: Callable[[str], None]
) -> None:
    """Say what is cut of the dataset with this digest, and let its root know it for later starts."""
    found = truncation.found
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
    try:
        return from_stamped_json(InstructionsRecord, patiently(lambda: store.get(_key(digest))))
    except ObjectMissing:
        return None
    except ValueError as error:
        raise Damaged(
            f"{store.uri}/{_key(digest)}: not such a record: {first_line(error)}"
        ) from None


def _key(digest: str) -> str:
    return f"{FOLDER}{digest[:16]}.instructions.json"


def _limit(model: ModelSource) -> int:
    """As the model's files say, of which no library is asked."""
    path = model_folder(model, "text_to_image")
    if path.is_file():
        family = checkpoint_family(path, model.name, with_autoencoder=False)
        return int(family_fields(family)["text_encoder"]["max_position_embeddings"])
    said = (
        _field(path / "tokenizer" / "tokenizer_config.json", "model_max_length"),
        _field(path / "text_encoder" / "config.json", "max_position_embeddings"),
    )
    return min((limit for limit in said if 0 < limit < MOST), default=USUAL)


def _field(file: Path, name: str) -> int:
    try:
        return int(json.loads(file.read_bytes()).get(name) or 0)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return 0


def _load(model: ModelSource) -> Any:
    from factory.engine.checkpoint import load as checkpoint
    from factory.engine.checkpoint import single_file

    path = model_folder(model, "text_to_image")
    if path.is_file():
        return single_file.load_tokenizer(
            checkpoint_family(path, model.name, with_autoencoder=False)
        )
    return checkpoint.load_tokenizer(path / "tokenizer")
