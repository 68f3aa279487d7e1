"""GPU nodes come when there is work and go when there is none, and one that dies takes nothing with it."""

import subprocess
import sys
from pathlib import Path

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.demo import BACK_S, scaling_cluster
from cluster.fake_nodes import scaling_config
from factory.ledger.keys import BESIDE
from factory.storage.key_rules import USERS
from factory.storage.open import open_store
from tests.cluster.autoscaling import ROOT, Trial, draw, editing, generating, job
from tests.cluster.chaining.test_miniature import driver_of, until
from tests.environment import python_path, without_ray
from tests.factory.edits.pictures import file, picture
from tests.factory.storage.conftest import moto, moto_bucket

__all__ = ["moto", "moto_bucket"]
NODES = 4
PICTURES = 80
SMALL = (
    "--set recipe.ip2p.steps=24 --set recipe.unit_images=1 --set compute.device=cpu "
    "--set compute.gpus_per_worker=1"
)


def scaled(trial: Trial, commits: Path, nodes: int = NODES) -> None:
    assert trial.code == 0, trial.words
    # Work is done from the first ready worker on, not once all have come.
    first_commit = min(file.stat().st_mtime for file in commits.rglob("*.parquet"))
    assert trial.came[1] < first_commit, trial.came
    # Of two the second may be there before the first has loaded its models.
    assert first_commit < trial.came[nodes] or nodes == 2, (first_commit, trial.came)
    assert trial.first == 0
    assert trial.most == nodes, trial.seen
    assert trial.killed == 1
    # A node that died is counted for a while. Then there are fewer, and a new one comes in its place.
    after = [count for at, count in trial.seen if at >= trial.killed_at]
    fell = next(n for n in range(1, len(after)) if after[n] < after[n - 1])
    assert max(after[fell + 1 :], default=0) > after[fell], trial.seen
    assert trial.left == 0, trial.seen


def left_before_the_end(trial: Trial) -> None:
    """Those that had nothing to do any more went while the driver and all its objects were still there."""
    last = max(at for at, count in trial.seen if count == trial.most)
    after = [(at, count) for at, count in trial.seen if at > last]
    assert any(at < trial.ended_at and count < trial.most for at, count in after), trial.seen


def test_rays_own_check_takes_the_nodes():
    config = prepare_config(scaling_config("127.0.0.1:1", 4, 8))
    validate_config(config)
    assert config["available_node_types"]["gpu"]["max_workers"] == 4


@pytest.mark.long
def test_two_nodes_come_for_work_and_none_stays(tmp_path: Path):
    """Two only, so that CI has time for it; four, with each verb, below."""
    trial = job(2, generating(tmp_path / "run", 36, 2), kill_at=2)
    scaled(trial, tmp_path / "run/commits", 2)
    assert trial.result["committed_units"] == 36


@pytest.mark.slow
def test_generate_begins_without_a_node_and_leaves_none(tmp_path: Path):
    trial = job(NODES, generating(tmp_path / "run", 100, NODES), kill_at=3)
    scaled(trial, tmp_path / "run/commits")
    left_before_the_end(trial)
    assert trial.result["committed_units"] == 100
    assert sum(trial.result["counts"].values()) == 100 * 4


@pytest.mark.slow
def test_edit_begins_without_a_node_and_leaves_none(tmp_path: Path):
    pictures = tmp_path / "in"
    draw(pictures, 120)
    trial = job(NODES, editing(pictures, tmp_path / "out", NODES), kill_at=3)
    scaled(trial, tmp_path / "out" / BESIDE / "commits")
    left_before_the_end(trial)
    assert len(list((tmp_path / "out").glob("*.png"))) == 120


@pytest.mark.slow
def test_the_shipped_chain_edits_a_bucket_on_the_pool_and_goes_on_where_it_was_killed(
    moto_bucket: str, tmp_path: Path
):
    photos = open_store(f"{moto_bucket}/photos", USERS)
    for number in range(PICTURES):
        photos.put(f"{number:03d}.png", file(picture(number, (64, 64))))
    shipped = (ROOT / "cluster/chains/edit.yaml").read_text()
    asked = shipped.replace("s3://FILL-IN", moto_bucket).replace(
        "--preset paper", "--preset miniature"
    )
    asked = asked.replace("max_workers=8", f"max_workers={NODES}")
    chain = tmp_path / "edit.yaml"
    chain.write_text(asked.replace("--max-gpu-hours 100", f"--max-gpu-hours 100 {SMALL}"))
    edits = open_store(f"{moto_bucket}/edit/edited", USERS)

    def commits():
        return list(edits.list(f"{BESIDE}/commits/"))

    with scaling_cluster(NODES, lambda count: None) as scaling:
        words = ["chain", str(chain), "--cluster", str(scaling.file)]
        given = {
            "env": without_ray() | {"PYTHONPATH": python_path()} | scaling.environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }
        process = subprocess.Popen([sys.executable, "-m", "editmill", *words], **given)
        until(lambda: len(commits()) >= 5, process)
        driver_of(scaling.cluster).kill()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 3, said
        made = {info.key: info.modified for info in edits.list()}
        again = subprocess.run(
            [sys.executable, "-m", "editmill", *words], timeout=900, check=False, **given
        )
        left = scaling.nodes.wait_for_none(BACK_S)
    assert again.returncode == 0, again.stdout
    assert "resuming: " in again.stdout
    # How many come before the work ends is the machine's; that all do is shown above.
    assert scaling.nodes.most >= 2
    assert (scaling.first, left) == (0, 0)
    found = {info.key: info.modified for info in edits.list()}
    done = [key for key in found if not key.startswith(BESIDE)]
    assert sorted(done) == [f"{number:03d}.png" for number in range(PICTURES)]
    assert len(commits()) == PICTURES
    # Nothing that a unit left was written twice.
    kept = [key for key in made if key.startswith(f"{BESIDE}/commits/") or key in done]
    assert all(found[key] == made[key] for key in kept)
