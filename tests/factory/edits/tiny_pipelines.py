"""Editing pipelines of random weights, as small as their classes allow, made without a network."""

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    T5Config,
    T5EncoderModel,
)

from factory.models.find import MINIATURE

EDITOR = MINIATURE / "editor"
"""A whole `StableDiffusionInstructPix2PixPipeline`."""


def words_tokenizer(most=77):
    """One that knows letters; anything else is unknown."""
    names = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    known = {name: number for number, name in enumerate(names)}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=most, **special)


def flow():
    return FlowMatchEulerDiscreteScheduler()


def save_kontext(folder):
    """A `FluxKontextPipeline`, whose autoencoder halves the sides: 4 is their multiple."""
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        small = {"intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
        clip = CLIPTextConfig(
            **small, hidden_size=8, vocab_size=40, projection_dim=8, bos_token_id=1, eos_token_id=2
        )
        t5 = T5Config(d_model=8, d_ff=8, d_kv=4, num_heads=2, num_layers=1, vocab_size=40)
        whole = FluxKontextPipeline(
            scheduler=flow(),
            vae=AutoencoderKL(
                block_out_channels=(4, 4),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                latent_channels=4,
                norm_num_groups=2,
                use_quant_conv=False,
                use_post_quant_conv=False,
                shift_factor=0.1,
                scaling_factor=0.4,
            ),
            text_encoder=CLIPTextModel(clip),
            tokenizer=words_tokenizer(),
            text_encoder_2=T5EncoderModel(t5),
            tokenizer_2=words_tokenizer(512),
            transformer=FluxTransformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=8,
                pooled_projection_dim=8,
                axes_dims_rope=(2, 2, 4),
                guidance_embeds=True,
            ),
        )
    whole.save_pretrained(folder)
    return folder


def save_qwen(folder, plus=False):
    """A `QwenImageEditPipeline`, or the later one, which takes one picture a call."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    # Bytes as GPT-2 writes them.
    letters = [*map(chr, range(33, 127)), *map(chr, range(161, 173)), *map(chr, range(174, 324))]
    vocabulary = {name: number for number, name in enumerate([*letters, *special])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    number = tokenizer.convert_tokens_to_ids
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "rope_scaling": {"type": "default", "mrope_section": [1, 1, 2]},
        "rope_theta": 1e6,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "fullatt_block_indexes": [0],
        "window_size": 112,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    kind = QwenImageEditPlusPipeline if plus else QwenImageEditPipeline
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        whole = kind(
            scheduler=flow(),
            vae=AutoencoderKLQwenImage(
                base_dim=4,
                z_dim=4,
                dim_mult=[1, 1, 1, 1],
                num_res_blocks=1,
                temperal_downsample=[False, True, True],
                latents_mean=[0.0] * 4,
                latents_std=[1.0] * 4,
            ),
            text_encoder=Qwen2_5_VLForConditionalGeneration(config),
            tokenizer=tokenizer,
            processor=Qwen2VLProcessor(
                image_processor=Qwen2VLImageProcessor(),
                tokenizer=tokenizer,
                video_processor=Qwen2VLVideoProcessor(),
            ),
            transformer=QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=16,
                axes_dims_rope=(8, 4, 4),
            ),
        )
    whole.save_pretrained(folder)
    return folder
