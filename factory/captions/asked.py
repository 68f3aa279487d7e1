"""What a language model's server is asked; who asks is `server.py`, which costs seconds to import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class BadRequest(Exception):
    """The server does not take this one request, and will not later."""


@dataclass(frozen=True)
class Asked:
    """What a server is asked."""

    kind: str
    """`chat`, `completion` or `moderation`."""
    body: Mapping[str, Any]
    """As JSON."""
