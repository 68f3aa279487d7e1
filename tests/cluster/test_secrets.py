"""The nodes' keys: the main job as a job on a real cluster, and then a look everywhere."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.access import get_json
from cluster.local import LocalCluster
from factory.storage.open import open_store
from tests.cluster.conftest import CANARY, KEYS
from tests.factory.storage.conftest import bucket_of, moto
from tests.servers.fault_proxy import FaultProxy, even_odds
from tests.servers.fixtures import S3Access

__all__ = ["moto"]

SOURCE = """
from tests.stub_source import StubSource

def make(recipe, compute):
    print("a worker's own words", flush=True)
    return StubSource()
"""
PROGRAM = """
import os, sys, traceback
from functools import partial
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.storage.open import open_store
from planted_source import make
from schemas.config import Config
from tests.making import run_job, run_on_ray
from tests.stub_source import recipe, triplets

run = create_run(open_store(sys.argv[2]), recipe())
plan = write_plan(run, triplets(6), 2)
config = Config(recipe=run.recipe, compute={"device": "cpu", "gpus_per_worker": 0.0})
result = run_job(run, plan, config, partial(run_on_ray, make_source=make))
assert os.environ["AWS_SECRET_ACCESS_KEY"].startswith("canary")
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
try:
    open_run(sys.argv[2])
except Exception:
    traceback.print_exc()
sys.exit(result.exit_code)
"""


@pytest.fixture
def endpoint(moto: S3Access, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server that fails now and then."""
    moto.export(monkeypatch)
    odds = even_odds(0.02, late=0.0, delayed=0.0)
    with FaultProxy(moto.endpoint, odds, seed=2) as proxy:
        yield proxy.endpoint


@pytest.mark.long
def test_a_job_on_a_cluster_shows_its_nodes_keys_nowhere(
    submit: Callable[..., "subprocess.CompletedProcess[str]"],
    head: LocalCluster,
    token_file: Path,
    tmp_path: Path,
    endpoint: str,
    moto: S3Access,
) -> None:
    program = tmp_path / "program"
    program.mkdir()
    (program / "editmill.py").write_text(PROGRAM)
    (program / "planted_source.py").write_text(SOURCE)
    file = tmp_path / "cluster.yaml"
    variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
    file.write_text(
        json.dumps({"address": head.address, "working_dir": "program", "env_vars": variables})
    )
    out = f"s3://{bucket_of(moto)}/{secrets.token_hex(6)}"
    # The operator's own shell holds keys as well.
    done = submit(file, "--", "generate", out, token_path=token_file, **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "StorageUnavailable" in said
    assert CANARY not in said
    jobs = json.dumps(get_json(f"{head.address}/api/jobs/", head.token))
    assert endpoint in jobs
    assert CANARY not in jobs
    store = open_store(out)
    stored = {info.key: store.get(info.key) for info in store.list()}
    assert "RUN.json" in stored
    for key, data in stored.items():
        assert CANARY.encode() not in data, key
    processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            assert CANARY not in " ".join(process.cmdline())
    words = psutil.Process(head.pid).cmdline()
    folder = next(word for word in words if word.startswith("--temp-dir=")).partition("=")[2]
    files = [path for path in Path(folder).parent.rglob("*") if path.is_file()]
    logs = [path.read_bytes() for path in files]
    assert any(b"a worker's own words" in log for log in logs)
    for path, log in zip(files, logs, strict=True):
        assert CANARY.encode() not in log, path
