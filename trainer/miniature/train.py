"""Train the miniature from nothing and write it in the ordinary formats."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from trainer.miniature.autoencoder import build_autoencoder, train_autoencoder
from trainer.miniature.card import write_card
from trainer.miniature.clip import save_clip, train_clip
from trainer.miniature.diffusion import TextToImage, noise_scheduler, train_diffusion
from trainer.miniature.vocabulary import save_tokenizer

STAGES = ("autoencoder", "diffusion", "clip", "card")
"""The last one measures the others by the oracle."""
STEPS = {"autoencoder": 6_000, "diffusion": 7_200, "clip": 16_000}


def train_miniature(
    work: Path,
    out: Path,
    *,
    stages: tuple[str, ...] = STAGES,
    steps: dict[str, int] | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Train each stage to its step count, resuming from `work`, and write its folder under `out`.

    A stage writes only its own folders, so two stages may run side by side; `diffusion` needs
    `autoencoder` to be finished.
    """
    goal = STEPS | (steps or {})
    work.mkdir(parents=True, exist_ok=True)
    save_tokenizer(work / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    pipeline = out / "text_to_image"
    if "autoencoder" in stages:
        vae = train_autoencoder(work, steps=goal["autoencoder"], seed=seed, report=report)
        vae.half().save_pretrained(pipeline / "vae")
    if "diffusion" in stages:
        vae = build_autoencoder().from_pretrained(pipeline / "vae").float()
        vae.eval().requires_grad_(False)
        model = train_diffusion(
            work, vae, tokenizer, steps=goal["diffusion"], seed=seed, report=report
        )
        _save_pipeline(model, pipeline)
    if "clip" in stages:
        clip = train_clip(work, tokenizer, steps=goal["clip"], seed=seed, report=report)
        save_clip(clip, len(tokenizer), out / "clip")
    if "card" in stages:
        report(json.dumps(write_card(work, out, threads=torch.get_num_threads())["figures"]))


def _save_pipeline(model: TextToImage, folder: Path) -> None:
    model.half()
    model.unet.save_pretrained(folder / "unet")
    model.text_encoder.save_pretrained(folder / "text_encoder")
    noise_scheduler().save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
