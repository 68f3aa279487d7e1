"""An editor that asks the engine: its network with its batches, pictures to latents and back."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from factory.edits.edit import Edited, seed_of
from factory.edits.sizes import edit_size
from factory.engine.checkpoint.load import DTYPES, load_networks
from factory.engine.device import cpu_threads, torch_device
from factory.engine.engine import Engine
from factory.engine.procedure import Procedure
from factory.engine.request import Failed, Finished
from factory.models.find import placed_parts
from factory.pictures import Picture
from schemas.editors import EngineSettings
from schemas.edits import EditCompute, EditItem, EditRecipe

COARSEST = 8
"""Latents to a side of the network's coarsest level: pictures have sides that are whole there."""


class EngineEditor:
    """An editor whose module beside this one has `edit_of`. Threads may share it.

    The recipe's models must be pinned. Raises `ModelError` where one cannot be loaded.
    """

    def __init__(self, settings: EngineSettings, recipe: EditRecipe, compute: EditCompute) -> None:
        self.settings = settings
        self.recipe = recipe
        self.threads = compute.threads
        self.edit_of: Callable[..., Procedure] = import_module(
            f"factory.edits.editors.{settings.NAME}"
        ).edit_of
        device = torch_device(compute.device)
        model, autoencoder = placed_parts(settings.model, settings.autoencoder)
        self.networks = load_networks(model, autoencoder, DTYPES[settings.dtype], device)
        self.factor = self.networks.autoencoder.factor
        area = (recipe.size_px // self.factor) ** 2 * compute.batch_images
        self.engine = Engine(
            self.networks,
            (recipe.size_px, recipe.size_px),
            rows=lambda size: settings.rows * max(1, area // (size[0] * size[1])),
            decode_pictures=compute.decode_images,
            threads=compute.threads,
        )

    def edit(self, asked: Sequence[tuple[EditItem, Picture]]) -> Iterator[tuple[int, Edited]]:
        """As `Editor`."""
        with cpu_threads(self.threads):
            begun = [self.begin(item, picture) for item, picture in asked]
        for place, result in self.engine.carry_out([procedure for procedure, _ in begun]):
            yield place, self._edited(result, begun[place][1], asked[place][1])

    def close(self) -> None:
        """Let go of the networks."""
        self.engine.close()

    @property
    def rows_run(self) -> int:
        """UNet rows that carried an edit so far."""
        return self.engine.rows_run

    @property
    def idle_s(self) -> float:
        """Seconds in which the engine waited for an edit, since the first."""
        return self.engine.idle_s

    def latent_of(self, picture: Picture) -> tuple[Tensor, int, int]:
        """A picture's latent (channel, height, width) as its editor takes it, and the width and height in
        pixels that the network is given.
        """
        height, width = picture.shape[:2]
        wide, high = edit_size(width, height, self.recipe.size_px, COARSEST * self.factor)
        small = Image.fromarray(picture)
        if small.size != (wide, high):
            small = small.resize((wide, high), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())[None]
        with torch.inference_mode():
            found = self.networks.autoencoder.moments(pixels)[0][0]
        # At least float32, whatever the networks compute in.
        latent = found.to(torch.promote_types(found.dtype, torch.float32)).cpu()
        if self.settings.CHANNELS == 4:
            latent = self.networks.autoencoder.unit(latent)
        return latent, wide, high

    def begin(self, item: EditItem, picture: Picture) -> tuple[Procedure, dict[str, Any]]:
        """What is asked of the engine, and what an outcome says of it."""
        settings = self.settings
        latent, wide, high = self.latent_of(picture)
        procedure = self.edit_of(self.networks, item, settings, latent, seed_of(self.recipe, item))
        facts = {"steps": settings.steps, **item.options(settings)}
        return procedure, facts | {"model_width": wide, "model_height": high}

    def _edited(self, result: Finished | Failed, facts: dict[str, Any], before: Picture) -> Edited:
        facts = facts | {"truncated": result.truncated}
        if isinstance(result, Failed):
            return Edited(None, result.reason, facts)
        # Of several latents the edit is the last.
        image = Image.fromarray(result.pictures[-1])
        height, width = before.shape[:2]
        if self.recipe.output.size == "input" and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        facts |= {"width": image.width, "height": image.height}
        return Edited(np.asarray(image), None, facts)
