"""Load a single file in CompVis' layout with diffusers' own converters; nothing is fetched.

Every weight that a part needs must be there at its shape, and every weight of the file's UNet must
have its place: what is nearly Stable Diffusion is refused, not run half random. Where a file holds
averaged weights too (`model_ema`), the plain ones count, as in the original's inference.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from open_clip.tokenizer import SimpleTokenizer
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from factory.errors import ModelError
from factory.models.family import (
    AUTOENCODER,
    AUTOENCODER_PARTS,
    OPEN_CLIP,
    UNET,
    autoencoder_fields,
    family_fields,
    text_encoder_prefix,
)

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in autoencoders that diffusers wrote before 2023, `vae-ft-mse` among them."""


def load_unet(file: Path, family: str, dtype: torch.dtype) -> Any:
    """The UNet of a checkpoint."""
    config = family_fields(family)["unet"]
    weights = _read(file, (UNET,), dtype)
    converted = convert_ldm_unet_checkpoint(weights, config)
    if len(converted) != len(weights):
        raise ModelError(
            f"{file}: UNet must hold only {family}'s weights, got {len(weights) - len(converted)} more"
        )
    return _filled(UNet2DConditionModel, config, converted, file)


def load_autoencoder(file: Path, dtype: torch.dtype) -> Any:
    """The autoencoder of a checkpoint, or one alone in its file in CompVis' or diffusers' layout."""
    config = autoencoder_fields()
    starts = tuple(prefix + part for prefix in ("", AUTOENCODER) for part in AUTOENCODER_PARTS)
    weights = _read(file, starts, dtype)
    if any(key.startswith("decoder.up_blocks.") for key in weights):
        converted = {_renamed(key): weight for key, weight in weights.items()}
    else:
        converted = convert_ldm_vae_checkpoint(weights, config)
    return _filled(AutoencoderKL, config, converted, file)


def load_text_encoder(file: Path, family: str, dtype: torch.dtype) -> Any:
    """The text encoder of a checkpoint; of open_clip's, only the layers that the family uses."""
    prefix = text_encoder_prefix(family)
    config = CLIPTextConfig(**family_fields(family)["text_encoder"])
    weights = _read(file, (prefix,), dtype)
    with torch.device("meta"):
        empty = CLIPTextModel(config)
    if prefix == OPEN_CLIP:
        converted = convert_open_clip_checkpoint(empty, weights, prefix=prefix)
    else:
        converted = convert_ldm_clip_checkpoint(weights)
    # The library's releases differ in whether its own names begin so.
    bare = {key.removeprefix("text_model."): weight for key, weight in converted.items()}
    wanted = empty.state_dict()
    used = {k: bare[b] for k in wanted if (b := k.removeprefix("text_model.")) in bare}
    _check(wanted, used, file, "CLIPTextModel")
    return CLIPTextModel.from_pretrained(None, config=config, state_dict=used, dtype=dtype)


def load_tokenizer(family: str) -> Any:
    """OpenAI's byte-pair vocabulary, as open_clip ships it, in the tokenizer that diffusers uses."""
    source = SimpleTokenizer()
    *tokens, _, _ = source.encoder
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    fields = family_fields(family)
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=list(source.bpe_ranks),
        model_max_length=fields["text_encoder"]["max_position_embeddings"],
        **fields["tokenizer"],
    )


def _read(file: Path, starts: tuple[str, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights whose names begin so, in memory of their own: the file may go away."""
    with safe_open(file, framework="pt") as stored:
        names = [name for name in stored.keys() if name.startswith(starts)]  # noqa: SIM118
        return {name: stored.get_tensor(name).to(dtype, copy=True) for name in names}


def _renamed(key: str) -> str:
    *path, layer, kind = key.split(".")
    return ".".join([*path, _OLD_ATTENTION.get(layer, layer), kind])


def _filled(kind: Any, config: dict[str, Any], weights: dict[str, Tensor], file: Path) -> Any:
    with torch.device("meta"):
        model = kind.from_config(config)
    _check(model.state_dict(), weights, file, kind.__name__)
    model.load_state_dict(weights, assign=True)
    return model


def _check(wanted: dict[str, Tensor], got: dict[str, Tensor], file: Path, part: str) -> None:
    """Refuse weights unless they are all that `wanted` names, at its shapes."""
    missing, spare = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    if missing or spare:
        first = f"without {missing[0]}" if missing else f"with {spare[0]}"
        raise ModelError(
            f"{file}: {part} must have {len(wanted)} weights, got one {first} "
            f"({len(missing)} missing, {len(spare)} others)"
        )
    for name, weight in wanted.items():
        if got[name].shape != weight.shape:
            raise ModelError(
                f"{file}: {part} must have {name} of {tuple(weight.shape)}, "
                f"got {tuple(got[name].shape)}"
            )
