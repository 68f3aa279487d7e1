"""What the configs of a model's parts may say: Stable Diffusion 1.x', 2.x' and XL's keys, and their values.

The libraries act upon any key that they know: some fetch code from a hub, others start a quantiser. So a
config may hold what these parts have (defaults are the libraries' own, for old files lack many), what
releases and trainers of the past left in it and nobody reads, and nulls; nothing else.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=0, le=64)]
Count = Annotated[int, Field(ge=1, le=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Token = Annotated[int, Field(ge=-1, le=1_000_000)]
Word = Annotated[str, Field(max_length=300)]
Plain = Word | bool | int | float | None
"""Of keys that count for nothing."""
Simple = Plain | list[Plain] | dict[str, Plain]
PerBlock = list[Depth | list[Depth]]


class KnownConfig(BaseModel):
    """Values as JSON has them: no word becomes a number, no number a truth."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        defer_build=True,  # many commands look at no model
    )


class _Diffusers(KnownConfig):
    diffusers_version: Plain = Field(None, alias="_diffusers_version")
    name_or_path: Plain = Field(None, alias="_name_or_path")
    use_default_values: Simple = Field(None, alias="_use_default_values")
    # What its `EMAModel.save_pretrained` leaves.
    decay: Plain = None
    inv_gamma: Plain = None
    min_decay: Plain = None
    optimization_step: Plain = None
    power: Plain = None
    update_after_step: Plain = None
    use_ema_warmup: Plain = None


class Unet(_Diffusers):
    """`UNet2DConditionModel` as Stable Diffusion 1.x, 2.x, XL and their smaller children have it."""

    class_name: Literal["UNet2DConditionModel"] = Field("UNet2DConditionModel", alias="_class_name")
    sample_size: Width | list[Width] | None = None
    in_channels: Count = 4
    out_channels: Count = 4
    center_input_sample: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    down_block_types: Annotated[
        list[Literal["CrossAttnDownBlock2D", "DownBlock2D"]], Field(min_length=1, max_length=8)
    ] = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
    mid_block_type: Literal["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None] = (
        "UNetMidBlock2DCrossAttn"
    )
    up_block_types: Annotated[
        list[Literal["CrossAttnUpBlock2D", "UpBlock2D"]], Field(min_length=1, max_length=8)
    ] = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    only_cross_attention: Literal[False] = False
    block_out_channels: list[Width] = [320, 640, 1280, 1280]
    layers_per_block: Count | list[Count] = 2
    downsample_padding: Literal[1] = 1
    mid_block_scale_factor: Positive = 1
    dropout: Share = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    norm_num_groups: Width = 32
    norm_eps: Positive = 1e-5
    cross_attention_dim: Width = 1280
    transformer_layers_per_block: Depth | PerBlock = 1
    reverse_transformer_layers_per_block: PerBlock | None = None
    encoder_hid_dim: Literal[None] = None
    encoder_hid_dim_type: Literal[None] = None
    attention_head_dim: Width | list[Width] = 8
    """Heads, not their width: the library kept the name."""
    num_attention_heads: Literal[None] = None
    dual_cross_attention: Literal[False] = False
    use_linear_projection: bool = False
    class_embed_type: Literal[None] = None
    addition_embed_type: Literal["text_time", None] = None
    addition_time_embed_dim: Width | None = None
    num_class_embeds: Literal[None] = None
    upcast_attention: bool | None = False
    resnet_time_scale_shift: Literal["default"] = "default"
    resnet_skip_time_act: Literal[False] = False
    resnet_out_scale_factor: Positive = 1.0
    time_embedding_type: Literal["positional"] = "positional"
    time_embedding_dim: Literal[None] = None
    time_embedding_act_fn: Literal[None] = None
    timestep_post_act: Literal[None] = None
    time_cond_proj_dim: Width | None = None
    conv_in_kernel: Literal[3] = 3
    conv_out_kernel: Literal[3] = 3
    projection_class_embeddings_input_dim: Width | None = None
    attention_type: Literal["default"] = "default"
    class_embeddings_concat: Literal[False] = False
    mid_block_only_cross_attention: Literal[False, None] = None
    cross_attention_norm: Literal[None] = None
    addition_embed_type_num_heads: Plain = 64


class Autoencoder(_Diffusers):
    """`AutoencoderKL`."""

    class_name: Literal["AutoencoderKL"] = Field("AutoencoderKL", alias="_class_name")
    in_channels: Literal[3] = 3
    out_channels: Literal[3] = 3
    down_block_types: Annotated[
        list[Literal["DownEncoderBlock2D"]], Field(min_length=1, max_length=8)
    ] = ["DownEncoderBlock2D"]
    up_block_types: Annotated[
        list[Literal["UpDecoderBlock2D"]], Field(min_length=1, max_length=8)
    ] = ["UpDecoderBlock2D"]
    block_out_channels: list[Width] = [64]
    layers_per_block: Count = 1
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    latent_channels: Count = 4
    norm_num_groups: Width = 32
    sample_size: Width | list[Width] = 32
    scaling_factor: Positive = 0.18215
    shift_factor: float | None = None
    latents_mean: list[float] | None = None
    latents_std: list[float] | None = None
    force_upcast: bool | float = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


class TextEncoder(KnownConfig):
    """`CLIPTextModel`, and what configs of all models held in older releases of its library."""

    model_config = ConfigDict(protected_namespaces=())
    model_type: Literal["clip_text_model"] = "clip_text_model"
    vocab_size: Token = 49408
    hidden_size: Width = 512
    intermediate_size: Width = 2048
    projection_dim: Width | None = 512
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 8
    max_position_embeddings: Width = 77
    hidden_act: Literal["quick_gelu", "gelu", "gelu_new", "gelu_fast", "relu", "silu"] = (
        "quick_gelu"
    )
    layer_norm_eps: Positive = 1e-5
    attention_dropout: Share = 0.0
    dropout: Share = 0.0
    initializer_range: float = 0.02
    initializer_factor: float | None = 1.0
    pad_token_id: Token | None = 1
    bos_token_id: Token | None = 49406
    eos_token_id: Token | None = 49407
    dtype: Literal["float64", "float32", "float16", "bfloat16", None] = None
    torch_dtype: Literal["float64", "float32", "float16", "bfloat16", None] = None
    architectures: (
        list[Literal["CLIPTextModel", "CLIPTextModelWithProjection", "CLIPModel"]] | None
    ) = None
    name_or_path: Plain = Field(None, alias="_name_or_path")
    transformers_version: Plain = None
    return_dict: Literal[True] = True
    output_hidden_states: Literal[False] = False
    output_attentions: Literal[False] = False
    is_encoder_decoder: Literal[False] = False
    chunk_size_feed_forward: Literal[0] = 0
    pruned_heads: dict[str, Plain] | None = Field(None, max_length=0)


TEXT_LEFTOVERS = """
_commit_hash add_cross_attention bad_words_ids begin_suppress_tokens cross_attention_hidden_size
decoder_start_token_id diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label
is_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams
num_labels num_return_sequences output_scores prefix problem_type remove_invalid_values
repetition_penalty return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature
tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torchscript typical_p
use_bfloat16
"""
"""Of a text encoder's config: of other tasks, or of generating text."""
TOKENIZER_KEYS = """
__type add_bos_token add_eos_token add_prefix_space additional_special_tokens backend bos_token
clean_up_tokenization_spaces cls_token do_basic_tokenize do_lower_case eos_token errors extra_ids
extra_special_tokens from_slow is_local language_codes legacy local_files_only mask_token max_length
model_input_names name_or_path never_split pad_to_multiple_of pad_token pad_token_type_id padding_side
processor_class sep_token sp_model_kwargs spaces_between_special_tokens special_tokens_map_file
split_special_tokens src_lang stride strip_accents tgt_lang tokenize_chinese_chars trim_offsets
truncation_side truncation_strategy unk_token use_default_system_prompt use_fast verbose
"""
"""Of tokenizer_config.json, beside the class, the limit and the added tokens."""
SCHEDULER_KEYS = """
_diffusers_version _name_or_path _use_default_values algorithm_type base_image_seq_len base_shift
beta_max beta_min clip_sample clip_sample_range correct_steps disable_corrector
dynamic_thresholding_ratio eps eta euler_at_final final_sigmas_type flow_shift interpolation_type
invert_sigmas lambda_min_clipped lower_order_final max_image_seq_len max_shift noise_sampler_seed
num_inference_steps original_inference_steps predict_epsilon predict_x0 predictor_order rho s_churn
s_max s_min s_noise sample_max_value sampling_eps scaler set_alpha_to_one shift shift_terminal
sigma_data sigma_max sigma_min sigma_schedule skip_prk_steps snr solver_order solver_p solver_type
steps_offset stochastic_sampling tensor_format thresholding time_shift_type timestep_scaling
timestep_spacing timestep_type timestep_values use_beta_sigmas use_dynamic_shifting
use_exponential_sigmas use_flow_sigmas use_karras_sigmas use_lu_lambdas variance_type
"""
"""Of samplers of diffusers; of a noise schedule the class below is read, and nothing else."""


class NoiseSchedule(KnownConfig):
    """Stable Diffusion's schedules, of whatever sampler the folder names."""

    class_name: Annotated[str, Field(pattern=r"^[A-Z]\w{0,80}$")] = Field(
        "DDPMScheduler", alias="_class_name"
    )
    num_train_timesteps: Literal[1000] = 1000
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    beta_end: Annotated[float, Field(gt=0, lt=1)]
    beta_schedule: Literal["scaled_linear", "linear"]
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    trained_betas: Literal[None] = None
    rescale_betas_zero_snr: Literal[False] = False


class Tokenizer(KnownConfig):
    """Of a text encoder, or beside open_clip's weights."""

    tokenizer_class: Annotated[str, Field(pattern=r"^[A-Z]\w{0,80}$")] | None = None
    model_max_length: Annotated[int, Field(ge=1)] | float | None = None
    """Where none was given, its library writes 10^30."""
    added_tokens_decoder: dict[str, dict[str, Plain]] = {}
    tokenizer_file: Literal[None] = None
    vocab_file: Literal[None] = None
    merges_file: Literal[None] = None


def known(kind: type[KnownConfig], config: dict[str, Any], others: str) -> dict[str, Any]:
    """A config without the keys that nobody reads: nulls, and those of `others` that are plain."""
    left = others.split()
    names = {field.alias or name for name, field in kind.model_fields.items()}
    return {
        key: value
        for key, value in config.items()
        if key in names or not (value is None or (key in left and _is_simple(value)))
    }


def _is_simple(value: Any, depth: int = 0) -> bool:
    """Text and numbers, or few of them: a token with its flags, a list of names."""
    if isinstance(value, dict) and depth < 2:
        return all(_is_simple(one, depth + 1) for one in value.values())
    if isinstance(value, list) and depth < 2:
        return all(_is_simple(one, depth + 1) for one in value)
    return value is None or isinstance(value, str | int | float)
