"""Pipelines of diffusers as editors: each beside its plain call, and where calls for several go wrong."""

import json
import shlex
import shutil
from unittest.mock import patch

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from PIL import Image

from editmill import app
from factory.edits.edit import batching_of, seed_of
from factory.edits.editors.pipeline_class import _takes_instructions, pinned_pipeline
from factory.edits.items import on_disk
from factory.edits.listing import Listed, Wish
from factory.edits.prepare import pinned
from factory.edits.studio import Studio
from factory.errors import ConfigError, ListError, ModelError
from factory.ledger.plan import read_plan
from factory.ledger.run import open_run
from factory.miniature import world
from factory.models.find import MINIATURE
from factory.verbs.asked_edits import AskedEdits
from schemas.editors import DiffusersPipeline
from schemas.edits import EditCompute, EditItem, EditRecipe
from schemas.recipe import ModelSource
from tests.factory.edits.tiny_pipelines import EDITOR, save_kontext, save_qwen, words_tokenizer

torch.set_num_threads(1)
OURS = "tests.factory.edits.third_party:"
WORDS = "make it red"


@pytest.fixture(scope="module")
def kontext(tmp_path_factory):
    return save_kontext(tmp_path_factory.mktemp("kontext"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def qwen_plus(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("plus"), plus=True)


@pytest.fixture
def plain(tmp_path):
    """A third party's folder: a class of its own, and an autoencoder for its only part."""
    folder = tmp_path / "plain"
    shutil.copytree(EDITOR / "vae", folder / "vae")
    index = {"_class_name": "Plain", "vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(autouse=True)
def small_conditions():
    """Qwen's pipelines show the network a picture of a million pixels; here one of a thousand."""

    def few(area, aspect):
        return 48, 32, None

    with (
        patch.object(pipeline_qwenimage_edit, "calculate_dimensions", few),
        patch.object(pipeline_qwenimage_edit_plus, "calculate_dimensions", lambda *_: few(*_)[:2]),
    ):
        yield


def scene(caption=0, size=(96, 64)):
    drawn = world.render(world.parse_caption(world.held_out_captions()[caption]))
    return np.asarray(Image.fromarray(drawn).resize(size))


def item(key="a.png", words=WORDS, **fields):
    given = {"key": key, "image": key, "editor": "diffusers", "instruction": words, **fields}
    return EditItem(**dict.fromkeys(EditItem.model_fields) | given)


def studio(folder, together=1, first=None, **settings):
    given = {"model": {"source": str(folder)}, "dtype": "float32", **settings}
    pinned = pinned_pipeline(DiffusersPipeline(**given))
    recipe = EditRecipe(editor="diffusers", diffusers=pinned, size_px=48)
    compute = EditCompute(device="cpu", gpus_per_worker=0, threads=1, pipeline_images=together)
    return Studio(recipe, compute, first or (lambda: []))


def made(studio, *asked):
    found = dict(studio.edit(asked))
    return [found[place] for place in range(len(asked))]


def beside(folder, kind, studio, **given):
    """The same edit by the class's own call, at the size that it was made at."""
    whole = getattr(diffusers, kind).from_pretrained(folder, use_safetensors=True)
    whole.set_progress_bar_config(disable=True)
    shown = Image.fromarray(scene()).resize((48, 32), Image.Resampling.LANCZOS)
    seed = seed_of(studio.recipe, item())
    generator = torch.Generator("cpu").manual_seed(seed)
    edited = whole(image=shown, prompt=WORDS, generator=generator, **given).images[0]
    return np.asarray(edited.resize((96, 64), Image.Resampling.LANCZOS))


SIZE = {"height": 32, "width": 48}
FIXED = {"max_area": 48 * 32, "_auto_resize": False}


def test_a_setting_that_a_call_has_not_is_refused_and_never_told():
    ours = studio(EDITOR, steps=2, multiple_px=16)
    (edited,) = made(ours, (item(strength=0.5), scene()))
    assert "strength" not in edited.facts
    for wanted, refused in (({"strength": 0.5}, True), ({"image_guidance": 1.2}, False)):
        listed = Listed(on_disk([item(), item("b.png", **wanted)]))
        if refused:
            with pytest.raises(ListError, match="b.png: StableDiff.* takes no strength, got 0.5"):
                pinned(ours.recipe, listed)
        else:
            pinned(ours.recipe, listed)


def test_a_recipe_of_before_there_was_a_choice_of_words_is_the_same():
    settings = DiffusersPipeline(model={"source": "m"}, prompt="instruction")
    assert settings == DiffusersPipeline.read({"model": {"source": "m"}})
    assert "prompt" not in settings.identity()
    other = settings.model_copy(update={"prompt": "target_caption"})
    assert other.identity()["prompt"] == "target_caption"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, True) for name in (
            "StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline",
            "FluxKontextPipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline",
            "FluxKontextModularPipeline", "QwenImageEditModularPipeline", "Flux2KleinPipeline",
        )),
        *((name, False) for name in (
            "StableDiffusionImg2ImgPipeline", "StableDiffusionDepth2ImgPipeline",
            "StableDiffusionUpscalePipeline", "StableDiffusionControlNetPipeline",
            "StableDiffusionXLModularPipeline", "FluxModularPipeline", "StableDiffusionInpaintPipeline",
        )),
    ],
)  # fmt: skip
def test_classes_that_take_instructions_are_known_by_name_and_exist(name, known):
    assert _takes_instructions(name) is known
    assert hasattr(diffusers, name)


class Processor:
    """As FLUX.2 has in a tokenizer's place: what it is given first it takes for pictures."""

    tokenizer = words_tokenizer(5)

    def __call__(self, images=None, text=None):
        raise ValueError(f"no picture: {images}")


def test_words_are_shown_to_tokenizers_alone():
    editor = studio(EDITOR, steps=2, multiple_px=16).editor("diffusers")
    editor.pipeline.tokenizer = Processor()
    assert editor._cuts("http://host/picture")
    assert not editor._cuts("red")


def test_a_pipeline_that_goes_by_captions_is_told_the_caption(tmp_path):
    folder = tmp_path / "img2img"
    shutil.copytree(MINIATURE / "text_to_image", folder)
    with pytest.raises(
        ConfigError,
        match="recipe.diffusers.prompt: must be said for StableDiffusionImg2Img.*: target_",
    ):
        studio(folder, pipeline="StableDiffusionImg2ImgPipeline")
    ours = studio(
        folder, pipeline="StableDiffusionImg2ImgPipeline", prompt="target_caption", steps=2
    )
    assert ours.recipe.diffusers.needs == ("target_caption",)
    told = []
    editor = ours.editor("diffusers")
    with patch.object(editor, "made", lambda rows: told.extend(rows) or [scene()] * len(rows)):
        made(ours, (item(words="make it red", target_caption="a red star"), scene()))
    assert [row.words for row in told] == ["a red star"]


def test_instruct_pix2pix_is_the_plain_call():
    ours = studio(EDITOR, steps=2, multiple_px=16)
    assert ours.recipe.diffusers.pipeline == "StableDiffusionInstructPix2PixPipeline"
    assert (ours.recipe.diffusers.text_guidance, ours.recipe.diffusers.image_guidance) == (7.5, 1.5)
    (edited,) = made(ours, (item(), scene()))
    plain = beside(EDITOR, "StableDiffusionInstructPix2PixPipeline", ours, num_inference_steps=2)
    assert (edited.picture == plain).all()
    assert edited.facts == {
        "steps": 2,
        "text_guidance": 7.5,
        "image_guidance": 1.5,
        "model_width": 48,
        "model_height": 32,
        "width": 96,
        "height": 64,
        "truncated": False,
    }
    (long,) = made(ours, (item(words="a large red star " * 9), scene()))
    assert long.facts["truncated"]


def test_kontext_is_the_plain_call_at_the_size_that_was_asked_for(kontext):
    ours = studio(kontext, steps=2)
    assert ours.recipe.diffusers.text_guidance == 3.5
    (edited,) = made(ours, (item(), scene()))
    plain = beside(kontext, "FluxKontextPipeline", ours, num_inference_steps=2, **SIZE, **FIXED)
    assert (edited.picture == plain).all()
    (other,) = made(ours, (item(text_guidance=9.0), scene()))
    assert (other.picture != edited.picture).any()
    assert other.facts["text_guidance"] == 9.0


@pytest.mark.parametrize("plus", [False, True])
def test_qwen_is_the_plain_call_with_true_guidance(qwen, qwen_plus, plus):
    folder = qwen_plus if plus else qwen
    kind = "QwenImageEditPlusPipeline" if plus else "QwenImageEditPipeline"
    ours = studio(folder, steps=2)
    assert ours.recipe.diffusers.text_guidance == 4.0
    (edited,) = made(ours, (item(), scene()))
    given = {"num_inference_steps": 2, "true_cfg_scale": 4.0, **SIZE}
    assert (edited.picture == beside(folder, kind, ours, negative_prompt=" ", **given)).all()
    # What its users forget, and are not told of in the picture: no guidance without a negative prompt.
    assert (edited.picture != beside(folder, kind, ours, **given)).any()


def test_a_modular_pipeline_edits_as_the_ordinary_one_does(kontext, capsys):
    ours = studio(kontext, steps=2, pipeline="FluxKontextModularPipeline")
    (edited,) = made(ours, (item(), scene()))
    plain = beside(kontext, "FluxKontextPipeline", ours, num_inference_steps=2, **SIZE, **FIXED)
    assert np.abs(edited.picture.astype(int) - plain).max() <= 1
    assert edited.picture.std() > 1
    assert "it/s" not in capsys.readouterr().err, "a bar of its own"


def test_a_modular_folder_is_read_and_its_parts_taken_from_itself(kontext, tmp_path):
    whole = diffusers.FluxKontextModularPipeline(pretrained_model_name_or_path=str(kontext))
    whole.load_components()
    whole.save_pretrained(str(tmp_path / "modular"), overwrite_modular_index=True)
    index = tmp_path / "modular" / "modular_model_index.json"
    elsewhere = index.read_text().replace(str(tmp_path / "modular"), "somebody/else")
    index.write_text(elsewhere)
    ours = studio(tmp_path / "modular", steps=2)
    assert ours.recipe.diffusers.pipeline == "FluxKontextModularPipeline"
    (edited,) = made(ours, (item(), scene()))
    (ordinary,) = made(studio(kontext, steps=2), (item(), scene()))
    assert np.abs(edited.picture.astype(int) - ordinary.picture).max() <= 1


FOUR = [(item(f"{n}.png", WORDS + " x" * n), scene(n % 3)) for n in range(4)]


def test_what_is_edited_together_is_the_same_whoever_is_beside_it():
    together = studio(EDITOR, 3, lambda: FOUR[:2], steps=2, multiple_px=16)
    batching = together.environment().batching
    assert batching.startswith("3 in a call, where pictures come out "), batching
    whole = made(together, *FOUR)
    for place, asked in enumerate(FOUR):
        (alone,) = made(together, asked)
        assert (alone.picture == whole[place].picture).all()
    turned = made(together, *FOUR[::-1])[::-1]
    assert all((a.picture == b.picture).all() for a, b in zip(whole, turned, strict=True))
    (one,) = made(studio(EDITOR, steps=2, multiple_px=16), FOUR[0])
    assert np.abs(one.picture.astype(int) - whole[0].picture).mean() < 1


def test_a_pipeline_that_takes_the_first_picture_for_all_edits_one_by_one(capsys):
    wrong = studio(EDITOR, 2, lambda: FOUR[:1], pipeline=f"{OURS}Borrowing", multiple_px=16)
    batching = wrong.environment().batching
    assert batching.startswith("one by one, since of 2 in a call pictures come out "), batching
    assert batching.endswith("levels of 255 from what they are alone (at most 2)")
    assert f"editor diffusers: {batching}\n" in capsys.readouterr().err
    right = studio(EDITOR, pipeline=f"{OURS}Borrowing", multiple_px=16)
    pairs = zip(made(wrong, *FOUR[:2]), made(right, *FOUR[:2]), strict=True)
    assert all((one.picture == other.picture).all() for one, other in pairs)


@pytest.mark.parametrize("name", ["kontext", "qwen"])
def test_whatever_is_found_of_a_batch_an_edit_is_the_same_whoever_is_beside_it(name, request):
    folder = request.getfixturevalue(name)
    together = studio(folder, 2, lambda: FOUR[:2], steps=1)
    batching = together.environment().batching
    assert batching.startswith(("2 in a call, where pictures come out ", "one by one, since ")), (
        batching
    )
    whole = made(together, *FOUR[:2])
    for asked, beside_another in zip(FOUR[:2], whole, strict=True):
        (alone,) = made(together, asked)
        assert (alone.picture == beside_another.picture).all()
        (plain,) = made(studio(folder, steps=1), asked)
        assert np.abs(plain.picture.astype(int) - alone.picture).mean() <= 2, batching


def test_a_pipeline_that_takes_no_batch_edits_one_by_one(qwen_plus):
    found = studio(qwen_plus, 2, steps=1).environment().batching
    assert found.startswith("one by one, since a call for 2 pictures fails: ValueError: "), found


def test_a_pipeline_whose_pictures_depend_on_their_place_edits_one_by_one(plain):
    found = studio(plain, 2, pipeline=f"{OURS}Jittering").environment().batching
    assert found == "one by one, since of 2 in a call what others are in it changes a picture"


def test_a_pipeline_that_takes_a_list_for_references_of_one_edit_edits_one_by_one(plain):
    shown = [(item(f"{n}.png", "keep it"), scene(n)) for n in range(2)]
    ours = studio(plain, 2, lambda: shown, pipeline=f"{OURS}Referring", multiple_px=16)
    assert ours.environment().batching.startswith(
        "one by one, since of 2 in a call pictures come out "
    )
    for (_, picture), edited in zip(shown, made(ours, *shown), strict=True):
        assert np.abs(edited.picture.astype(int) - picture).mean() < 16


def test_pictures_of_several_sizes_come_to_calls_of_one_size_each():
    """A call for several makes all as large as the first."""
    sizes = [(96, 64), (64, 96), (96, 64), (64, 96), (64, 64)]
    asked = [(item(f"{n}.png"), scene(n % 2, size)) for n, size in enumerate(sizes)]
    together = studio(EDITOR, 2, lambda: asked[:2], steps=1, multiple_px=16)
    assert together.environment().batching.startswith("2 in a call, ")
    for one, edited in zip(asked, made(together, *asked), strict=True):
        assert edited.picture.shape == one[1].shape
        (alone,) = made(together, one)
        assert (alone.picture == edited.picture).all()


def test_a_first_picture_that_cannot_be_edited_stops_no_worker(plain):
    first = [(item(words="raise"), scene())]
    ours = studio(plain, 2, lambda: first, pipeline=f"{OURS}Plain")
    assert ours.environment().batching == (
        "one by one, since a first picture could not be edited alone: ValueError: a word that it does not "
        "know"
    )


def test_what_is_wrong_with_one_picture_stays_its_own(plain):
    words = ["raise", "keep it", "burst", "darken", "blush", "square"]
    ours = studio(plain, 2, pipeline=f"{OURS}Plain", multiple_px=16)
    asked = [(item(f"{n}.png", one), scene()) for n, one in enumerate(words)]
    reasons = [one.reason for one in made(ours, *asked)]
    assert reasons == [
        "pipeline must edit it, got ValueError: a word that it does not know",
        None,
        "picture must be finite, got nan or inf",
        "picture must not be all black, got zeros: of a safety checker, or of numbers beyond the range "
        "of float32",
        "picture must pass the pipeline's own safety checker, got one that it blackened",
        "picture must keep the aspect of 48x32, got 16x16",
    ]


def test_what_a_class_leaves_open_stays_open(plain):
    pinned = studio(plain, pipeline=f"{OURS}Plain").recipe.diffusers
    assert (pinned.steps, pinned.text_guidance, pinned.strength) == (None, None, None)
    with pytest.raises(
        ConfigError, match=r"recipe\.diffusers\.strength: must be null where Plain's"
    ):
        studio(plain, pipeline=f"{OURS}Plain", strength=0.5)


def test_other_files_than_were_pinned_are_refused(plain):
    pinned = studio(plain, pipeline=f"{OURS}Plain").recipe.diffusers
    (plain / "vae" / "config.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"must hold the files that this recipe pins, got others: "
    ):
        pinned_pipeline(pinned)


def test_sides_are_what_the_networks_need(kontext, qwen):
    multiples = [
        studio(folder, **more).editor("diffusers").multiple
        for folder, more in ((EDITOR, {}), (kontext, {}), (qwen, {}))
    ]
    # 4 by 2 levels, 2 and 8 by patches of 2.
    assert multiples == [8, 4, 16]
    assert studio(kontext, multiple_px=8).editor("diffusers").multiple == 8


FAST = (
    "--set recipe.size_px=32 --set recipe.diffusers.steps=1 --set recipe.diffusers.dtype=float32 --set "
    "compute.where=here --set compute.device=cpu --set compute.gpus_per_worker=0 --set compute.threads=1"
)


def said(command, capsys, code=0):
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command))
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return json.loads(out), err


@pytest.mark.long
def test_a_third_partys_class_goes_over_a_folder_by_one_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(scene(number)).save(tmp_path / "in" / f"{number}.png")
    asked = (
        f"--json --images in --instruction 'make it red' {FAST} --pipeline {OURS}Borrowing={EDITOR}"
    )
    assert said(f"plan {asked}", capsys)[0]["rows"] == 3
    batch = "--set compute.pipeline_images=2"
    done, err = said(f"edit --out out {asked} {batch}", capsys)
    assert done["counts"] == {"done": 3, "skipped": 0, "failed": 0}
    assert "editor diffusers: one by one, since of 2 in a call" in err
    run = open_run("out")
    assert batching_of(run, read_plan(run)).startswith("one by one, since of 2 in a call")
    assert run.recipe["diffusers"]["pipeline"] == f"{OURS}Borrowing"
    done, _ = said(f"edit --out out {asked}", capsys)
    assert done["counts"]["done"] == 3
    found = said(f"doctor {asked} {batch}", capsys)[0]["checks"]
    levels = {one["check"]: one["level"] for one in found}
    assert (levels["batch"], levels["edit"]) == ("ok", "ok")
    # Another pipeline is another recipe.
    _, err = said_in_words(f"edit --out out {asked.replace('steps=1', 'steps=2')}", capsys)
    assert "recipe" in err


def said_in_words(command, capsys):
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command))
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    return out, err


def test_what_pipeline_may_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    commit = "0123456789" * 4

    def chosen(pipeline, *settings, **more):
        asked = AskedEdits("in", None, Wish(instruction="x"), None, pipeline)
        return asked.choose(None, None, settings, **more).config.recipe

    recipe = chosen(f"FluxKontextPipeline=owner/name@{commit}")
    assert (recipe.editor, recipe.size_px) == ("diffusers", 1024)
    assert recipe.diffusers.pipeline == "FluxKontextPipeline"
    assert recipe.diffusers.model == ModelSource(source="owner/name", revision=commit)
    recipe = chosen("s3://bucket/a=b", "recipe.size_px=512")
    assert (recipe.diffusers.pipeline, recipe.size_px) == (None, 512)
    assert recipe.diffusers.model == ModelSource(source="s3://bucket/a=b")
    (tmp_path / "a=b").mkdir()
    assert chosen("a=b").diffusers.model.source == "a=b"


def test_a_recipe_without_a_pipeline_keeps_its_hash():
    recipe = EditRecipe(ip2p={"model": {"source": "miniature/editor"}})
    assert "diffusers" not in recipe.identity()
