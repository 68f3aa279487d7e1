"""Whether the parts of a diffusers folder fit each other, by their configs; no weight is looked at."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from factory.errors import ModelError
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Tokenizer, Unet
from factory.models.checks.shapes import each
from factory.models.checks.tokens import check_tokens
from factory.models.configs import read_known
from factory.models.family_xl import PARTS as XL

_PER_BLOCK = (
    *("up_block_types", "block_out_channels", "attention_head_dim", "layers_per_block"),
    *("transformer_layers_per_block", "reverse_transformer_layers_per_block"),
)
"""Keys of a UNet whose lists have one entry for each of its blocks."""


def _must(file: Path, holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise ModelError(f"{file}: {rule}, got {got}")


def read_unet(folder: Path) -> Unet:
    """Raises `ModelError` for numbers that no network has."""
    file = folder / "unet" / "config.json"
    unet = read_known(file, Unet)
    blocks = len(unet.down_block_types)
    for key in _PER_BLOCK:
        value = getattr(unet, key)
        if isinstance(value, list):
            _must(
                file,
                len(value) == blocks,
                f"{key} must have one entry for each of down_block_types, {blocks}",
                len(value),
            )
    _check_layers(file, unet)
    _check_groups(file, unet.block_out_channels, unet.norm_num_groups)
    heads = each(unet.attention_head_dim, blocks)
    for width, count in zip(unet.block_out_channels, heads, strict=True):
        _must(
            file,
            width % count == 0,
            f"attention_head_dim must divide {width}, its block's width",
            count,
        )
    if unet.addition_embed_type is not None:
        for key in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            _must(file, getattr(unet, key) is not None, f"{key} must be given", "none")
    return unet


def _check_layers(file: Path, unet: Unet) -> None:
    """Blocks whose transformers differ must say each one's layers."""
    counts = each(unet.layers_per_block, len(unet.down_block_types))
    key, ups = "transformer_layers_per_block", unet.reverse_transformer_layers_per_block
    depths = unet.transformer_layers_per_block
    nested = isinstance(depths, list) and any(isinstance(depth, list) for depth in depths)
    _must(file, not nested or ups is not None, f"reverse_{key} must be given", "none")
    for name, found, needed in (
        (key, depths, counts),
        (f"reverse_{key}", ups, [count + 1 for count in counts[::-1]]),
    ):
        for depth, count in zip(found if isinstance(found, list) else (), needed, strict=False):
            if isinstance(depth, list):
                _must(
                    file,
                    len(depth) == count,
                    f"{name} must have one entry for each of a block's {count} layers",
                    len(depth),
                )


def read_autoencoder(file: Path) -> Autoencoder:
    """Raises `ModelError` for numbers that no network has, and latents that are shifted."""
    vae = read_known(file, Autoencoder)
    blocks = len(vae.block_out_channels)
    for key in ("down_block_types", "up_block_types"):
        count = len(getattr(vae, key))
        _must(
            file,
            count == blocks,
            f"{key} must have one entry for each of block_out_channels, {blocks}",
            count,
        )
    _check_groups(file, vae.block_out_channels, vae.norm_num_groups)
    return vae


def _check_groups(file: Path, widths: Iterable[int], groups: int) -> None:
    for width in widths:
        _must(
            file,
            width % groups == 0,
            f"norm_num_groups must divide all of block_out_channels, {width} among them",
            groups,
        )


def check_latents(file: Path, vae: Autoencoder, unet: Unet) -> None:
    """Raise `ModelError` unless an autoencoder's latents are what a UNet makes."""
    _must(
        file,
        vae.latent_channels == unet.out_channels,
        f"latent_channels must be {unet.out_channels}, the U-Net's",
        vae.latent_channels,
    )
    # After the channels, which tell another family's autoencoder better.
    _must(file, not vae.shift_factor, "shift_factor must be null", vae.shift_factor)
    for key in ("latents_mean", "latents_std"):
        _must(file, getattr(vae, key) is None, f"{key} must be null", getattr(vae, key))


def check_scaling(file: Path, vae: Autoencoder, own: Autoencoder, whose: str) -> None:
    """Raise `ModelError` unless another autoencoder scales its latents as a model's own one."""
    near = abs(vae.scaling_factor - own.scaling_factor) < 1e-4 * own.scaling_factor
    _must(file, near, f"scaling_factor must be {own.scaling_factor}, {whose}", vae.scaling_factor)


def check_channels(folder: Path, unet: Unet) -> None:
    """Raise `ModelError` unless a UNet takes latents, or latents and a picture's beside them."""
    latents = unet.out_channels
    _must(
        folder / "unet" / "config.json",
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
        file = folder / name / "config.json"
        text = read_known(file, TextEncoder)
        _must(
            file,
            text.hidden_size % text.num_attention_heads == 0,
            f"num_attention_heads must divide {text.hidden_size}, hidden_size",
            text.num_attention_heads,
        )
        texts[name] = text
        _check_tokenizer(folder / name.replace("text_encoder", "tokenizer"), text)
    if len(names) == 1:
        width = texts["text_encoder"].hidden_size
        _must(
            folder / "unet" / "config.json",
            unet.cross_attention_dim == width,
            f"cross_attention_dim must be {width}, the text encoder's hidden_size",
            unet.cross_attention_dim,
        )
    return texts


def _check_tokenizer(folder: Path, text: TextEncoder) -> None:
    """Raise `ModelError` for more tokens, or other ones, than a text encoder has places for."""
    file, positions = folder / "tokenizer_config.json", text.max_position_embeddings
    config = read_known(file, Tokenizer)
    limit: Any = config.model_max_length
    whose = f"the text encoder's {positions}"
    # 10^30 is what its library writes where nobody told it.
    _must(
        file,
        limit is not None and limit < 1e9,
        f"model_max_length must be {whose}",
        "none" if limit is None else f"{limit:.0e}",
    )
    _must(
        file,
        limit == int(limit) and 3 <= limit <= positions,
        f"model_max_length must be {whose}, or at least 3 and fewer",
        limit,
    )
    kind = config.tokenizer_class
    _must(
        file,
        kind in (None, "CLIPTokenizer", "CLIPTokenizerFast"),
        "tokenizer_class must be CLIPTokenizer",
        repr(kind),
    )
    check_tokens(folder, text.vocab_size, "the text encoder's vocab_size")
