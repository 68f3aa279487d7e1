"""What a request and its reply cost, in tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.captions.asked import Asked
from schemas.captions import TOKENS

BYTES_OF_TOKEN = 4
"""Of UTF-8 text, where a server does not say. Source: OpenAI's rule of thumb for English; other scripts
take more tokens a letter, and more bytes, too."""
TOKENS_OF_MESSAGE = 4
"""Around each message of a chat."""
FREE = "moderation"
"""A kind of request that no server counts."""


@dataclass(frozen=True)
class Usage:
    """Tokens."""

    asked: int = 0
    """Of the request."""
    given: int = 0
    """Of the reply."""
    estimated: int = 0
    """How many of both are an estimate, since the server did not say."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.asked + other.asked, self.given + other.given, self.estimated + other.estimated
        )


def usage_of(asked: Asked, reply: Mapping[str, Any]) -> Usage:
    """As the server says; what it does not say is estimated by `BYTES_OF_TOKEN`."""
    if asked.kind == FREE:
        return Usage()
    said = reply.get("usage")
    said = said if isinstance(said, dict) else {}
    question, answer = _token_count(said, "prompt_tokens"), _token_count(said, "completion_tokens")
    guesses = _question(asked.body), _answer(reply)
    estimated = sum(
        guess for count, guess in zip((question, answer), guesses, strict=True) if count is None
    )
    return Usage(
        guesses[0] if question is None else question,
        guesses[1] if answer is None else answer,
        estimated,
    )


def most_of(asked: Asked) -> dict[str, int]:
    """The most tokens that a request and its reply may take, by mark: the former as it is estimated."""
    return dict(zip(TOKENS, (_question(asked.body), asked.body["max_tokens"]), strict=True))


def _token_count(usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _question(body: Mapping[str, Any]) -> int:
    if "prompt" in body:
        return _tokens(body["prompt"])
    return sum(TOKENS_OF_MESSAGE + _tokens(message["content"]) for message in body["messages"])


def _answer(reply: Mapping[str, Any]) -> int:
    choices = reply.get("choices")
    total = 0
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message", choice) if isinstance(choice, dict) else None
        if isinstance(message, dict):
            total += _tokens(message.get("content") or message.get("text"))
    return total


def _tokens(text: Any) -> int:
    # Half a surrogate pair may come in a reply.
    return -(-len(text.encode(errors="replace")) // BYTES_OF_TOKEN) if isinstance(text, str) else 0
