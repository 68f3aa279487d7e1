"""A Ray cluster on this machine for one try: protected by a token, reachable from nowhere else."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Ray starts a family of processes; this knows it, and a reused number from one of the family.
import psutil

from cluster.access import ClusterUnavailable, get_json
from factory.console.child import free_port

START_S = 180.0
"""Longest wait for the head to answer."""
END_S = 15.0
"""How long processes may take to end before they are killed."""
CPUS = 8
"""CPUs offered at least; in Ray they are bookkeeping, and threads are set apart from them."""
OBJECT_STORE_BYTES = 256 * 2**20
"""Little, because jobs send small rows only."""


@dataclass(frozen=True)
class LocalCluster:
    """A running cluster."""

    address: str
    token: str
    pid: int


@contextmanager
def local_cluster(gpu_nodes: int = 0) -> Iterator[LocalCluster]:
    """Start a cluster, and end every process of it afterwards.

    With `gpu_nodes` it begins with its head alone, and Ray's autoscaler starts and ends up to so many nodes
    (`fake_nodes`). Raises `ClusterUnavailable` when it does not come up.
    """
    # Short, because the paths of Ray's sockets may have no more than 107 characters; and ours
    # alone, which Ray's own folder in it is not: Ray lets everyone write there.
    folder = Path(tempfile.mkdtemp(prefix="em-", dir="/tmp"))
    token = secrets.token_hex(32)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(token)
    port = free_port()
    cpus = max(CPUS, os.cpu_count() or 1)
    options: dict[str, object] = {"port": 0}
    environment: dict[str, str] = {}
    if gpu_nodes:
        from cluster.fake_nodes import scaling_options

        options, environment = scaling_options(folder, free_port(), gpu_nodes, cpus)
    log = folder / "head.log"
    family: set[psutil.Process] = set()
    with log.open("wb") as output:
        head = subprocess.Popen(
            _command(folder, port, {"num-cpus": cpus, **options}),
            env=_environment(folder) | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the job, which must drain before its cluster goes.
            start_new_session=True,
        )
    try:
        cluster = LocalCluster(f"http://127.0.0.1:{port}", token, head.pid)
        _wait(cluster, head, log)
        family |= _children(head.pid)
        yield cluster
    finally:
        _end(head, family)
        shutil.rmtree(folder, ignore_errors=True)


def _command(folder: Path, port: int, more: Mapping[str, object]) -> list[str]:
    options = {
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        # Free ports instead of fixed ones, which another Ray on this machine may hold.
        "dashboard-agent-listen-port": 0,
        "metrics-export-port": 0,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": folder / "ray",
        **more,
    }
    return [
        *(sys.executable, "-m", "ray.scripts.scripts"),
        *("start", "--head", "--block", "--disable-usage-stats"),
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def _environment(folder: Path) -> dict[str, str]:
    """Ours without its own ideas about Ray; jobs and workers inherit it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    package = str(Path(__file__).resolve().parents[1])
    paths = [package, os.environ.get("PYTHONPATH", "")]
    return environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        # Otherwise Ray turns 127.0.0.1 into this machine's address and listens to the network.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _wait(cluster: LocalCluster, head: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            get_json(f"{cluster.address}/api/version", cluster.token)
            return
        except ClusterUnavailable:
            if head.poll() is not None or time.monotonic() > until:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise ClusterUnavailable(f"the local cluster did not start:\n{tail}") from None
            time.sleep(0.3)


def _children(pid: int) -> set[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return set(psutil.Process(pid).children(recursive=True))
    return set()


def _end(head: "subprocess.Popen[bytes]", family: set[psutil.Process]) -> None:
    """Ask the head, which ends the others; then kill whoever of the family is left."""
    family |= _children(head.pid)
    head.terminate()
    try:
        head.wait(END_S)
    except subprocess.TimeoutExpired:
        family |= _children(head.pid)
        head.kill()
        head.wait()
    _, left = psutil.wait_procs(list(family), timeout=END_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
