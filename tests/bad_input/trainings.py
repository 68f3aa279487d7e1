"""What `fit` and `encode` refuse of options, models and roots, and what they meet at work."""

import json
import re

from tests.bad_input.command_lines import usage
from tests.bad_input.datasets import DATASETS
from tests.bad_input.materials import (
    TEXT_SHAPES,
    UNET_FILE,
    UNET_SHAPES,
    VAE,
    VAE_SHAPES,
    cut,
    remove,
    replace,
    weights,
    write,
)
from tests.bad_input.table import case
from tests.bad_input.training_materials import (
    ENCODE,
    FIT,
    PICTURE,
    begun,
    configured,
    encoded,
    fitted,
    pairs,
    real,
    set_to,
    state_of_another_network,
    written,
)

BEGUN = ("out/FIT.json", "out/dataset/")

OPTIONS = [
    usage("fit --dataset pairs", "--out"),
    usage("fit --out out", "--dataset"),
    usage("encode --dataset pairs", "--out"),
    set_to(
        "a mistyped key of a law", "law.stepz=3", r"unknown key 'law\.stepz'; .* 'law\.steps'\?"
    ),
    set_to(
        "a mistyped key of `encode`",
        "law.size=8",
        r"unknown key 'law\.size'; .* 'law\.size_px'\?",
        ENCODE,
    ),
    set_to("a group of the factory's", "recipe.steps=3", r"unknown key 'recipe'; known: law, .*"),
    set_to("a batch of nothing", "law.batch=0", r"law\.batch: .* equal to 1, got 0"),
    set_to(
        "dropout of more than all",
        "law.dropout={text: 0.6, both: 0.5}",
        r"law\.dropout: text, both and image must sum to 1 at most, got .*",
    ),
    set_to(
        "another number format", "law.dtype=float16", r"law\.dtype: .*'bfloat16', got \"float16\""
    ),
    set_to("a negative rate", "law.learning_rate=-1", r"law\.learning_rate: .* than 0, got -1"),
    set_to(
        "workers upside down",
        "compute.min_workers=3",
        r"compute: min_workers must be at most max_workers, got 3 and 1",
    ),
    set_to(
        "everything held out", "reading.held_out=1", r"reading\.held_out: .* less than 1, got 1"
    ),
    case(
        "an unknown preset of `fit`",
        f"{FIT} --preset big",
        r"--preset: must be one of miniature, miniature-continued, miniature-editor, paper, paper-xl, "
        r"got 'big'",
    ),
    case(
        "a training without a model",
        f"{FIT} --config f.yaml",
        r"f\.yaml:1: law\.model: must be given, got nothing",
        write("f.yaml", "law: {steps: 2}\n"),
    ),
]
"""Refused before torch is imported."""
PLACES = [
    fitted(
        "a file as the output",
        "--out pairs/part-0.parquet",
        r"--out /.*/pairs/part-0\.parquet: cannot be written: Not a directory",
    ),
    fitted(
        "more workers than pairs in a step",
        "--set compute.max_workers=5",
        r"compute\.max_workers: must be at most law\.batch, got 5 and 4",
    ),
    fitted(
        "a project of a program that is not here",
        "--set watching.wandb=mine",
        r"watching\.wandb: needs `pip install wandb`, got none",
    ),
    fitted(
        "a model that is missing",
        "--set law.model.source=no/where/here",
        r"no/where/here: no such file or folder, and not a hub id owner/name",
    ),
    fitted(
        "a size that the autoencoder cannot encode",
        "--set law.size_px=17",
        r"law\.size_px: must be a multiple of 2 \(the autoencoder's factor\), got 17",
    ),
    fitted(
        "an inpainting model to begin with",
        "",
        r"t2i/unet/config\.json: in_channels must be 4, got 9, an inpainting model's",
        replace("t2i/unet/config.json", "{", '{"in_channels": 9, '),
    ),
    *(
        case(
            f"{what} for `{command.split()[0]}`",
            f"{command} --config f.yaml --set law.autoencoder.source=v",
            rf"v/config\.json: {message}",
            configured,
            write("v/config.json", json.dumps({**VAE, name: value})),
            write("v/diffusion_pytorch_model.safetensors", weights(VAE_SHAPES)),
        )
        for what, name, value, message in (
            (
                "an autoencoder of another family",
                "latent_channels",
                16,
                r"latent_channels must be 4, the U-Net's, got 16",
            ),
            (
                "an autoencoder of another scale",
                "scaling_factor",
                0.13025,
                r"scaling_factor must be 0\.18215, as the autoencoder's .*, got 0\.13025",
            ),
        )
        for command in (FIT, ENCODE)
    ),
    fitted(
        "another width of context for `fit`",
        "",
        r"t2i/unet/config\.json: cross_attention_dim must be 4, the text encoder's hidden_size, got 8",
        replace("t2i/unet/config.json", '"cross_attention_dim": 4', '"cross_attention_dim": 8'),
    ),
    fitted(
        "a layer that the configuration leaves out, for `fit`",
        "",
        r"t2i/text_encoder/\w+\.safetensors: must hold 20 weights .* 16 more, first encoder\.layers\.1\..*",
        write(
            "t2i/text_encoder/model.safetensors",
            weights(
                TEXT_SHAPES | {n.replace("layers.0", "layers.1"): s for n, s in TEXT_SHAPES.items()}
            ),
        ),
    ),
    fitted(
        "a tokenizer without a limit for `fit`",
        "",
        r"t2i/tokenizer/tokenizer_config\.json: model_max_length must be the text encoder's 7, got none",
        write("t2i/tokenizer/tokenizer_config.json", "{}"),
    ),
    *(
        case(
            f"{what} to be evaluated",
            "evaluate --editor t2i --out judged",
            rf"t2i{message}",
            configured,
            replace("t2i/unet/config.json", "{", '{"in_channels": ' + f"{channels}, "),
        )
        for what, channels, message in (
            ("a text-to-image model", 4, r": an editor's UNet must have 8 .*, got 4; .*"),
            (
                "an editor whose weights are not its",
                8,
                r"/unet/\w+\.safetensors: conv_in\.weight must .*",
            ),
        )
    ),
    fitted(
        "half a model",
        "",
        r"t2i/unet/diffusion_pytorch_model\.safetensors: must be \d+ bytes by its header, got .*",
        cut(UNET_FILE, 1),
    ),
    fitted(
        "another training by its law",
        "",
        r"/.*/out: holds a training by another law; differing: learning_rate: 0\.1 -> 0\.0001; "
        r"seed: 1 -> 0",
        written("law.seed=1", "law.learning_rate=0.1"),
    ),
    fitted(
        "another training by its weights",
        "",
        r"/.*/out: holds a training by another law; differing: model\.files\.unet/.*",
        written(),
        write(UNET_FILE, weights(UNET_SHAPES, number=b"\0\1")),
    ),
    fitted(
        "a training on another dataset",
        "",
        r"/.*/out: holds a training on another dataset; choose another --out",
        written(),
        pairs(prompts=5),
    ),
    *(
        fitted(
            f"{name} where a training should be",
            "",
            rf"/.*/out: must be empty or a training, got '{re.escape(key)}' and no FIT\.json",
            write(f"out/{key}", ""),
        )
        for name, key in (
            ("notes", "notes.txt"),
            ("a run", "RUN.json"),
            ("an editor", "editor/model_index.json"),
        )
    ),
    fitted(
        "the dataset as the output",
        "--out pairs",
        r"/.*/pairs: must be empty or a training, got 'part-0\.parquet' and no FIT\.json",
    ),
    fitted(
        "a damaged FIT.json",
        "",
        r"/.*/out/FIT\.json: not a training's record: .*",
        written(),
        cut("out/FIT.json", 2),
        code=3,
    ),
    fitted(
        "latents that are missing",
        "--latents latents",
        r"/.*/latents: must hold latents, none are here; .*",
    ),
]
ROOTS = [
    case(
        "notes where latents should be",
        f"{ENCODE} --config f.yaml",
        r".*out: must be empty or a run of editmill, got 'notes\.txt' and no RUN\.json",
        configured,
        write("out/notes.txt", ""),
    ),
    case(
        "latents of another size in the way",
        f"{ENCODE} --config f.yaml --out latents --set law.size_px=8",
        r".*latents: holds a run with another recipe; differing: size_px: 16 -> 8",
        real,
        encoded(),
    ),
    case(
        "a damaged record of latents",
        f"{ENCODE} --config f.yaml --out latents",
        r".*latents/RUN\.json: not a run record: .*",
        real,
        encoded(),
        cut("latents/RUN.json", 2),
        code=3,
    ),
    begun(
        "latents of another size",
        "--latents latents --set law.size_px=8",
        r"/.*/latents: holds latents of other weights, size or dataset; differing: size_px: 16 -> 8",
        encoded(),
    ),
    begun(
        "latents of another dataset",
        "--latents latents",
        r"/.*/latents: holds latents of other .*; differing: dataset: .*",
        encoded(),
        pairs(prompts=5),
    ),
    begun(
        "latents without their seal",
        "--latents latents",
        r"/.*/latents: must hold latents, not all are encoded; .*",
        encoded(),
        remove("latents/manifest/000000.json"),
    ),
    begun(
        "a cut file of latents",
        "--latents latents",
        r"/.*/latents/data/00000000-\w+\.safetensors: must be \d+ bytes, got \d+",
        encoded(),
        cut("latents/data/*", 1),
        code=3,
        leaves=BEGUN,
    ),
]
AT_WORK = [
    begun(
        "a checkpoint of another network",
        "",
        r".*conv_in.*must be of shape.*",
        state_of_another_network,
    ),
    begun(
        "an unreadable picture",
        "",
        r"dataset: reading\.max_bad is 0, got 1 row with pictures that cannot be read; part-0\.parquet: "
        r"row group 0, row 0: edited: "
        r"must begin as a JPEG, PNG or WEBP, got b'not a pi'",
        pairs(edited_image=PICTURE),
        leaves=BEGUN,
    ),
    begun(
        "a path in place of one picture",
        "",
        r"dataset: reading\.max_bad is 0, got 1 row .*; part-0\.parquet: row group 0, row 0: edited: "
        r"holds a path \('/home/me/1\.png'\) and no bytes; embed the files .*",
        pairs(edited_image={"bytes": None, "path": "/home/me/1.png"}),
        leaves=BEGUN,
    ),
    begun(
        "no readable picture",
        "--set reading.max_bad=9",
        r"/.*/pairs: must hold pictures that can be read, got none in the 1 rows that are trained; "
        r"part-0\.parquet: row group 0, row 0: original: must begin as .*, got b'not a pi'",
        pairs(prompts=1, original_image=PICTURE),
        leaves=BEGUN,
    ),
    begun(
        "a rate at which nothing is learnt",
        "--set law.learning_rate=1e30",
        r"step 2: \w+ must be finite, got \w+; rows of the dataset: .*",
        code=4,
        leaves=BEGUN,
    ),
    begun(
        "fewer steps than are done",
        "",
        r"law\.steps: must be at least 3, the newest checkpoint's in /.*/out, got 2",
        lambda: state_of_another_network(3),
    ),
    fitted(
        "other prompts held out than at first",
        "--set reading.held_out=0.5",
        r"/.*/out: holds a training that read its dataset otherwise; differing: "
        r"reading\.held_out: 0\.0 -> 0\.5",
        written(),
    ),
]
TRAININGS = PLACES + DATASETS + ROOTS + AT_WORK
"""Refused once torch was imported."""
