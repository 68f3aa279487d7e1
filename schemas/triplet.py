"""A triplet: what to show before, what to ask for, what to show after."""

from functools import cached_property
from typing import ClassVar

from pydantic import Field

from schemas.canonical import content_hash
from schemas.record import Record


class Triplet(Record):
    """One edit in words. Its identity is its text, so the same words are the same triplet."""

    BESIDE: ClassVar[str] = "kind or url"
    original_prompt: str = Field(min_length=1)
    """Caption of the picture before the edit, unchanged as read."""
    edit_prompt: str = Field(min_length=1)
    """The instruction, unchanged as read."""
    edited_prompt: str = Field(min_length=1)
    """Caption of the picture after the edit, unchanged as read."""
    edit_kind: str | None = None
    """What the edit changes (colour, shape, size, background, style, ...); null when not known."""
    url: str | None = None
    """Where the original caption came from; null when not known. Not part of the identity."""

    @cached_property
    def triplet_id(self) -> str:
        """First 16 hex digits of sha256 over the three texts."""
        texts = [self.original_prompt, self.edit_prompt, self.edited_prompt]
        return content_hash(texts)[:16]

    @property
    def item_id(self) -> str:
        """Its name in a plan."""
        return self.triplet_id

    @property
    def words(self) -> str:
        """The start of its texts, for a message."""
        text = f"{self.original_prompt} > {self.edit_prompt}"
        return repr(text if len(text) <= 60 else text[:57] + "...")
