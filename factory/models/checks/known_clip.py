"""What open_clip's config and Stable Diffusion XL's index may say (known_configs.py has the rest)."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from factory.models.checks.known_configs import (
    Count,
    Depth,
    KnownConfig,
    Plain,
    Positive,
    Share,
    Simple,
    Token,
    Width,
    Word,
)


class _Tower(KnownConfig):
    width: Width = 512
    mlp_ratio: Positive = 4.0
    ls_init_value: Positive | None = None
    final_ln_after_pool: bool = False
    output_tokens: bool = False
    act_kwargs: dict[str, Plain] | None = None
    norm_kwargs: dict[str, Plain] | None = None
    block_type: Literal["default", "custom", None] = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


class Vision(_Tower):
    """open_clip's `CLIPVisionCfg`."""

    layers: Depth | Annotated[list[Count], Field(min_length=4, max_length=4)] = 12
    width: Width = 768
    head_width: Width = 64
    patch_size: Width | Annotated[list[Width], Field(min_length=2, max_length=2)] | None = 16
    image_size: Width | Annotated[list[Width], Field(min_length=2, max_length=2)] = 224
    patch_dropout: Share = 0.0
    attentional_pool: bool | Literal["parallel", "cascade"] = False
    attn_pooler_queries: Count | Width = 256
    attn_pooler_heads: Count = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    pool_type: Literal["tok", "avg", "none"] = "tok"
    timm_model_name: Word | None = None
    timm_model_pretrained: Literal[False, None] = False
    timm_pool: Word = "avg"
    timm_proj: Word | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: Share = 0.0
    timm_drop_path: Share | None = None


class Text(_Tower):
    """open_clip's `CLIPTextCfg`; a text tower of another library would come from a hub."""

    context_length: Width = 77
    vocab_size: Token = 49408
    hf_tokenizer_name: Word | None = None
    """In a folder it only says that the tokenizer lies in the folder."""
    tokenizer_mode: Literal["clips", None] = None
    tokenizer_kwargs: dict[str, Plain] | None = None
    heads: Count = 8
    layers: Depth = 12
    embed_cls: bool = False
    pad_id: Token = 0
    eos_id: Token = 2
    no_causal_mask: bool = False
    pool_type: Literal["first", "last", "argmax", "eos", "none"] = "argmax"
    proj_bias: bool = False
    proj_type: Literal["linear", "none"] = "linear"
    hf_model_name: Literal[None] = None
    hf_model_pretrained: Plain = None
    hf_proj_type: Plain = None
    hf_pooler_type: Plain = None


class Clip(KnownConfig):
    """A model's config as open_clip has it."""

    embed_dim: Width
    vision_cfg: Vision
    text_cfg: Text
    quick_gelu: bool = False
    custom_text: bool = False
    multimodal_cfg: Simple = None
    init_logit_scale: float | None = None
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False
    output_dict: bool = False


class _Preprocessing(KnownConfig):
    size: Width | list[Width] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    interpolation: Word | None = None
    resize_mode: Word | None = None
    fill_color: Plain = None


class ClipFolder(KnownConfig):
    """open_clip_config.json."""

    model_config = ConfigDict(protected_namespaces=())
    model_cfg: Clip
    preprocess_cfg: _Preprocessing = _Preprocessing()


Component = Annotated[list[Word | None], Field(min_length=2, max_length=2)]


class XlIndex(KnownConfig):
    """model_index.json of Stable Diffusion XL, of which two truths are read; no class in it is loaded."""

    class_name: Annotated[str, Field(pattern=r"^StableDiffusionXL\w{0,60}$")] | None = Field(
        None, alias="_class_name"
    )
    diffusers_version: Plain = Field(None, alias="_diffusers_version")
    name_or_path: Plain = Field(None, alias="_name_or_path")
    unet: Component | None = None
    vae: Component | None = None
    text_encoder: Component | None = None
    text_encoder_2: Component | None = None
    tokenizer: Component | None = None
    tokenizer_2: Component | None = None
    scheduler: Component | None = None
    image_encoder: Component | None = None
    feature_extractor: Component | None = None
    safety_checker: Component | None = None
    force_zeros_for_empty_prompt: bool = True
    requires_aesthetics_score: Any = False
    is_cosxl_edit: Any = False
    add_watermarker: bool | None = None
    requires_safety_checker: bool | None = None
