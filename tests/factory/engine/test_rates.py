"""Steps of other sizes are timed on the engine's own network, which then goes on as before."""

import numpy as np
import torch

from factory.engine.engine import Engine
from factory.engine.rates import steps_of_other_sizes
from tests.factory.engine.family import CAPTIONS, draw, recipe, save_family

torch.set_num_threads(1)


def test_an_engine_makes_the_same_pictures_after_other_sizes_were_tried(tmp_path):
    engine = Engine(recipe(save_family(tmp_path)), device="cpu", batch_pairs=2)
    draws = [draw(CAPTIONS[0], 3, p=0.9)]
    (before,) = engine.pairs(draws)
    with steps_of_other_sizes(engine, draws) as seconds:
        # More steps than a candidate has, so that finished places are filled again.
        assert all(seconds(pairs) > 0 for pairs in (1, 3, 1, 3, *[2] * 7))
    (after,) = engine.pairs(draws)
    np.testing.assert_array_equal(after.edited, before.edited)
    assert engine.rows_run == 2 * 4 * engine.recipe.steps
