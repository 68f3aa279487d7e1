"""The short form of the chaos runner; `python benchmarks/ledger.py` is the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.captions import CaptionCompute
from schemas.config import Compute
from schemas.edits import EditCompute
from schemas.export import ExportCompute
from tests.environment import without_ray

ROOT = Path(__file__).parent.parent.parent


def chaos(server, **amounts):
    options = [f"--{name.replace('_', '-')}={amount}" for name, amount in amounts.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", f"--server={server}", *options],
        cwd=ROOT,
        env=without_ray(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        return json.loads(process.communicate(timeout=900)[0].splitlines()[-1])
    except BaseException:
        # So that it ends its cluster.
        process.terminate()
        process.wait(60)
        raise


def assert_nothing_wrong(figures, in_hand=Compute().calls_per_worker):
    assert figures["words"] == []
    wrongs = ("lost", "duplicated", "torn", "recomputed", "falsely_failed", "strays", "paid_twice")
    for wrong in wrongs:
        assert figures[wrong] == 0, wrong
    # A kill costs what the worker has in hand.
    assert 1 <= figures["most_open"] <= in_hand


ALL = {
    "worker_kills": 12,
    "driver_kills": 3,
    "node_kills": 1,
    "drain_notices": 3,
    "twins": 1,
}


@pytest.mark.slow
def test_killed_workers_drivers_and_nodes_change_nothing():
    """Without a server; CI has the same on one, below."""
    figures = chaos("moto", units=80, store_faults=5, **ALL)
    assert_nothing_wrong(figures)
    assert {name: figures[name] for name in ALL} == ALL
    assert figures["units"] == 80 * figures["rounds"]
    assert figures["store_faults"] >= 5


FEW = {"worker_kills": 3, "driver_kills": 1, "node_kills": 1, "drain_notices": 1, "twins": 0}
SMALL = {"units": 12, "outcomes": 3, "workers": 2, "store_faults": 2, "gap": 8}


@pytest.mark.slow
def test_the_same_with_the_engine_on_the_miniature():
    figures = chaos("moto", subject="miniature", pause=0, **FEW, **SMALL)
    assert_nothing_wrong(figures)
    assert {name: figures[name] for name in FEW} == FEW
    assert 0 < figures["accepted"] < figures["candidates"]


@pytest.mark.long
def test_kills_change_nothing_of_latents_by_their_real_maker():
    """So few that CI has time for them; the slow test below kills a node, and waits for every fault."""
    few = {"worker_kills": 1, "driver_kills": 1, "node_kills": 0, "drain_notices": 0, "twins": 0}
    small = {"units": 8, "outcomes": 3, "workers": 1, "pause": 0.2, "gap": 1}
    figures = chaos("moto", subject="encode", store_faults=0, **few, **small)
    assert_nothing_wrong(figures)
    assert {name: figures[name] for name in few} == few
    assert 0 < figures["encoded"] < figures["rows"]


@pytest.mark.slow
def test_the_same_of_latents_by_their_real_maker():
    # So much work that all of it happens in one round: each worker takes long to load.
    once = {"worker_kills": 1, "driver_kills": 1, "node_kills": 1, "drain_notices": 1, "twins": 0}
    much = {"units": 20, "outcomes": 3, "workers": 2, "pause": 0.2, "gap": 2}
    figures = chaos("moto", subject="encode", store_faults=1, **once, **much)
    assert_nothing_wrong(figures)
    assert {name: figures[name] for name in once} == once
    assert 0 < figures["encoded"] < figures["rows"]


@pytest.mark.slow
def test_the_same_of_edits_by_their_real_maker():
    few = FEW | {"worker_kills": 2, "node_kills": 0}
    figures = chaos("moto", subject="edit", pause=0.1, **few, **SMALL | {"store_faults": 1})
    assert_nothing_wrong(figures, EditCompute().calls_per_worker)
    assert {name: figures[name] for name in few} == few
    assert 0 < figures["done"] < figures["pictures"]


@pytest.mark.slow
def test_the_same_of_scores_by_their_real_maker():
    few = FEW | {"worker_kills": 2, "node_kills": 0}
    figures = chaos("moto", subject="evaluate", pause=0.1, **few, **SMALL | {"store_faults": 1})
    assert_nothing_wrong(figures, EditCompute().calls_per_worker)
    assert {name: figures[name] for name in few} == few
    assert 0 < figures["scored"] == figures["edits"]


@pytest.mark.slow
def test_the_same_of_captions_by_their_real_maker_and_no_stored_reply_is_paid_for_again():
    """The server of a language model misbehaves meanwhile."""
    few = {"worker_kills": 2, "driver_kills": 1, "node_kills": 0, "drain_notices": 0, "twins": 0}
    small = {"units": 12, "outcomes": 3, "workers": 2, "pause": 0.1, "gap": 1}
    figures = chaos("moto", subject="captions", store_faults=0, **few, **small)
    assert_nothing_wrong(figures, CaptionCompute().calls_per_worker)
    assert {name: figures[name] for name in few} == few
    assert 0 < figures["accepted"] < figures["instructions"]
    # What was answered was stored, but for what was on its way when somebody was killed.
    killed = figures["worker_kills"] + figures["driver_kills"] * small["workers"]
    assert 0 <= figures["answers_lost"] <= killed * CaptionCompute().calls_per_worker * 2
    assert figures["answers"] > figures["instructions"]


@pytest.mark.slow
def test_the_same_of_shards_by_their_real_maker():
    few = FEW | {"worker_kills": 2, "node_kills": 0}
    small = SMALL | {"store_faults": 1, "outcomes": 1}
    figures = chaos("moto", subject="export", pause=0.1, **few, **small)
    assert_nothing_wrong(figures, ExportCompute().calls)
    assert {name: figures[name] for name in few} == few
    assert 0 < figures["stored"] < figures["files"]


@pytest.mark.servers
def test_killed_workers_drivers_and_nodes_change_nothing_on_a_real_server(ceph, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.secret_key)
    figures = chaos(ceph.endpoint, units=80, store_faults=5, poison=1, **ALL)
    assert_nothing_wrong(figures)
    assert {name: figures[name] for name in ALL} == ALL
    assert figures["store_faults"] >= 5
    assert figures["poison_units_found"] == 1


@pytest.mark.servers
def test_the_same_where_several_conditional_writers_win(swift, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", swift.secret_key)
    few = {"worker_kills": 4, "driver_kills": 1, "node_kills": 0, "drain_notices": 1}
    figures = chaos(swift.endpoint, units=40, store_faults=2, poison=1, **few)
    assert_nothing_wrong(figures)
    assert figures["sealed_rounds"] == figures["rounds"]
    assert figures["poison_units_found"] == 1
