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
from factory.seeds import generator
from schemas.editors import Pnp

FEATURES = "features"
"""How the names of layers begin whose features are looked at."""
MOST_EXACT = 1024
"""Channels; of more, as of self-attention at 512 px, only the main components are looked for."""
BLOCK, ROUNDS = 12, 12
"""Directions that are looked for together, and how often they are improved."""
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
    features: dict[str, list[Tensor]] = {}
    maps: list[dict[str, Image.Image]] = []
    for one in inversions:
        found = looked_at(editor, settings, step, ways[one.twin][step])
        for name in [name for name in found if name.startswith(FEATURES)]:
            features.setdefault(name, []).append(found.pop(name))
        # At once, for at 512 px a map has 67 MB.
        maps.append({name: components([found[name]])[0] for name in found})
    together = [components(features[name]) for name in features]
    words = ", ".join([*features, *maps[0]])
    cells = [
        cell(
            [Image.fromarray(picture), *(of[number] for of in together), *maps[number].values()],
            [name, f"{words} at step {step} of {settings.steps}"],
        )
        for number, (name, picture) in enumerate(pictures)
    ]
    return grid(cells, 1)


@torch.inference_mode()
def looked_at(editor: EngineEditor, settings: Pnp, step: int, at: Tensor) -> dict[str, Tensor]:
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
        found[f"{FEATURES} {layer.name}"] = branch[0].permute(1, 2, 0).float().cpu()

    return hook


def _attention(found: dict[str, Tensor], layer: Layer, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    def hook(module, given, _out) -> None:  # type: ignore[no-untyped-def]
        hidden = given[0]
        query, key = (
            to(hidden)[0].unflatten(1, (module.heads, -1)).transpose(0, 1)
            for to in (module.to_q, module.to_k)
        )
        # In float16 the products of some networks are beyond its numbers.
        maps = (query.float() @ key.float().transpose(1, 2) * module.scale).softmax(-1).mean(0)
        height, width = (-(-side // layer.scale) for side in size)
        found[f"attention {layer.name}"] = maps.unflatten(0, (height, width)).cpu()

    return hook


def components(of: Sequence[Tensor]) -> list[Image.Image]:
    """Pictures of the three main components of all positions (height, width, channel) together, each
    stretched over its own range.
    """
    rows = torch.cat([one.flatten(0, 1) for one in of]).double()
    centred = rows - rows.mean(0)
    main = centred @ _directions(centred)
    low, high = main.amin(0), main.amax(0)
    scaled = ((main - low) / (high - low).clamp(min=1e-12) * 255).round().numpy().astype(np.uint8)
    counts = [one.shape[0] * one.shape[1] for one in of]
    parts = np.split(scaled, np.cumsum(counts)[:-1])
    return [
        Image.fromarray(part.reshape(one.shape[0], one.shape[1], 3))
        for part, one in zip(parts, of, strict=True)
    ]


def _directions(centred: Tensor) -> Tensor:
    """(channel, 3): the main components of centred rows, the greatest first."""
    if centred.shape[1] <= MOST_EXACT:
        # The largest come last.
        return torch.linalg.eigh(centred.T @ centred)[1][:, -3:].flip(1)
    # Subspace iteration (Halko et al. 2011, algorithm 4.4).
    drawn = generator("features", centred.shape[1]).normal(size=(centred.shape[1], BLOCK))
    found = torch.from_numpy(drawn).to(centred)
    for _ in range(ROUNDS):
        found = torch.linalg.qr(centred.T @ (centred @ found))[0]
    within = centred @ found
    return found @ torch.linalg.eigh(within.T @ within)[1][:, -3:].flip(1)
