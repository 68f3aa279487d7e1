"""A training of Stable Diffusion XL: what it writes, that it resumes, what it refuses."""

import json
import shutil

import diffusers
import pytest
import torch

from factory.console.config import load_config, read_config
from factory.errors import ModelError
from factory.models.editor import check_source
from factory.models.pin import pin
from schemas.recipe import ModelSource
from schemas.training.fit import Fit
from tests.factory.engine.tiny_xl import tiny_xl
from tests.trainer.pipeline import assert_it_edits
from tests.trainer.small import SIDE, objects, small, state_of, train, write_pairs
from trainer.__main__ import PRESETS
from trainer.fit import pin_law
from trainer.latents.encode import encode_dataset

torch.set_num_threads(1)
DROPOUT = {"text": 0.4, "both": 0.2, "image": 0.1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xl")
    tiny_xl(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def configuration(model, **more):
    law = {"model": {"source": str(model)}, "steps": 2, "dropout": DROPOUT}
    return small(law=law | more.pop("law", {}), **more)


@pytest.fixture(scope="module")
def trained(base, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    sheets = {"report_every": 1, "sheet_every": 2, "sampler": {"steps": 1}, "sheet_pairs": 1}
    assert train(configuration(base, watching=sheets), dataset, out).done
    return out


def test_the_pipeline_of_diffusers_loads_what_a_training_wrote_and_edits_a_picture(base, trained):
    # Its index names the pipeline; test_xl.py asks for it by name.
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        str(trained / "editor"), local_files_only=True, add_watermarker=False
    )
    assert type(pipeline) is diffusers.StableDiffusionXLInstructPix2PixPipeline
    assert pipeline.config.force_zeros_for_empty_prompt is True
    assert pipeline.is_cosxl_edit is False
    generator = torch.Generator().manual_seed(1)
    assert_it_edits(pipeline, torch.rand(1, 3, SIDE, SIDE, generator=generator))
    for part in ("text_encoder", "text_encoder_2"):
        stored = [folder / part / "model.safetensors" for folder in (base, trained / "editor")]
        assert stored[0].read_bytes() == stored[1].read_bytes()
    assert len(objects(trained, "sheets/")) == 1


def test_stopped_and_resumed_it_is_bit_for_bit_the_same(base, dataset, trained, tmp_path):
    config, done = configuration(base), iter([False, True])
    assert train(config, dataset, tmp_path, should_stop=lambda: next(done)).step == 1
    assert train(config, dataset, tmp_path).done
    expected, found = state_of(trained, 2), state_of(tmp_path, 2)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert objects(tmp_path, "editor/") == objects(trained, "editor/")


def test_from_latents_it_is_bit_for_bit_the_same(base, dataset, trained, tmp_path):
    encode_dataset(configuration(base), dataset, str(tmp_path / "latents"))
    config = configuration(base, reading={"latents": str(tmp_path / "latents")})
    assert train(config, dataset, tmp_path / "out").done
    assert objects(tmp_path / "out", "editor/") == objects(trained, "editor/")


def test_a_training_may_go_on_from_an_editor(trained, dataset, tmp_path):
    more = configuration(trained / "editor", law={"steps": 1})
    assert train(more, dataset, tmp_path).done
    assert json.loads((tmp_path / "editor/unet/config.json").read_text())["in_channels"] == 8


def test_what_its_pipeline_says_beside_the_weights_is_part_of_the_law(base, tmp_path):
    shutil.copytree(base, tmp_path / "other")
    said(tmp_path / "other", "model_index.json", force_zeros_for_empty_prompt=False)
    laws = [configuration(folder).law for folder in (base, tmp_path / "other")]
    assert laws[0].law_hash != laws[1].law_hash
    assert {name.partition("/")[0] for name in laws[0].model.files} == {
        "model_index.json", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2",
        "unet", "vae",
    }  # fmt: skip


def test_its_preset_is_a_configuration():
    law = read_config(Fit, PRESETS, "paper-xl", None, []).law
    assert law.model.source == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (law.size_px, law.batch, law.steps, law.learning_rate) == (512, 16, 15_000, 5e-5)


def said(folder, name, **fields):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def without(*parts):
    def change(folder):
        for part in parts:
            shutil.rmtree(folder / part)

    return change


def saying(name, **fields):
    return lambda folder: said(folder, name, **fields)


def as_flux(folder):
    (folder / "unet").rename(folder / "transformer")


UNET, INDEX = "unet/config.json", "model_index.json"
REFUSED = {
    "the refiner": (
        without("text_encoder", "tokenizer"),
        r"xl: must have text_encoder and text_encoder_2, .* got text_encoder_2 alone, as its refiner",
    ),
    "one that says that it is the refiner": (
        saying(INDEX, requires_aesthetics_score=True),
        r"model_index\.json: requires_aesthetics_score must be false, got True \(.*refiner\)",
    ),
    "sizes of a refiner": (
        saying(UNET, projection_class_embeddings_input_dim=60),
        r"config\.json: projection_class_embeddings_input_dim must be 68 \(.*\), got 60",
    ),
    "CosXL's editor": (saying(INDEX, is_cosxl_edit=True), r"is_cosxl_edit must be false, got True"),
    "an inpainting model": (saying(UNET, in_channels=9), r"in_channels must be 4 or 8, got 9"),
    "another text's width": (
        saying(UNET, cross_attention_dim=32),
        r"cross_attention_dim must be 56 \(.*\), got 32",
    ),
    "Stable Diffusion 3": (
        saying(UNET, in_channels=16, addition_embed_type=None),
        r"in_channels must be 4, got 16",
    ),
    "Flux": (as_flux, r"must be a model's folder with unet/config\.json, got .*text_encoder_2"),
    "no index": (
        lambda folder: (folder / INDEX).unlink(),
        r"must be a model's folder with model_index\.json",
    ),
    "an index that is none": (
        lambda folder: (folder / INDEX).write_text("["),
        r"model_index\.json: must be JSON",
    ),
    "no second tokenizer": (without("tokenizer_2"), r"with tokenizer_2/tokenizer_config\.json"),
    "pickled weights of the second encoder": (
        lambda folder: (folder / "text_encoder_2/model.safetensors").rename(
            folder / "text_encoder_2/pytorch_model.bin"
        ),
        r"text_encoder_2: weights must be \.safetensors files, got only pickled",
    ),
}


def test_the_published_base_passes_and_its_refiner_does_not(tmp_path):
    """The numbers of stabilityai's own configs."""
    for part in ("unet", "text_encoder", "text_encoder_2"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
    said(
        tmp_path, UNET, in_channels=4, addition_embed_type="text_time", addition_time_embed_dim=256,
        cross_attention_dim=2048, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    said(tmp_path, "text_encoder/config.json", hidden_size=768, projection_dim=768)
    said(tmp_path, "text_encoder_2/config.json", hidden_size=1280, projection_dim=1280)
    check_source(tmp_path)
    said(tmp_path, UNET, cross_attention_dim=1280, projection_class_embeddings_input_dim=2560)
    with pytest.raises(ModelError, match="cross_attention_dim must be 2048 .*, got 1280"):
        check_source(tmp_path)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_xl_is_refused_before_any_weight_is_loaded(what, base, tmp_path):
    change, message = REFUSED[what]
    shutil.copytree(base, tmp_path / "xl")
    change(tmp_path / "xl")
    with pytest.raises(ModelError, match=message):
        pin_law(small(False, law={"model": {"source": str(tmp_path / "xl")}}).law)


def test_generate_takes_the_base_and_no_editor_of_it(base, tmp_path):
    def pinned(folder):
        models = {"text_to_image": ModelSource(source=str(folder)), "size_px": SIDE}
        return pin(load_config("miniature").recipe.model_copy(update=models))

    assert any(name.startswith("text_encoder_2/") for name in pinned(base).text_to_image.files)
    tiny_xl(tmp_path / "editor", editor=True)
    with pytest.raises(ModelError, match="in_channels must be 4, got 8"):
        pinned(tmp_path / "editor")
