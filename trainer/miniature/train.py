"""Train the miniature from nothing and write it in the ordinary formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from trainer.learning.editor import NO_CHECKER, write_index, write_part
from trainer.miniature.autoencoder import build_autoencoder, train_autoencoder
from trainer.miniature.card import write_card
from trainer.miniature.clip import save_clip, train_clip
from trainer.miniature.diffusion import TrainedParts, noise_scheduler, train_diffusion
from trainer.miniature.language import LINES
from trainer.miniature.language_training import train_language_model
from trainer.miniature.vocabulary import save_tokenizer

STAGES = ("autoencoder", "diffusion", "clip", "card", "language")
"""`card` measures those before it by the oracle; the language model needs none of them."""
STEPS = {"autoencoder": 6_000, "diffusion": 7_200, "clip": 16_000, "language": 7_000}


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
    `autoencoder` to be finished. The goal of `language` may not be changed once it is begun.
    """
    goal = STEPS | (steps or {})
    work.mkdir(parents=True, exist_ok=True)
    save_tokenizer(work / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    pipeline = out / "text_to_image"
    for stage in stages:
        if stage in goal:
            report(f"{stage}: trained to step {goal[stage]}, from where its state in {work} stands")
    if "autoencoder" in stages:
        vae = train_autoencoder(work, steps=goal["autoencoder"], seed=seed, report=report)
        vae.half().save_pretrained(pipeline / "vae")
    if "diffusion" in stages:
        vae = build_autoencoder().from_pretrained(pipeline / "vae").float()
        vae.eval().requires_grad_(False)
        model = train_diffusion(
            work, vae, tokenizer, steps=goal["diffusion"], seed=seed, report=report
        )
        save_pipeline(model, vae, tokenizer, pipeline)
    if "clip" in stages:
        clip = train_clip(work, tokenizer, steps=goal["clip"], seed=seed, report=report)
        save_clip(clip, len(tokenizer), out / "clip")
    if "card" in stages:
        report(json.dumps(write_card(work, out, threads=torch.get_num_threads())["figures"]))
    if "language" in stages:
        train_language_model(
            work, out / "language", steps=goal["language"], lines=LINES, seed=seed, report=report
        )


def save_pipeline(model: TrainedParts, vae: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that diffusers' `StableDiffusionPipeline` loads; the autoencoder lies there."""
    model.half()
    parts = {
        "unet": model.unet,
        "text_encoder": model.text_encoder,
        "scheduler": noise_scheduler(),
    }
    for name, part in parts.items():
        write_part(folder / name, part)
    save_tokenizer(folder / "tokenizer")
    parts |= {"vae": vae, "tokenizer": tokenizer}
    write_index(folder, "StableDiffusionPipeline", parts, NO_CHECKER)
