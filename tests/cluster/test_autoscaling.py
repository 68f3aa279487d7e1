"""GPU nodes come when there is work and go when there is none, and one that dies takes nothing with it."""

from pathlib import Path

import pytest
from PIL import Image
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.fake_nodes import scaling_config
from tests.cluster.autoscaling import Trial, editing, generating, job

NODES = 4


def scaled(trial: Trial) -> None:
    assert trial.code == 0, trial.words
    assert trial.first == 0
    assert trial.most == NODES, trial.seen
    assert trial.killed == 1
    assert trial.left == 0, trial.seen


def test_rays_own_check_takes_the_nodes():
    config = prepare_config(scaling_config("127.0.0.1:1", 4, 8))
    validate_config(config)
    assert config["available_node_types"]["gpu"]["max_workers"] == 4


@pytest.mark.slow
def test_generate_begins_without_a_node_and_leaves_none(tmp_path: Path):
    trial = job(NODES, generating(tmp_path / "run", 36, NODES), kill_at=3)
    scaled(trial)
    assert trial.result["committed_units"] == 36
    assert sum(trial.result["counts"].values()) == 36 * 4


@pytest.mark.slow
def test_edit_begins_without_a_node_and_leaves_none(tmp_path: Path):
    pictures = tmp_path / "in"
    pictures.mkdir()
    for number in range(120):
        Image.new("RGB", (64, 64), (number, 255 - number, 90)).save(pictures / f"{number:03d}.png")
    trial = job(NODES, editing(pictures, tmp_path / "out", NODES), kill_at=3)
    scaled(trial)
    assert len(list((tmp_path / "out").glob("*.png"))) == 120
