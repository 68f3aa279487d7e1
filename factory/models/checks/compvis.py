"""The weights of a checkpoint in one file: CompVis' names and shapes for those of diffusers.

Source: `ldm/modules/diffusionmodules/openaimodel.py` and `model.py` of CompVis' Stable Diffusion, and of
open_clip's text encoder `transformer.py`; diffusers' converters go the other way.
"""

import re
from collections.abc import Sequence

from factory.models.checks.clip import transformer
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Unet
from factory.models.checks.shapes import Shapes, autoencoder_shapes, text_shapes, unet_shapes

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_names(unet: Unet) -> Shapes:
    """Of a UNet whose blocks have equally many layers, without the checkpoint's prefix."""
    layers = unet.layers_per_block
    assert isinstance(layers, int)
    return {
        _unet_name(name, layers, unet.up_block_types): shape
        for name, shape in unet_shapes(unet).items()
    }


def _unet_name(name: str, layers: int, up: Sequence[str]) -> str:
    part, kind = name.rsplit(".", 1)
    if part in _OUTER:
        return f"{_OUTER[part]}.{kind}"
    where = re.fullmatch(r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", part)
    assert where is not None, name
    side, number, what, i, rest = where[1], int(where[2] or 0), where[3], int(where[4]), where[5]
    if what == "resnets":
        rest = _RESNET[rest]
    if side == "mid":
        return f"middle_block.{1 if what == 'attentions' else 2 * i}.{rest}.{kind}"
    if what == "downsamplers":
        return f"input_blocks.{(layers + 1) * (number + 1)}.0.op.{kind}"
    if what == "upsamplers":
        after = 2 if up[number].startswith("CrossAttn") else 1
        return f"output_blocks.{(layers + 1) * number + layers}.{after}.conv.{kind}"
    place = 1 if what == "attentions" else 0
    if side == "down":
        return f"input_blocks.{(layers + 1) * number + i + 1}.{place}.{rest}.{kind}"
    return f"output_blocks.{(layers + 1) * number + i}.{place}.{rest}.{kind}"


def autoencoder_names(vae: Autoencoder) -> Shapes:
    """Without the checkpoint's prefix."""
    blocks = len(vae.block_out_channels)
    found: Shapes = {}
    for name, shape in autoencoder_shapes(vae).items():
        name = _autoencoder_name(name, blocks)
        if re.search(r"attn_1\.\w+\.weight$", name) and len(shape) == 2:
            shape = (*shape, 1, 1)
        found[name] = shape
    return found


def _autoencoder_name(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(
        r"mid_block\.attentions\.0\.(group_norm|to_[qkv]|to_out\.0)",
        lambda m: f"mid.attn_1.{_ATTENTION[m[1]]}",
        name,
    )
    name = re.sub(
        r"up_blocks\.(\d+)",
        lambda m: f"up.{blocks - 1 - int(m[1])}",
        name.replace("down_blocks", "down"),
    )
    name = name.replace(".resnets.", ".block.")
    return name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")


def text_names(text: TextEncoder, of_open_clip: bool) -> Shapes:
    """Without the checkpoint's prefix; of open_clip's encoder only the layers that are used."""
    own = text_shapes(text, projects=False)
    if not of_open_clip:
        return {f"text_model.{name}": shape for name, shape in own.items()}
    width = text.hidden_size
    found: Shapes = {
        "token_embedding.weight": (text.vocab_size, width),
        "positional_embedding": (text.max_position_embeddings, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    return found | transformer("transformer", width, text.num_hidden_layers, text.intermediate_size)
