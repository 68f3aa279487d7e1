"""Bulk edits: places, requests, editors. What is wrong with single pictures is a row of the results."""

import json
import shutil
from pathlib import Path

from PIL import Image

from factory.models.find import MINIATURE
from tests.bad_input.materials import PICKLE, Step, write
from tests.bad_input.table import Case, case

EDIT = "edit --json --preset miniature --out out"
ALL = f"{EDIT} --images in --instruction 'make it red'"
EACH = f"{EDIT} --images in --requests r.jsonl"


def pictures(*names: str) -> Step:
    def draw() -> None:
        for name in names or ("a.png",):
            Path("in", name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(Path("in", name))

    return draw


def request(id: str, message: str, **fields: object) -> Case:
    line = json.dumps({"image": "a.png", "instruction": "make it red", **fields}) + "\n"
    return case(
        id,
        EACH,
        rf"r\.jsonl:1: {message} \(1 bad line, --max-bad is 0\)",
        pictures(),
        write("r.jsonl", line),
    )


PLACES = [
    case("nothing to edit", EDIT, r"--images or --requests: must be given, got neither"),
    case(
        "no instruction",
        f"{EDIT} --images in",
        r"--instruction: must be given with --images, got none",
        pictures(),
    ),
    case(
        "an instruction beside a list of requests",
        f"{EACH} --instruction x",
        r"--instruction: must stand in --requests where that is given, got both",
        pictures(),
        write("r.jsonl", ""),
    ),
    case("a place that is not there", ALL, r"in: must be a folder or s3://bucket/prefix, got none"),
    case(
        "a file as a place",
        ALL,
        r"in: must be a folder or s3://bucket/prefix, got a file",
        write("in", ""),
    ),
    case(
        "an empty place",
        ALL,
        r"/.*/in: must hold at least one object, got none",
        lambda: Path("in").mkdir(),
    ),
    case(
        "edits among the pictures",
        ALL.replace("--out out", "--out in/edits"),
        r"--out in/edits: must not lie below --images in, got edits among them",
        pictures(),
    ),
    case(
        "edits in the place of the pictures",
        ALL.replace("--out out", "--out ./in/"),
        r"--out \./in/: must not lie below --images in, .*",
        pictures(),
    ),
    case(
        "two pictures that come to one key",
        f"{ALL} --set recipe.output.format=webp",
        r"a\.webp: must be the key of one edited picture, got two: of a\.jpg and a\.png; give each an .*",
        pictures("a.png", "a.jpg"),
    ),
    case(
        "a list of triplets beside pictures",
        "plan --triplets miniature --images in --instruction x --preset miniature",
        r"--triplets: must not be given with pictures to edit, got both",
        pictures(),
    ),
]
REQUESTS = [
    case("a missing list of requests", EACH, r"r\.jsonl: no such file", pictures()),
    case(
        "an empty list of requests",
        EACH,
        r"r\.jsonl: must hold at least one request, got none",
        pictures(),
        write("r.jsonl", ""),
    ),
    case(
        "a list without pictures",
        EACH.replace("r.jsonl", "r.csv"),
        r"r\.csv: must have columns image, instruction, got 'a, b'",
        pictures(),
        write("r.csv", "a,b\n1,2\n"),
    ),
    request(
        "a request without a picture",
        r'field "image": expected the key of a picture, got .*',
        image=None,
    ),
    request(
        "a request without an instruction",
        r'field "editor": ip2p needs instruction, got none',
        instruction=" ",
    ),
    request(
        "a way up in a key",
        r'field "image": must have no part that is empty or begins with a dot, got .*',
        image="../a.png",
    ),
    request(
        "a key that begins with a slash",
        r'field "image": must have no part that is empty .*',
        image="/a.png",
    ),
    request(
        "a key among the records",
        r"output key: must not lie below _editmill/, .*",
        output_key="_editmill/a.png",
    ),
    request(
        "another editor",
        r'field "editor": paint must be one of ip2p, sdedit, p2p, pnp, diffusers, got \'paint\'',
        editor="paint",
    ),
    request(
        "an editor without its caption",
        r'field "editor": sdedit needs target_caption, got none',
        editor="sdedit",
    ),
    request(
        "a request with a seed below 0",
        r'field "seed": expected a number within 0\.\..*, got -1',
        seed=-1,
    ),
    request(
        "a strength beyond 1",
        r'field "strength": expected a number within 0\.001\.\.1, got 2',
        strength=2,
    ),
    request(
        "a setting that the editor has not",
        r'field "editor": ip2p takes none, got strength 0\.5',
        strength=0.5,
    ),
    request(
        "guidance in words",
        r'field "text_guidance": expected a number .*, got \'much\'',
        text_guidance="much",
    ),
    case(
        "two requests for one key",
        EACH,
        r"a\.png: must be the key of .*, got two: of a\.png and a\.png \('one' and 'two'\); .*",
        pictures(),
        write(
            "r.jsonl",
            "".join(
                json.dumps({"image": "a.png", "instruction": word}) + "\n"
                for word in ("one", "two")
            ),
        ),
    ),
]
PRESETS = r"presets: miniature \(for trying: .*\); paper \(InstructPix2Pix's .*\)"
EDITORS = [
    case(
        "no preset for pictures",
        ALL.replace("--preset miniature ", ""),
        rf"--preset or --config: must be given for pictures of your own, got neither; {PRESETS}",
        pictures(),
    ),
    case(
        "a text-to-image model as an editor",
        f"{ALL} --set recipe.ip2p.model.source=miniature",
        r"miniature: an editor's UNet must have 8 input channels, got 4; .*",
        pictures(),
    ),
    case(
        "sdedit without a caption",
        f"{ALL} --editor sdedit",
        r"--editor sdedit: needs target_caption, got none",
        pictures(),
    ),
    case(
        "another editor for all",
        f"{ALL} --editor paint",
        r"--editor: recipe\.editor: .*'ip2p', 'sdedit', 'p2p', 'pnp' or 'diffusers', got \"paint\"",
        pictures(),
    ),
    case(
        "p2p without what the picture shows",
        f"{ALL} --editor p2p",
        r"--editor p2p: needs source_caption and target_caption, got none",
        pictures(),
    ),
    case(
        "layers that the network has not",
        f"{EDIT} --images in --target-caption x --editor pnp "
        "--set recipe.pnp.feature_layers=[up.3.1]",
        r"recipe\.pnp\.feature_layers: must be among the network's up\.0\.0, .*, got 'up\.3\.1'",
        pictures(),
    ),
    case(
        "an inversion that passes over steps",
        f"{ALL} --set recipe.p2p.inversion_steps=30",
        r"--set: recipe\.p2p: .*inversion_steps must pass every step of 25, got 30; 25 do",
        pictures(),
    ),
    case(
        "a benchmark's list without pictures",
        f"{EDIT} --requests list/r.yaml --editor pnp",
        r'r\.yaml: entry 1: field "init_img": expected a picture beside the list, got \'/x/a\.png\' .*',
        write("list/r.yaml", "- {init_img: /x/a.png, target_prompts: [a red star]}\n"),
    ),
    case(
        "a strength of nothing",
        f"{ALL} --set recipe.sdedit.strength=0",
        r"--set: recipe\.sdedit\.strength: .* greater than 0, got 0",
        pictures(),
    ),
]


def weights(*parts: str, **index: object) -> Step:
    """A folder `model` with the bundled editor's parts and the index given, its own where none is."""

    def copy() -> None:
        for part in parts:
            shutil.copytree(EDITOR / part, Path("model", part))
        own = json.loads((EDITOR / "model_index.json").read_bytes())
        Path("model", "model_index.json").write_text(json.dumps(own | index))

    return copy


def pickled() -> None:
    Path("model", "unet", "diffusion_pytorch_model.safetensors").unlink()
    Path("model", "unet", "diffusion_pytorch_model.bin").write_bytes(PICKLE)


def asking(part: str, **asked: object) -> Step:
    """The same with all parts, one of whose configs says more."""

    def ask() -> None:
        weights(*PARTS)()
        file = Path("model", part, "config.json")
        file.write_text(json.dumps(json.loads(file.read_bytes()) | asked))

    return ask


EDITOR = MINIATURE / "editor"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
KERNELS = "kernels-community/x"
HERE = "--set compute.where=here --set compute.device=cpu --set compute.gpus_per_worker=0"
BY_PIPELINE = ALL.replace("--preset miniature", f"--pipeline model {HERE}")
PIPELINES = [
    case(
        "a pipeline for another editor",
        f"{BY_PIPELINE} --editor ip2p",
        r"--pipeline: must be given with --editor diffusers, got ip2p",
        pictures(),
    ),
    case(
        "a pipeline that is not there",
        BY_PIPELINE,
        r"model: no such file or folder, and not a hub id owner/name",
        pictures(),
    ),
    case(
        "a pipeline without its index",
        BY_PIPELINE,
        r"model: must be a model's folder with model_index\.json, got unet",
        pictures(),
        lambda: Path("model", "unet").mkdir(parents=True),
    ),
    case(
        "a pipeline with pickled weights",
        BY_PIPELINE,
        r"model/unet: weights must be \.safetensors files, got only pickled weights "
        r"\(diffusion_pytorch_model\.bin\)",
        pictures(),
        weights(*PARTS),
        pickled,
    ),
    case(
        "a pipeline that lacks a part",
        BY_PIPELINE,
        r"model/model_index\.json: vae must lie in the folder vae beside it, got none; .*",
        pictures(),
        weights("unet", "text_encoder", "tokenizer", "scheduler"),
    ),
    case(
        "a part of another library",
        BY_PIPELINE,
        r"model/model_index\.json: vae must be of diffusers, transformers or a folder of "
        r"diffusers\.pipelines, got 'os'",
        pictures(),
        weights(*PARTS, vae=["os", "system"]),
    ),
    case(
        "a part with code beside it",
        BY_PIPELINE,
        r"model/vae/diffusers\.py: must not be there, since it would be run; install it as a package",
        pictures(),
        weights(*PARTS),
        write("model/vae/diffusers.py", "raise SystemExit(0)\n"),
    ),
    case(
        "a pipeline by a file of its folder",
        BY_PIPELINE,
        r"model/model_index\.json: _class_name must be a class's name, got \['my', 'Own'\]; .*",
        pictures(),
        weights(*PARTS, _class_name=["my", "Own"]),
    ),
    case(
        "a part that asks for code for attention",
        BY_PIPELINE,
        r"model/text_encoder/config\.json: must not name code .*, got 'attn_implementation'",
        pictures(),
        asking("text_encoder", attn_implementation=KERNELS),
    ),
    case(
        "a part of a part that asks for code for attention",
        BY_PIPELINE,
        r"model/text_encoder/config\.json: must not name code .*, got 'text_config\.attn_implementation'",
        pictures(),
        asking("text_encoder", text_config={"attn_implementation": KERNELS}),
    ),
    case(
        "a part with a quantiser",
        BY_PIPELINE,
        r"model/unet/config\.json: must not .*, or a quantiser, got 'quantization_config'",
        pictures(),
        asking("unet", quantization_config={"quant_method": "bitsandbytes"}),
    ),
    case(
        "a part of a part with a quantiser",
        BY_PIPELINE,
        r"model/text_encoder/config\.json: must not .*, got 'towers\.vision\.quantization_config'",
        pictures(),
        asking(
            "text_encoder",
            towers=[{"vision": {"quantization_config": {"quant_method": "bitsandbytes"}}}],
        ),
    ),
]
CLASSES = [
    case(
        "an unknown class of pipelines",
        BY_PIPELINE.replace("--pipeline model", "--pipeline FluxContextPipeline=model"),
        r"recipe\.diffusers\.pipeline: must be a pipeline's class in diffusers \S+, or module:Class, got "
        r"'FluxContextPipeline'; did you mean FluxKontextPipeline\?",
        pictures(),
        weights(*PARTS),
    ),
    case(
        "a third party's class that is not installed",
        BY_PIPELINE.replace("--pipeline model", "--pipeline nowhere.at_all:Own=model"),
        r"recipe\.diffusers\.pipeline: must be module:Class that can be imported here and by every worker, "
        r"got 'nowhere\.at_all:Own' \(ModuleNotFoundError\)",
        pictures(),
        weights(*PARTS),
    ),
    case(
        "a pipeline that edits nothing",
        BY_PIPELINE,
        r"model: must be an editing pipeline, whose call takes image and prompt, got "
        r"StableDiffusionPipeline without image",
        pictures(),
        weights(*PARTS, _class_name="StableDiffusionPipeline"),
    ),
    case(
        "an argument that a pipeline does not know",
        f"{BY_PIPELINE} --set recipe.diffusers.arguments.negative_promt=blurry",
        r"recipe\.diffusers\.arguments: must be arguments of StableDiffusionInstructPix2PixPipeline's "
        r"call, got 'negative_promt'; did you mean 'negative_prompt'\?",
        pictures(),
        weights(*PARTS),
    ),
    case(
        "an argument that is a setting",
        f"{BY_PIPELINE} --set recipe.diffusers.arguments.guidance_scale=3",
        r"recipe\.diffusers\.arguments: must not name 'guidance_scale', which "
        r"recipe\.diffusers\.text_guidance is",
        pictures(),
        weights(*PARTS),
    ),
    case(
        "a setting that a pipeline does not know",
        f"{BY_PIPELINE} --set recipe.diffusers.strength=0.5",
        r"recipe\.diffusers\.strength: must be null where StableDiffusionInstructPix2PixPipeline's call "
        r"has no strength, got 0\.5",
        pictures(),
        weights(*PARTS),
    ),
]
EDITS = [*PLACES, *REQUESTS, *EDITORS, *PIPELINES]
LATE = [
    *CLASSES,
    case(
        "mps on a machine without it: edit",
        f"{EDIT} --images in --instruction x --set compute.where=here --set compute.device=mps",
        r"compute\.device: must be a device that torch finds here, got 'mps'.*",
        pictures(),
    ),
]
"""Refused once diffusers was asked what the class is, or torch what is here."""
