"""What of Ray has no public name and is used all the same: one place to look at when Ray changes.

`pyproject.toml` pins Ray for it; `tests/factory/on_ray/test_ray_internals.py` and `test_pool.py` say when a
name is gone.
"""

import importlib
import math
import os
from collections.abc import Callable
from functools import partial
from subprocess import Popen
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker

PROGRESS_LOGGER = "ray.data._internal.progress"
READER = "iter_threaded"
"""What Ray Data calls a thread that fetches blocks and makes batches of them."""
RESIZING = "ResizingState"
"""A state of Ray Train's controller, by the name of its class, as those below."""
ENDING = ("RestartingState", "ShuttingDownState")
"""After which the workers are ended: as soon as a node's notice has run out, for one."""
CLAIM_S = 30
"""How long Ray Data keeps nodes for an execution that has not been heard of; it speaks every 10 s."""
CLAIM = "RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S"
"""By which users set the same."""
WAITING = ("InitializingState", "SchedulingState", "ReschedulingState", "RestartingState")
"""In which no worker is there to be told anything."""


def keep_to_loopback() -> None:
    """A Ray that this process starts listens on 127.0.0.1 alone.

    Otherwise it takes this machine's address, whatever it is told. Its processes inherit the variable; the
    constant is what this one made of it when ray was imported.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def keep_signals_off() -> None:
    """Ray's processes get sessions of their own: a signal to this one's group reaches this one alone.

    Else they end at once, before workers have stored anything. The kernel ends them when this one dies.
    """
    services.ConsolePopen = partial(Popen, start_new_session=True)


def hear_workers(tell: Callable[[str], None]) -> None:
    """Lines that Ray tells of its workers go here; it has no option for it and prints them on stdout."""

    def print_worker_logs(
        data: dict[str, Any], print_file: Any, ignore_prefix: bool = False
    ) -> None:
        for line in data.get("lines", ()):
            tell(line)

    ray_worker.print_worker_logs = print_worker_logs


def tell_of_readers_at_the_end() -> None:
    """What Ray Data counts of its readers is sent to its actor once, in place of every 5 s.

    With it goes what is known of every block so far: at 60,000 units each such line took most of the 5 s.
    """
    batching = importlib.import_module("ray.data._internal.block_batching.iter_batches")
    batching.BatchIterator.UPDATE_METRICS_INTERVAL_S = math.inf


def ask_for_whole_workers() -> None:
    """Ray Data's autoscaler asks for a pool's last worker, too.

    It shares a worker's resources among its calls, rounds to 5 digits, and counts how many whole workers
    the shares of all make: 3.99996 of four with three calls each. It drops what is over, so that the fourth
    never comes. A twentieth of a worker is added before it counts: enough for 10,000 calls of whole GPUs.
    """
    floored = importlib.import_module("ray.data._internal.util").get_max_task_capacity

    def whole_workers(allocated: Any, worker: Any) -> float:
        return floored(allocated and allocated.add(worker.scale(1 / 20)), worker)

    _autoscaler().get_max_task_capacity = whole_workers


def claim_nodes_briefly() -> None:
    """Nodes that a killed run had are soon free for the one that goes on in its place.

    Ray Data's coordinator outlives a driver and keeps its nodes for it, 180 s by default: so long the next
    run's pool stays at its fewest workers. Ray reads the variable once, when it is imported.
    """
    if CLAIM not in os.environ:
        given = _autoscaler().RateBasedClusterAutoscaler.__init__.__kwdefaults__
        given["autoscaling_request_expire_time_s"] = CLAIM_S


def _autoscaler() -> Any:
    return importlib.import_module(
        "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"
    )


def draining_nodes() -> set[str]:
    """Nodes that have notice to leave: preempted, or no longer needed."""
    # Ray Data's own pools ask the same.
    return set(ray._private.state.state.get_draining_nodes())


def count_nothing(counter: Any, tags: dict[str, str]) -> None:
    """Have one of Ray's counters stand at 0; its `inc` refuses to add nothing."""
    counter._record(0.0, tags)


def controller_callback(changed: Callable[[str], None]) -> Any:
    """For Ray Train's `RunConfig`: hears each new state of its controller, by the name of its class."""
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class StateCallback(ControllerCallback):
        def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
            changed(type(current_state).__name__)

    return StateCallback()


def sign_of_life(actor: Any) -> Any:
    """A reference to what an actor answers while it lives, whatever else it does; `ray.get` raises once it
    is dead.
    """
    return actor.__ray_ready__.remote()


def fake_head_environment(every_s: int) -> dict[str, str]:
    """What a head needs whose autoscaler starts nodes that are none, and looks every so many seconds."""
    _, head = fake_node_provider()
    return {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": head,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head,
        "AUTOSCALER_UPDATE_INTERVAL_S": f"{every_s}",
    }


def fake_node_provider() -> tuple[str, str]:
    """Where the provider lies with which Ray tests its autoscaler, and the id that it gives the head."""
    from ray.autoscaler._private.fake_multi_node.node_provider import (
        FAKE_HEAD_NODE_ID,
        FakeMultiNodeProvider,
    )

    provider = FakeMultiNodeProvider
    return f"{provider.__module__}.{provider.__name__}", FAKE_HEAD_NODE_ID
