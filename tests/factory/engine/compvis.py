"""Write diffusers' weights under CompVis' names: the other way round from what the engine reads.

From the modules of CompVis' `openaimodel.py` and `autoencoder.py` and open_clip's transformer: blocks
count through all levels, upsamplers sit behind attention where there is any, the autoencoder's
levels count up from the finest, and its attention is made of 1x1 convolutions.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}


def unet_weights(weights: Weights, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Under `model.diffusion_model.`."""
    names = {name: _unet_name(name, config) for name in weights}
    assert len(set(names.values())) == len(weights)
    return {f"model.diffusion_model.{names[name]}": weight for name, weight in weights.items()}


def _unet_name(name: str, config: Mapping[str, Any]) -> str:
    layers = int(config["layers_per_block"])
    for ours, theirs in _ENDS.items():
        if name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    if found := re.fullmatch(r"mid_block\.(\w+\.\d)\.(.*)", name):
        return f"middle_block.{_MIDDLE[found[1]]}.{_inner(found[1], found[2])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert found, name
    side, level, kind, index = found[1], int(found[2]), found[3], int(found[4])
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op{found[5].removeprefix('conv')}"
    if kind == "upsamplers":
        behind = 2 if config["up_block_types"][level].startswith("CrossAttn") else 1
        return f"output_blocks.{level * (layers + 1) + layers}.{behind}.{found[5]}"
    # Level by level, each down block with its downsampler as one more.
    first = 1 if side == "down" else 0
    block = first + level * (layers + 1) + index
    place = "input_blocks" if side == "down" else "output_blocks"
    return f"{place}.{block}.{int(kind == 'attentions')}.{_inner(kind, found[5])}"


def _inner(kind: str, rest: str) -> str:
    if kind.startswith("attentions"):
        return rest
    part, _, end = rest.partition(".")
    return f"{_RESIDUAL[part]}.{end}"


def autoencoder_weights(weights: Weights, levels: int, prefix: str = "") -> dict[str, Tensor]:
    """Under `prefix`: none for a file of its own, `first_stage_model.` in a checkpoint."""
    return {
        prefix + _autoencoder_name(name, levels): weight[..., None, None]
        if ".attentions." in name and ".to_" in name and weight.ndim == 2
        else weight
        for name, weight in weights.items()
    }


def _autoencoder_name(name: str, levels: int) -> str:
    name = re.sub(r"down_blocks\.(\d)\.", r"down.\1.", name)
    name = re.sub(r"up_blocks\.(\d)\.", lambda found: f"up.{levels - 1 - int(found[1])}.", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda f: f"mid.block_{int(f[1]) + 1}", name)
    name = re.sub(r"\.resnets\.(\d)", r".block.\1", name)
    for ours, theirs in {
        "mid_block.attentions.0": "mid.attn_1",
        "group_norm": "norm",
        "to_out.0": "proj_out",
        "samplers.0": "sample",
        "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
    }.items():
        name = name.replace(ours, theirs)
    return re.sub(r"\.to_([qkv])\.", r".\1.", name)


def openai_text_weights(weights: Weights) -> dict[str, Tensor]:
    """SD 1.x: transformers' own names of before 2026, with the buffer that they came with."""
    start = "cond_stage_model.transformer.text_model."
    named = {start + name.removeprefix("text_model."): w for name, w in weights.items()}
    return named | {f"{start}embeddings.position_ids": torch.arange(77)[None]}


def open_clip_text_weights(weights: Weights, unused_layers: int = 1) -> dict[str, Tensor]:
    """SD 2.x: open_clip's names, with the last layer that Stable Diffusion leaves out."""
    weights = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    named = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
    }
    width = named["positional_embedding"].shape[1]
    named["text_projection"] = torch.ones(width, width, dtype=named["positional_embedding"].dtype)
    named["logit_scale"] = torch.ones(())
    layers = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("encoder.layers."))
    for layer in range(layers + unused_layers):
        ours = f"encoder.layers.{min(layer, layers - 1)}"
        theirs = f"transformer.resblocks.{layer}"
        for end in ("weight", "bias"):
            for one, other in {
                "layer_norm1": "ln_1",
                "layer_norm2": "ln_2",
                "mlp.fc1": "mlp.c_fc",
                "mlp.fc2": "mlp.c_proj",
                "self_attn.out_proj": "attn.out_proj",
            }.items():
                named[f"{theirs}.{other}.{end}"] = weights[f"{ours}.{one}.{end}"].clone()
            stacked = [weights[f"{ours}.self_attn.{part}_proj.{end}"] for part in "qkv"]
            named[f"{theirs}.attn.in_proj_{end}"] = torch.cat(stacked)
    return {f"cond_stage_model.model.{name}": weight for name, weight in named.items()}
