"""What a training knows of its dataset: sealed runs that grow, files that change, who opens what."""

import numpy as np
import pytest

from factory.dataset import dataset as dataset_module
from factory.dataset.dataset import Dataset
from factory.dataset.files import find_files
from factory.errors import RunMismatch
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import seal
from factory.storage.local import LocalStore
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets
from tests.trainer.small import png, small, state_of, train, write_pairs
from trainer.fit import fit, prepare
from trainer.latents.encode import encode_dataset


@pytest.fixture
def run(tmp_path):
    """Of which half is sealed."""
    run = create_run(LocalStore(tmp_path / "run"), recipe())
    plan = write_plan(run, triplets(8), 2)
    grow(run, plan, range(2))
    return run, plan


def grow(run, plan, units):
    for unit in units:
        generate_unit(run, plan, unit, StubSource())
    seal(run, plan, partial=True)


@pytest.mark.long
def test_a_sealed_run_is_trained_on_and_what_is_sealed_later_is_left_to_others(run, tmp_path):
    run, plan = run
    config = small(law={"size_px": 8, "steps": 2})
    assert not train(config, run.uri, tmp_path / "out", should_stop=stop_at(1)).done
    encode_dataset(config, run.uri, str(tmp_path / "latents"))
    known = Dataset.open(run.uri)
    grow(run, plan, range(2, 4))
    assert len(Dataset.open(run.uri)) > len(known)
    assert train(config, run.uri, tmp_path / "out").done
    assert encode_dataset(config, run.uri, str(tmp_path / "latents")).rows == len(known)
    # The same training, had nothing been sealed meanwhile.
    assert train(config, str(half_of(run, tmp_path)), tmp_path / "other").done
    ours, theirs = state_of(tmp_path / "out", 2), state_of(tmp_path / "other", 2)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def stop_at(step):
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) > step

    return should_stop


def half_of(run, tmp_path):
    half = create_run(LocalStore(tmp_path / "half"), run.recipe)
    grow(half, write_plan(half, triplets(8), 2), range(2))
    return tmp_path / "half"


def test_other_pictures_under_the_same_names_and_captions_are_another_dataset(tmp_path):
    config, here = small(), tmp_path / "pairs"
    prepare(config, write_pairs(here), str(tmp_path / "out"))
    encode_dataset(config, str(here), f"{here}/latents")
    digest = Dataset.open(str(here)).digest
    write_pairs(here, edited_image={"bytes": png(999, (20, 20)), "path": "b"})
    assert Dataset.open(str(here)).digest != digest
    with pytest.raises(RunMismatch, match="holds a training on another dataset"):
        prepare(config, str(here), str(tmp_path / "out"))
    said = []
    assert (
        prepare(config, str(here), str(tmp_path / "other"), said.append)[0].reading.latents is None
    )
    assert "latents by other models or of other pairs" in said[0]


@pytest.mark.long
def test_a_later_start_reads_no_captions_again(tmp_path, monkeypatch):
    config, dataset = small(), write_pairs(tmp_path / "pairs")
    prepare(config, dataset, str(tmp_path / "out"))
    monkeypatch.setattr(dataset_module, "scan", None)
    assert prepare(config, dataset, str(tmp_path / "out"))[1].uri == dataset
    assert train(config, dataset, tmp_path / "out").done


def test_a_training_looks_for_its_files_once(tmp_path, monkeypatch):
    config, looked = small(law={"steps": 1}), []

    def find(*asked):
        looked.append(asked)
        return find_files(*asked)

    monkeypatch.setattr(dataset_module, "find_files", find)
    prepared = prepare(config, write_pairs(tmp_path / "pairs"), str(tmp_path / "out"))
    assert fit(*prepared, say=lambda line: None).done
    assert looked == [(str(tmp_path / "pairs"), None)]
