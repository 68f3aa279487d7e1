"""One worker of a training, without Ray: what it tells the driver, and where it refuses to work."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from factory import deeds
from factory.errors import InputError, ObjectMissing, RunMismatch, StorageRefused
from factory.storage.local import LocalStore
from schemas.training import RECORD
from tests.trainer.small import small, train, write_pairs
from trainer.feeding.pairs import open_pairs
from trainer.fit import Fitted, fit, prepare
from trainer.learning.group import Group
from trainer.on_ray.desk import Desk


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


def test_a_worker_begins_no_training_by_itself(work, dataset, tmp_path):
    def act(*, is_begun, **_):
        train(small(), dataset, tmp_path / "out", is_begun=is_begun)

    with pytest.raises(
        InputError, match="must be a folder that all nodes share, or s3://.*FIT.json"
    ):
        work(act)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("leads", [True, False])
def test_every_worker_must_find_the_drivers_training(dataset, tmp_path, monkeypatch, leads):
    digest = open_pairs(dataset).digest
    monkeypatch.setattr(Group, "leads", leads)
    monkeypatch.setattr(Group, "share", lambda group, value: digest)
    with pytest.raises(InputError, match="all nodes share"):
        train(small(), dataset, tmp_path / "local", is_begun=True)
    prepare(small(law={"seed": 9}), dataset, str(tmp_path / "other"))
    with pytest.raises(RunMismatch, match="another law; differing: seed"):
        train(small(), dataset, tmp_path / "other", is_begun=True)


def test_one_that_finds_it_trains(dataset, tmp_path):
    prepared = prepare(small(law={"steps": 1}), dataset, str(tmp_path / "out"))
    assert fit(*prepared, say=lambda line: None, is_begun=True).done


def test_a_shared_folder_that_shows_the_record_late_is_listed_first(dataset, tmp_path, monkeypatch):
    prepared = prepare(small(law={"steps": 1}), dataset, str(tmp_path / "out"))
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
    assert fit(*prepared, say=lambda line: None, is_begun=True).done


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
