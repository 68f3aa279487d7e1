"""The script on a real Slurm of two nodes: `sbatch`, `srun`, `ray symmetric-run`, `scancel`."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.shipped import text_of
from tests.cluster.slurm_site import SlurmSite

can_run = os.geteuid() == 0 and shutil.which("unshare") and shutil.which("apt-get")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_run, reason="needs root's rights, unshare and Debian's packages"),
]

ON_TWO_CPU_WORKERS = [
    *("--set", "compute.device=cpu", "--set", "compute.gpus_per_worker=0"),
    *("--set", "compute.min_workers=2", "--set", "compute.max_workers=2"),
]


@pytest.fixture(scope="module")
def site() -> Iterator[SlurmSite]:
    # Short, and outside the folder that pytest keeps.
    folder = Path(tempfile.mkdtemp(prefix="em-slurm-", dir="/var/tmp"))
    site = SlurmSite(folder)
    try:
        site.up()
        yield site
    finally:
        site.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def script(site: SlurmSite) -> Path:
    """Filled in for nodes without GPUs."""
    text = text_of("slurm/editmill.sbatch").replace("#SBATCH --gpus-per-node=4\n", "")
    environment = Path(sys.prefix)
    file = site.home / "editmill.sbatch"
    file.write_text(text.replace("FILL-IN/bin/activate", f"{environment}/bin/activate"))
    return file


def generate(out: Path, limit: int) -> list[str]:
    words = ["generate", "--triplets", "miniature", "--out", str(out), "--limit", str(limit)]
    return words + ON_TWO_CPU_WORKERS


def test_a_verb_runs_over_both_nodes_and_is_stopped_and_resumed(
    site: SlurmSite, script: Path
) -> None:
    out = site.home / "run"
    job = site.submit(script, *generate(out, 8))
    until = time.monotonic() + 300
    while not list(out.glob("commits/**/*.parquet")):
        assert site.state(job) in ("PENDING", "CONFIGURING", "RUNNING"), site.log(job)
        assert time.monotonic() < until, site.log(job)
        time.sleep(1)
    site.run("scancel", "--batch", "--signal=TERM", job)
    assert site.exit_code(job, 120) == 3, site.log(job)
    assert list(site.home.glob(".editmill-*")) == []

    again = site.submit(script, *generate(out, 8))
    assert site.exit_code(again, 400) == 0, site.log(again)
    assert list(out.glob("manifest/*.json"))


def test_wrong_input_ends_with_2(site: SlurmSite, script: Path) -> None:
    job = site.submit(script, "generate", "--triplets", "no-such-file", "--out", "run-2")
    assert site.exit_code(job, 200) == 2, site.log(job)
