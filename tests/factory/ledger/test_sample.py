"""Sealing looks at every pairs object, and reads one in a hundred of them."""

import pytest

from factory.errors import NeedsRepair
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import sample, seal
from schemas.ledger.commit import UnitLine
from tests.chaos.stores.memory_store import MemoryStore
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets


def made(units=4):
    run = create_run(MemoryStore(), recipe(unit_triplets=1))
    plan = write_plan(run, triplets(units), 1)
    for unit in plan.units:
        generate_unit(run, plan, unit, StubSource())
    return run, plan


def line(unit, key="pairs/some.parquet"):
    counts = {"accepted": 1, "rejected": 0, "failed": 0}
    data = {"data_key": key, "data_sha256": "0" * 64, "data_bytes": 1}
    return UnitLine(unit=unit, outcomes_sha256="0" * 64, counts=counts, **data)


def test_pairs_of_the_right_size_and_wrong_bytes_in_the_sample_are_refused():
    run, plan = made()
    (chosen,) = sample(Book(run, plan).lines())
    data = bytearray(run.store.objects[chosen.data_key])
    data[len(data) // 2] ^= 1
    run.store.objects[chosen.data_key] = bytes(data)
    what = f"{chosen.data_key}: unit {chosen.unit}'s commit names"
    with pytest.raises(NeedsRepair, match=what):
        seal(run, plan)
    assert not list(run.store.list(keys.MANIFESTS + "000"))
    left_out = {}
    assert seal(run, plan, partial=True, left_out=left_out)[1].units == len(plan.units) - 1
    assert list(left_out) == [chosen.unit]
    assert what in left_out[chosen.unit]


@pytest.mark.parametrize(("units", "least"), [(0, 0), (1, 1), (100, 1), (101, 2), (4096, 41)])
def test_sample_is_a_hundredth_at_least_and_the_same_each_time(units, least):
    lines = [line(unit) for unit in range(units)]
    chosen = sample(lines)
    assert len(chosen) == least
    assert chosen == sample(reversed(lines))
    assert sample([*lines, line(9999, None)]) == chosen


def test_samples_are_spread_over_a_segment():
    units = [one.unit for one in sample([line(unit) for unit in range(4096)])]
    assert min(units) < 1024
    assert max(units) > 3072
