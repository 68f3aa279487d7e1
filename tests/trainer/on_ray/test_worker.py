"""One worker of a training, without Ray: what it tells the driver, and where it refuses to work."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.errors import InputError, ObjectMissing, RunMismatch, StorageRefused
from factory.storage.local import LocalStore
from schemas.training.fit import Where
from schemas.training.root import RECORD
from tests.trainer.small import png, small, write_pairs
from trainer.fit import Fitted, fit, prepare
from trainer.learning.group import Group
from trainer.on_ray import fit as on_ray
from trainer.on_ray.desk import Desk
from trainer.root.training import begun_dataset


@pytest.fixture
def dataset(tmp_path):
    return write_pairs(tmp_path / "pairs")


@pytest.mark.parametrize("error", [None, RuntimeError, StorageRefused, KeyError])
@pytest.mark.parametrize("leads", [True, False])
def test_only_the_leading_worker_says_that_all_is_stored_however_it_ended(
    desk, work, monkeypatch, leads, error
):
    def act(**_):
        assert ("end",) not in desk.told
        if error is not None:
            raise error("no")
        return Fitted(1, True, "editor", 0)

    monkeypatch.setattr(Group, "leads", leads)
    with suppress(error or ()):
        work(act)
    assert (desk.told.count(("begin", "me")), desk.told.count(("end",))) == (leads, leads)


def test_a_worker_begins_no_training_by_itself(desk, work, dataset, tmp_path, monkeypatch):
    failed = []
    monkeypatch.setattr(desk, "fail", SimpleNamespace(remote=failed.append), raising=False)

    place, out = Dataset.open(dataset).files.place, str(tmp_path / "out")
    with pytest.raises(
        InputError, match="must be a folder that all nodes share, or s3://.*FIT.json"
    ):
        work(lambda **_: Fitted(1, True, "editor", 0), place, out)
    assert [type(error) for error in failed] == [InputError]
    assert not (tmp_path / "out").exists()


def begun(config, dataset, out):
    """As a worker finds it that is given a dataset's place alone."""
    return begun_dataset(LocalStore(out), Dataset.open(dataset).files.place, config)


def test_every_worker_must_find_the_drivers_training(dataset, tmp_path):
    with pytest.raises(InputError, match="all nodes share"):
        begun(small(), dataset, tmp_path / "local")
    prepare(small(law={"seed": 9}), dataset, str(tmp_path / "other"))
    with pytest.raises(RunMismatch, match="another law; differing: seed"):
        begun(small(), dataset, tmp_path / "other")


def test_one_that_finds_it_trains_on_what_the_driver_opened(dataset, tmp_path):
    config, opened, store = prepare(small(law={"steps": 1}), dataset, str(tmp_path / "out"))
    found = begun(config, dataset, tmp_path / "out")
    assert (found.digest, found.prompts, found.rows) == (opened.digest, opened.prompts, opened.rows)
    assert found.pair(3) == opened.pair(3)
    assert fit(config, found, store, say=lambda line: None).done


def test_one_that_has_other_pairs_than_the_driver_ends_it(dataset, tmp_path):
    config, _, store = prepare(small(), dataset, str(tmp_path / "out"))
    # Its machine's folder of this name holds other pictures under the same captions.
    write_pairs(Path(dataset), edited_image={"bytes": png(999), "path": "b"})
    found = begun(config, dataset, tmp_path / "out")
    with pytest.raises(InputError, match=r"part-0\.parquet: must be the file that it was when"):
        fit(config, found, store)


def test_one_that_does_not_find_the_index_ends_it(dataset, tmp_path):
    config, opened, store = prepare(small(), dataset, str(tmp_path / "out"))
    (path,) = (tmp_path / "out" / "dataset").iterdir()
    path.unlink()
    with pytest.raises(InputError, match=r"must be there for every worker; a folder must be one"):
        begun_dataset(store, opened.files.place, config)


def test_a_shared_folder_that_shows_the_record_late_is_listed_first(dataset, tmp_path, monkeypatch):
    config, opened, store = prepare(small(), dataset, str(tmp_path / "out"))
    get, list_, listed = LocalStore.get, LocalStore.list, []

    def late(store, key):
        if key == RECORD and store.uri not in listed:
            raise ObjectMissing("not in this node's cache")
        return get(store, key)

    def look(store, prefix=""):
        listed.append(store.uri)
        return list_(store, prefix)

    monkeypatch.setattr(LocalStore, "get", late)
    monkeypatch.setattr(LocalStore, "list", look)
    assert begun_dataset(store, opened.files.place, config).digest == opened.digest
    assert listed == [store.uri]


def test_what_a_training_did_before_a_restart_is_not_forgotten():
    desk = Desk()
    desk.begin("leader")
    desk.begin("the next one")
    desk.fail(StorageRefused("no"))
    assert desk.problem().exit_code == 3
    first = Desk()
    first.begin("leader")
    first.fail(StorageRefused("no"))
    assert first.problem().exit_code == 2


@pytest.mark.parametrize(("act", "code"), [(lambda: None, 2), (deeds.made, 3)])
def test_a_worker_that_did_a_step_tells_no_refusal_as_if_nothing_had_been_started(
    desk, work, monkeypatch, act, code
):
    failed = []
    monkeypatch.setattr(desk, "fail", SimpleNamespace(remote=failed.append), raising=False)

    def refuse(**_):
        act()
        raise StorageRefused("PutObject answered 400 ExpiredToken")

    deeds.made()  # by another training of this process
    with pytest.raises(StorageRefused):
        work(refuse)
    assert [error.exit_code for error in failed] == [code]


@pytest.mark.parametrize(
    ("device", "backend"), [("cpu", "gloo"), ("auto", "nccl"), ("cuda", "nccl")]
)
def test_workers_that_hold_a_gpu_talk_by_what_they_compute_on(device, backend, desk, tmp_path):
    compute = Where(device=device, gpus_per_worker=1)
    trainer = on_ray._trainer(compute, {"desk": desk}, str(tmp_path))
    assert trainer.scaling_config.use_gpu
    assert trainer.backend_config.backend == backend
