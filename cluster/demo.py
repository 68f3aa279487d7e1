"""`make cluster-demo`: a cluster on this machine that scales, a chain on it as one job, and its end.

    python -m cluster.demo [OUT]

The cluster begins with its head alone. Ray's autoscaler starts up to four nodes with a GPU in name while
there is work, and ends them when there is none; they compute on this machine's CPUs.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.local import local_cluster
from cluster.nodes import GpuNodes
from factory.console.progress import duration
from factory.console.say import print_facts, say

CHAIN = Path(__file__).parent / "chains" / "demo.yaml"
NODES = 4
BACK_S = 120.0
"""How long nodes may take to be ended when there is nothing left to do."""


def demonstrate(out: Path) -> int:
    """Run the chain below `out`; its exit code, or 1 where nodes were left."""
    begun = time.monotonic()
    # A head resolves `python` on its PATH, as the image's would.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    say(f"starting a cluster of one head and 0 to {NODES} GPU nodes on this machine")
    with local_cluster(NODES) as cluster, tempfile.TemporaryDirectory() as folder:
        say(f"it runs at {cluster.address} (process {cluster.pid})")
        file, token = Path(folder, "cluster.yaml"), Path(folder, "token")
        file.write_text(f"address: {cluster.address}\n")
        token.touch(mode=0o600)
        token.write_text(cluster.token)
        nodes = GpuNodes(cluster.address, cluster.token, lambda count: say(f"GPU nodes: {count}"))
        first = nodes.count()
        nodes.start()
        words = [str(CHAIN), "--cluster", str(file), "--root", str(out.resolve())]
        ended = subprocess.run(
            [sys.executable, "-m", "editmill", "chain", *words],
            env=os.environ | {"RAY_AUTH_TOKEN_PATH": str(token)},
        )
        say("the job has ended; its nodes have nothing to do")
        left = nodes.wait_for_none(BACK_S)
        nodes.close()
        say(f"ending process {cluster.pid} and those that it started")
    print_facts(
        {
            "exit code": ended.returncode,
            "GPU nodes before": first,
            "GPU nodes at most": nodes.most,
            "GPU nodes left": left,
            "time": duration(time.monotonic() - begun),
            "results": out,
        }
    )
    return ended.returncode or int(left > 0)


if __name__ == "__main__":
    sys.exit(demonstrate(Path(*sys.argv[1:2] or ["runs/cluster-demo"])))
