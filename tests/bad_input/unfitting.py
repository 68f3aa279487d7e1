"""Models whose parts, configs or weights do not fit each other; nothing is loaded to see it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from factory.models.checks.shapes import Shapes
from tests.bad_input.materials import (
    CLIP_SHAPES,
    LFS_POINTER,
    TEXT_SHAPES,
    UNET_FILE,
    UNET_SHAPES,
    VAE,
    VAE_SHAPES,
    remove,
    rename,
    replace,
    safetensors,
    weights,
    write,
)
from tests.bad_input.table import Case, generated

LAYER = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA = "lora_unet_" + LAYER.removeprefix("unet.").replace(".", "_")
VAE_FILE = "diffusion_pytorch_model.safetensors"


def says(id: str, file: str, message: str, **fields: object) -> Case:
    """A part's config with other values."""

    def step() -> None:
        path = Path(file)
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    name = file.replace(".", r"\.")
    return generated(id, "", rf"{name}: {message}", step)


def stored(id: str, file: str, shapes: Shapes, message: str) -> Case:
    """Weights of other names or shapes."""
    return generated(
        id,
        "",
        rf"{file.rpartition('/')[0]}/\w+\.safetensors: {message}",
        write(file, weights(shapes)),
    )


def without(shapes: Shapes, start: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(start)}


def autoencoder(id: str, message: str, shapes: Shapes = VAE_SHAPES, **fields: object) -> Case:
    """Another one than the model's own."""
    return generated(
        id,
        "--set recipe.autoencoder.source=v",
        message,
        write("v/config.json", json.dumps({**VAE, **fields})),
        write(f"v/{VAE_FILE}", weights(shapes)),
    )


def lora(id: str, message: str, shapes: Shapes, **said: str) -> Case:
    return generated(
        id,
        "--set 'recipe.loras=[{source: l.safetensors}]'",
        rf"l\.safetensors: {message}",
        write("l.safetensors", weights(shapes, **said)),
    )


UNET_CONFIG, TEXT_CONFIG = "t2i/unet/config.json", "t2i/text_encoder/config.json"
TOKENIZER = "t2i/tokenizer/tokenizer_config.json"
PARTS = [
    says(
        "another width of context",
        UNET_CONFIG,
        r"cross_attention_dim must be 4, the text encoder's hidden_size, got 8",
        cross_attention_dim=8,
    ),
    says(
        "heads that do not divide",
        UNET_CONFIG,
        r"attention_head_dim must divide 4, its block's width, got 3",
        attention_head_dim=3,
    ),
    says(
        "groups that do not divide",
        "t2i/vae/config.json",
        r"norm_num_groups must divide all of block_out_channels, 4 among them, got 3",
        norm_num_groups=3,
    ),
    says(
        "no groups",
        UNET_CONFIG,
        r"norm_num_groups must be greater than or equal to 1, got 0",
        norm_num_groups=0,
    ),
    says(
        "a word for a number",
        UNET_CONFIG,
        r'layers_per_block must be a valid integer, got "many"',
        layers_per_block="many",
    ),
    says(
        "lists of unequal length",
        UNET_CONFIG,
        r"up_block_types must have one entry for each of down_block_types, 2, got 1",
        up_block_types=["UpBlock2D"],
    ),
    says(
        "code for attention",
        TEXT_CONFIG,
        r"must not name code .*, got 'attn_implementation'",
        attn_implementation="kernels-community/x",
    ),
    says(
        "a quantiser",
        UNET_CONFIG,
        r"must not .*, got 'quantization_config'",
        quantization_config={"a": 1},
    ),
    says(
        "an unknown key of a U-Net",
        UNET_CONFIG,
        r"unknown key 'planted', got 1; delete it if the model does without it",
        planted=1,
    ),
    says(
        "another class",
        "t2i/vae/config.json",
        r"_class_name must be 'AutoencoderKL', got .*",
        _class_name="X",
    ),
    says(
        "a schedule of flow matching",
        "t2i/scheduler/scheduler_config.json",
        r"beta_schedule must be 'scaled_linear' or 'linear', got null",
        beta_schedule=None,
    ),
    says(
        "an autoencoder of another family inside",
        "t2i/vae/config.json",
        r"latent_channels must be 4, the U-Net's, got 16",
        latent_channels=16,
    ),
    says(
        "a text encoder whose heads do not divide",
        TEXT_CONFIG,
        r"num_attention_heads must divide 4, hidden_size, got 3",
        num_attention_heads=3,
    ),
    says(
        "a tokenizer without a limit",
        TOKENIZER,
        r"model_max_length must be the text encoder's 7, got none",
        model_max_length=None,
    ),
    says(
        "a tokenizer without a limit, as its library writes it",
        TOKENIZER,
        r"model_max_length must be the text encoder's 7, got 1e\+30",
        model_max_length=1000000000000000019884624838656,
    ),
    says(
        "a tokenizer with more places than the text encoder",
        TOKENIZER,
        r"model_max_length must be the text encoder's 7, or at least 3 and fewer, got 77",
        model_max_length=77,
    ),
    says(
        "another kind of tokenizer",
        TOKENIZER,
        r"tokenizer_class must be CLIPTokenizer, got 'T5Tokenizer'",
        tokenizer_class="T5Tokenizer",
    ),
    generated(
        "tokens that the text encoder does not have",
        "",
        r"t2i/tokenizer/vocab\.json: tokens must be numbered from 0 to 2, .*vocab_size, got 49407",
        replace("t2i/tokenizer/vocab.json", '"a": 0', '"a": 49407'),
    ),
    generated(
        "tokens that CLIP does not have",
        "",
        r"clip/vocab\.json: tokens must be numbered from 0 to 2, text_cfg\.vocab_size, got 3",
        replace("clip/vocab.json", '"a": 0', '"a": 3'),
    ),
    generated(
        "CLIP with fewer words than its tokenizer",
        "",
        r"clip/open_clip_config\.json: text_cfg\.vocab_size must be at least 49408, .*, got 3",
        replace("clip/open_clip_config.json", '"hf_tokenizer_name": "here"', '"pad_id": 0'),
    ),
    generated(
        "a tokenizer without words",
        "",
        r"t2i/tokenizer: must hold tokenizer\.json, or vocab\.json and merges\.txt, got merges\.txt, .*",
        remove("t2i/tokenizer/vocab.json"),
    ),
    generated(
        "a second text encoder of nobody",
        "",
        r"t2i: text_encoder_2 must be Stable Diffusion XL's, .*, got null",
        *(write(f"t2i/text_encoder_2/{n}", "{}") for n in ("config.json", "a.safetensors")),
        write("t2i/text_encoder_2/model.safetensors", safetensors()),
        remove("t2i/text_encoder_2/a.safetensors"),
        write("t2i/tokenizer_2/tokenizer_config.json", "{}"),
        write("t2i/model_index.json", "{}"),
    ),
    autoencoder(
        "an autoencoder of another family",
        r"v/config\.json: latent_channels must be 4, the U-Net's, got 16",
        latent_channels=16,
    ),
    autoencoder(
        "an autoencoder of another scale",
        r"v/config\.json: scaling_factor must be 0\.18215, as the autoencoder's .*, got 0\.13025",
        scaling_factor=0.13025,
    ),
    autoencoder(
        "an autoencoder of shifted latents",
        r"v/config\.json: shift_factor must be null, got 0\.1",
        shift_factor=0.1,
    ),
    autoencoder(
        "an autoencoder that lacks a half",
        r"v/\w+\.safetensors: must hold \d+ weights by v/config\.json, got no encoder\..* missing\)",
        without(VAE_SHAPES, "encoder."),
    ),
]
HEADERS = [
    stored(
        "a weight that is missing",
        UNET_FILE,
        without(UNET_SHAPES, "conv_out.bias"),
        r"must hold \d+ weights by unet/config\.json, got no conv_out\.bias \(1 missing\)",
    ),
    stored(
        "a layer that the configuration leaves out",
        "t2i/text_encoder/model.safetensors",
        TEXT_SHAPES | {n.replace("layers.0", "layers.1"): s for n, s in TEXT_SHAPES.items()},
        r"must hold 20 weights .* and no others, got 16 more, first encoder\.layers\.1\..*",
    ),
    stored(
        "a weight of another shape",
        UNET_FILE,
        UNET_SHAPES | {"conv_in.weight": (4, 9, 3, 3)},
        r"conv_in\.weight must be of shape \[4, 4, 3, 3\] by .*, got \[4, 9, 3, 3\]",
    ),
    stored(
        "weights of another CLIP",
        "clip/open_clip_model.safetensors",
        CLIP_SHAPES | {"text_projection": (4, 8)},
        r"text_projection must be of shape \[4, 4\] by open_clip_config\.json, got \[4, 8\]",
    ),
    stored(
        "CLIP in transformers' layout",
        "clip/open_clip_model.safetensors",
        {"text_model.final_layer_norm.weight": (4,), "vision_model.post_layernorm.weight": (4,)},
        r"must hold open_clip's weights .*, got transformers' \(text_model\..*",
    ),
    generated(
        "half precision alone",
        "",
        r"t2i/unet: weights must be \.safetensors files, got only diffusion_\w+\.fp16\.safetensors, "
        r"a variant that is not read; rename it to diffusion_pytorch_model\.safetensors",
        rename(UNET_FILE, UNET_FILE.replace(".safe", ".fp16.safe")),
    ),
    generated(
        "weights that were not averaged alone",
        "",
        r"t2i/unet: weights .* only \S*non_ema\.safetensors, a variant .*",
        rename(UNET_FILE, UNET_FILE.replace(".safe", ".non_ema.safe")),
    ),
    generated(
        "weights of another name",
        "",
        r"t2i/unet: weights must be in diffusion_pytorch_model\.safetensors, got only model\.safetensors",
        rename(UNET_FILE, "t2i/unet/model.safetensors"),
    ),
    generated(
        "CLIP's folder in transformers' layout",
        "",
        r"clip: must be a model's folder with open_clip_config\.json, got .* \(clip in transformers' .*\)",
        rename("clip/open_clip_config.json", "clip/other.json"),
        write("clip/config.json", '{"model_type": "clip"}'),
    ),
    generated(
        "one CLIP file without its name",
        "--set recipe.clip.source=c.safetensors",
        r"c\.safetensors: must be .*, got a file; recipe\.clip\.name says what architecture .*",
        write("c.safetensors", weights(CLIP_SHAPES)),
    ),
    *(
        generated(
            f"an architecture of CLIP that is {what}",
            f"--set 'recipe.clip={{source: c.safetensors, name: \"{name}\"}}'",
            rf"c\.safetensors: {message}",
            write("c.safetensors", weights(CLIP_SHAPES)),
        )
        for what, name, message in (
            (
                "none",
                "ViT-L-41",
                r"recipe\.clip\.name must be one of .*, got 'ViT-L-41'; did you .*",
            ),
            (
                "on a hub",
                "hf-hub:owner/name",
                r"recipe\.clip\.name must be one of .*, got 'hf-hub:.*",
            ),
            ("another's", "ViT-B-32", r"must hold 302 weights of ViT-B-32, got no .*"),
            (
                "half on a hub",
                "ViT-B-16-SigLIP",
                r".* CLIP's own tokenizer, .* would fetch timm/ViT.*",
            ),
        )
    ),
    *(
        generated(
            f"a git-lfs pointer as {what}",
            "",
            rf".*{file}: must be .*, got a git-lfs pointer of 43 bytes; run `git lfs pull`",
            write(f"t2i/{file}", LFS_POINTER),
        )
        for what, file in (
            ("a configuration", "unet/config.json"),
            ("a tokenizer's words", "tokenizer/vocab.json"),
            ("a tokenizer's pairs", "tokenizer/merges.txt"),
        )
    ),
]
KINDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "LoHa": (KOHYA, lambda at: {f"{at}.hada_w1_a": (4, 1), f"{at}.hada_w1_b": (1, 4)}),
    "LoKr": (KOHYA, lambda at: {f"{at}.lokr_w1": (2, 2), f"{at}.lokr_w2": (2, 2)}),
    "DoRA": (LAYER, lambda at: {f"{at}.lora_magnitude_vector": (4,)}),
    "GLoRA": (KOHYA, lambda at: {f"{at}.{n}.weight": (4, 4) for n in ("a1", "a2", "b1", "b2")}),
    "IA3": (KOHYA, lambda at: {f"{at}.weight": (4,), f"{at}.on_input": ()}),
    "OFT": (KOHYA, lambda at: {f"{at}.oft_blocks": (1, 4, 4)}),
    "BOFT": (LAYER, lambda at: {f"{at}.boft_R": (1, 1, 4, 4)}),
    "whole differences": (KOHYA, lambda at: {f"{at}.diff": (4, 4)}),
    "textual inversion": ("", lambda at: {"emb_params": (1, 768)}),
    "a LoRA of Stable Diffusion XL": ("", lambda at: {"lora_te2_x.lora_down.weight": (1, 4)}),
    "a LoRA of a transformer": ("", lambda at: {"transformer.x.lora_A.weight": (1, 4)}),
    "a whole checkpoint": ("", lambda at: {"model.diffusion_model.out.2.bias": (4,)}),
}
PAIR = {f"{LAYER}.lora_A.weight": (1, 4), f"{LAYER}.lora_B.weight": (4, 1)}
LORAS = [
    *(
        lora(f"{kind} as a LoRA", rf"must be a plain LoRA, got {kind}.* \(.*\)", shapes(at))
        for kind, (at, shapes) in KINDS.items()
    ),
    lora("something else as a LoRA", r"must be a LoRA in .*, got 1 weights, first x", {"x": (1,)}),
    lora(
        "a LoRA with a layer of another model",
        r"each layer .* got 1 of 2 that do; unet\.other does not",
        PAIR | {"unet.other.lora_A.weight": (1, 4), "unet.other.lora_B.weight": (4, 1)},
    ),
    lora(
        "a LoRA of another width",
        r"unet\..*lora_A\.weight must have 4 inputs, as the model's layer has, got 8",
        PAIR | {f"{LAYER}.lora_A.weight": (1, 8)},
    ),
    *(
        lora(
            f"a LoRA that asks for {what}",
            rf"lora_adapter_metadata must be a plain LoRA's, got {key}: .*",
            PAIR,
            lora_adapter_metadata=json.dumps({"unet.r": 1, f"unet.{key}": value}),
        )
        for what, key, value in (
            ("another library", "megatron_config", {"a": 1}),
            ("a change of the model", "init_lora_weights", "pissa"),
            ("DoRA", "use_dora", True),
        )
    ),
    lora(
        "half a LoRA",
        r"unet\..*to_q must have two matrices, got one",
        {f"{LAYER}.lora_A.weight": (1, 4)},
    ),
    lora(
        "a LoRA with more in it",
        r"must hold matrices .* alone, got bundle_emb",
        PAIR | {"bundle_emb": (1,)},
    ),
]
UNFITTING = PARTS + HEADERS + LORAS
