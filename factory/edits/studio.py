"""Editors at work: opened pictures and what is to be done to them in, edited pictures out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from factory.edits.edit import Edited, seed_of
from factory.edits.sizes import edit_size
from factory.engine.checkpoint.load import DTYPES, load_networks
from factory.engine.device import device_name, torch_device
from factory.engine.engine import Engine
from factory.engine.request import Failed, Finished, Request
from factory.models.find import placed_parts
from factory.pictures import Picture
from schemas.edits import EditCompute, EditEnvironment, EditItem, EditRecipe, Ip2p, Sdedit

_WHEELS = ("torch", "diffusers", "transformers", "numpy", "pillow")
COARSEST = 8
"""Latents to a side of the network's coarsest level: pictures have sides that are whole there."""


class LoadedEditor:
    """One editor's network with its batches, and its own way to ask for an edit."""

    def __init__(self, name: str, recipe: EditRecipe, compute: EditCompute) -> None:
        settings = recipe.of(name)
        assert settings is not None
        self.settings: Ip2p | Sdedit = settings
        self.request_of: Callable[..., Request] = import_module(f"factory.edits.{name}").request_of
        device = torch_device(compute.device)
        model, autoencoder = placed_parts(settings.model, settings.autoencoder)
        self.networks = load_networks(model, autoencoder, DTYPES[settings.dtype], device)
        self.factor = self.networks.autoencoder.factor
        area = (recipe.size_px // self.factor) ** 2 * compute.batch_images
        self.engine = Engine(
            self.networks,
            (recipe.size_px, recipe.size_px),
            rows=lambda size: settings.ROWS * max(1, area // (size[0] * size[1])),
            decode_pictures=compute.decode_images,
            threads=compute.threads,
        )


class Studio:
    """The editors of a recipe; each is loaded when it is first asked for. Threads may share it.

    The recipe's models must be pinned. Raises `ModelError` where one cannot be loaded.
    """

    def __init__(self, recipe: EditRecipe, compute: EditCompute) -> None:
        self.recipe = recipe
        self.compute = compute
        self._editors: dict[str, LoadedEditor] = {}
        self._loading = Lock()

    def editor(self, name: str) -> LoadedEditor:
        """One that is loaded."""
        with self._loading:
            if name not in self._editors:
                self._editors[name] = LoadedEditor(name, self.recipe, self.compute)
            return self._editors[name]

    def edit(self, asked: Sequence[tuple[EditItem, Picture]]) -> Iterator[tuple[int, Edited]]:
        """The outcome of each picture (height, width, 3), by its place, as they are ready.

        An edit depends on its own picture and request only. Raises whatever made an engine itself fail.
        """
        for name in sorted({item.editor for item, _ in asked}):
            editor = self.editor(name)
            requests: dict[int, tuple[int, dict[str, Any]]] = {}
            wanted: list[Request] = []
            with self._threads():
                for place, (item, picture) in enumerate(asked):
                    if item.editor == name:
                        request, facts = self._asked(editor, item, picture)
                        requests[id(request)] = place, facts
                        wanted.append(request)
            for result in editor.engine.make(wanted):
                place, facts = requests[id(result.request)]
                yield place, self._edited(result, facts, asked[place][1])

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Inside, this thread computes with as many as the configuration says: OpenMP counts for each."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.compute.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _asked(
        self, editor: LoadedEditor, item: EditItem, picture: Picture
    ) -> tuple[Request, dict[str, Any]]:
        """The engine's request, and what an outcome says of it."""
        settings, recipe = editor.settings, self.recipe
        height, width = picture.shape[:2]
        wide, high = edit_size(width, height, recipe.size_px, COARSEST * editor.factor)
        small = Image.fromarray(picture)
        if small.size != (wide, high):
            small = small.resize((wide, high), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())[None]
        with torch.inference_mode():
            found = editor.networks.autoencoder.moments(pixels)[0][0]
        # At least float32, whatever the networks compute in.
        latent = found.to(torch.promote_types(found.dtype, torch.float32)).cpu()
        if settings.CHANNELS == 4:
            latent = editor.networks.autoencoder.unit(latent)
        request = editor.request_of(item, settings, latent, seed_of(recipe, item))
        given = {
            name: own if (own := getattr(item, name)) is not None else usual
            for name in ("text_guidance", "image_guidance", "strength")
            if (usual := getattr(settings, name, None)) is not None
        }
        facts = {"steps": settings.steps, **given}
        return request, facts | {"model_width": wide, "model_height": high}

    def _edited(self, result: Finished | Failed, facts: dict[str, Any], before: Picture) -> Edited:
        facts = facts | {"truncated": result.truncated}
        if isinstance(result, Failed):
            return Edited(None, result.reason, facts)
        image = Image.fromarray(result.pictures[0])
        height, width = before.shape[:2]
        if self.recipe.output.size == "input" and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        facts |= {"width": image.width, "height": image.height}
        return Edited(np.asarray(image), None, facts)

    def environment(self) -> EditEnvironment:
        """This device, these wheels, these shapes."""
        return EditEnvironment(
            device=device_name(torch_device(self.compute.device)),
            wheels={name: version(name) for name in _WHEELS},
            batch_images=self.compute.batch_images,
            decode_images=self.compute.decode_images,
            threads=self.compute.threads,
        )
