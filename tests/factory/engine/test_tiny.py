"""The tiny family that engine tests use."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from tests.factory.engine.tiny import save_tiny, tiny_parts

torch.set_num_threads(1)

CAPTION = "a large red circle on a blue background"
PIPELINES: Any = diffusers  # whose constructors carry no types


def test_tiny_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int) -> Tensor:
        return tiny_parts(seed, torch.float32).unet.conv_in.weight.flatten()  # type: ignore[no-any-return]

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = weights(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


def test_the_saved_family_is_an_ordinary_diffusers_folder(tmp_path: Path) -> None:
    parts = save_tiny(tmp_path, 0, prediction_type="v_prediction")
    pipeline = PIPELINES.StableDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.tokenizer(CAPTION).input_ids == parts.tokenizer(CAPTION).input_ids
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(parts, name).state_dict(), getattr(pipeline, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
