"""What Plug-and-Play lends, as pictures: components beside a slow decomposition, a sheet of layers."""

import io

import numpy as np
import torch
from PIL import Image

from factory.edits.editors.pnp_features import components, feature_sheet
from factory.pairs.sheet import CELL_PX
from schemas.editors import Pnp
from tests.factory.edits.editors.test_editors import scene, studio

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
