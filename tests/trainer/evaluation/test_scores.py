"""Each measure against a slow formula of its own, on small networks of random weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTConfig, ViTModel

from factory.engine.checkpoint.load import load_clip
from factory.errors import ModelError
from factory.miniature import world
from factory.miniature.oracle import read
from factory.models.find import placed
from schemas.edits import EditCompute
from schemas.evaluation import Entrant, EvaluationItem, EvaluationRecipe
from schemas.recipe import ModelSource
from trainer.evaluation.measures.perceptual import load_lpips
from trainer.evaluation.measures.scores import Scorer, l1, sized
from trainer.evaluation.measures.self_similarity import load_dino
from trainer.evaluation.prepare import pinned
from trainer.miniature.tasks import edit_tasks

torch.set_num_threads(1)
CPU = torch.device("cpu")
CLIP = ModelSource(source="miniature/clip")


def pictures(size=(64, 64), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)]


def tensors(size=(64, 64), seed=0):
    return [torch.from_numpy(p.transpose(2, 0, 1).copy())[None] / 255 for p in pictures(size, seed)]


def item(**fields):
    given = dict.fromkeys(EvaluationItem.model_fields) | {
        "entrant": "e", "number": 0, "picture": "0", "attempt": 0, "seed": 0,
    }  # fmt: skip
    return EvaluationItem(**(given | fields))


@pytest.fixture(scope="module")
def scorer():
    entrant = Entrant(name="e", edits={"ip2p": {"model": {"source": "m"}}})
    recipe = EvaluationRecipe(entrants=(entrant,), clip=CLIP)
    return Scorer(recipe, EditCompute(device="cpu", gpus_per_worker=0))


def test_l1_is_the_mean_of_all_differences():
    one, other = pictures((3, 5))
    slow = [
        abs(int(one[y, x, c]) - int(other[y, x, c])) / 255
        for y in range(3)
        for x in range(5)
        for c in range(3)
    ]
    assert l1(one, other) == pytest.approx(sum(slow) / len(slow))
    assert l1(one, one) == 0
    assert l1(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 1


def test_a_picture_is_compared_at_the_size_of_its_edit():
    before, after = pictures((40, 30))[0], pictures((16, 12))[0]
    small = Image.fromarray(before).resize((12, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(sized(before, after), np.asarray(small))
    assert sized(after, after) is after


def test_clip_is_given_pictures_from_0_to_1_as_the_filter_gives_them(scorer):
    task = edit_tasks(1)[0]
    there = read(task.picture)
    scene = world.parse_caption(task.edited_prompt)
    after = world.render(replace(scene, x=there.x, y=there.y))
    found = scorer.measure(
        item(source_caption=task.original_prompt, target_caption=task.edited_prompt),
        task.picture,
        after,
    )
    clip = load_clip(placed(CLIP, "clip"), CPU, torch.float32)
    with torch.inference_mode():
        images = []
        for picture in (task.picture, after):
            x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
            if x.shape[-2:] != clip.size:
                x = torch.nn.functional.interpolate(x, clip.size, mode="bicubic")
            mean, deviation = clip.mean.flatten(), clip.deviation.flatten()
            for channel in range(3):
                x[:, channel] = (x[:, channel] - mean[channel]) / deviation[channel]
            images.append(clip.model.encode_image(x)[0].double().tolist())
        texts = [
            clip.model.encode_text(clip.tokenize([words]))[0].double().tolist()
            for words in (task.original_prompt, task.edited_prompt)
        ]
    units = [[v / math.hypot(*of) for v in of] for of in (*images, *texts)]

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    def less(a, b):
        return [x - y for x, y in zip(a, b, strict=True)]

    slow = {
        "clip_sim_0": cosine(units[0], units[2]),
        "clip_sim_1": cosine(units[1], units[3]),
        "clip_sim_dir": cosine(less(units[1], units[0]), less(units[3], units[2])),
        "clip_sim_image": cosine(units[0], units[1]),
    }
    assert {name: found[name] for name in slow} == pytest.approx(slow, abs=2e-5)
    # Gates of the miniature: the world's own edit follows its captions.
    assert found["clip_sim_dir"] > 0.8


def test_an_edit_by_the_world_is_true_and_none_is_unchanged(scorer):
    task = edit_tasks(1)[0]
    words = {"source_caption": task.original_prompt, "target_caption": task.edited_prompt}
    found = scorer.measure(item(**words), task.picture, task.picture)
    assert (found["edit_done"], found["true"], found["unchanged"]) == (False, False, True)
    assert (found["clip_sim_image"], found["clip_sim_dir"], found["l1"]) == (1.0, 0.0, 0.0)
    noise = pictures()[0]
    assert scorer.measure(item(**words), task.picture, noise)["unreadable"] is True


def test_what_needs_a_caption_is_null_without_one(scorer):
    before, after = pictures()
    found = scorer.measure(item(target_caption="a red circle"), before, after)
    assert found["clip_sim_0"] is None
    assert found["clip_sim_dir"] is None
    assert found["clip_sim_1"] is not None
    assert found["clip_sim_image"] is not None
    assert (found["lpips"], found["dino"]) == (None, None)
    assert "edit_done" not in found


WIDTHS = (4, 6, 8, 5, 5)
SIDES = (11, 5, 3, 3, 3)
PLACES = (0, 3, 6, 8, 10)


@pytest.fixture(scope="module")
def lpips(tmp_path_factory):
    """AlexNet with fewer channels, under the names of the `lpips` package."""
    rng = torch.Generator().manual_seed(0)
    state, before = {}, 3
    for number, (width, side, place) in enumerate(zip(WIDTHS, SIDES, PLACES, strict=True)):
        name = f"net.slice{number + 1}.{place}"
        state[f"{name}.weight"] = torch.randn(width, before, side, side, generator=rng) / side
        state[f"{name}.bias"] = torch.randn(width, generator=rng) / 10
        state[f"lin{number}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=rng)
        before = width
    file = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(state, file)
    return file, state


def reference_lpips(state, one, other):
    """The sum over layers, places and channels, written out with torch's own layers."""
    nn, layers, total = torch.nn, [], 0.0
    for number, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
        weight = state[f"net.slice{number + 1}.{PLACES[number]}.weight"]
        conv = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2], stride, padding)
        conv.weight.data, conv.bias.data = (
            weight,
            state[f"net.slice{number + 1}.{PLACES[number]}.bias"],
        )
        pool = [nn.MaxPool2d(3, 2)] if number in (1, 2) else []
        layers.append(nn.Sequential(*pool, conv, nn.ReLU()))
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    a, b = ((2 * x - 1 - shift) / scale for x in (one, other))
    for number, layer in enumerate(layers):
        a, b = layer(a), layer(b)
        weights = state[f"lin{number}.model.1.weight"].flatten().tolist()
        height, width = a.shape[2:]
        for y in range(height):
            for x in range(width):
                first, second = a[0, :, y, x], b[0, :, y, x]
                gap = first / (first.norm() + 1e-10) - second / (second.norm() + 1e-10)
                parts = zip(weights, gap.tolist(), strict=True)
                total += sum(w * g * g for w, g in parts) / (height * width)
    return total


def test_lpips_is_the_sum_over_layers_of_weighted_differences(lpips):
    file, state = lpips
    distance = load_lpips(ModelSource(source=str(file)), CPU)
    one, other = tensors((64, 48))
    with torch.no_grad():
        assert distance(one, other) == pytest.approx(reference_lpips(state, one, other), rel=1e-4)
        assert distance(one, one) == 0
        # Too small for the last layers: made larger first.
        small = tensors((16, 16))
        assert math.isfinite(distance(*small))
        assert distance(*small) > 0


def test_another_file_is_no_lpips(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(
        ModelError, match=r"must be the state of LPIPS\(net='alex'\), got no 'net.sl"
    ):
        load_lpips(ModelSource(source=str(file)), CPU)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    folder = tmp_path_factory.mktemp("dino")
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        model = ViTModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    return folder, model


def test_dino_is_the_mean_square_of_what_cosines_of_keys_differ(vit):
    folder, model = vit
    distance = load_dino(ModelSource(source=str(folder)), CPU)
    one, other = tensors((32, 32))
    matrices = []
    with torch.inference_mode():
        for picture in (one, other):
            mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
            x = (picture - mean) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
            # What goes into the last layer, by hand through its first norm and its keys.
            states = model(x, output_hidden_states=True).hidden_states[-2]
            layer = list(model.modules())
            last = [part for part in layer if type(part).__name__ == "ViTLayer"][-1]
            keys = last.attention.k_proj(last.layernorm_before(states))[0]
            rows = keys.tolist()
            matrices.append(
                [
                    [
                        sum(a * b for a, b in zip(u, v, strict=True))
                        / (math.hypot(*u) * math.hypot(*v))
                        for v in rows
                    ]
                    for u in rows
                ]
            )
        gaps = [
            (a - b) ** 2
            for one_row, other_row in zip(*matrices, strict=True)
            for a, b in zip(one_row, other_row, strict=True)
        ]
        # The class token and 4 by 4 patches.
        assert len(gaps) == 17 * 17
        assert distance(one, other) == pytest.approx(sum(gaps) / len(gaps), rel=1e-3)
        assert distance(one, one) == 0


def test_a_folder_without_a_vit_is_no_dino(tmp_path):
    with pytest.raises(ModelError, match="cannot load a ViT"):
        load_dino(ModelSource(source=str(tmp_path)), CPU)


def with_weights(**models):
    entrant = Entrant(
        name="e", edits={"ip2p": {"model": {"source": "miniature/editor"}}, "size_px": 64}
    )
    sources = {name: {"source": str(path)} for name, path in models.items()}
    return EvaluationRecipe(entrants=(entrant,), clip=CLIP, **sources)


def test_weights_that_are_named_are_pinned_and_measured_with(lpips, vit):
    recipe = pinned(with_weights(lpips=lpips[0], dino=vit[0]))
    assert set(recipe.lpips.files) == {"lpips.safetensors"}
    assert set(recipe.dino.files) == {"config.json", "model.safetensors"}
    assert all(len(sha256) == 64 for sha256 in (recipe.lpips.files | recipe.dino.files).values())
    assert recipe.entrants[0].settings.model.files
    assert recipe.clip.files
    found = Scorer(recipe, EditCompute(device="cpu", gpus_per_worker=0)).measure(
        item(), *pictures()
    )
    assert found["lpips"] > 0
    assert found["dino"] > 0
    # A place is no part of what they are.
    assert "source" not in recipe.identity()["dino"]


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"lpips": "none.safetensors"}, "must be a .safetensors file on this machine"),
        ({"lpips": "."}, "must be a .safetensors file on this machine"),
        ({"dino": "none"}, "must be a folder on this machine"),
        ({"dino": "."}, "weights must be .safetensors files, got none"),
    ],
)
def test_weights_that_are_not_there_are_refused(models, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        pinned(with_weights(**models))
