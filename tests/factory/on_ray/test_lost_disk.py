"""A disk that fills up under the workers of a pool: the run stops after a few units, and goes on later."""

from dataclasses import replace
from functools import partial

import pytest

from factory.ledger import keys
from factory.ledger.run import open_run
from factory.ledger.verify.run import verify
from factory.on_ray.units import run_on_ray
from factory.storage.local import LocalStore
from factory.work.guards import MOST_LOST
from tests.chaos.stores.full_disk import FullDisk, load_impatient
from tests.chaos.subjects.subject import Work, subject_of

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.long]
WORKERS = 2
IN_HAND = 2 * WORKERS
"""Units that are on their way when the run stops."""


def on_ray_at_once(stage):
    """Its workers do not wait for room."""
    return run_on_ray(replace(stage, load=partial(load_impatient, stage.load)))


@pytest.mark.parametrize("name", ["stub", "encode"])
def test_a_full_disk_stops_the_pool_after_a_few_units_and_a_rerun_makes_the_rest(tmp_path, name):
    units = MOST_LOST + 3 * IN_HAND
    work = Work(subject=name, units=units, outcomes=2, workers=WORKERS, folder=str(tmp_path))
    subject, full = subject_of(work), FullDisk(tmp_path / "run")
    result = subject.start(full, on_ray_at_once)
    assert (result.exit_code, result.sealed) == (3, None)
    assert MOST_LOST <= len(result.problems) <= MOST_LOST + IN_HAND
    assert f"{MOST_LOST} units in a row could not be committed" in result.message
    assert "No space left" in result.message
    store = LocalStore(full.folder)
    assert 1 <= len(list(store.list(keys.COMMITS))) <= WORKERS
    again = subject.start(store, run_on_ray)
    assert (again.exit_code, again.sealed.partial) == (0, False)
    assert verify(open_run(store), subject.check).damages == []
