"""A worker of several that ends by itself."""

import pytest

from trainer.learning import group as groups
from trainer.learning.group import Group


@pytest.mark.parametrize(
    ("size", "backend", "left"),
    [(1, "gloo", False), (2, "gloo", True), (2, "nccl", False), (2, "undefined", False)],
)
def test_only_a_group_that_tells_its_peers_is_left_by_one(monkeypatch, size, backend, left):
    # Leaving NCCL may wait for the peers, who wait for this worker: its error would never be told.
    found, ended = Group(), []
    found.size = size
    monkeypatch.setattr(groups.dist, "get_backend", lambda: backend)
    monkeypatch.setattr(groups.dist, "destroy_process_group", lambda: ended.append(True))
    found.leave()
    assert bool(ended) == left
