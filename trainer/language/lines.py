"""Lines that a language model learns from: read, and cut into tokens of which those of the reply count.

Two forms, both OpenAI's: `{"messages": [...]}`, a chat whose last message is the reply, and
`{"prompt": ..., "completion": ...}`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import ConfigError, ListError
from factory.lists.rows import LINE_BYTES

UNLEARNED = -100
"""What torch's loss passes over."""


@dataclass(frozen=True)
class TokenLine:
    """A line in tokens."""

    input_ids: list[int]
    """All of it, with the mark of its end."""
    labels: list[int]
    """The same where it is learned, else `UNLEARNED`; as long."""


@dataclass(frozen=True)
class Lines:
    """What is learned from."""

    lines: list[TokenLine]
    too_long: int
    """Lines that were left out, as longer than the law allows."""


def read_lines(file: Path, tokenizer: Any, most: int) -> Lines:
    """The lines of a JSONL file of either form, in order.

    Raises `ListError` with `FILE:LINE: rule, got`, and where not one line is short enough.
    """
    found, too_long = list[TokenLine](), 0
    with file.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.strip():
                continue
            where = f"{file.name}:{number}"
            line = _cut(_parsed(text, where), tokenizer, where)
            if len(line.input_ids) > most:
                too_long += 1
            else:
                found.append(line)
    if not found:
        long = f", {too_long} longer than law.tokens, {most}" if too_long else ""
        raise ListError(f"{file.name}: must hold at least one line to learn from, got none{long}")
    return Lines(found, too_long)


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    if len(text) > LINE_BYTES:
        raise ListError(f"{where}: line must be at most {LINE_BYTES} bytes, got {len(text)}")
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        raise ListError(f"{where}: must be JSON, got {text[:40]!r}") from None
    if not isinstance(line, dict):
        raise ListError(f"{where}: must be a JSON object, got {type(line).__name__}")
    return line


def _cut(line: dict[str, Any], tokenizer: Any, where: str) -> TokenLine:
    if "messages" in line:
        before, whole = _chat(line["messages"], tokenizer, where)
    elif isinstance(line.get("prompt"), str) and isinstance(line.get("completion"), str):
        # As servers cut a prompt; the reply goes on behind it.
        before = tokenizer(line["prompt"])["input_ids"]
        reply = tokenizer(line["completion"], add_special_tokens=False)["input_ids"]
        whole = [*before, *reply, tokenizer.eos_token_id]
    else:
        raise ListError(
            f"{where}: must have `messages`, or `prompt` and `completion` as text, got "
            f"{', '.join(sorted(line)) or 'nothing'}"
        )
    return TokenLine(whole, [UNLEARNED] * len(before) + whole[len(before) :])


def _chat(messages: Any, tokenizer: Any, where: str) -> tuple[list[int], list[int]]:
    """Tokens before the reply, and all."""
    are_whole = (
        isinstance(messages, list)
        and len(messages) >= 2
        and all(
            isinstance(one, dict)
            and isinstance(one.get("role"), str)
            and isinstance(one.get("content"), str)
            for one in messages
        )
    )
    if not are_whole or messages[-1]["role"] != "assistant":
        raise ListError(
            f"{where}: messages must be of `role` and `content`, the last of the assistant, got "
            f"{json.dumps(messages)[:60]}"
        )
    if not tokenizer.chat_template:
        raise ConfigError(
            "law.model: must have a chat template to learn from chats, got none; make lines with "
            "`captions-prepare --form completion`, or take a model that was tuned to chats"
        )
    before = _template(messages[:-1], tokenizer, add_generation_prompt=True)
    whole = _template(messages, tokenizer)
    if whole[: len(before)] != before:
        # Such as one that leaves out what a model thought before it answered.
        raise ConfigError(
            "law.model: its chat template must put a reply behind what a server asks with, and does not"
        )
    return before, whole


def _template(messages: Sequence[dict[str, str]], tokenizer: Any, **options: bool) -> list[int]:
    cut = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
    found: list[int] = cut["input_ids"]
    return found
