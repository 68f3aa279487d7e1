"""Join the Ray cluster that is there, or start one on this machine."""

import atexit
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import grpc
import psutil
import ray

from factory.console.say import say
from factory.console.signals import at_end, take_back, unbroken
from factory.errors import ConfigError, EditmillError, first_line
from factory.on_ray.life import lives, watch_cluster, watch_own
from factory.on_ray.own_ray import RayFolder, check_mode, make_ray_folder, sweep_ray_folders
from factory.on_ray.ray_internals import hear_workers, keep_signals_off, keep_to_loopback
from factory.on_ray.words import event, hushed, quieten
from schemas.running.cluster import OPEN_CLUSTER
from schemas.running.pool import Pool

ENDED_BY_US = "killed by `ray.kill`"
ANSWER_S = 30.0
"""Longest wait for a cluster to answer someone without a token."""
KILLED_S = 1.0
"""Longest wait for what was killed to be gone."""
STARTS = 3
LATE = ("timed out during startup", "Failed to start GCS")
"""Ray's own words where a node is not there after half a minute: a machine that has much to do."""


class RayUnreachable(EditmillError):
    """Ray could neither be joined nor started."""


P = TypeVar("P", bound=Pool)


def connect(compute: P) -> P:
    """Join where RAY_ADDRESS names a cluster (inside a job it does); else start one of our own.

    Returns the compute to use: on a machine of our own without a GPU, `device: auto` becomes one
    worker on CPUs, and says so. A local Ray counts at least as many CPUs as the workers hold, since
    `cpus_per_worker` is bookkeeping. Raises `ConfigError` where a GPU was asked for by name, where no
    folder is short enough for Ray, and where a Ray is open to everyone: never one of our own, another
    only if OPEN_CLUSTER says so.
    """
    if not ray.is_initialized():
        joins = bool(os.environ.get("RAY_ADDRESS"))
        hear_workers(_tell)
        quieten()
        if joins:
            _begin()
            _keep_out_of_open()
            watch_cluster(ray.get_runtime_context().gcs_address)
            # Its GPUs may still be on their way.
            return compute
        wanted = int(compute.cpus_per_worker * compute.max_workers) + 1
        _start_own(max(wanted, os.cpu_count() or 1))
    if compute.gpus_per_worker and not ray.cluster_resources().get("GPU"):
        if compute.device != "auto":
            raise ConfigError(
                f"compute.device: {compute.device} needs a GPU, and this machine shows none"
            )
        say("no GPU here: one worker on CPUs")
        on_cpu = {"gpus_per_worker": 0.0, "min_workers": 1, "max_workers": 1}
        return compute.model_copy(update=on_cpu)
    return compute


def _start_own(cpus: int) -> None:
    """A Ray of our own, in a folder of its own: for this user, on this machine's loopback alone."""
    _keep_others_out()
    keep_to_loopback()
    keep_signals_off()
    sweep_ray_folders()
    with unbroken():
        folder = make_ray_folder()
        at_end(partial(_kill_own, folder))
    atexit.register(folder.remove)
    # Done first, as it is registered last.
    atexit.register(ray.shutdown)
    others = psutil.Process().children(recursive=True)
    for tries_left in reversed(range(STARTS)):
        try:
            _begin(
                # `local`: another Ray that happens to run here is none of ours.
                address="local",
                include_dashboard=False,
                num_cpus=cpus,
                _temp_dir=str(folder.rays),
            )
            break
        except RayUnreachable as error:
            if not tries_left or not any(words in str(error) for words in LATE):
                raise
            say("Ray was too slow to start, as on a machine that has much else to do; once more")
            _end_children(others)
    atexit.register(watch_own())


def _begin(**options: Any) -> None:
    """`ray.init`, with this program's signals after it. Raises `RayUnreachable`."""
    try:
        with hushed():
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # Ray's own kinds are many; a start that took too long has none
        raise RayUnreachable(f"ray: cannot be joined or started: {first_line(error)}") from error
    finally:
        take_back()


def _kill_own(folder: RayFolder) -> None:
    """At once, where a signal ends this process: Ray's would end a while after it."""
    _end_children()  # or they would write into the folder while it is removed
    folder.remove()


def _end_children(others: Sequence[psutil.Process] = ()) -> None:
    """All processes that this one started, and theirs, but for `others`; waits a moment for their end.

    Ray may be starting: each is halted before the next look, so that none begets another in between, whom
    nobody would find once its parent is gone.
    """
    found: set[psutil.Process] = set()
    while new := set(psutil.Process().children(recursive=True)) - found - set(others):
        for process in new:
            with suppress(psutil.Error):
                process.suspend()
        found |= new
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    until = time.monotonic() + KILLED_S
    while any(map(lives, found)) and time.monotonic() < until:
        time.sleep(0.01)


def _tell(line: str) -> None:
    """Stdout is for results, and a worker that we ended is no news."""
    if ENDED_BY_US not in line:
        say(event(line))


def _keep_others_out() -> None:
    """A token for a Ray of our own, whose ports every user of this machine reaches.

    It goes by the environment to Ray's processes: Ray's own would be a file that everyone on this
    machine may read. Raises `ConfigError` where tokens are switched off.
    """
    check_mode()
    if not any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def admits_anyone(address: str) -> bool:
    """Whether a cluster, by its GCS's host:port, answers someone without a token.

    Asked of the cluster itself, for Ray joins an open one without a word, whatever token is set here.
    No answer counts as a closed door: with RAY_USE_TLS it wants a certificate.
    """
    # Directly, as Ray does.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        alive = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            alive(b"", timeout=ANSWER_S)
        except grpc.RpcError:
            return False
    return True


def _keep_out_of_open() -> None:
    """Leave a cluster that was joined and is open. Raises `ConfigError`."""
    address = ray.get_runtime_context().gcs_address
    if os.environ.get(OPEN_CLUSTER) == "1" or not admits_anyone(address):
        return
    ray.shutdown()
    raise ConfigError(
        f"RAY_ADDRESS: the cluster must ask for a token, got an answer from {address} without one: "
        "whoever reaches it runs code there with its credentials. Start it with RAY_AUTH_MODE=token; "
        f"or set {OPEN_CLUSTER}=1 where the network lets nobody else in"
    )
