"""The weights that a config asks for, by diffusers' and transformers' names, with shapes; none is made.

Source: `UNet2DConditionModel`, `AutoencoderKL`, `CLIPTextModel`, against which tests hold every line.
"""

from collections.abc import Sequence
from typing import Any

from factory.models.checks.known_configs import Autoencoder, TextEncoder, Unet

Shapes = dict[str, tuple[int, ...]]

TIME_WIDTHS = 4
"""Of the embedded timestep in widths of the first block."""


def affine(name: str, width: int) -> Shapes:
    """Of a norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def dense(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    """Of a matrix, and of what it adds."""
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _conv(name: str, inputs: int, outputs: int, side: int = 3) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def _resnet(name: str, inputs: int, outputs: int, time: int | None) -> Shapes:
    found = affine(f"{name}.norm1", inputs) | _conv(f"{name}.conv1", inputs, outputs)
    if time is not None:
        found |= dense(f"{name}.time_emb_proj", time, outputs)
    found |= affine(f"{name}.norm2", outputs) | _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        found |= _conv(f"{name}.conv_shortcut", inputs, outputs, side=1)
    return found


def _attention(name: str, width: int, context: int, bias: bool = False) -> Shapes:
    found = dense(f"{name}.to_q", width, width, bias)
    for of in ("to_k", "to_v"):
        found |= dense(f"{name}.{of}", context, width, bias)
    return found | dense(f"{name}.to_out.0", width, width)


def _transformer(name: str, width: int, context: int, layers: int, linear: bool) -> Shapes:
    found = affine(f"{name}.norm", width)
    for of in ("proj_in", "proj_out"):
        ends = f"{name}.{of}", width, width
        found |= dense(*ends) if linear else _conv(*ends, side=1)
    for i in range(layers):
        block = f"{name}.transformer_blocks.{i}"
        for norm in ("norm1", "norm2", "norm3"):
            found |= affine(f"{block}.{norm}", width)
        found |= _attention(f"{block}.attn1", width, width)
        found |= _attention(f"{block}.attn2", width, context)
        found |= dense(f"{block}.ff.net.0.proj", width, 8 * width)
        found |= dense(f"{block}.ff.net.2", 4 * width, width)
    return found


def each(value: Any, blocks: int) -> list[Any]:
    """One entry for each block, of a list or of the number that stands for all."""
    return [value] * blocks if isinstance(value, int) else list(value)


def unet_shapes(unet: Unet) -> Shapes:
    """Of a UNet whose lists have one entry for each block."""
    widths, blocks = unet.block_out_channels, len(unet.block_out_channels)
    layers, time = each(unet.layers_per_block, blocks), TIME_WIDTHS * widths[0]
    # Layers of each block's transformers; a list has one for each of them.
    down = each(unet.transformer_layers_per_block, blocks)
    up = unet.reverse_transformer_layers_per_block or down[::-1]
    context, linear = unet.cross_attention_dim, unet.use_linear_projection

    def transformer(block: str, i: int, width: int, depth: int | list[int]) -> Shapes:
        depth = depth if isinstance(depth, int) else depth[i]
        return _transformer(f"{block}.attentions.{i}", width, context, depth, linear)

    found = _conv("conv_in", unet.in_channels, widths[0])
    found |= dense("time_embedding.linear_1", widths[0], time)
    found |= dense("time_embedding.linear_2", time, time)
    if unet.time_cond_proj_dim:
        found |= dense("time_embedding.cond_proj", unet.time_cond_proj_dim, widths[0], bias=False)
    if unet.addition_embed_type:
        found |= dense(
            "add_embedding.linear_1", unet.projection_class_embeddings_input_dim or 0, time
        )
        found |= dense("add_embedding.linear_2", time, time)
    before = widths[0]
    for b, width in enumerate(widths):
        block = f"down_blocks.{b}"
        for i in range(layers[b]):
            found |= _resnet(f"{block}.resnets.{i}", before if i == 0 else width, width, time)
            if unet.down_block_types[b].startswith("CrossAttn"):
                found |= transformer(block, i, width, down[b])
        if b < blocks - 1:
            found |= _conv(f"{block}.downsamplers.0.conv", width, width)
        before = width
    if unet.mid_block_type:
        found |= _resnet("mid_block.resnets.0", before, before, time)
        if unet.mid_block_type.endswith("CrossAttn"):
            found |= transformer("mid_block", 0, before, down[-1])
            found |= _resnet("mid_block.resnets.1", before, before, time)
    backwards = widths[::-1]
    for b, width in enumerate(backwards):
        block, beside = f"up_blocks.{b}", backwards[min(b + 1, blocks - 1)]
        count = layers[::-1][b] + 1
        for i in range(count):
            skipped = beside if i == count - 1 else width
            inputs = (before if i == 0 else width) + skipped
            found |= _resnet(f"{block}.resnets.{i}", inputs, width, time)
            if unet.up_block_types[b].startswith("CrossAttn"):
                found |= transformer(block, i, width, up[b])
        if b < blocks - 1:
            found |= _conv(f"{block}.upsamplers.0.conv", width, width)
        before = width
    found |= affine("conv_norm_out", widths[0])
    return found | _conv("conv_out", widths[0], unet.out_channels)


def autoencoder_shapes(vae: Autoencoder) -> Shapes:
    """Of both halves."""
    widths, latents = vae.block_out_channels, vae.latent_channels
    found = _conv("encoder.conv_in", vae.in_channels, widths[0])
    found |= _half("encoder", widths, vae.layers_per_block, vae.mid_block_add_attention)
    found |= _conv("encoder.conv_out", widths[-1], 2 * latents)
    found |= _conv("decoder.conv_in", latents, widths[-1])
    found |= _half("decoder", widths[::-1], vae.layers_per_block + 1, vae.mid_block_add_attention)
    found |= _conv("decoder.conv_out", widths[0], vae.out_channels)
    if vae.use_quant_conv:
        found |= _conv("quant_conv", 2 * latents, 2 * latents, side=1)
    if vae.use_post_quant_conv:
        found |= _conv("post_quant_conv", latents, latents, side=1)
    return found


def _half(half: str, widths: Sequence[int], layers: int, attends: bool) -> Shapes:
    found: Shapes = {}
    encodes, before = half == "encoder", widths[0]
    blocks, resizer = ("down_blocks", "downsamplers") if encodes else ("up_blocks", "upsamplers")
    for b, width in enumerate(widths):
        for i in range(layers):
            name = f"{half}.{blocks}.{b}.resnets.{i}"
            found |= _resnet(name, before if i == 0 else width, width, None)
        if b < len(widths) - 1:
            found |= _conv(f"{half}.{blocks}.{b}.{resizer}.0.conv", width, width)
        before = width
    middle = widths[-1] if encodes else widths[0]
    for i in (0, 1):
        found |= _resnet(f"{half}.mid_block.resnets.{i}", middle, middle, None)
    if attends:
        found |= affine(f"{half}.mid_block.attentions.0.group_norm", middle)
        found |= _attention(f"{half}.mid_block.attentions.0", middle, middle, bias=True)
    return found | affine(f"{half}.conv_norm_out", widths[-1])


def text_shapes(text: TextEncoder, projects: bool) -> Shapes:
    """Without the `text_model.` that some releases put before all but the projection."""
    width = text.hidden_size
    found: Shapes = {
        "embeddings.token_embedding.weight": (text.vocab_size, width),
        "embeddings.position_embedding.weight": (text.max_position_embeddings, width),
    }
    for i in range(text.num_hidden_layers):
        found |= _text_layer(f"encoder.layers.{i}", width, text.intermediate_size)
    found |= affine("final_layer_norm", width)
    if projects:
        found["text_projection.weight"] = (text.projection_dim or 0, width)
    return found


def _text_layer(name: str, width: int, inner: int) -> Shapes:
    found = affine(f"{name}.layer_norm1", width) | affine(f"{name}.layer_norm2", width)
    for of in ("q_proj", "k_proj", "v_proj", "out_proj"):
        found |= dense(f"{name}.self_attn.{of}", width, width)
    return found | dense(f"{name}.mlp.fc1", width, inner) | dense(f"{name}.mlp.fc2", inner, width)
