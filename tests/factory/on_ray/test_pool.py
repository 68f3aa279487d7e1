"""One execution of Ray Data: who reads for it, and what it tells of them."""

import json
import threading

import pytest
from ray.data._internal.block_batching.iter_batches import BatchIterator

from factory.on_ray import pool


class Named:
    """A pool's worker that names its units."""

    def __call__(self, batch):
        return {"row": [json.dumps({"unit": int(unit)}) for unit in batch["unit"]]}


@pytest.mark.parametrize("stops", [False, True])
def test_who_reads_for_ray_data_has_ended_when_rows_end_before_their_time(ray_here, stops):
    """Else a block that it lets go of after `ray.shutdown` would end the process with 1."""
    asked = []
    rows = pool.rows_of(range(40), Named, {}, {"num_cpus": 0.5}, (1, 1), lambda: bool(asked))
    next(rows)
    readers = [one for one in threading.enumerate() if one.name == pool.READER]
    assert readers
    if stops:
        asked.append(True)
        with pytest.raises(pool.StopAsked):
            list(rows)
    else:
        rows.close()
    assert not any(reader.is_alive() for reader in readers)


def test_ray_data_tells_of_its_readers_no_more_often_than_we_say(ray_here, monkeypatch):
    told = []
    monkeypatch.setattr(
        "ray.data._internal.stats._StatsManager.update_iteration_metrics",
        lambda *words: told.append(words),
    )
    rows = pool.rows_of(range(40), Named, {}, {"num_cpus": 0.5}, (1, 1), lambda: False)
    assert len(list(rows)) == 40
    at_end = len(told)
    told.clear()
    # Without ours a second one would come as the first row does.
    monkeypatch.setattr(BatchIterator, "UPDATE_METRICS_INTERVAL_S", 5.0)
    monkeypatch.setattr(pool, "tell_of_readers_at_the_end", lambda: None)
    rows = pool.rows_of(range(40), Named, {}, {"num_cpus": 0.5}, (1, 1), lambda: False)
    assert len(list(rows)) == 40
    assert len(told) == at_end + 1
