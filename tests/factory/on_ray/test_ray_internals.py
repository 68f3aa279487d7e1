"""Ray still has what we use of it without a public name."""

import importlib
import os
from pathlib import Path

import pytest
from ray import cluster_utils
from ray.actor import _modify_class
from ray.util import metrics

from factory.on_ray import ray_internals
from factory.on_ray.ray_internals import ENDING, RESIZING, WAITING


def test_the_states_of_rays_controller_are_called_so():
    from ray.train.v2._internal.execution.controller import state

    for name in {RESIZING, *ENDING, *WAITING}:
        assert issubclass(getattr(state, name), state.TrainControllerState), name


def test_a_callback_hears_the_names_of_states():
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller.state import RunningState

    heard = []
    callback = ray_internals.controller_callback(heard.append)
    assert isinstance(callback, ControllerCallback)
    callback.after_controller_state_update(None, RunningState())
    assert heard == ["RunningState"]


def test_ray_reads_what_keeps_it_to_loopback_where_we_write_it():
    from ray._private import ray_constants, services

    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool)
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR == "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert services.ray_constants is ray_constants


def test_ray_starts_its_processes_by_what_gives_them_a_session_of_their_own(monkeypatch):
    from ray._private import services

    monkeypatch.setattr(services, "ConsolePopen", services.ConsolePopen)
    ray_internals.keep_signals_off()
    started = services.start_ray_process(["sleep", "60"], "raylet", fate_share=True).process
    try:
        assert os.getsid(started.pid) == started.pid
    finally:
        started.kill()
        started.wait()


def test_a_counter_that_takes_no_0_may_be_told_of_nothing(monkeypatch):
    counter, told = metrics.Counter("editmill_test", "", ("stage",)), []
    with pytest.raises(ValueError, match="must be >0"):
        counter.inc(0, {"stage": "edit"})
    monkeypatch.setattr(counter, "_metric", Recorder(told))
    ray_internals.count_nothing(counter, {"stage": "edit"})
    assert told == [(0.0, {"stage": "edit"})]


def test_ray_has_a_provider_of_nodes_that_are_none():
    provider, head = ray_internals.fake_node_provider()
    module, _, name = provider.rpartition(".")
    assert hasattr(
        getattr(importlib.import_module(module), name), "create_node_with_resources_and_labels"
    )
    assert set(head) <= set("0123456789abcdef")


def test_rays_autoscaler_reads_what_makes_nodes_that_are_none():
    """Ray's own cluster of such nodes gives the same."""
    environment = ray_internals.fake_head_environment(7)
    rays = Path(cluster_utils.__file__).read_text()
    assert [name for name in environment if f'"{name}":' not in rays] == []


def test_every_actor_answers_whether_it_lives():
    assert hasattr(_modify_class(Recorder), "__ray_ready__")


class Recorder:
    def __init__(self, told):
        self.told = told

    def record(self, value, tags):
        self.told.append((value, tags))
