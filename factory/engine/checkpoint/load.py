"""Load models from paths; safetensors only, nothing is fetched."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import open_clip
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from factory.engine.autoencoder import Autoencoder
from factory.engine.checkpoint import single_file
from factory.engine.checkpoint.lora import merge_lora
from factory.engine.clip_scorer import ClipScorer
from factory.engine.networks import Models, Networks
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder
from factory.engine.text.xl import TextEncoderXl
from factory.errors import ModelError, first_line
from factory.models.checks.clip import only_weights
from factory.models.checks.weights import SPARE, bare_text
from factory.models.family import checkpoint_family, family_fields
from factory.models.family_xl import PARTS, withholds_with_zeros
from schemas.recipe import ModelSource, Recipe

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class TextToImage:
    """A text-to-image model's parts on the CPU, as they were stored."""

    unet: Any
    autoencoder: Any
    text: TextEncoder
    scheduler: dict[str, Any]
    """The noise schedule in diffusers' fields."""


def load_text_to_image(
    source: ModelSource, autoencoder: ModelSource | None, dtype: torch.dtype
) -> TextToImage:
    """A checkpoint, perhaps with another autoencoder; both are paths. Raises `ModelError`."""
    path = Path(source.source)
    # Of loading alone: nothing is fetched from here on, whose bars are the same library's.
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    if path.is_file():
        family = checkpoint_family(path, source.name, with_autoencoder=autoencoder is None)
        unet = single_file.load_unet(path, family, dtype)
        encoder = single_file.load_text_encoder(path, family, dtype)
        text = TextEncoder(single_file.load_tokenizer(family), encoder)
        scheduler = family_fields(family)["scheduler"]
    else:
        unet = _load(UNet2DConditionModel, path / "unet", torch_dtype=dtype)
        text = _load_text(path, dtype)
        scheduler = _load_scheduler(path / "scheduler" / "scheduler_config.json")
    return TextToImage(
        unet=unet,
        autoencoder=_load_autoencoder(autoencoder, path, dtype),
        text=text,
        scheduler=scheduler,
    )


def load_models(recipe: Recipe, device: torch.device) -> Models:
    """The models of a recipe whose sources are paths.

    Raises `ModelError`, naming the file, the rule and what was found.
    """
    dtype = DTYPES[recipe.dtype]
    found = load_text_to_image(recipe.text_to_image, recipe.autoencoder, dtype)
    for lora in recipe.loras:
        merge_lora(found.unet, found.text.encoder, lora)
    return Models(**vars(_on_device(found, device)), clip=load_clip(recipe.clip, device, dtype))


def load_networks(
    source: ModelSource, autoencoder: ModelSource | None, dtype: torch.dtype, device: torch.device
) -> Networks:
    """What samples, without what scores; both sources are paths. Raises `ModelError`."""
    return _on_device(load_text_to_image(source, autoencoder, dtype), device)


def _on_device(found: TextToImage, device: torch.device) -> Networks:
    for part in (found.unet, found.autoencoder, found.text.encoder):
        part.to(device).eval().requires_grad_(False)
    return Networks(
        unet=found.unet,
        autoencoder=Autoencoder(found.autoencoder),
        text=found.text,
        schedule=NoiseSchedule.from_config(found.scheduler),
    )


def _load_text(checkpoint: Path, dtype: torch.dtype) -> TextEncoder:
    encoder = _load(CLIPTextModel, checkpoint / "text_encoder", dtype=dtype)
    tokenizer = load_tokenizer(checkpoint / "tokenizer")
    second_encoder, second_tokenizer = (checkpoint / part for part in PARTS)
    if not second_encoder.is_dir():
        return TextEncoder(tokenizer, encoder)
    return TextEncoderXl(
        (tokenizer, load_tokenizer(second_tokenizer)),
        (encoder, _load(CLIPTextModelWithProjection, second_encoder, dtype=dtype)),
        withholds_with_zeros(checkpoint),
    )


def _load_autoencoder(other: ModelSource | None, checkpoint: Path, dtype: torch.dtype) -> Any:
    path = checkpoint / "vae" if checkpoint.is_dir() else checkpoint
    if other:
        path = Path(other.source)
    if path.is_file():
        return single_file.load_autoencoder(path, dtype)
    return _load(AutoencoderKL, path, torch_dtype=dtype)


def load_clip(source: ModelSource, device: torch.device, dtype: torch.dtype) -> ClipScorer:
    """An open_clip model from a `local-dir:` folder, or by name with a safetensors file."""
    # Half precision would move scores by more than a threshold's margin: CLIP runs in float32 or more.
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    folder = Path(source.source)
    if source.name is None:
        name, pretrained = f"local-dir:{folder}", None
    else:
        name, pretrained = source.name, str(only_weights(folder))
    try:
        model, _, _ = open_clip.create_model_and_transforms(name, pretrained=pretrained)
        tokenize = open_clip.get_tokenizer(name)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{folder}: cannot load CLIP: {first_line(error)}") from error
    model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    mean, deviation = model.visual.image_mean, model.visual.image_std
    statistics = (torch.tensor(v, dtype=dtype, device=device) for v in (mean, deviation))
    return ClipScorer(model, tokenize, *statistics)


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        model, report = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except (SafetensorError, RuntimeError, ValueError, OSError, KeyError) as error:
        raise ModelError(f"{folder}: cannot load {kind.__name__}: {first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        # The libraries fill such a hole with random weights.
        raise ModelError(
            f"{folder}: must hold all of {kind.__name__}, got no {missing[0]} ({len(missing)} missing)"
        )
    others = sorted(k for k in report["unexpected_keys"] if bare_text(k) not in SPARE)
    if others:
        # Or they leave weights out, of a layer that config.json does not name.
        raise ModelError(
            f"{folder}: must hold only {kind.__name__}'s weights, got {others[0]} ({len(others)} others)"
        )
    for weight in model.parameters():
        # Out of the mapped file, whose weights begin anywhere: on a CPU the last bits of a product
        # change with alignment.
        weight.data = weight.data.clone()
    return model


def load_tokenizer(folder: Path) -> Any:
    """CLIP's, from its folder in a checkpoint. Raises `ModelError`."""
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library's own kinds vary with the file that is amiss
        raise ModelError(f"{folder}: cannot load the tokenizer: {first_line(error)}") from error


def _load_scheduler(file: Path) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(file.read_text())
        NoiseSchedule.from_config(fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: not a noise schedule: {first_line(error)}") from error
    return fields
