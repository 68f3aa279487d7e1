"""The nodes of a cluster, as its head tells them."""

from dataclasses import dataclass

from cluster.access import ClusterUnavailable, get_json

MOST = 10_000
"""Nodes that the head is asked for; it lists 100 by itself."""


@dataclass(frozen=True)
class Node:
    """A node that lives."""

    id: str
    gpus: float
    is_head: bool


def living_nodes(address: str, token: str | None) -> list[Node]:
    """All nodes that live, the head among them. Raises as `get_json`."""
    query = f"limit={MOST}&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
    answer = get_json(f"{address}/api/v0/nodes?{query}", token)
    try:
        return [
            Node(
                found["node_id"],
                (found["resources_total"] or {}).get("GPU", 0.0),
                found["is_head_node"],
            )
            for found in answer["data"]["result"]["result"]
        ]
    except (KeyError, TypeError, AttributeError):
        raise ClusterUnavailable(f"{address}: must list its nodes, got another answer") from None
