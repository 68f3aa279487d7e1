"""InstructPix2Pix's pair generation written slowly: what the engine has to agree with.

One pair at a time, attention maps materialised, nothing shared with the engine but the modules of
the checkpoint. Behaviour matched: timothybrooks/instruct-pix2pix, generate_img_dataset.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tests.factory.engine.reference_samplers import (
    PredictionType,
    sample_ddim,
    sample_euler_ancestral,
)
from tests.factory.engine.reference_scores import reference_scores

__all__ = [
    "MaterialisedAttention",
    "Parts",
    "Solver",
    "is_controlled",
    "reference_latents",
    "reference_pair",
    "reference_scores",
]

Solver = Literal["euler_ancestral", "ddim"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A text-to-image family: diffusers and transformers modules of one dtype, in eval mode.

    `alphas_cumprod` has one entry per training step, in float64.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    alphas_cumprod: Tensor
    prediction_type: PredictionType = "epsilon"


def is_controlled(p: float, step: int, steps: int) -> bool:
    """Whether Prompt-to-Prompt acts in this step, counted from 0; one step alone needs p > 0."""
    if steps == 1:
        return p > 0
    return p > step / (steps - 1)


class MaterialisedAttention:
    """Attention by its full map; controlled, edited rows take the source's self-attention logits.

    A diffusers attention processor. Rows are [u_src, u_dst, c_src, c_dst].
    """

    def __init__(self) -> None:
        self.controlled = False

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            raise ValueError("attention_mask: expected none, as in Stable Diffusion")
        is_self_attention = encoder_hidden_states is None
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = self._split_heads(attn.to_q(hidden_states), attn.heads)
        k = self._split_heads(attn.to_k(context), attn.heads)
        v = self._split_heads(attn.to_v(context), attn.heads)
        logits = torch.einsum("bid,bjd->bij", q, k) * attn.scale
        if is_self_attention and self.controlled:
            if hidden_states.shape[0] != 4:
                raise ValueError(f"batch: expected 4 rows, got {hidden_states.shape[0]}")
            u_src, _u_dst, c_src, _c_dst = logits.chunk(4)
            logits = torch.cat([u_src, u_src, c_src, c_src])
        out = torch.einsum("bij,bjd->bid", logits.softmax(dim=-1), v)
        return attn.to_out[0](self._join_heads(out, attn.heads))  # type: ignore[no-any-return]

    @staticmethod
    def _split_heads(x: Tensor, heads: int) -> Tensor:
        """(b, n, h*d) -> (b*h, n, d)."""
        b, n, width = x.shape
        x = x.reshape(b, n, heads, width // heads)
        return x.permute(0, 2, 1, 3).reshape(b * heads, n, width // heads)

    @staticmethod
    def _join_heads(x: Tensor, heads: int) -> Tensor:
        """(b*h, n, d) -> (b, n, h*d)."""
        rows, n, d = x.shape
        x = x.reshape(rows // heads, heads, n, d)
        return x.permute(0, 2, 1, 3).reshape(rows // heads, n, heads * d)


def _encode(parts: Parts, texts: Sequence[str]) -> Tensor:
    """Last hidden states, padded and truncated to the tokenizer's length, no attention mask."""
    tokens = parts.tokenizer(
        list(texts),
        padding="max_length",
        max_length=parts.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    tokens = tokens.to(parts.text_encoder.device)
    return parts.text_encoder(input_ids=tokens).last_hidden_state  # type: ignore[no-any-return]


def _decode(parts: Parts, latent: Tensor) -> Tensor:
    latent = latent.to(parts.vae.dtype)
    image = parts.vae.decode(latent[None] / parts.vae.config.scaling_factor).sample[0]
    return ((image + 1) / 2).clamp(0, 1)  # type: ignore[no-any-return]


@torch.no_grad()
def reference_latents(
    parts: Parts,
    original_prompt: str,
    edited_prompt: str,
    *,
    p: float,
    guidance: float,
    steps: int,
    initial_noise: Tensor,
    step_noise: Callable[[int], Tensor],
    solver: Solver,
) -> tuple[Tensor, Tensor]:
    """The latents of both images at the end of sampling, each (4, h, w), not yet decoded."""
    text = torch.cat(
        [_encode(parts, ["", ""]), _encode(parts, [original_prompt, edited_prompt])]
    )  # rows u_src, u_dst, c_src, c_dst
    attention = MaterialisedAttention()

    def predict(x: Tensor, t: Tensor) -> Tensor:
        x = x.to(parts.unet.dtype)
        return parts.unet(x, t.expand(4).to(x.device), encoder_hidden_states=text).sample

    def before_step(i: int) -> None:
        attention.controlled = is_controlled(p, i, steps)

    processors = dict(parts.unet.attn_processors)
    parts.unet.set_attn_processor(attention)
    try:
        if solver == "euler_ancestral":
            x = sample_euler_ancestral(
                parts.alphas_cumprod,
                predict,
                before_step,
                prediction_type=parts.prediction_type,
                guidance=guidance,
                steps=steps,
                initial_noise=initial_noise,
                step_noise=step_noise,
            )
        elif solver == "ddim":
            x = sample_ddim(
                parts.alphas_cumprod,
                predict,
                before_step,
                prediction_type=parts.prediction_type,
                guidance=guidance,
                steps=steps,
                initial_noise=initial_noise,
            )
        else:
            raise ValueError(f"solver: expected euler_ancestral or ddim, got {solver}")
    finally:
        parts.unet.set_attn_processor(processors)
    return x[0], x[1]


@torch.no_grad()
def reference_pair(
    parts: Parts,
    original_prompt: str,
    edited_prompt: str,
    *,
    p: float,
    guidance: float,
    steps: int,
    initial_noise: Tensor,
    step_noise: Callable[[int], Tensor],
    solver: Solver,
) -> tuple[Tensor, Tensor]:
    """The images before and after the edit, each (3, H, W) in [0, 1].

    `initial_noise` and `step_noise(i)` are standard normal, (4, h, w); latents keep their dtype.
    `step_noise` is asked by "euler_ancestral" once per step but the last, in order; "ddim" never
    asks.
    """
    before, after = reference_latents(
        parts,
        original_prompt,
        edited_prompt,
        p=p,
        guidance=guidance,
        steps=steps,
        initial_noise=initial_noise,
        step_noise=step_noise,
        solver=solver,
    )
    return _decode(parts, before), _decode(parts, after)
