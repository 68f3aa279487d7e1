"""The check of released pairs, on pairs that a slow script of the original's law released here."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from benchmarks.released.checks import allowance
from benchmarks.released.folder import released_pairs
from benchmarks.released.original_draws import ChainedNoise, drawn_settings
from benchmarks.released_pairs import app
from factory.engine.checkpoint.load import load_clip
from factory.errors import Damaged, InputError
from schemas.candidate import Scores
from tests.factory.engine.family import CAPTIONS, recipe, save_family
from tests.factory.engine.reference import reference_pair
from tests.factory.engine.reference_scores import reference_scores
from tests.factory.engine.tiny import IMAGE_SIDE, LATENT_SIDE, tiny_parts

torch.set_num_threads(1)
SHAPE = (1, 4, LATENT_SIDE, LATENT_SIDE)
STEPS = 5
SEEDS = ((2**32 - 1, 7), (123456789,), ())
"""Of each prompt; nothing was kept of the last."""


def release(folder, family):
    """generate_img_dataset.py for chosen seeds; a second generator stands for the GPU's."""
    of = recipe(family, steps=STEPS, dtype="float64")
    parts = tiny_parts(dtype=torch.float64)
    clip = load_clip(of.clip, torch.device("cpu"), torch.float64)
    for index, seeds in enumerate(SEEDS):
        below = folder / "shard-00" / f"{index:07d}"
        below.mkdir(parents=True)
        before, after = CAPTIONS[index]
        prompt = {"input": before, "edit": "change it", "output": after, "url": "u"}
        (below / "prompt.json").write_text(json.dumps(prompt))
        for seed in seeds:
            torch.manual_seed(seed)
            gpu = torch.Generator().manual_seed(seed)
            start = torch.randn(SHAPE, generator=gpu)
            p = 0.1 + torch.rand(()).item() * (0.9 - 0.1)
            guidance = 7.5 + torch.rand(()).item() * (15 - 7.5)
            images = reference_pair(
                parts,
                before,
                after,
                p=p,
                guidance=guidance,
                steps=STEPS,
                initial_noise=start[0].double(),
                step_noise=lambda step, gpu=gpu: torch.randn(SHAPE, generator=gpu)[0].double(),
                solver="euler_ancestral",
            )
            statistics = {
                "mean": clip.mean.flatten().tolist(),
                "deviation": clip.deviation.flatten().tolist(),
            }
            scores = reference_scores(
                clip.model, clip.tokenize, *images, before, after, **statistics
            )
            for number, image in enumerate(images):
                pixels = (255.0 * image.permute(1, 2, 0).numpy()).astype(np.uint8)
                Image.fromarray(pixels).save(below / f"{seed}_{number}.jpg", quality=100)
            line = {"seed": seed, "p2p_threshold": p, "cfg_scale": guidance, **scores}
            with (below / "metadata.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
    return folder


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, family):
    return release(tmp_path_factory.mktemp("released"), family)


@pytest.fixture
def data(pristine, tmp_path):
    """A copy to break."""
    for file in (path for path in pristine.rglob("*") if path.is_file()):
        copy = tmp_path / file.relative_to(pristine)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return tmp_path


def check(data, family, *more):
    """Exit code, figures (null where none came), what was said."""
    options = {
        "recipe.text_to_image.source": family / "text_to_image",
        "recipe.text_to_image.revision": "null",
        "recipe.autoencoder": "null",
        "recipe.clip.source": family / "clip",
        "recipe.clip.revision": "null",
        "recipe.clip.name": "null",
        "recipe.dtype": "float64",
        "recipe.steps": STEPS,
        "recipe.size_px": IMAGE_SIDE,
        "compute.device": "cpu",
        "compute.threads": 1,
    }
    settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["--data", str(data), "--json", *settings, *more])
    return done.exit_code, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_pairs_of_the_original_law_are_made_again_from_their_seeds(data, family):
    code, figures, _ = check(data, family, "--noise", "cpu")
    assert (code, figures["problems"]) == (0, [])
    assert figures["pairs"] == figures["redrawn"] == figures["made_again"] == 3
    for name in ("psnr_original", "psnr_edited"):
        assert min(figures[name]) > 40
    # Before rounding and JPEG the scores are the original's to the last digits.
    assert max(figures["scores_off"]) < 1e-6
    assert max(figures["psnr_another_pair"]) < 25


def test_another_seed_is_found_by_its_settings_and_by_its_pictures(data, family):
    below = data / "shard-00" / "0000000"
    for number in (0, 1):
        (below / f"7_{number}.jpg").rename(below / f"8_{number}.jpg")
    metadata = below / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace('"seed": 7,', '"seed": 8,'))
    code, figures, said = check(data, family, "--noise", "cpu")
    assert code == 3
    assert (figures["pairs"], figures["redrawn"]) == (3, 2)
    settings, original, edited = figures["problems"]
    assert re.search(
        r"0000000/metadata.jsonl: seed 8: p2p_threshold and cfg_scale must be .* by the seed, got",
        settings,
    )
    for number, problem in enumerate((original, edited)):
        assert re.search(
            rf"0000000/8_{number}.jpg: must be made again within 20.0 dB, got ", problem
        )
    assert figures["psnr_original"][1] < 25 < 40 < figures["psnr_original"][0]


@pytest.mark.parametrize("score", ["clip_sim_0", "clip_sim_1", "clip_sim_image"])
def test_a_wrong_score_is_found(data, family, score):
    metadata = data / "shard-00" / "0000001" / "metadata.jsonl"
    line = json.loads(metadata.read_text())
    metadata.write_text(json.dumps(line | {score: line[score] - 0.05}))
    code, figures, _ = check(data, family, "--regenerate", "0")
    assert code == 3
    (problem,) = figures["problems"]
    assert f"0000001/metadata.jsonl: seed 123456789: {score} must be" in problem
    assert f"got {line[score] - 0.05:.4f}" in problem
    assert figures["made_again"] == 0


def test_a_direction_may_be_off_by_more_where_the_pictures_are_nearly_equal():
    def scores(image):
        return Scores(clip_sim_0=0, clip_sim_1=0, clip_sim_dir=0.3, clip_sim_image=image)

    assert allowance("clip_sim_0", 0.02, scores(0.9)) == 0.02
    assert allowance("clip_sim_dir", 0.02, scores(0.5)) == pytest.approx(0.02)
    assert allowance("clip_sim_dir", 0.02, scores(0.98)) == pytest.approx(0.1)
    assert allowance("clip_sim_dir", 0.02, scores(1.0)) == float("inf")


def test_broken_files_are_named_with_rule_and_finding(data, family):
    shard = data / "shard-00"
    first = shard / "0000000"
    (first / "7_1.jpg").unlink()
    Image.new("RGB", (32, 32)).save(first / "4294967295_0.jpg")
    with (first / "metadata.jsonl").open("a") as file:
        file.write('{"seed": 9, "p2p_threshold": 0.5}\n{"seed": 9\n')
    (shard / "0000001" / "prompt.json").write_text('{"input": "a", "edit": "b"}')
    cut = shard / "0000001" / "123456789_0.jpg"
    (shard / "0000003").mkdir()
    (shard / "0000003" / "5_0.jpg").write_bytes(cut.read_bytes()[:200])
    code, figures, _ = check(data, family, "--noise", "cpu")
    problems = [problem.removeprefix(f"{shard}/") for problem in figures["problems"]]
    rule = "must be a JPEG of 16 x 16 pixels"
    assert code == 3
    assert problems[0] == f"0000000/4294967295_0.jpg: {rule}, got 32 x 32"
    assert problems[1] == f"0000000/7_1.jpg: {rule}, got no file"
    assert problems[2].startswith('0000000/metadata.jsonl:3: "cfg_scale": Field required, got')
    assert problems[3].startswith('0000000/metadata.jsonl:4: "line": Invalid JSON')
    assert problems[4].startswith('0000001/prompt.json:1: field "output": expected one of')
    assert problems[5] == ("0000003/metadata.jsonl: must be there beside images, got only 5_0.jpg")
    assert len(problems) == 6


def test_a_cut_picture_is_named(data):
    file = data / "shard-00" / "0000001" / "123456789_0.jpg"
    file.write_bytes(file.read_bytes()[:300])
    pair = list(released_pairs(data))[-1]
    with pytest.raises(
        Damaged, match=r"123456789_0.jpg: must be a JPEG of 16 x 16 pixels, got OSE"
    ):
        pair.pictures(IMAGE_SIDE)


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="must hold prompts' folders of 7 digits"):
        list(released_pairs(tmp_path))
    with pytest.raises(InputError, match="must be a folder of released pairs"):
        list(released_pairs(tmp_path / "nowhere"))


def test_released_noise_is_not_imitated_without_the_device_that_drew_it(data, family, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, figures, said = check(data, family)
    assert (code, figures) == (2, None)
    assert "--regenerate: must be 0 without a CUDA device" in said


def test_the_help_names_no_option_that_it_lacks():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert "paper is the default" in shown
    assert "--triplets" not in shown


def test_settings_follow_from_the_seed_alone():
    of = recipe(Path("nowhere"))
    for seed in (0, 7, 123456789, 2**32 - 1):
        bits = np.random.MT19937()
        bits._legacy_seeding(seed)
        first, second = (bits.random_raw() % 2**24 / 2**24 for _ in range(2))
        p, guidance = drawn_settings(seed, of)
        assert p == pytest.approx(0.1 + 0.8 * first, abs=1e-12)
        assert guidance == pytest.approx(7.5 + 7.5 * second, abs=1e-12)


def test_noise_is_one_chain_that_begins_again_with_each_candidate():
    noise = ChainedNoise(torch.device("cpu"))
    chain = torch.Generator().manual_seed(5)
    wanted = [torch.randn(SHAPE, generator=chain)[0] for _ in range(3)]
    for _ in range(2):
        given = [noise(5, purpose, SHAPE[1:]) for purpose in ("start", "0", "1")]
        for mine, other in zip(given, wanted, strict=True):
            assert torch.equal(mine, other)
