"""A Ray cluster of several nodes on this machine, whose nodes can be told to leave, and be killed."""

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from tests.nursery.family import who_took

PREEMPTION = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
STORE_BYTES = 80 * 2**20


class Nodes:
    """A head without CPUs, and nodes of `cpus` each."""

    def __init__(self, count: int, cpus: int) -> None:
        self.count = count
        self.cpus = cpus
        # Short: the paths of Unix sockets below it have a limit.
        self.folder = tempfile.mkdtemp(prefix="em-", dir="/tmp")
        os.environ["RAY_TMPDIR"] = self.folder
        (Path(self.folder) / "ray").mkdir()
        self.cluster = patient_start()
        self.leaving: dict[Any, float] = {}
        """Nodes that were given notice, and when they will be gone."""
        self.refill()

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return str(self.cluster.address)

    def refill(self) -> None:
        """Start nodes until there are as many as there should be."""
        for _ in range(5):
            staying = self.cluster.worker_nodes - set(self.leaving)
            if len(staying) >= self.count:
                return
            # As with the head; the next try may be quicker.
            with suppress(Exception):
                self.cluster.add_node(
                    num_cpus=self.cpus,
                    object_store_memory=STORE_BYTES,
                    node_ip_address="127.0.0.1",
                )

    def staying(self) -> list[Any]:
        """Nodes that were given no notice, in the order of their ids."""
        return sorted(self.cluster.worker_nodes - set(self.leaving), key=lambda node: node.node_id)

    def workers(self, node: Any) -> list[int]:
        """Processes on a node."""
        return children(raylet_of(node))

    def kill(self, node: Any) -> None:
        """End a node and all of its workers at once, as when a machine is taken away."""
        self.leaving.pop(node, None)
        raylet, workers = raylet_of(node), self.workers(node)
        os.kill(raylet, signal.SIGKILL)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)

    def give_notice(self, node: Any, seconds: float) -> None:
        """Tell Ray that a node will be taken away, as a cloud does."""
        gone = time.time() + seconds
        accepted, why = GcsClient(address=self.address).drain_node(
            node.node_id, PREEMPTION, "a planned test", int(gone * 1000)
        )
        assert accepted, why
        self.leaving[node] = gone

    def take_away(self) -> None:
        """Kill the nodes whose time has come."""
        for node in [node for node, gone in self.leaving.items() if gone <= time.time()]:
            self.kill(node)

    def close(self) -> None:
        """End all nodes."""
        for node in list(self.cluster.worker_nodes):
            self.kill(node)
        self.cluster.remove_node(self.cluster.head_node, allow_graceful=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def patient_start(tries: int = 5) -> Cluster:
    """A head; a loaded machine may be too slow for the time that Ray gives one to start."""
    for tried in range(tries):
        try:
            return Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 0,
                    "object_store_memory": STORE_BYTES,
                    "include_dashboard": False,
                    "node_ip_address": "127.0.0.1",
                    "_system_config": {
                        "health_check_initial_delay_ms": 1000,
                        "health_check_period_ms": 500,
                        "health_check_failure_threshold": 4,
                        "prestart_worker_first_driver": False,
                    },
                },
            )
        except Exception:
            if tried == tries - 1:
                raise
    raise AssertionError("unreachable")


def raylet_of(node: Any) -> int:
    """The process of a node that starts all others there."""
    return int(node.all_processes["raylet"][0].process.pid)


def children(pid: int) -> list[int]:
    """Processes whose parent is this one, or who took the places of such."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, IndexError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(words[1]) == pid:
                    found.append(who_took(int(entry.name)))
    return found
