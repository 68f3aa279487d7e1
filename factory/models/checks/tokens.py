"""Whether a tokenizer's words are numbered as its text encoder has places for them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.checks.known_configs import Tokenizer
from factory.models.configs import read_config, read_known


def check_tokens(folder: Path, count: int, whose: str) -> None:
    """Raise `ModelError` unless a folder holds a tokenizer with numbers from 0 to below `count`."""
    for source, ids in _token_ids(folder):
        if ids and not 0 <= min(ids) <= max(ids) < count:
            raise ModelError(
                f"{source}: tokens must be numbered from 0 to {count - 1}, {whose}, got "
                f"{max(ids) if min(ids) >= 0 else min(ids)}"
            )


def _token_ids(folder: Path) -> Iterable[tuple[Path, Sequence[int]]]:
    """The tokens' numbers, by the file that gives them. Raises `ModelError` where there are none."""
    whole, words, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        fields = read_config(whole)
        model = fields.get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        added = fields.get("added_tokens") or []
        if not isinstance(vocabulary, dict) or not isinstance(added, list):
            raise ModelError(f"{whole}: must hold a byte-pair vocabulary, got none")
        yield whole, _numbers(whole, vocabulary.values())
        yield whole, _numbers(whole, [one.get("id") for one in added if isinstance(one, dict)])
    elif words.is_file() and merges.is_file():
        yield words, _numbers(words, read_config(words).values())
    else:
        there = sorted(file.name for file in folder.iterdir())
        raise ModelError(
            f"{folder}: must hold tokenizer.json, or vocab.json and merges.txt, got {', '.join(there)}"
        )
    more = folder / "added_tokens.json"
    if more.is_file():
        yield more, _numbers(more, read_config(more).values())
    options = folder / "tokenizer_config.json"
    if options.is_file():
        stated = read_known(options, Tokenizer).added_tokens_decoder
        yield options, [int(key) if key.isdecimal() else -1 for key in stated]


def _numbers(file: Path, found: Iterable[Any]) -> list[int]:
    numbers = list(found)
    wrong = [one for one in numbers if not isinstance(one, int) or isinstance(one, bool)]
    if wrong:
        raise ModelError(f"{file}: tokens must be numbered, got {json.dumps(wrong[0])[:80]}")
    return numbers
