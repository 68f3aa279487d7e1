"""What Ray's own autoscaler v2 makes of a cluster's file, with no cluster and no cloud."""

import copy
from typing import Any

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil


def launched(config: Any, workers: int, each: str = "GPU", **state: Any) -> dict[str, int]:
    """The nodes that it starts, by type, when so many workers of a GPU each wait and none is there."""
    read = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    wanted = [ResourceRequestUtil.make({each: 1.0})] * workers
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=read.get_node_type_configs(),
        max_num_nodes=read.get_max_num_nodes(),
        idle_timeout_s=read.get_idle_timeout_s(),
        resource_requests=ResourceRequestUtil.group_by_count(wanted),
        **state,
    )
    reply = ResourceDemandScheduler(None).schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def idle_timeout_s(config: Any) -> float:
    read = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    return float(read.get_idle_timeout_s())
