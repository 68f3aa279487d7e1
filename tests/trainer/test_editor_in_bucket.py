"""An editor that was written to a bucket: trained, judged and gone on with by its address alone."""

import json

import pytest
import torch
from typer.testing import CliRunner

from editmill import app
from factory.edits.editors.ip2p import load_editor
from factory.models.editor import pin_editor
from factory.models.find import placed
from factory.storage.open import open_store
from schemas.recipe import ModelSource
from tests.trainer.small import objects, small, train, write_pairs
from trainer.fit import prepare

torch.set_num_threads(1)


@pytest.fixture
def trained(moto_bucket, tmp_path, monkeypatch):
    """An editor's address, the same editor as a folder, and its dataset."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config, dataset = small(law={"steps": 1}), write_pairs(tmp_path / "pairs")
    out = f"{moto_bucket}/training"
    editor = train(config, dataset, out).editor
    assert editor == f"{out}/editor"
    train(config, dataset, tmp_path / "out")
    return editor, tmp_path / "out" / "editor", dataset


def test_it_is_loaded_and_pinned_as_a_folder_is(trained):
    editor, folder, _ = trained
    pinned, expected = (pin_editor(ModelSource(source=str(of)), 64) for of in (editor, folder))
    ours, theirs = (load_editor(placed(of, "text_to_image"), "cpu") for of in (pinned, expected))
    assert pinned.source == editor
    assert pinned.files == expected.files
    weights = theirs.networks.unet.state_dict()
    assert all(
        torch.equal(weights[name], of) for name, of in ours.networks.unet.state_dict().items()
    )


def test_a_training_goes_on_from_it_wherever_its_workers_run(trained, tmp_path, monkeypatch):
    editor, folder, dataset = trained
    config = small(False, law={"model": {"source": editor}, "steps": 1})
    prepared, *_ = prepare(config, dataset, str(tmp_path / "more"))
    # A worker on another node.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert train(prepared, dataset, tmp_path / "more").done
    local = small(law={"model": {"source": str(folder)}, "steps": 1})
    train(local, dataset, tmp_path / "local")
    more, same = (objects(tmp_path / name, "editor") for name in ("more", "local"))
    assert more == same


@pytest.mark.long
def test_the_command_takes_its_address(trained, tmp_path):
    editor, _, _ = trained
    store = open_store(editor)
    # Of somebody who may write to the bucket; the first is no name that a store lists.
    for key in ("unet/../../planted.json", "unet/pytorch_model.bin"):
        store.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}/{key}", Body=b"{}")
    arguments = ["--editor", editor, "--out", tmp_path / "judged", "--edits", 2, "--json"]
    arguments += ["--preset", "miniature", "--set", "watching.sampler={steps: 2}"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["edits"] == 2
    suffixes = {file.suffix for file in (tmp_path / "cache").rglob("*.*") if file.is_file()}
    assert suffixes == {".json", ".safetensors", ".lock"}
    assert not list((tmp_path / "cache").rglob("planted.json"))
