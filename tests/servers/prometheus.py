"""A real Prometheus for tests, unpacked from Debian's package, on 127.0.0.1."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.servers.ceph import unpack_packages
from tests.servers.processes import ServerFailed, cache_folder, finish, free_ports

PACKAGES = ("prometheus",)
CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{rules}']
scrape_configs:
  - job_name: ray
    file_sd_configs: [{{files: ['{targets}'], refresh_interval: 1s}}]
"""


class Prometheus:
    """One that runs, and Debian's `promtool` beside it."""

    def __init__(self, programs: Path, port: int) -> None:
        self._bin = programs / "usr" / "bin"
        self.port = port
        self.begun = time.time()

    def get(self, path: str, **asked: str) -> Any:
        """An answer of its API."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}?{urlencode(asked)}", timeout=10) as reply:
            return json.load(reply)

    def query(self, query: str) -> list[dict[str, Any]]:
        """What a query finds now; raises where it is none."""
        answer = self.get("/api/v1/query", query=query)
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def query_range(self, query: str) -> list[dict[str, Any]]:
        """What it found in each second since it began; gauges of what has ended are gone by now."""
        asked = {"query": query, "start": f"{self.begun}", "end": f"{time.time()}", "step": "1"}
        answer = self.get("/api/v1/query_range", **asked)
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def test_rules(self, cases: Path) -> None:
        """Have `promtool` play cases. Raises `ServerFailed` where alerts are not as these say."""
        finish([str(self._bin / "promtool"), "test", "rules", str(cases)], 60)

    def check_rules(self, rules: Path) -> str:
        """What `promtool` says of rules. Raises `ServerFailed` where they are wrong."""
        return finish([str(self._bin / "promtool"), "check", "rules", str(rules)], 60)


@contextmanager
def prometheus(folder: Path, rules: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus that reads one endpoint, as Ray's own list of endpoints names it."""
    programs = unpack_packages(cache_folder("PROMETHEUS"), PACKAGES)
    (port,) = free_ports(1)
    targets, configuration = folder / "targets.json", folder / "prometheus.yml"
    targets.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": [target]}]))
    configuration.write_text(CONFIGURATION.format(rules=rules, targets=targets))
    command = [
        str(programs / "usr" / "bin" / "prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        (folder / "out").open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out) as it,
    ):
        found = Prometheus(programs, port)
        try:
            _wait(it, found, folder / "out")
            yield found
        finally:
            it.terminate()


def _wait(process: "subprocess.Popen[bytes]", found: Prometheus, out: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise ServerFailed(f"prometheus ended: {out.read_text()[-2000:]}")
        try:
            with urlopen(f"http://127.0.0.1:{found.port}/-/ready", timeout=5):
                return
        except OSError:
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    raise ServerFailed(f"prometheus is not ready: {out.read_text()[-2000:]}")
