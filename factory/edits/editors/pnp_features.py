"""What Plug-and-Play lends: a picture's features and self-attention, their main components as colours.

Source: Tumanyan et al. 2023 (arXiv:2211.12572), figures 3 and 6: the first three principal components, of
features over all pictures together, of each picture's self-attention alone, as red, green and blue.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from factory.edits.editors.engine_editor import EngineEditor
from factory.edits.editors.inversion import inversion, way_back
from factory.engine.attention.layer import Layer
from factory.engine.request import Finished
from factory.engine.solvers import solver_of
from factory.engine.text.encoder import conditioning
from factory.pairs.sheet import cell, grid
from factory.pictures import Picture
from schemas.editors import Pnp

SHARE = 0.5
"""Of the steps of the edit, from the noisiest, at which features are looked at: about the middle, as in the
paper (its t = 540; of 50 steps it is 481)."""


def feature_sheet(editor: EngineEditor, pictures: Sequence[tuple[str, Picture]]) -> bytes:
    """A PNG: each picture, by its name, beside its components in the layers that the recipe names."""
    settings = editor.settings
    assert isinstance(settings, Pnp)
    latents = [editor.latent_of(picture)[0] for _, picture in pictures]
    inversions = [inversion(latent, "", 0, settings) for latent in latents]
    made = editor.engine.make(inversions)
    # Equal pictures have one way.
    ways = {one.request.twin: way_back(one) for one in made if isinstance(one, Finished)}
    step = int(SHARE * settings.steps)
    found = [_looked_at(editor, settings, step, ways[one.twin][step]) for one in inversions]
    shown: list[list[Image.Image]] = [[Image.fromarray(picture)] for _, picture in pictures]
    features = [name for name in found[0] if name.startswith("features")]
    for name in features:
        together = components([one[name] for one in found])
        for row, image in zip(shown, together, strict=True):
            row.append(image)
    maps = [name for name in found[0] if not name.startswith("features")]
    for row, one in zip(shown, found, strict=True):
        row += [components([one[name]])[0] for name in maps]
    words = ", ".join([*features, *maps])
    cells = [
        cell(row, [name, f"{words} at step {step} of {settings.steps}"])
        for row, (name, _) in zip(shown, pictures, strict=True)
    ]
    return grid(cells, 1)


@torch.inference_mode()
def _looked_at(editor: EngineEditor, settings: Pnp, step: int, at: Tensor) -> dict[str, Tensor]:
    """Of one latent (channel, height, width) before a step each layer's (height, width, channel): features,
    or of each position its row of the attention.
    """
    networks = editor.networks
    road = solver_of("ddim").road(networks.schedule, settings.steps)
    size = (int(at.shape[1]), int(at.shape[2]))
    height, width = (side * editor.factor for side in size)
    text = networks.text.words("")
    context, added = conditioning([text], height, width, text.tokens)
    found: dict[str, Tensor] = {}
    hooks = []
    for name, module in networks.unet.named_modules():
        if name.endswith(".conv2") and name.startswith("up_blocks."):
            layer = Layer.of(name, networks.unet)
            if layer.within(settings.feature_layers):
                hooks.append(module.register_forward_hook(_features(found, layer)))
        if name.endswith(".attn1") and name.startswith("up_blocks."):
            layer = Layer.of(name, networks.unet)
            if layer.within(settings.attention_layers):
                hooks.append(module.register_forward_hook(_attention(found, layer, size)))
    try:
        x = at[None].to(networks.device).to(networks.dtype)
        networks.unet(x, road.timesteps[step], context, added_cond_kwargs=added, return_dict=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _features(found: dict[str, Tensor], layer: Layer):  # type: ignore[no-untyped-def]
    def hook(_module: object, _given: object, branch: Tensor) -> None:
        found[f"features {layer.name}"] = branch[0].permute(1, 2, 0).float().cpu()

    return hook


def _attention(found: dict[str, Tensor], layer: Layer, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    def hook(module, given, _out) -> None:  # type: ignore[no-untyped-def]
        hidden = given[0]
        query, key = (
            to(hidden)[0].unflatten(1, (module.heads, -1)).transpose(0, 1)
            for to in (module.to_q, module.to_k)
        )
        maps = (query @ key.transpose(1, 2) * module.scale).float().softmax(-1).mean(0)
        height, width = (-(-side // layer.scale) for side in size)
        found[f"attention {layer.name}"] = maps.unflatten(0, (height, width)).cpu()

    return hook


def components(of: Sequence[Tensor]) -> list[Image.Image]:
    """Pictures of the three main components of all positions (height, width, channel) together, each
    stretched over its own range.
    """
    rows = torch.cat([one.flatten(0, 1) for one in of]).double()
    centred = rows - rows.mean(0)
    # The largest come last.
    _, directions = torch.linalg.eigh(centred.T @ centred)
    main = centred @ directions[:, -3:].flip(1)
    low, high = main.amin(0), main.amax(0)
    scaled = ((main - low) / (high - low).clamp(min=1e-12) * 255).round().numpy().astype(np.uint8)
    counts = [one.shape[0] * one.shape[1] for one in of]
    parts = np.split(scaled, np.cumsum(counts)[:-1])
    return [
        Image.fromarray(part.reshape(one.shape[0], one.shape[1], 3))
        for part, one in zip(parts, of, strict=True)
    ]
