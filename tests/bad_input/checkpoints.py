"""Models: where they are named, and the files behind the name."""

import json
from pathlib import Path

from tests.bad_input.materials import (
    LFS_POINTER,
    PICKLE,
    UNET,
    UNET_FILE,
    cut,
    remove,
    safetensors,
    with_nan,
    write,
)
from tests.bad_input.table import Case, Step, generated

WEIGHTS = r"weights must be \.safetensors files, got"
LFS = r"expected weights, got a git-lfs pointer of 43 bytes; run `git lfs pull`"


def named(id: str, setting: str, message: str, *steps: Step) -> Case:
    return generated(id, f"--set {setting}", message, *steps)


def held(id: str, file: str, content: str | bytes, message: str) -> Case:
    """A file with other content."""
    return generated(id, "", message, write(file, content))


def unet(id: str, message: str, **fields: object) -> Case:
    text = json.dumps({**UNET, **fields})
    return held(id, "t2i/unet/config.json", text, rf"t2i/unet/config\.json: {message}")


NAMES = [
    named(id, setting, message)
    for id, setting, message in [
        (
            "a model folder that is missing",
            "recipe.clip.source=no/where/here",
            r"no/where/here: no such file or folder, and not a hub id owner/name",
        ),
        (
            "an unknown user's folder",
            "recipe.clip.source=~nobody-here/clip",
            r"~nobody-here/clip: no such file or folder, .*",
        ),
        (
            "a name longer than any file's",
            f"recipe.clip.source={'x' * 300}",
            r"x{300}: no such file or folder, .*",
        ),
        (
            "a variable that nobody filled in",
            "'recipe.clip.source=${MODELS}/clip'",
            r"\$\{MODELS\}/clip: no such file or folder, .*",
        ),
        (
            "a model on the web",
            "recipe.clip.source=https://host/clip.safetensors",
            r"https://host/clip\.safetensors: no such file or folder, and not a hub id owner/name",
        ),
        (
            "a hub id without a revision",
            "recipe.clip.source=owner/name",
            r"owner/name: no such folder here; a hub id needs `revision`, .*, got None",
        ),
        (
            "a hub id with a branch",
            "'recipe.clip={source: owner/name, revision: main}'",
            r"owner/name: .* a hub id needs `revision`, a commit of 40 hex digits, got 'main'",
        ),
        (
            "a family's name for a folder",
            "'recipe.text_to_image={source: t2i, name: sd-1}'",
            r"t2i: recipe\.text_to_image\.name must be null for a folder, got 'sd-1'",
        ),
        (
            "a size that the autoencoder cannot draw",
            "recipe.size_px=9",
            r"recipe\.size_px: must be a multiple of 2 \(the autoencoder's factor\), got 9",
        ),
        (
            "a pinned hash that is no text",
            "'recipe.clip.files={open_clip_config.json: 0}'",
            r"--set: recipe\.clip\.files\..* string, got 0",
        ),
        (
            "another file than the pinned one",
            "'recipe.clip.files={open_clip_config.json: abc}'",
            r"clip: must hold the files that this recipe pins, got others: .*open_clip_config\.json, .*",
        ),
    ]
]
FOLDERS = [
    generated(
        "a model without a U-Net",
        "",
        r"t2i: must be a model's folder with unet/config\.json, got scheduler, .*, vae",
        remove("t2i/unet"),
    ),
    generated(
        "a model without a tokenizer",
        "",
        r"t2i: must be a model's folder with tokenizer/.*\.json, got scheduler, .*, vae",
        remove("t2i/tokenizer"),
    ),
    named(
        "an empty folder as CLIP",
        "recipe.clip.source=empty",
        r"empty: must be a model's folder with open_clip_config\.json, got an empty folder",
        lambda: Path("empty").mkdir(),
    ),
    named(
        "an empty folder as a LoRA",
        "'recipe.loras=[{source: empty}]'",
        rf"empty: {WEIGHTS} none",
        lambda: Path("empty").mkdir(),
    ),
    named(
        "a name on a LoRA",
        "'recipe.loras=[{source: clip, name: x}]'",
        r"clip: name must be null for role lora, got 'x'",
    ),
    generated(
        "pickled weights",
        "",
        rf"t2i/unet: {WEIGHTS} only pickled weights \(model\.bin\)",
        *(remove(UNET_FILE), write("t2i/unet/model.bin", PICKLE)),
    ),
    generated(
        "no weights", "", rf"clip: {WEIGHTS} none", remove("clip/open_clip_model.safetensors")
    ),
    held(
        "a missing shard",
        f"{UNET_FILE}.index.json",
        '{"weight_map": {"a": "diffusion_pytorch_model.safetensors", "b": "model-2.safetensors"}}',
        r"t2i/unet/diffusion_\w+\.safetensors\.index\.json: must name files .*, got .*model-2\.saf.*",
    ),
    held(
        "an autoencoder's configuration that is none",
        "t2i/vae/config.json",
        "{",
        r"t2i/vae/config\.json: must be .*JSON.*, got JSONDecodeError",
    ),
    held(
        "a U-Net's configuration that is none",
        "t2i/unet/config.json",
        "[",
        r".*unet/config\.json: must be .*JSON.*",
    ),
    unet("an instruction editor", r"in_channels must be 4, got 8, an instr.*", in_channels=8),
    unet(
        "an inpainting model", r"in_channels must be 4, got 9, an inpainting model's", in_channels=9
    ),
    held(
        "half of Stable Diffusion XL",
        "t2i/unet/config.json",
        json.dumps({**UNET, "addition_embed_type": "text_time"}),
        r"t2i: must have text_encoder and text_encoder_2, as Stable Diffusion XL's base, got .*",
    ),
    unet(
        "a network of another kind",
        r"addition_embed_type must be null, got 'image'",
        addition_embed_type="image",
    ),
]
FILES = [
    named(
        "a single file of something else",
        "recipe.text_to_image.source=sd.safetensors",
        r"sd\.safetensors: must hold Stable Diffusion's UNet .*, got 1 weights, first weight",
        write("sd.safetensors", safetensors()),
    ),
    named(
        "a pickled checkpoint",
        "recipe.text_to_image.source=sd.ckpt",
        rf"sd\.ckpt: {WEIGHTS} only pickled weights \(sd\.ckpt\)",
        write("sd.ckpt", PICKLE),
    ),
    named(
        "a file of something else as an autoencoder",
        "recipe.autoencoder.source=v.safetensors",
        r"v\.safetensors: must hold an autoencoder, got 1 weights, first weight",
        write("v.safetensors", safetensors()),
    ),
    generated(
        "cut weights",
        "",
        r"t2i/vae/diffusion_pytorch_model\.safetensors: must be \d+ bytes by its header, got \d+",
        cut("t2i/vae/diffusion_pytorch_model.safetensors", 2),
    ),
    held(
        "weights with more behind them",
        "t2i/vae/diffusion_pytorch_model.safetensors",
        safetensors() + b"more",
        r"t2i/vae/diffusion_pytorch_model\.safetensors: must be \d+ bytes by its header, got \d+",
    ),
    held(
        "weights cut in their header",
        UNET_FILE,
        safetensors()[:20],
        r"t2i/unet/diffusion_\w+\.safetensors: must be a whole safetensors file, got 20 bytes .*",
    ),
    held(
        "weights of 0 bytes",
        UNET_FILE,
        b"",
        r"t2i/unet/.*: must be a whole .* file, got 0 bytes .*",
    ),
    held(
        "a web page for weights",
        UNET_FILE,
        "<!DOCTYPE html>" * 9,
        r"t2i/unet/.*: must be a .*, got .*",
    ),
    held(
        "weights of another format",
        UNET_FILE,
        (4).to_bytes(8, "little") + b"GGUF",
        r"t2i/unet/diffusion_\w+\.safetensors: must be a safetensors file, got another beginning: .*",
    ),
    held(
        "a git-lfs pointer",
        UNET_FILE,
        LFS_POINTER,
        rf"t2i/unet/diffusion_\w+\.safetensors: {LFS}",
    ),
    held(
        "a git-lfs pointer as CLIP",
        "clip/open_clip_model.safetensors",
        LFS_POINTER,
        rf"clip/.*: {LFS}",
    ),
    named(
        "a git-lfs pointer as a LoRA",
        "'recipe.loras=[{source: l.safetensors}]'",
        rf"l\.safetensors: {LFS}",
        write("l.safetensors", LFS_POINTER),
    ),
    *(
        held(
            f"{kind} weights that are no numbers",
            UNET_FILE,
            with_nan(kind),
            r"t2i/unet/diffusion_\w+\.safetensors: weights must be numbers, got NaN in conv_out\.bias",
        )
        for kind in ("F16", "BF16", "F32", "F64")
    ),
]
CHECKPOINTS = NAMES + FOLDERS + FILES
