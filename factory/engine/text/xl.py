"""Stable Diffusion XL's text: two encoders side by side, and a vector for the whole prompt."""

from typing import Any

import torch
from torch import nn

from factory.engine.staging import ahead
from factory.engine.text.encoder import TextEncoder, Words, token_ids


class TextEncoderXl(TextEncoder):
    """Both encoders and their tokenizers; `encoder` is the pair.

    Source: Podell et al. 2023 (arXiv:2307.01952), section 2.1, and `encode_prompt` of diffusers'
    `StableDiffusionXLInstructPix2PixPipeline`: the last hidden states but one, side by side, and the second
    encoder's projection. A withheld prompt is what that pipeline puts in its place: zeros for both if the
    model says so (`zeros`), else the empty prompt. diffusers' `train_instruct_pix2pix_sdxl.py` puts the
    empty prompt's tokens there in any case and leaves the projection, which its pipeline never asks for.
    """

    def __init__(
        self,
        tokenizers: tuple[Any, Any],
        encoders: tuple[Any, Any],
        zeros: bool,
        remembered: int = 1024,
    ) -> None:
        """Fewer are remembered than of the smaller models: a prompt takes 0.6 MB here."""
        super().__init__(tokenizers[0], nn.ModuleList(encoders), remembered)
        self.tokenizers = tokenizers
        self.zeros = zeros

    @property
    def parts(self) -> dict[str, Any]:
        """Encoders and tokenizers by their folder in a checkpoint."""
        first, second = self.encoder
        return {
            "text_encoder": first,
            "text_encoder_2": second,
            "tokenizer": self.tokenizers[0],
            "tokenizer_2": self.tokenizers[1],
        }

    def nothing(self) -> Words:
        """What a prompt becomes that is withheld."""
        empty = self.words("")
        if not self.zeros or empty.pooled is None:
            return empty
        return Words(torch.zeros_like(empty.tokens), torch.zeros_like(empty.pooled))

    def _encode(self, prompt: str) -> Words:
        with self.tokenizing:
            asked = [token_ids(tokenizer, prompt) for tokenizer in self.tokenizers]
        found = [
            encoder(ahead(tokens, encoder.device), output_hidden_states=True)
            for tokens, encoder in zip(asked, self.encoder, strict=True)
        ]
        tokens = torch.cat([one.hidden_states[-2][0] for one in found], -1)
        return Words(tokens, found[1].text_embeds[0])
