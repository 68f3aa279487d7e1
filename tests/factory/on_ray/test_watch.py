"""The watch beside a store that does not answer; no cluster is needed for that."""

from factory.errors import StorageUnavailable
from factory.on_ray import watch
from factory.on_ray.watch import Watch
from factory.on_ray.witness import Death


def test_job_that_wants_to_stop_does_not_wait_for_a_store_that_is_gone(monkeypatch):
    monkeypatch.setattr(watch, "SETTLE_S", 0.01)
    tries = []

    class Waiting(Watch):
        def __init__(self):
            self._asked = "asked"
            self._unjudged = [(0.0, Death(unit=3, worker="w", node="n"))]

        def _hear(self):
            pass

        def judge(self, death, *, alone):
            tries.append(death.unit)
            # Should it never stop, the test ends with this.
            assert len(tries) < 50
            raise StorageUnavailable("no answer")

    Waiting().settle(lambda: len(tries) == 3)
    assert tries == [3, 3, 3]
