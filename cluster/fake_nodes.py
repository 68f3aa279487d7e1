"""Nodes with a GPU in name alone, on this machine: Ray's autoscaler starts and ends them, as in a cloud.

They come from the provider with which Ray tests its autoscaler. `ray.cluster_utils.AutoscalingCluster`,
which wraps it, reads a file that no wheel holds and ends every Ray of the host.
"""

import json
from pathlib import Path
from typing import Any

from factory.on_ray.ray_internals import fake_head_environment, fake_node_provider

HEAD = "ray.head.default"
GPU = "gpu"
IDLE_S = 6.0
"""How long a node may have nothing to do before it is ended."""
LOOK_EVERY_S = 1
"""How often it is seen what runs and what waits."""
NODE_BYTES = 80 * 2**20
"""Object store of a node: the least that Ray takes."""
UNUSED = {
    "auth": {}, "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False,
    "initialization_commands": [], "setup_commands": [], "head_setup_commands": [],
    "worker_setup_commands": [], "cluster_synced_files": [], "rsync_exclude": [], "rsync_filter": [],
    "head_start_ray_commands": [], "worker_start_ray_commands": [],
}  # fmt: skip
"""What Ray's schema asks for, of commands that no node on this machine needs."""


def scaling_config(gcs: str, most: int, head_cpus: int) -> dict[str, Any]:
    """What Ray's launcher would be given: a head, and 0 to `most` GPU nodes. `gcs` is host:port."""
    provider, head = fake_node_provider()
    node = {"CPU": 2, "GPU": 1, "object_store_memory": NODE_BYTES}
    return {
        **UNUSED,
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": IDLE_S / 60,
        "upscaling_speed": 1.0,
        "head_node_type": HEAD,
        "provider": {
            "type": "external",
            "module": provider,
            "head_node_id": head,
            "gcs_address": gcs,
            "launch_multiple": True,
        },
        "available_node_types": {
            HEAD: {"resources": {"CPU": head_cpus}, "node_config": {}, "max_workers": 0},
            GPU: {"resources": node, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
    }


def scaling_options(
    folder: Path, gcs_port: int, most: int, head_cpus: int
) -> tuple[dict[str, object], dict[str, str]]:
    """Options and environment that `ray start --head` takes beside its own."""
    file = folder / "nodes.json"
    file.write_text(json.dumps(scaling_config(f"127.0.0.1:{gcs_port}", most, head_cpus)))
    options: dict[str, object] = {"port": gcs_port, "num-gpus": 0, "autoscaling-config": file}
    return options, fake_head_environment(LOOK_EVERY_S)
