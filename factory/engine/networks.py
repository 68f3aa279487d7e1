"""The networks that sample, on their device, in evaluation mode."""

from dataclasses import dataclass
from typing import Any

import torch

from factory.engine.autoencoder import Autoencoder
from factory.engine.clip_scorer import ClipScorer
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.text.encoder import TextEncoder


@dataclass(frozen=True)
class Networks:
    """What a batch needs: one network, one noise schedule."""

    unet: Any
    """diffusers' `UNet2DConditionModel`, of four input channels, or of eight, the picture's latent last."""
    autoencoder: Autoencoder
    text: TextEncoder
    schedule: NoiseSchedule

    @property
    def dtype(self) -> torch.dtype:
        """The network's numbers."""
        found: torch.dtype = self.unet.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        found: torch.device = self.unet.device
        return found


@dataclass(frozen=True)
class Models(Networks):
    """What an engine needs that scores, too."""

    clip: ClipScorer
