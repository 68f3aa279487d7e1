"""Ray still has what we use of it without a public name."""

import importlib
import inspect
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import cluster_utils
from ray.actor import _modify_class
from ray.data import ExecutionResources
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    _AutoscalingCoordinatorActor,
)
from ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler import (
    RateBasedClusterAutoscaler,
)
from ray.data._internal.cluster_autoscaler.resource_utilization_gauge import ClusterUtil
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


@pytest.mark.parametrize(
    "share", [{"gpu": 1.0}, {"gpu": 0.5}, {"gpu": 1 / 3}, {"gpu": 0.2}, {"cpu": 1.0}]
)
@pytest.mark.parametrize("calls", [1, 2, 3, 4, 6, 9, 13])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 31])
def test_the_autoscaler_asks_for_all_workers_of_a_pool(share, calls, workers):
    ray_internals.ask_for_whole_workers()
    autoscaler = RateBasedClusterAutoscaler(
        [MaximalPool(ExecutionResources(**share), calls, workers)],
        "test",
        utility_calculator=Busy(),
        autoscaling_coordinator=Enough(),
        min_gap_between_autoscaling_requests_s=0,
    )
    asked = autoscaler.try_trigger_scaling()
    assert len(asked) == workers
    assert {round(each, 4) for bundle in asked for each in bundle.values()} == {
        round(each, 4) for each in share.values()
    }


def test_what_a_killed_run_had_is_the_next_ones_within_a_minute(monkeypatch):
    """Ray's own coordinator, in this process, with a clock that is set."""
    monkeypatch.delenv(ray_internals.CLAIM, raising=False)
    ray_internals.claim_nodes_briefly()
    clock, total = [1000.0], {"CPU": 4.0, "GPU": 4.0, "memory": 8e9, "object_store_memory": 1e9}
    coordinator = _AutoscalingCoordinatorActor(
        lambda: clock[0],
        lambda bundles: None,
        lambda: [{"NodeID": "node", "Alive": True, "Resources": total}],
    )
    killed, alive = (execution(coordinator, name) for name in ("killed", "alive"))
    killed.try_trigger_scaling()
    alive.try_trigger_scaling()
    assert killed.get_total_resources().gpu == 4
    assert alive.get_total_resources().gpu == 0
    for _ in range(6):
        clock[0] += 10
        alive.try_trigger_scaling()
        coordinator._tick()
    assert alive.get_total_resources().gpu == 4


def test_a_user_says_how_long_nodes_are_kept(monkeypatch):
    given = RateBasedClusterAutoscaler.__init__.__kwdefaults__
    monkeypatch.setitem(given, "autoscaling_request_expire_time_s", 77)
    monkeypatch.setenv(ray_internals.CLAIM, "77")
    ray_internals.claim_nodes_briefly()
    assert given["autoscaling_request_expire_time_s"] == 77
    assert f'"{ray_internals.CLAIM}"' in inspect.getsource(RateBasedClusterAutoscaler)


def execution(coordinator, name):
    """What Ray Data has for one: it asks for all four GPUs of the only node."""

    class Asked:
        def request_resources(self, **asked):
            coordinator.request_resources(name, **asked)

        def get_reserved_resources(self):
            return coordinator.get_reserved_resources(name)

    return RateBasedClusterAutoscaler(
        [MaximalPool(ExecutionResources(gpu=1.0), 1, 4)],
        name,
        utility_calculator=Busy(),
        autoscaling_coordinator=Asked(),
        min_gap_between_autoscaling_requests_s=0,
    )


class MaximalPool:
    """An operator of Ray Data's: so many workers at most, each called so many times at once."""

    output_dependencies = ()
    metrics = SimpleNamespace(
        average_num_inputs_per_task=1,
        average_num_outputs_per_task=1,
        num_output_blocks_per_task_s=0.17,
    )

    def __init__(self, worker, calls, most):
        self.worker, self.calls, self.most = worker, calls, most

    def per_task_resource_allocation(self):
        # As ActorPoolMapOperator has it.
        return self.worker.scale(1 / self.calls)

    def get_max_concurrency_limit(self):
        return self.most * self.calls

    def min_scheduling_resources(self):
        return self.worker

    def has_completed(self):
        return False


class Busy:
    def observe(self): ...

    def get(self):
        return ClusterUtil(cpu=1, gpu=1, memory=1, object_store_memory=0)


class Enough:
    """So much there already that a pool's most is what bounds it."""

    def request_resources(self, resources, expire_after_s, request_remaining): ...

    def get_reserved_resources(self):
        return {"node": {"CPU": 100.0, "GPU": 100.0, "memory": 1e12}}


class Recorder:
    def __init__(self, told):
        self.told = told

    def record(self, value, tags):
        self.told.append((value, tags))
