"""Stable Diffusion's families with random weights, tiny or at full size, as folder and single file."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from factory.models import family
from schemas.recipe import ModelSource, Recipe
from tests.factory.engine import compvis
from tests.factory.engine import family as saved

_MODELS: Any = diffusers  # whose constructors carry no types

FAMILIES = ("sd-1", "sd-2-base", "sd-2-v")
IMAGE_SIDE = 64

_TINY_UNET = {
    "block_out_channels": [16, 32, 32, 32],
    "norm_num_groups": 8,
    "attention_head_dim": 4,
    "cross_attention_dim": 32,
    "sample_size": 8,
}
_TINY_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "projection_dim": 32,
}
_TINY_2 = {
    "unet": {**_TINY_UNET, "attention_head_dim": [2, 4, 4, 8], "cross_attention_dim": 48},
    "text_encoder": {**_TINY_TEXT, "hidden_size": 48},
}
_TINY: dict[str, dict[str, Any]] = {
    "sd-1": {"unet": _TINY_UNET, "text_encoder": {**_TINY_TEXT, "num_hidden_layers": 3}},
    "sd-2-base": _TINY_2,
    "sd-2-v": _TINY_2,
}
_TINY_AUTOENCODER = {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4}


def write_tiny_families(folder: Path) -> Path:
    """The families' own numbers with small widths; every structure (levels, kinds, SD 2's 23 text
    layers) as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FAMILIES:
        fields = {part: dict(values) for part, values in family.family_fields(name).items()}
        for part, values in _TINY[name].items():
            fields[part] |= values
        (folder / f"{name}.json").write_text(json.dumps(fields))
    numbers = family.autoencoder_fields() | _TINY_AUTOENCODER
    (folder / "autoencoder.json").write_text(json.dumps(numbers))
    return folder


@contextmanager
def tiny_families(root: Path, names: Sequence[str] = FAMILIES) -> Iterator[Path]:
    """Inside, the families are tiny; below `root` each as a folder and as a single file, and a CLIP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "FAMILIES", write_tiny_families(root / "families"))
        for name in names:
            weights = Weights(name)
            weights.save_folder(root / name)
            weights.save_single_file(root / f"{name}.safetensors")
        saved.save_family(root)
        yield root


def tiny_recipe(root: Path, name: str, *, single: bool = False, **fields: object) -> Recipe:
    """A recipe over one of them."""
    source = ModelSource(source=str(root / name))
    if single:
        source = ModelSource(source=str(root / f"{name}.safetensors"), name=name)
    defaults: dict[str, object] = {
        "text_to_image": source,
        "dtype": "float32",
        "size_px": IMAGE_SIDE,
        "steps": 3,
    }
    return saved.recipe(root, **(defaults | fields))


class Weights:
    """Random weights of one family; drawn from `seed`, outputs stay near 1."""

    def __init__(self, name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        self.name = name
        fields = family.family_fields(name)
        self.unet_config, self.text_config = (
            fields["unet"],
            CLIPTextConfig(**fields["text_encoder"]),
        )
        self.autoencoder_config = family.autoencoder_fields()
        self.scheduler_config = fields["scheduler"]
        with torch.device("meta"):
            self.unet_module = _MODELS.UNet2DConditionModel.from_config(self.unet_config)
            self.autoencoder_module = _MODELS.AutoencoderKL.from_config(self.autoencoder_config)
            text = CLIPTextModel(self.text_config)
        generator = torch.Generator().manual_seed(seed)
        self.unet = _random(self.unet_module.state_dict(), generator, dtype)
        self.autoencoder = _random(self.autoencoder_module.state_dict(), generator, dtype)
        self.text = _random(text.state_dict(), generator, dtype)

    def save_folder(self, folder: Path) -> Path:
        """Diffusers' layout."""
        for part, config, weights in (
            ("unet", self.unet_module, self.unet),
            ("vae", self.autoencoder_module, self.autoencoder),
        ):
            config.save_config(folder / part)
            save_file(weights, folder / part / "diffusion_pytorch_model.safetensors")
        self.text_config.save_pretrained(folder / "text_encoder")
        save_file(self.text, folder / "text_encoder" / "model.safetensors", {"format": "pt"})
        save_tokenizer(folder / "tokenizer", "<|endoftext|>" if self.name == "sd-1" else "!")
        scheduler = _MODELS.DDIMScheduler(
            **self.scheduler_config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )
        scheduler.save_pretrained(folder / "scheduler")
        index = {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        }
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    def single_file(self) -> dict[str, Tensor]:
        """CompVis' layout, with the buffers that real files carry."""
        levels = len(self.autoencoder_config["block_out_channels"])
        text = (
            compvis.openai_text_weights(self.text)
            if self.name == "sd-1"
            else compvis.open_clip_text_weights(self.text)
        )
        extra = {"alphas_cumprod": torch.ones(1000), "model_ema.decay": torch.ones(())}
        return {
            **compvis.unet_weights(self.unet, self.unet_config),
            **compvis.autoencoder_weights(self.autoencoder, levels, "first_stage_model."),
            **text,
            **extra,
        }

    def save_single_file(self, file: Path) -> Path:
        return save_weights(self.single_file(), file)


def save_weights(weights: dict[str, Tensor], file: Path) -> Path:
    """Write safetensors, which wants whole blocks of memory."""
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
    return file


def _random(
    shapes: dict[str, Tensor], generator: torch.Generator, dtype: torch.dtype
) -> dict[str, Tensor]:
    weights = {}
    for name, shape in shapes.items():
        drawn = torch.rand(shape.shape, generator=generator) * 2 - 1
        if "embedding" in name and "time_embedding" not in name:
            drawn *= 0.05
        elif shape.ndim > 1:
            drawn *= shape[0].numel() ** -0.5
            if name.endswith(("to_q.weight", "to_k.weight")):
                drawn *= 4  # else attention is nearly uniform, and a wrong map would hardly show
        else:
            drawn *= 0.1
            if "norm" in name and name.endswith("weight"):
                drawn += 1
        weights[name] = drawn.to(dtype)
    return weights


def save_tokenizer(folder: Path, pad_token: str) -> Path:
    """CLIP's vocabulary in the files of Stable Diffusion's repositories."""
    folder.mkdir(parents=True)
    source = SimpleTokenizer()
    start, end = "<|startoftext|>", "<|endoftext|>"
    names = {"<start_of_text>": start, "<end_of_text>": end}
    vocabulary = {names.get(token, token): i for token, i in source.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    merges = [" ".join(pair) for pair in source.bpe_ranks]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": pad_token}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = special | {
        "pad_token": end,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
