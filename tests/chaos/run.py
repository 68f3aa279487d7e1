"""Kill anything, at any time, while the store has its worst days; then look at the dataset.

    python -m tests.chaos --worker-kills 12 --driver-kills 3 --node-kills 1 --drain-notices 3

Real Ray: several raylets on this machine, the driver a process of its own, S3 behind a fault proxy.
Rounds of runs are made until every kind of kill and of fault was had often enough; after each round
the dataset is held against the same run left in peace. Prints the figures as JSON.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tests.chaos.nodes import Nodes
from tests.chaos.series import Amounts, Chaos
from tests.chaos.servers import BUCKET, s3_server
from tests.chaos.subjects.subject import class_of
from tests.environment import python_path
from tests.servers.fault_proxy import Fault, FaultProxy, even_odds

ODDS = even_odds(0.04, conflict=0.08, late=0.05, request_cut=0.05, reply_cut=0.06)
"""A third of all writes and a quarter of all reads go wrong."""


def chaos(amounts: Amounts, server: str = "moto", seed: int = 0) -> dict[str, Any]:
    """Everything once: the figures."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="editmill-chaos-") as folder,
        s3_server(server) as upstream,
        FaultProxy(upstream, ODDS, seed) as proxy,
    ):
        # The workers take it from their raylet, so it stands before the first node starts.
        os.environ |= {"AWS_ENDPOINT_URL": proxy.endpoint, "PYTHONPATH": python_path()}
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # Room for a twin's workers, too.
        drivers = 2 if amounts.twins else 1
        nodes = Nodes(amounts.nodes, cpus=-(-drivers * amounts.workers // amounts.nodes))
        try:
            series = Chaos(amounts, f"s3://{BUCKET}", upstream, proxy, nodes, Path(folder), seed)
            series.run()
        finally:
            nodes.close()
    done, faults = series.done, {fault.value: proxy.counts[fault] for fault in Fault}
    layout, found = class_of(amounts.subject).layout, asdict(series.found)
    found |= {f"{layout.outcome}s": found.pop("outcomes"), layout.counts[0]: found.pop("kept")}
    return {
        "worker_kills": done["worker"],
        "driver_kills": done["driver"],
        "node_kills": done["node"],
        "drain_notices": done["drain"],
        "twins": done["twin"],
        "store_faults": series.least_fault,
        "store_faults_by_kind": faults,
        "late_writes_refused": proxy.refused_late,
        "requests": sum(proxy.counts.values()) - sum(faults.values()),
        "rounds": done["rounds"],
        "sealed_rounds": done["sealed_rounds"],
        "driver_starts": done["driver_starts"],
        "chaos_seconds": round(time.monotonic() - started),
        "server": server,
        **found,
    }


def main() -> int:
    """The command line; ends with 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description="Kill anything, then look at the dataset.")
    parser.add_argument("--server", default="moto", help="moto, ceph, swift, or an endpoint")
    parser.add_argument("--seed", type=int, default=0)
    for each in fields(Amounts):
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=type(each.default), default=each.default)
    given = vars(parser.parse_args())
    server, seed = given.pop("server"), given.pop("seed")
    figures = chaos(Amounts(**given), server, seed)
    print(json.dumps(figures))
    wrong = ("lost", "duplicated", "torn", "recomputed", "falsely_failed", "strays", "paid_twice")
    return int(any(figures[name] for name in wrong))
