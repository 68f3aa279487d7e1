"""Our pairs and our text-to-image folder in the hands of diffusers' `train_instruct_pix2pix.py`.

The script is no part of diffusers' wheel: what stands here are its calls, in its order, asked for by the
command of `trainer/README.md`. In float32 and without a moving average, as it trains unless told.
"""

import random
import re
import shlex
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from diffusers.optimization import get_scheduler
from PIL import Image
from torch.nn import functional
from torchvision import transforms
from transformers import CLIPTextModel, CLIPTokenizer

from factory.edits.editors.ip2p import load_editor
from factory.ledger.manifest import sealed_data_uris
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.miniature import world
from factory.pairs.source import Made
from factory.pairs.triplets import read_triplets
from factory.storage.open import open_store
from schemas.candidate import Scores
from schemas.config import Config
from schemas.recipe import ModelSource
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe
from tests.trainer.pipeline import plain_pipeline

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
PAIRS = 8


def told() -> SimpleNamespace:
    """The options of the README's command."""
    text = (ROOT / "trainer/README.md").read_text()
    (command,) = re.findall(r"train_instruct_pix2pix\.py ((?:.*\\\n)*.*)\n", text)
    words = shlex.split(command.replace("\\\n", " "))
    options = [(name[2:], word) for name, word in pairwise([*words, "--"]) if name[:2] == "--"]
    return SimpleNamespace(**{name: None if word[:2] == "--" else word for name, word in options})


SAID = told()
SIDE = int(SAID.resolution)
DROPOUT = float(SAID.conditioning_dropout_prob)
SOURCE = str(ROOT / SAID.pretrained_model_name_or_path)


class Scenes(StubSource):
    """Pairs as the miniature's world draws them, all of which pass."""

    def pairs(self, draws):
        scores = Scores(**dict.fromkeys(Scores.model_fields, 0.9))
        for draw in draws:
            texts = (draw.triplet.original_prompt, draw.triplet.edited_prompt)
            scenes = [world.place(world.parse_caption(t), random.Random(draw.seed)) for t in texts]
            yield Made(draw, *map(world.render, scenes), scores, truncated=False)


def sealed_run(folder: Path) -> None:
    law = recipe(candidates=2, size_px=SIDE)
    run = create_run(open_store(str(folder)), law)
    plan = write_plan(run, read_triplets("miniature").triplets[: PAIRS // 2], law.unit_triplets)
    config = Config.model_validate({"recipe": law})
    sealed = run_job(run, plan, config, run_here(lambda _: Scenes())).sealed
    assert sealed.counts["accepted"] == PAIRS


def widened(unet):
    """The picture's channels, zero at first; the new layer's bias is random, as the script leaves it."""
    old = unet.conv_in
    new = torch.nn.Conv2d(8, old.out_channels, old.kernel_size, old.stride, old.padding)
    with torch.no_grad():
        new.weight[:, :4] = old.weight
        new.weight[:, 4:] = 0
    unet.conv_in = new
    unet.register_to_config(in_channels=8)
    return unet


def tokens(tokenizer, texts):
    cut = {"max_length": tokenizer.model_max_length, "padding": "max_length", "truncation": True}
    return tokenizer(texts, return_tensors="pt", **cut).input_ids


def prepared(rows, tokenizer):
    """Both pictures of some rows in [-1, 1], mirrored by one draw, and token ids."""
    pictures = [
        np.asarray(picture.convert("RGB").resize((SIDE, SIDE))).transpose(2, 0, 1)
        for column in (SAID.original_image_column, SAID.edited_image_column)
        for picture in rows[column]
    ]
    turn = [transforms.RandomHorizontalFlip()] if hasattr(SAID, "random_flip") else []
    augment = transforms.Compose([transforms.RandomCrop(SIDE), *turn])
    both = augment(2 * (torch.tensor(np.concatenate(pictures)) / 255) - 1)
    original, edited = both.reshape(2, -1, 3, SIDE, SIDE)
    ids = tokens(tokenizer, list(rows[SAID.edit_prompt_column]))
    return rows | {"original": original, "edited": edited, "ids": ids}


def collated(examples):
    names = ("original", "edited", "ids")
    return {name: torch.stack([example[name] for example in examples]) for name in names}


def loss_of(batch, parts, unet):
    """With draws of the global generator, as the script's; the same at each call."""
    set_seed(1)
    generator = torch.Generator().manual_seed(int(SAID.seed))
    latents = parts.vae.encode(batch["edited"]).latent_dist.sample()
    latents = latents * parts.vae.config.scaling_factor
    noise = torch.randn_like(latents)
    steps = torch.randint(0, parts.scheduler.config.num_train_timesteps, (len(latents),))
    noisy = parts.scheduler.add_noise(latents, noise, steps)
    words = parts.text_encoder(batch["ids"])[0]
    seen = parts.vae.encode(batch["original"]).latent_dist.mode()
    draw = torch.rand(len(latents), generator=generator)
    nothing = parts.text_encoder(tokens(parts.tokenizer, [""]))[0]
    words = torch.where((draw < 2 * DROPOUT).reshape(-1, 1, 1), nothing, words)
    blind = (draw >= DROPOUT) & (draw < 3 * DROPOUT)
    seen = (~blind).to(seen.dtype).reshape(-1, 1, 1, 1) * seen
    assert parts.scheduler.config.prediction_type == "v_prediction"
    wanted = parts.scheduler.get_velocity(latents, noise, steps)
    found = unet(torch.cat([noisy, seen], dim=1), steps, words).sample
    return functional.mse_loss(found.float(), wanted.float())


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> SimpleNamespace:
    """What it had and left: one step on a sealed run's pairs, and the folder that it saved."""
    folder = tmp_path_factory.mktemp("script")
    run, saved = folder / "run", folder / "saved"
    sealed_run(run)
    place = SAID.dataset_name.replace("runs/first", str(run))
    accelerator = Accelerator(cpu=True)
    set_seed(int(SAID.seed))
    parts = SimpleNamespace(
        scheduler=DDPMScheduler.from_pretrained(SOURCE, subfolder="scheduler"),
        tokenizer=CLIPTokenizer.from_pretrained(SOURCE, subfolder="tokenizer"),
        text_encoder=CLIPTextModel.from_pretrained(SOURCE, subfolder="text_encoder"),
        vae=AutoencoderKL.from_pretrained(SOURCE, subfolder="vae"),
    )
    unet = widened(UNet2DConditionModel.from_pretrained(SOURCE, subfolder="unet"))
    parts.vae.requires_grad_(False)
    parts.text_encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=1e-2)
    rows = datasets.load_dataset(place, None, cache_dir=str(folder / "cache"))["train"]
    feed = torch.utils.data.DataLoader(
        rows.with_transform(lambda some: prepared(some, parts.tokenizer)),
        shuffle=True,
        collate_fn=collated,
        batch_size=int(SAID.train_batch_size),
    )
    rates = get_scheduler(
        "constant", optimizer=optimizer, num_warmup_steps=500, num_training_steps=1
    )
    unet, optimizer, feed, rates = accelerator.prepare(unet, optimizer, feed, rates)
    parts.text_encoder.to(accelerator.device, dtype=torch.float32)
    parts.vae.to(accelerator.device, dtype=torch.float32)

    unet.train()
    batch = next(iter(feed))
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    with accelerator.accumulate(unet):
        loss = loss_of(batch, parts, unet)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    with torch.no_grad():
        losses = (loss.item(), loss_of(batch, parts, unet).item())

    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        SOURCE,
        text_encoder=accelerator.unwrap_model(parts.text_encoder),
        vae=accelerator.unwrap_model(parts.vae),
        unet=accelerator.unwrap_model(unet),
        revision=None,
        variant=None,
    )
    pipeline.save_pretrained(saved)
    pipeline.set_progress_bar_config(disable=True)
    return SimpleNamespace(
        run=run, rows=rows, before=before, losses=losses, pipeline=pipeline, saved=saved
    )


def test_it_reads_the_pairs_of_a_sealed_run_and_no_other_rows(script):
    listed = {str(path) for path in script.run.glob("pairs/*")}
    assert listed == set(sealed_data_uris(open_run(str(script.run))))
    assert len(script.rows) == PAIRS
    assert isinstance(script.rows[0][SAID.edited_image_column], Image.Image)


def test_a_step_moves_every_weight_and_lowers_the_loss(script):
    assert np.isfinite(script.losses).all()
    assert script.losses[1] < script.losses[0]
    after = script.pipeline.unet.state_dict()
    still = [name for name, weight in script.before.items() if torch.equal(weight, after[name])]
    assert not still
    seen = [weights["conv_in.weight"][:, 4:] for weights in (script.before, after)]
    assert not seen[0].any()
    assert seen[1].all()


def test_what_it_saves_is_a_whole_pipeline_that_edits_as_the_one_in_memory(script):
    saved = plain_pipeline(script.saved)
    assert type(saved) is StableDiffusionInstructPix2PixPipeline
    assert saved.unet.config.in_channels == 8
    row = script.rows[0]
    edits = [
        pipeline(
            row[SAID.edit_prompt_column], image=row[SAID.original_image_column],
            num_inference_steps=4, image_guidance_scale=1.5, guidance_scale=7,
            output_type="np", generator=torch.Generator().manual_seed(0),
        ).images[0]
        for pipeline in (script.pipeline, saved)
    ]  # fmt: skip
    assert edits[0].shape == (SIDE, SIDE, 3)
    assert np.isfinite(edits).all()
    assert edits[0].std() > 0.01
    assert np.array_equal(*edits)


def test_our_sampler_edits_with_what_it_saves(script):
    editor = load_editor(ModelSource(source=str(script.saved)), "cpu")
    row = script.rows[0]
    picture = np.array(row[SAID.original_image_column].convert("RGB"))
    (edit,) = editor.edit(
        torch.from_numpy(picture).permute(2, 0, 1)[None], [row[SAID.edit_prompt_column]], [0],
        steps=4, text_guidance=7.0, image_guidance=1.5,
    )  # fmt: skip
    assert edit.shape == picture.shape
    assert edit.std() > 1
