"""A real server on which several conditional writers win."""

from factory.pairs.generate import prepare
from factory.pairs.triplets import TripletList
from factory.storage.probe import probe
from schemas.config import Config
from tests.stub_source import recipe, triplets

TRIES = 3
"""Each of which must find it: a run that one start begins as on a strong store the next would refuse."""


def test_probe_finds_out_a_weak_server(weak_place):
    found = [probe(weak_place.store()) for _ in range(TRIES)]
    assert {(one.commits, one.rounds) for one in found} == {("weak", 0)}
    assert {one.reason for one in found} == {"2 of 2 simultaneous conditional writes were accepted"}


def test_run_on_a_weak_server_is_begun_with_sealed_commits(weak_place, monkeypatch):
    monkeypatch.setattr("factory.pairs.generate.pin", lambda recipe: recipe)
    config, listed = Config(recipe=recipe()), TripletList(triplets(3))
    begun = {prepare(config, listed, weak_place.store().uri)[0].commits for _ in range(TRIES)}
    assert begun == {"sealed"}
