"""How many tokens a model's text encoder reads, by its files, and what it cuts, by its tokenizer."""

import json
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from factory.engine.checkpoint import load as checkpoint
from factory.engine.checkpoint import single_file
from factory.engine.text.encoder import TextEncoder
from factory.models.family import checkpoint_family, family_fields
from schemas.recipe import ModelSource

USUAL = 77
"""Tokens that a model takes that does not say how many."""
MOST = 10**6
"""A larger limit is a tokenizer's way to say that it has none."""


class TextLimit:
    """Of a model at a path. Asked by threads; its tokenizer is loaded once a text may be too long."""

    def __init__(self, model: ModelSource) -> None:
        self.tokens = _limit(model)
        """The two marks included."""
        self._source = model
        self._lock = Lock()
        self._text: TextEncoder | None = None
        self._is_longer = lru_cache(4096)(self._measured)

    def cuts(self, instruction: str) -> bool:
        """Whether the encoder reads less than all of it."""
        # No token is less than a byte of plain text.
        if instruction.isascii() and len(instruction) + 2 <= self.tokens:
            return False
        with self._lock:
            return self._is_longer(instruction)

    def _measured(self, instruction: str) -> bool:
        if self._text is None:
            self._text = TextEncoder(_load(self._source), None)
            self._text.limit = self.tokens
        return self._text.truncates(instruction)


def _limit(model: ModelSource) -> int:
    """As the model's files say, of which no library is asked."""
    path = Path(model.source)
    if path.is_file():
        family = checkpoint_family(path, model.name, with_autoencoder=False)
        return int(family_fields(family)["text_encoder"]["max_position_embeddings"])
    found = (
        _field(path / "tokenizer" / "tokenizer_config.json", "model_max_length"),
        _field(path / "text_encoder" / "config.json", "max_position_embeddings"),
    )
    return min((limit for limit in found if 0 < limit < MOST), default=USUAL)


def _field(file: Path, name: str) -> int:
    try:
        return int(json.loads(file.read_bytes()).get(name) or 0)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return 0


def _load(model: ModelSource) -> Any:
    path = Path(model.source)
    if path.is_file():
        family = checkpoint_family(path, model.name, with_autoencoder=False)
        return single_file.load_tokenizer(family)
    return checkpoint.load_tokenizer(path / "tokenizer")
