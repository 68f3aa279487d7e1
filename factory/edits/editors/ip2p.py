"""InstructPix2Pix: a network that is shown the picture, told the instruction, and guided towards both.

Needs an instruction. `text_guidance` is the paper's s_T, `image_guidance` its s_I. Where it fails
(docs/editors/ip2p.png): what the pairs it was trained on do not show, such as moving things or counting
them. Licence: that of the model given (the paper's weights: CreativeML OpenRAIL-M).

Source: Brooks et al. 2023 (arXiv:2211.09800).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from factory.engine.batch import Batch
from factory.engine.checkpoint.load import load_networks
from factory.engine.decoder import Decoder
from factory.engine.device import pick_device
from factory.engine.networks import Networks
from factory.engine.procedure import Procedure
from factory.engine.request import Finished, Guided, Request, Row
from factory.pictures import Picture
from schemas.editors import Ip2p
from schemas.edits import EditItem
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
        size=(picture.shape[1], picture.shape[2]),
    )


@dataclass(frozen=True)
class Ip2pEditor:
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


def load_editor(source: ModelSource, device: str) -> Ip2pEditor:
    """An editor from a path, with its networks on a device. Raises `ModelError`."""
    return Ip2pEditor(load_networks(source, None, torch.float32, pick_device(device)))


def edit_of(
    networks: Networks, item: EditItem, settings: Ip2p, picture: Tensor, seed: int
) -> Procedure:
    """As every editor's; `picture` is the latent (channel, height, width), unscaled."""
    yield edit_request(
        picture,
        item.instruction or "",
        seed,
        steps=settings.steps,
        text_guidance=_or(item.text_guidance, settings.text_guidance),
        image_guidance=_or(item.image_guidance, settings.image_guidance),
        solver=settings.solver,
    )


def _or(own: float | None, usual: float) -> float:
    return usual if own is None else own
