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
