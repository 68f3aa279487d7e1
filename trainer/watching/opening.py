"""What a training says before its first step: from where it goes on, and with what."""

from collections.abc import Iterator

from factory.console.amounts import counted
from factory.dataset.dataset import Dataset
from schemas.training.fit import Fit


def opening(config: Fit, dataset: Dataset, step: int) -> Iterator[str]:
    """Lines for the person; `step` is the newest checkpoint's, 0 where there is none."""
    law, latents = config.law, config.reading.latents
    yield (
        f"goes on from step {step} of {law.steps}"
        if step
        else f"begins, {counted(law.steps, 'step')}"
    )
    name = law.model.source
    if law.model.revision is not None:
        name += f" at {law.model.revision}"
    yield f"base model: {name}" + ("" if law.lora is None else ", its weights kept beside a LoRA")
    rows, prompts = counted(len(dataset), "row"), counted(len(dataset.prompts), "prompt")
    yield f"dataset: {dataset.uri}: {rows} of {prompts}"
    if latents is not None:
        yield f"latents: {latents}; no picture is decoded or encoded"
        return
    yield (
        "latents: none, so pictures are decoded and encoded at every step; `editmill encode "
        f"--dataset {dataset.uri} --out {dataset.latents or 'LATENTS'}` with this configuration does so "
        "once for all"
    )
