"""A real server on which several conditional writers win."""

from factory.pairs.generate import prepare
from factory.pairs.triplets import TripletList
from factory.storage.probe import probe
from schemas.config import Config
from tests.stub_source import recipe, triplets

TRIES = 3
"""A probe can only find failures; that none of so many finds one is next to impossible."""


def test_probe_finds_out_a_weak_server(weak_place):
    found = [probe(weak_place.store()) for _ in range(TRIES)]
    assert "weak" in {one.commits for one in found}
    assert any("simultaneous conditional writes" in one.reason for one in found)


def test_run_on_a_weak_server_is_begun_with_sealed_commits(weak_place, monkeypatch):
    monkeypatch.setattr("factory.pairs.generate.pin", lambda recipe: recipe)
    config, listed = Config(recipe=recipe()), TripletList(triplets(3))
    begun = {prepare(config, listed, weak_place.store().uri)[0].commits for _ in range(TRIES)}
    assert "sealed" in begun
