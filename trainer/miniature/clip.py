"""Train the miniature's CLIP on rendered pictures and their captions."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip import CLIP
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from factory.miniature import world
from trainer.miniature.fidelity import colours_of, fidelity_loss, shift_colours
from trainer.miniature.placement import placement_codes, placement_loss
from trainer.miniature.scenes import cover_all, paint, training_scenes
from trainer.miniature.state import Training
from trainer.miniature.vocabulary import CONTEXT_LENGTH, save_tokenizer

SCENES = 12_000
HELD_WEIGHT = 5.0
"""Of the losses that hold dimensions of the embeddings, beside the contrastive one."""


def model_config(vocabulary_size: int) -> dict[str, Any]:
    """An open_clip model config of 1.1 million parameters."""
    return {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 64,
            "layers": 4,
            "width": 128,
            "head_width": 32,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary_size,
            "width": 96,
            "heads": 4,
            "layers": 2,
        },
    }


def build_clip(vocabulary_size: int) -> CLIP:
    """The untrained model."""
    return CLIP(**model_config(vocabulary_size))


def train_clip(
    work: Path,
    tokenizer: CLIPTokenizer,
    *,
    steps: int,
    seed: int,
    batch: int = 96,
    report: Callable[[str], None] = print,
) -> CLIP:
    """Symmetric contrastive loss; half of each batch are one-attribute edits of the other half.

    The edits are what makes the model tell near neighbours apart, which is what the gates need; the
    placement and the fidelity loss make it see a shape that moved, and colours that are none of the
    world's (`placement.py`, `fidelity.py`).
    """
    torch.manual_seed(seed)  # noqa: TID251  initial weights only
    model = build_clip(len(tokenizer))
    training = Training(
        model, work / "clip.safetensors", steps=steps, learning_rate=1e-3, weight_decay=0.05
    )
    scenes = training_scenes(SCENES, seed)
    edits = _edited(scenes, seed)
    coverage = cover_all(scenes + edits)
    colours = colours_of(scenes + edits)
    codes = placement_codes(scenes + edits)
    captions = [world.caption(scene) for scene in scenes + edits]
    tokens = tokenizer(captions, padding="max_length", return_tensors="pt").input_ids
    for rng in training.draws(seed):
        chosen = torch.from_numpy(rng.integers(0, SCENES, batch // 2))
        chosen = torch.cat([chosen, chosen + SCENES])
        seen, distance = shift_colours(colours[chosen], rng)
        x = _disturb(paint(coverage[chosen], seen), rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            image, text, scale = model(normalise(x), tokens[chosen])
        logits = scale.float() * image.float() @ text.float().t()
        same = (tokens[chosen][:, None] == tokens[chosen][None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
        place = placement_loss(image.float(), text.float(), codes[chosen])
        colour = fidelity_loss(image.float(), text.float(), distance)
        training.update(contrast + HELD_WEIGHT * (place + colour))
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)  # 100, as CLIP's
        if training.step % 50 == 0 or training.step == steps:
            right = same[torch.arange(batch), logits.argmax(1)].mean().item()
            report(
                f"clip step {training.step}/{steps} contrast {contrast.item():.4f} "
                f"placement {place.item():.4f} fidelity {colour.item():.4f} top-1 {right:.3f}"
            )
            training.save()
    return training.averaged()


def _edited(scenes: list[world.Scene], seed: int) -> list[world.Scene]:
    """One edit of each scene at its place, never a held-out caption."""
    held_out = set(world.held_out_captions())
    rng = random.Random(f"edits {seed}")
    edits: list[world.Scene] = []
    for i, scene in enumerate(scenes):
        edited = scene
        while edited == scene or world.caption(edited) in held_out:
            kind = world.EDIT_KINDS[i % len(world.EDIT_KINDS)]
            edited = world.edit(scene, kind, rng)
            i += 1
        edits.append(edited)
    return edits


def _disturb(x: Tensor, rng: Any) -> Tensor:
    """Noise, blur and a slight shift of colour, so that sampled pictures look familiar."""
    count = len(x)
    level = torch.from_numpy(rng.random((count, 1, 1, 1), dtype="float32")) * 0.06
    x = x + level * torch.from_numpy(rng.standard_normal(x.shape, dtype="float32"))
    x = x + 0.02 * torch.from_numpy(rng.standard_normal((count, 3, 1, 1), dtype="float32"))
    blurred = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    blur = torch.from_numpy(rng.random((count, 1, 1, 1), dtype="float32"))
    return (x + blur * (blurred - x)).clamp(0, 1)


def normalise(x: Tensor) -> Tensor:
    """Pixels in [0, 1] to CLIP's mean and deviation."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return (x - mean) / deviation


def save_clip(model: CLIP, vocabulary_size: int, folder: Path) -> None:
    """Write a folder that open_clip loads as `local-dir:`."""
    save_tokenizer(folder)
    model_cfg = model_config(vocabulary_size)
    model_cfg["text_cfg"]["hf_tokenizer_name"] = "miniature"
    config = {
        "model_cfg": model_cfg,
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN),
            "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
