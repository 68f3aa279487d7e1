"""Prompts to what a network is told, one prompt at a time and each once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from factory.engine.staging import ahead
from factory.prompt_text import told_text


@dataclass(frozen=True)
class Words:
    """A prompt as a network is told it."""

    tokens: Tensor
    """One vector for each token (token, width)."""
    pooled: Tensor | None = None
    """One vector for all of it (width,); Stable Diffusion XL's alone."""


class TextEncoder:
    """Stable Diffusion's text encoder with its tokenizer; keeps the newest `remembered` results.

    A prompt is always encoded alone, so that its vectors depend on no other prompt.
    """

    zeros = False
    """Whether a prompt that is withheld becomes zeros, not the empty prompt."""

    def __init__(self, tokenizer: Any, encoder: Any, remembered: int = 4096) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.limit = int(tokenizer.model_max_length)
        self.remembered = remembered
        self.tokenizing = Lock()
        """Held while the tokenizer is asked: how it cuts and fills is its state, and steps and decoding ask
        it from threads of their own."""
        self._words: OrderedDict[str, Words] = OrderedDict()

    @property
    def parts(self) -> dict[str, Any]:
        """Encoders and tokenizers by their folder in a checkpoint."""
        return {"text_encoder": self.encoder, "tokenizer": self.tokenizer}

    def words(self, prompt: str) -> Words:
        """What a network is told; prompts past the limit are cut, as the original's."""
        if prompt in self._words:
            self._words.move_to_end(prompt)
            return self._words[prompt]
        with torch.inference_mode():
            words = self._encode(prompt)
        self._words[prompt] = words
        if len(self._words) > self.remembered:
            self._words.popitem(last=False)
        return words

    def context(self, prompt: str) -> Tensor:
        """Its tokens alone, (token, width)."""
        return self.words(prompt).tokens

    def nothing(self) -> Words:
        """What a prompt becomes that is withheld."""
        return self.words("")

    def truncates(self, prompt: str) -> bool:
        """Whether the prompt is longer than the encoder's limit."""
        with self.tokenizing:
            tokens = self.tokenizer(told_text(prompt), truncation=False, verbose=False)
        return len(tokens.input_ids) > self.limit

    def _encode(self, prompt: str) -> Words:
        """The last hidden state."""
        with self.tokenizing:
            tokens = token_ids(self.tokenizer, prompt)
        return Words(self.encoder(ahead(tokens, self.encoder.device)).last_hidden_state[0])


def token_ids(tokenizer: Any, prompt: str) -> Tensor:
    """(1, token), cut or padded to the tokenizer's limit.

    Of the text as CLIP's own tokenizer mends it, which transformers' leaves to its caller: so the generator
    and the scorer read one prompt alike, typographic quotes, entities and capitals included.
    """
    found: Tensor = tokenizer(
        told_text(prompt),
        padding="max_length",
        truncation=True,
        max_length=int(tokenizer.model_max_length),
        return_tensors="pt",
    ).input_ids
    return found


def conditioning(
    words: Sequence[Words], height: int, width: int, like: Tensor
) -> tuple[Tensor, dict[str, Tensor] | None]:
    """A UNet's context (item, token, width), and what it adds to its timestep, if it does (XL's).

    `height` and `width` are the pictures', in pixels: XL is told them as the original size and as the
    target size, uncropped, which are its pipelines' defaults. Both come on `like`'s device, in its numbers.
    """
    context = torch.stack([one.tokens for one in words]).to(like)
    pooled = [one.pooled for one in words if one.pooled is not None]
    if not pooled:
        return context, None
    sizes = ahead(torch.tensor([[height, width, 0, 0, height, width]] * len(words)), like.device)
    return context, {"text_embeds": torch.stack(pooled).to(like), "time_ids": sizes.to(like)}
