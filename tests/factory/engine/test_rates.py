"""Steps of other sizes are timed on the engine's own network, which then goes on as before."""

import numpy as np
import torch

from factory.engine.rates import steps_of_other_sizes
from factory.pairs.prompt_to_prompt import PromptToPrompt, request_of
from tests.factory.engine.family import CAPTIONS, draw, recipe, save_family

torch.set_num_threads(1)


def test_an_engine_makes_the_same_pictures_after_other_sizes_were_tried(tmp_path):
    engine = PromptToPrompt(recipe(save_family(tmp_path)), device="cpu", batch_pairs=2)
    draws = [draw(CAPTIONS[0], 3, p=0.9)]
    (before,) = engine.pairs(draws)
    requests = [request_of(one, engine.recipe) for one in draws]
    with steps_of_other_sizes(engine.engine, requests) as seconds:
        # More steps than a candidate has, so that finished places are filled again.
        assert all(seconds(4 * pairs) > 0 for pairs in (1, 3, 1, 3, *[2] * 7))
    (after,) = engine.pairs(draws)
    np.testing.assert_array_equal(after.edited, before.edited)
    assert engine.rows_run == 2 * 4 * engine.recipe.steps
