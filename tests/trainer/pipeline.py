"""What a pipeline of diffusers makes of an editor."""

import numpy as np
import torch

from tests.trainer.small import SIDE


def assert_it_edits(pipeline, picture):
    """Finite pictures of the right shape, that differ by their seeds."""
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    edits = [
        pipeline(
            "make it red", image=picture, num_inference_steps=3, output_type="np",
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        for seed in (0, 1)
    ]  # fmt: skip
    assert edits[0].shape == (SIDE, SIDE, 3)
    assert np.isfinite(edits).all()
    assert np.abs(edits[0] - edits[1]).max() > 0.01
