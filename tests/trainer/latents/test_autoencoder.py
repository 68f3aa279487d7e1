"""`law.autoencoder`: a training with another autoencoder, as if it were the model's own."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from factory.edits.editors.ip2p import load_editor
from schemas.recipe import ModelSource
from tests.trainer.encoded import model
from tests.trainer.small import objects, small, train, write_pairs
from trainer.latents.encode import encode_dataset

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def laws(tmp_path_factory):
    """The model with its own autoencoder, with another one, and with that one in its own's place."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(Path(model(1), "vae"), folder / "other")
    config = folder / "other" / "config.json"
    fields = json.loads(config.read_bytes()) | {"scaling_factor": 0.5}
    config.write_text(json.dumps(fields))
    shutil.copytree(model(), folder / "replaced")
    shutil.rmtree(folder / "replaced" / "vae")
    shutil.copytree(folder / "other", folder / "replaced" / "vae")
    few = {"steps": 2}
    return {
        "own": few,
        "other": few | {"autoencoder": {"source": str(folder / "other")}},
        "replaced": few | {"model": {"source": str(folder / "replaced")}},
    }


@pytest.mark.long
def test_it_is_trained_with_and_written_into_the_editor(laws, tmp_path):
    dataset = write_pairs(tmp_path / "pairs", prompts=4, pairs=1)
    sheets = {"sheet_every": 2, "sampler": {"steps": 2}}
    for name, law in laws.items():
        assert train(small(law=law, watching=sheets), dataset, tmp_path / name).done
    own, other, replaced = (objects(tmp_path / name, "editor") for name in laws)
    assert other == replaced
    changed = {name for name in own if own[name] != other[name]}
    # Other latents made other gradients.
    assert {name.split("/")[1] for name in changed} == {"unet", "vae"}
    assert objects(tmp_path / "other", "sheets") == objects(tmp_path / "replaced", "sheets")
    assert objects(tmp_path / "other", "sheets") != objects(tmp_path / "own", "sheets")
    editor = load_editor(ModelSource(source=str(tmp_path / "other" / "editor")), "cpu")
    assert editor.networks.autoencoder.scaling == 0.5


def test_encode_makes_its_latents(laws, tmp_path):
    dataset = write_pairs(tmp_path / "pairs", prompts=4, pairs=1)
    for name, law in laws.items():
        encode_dataset(small(law=law), dataset, str(tmp_path / name))
    own, other, replaced = (objects(tmp_path / name, "data/") for name in laws)
    assert own
    assert [*other.values()] == [*replaced.values()]
    assert not {*own.values()} & {*other.values()}
