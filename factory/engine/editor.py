"""Edit pictures with an instruction editor: InstructPix2Pix's sampler, pictures of one size at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from factory.engine.autoencoder import Autoencoder
from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.decoder import Decoder
from factory.engine.device import pick_device
from factory.engine.networks import Networks
from factory.engine.request import Finished, Guided, Request, Row
from factory.engine.solvers.schedule import NoiseSchedule
from factory.pictures import Picture
from schemas.recipe import ModelSource

ROWS = 3
"""Of an edit: told nothing, shown the picture alone, told the instruction as well."""


def edit_request(
    picture: Tensor,
    instruction: str,
    seed: int,
    *,
    steps: int,
    text_guidance: float,
    image_guidance: float,
    solver: str = "euler_ancestral",
) -> Request:
    """An edit of a picture's latent (channel, height, width), which is not scaled.

    Source: Brooks et al. 2023 (arXiv:2211.09800), equation 3, and `edit_cli.py`: zeros where the picture is
    dropped.
    """
    rows = (Row(None), Row(None, sees_picture=True), Row(instruction, sees_picture=True))
    return Request(
        latents=(Guided(rows, (image_guidance, text_guidance)),),
        seed=seed,
        steps=steps,
        solver=solver,
        picture=picture,
        noise_name="edit ",
    )


@dataclass(frozen=True)
class Editor:
    """An editor's networks, on one device, in evaluation mode; its UNet has eight input channels."""

    networks: Networks

    @torch.inference_mode()
    def edit(
        self,
        pictures: Tensor,
        instructions: Sequence[str],
        noise_seeds: Sequence[int],
        *,
        steps: int,
        text_guidance: float,
        image_guidance: float,
    ) -> list[Picture]:
        """Edited pictures of uint8 (picture, 3, height, width), one instruction and seed each.

        An edit depends on its own picture, instruction and seed only; one that is not finite is black.
        """
        latents, _ = self.networks.autoencoder.moments(pictures)
        # The attention of a network that is in training stays as it is.
        size = (int(latents.shape[2]), int(latents.shape[3]))
        batch = Batch(self.networks, size, ROWS * len(latents), controlled=False)
        for latent, instruction, seed in zip(latents, instructions, noise_seeds, strict=True):
            request = edit_request(
                latent,
                instruction,
                seed,
                steps=steps,
                text_guidance=text_guidance,
                image_guidance=image_guidance,
            )
            batch.check(request)
            batch.admit(request)
        while not (done := batch.advance()):
            pass
        edited = [(slot.request, latent) for slot, latent in done]
        results = Decoder(self.networks, len(latents)).finish(edited)
        black = np.zeros((*pictures.shape[2:], 3), np.uint8)
        return [one.pictures[0] if isinstance(one, Finished) else black for one in results]


def load_editor(source: ModelSource, device: str) -> Editor:
    """An editor from a path, with its networks on a device. Raises `ModelError`."""
    where = pick_device(device)
    parts = load_text_to_image(source, None, torch.float32)
    for network in (parts.unet, parts.autoencoder, parts.text.encoder):
        network.to(where).eval()
    schedule = NoiseSchedule.from_config(parts.scheduler)
    return Editor(Networks(parts.unet, Autoencoder(parts.autoencoder), parts.text, schedule))
