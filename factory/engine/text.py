"""Prompts to context vectors, one prompt at a time and each once."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor


class TextEncoder:
    """Stable Diffusion's text encoder with its tokenizer; keeps the newest `remembered` results.

    A prompt is always encoded alone, so that its vectors depend on no other prompt.
    """

    def __init__(self, tokenizer: Any, encoder: Any, remembered: int = 4096) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.limit = int(tokenizer.model_max_length)
        self.remembered = remembered
        self._contexts: OrderedDict[str, Tensor] = OrderedDict()

    def context(self, prompt: str) -> Tensor:
        """The last hidden state, (token, width); prompts past the limit are cut, as the original's."""
        if prompt in self._contexts:
            self._contexts.move_to_end(prompt)
            return self._contexts[prompt]
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            truncation=True,
            max_length=self.limit,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            context: Tensor = self.encoder(tokens.to(self.encoder.device)).last_hidden_state[0]
        self._contexts[prompt] = context
        if len(self._contexts) > self.remembered:
            self._contexts.popitem(last=False)
        return context

    def truncates(self, prompt: str) -> bool:
        """Whether the prompt is longer than the encoder's limit."""
        return len(self.tokenizer(prompt, truncation=False, verbose=False).input_ids) > self.limit
