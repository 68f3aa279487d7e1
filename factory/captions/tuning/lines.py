"""Lines to fine-tune a language model on, of triplets that are right, in either form of `prompts.py`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from factory.captions.prompts import chat_line, completion_line
from factory.errors import ConfigError
from factory.storage.local import LocalStore
from schemas.captions import CaptionItem
from schemas.triplet import Triplet

Form = Literal["chat", "completion"]


def training_lines(triplets: Iterable[Triplet], form: Form) -> Iterator[str]:
    """A line of JSON for each triplet, as OpenAI's fine-tuning and `train-language` take it."""
    for triplet in triplets:
        if form == "completion":
            line: object = completion_line(triplet)
        else:
            line = chat_line(CaptionItem(caption=triplet.original_prompt).item_id, triplet)
        yield json.dumps(line, ensure_ascii=False) + "\n"


def write_lines(triplets: Iterable[Triplet], form: Form, file: Path) -> None:
    """Write the file, or find it as it should be. Raises `ConfigError` where another stands there."""
    text = "".join(training_lines(triplets, form)).encode()
    if file.exists():
        if file.is_dir() or file.read_bytes() != text:
            raise ConfigError(f"--out: must be a new file, got {file}, which holds something else")
        return
    LocalStore(file.parent).put(file.name, text)
