"""A Ray of three CPUs, for those who ask for it, and a worker without any."""

from types import SimpleNamespace

import pytest

from tests.rays import ray_of
from trainer.on_ray import fit as on_ray


@pytest.fixture(scope="module")
def ray_here():
    with ray_of(cpus=3):
        yield


class Desk:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        def remote(*words):
            self.told.append((name, *words))

        return SimpleNamespace(remote=remote)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def work(desk, monkeypatch):
    """One worker, without Ray; its training is a function of what `fit` is asked."""
    here = SimpleNamespace(current_actor="me", get_local_rank=lambda: 0)
    monkeypatch.setattr(on_ray.ray, "get", lambda found: found)
    monkeypatch.setattr(on_ray.ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(on_ray, "get_context", lambda: here)

    def start(act, place=None, out="here"):
        monkeypatch.setattr(on_ray, "fit", lambda *_, **asked: act(**asked))
        if place is None:
            monkeypatch.setattr(on_ray, "begun_dataset", lambda *_: None)
        config = '{"law": {"model": {"source": "miniature"}}}'
        on_ray.train({"config": config, "desk": desk, "dataset": place, "out": out})

    return start
