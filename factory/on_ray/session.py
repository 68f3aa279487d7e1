"""Join the Ray cluster that is there, or start one on this machine."""

import os

import ray

from schemas.config import Compute


def connect(compute: Compute) -> None:
    """Join where RAY_ADDRESS names a cluster (inside a job it does); otherwise start a local one.

    A local cluster counts as many CPUs and GPUs as the workers ask for where the machine shows
    fewer: `cpus_per_worker` is bookkeeping, and threads are set apart from it.
    """
    if ray.is_initialized():
        return
    options: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not os.environ.get("RAY_ADDRESS"):
        wanted = int(compute.cpus_per_worker * compute.max_workers) + 1
        options |= {"num_cpus": max(wanted, os.cpu_count() or 1), "include_dashboard": False}
    ray.init(**options)
