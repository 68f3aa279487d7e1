"""Which pair stands where: arithmetic on the seed, the epoch, the step and the slot."""

from collections import Counter

import numpy as np
import pytest

from schemas.training.fit import Dropout
from trainer.learning import group as groups
from trainer.learning.order import Order, dropped

PROMPTS = [f"{i:016x}" for i in range(23)]
ROWS = [list(range(3 * i, 3 * i + 1 + i % 3)) for i in range(23)]
"""One to three pairs each."""


def order(seed=5, batch=8, prompts=PROMPTS, rows=ROWS):
    return Order(seed, prompts, rows, batch)


def items(of, positions, flip=0.5, dropout=None):
    dropout = dropout or Dropout()
    return [of.item(*divmod(n, of.batch), flip, dropout) for n in positions]


def group(rank, size):
    found = groups.Group()
    found.rank, found.size = rank, size
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_slots_of_all_workers_together_are_each_slot_once(workers):
    slots = [slot for rank in range(workers) for slot in group(rank, workers).slots(8)]
    assert slots == list(range(8))
    assert all(group(rank, workers).slots(8) for rank in range(workers))


def test_each_epoch_visits_each_prompt_once_with_one_of_its_pairs():
    prompt_of = {row: number for number, rows in enumerate(ROWS) for row in rows}
    found = items(order(), range(3 * len(PROMPTS)))
    for epoch in range(3):
        rows = [one.row for one in found[epoch * 23 : (epoch + 1) * 23]]
        assert sorted(prompt_of[row] for row in rows) == list(range(23))


def test_epochs_have_orders_and_pairs_of_their_own():
    found = [one.row for one in items(order(), range(40 * 23))]
    epochs = [tuple(found[i : i + 23]) for i in range(0, len(found), 23)]
    assert len(set(epochs)) == 40
    assert set(found) == {row for rows in ROWS for row in rows}
    # The prompt with three pairs shows each about as often.
    counts = [Counter(found)[row] for row in ROWS[2]]
    assert sum(counts) == 40
    assert min(counts) >= 5


def test_epochs_go_through_the_prompts_in_orders_of_their_own():
    of = order(rows=[[n] for n in range(23)])
    found = [one.row for one in items(of, range(40 * 23))]
    assert len({tuple(found[i : i + 23]) for i in range(0, len(found), 23)}) == 40


def test_items_do_not_depend_on_the_batch():
    assert items(order(batch=8), range(100)) == items(order(batch=5), range(100))


def test_a_step_is_the_same_whether_or_not_those_before_were_asked_for():
    walked = items(order(), range(200))
    assert items(order(), range(160, 200)) == walked[160:]


def test_another_seed_changes_everything_that_is_drawn():
    one, other = items(order(5), range(23)), items(order(6), range(23))
    assert [i.row for i in one] != [i.row for i in other]
    assert not {i.seed for i in one} & {i.seed for i in other}


def test_no_two_items_share_their_noise():
    assert len({one.seed for one in items(order(), range(50 * 23))}) == 50 * 23


def test_an_items_draws_belong_to_its_prompt_and_not_to_its_place_in_the_dataset():
    turned = order(prompts=PROMPTS[::-1], rows=ROWS[::-1])
    drawn = {(i.row, i.flip, i.dropped, i.timestep, i.seed) for i in items(order(), range(23))}
    assert {
        (i.row, i.flip, i.dropped, i.timestep, i.seed) for i in items(turned, range(23))
    } == drawn


def test_one_draw_decides_what_is_dropped():
    shares = Dropout(text=0.05, both=0.05, image=0.05)
    draws = [0.0, 0.0499, 0.05, 0.0999, 0.1001, 0.1499, 0.1501, 0.999]
    assert [dropped(draw, shares) for draw in draws] == [
        *("text", "text", "both", "both", "image", "image", "nothing", "nothing")
    ]


def test_shares_of_flips_dropout_and_timesteps_are_those_of_the_law():
    count = 6000
    found = items(order(), range(count), flip=0.3)
    kinds = Counter(one.dropped for one in found)
    for kind in ("text", "both", "image"):
        assert kinds[kind] / count == pytest.approx(0.05, abs=0.012)
    assert sum(one.flip for one in found) / count == pytest.approx(0.3, abs=0.025)
    # Flips do not go with what is dropped.
    flips = [one.flip for one in found if one.dropped != "nothing"]
    assert sum(flips) / len(flips) == pytest.approx(0.3, abs=0.06)
    timesteps = np.array([one.timestep for one in found])
    assert (timesteps.min(), timesteps.max()) <= (2, 999)
    assert timesteps.max() >= 997
    assert np.histogram(timesteps, 10, (0, 1000))[0] / count == pytest.approx([0.1] * 10, abs=0.02)


def test_no_flip_and_no_dropout_where_the_law_says_so():
    found = items(order(), range(500), 0.0, Dropout(text=0, both=0, image=0))
    assert {(one.flip, one.dropped) for one in found} == {(False, "nothing")}
    assert {
        one.dropped for one in items(order(), range(99), 1.0, Dropout(text=1, both=0, image=0))
    } == {"text"}


def test_a_batch_may_be_larger_than_the_dataset():
    rows = [i.row for i in items(order(batch=64, prompts=PROMPTS[:2], rows=ROWS[:2]), range(64))]
    assert Counter(row in ROWS[0] for row in rows) == {True: 32, False: 32}
