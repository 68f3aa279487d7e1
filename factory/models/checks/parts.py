"""Whether the parts of a diffusers folder fit each other, by their configs; no weight is looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Tokenizer, Unet
from factory.models.checks.tokens import check_tokens
from factory.models.configs import read_known
from factory.models.family_xl import PARTS as XL


@dataclass(frozen=True)
class Part:
    """A config and where it lies."""

    file: Path
    config: Any

    def must(self, holds: bool, rule: str, got: object) -> None:
        """Raise `ModelError` unless it holds."""
        if not holds:
            raise ModelError(f"{self.file}: {rule}, got {got}")


def read_unet(folder: Path) -> Unet:
    """Raises `ModelError` for numbers that no network has."""
    part = Part(folder / "unet" / "config.json", read_known(folder / "unet" / "config.json", Unet))
    unet: Unet = part.config
    blocks = len(unet.down_block_types)
    lists: dict[str, Any] = {
        "up_block_types": unet.up_block_types,
        "block_out_channels": unet.block_out_channels,
        "attention_head_dim": unet.attention_head_dim,
        "layers_per_block": unet.layers_per_block,
        "transformer_layers_per_block": unet.transformer_layers_per_block,
        "reverse_transformer_layers_per_block": unet.reverse_transformer_layers_per_block,
    }
    for key, value in lists.items():
        if isinstance(value, list):
            part.must(
                len(value) == blocks,
                f"{key} must have one entry for each of down_block_types, {blocks}",
                len(value),
            )
    _check_layers(part, unet)
    _check_groups(part, unet.block_out_channels, unet.norm_num_groups)
    heads = unet.attention_head_dim
    for width, count in zip(
        unet.block_out_channels, [heads] * blocks if isinstance(heads, int) else heads, strict=True
    ):
        part.must(
            width % count == 0, f"attention_head_dim must divide {width}, its block's width", count
        )
    if unet.addition_embed_type is not None:
        for key in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            part.must(getattr(unet, key) is not None, f"{key} must be given", "none")
    return unet


def _check_layers(part: Part, unet: Unet) -> None:
    """Blocks whose transformers differ must say each one's layers."""
    blocks = len(unet.down_block_types)
    layers = unet.layers_per_block
    counts = [layers] * blocks if isinstance(layers, int) else list(layers)
    key, ups = "transformer_layers_per_block", unet.reverse_transformer_layers_per_block
    depths = unet.transformer_layers_per_block
    nested = isinstance(depths, list) and any(isinstance(depth, list) for depth in depths)
    part.must(not nested or ups is not None, f"reverse_{key} must be given", "none")
    for name, found, needed in (
        (key, depths, counts),
        (f"reverse_{key}", ups, [count + 1 for count in counts[::-1]]),
    ):
        for depth, count in zip(found if isinstance(found, list) else (), needed, strict=False):
            if isinstance(depth, list):
                part.must(
                    len(depth) == count,
                    f"{name} must have one entry for each of a block's {count} layers",
                    len(depth),
                )


def read_autoencoder(file: Path) -> Autoencoder:
    """Raises `ModelError` for numbers that no network has, and latents that are shifted."""
    part = Part(file, read_known(file, Autoencoder))
    vae: Autoencoder = part.config
    blocks = len(vae.block_out_channels)
    for key in ("down_block_types", "up_block_types"):
        count = len(getattr(vae, key))
        part.must(
            count == blocks,
            f"{key} must have one entry for each of block_out_channels, {blocks}",
            count,
        )
    _check_groups(part, vae.block_out_channels, vae.norm_num_groups)
    return vae


def _check_groups(part: Part, widths: Iterable[int], groups: int) -> None:
    for width in widths:
        part.must(
            width % groups == 0,
            f"norm_num_groups must divide all of block_out_channels, {width} among them",
            groups,
        )


def check_latents(file: Path, vae: Autoencoder, unet: Unet) -> None:
    """Raise `ModelError` unless an autoencoder's latents are what a UNet makes."""
    part = Part(file, vae)
    part.must(
        vae.latent_channels == unet.out_channels,
        f"latent_channels must be {unet.out_channels}, the U-Net's",
        vae.latent_channels,
    )
    # After the channels, which tell another family's autoencoder better.
    part.must(not vae.shift_factor, "shift_factor must be null", vae.shift_factor)
    for key in ("latents_mean", "latents_std"):
        part.must(getattr(vae, key) is None, f"{key} must be null", getattr(vae, key))


def check_scaling(file: Path, vae: Autoencoder, own: Autoencoder, whose: str) -> None:
    """Raise `ModelError` unless another autoencoder scales its latents as a model's own one."""
    near = abs(vae.scaling_factor - own.scaling_factor) < 1e-4 * own.scaling_factor
    Part(file, vae).must(
        near, f"scaling_factor must be {own.scaling_factor}, {whose}", vae.scaling_factor
    )


def check_channels(folder: Path, unet: Unet) -> None:
    """Raise `ModelError` unless a UNet takes latents, or latents and a picture's beside them."""
    latents = unet.out_channels
    Part(folder / "unet" / "config.json", unet).must(
        unet.in_channels in (latents, 2 * latents),
        f"in_channels must be {latents}, its out_channels, or {2 * latents} of an editor",
        unet.in_channels,
    )


def read_texts(folder: Path, unet: Unet) -> dict[str, TextEncoder]:
    """The text encoders by their folders. Raises `ModelError` where they do not fit the rest."""
    names = ["text_encoder"]
    if unet.addition_embed_type:
        names.append(XL[0])
    texts: dict[str, TextEncoder] = {}
    for name in names:
        part = Part(
            folder / name / "config.json", read_known(folder / name / "config.json", TextEncoder)
        )
        text: TextEncoder = part.config
        part.must(
            text.hidden_size % text.num_attention_heads == 0,
            f"num_attention_heads must divide {text.hidden_size}, hidden_size",
            text.num_attention_heads,
        )
        texts[name] = text
        _check_tokenizer(folder / name.replace("text_encoder", "tokenizer"), text)
    if len(names) == 1:
        width = texts["text_encoder"].hidden_size
        Part(folder / "unet" / "config.json", unet).must(
            unet.cross_attention_dim == width,
            f"cross_attention_dim must be {width}, the text encoder's hidden_size",
            unet.cross_attention_dim,
        )
    return texts


def _check_tokenizer(folder: Path, text: TextEncoder) -> None:
    """Raise `ModelError` for more tokens, or other ones, than a text encoder has places for."""
    file, positions = folder / "tokenizer_config.json", text.max_position_embeddings
    part = Part(file, read_known(file, Tokenizer))
    limit = part.config.model_max_length
    whose = f"the text encoder's {positions}"
    # 10^30 is what its library writes where nobody told it.
    part.must(
        limit is not None and limit < 1e9,
        f"model_max_length must be {whose}",
        "none" if limit is None else f"{limit:.0e}",
    )
    part.must(
        limit == int(limit) and 3 <= limit <= positions,
        f"model_max_length must be {whose}, or at least 3 and fewer",
        limit,
    )
    kind = part.config.tokenizer_class
    part.must(
        kind in (None, "CLIPTokenizer", "CLIPTokenizerFast"),
        "tokenizer_class must be CLIPTokenizer",
        repr(kind),
    )
    check_tokens(folder, text.vocab_size, "the text encoder's vocab_size")
