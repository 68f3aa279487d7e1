"""What Plug-and-Play lends, as pictures: components beside a slow decomposition, a sheet of layers."""

import io

import numpy as np
import torch
from PIL import Image

from factory.edits.editors.pnp_features import (
    MOST_EXACT,
    _directions,
    components,
    feature_sheet,
    looked_at,
)
from factory.pairs.sheet import CELL_PX
from schemas.editors import Pnp
from tests.factory.edits.editors.test_editors import scene, studio
from tests.factory.engine.reference_samplers import ddim_timesteps

torch.set_num_threads(1)


def test_components_are_those_of_all_pictures_together():
    drawn = np.random.default_rng(0)
    of = [drawn.normal(size=(3, 4, 6)), drawn.normal(size=(2, 5, 6)) + 1]
    rows = np.concatenate([one.reshape(-1, 6) for one in of])
    u, s, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    main = u[:, :3] * s[:3]
    scaled = (main - main.min(0)) / (main.max(0) - main.min(0)) * 255
    found = [np.asarray(one) for one in components([torch.from_numpy(one) for one in of])]
    assert [one.shape for one in found] == [(3, 4, 3), (2, 5, 3)]
    together = np.concatenate([one.reshape(-1, 3) for one in found]).astype(float)
    for channel in range(3):
        # A component has no sign of its own.
        apart = [
            together[:, channel] - way for way in (scaled[:, channel], 255 - scaled[:, channel])
        ]
        assert min(np.abs(one).max() for one in apart) <= 1


def test_of_many_channels_the_main_components_are_found_without_all_others():
    drawn = np.random.default_rng(1)
    channels = MOST_EXACT + 76
    # As maps of self-attention have, a few main directions and a long tail.
    strengths = 1 / (1 + np.arange(60.0))
    rows = drawn.normal(size=(24 * 25, 60)) * strengths @ drawn.normal(size=(60, channels))
    centred = torch.from_numpy(rows - rows.mean(0))
    exact = torch.linalg.svd(centred, full_matrices=False)[2][:3]
    found = _directions(centred)
    assert (exact @ found).abs().diag().min() > 1 - 1e-6
    torch.testing.assert_close(found.T @ found, torch.eye(3).double())


def test_what_is_looked_at_is_the_networks_own_at_that_step():
    settings = Pnp(
        model={"source": "miniature"}, steps=4, inversion_steps=4, feature_layers=["up.0.0"],
        attention_layers=["up.1.1"],
    )  # fmt: skip
    editor = studio(pnp=settings).editor("pnp")
    unet, text = editor.networks.unet, editor.networks.text
    at = torch.randn((4, 16, 24), generator=torch.Generator().manual_seed(0))
    found = looked_at(editor, settings, 1, at)
    assert set(found) == {"features up.0.0", "attention up.1.1"}
    kept = {}

    def keep_map(module, given, _out):
        query, key = (module.head_to_batch_dim(to(given[0])) for to in (module.to_q, module.to_k))
        kept["map"] = module.get_attention_scores(query, key).mean(0)

    attention = unet.up_blocks[1].attentions[1].transformer_blocks[0].attn1
    hooks = [
        attention.register_forward_hook(keep_map),
        unet.up_blocks[0]
        .resnets[0]
        .conv2.register_forward_hook(lambda _module, _given, out: kept.update(branch=out[0])),
    ]
    with torch.inference_mode():
        unet(at[None], ddim_timesteps(1000, 4)[1], text.context("")[None])
    for hook in hooks:
        hook.remove()
    branch = found["features up.0.0"].permute(2, 0, 1)
    torch.testing.assert_close(branch, kept["branch"], rtol=1e-5, atol=1e-6)
    maps = found["attention up.1.1"].flatten(0, 1)
    torch.testing.assert_close(maps, kept["map"], rtol=1e-5, atol=1e-6)


def test_a_sheet_shows_each_layer_that_is_named():
    settings = Pnp(
        model={"source": "miniature"}, steps=4, inversion_steps=4, feature_layers=["up.0.0"],
        attention_layers=["up.0.0", "up.1.1"],
    )  # fmt: skip
    editor = studio(pnp=settings).editor("pnp")
    sheet = feature_sheet(editor, [("a.png", scene()), ("b.png", scene((64, 64)))])
    drawn = Image.open(io.BytesIO(sheet))
    # The picture, features of one layer, attention of two.
    assert drawn.width // CELL_PX == 4
    assert np.asarray(drawn).std() > 10
