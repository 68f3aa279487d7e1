"""The model of the engine's benchmark on a GPU: Stable Diffusion 1.5 and CLIP ViT-L/14, random weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import diffusers
import open_clip
import torch
from open_clip import CLIP
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.on_gpu.matmul import MATRIX
from factory.console.config import load_config
from factory.engine.checkpoint.single_file import load_tokenizer
from factory.models.family import autoencoder_fields, family_fields
from factory.pairs.source import Draw, draws
from schemas.recipe import ModelSource, Recipe
from schemas.triplet import Triplet

_MODELS: Any = diffusers  # whose constructors carry no types

FAMILY = "sd-1"
CLIP_NAME = "ViT-L-14-quickgelu"
DTYPE = torch.bfloat16
STORED = torch.float16
"""CLIP's numbers on disk; it computes in float32."""
PROMPTS = (
    (
        "a photo of a horse in a field",
        "turn the horse into a zebra",
        "a photo of a zebra in a field",
    ),
    (
        "a house by a lake in summer",
        "make it winter",
        "a house by a lake in winter, snow on the roof",
    ),
    ("a bowl of apples on a table", "swap the apples for lemons", "a bowl of lemons on a table"),
    (
        "portrait of a sailor, oil on canvas",
        "make it a sketch",
        "portrait of a sailor, pencil on paper",
    ),
)


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    pairs: int
    """In a batch of the engine; a pair is four rows of the UNet."""
    other_pairs: tuple[int, ...]
    """Batch sizes that are measured beside it."""
    decode_pairs: int
    """Decoded and scored together."""
    short_steps: int
    """Of a candidate where only warmth, bytes or kernels are looked at."""
    size_px: int
    matrix: int
    """Side of the matrices whose product is the device's rate."""
    enough_s: float
    """A measure is repeated until so many seconds have been spent on it, and at least three times."""
    compiler: str = "inductor"
    """torch.compile's backend."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe that differ from the preset `fast`."""
    unet: Mapping[str, Any] = field(default_factory=dict)
    """Fields that differ from Stable Diffusion 1.5's, as of the next two."""
    autoencoder: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    clip: Mapping[str, Any] = field(default_factory=dict)
    """Groups of an open_clip config that stand in place of ViT-L/14's."""

    @property
    def latent_side(self) -> int:
        """Of the square that the UNet sees, in latents."""
        return self.size_px // 8

    @property
    def unet_fields(self) -> dict[str, Any]:
        """The UNet's architecture in diffusers' fields."""
        return {**family_fields(FAMILY)["unet"], **self.unet}

    @property
    def text_fields(self) -> dict[str, Any]:
        """The text encoder's, in transformers' fields."""
        return {**family_fields(FAMILY)["text_encoder"], **self.text}


FULL = Size(
    pairs=32,
    other_pairs=(8, 16, 64),
    decode_pairs=4,
    short_steps=4,
    size_px=512,
    matrix=MATRIX,
    enough_s=8.0,
)
TINY = Size(
    pairs=4,
    other_pairs=(1, 2),
    decode_pairs=2,
    short_steps=2,
    size_px=64,
    matrix=128,
    enough_s=0.0,
    # Traced as for the GPU, but no code is generated, which needs a C++ compiler here.
    compiler="eager",
    settings={"steps": 3},
    unet={
        "block_out_channels": [16, 32, 32, 32],
        "norm_num_groups": 8,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
        "layers_per_block": 1,
    },
    autoencoder={"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4},
    text={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 32,
    },
    clip={
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 28,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 14,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    },
)


def build_unet(size: Size, device: torch.device) -> Any:
    """The bare network in the benchmark's dtype, its weights as `draw_weights` draws them."""
    with device:
        unet = _MODELS.UNet2DConditionModel.from_config(size.unet_fields)
    return to_dtype(draw_weights(unet).eval())


def to_dtype(model: torch.nn.Module) -> Any:
    """The model in the benchmark's dtype."""
    # torch's own `to`: diffusers' overrides it with a warning about layers kept in float32.
    return torch.nn.Module.to(model, DTYPE)


@torch.no_grad()
def draw_weights(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Even random weights in place, such that outputs stay near 1 and attention is far from even.

    Drawn on the model's device, whose generators differ: other devices have other weights.
    """
    generator: torch.Generator | None = None
    for name, weight in model.named_parameters():
        generator = generator or torch.Generator(weight.device).manual_seed(seed)
        if weight.ndim > 1 and "embedding" not in name.removeprefix("time_embedding"):
            scale = weight[0].numel() ** -0.5
            # Else no map of attention would differ much from another.
            scale *= 4 if name.endswith(("to_q.weight", "to_k.weight")) else 1
        else:
            scale = 0.05 if "embedding" in name else 0.1
        weight.uniform_(-scale, scale, generator=generator)
        if name.endswith("weight") and ("norm" in name or ".ln_" in f".{name}"):
            weight.add_(1)
    return model.requires_grad_(False)


def write_model(folder: Path, size: Size, device: torch.device) -> None:
    """A Stable Diffusion in diffusers' folders and a CLIP in open_clip's; at full size 3 GB."""
    text = folder / "text_to_image"
    build_unet(size, device).save_pretrained(text / "unet")
    with device:
        autoencoder = _MODELS.AutoencoderKL.from_config(
            {**autoencoder_fields(), **size.autoencoder}
        )
        encoder = CLIPTextModel(CLIPTextConfig(**size.text_fields))
    to_dtype(draw_weights(autoencoder, 1)).save_pretrained(text / "vae")
    to_dtype(draw_weights(encoder, 2)).save_pretrained(text / "text_encoder")
    scheduler = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    scheduler |= family_fields(FAMILY)["scheduler"]
    _MODELS.DDIMScheduler(**scheduler).save_pretrained(text / "scheduler")
    load_tokenizer(FAMILY).save_pretrained(text / "tokenizer")
    _write_clip(folder / "clip", size, device)


def _write_clip(folder: Path, size: Size, device: torch.device) -> None:
    config = {**open_clip.get_model_config(CLIP_NAME), **size.clip}
    with device:
        model = draw_weights(CLIP(**json.loads(json.dumps(config))), 3)
    folder.mkdir(parents=True)
    weights = {k: w.to("cpu", STORED).contiguous() for k, w in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    reading = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    said = {"model_cfg": config, "preprocess_cfg": reading}
    (folder / "open_clip_config.json").write_text(json.dumps(said, indent=1))


def recipe(folder: Path, size: Size) -> Recipe:
    """The preset `fast` on the model that `write_model` wrote: bfloat16, 25 steps."""
    fields: dict[str, Any] = {
        "text_to_image": ModelSource(source=str(folder / "text_to_image")),
        "autoencoder": None,
        "clip": ModelSource(source=str(folder / "clip")),
        "size_px": size.size_px,
        **size.settings,
    }
    return Recipe.model_validate({**load_config("fast").recipe.model_dump(), **fields})


def candidates(of: Recipe, count: int, first: int = 0) -> list[Draw]:
    """So many draws of the recipe, those of the prompts in turn, from the first on."""
    triplets = (
        Triplet(original_prompt=original, edit_prompt=edit, edited_prompt=edited)
        for original, edit, edited in PROMPTS
    )
    in_turn = zip(*(draws(of, triplet) for triplet in triplets), strict=True)
    found = list(islice(chain.from_iterable(in_turn), first, first + count))
    assert len(found) == count, f"the recipe has too few candidates for {first + count} draws"
    return found


def tflop_per_row(size: Size) -> float:
    """What one forward of one row of latents costs, attention counted; no memory is touched."""
    fields = size.unet_fields
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        unet = _MODELS.UNet2DConditionModel.from_config(fields).eval()
        latents = torch.randn(1, fields["in_channels"], size.latent_side, size.latent_side)
        words = torch.randn(
            1, size.text_fields["max_position_embeddings"], fields["cross_attention_dim"]
        )
        unet(latents, torch.ones(1), words, return_dict=False)
    return float(counted.get_total_flops()) / 1e12
