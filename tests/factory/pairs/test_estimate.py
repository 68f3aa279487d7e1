"""A dry run's figures beside the run itself."""

import pytest

from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.pairs.estimate import estimate
from factory.pairs.triplets import TripletList
from factory.storage.local import LocalStore
from schemas.config import Config
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets


@pytest.mark.parametrize(("unit_triplets", "candidates"), [(1, 3), (2, 12), (8, 40)])
def test_a_run_takes_no_more_room_than_was_said(tmp_path, unit_triplets, candidates):
    wanted = TripletList(triplets(16))
    config = Config(recipe=recipe(unit_triplets=unit_triplets, candidates=candidates))
    # Two pictures of 8 x 8 pixels of noise.
    found = estimate(config, wanted, pair_bytes=2 * 400)
    run = create_run(LocalStore(tmp_path), config.recipe)
    plan = write_plan(run, wanted.triplets, unit_triplets)
    for unit in range(found.units):
        generate_unit(run, plan, unit, StubSource())
    taken = sum(o.bytes for prefix in ("pairs/", "commits/") for o in run.store.list(prefix))
    assert taken <= found.storage_bytes


@pytest.mark.parametrize(
    ("units", "gpus", "each", "priced", "words"),
    [
        (1, 64, 0.0, "1", "1 GPU"),
        (1, 64, 2.0, "2", "2 GPUs"),
        (100, 64, 0.0, "64", "64 GPUs"),
        (100, None, 0.5, "3.5", "3.5 GPUs"),
        (100, None, 0.0, "7", "7 CPU workers"),
        (2, None, 1.0, "2", "2 GPUs, one for each unit"),
    ],
)
def test_no_more_workers_are_priced_than_have_a_unit(units, gpus, each, priced, words):
    compute = {"gpus_per_worker": each, "max_workers": 7}
    config = Config(recipe=recipe(unit_triplets=1), compute=compute)
    ahead = estimate(config, TripletList(triplets(units)), 1.0, gpus=gpus, price=1.0)
    assert (str(ahead.as_json()["gpus"]), ahead.cost) == (priced, ahead.gpu_hours)
    assert ahead.facts()["time"].endswith(f" on {words}")
