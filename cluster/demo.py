"""`make cluster-demo`: a cluster on this machine that scales, a chain on it as one job, and its end.

    python -m cluster.demo [OUT]

OUT is a folder of its own for each start (`runs/cluster-demo-...`) unless it is given. The cluster begins
with its head alone. Ray's autoscaler starts up to four nodes with a GPU in name while there is work, and
ends them when there is none; they compute on this machine's CPUs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.interruption import Interruption
from cluster.local import LocalCluster, local_cluster
from cluster.nodes import GpuNodes
from factory.console.progress import duration
from factory.console.say import print_facts, say
from factory.console.signals import INCOMPLETE

CHAIN = Path(__file__).parent / "chains" / "demo.yaml"
NODES = 4
LEAST = 2
"""That must have been there at once: else nothing was shown, as where all steps were done before."""
BACK_S = 120.0
"""How long nodes may take to be ended when there is nothing left to do."""


@dataclass(frozen=True)
class Scaling:
    """A cluster that runs, and what its clients need."""

    cluster: LocalCluster
    nodes: GpuNodes
    first: int
    """GPU nodes at its begin."""
    file: Path
    """A cluster file."""
    environment: dict[str, str]
    """Names the file with its token."""


@contextmanager
def scaling_cluster(most: int, tell: Callable[[int], None]) -> Iterator[Scaling]:
    """A cluster of this machine with 0 to `most` GPU nodes, gone afterwards; `tell` hears each new number.

    Raises `ClusterUnavailable`.
    """
    # A head resolves `python` on its PATH, as the image's would.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with local_cluster(most) as cluster, tempfile.TemporaryDirectory() as folder:
        file, token = Path(folder, "cluster.yaml"), Path(folder, "token")
        file.write_text(f"address: {cluster.address}\n")
        token.touch(mode=0o600)
        token.write_text(cluster.token)
        nodes = GpuNodes(cluster.address, cluster.token, tell)
        first = nodes.count()
        nodes.start()
        try:
            yield Scaling(cluster, nodes, first, file, {"RAY_AUTH_TOKEN_PATH": str(token)})
        finally:
            nodes.close()


def chain_to_its_end(
    words: Sequence[str], environment: Mapping[str, str], interruption: Interruption
) -> int:
    """`editmill chain`, to its exit code; a first signal lets it drain."""
    # In a session of its own a key that is pressed reaches it once, by us.
    chain = subprocess.Popen(
        [sys.executable, "-m", "editmill", "chain", *words],
        env=environment,
        start_new_session=True,
    )
    interruption.stop = chain.terminate
    return chain.wait()


def main(out: Path) -> int:
    """As `demonstrate`; 3 where a signal ended it, the cluster too."""
    with Interruption() as interruption:
        try:
            return demonstrate(out, interruption)
        except KeyboardInterrupt:
            return INCOMPLETE


def demonstrate(out: Path, interruption: Interruption) -> int:
    """Run the chain below `out`; its exit code, or 1 where nodes were left or none came besides a first."""
    begun = time.monotonic()
    say(f"starting a cluster of one head and 0 to {NODES} GPU nodes on this machine")
    with scaling_cluster(NODES, lambda count: say(f"GPU nodes: {count}")) as scaling:
        nodes, cluster = scaling.nodes, scaling.cluster
        say(f"it runs at {cluster.address} (process {cluster.pid})")
        words = [str(CHAIN), "--cluster", str(scaling.file), "--root", str(out.resolve())]
        code = chain_to_its_end(words, os.environ | scaling.environment, interruption)
        say("the job has ended; its nodes have nothing to do")
        left = nodes.wait_for_none(BACK_S)
        say(f"ending process {cluster.pid} and those that it started")
    print_facts(
        {
            "exit code": code,
            "GPU nodes before": scaling.first,
            "GPU nodes at most": nodes.most,
            "GPU nodes left": left,
            "time": duration(time.monotonic() - begun),
            "results": out,
        }
    )
    return code or int(left > 0 or nodes.most < LEAST)


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2] or [f"runs/cluster-demo-{time.strftime('%Y%m%d-%H%M%S')}"])))
