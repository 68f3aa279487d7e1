"""The nodes of a cluster, as its head tells them, and how many of them have a GPU as time goes on."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.access import ClusterUnavailable, get_json

MOST = 10_000
"""Nodes that the head is asked for; it lists 100 by itself."""
LOOK_EVERY_S = 0.5


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


class GpuNodes(threading.Thread):
    """Looks at how many nodes have a GPU until it is closed; a look that fails is passed over."""

    def __init__(self, address: str, token: str | None, tell: Callable[[int], None]) -> None:
        """`tell` hears each new number, the first among them."""
        super().__init__(daemon=True)
        self._address, self._token, self._tell = address, token, tell
        self._closed, self._begun = threading.Event(), time.monotonic()
        self.seen: list[tuple[float, int]] = []
        """Seconds since the begin and how many, whenever that changed."""

    def clock(self) -> float:
        """Seconds since the begin, as in `seen`."""
        return round(time.monotonic() - self._begun, 1)

    def count(self) -> int:
        """How many there are now. Raises as `get_json`."""
        return sum(node.gpus > 0 for node in living_nodes(self._address, self._token))

    @property
    def most(self) -> int:
        """That were seen at once."""
        return max((count for _, count in self.seen), default=0)

    def run(self) -> None:
        """Until it is closed."""
        while not self._closed.wait(LOOK_EVERY_S):
            try:
                count = self.count()
            except ClusterUnavailable:
                continue
            if not self.seen or self.seen[-1][1] != count:
                self.seen.append((self.clock(), count))
                self._tell(count)

    def wait_for_none(self, seconds: float) -> int:
        """How many are left once all had so long to go. Raises as `get_json`."""
        ends = time.monotonic() + seconds
        while (left := self.count()) and time.monotonic() < ends:
            time.sleep(LOOK_EVERY_S)
        return left

    def close(self) -> None:
        """End the looks."""
        self._closed.set()
        self.join()
