"""What a full disk, a root that vanishes and keys that expire do to a run of any stage."""

import shutil

import pytest

from factory import deeds
from factory.deeds import PROBES
from factory.errors import StorageRefused
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest
from factory.ledger.run import open_run
from factory.ledger.units.strikes import write_strike
from factory.storage.local import LocalStore
from factory.work.guards import MOST_LOST
from tests.chaos.stores.full_disk import FullDisk
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.captioning import StubServer
from tests.chaos.subjects.subject import STAGES, small


def deaf(item, index):
    """Hears nothing."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_stops_the_run_after_a_few_units_and_a_rerun_makes_the_rest(
    tmp_path, monkeypatch, stage
):
    monkeypatch.setattr("factory.storage.patience.TRIES", 1)
    subject = small(stage, units=MOST_LOST + 4)
    made = []
    full = FullDisk(tmp_path / "run")
    result = subject.start(full, subject.here(lambda item, index: made.append(item)))
    assert (result.exit_code, len(result.problems), result.sealed) == (3, MOST_LOST, None)
    plan = result.book.plan
    # The first, those that are lost, and one that waits in hand.
    units = [subject.ids(plan.items(unit)) for unit in plan.units]
    assert sum(any(item in made for item in items) for items in units) <= 2 + MOST_LOST
    assert f"{MOST_LOST} units in a row" in result.message
    assert "No space left" in result.message
    again = subject.start(LocalStore(full.folder), subject.here(deaf))
    assert (again.exit_code, again.sealed.partial) == (0, False)


def delete(root):
    shutil.rmtree(root)


def unmount(root):
    """What is left is the folder at which it was mounted."""
    shutil.rmtree(root)
    root.mkdir()


def what_is_left(root):
    return sorted(root.rglob("*"))


GONE = pytest.mark.parametrize("go", [delete, unmount])
RUN_IS_GONE = r"RUN\.json is gone: was the run deleted"


@GONE
@pytest.mark.parametrize("stage", STAGES)
def test_a_root_that_vanishes_ends_the_run_at_once_and_is_not_made_again(tmp_path, stage, go):
    subject, root = small(stage, units=5), tmp_path / "run"
    plans, made = [], []

    def vanish(item, index):
        if not made:
            go(root)
        made.append(item)

    with pytest.raises(StorageRefused, match=RUN_IS_GONE):
        subject.start(
            LocalStore(root),
            subject.here(vanish),
            once_planned=lambda run, plan: plans.append(
                [subject.ids(plan.items(unit)) for unit in plan.units]
            ),
        )
    assert what_is_left(root) == []
    (units,) = plans
    assert len(units) == 5
    assert [sum(item in made for item in items) > 0 for items in units].count(True) == 1


@GONE
def test_captions_of_a_root_that_vanishes_pays_for_nothing_more(tmp_path, monkeypatch, go):
    subject, root = small("captions", units=5), tmp_path / "run"
    asked = whenever_asked(monkeypatch, lambda: go(root))
    with pytest.raises(StorageRefused, match=RUN_IS_GONE):
        subject.start(LocalStore(root), subject.here(deaf))
    assert len(asked) == 1
    assert what_is_left(root) == []


def test_captions_in_a_bucket_asks_before_each_unit_whether_the_run_stands(monkeypatch):
    class Deleted(MemoryStore):
        """Its run is deleted after the first commit."""

        def put_new(self, key, data):
            stored = super().put_new(key, data)
            if key.startswith(keys.COMMITS):
                self.delete(keys.RUN)
                asked.clear()
            return stored

    subject, store = small("captions", units=5), Deleted()
    asked = whenever_asked(monkeypatch, lambda: None)
    with pytest.raises(StorageRefused, match=RUN_IS_GONE):
        subject.start(store, subject.here(deaf))
    assert len(list(store.list(keys.COMMITS))) == 1
    assert not asked, "for the unit after the one that was made"


def whenever_asked(monkeypatch, act):
    """What a language model is asked from now on; `act` comes before its answer."""
    answer, asked = StubServer.ask, []

    def ask(server, question):
        if not asked:
            act()
        asked.append(question)
        return answer(server, question)

    monkeypatch.setattr(StubServer, "ask", ask)
    return asked


def test_a_strike_makes_no_root_anew(tmp_path):
    subject, root = small("generate"), tmp_path / "run"
    subject.start(LocalStore(root), subject.here(deaf))
    run = open_run(LocalStore(root))
    assert newest_manifest(run) is not None
    shutil.rmtree(root)
    with pytest.raises(StorageRefused, match=r"RUN\.json is gone"):
        write_strike(run.store, 0, 0, alone=False, worker="w", node="n")
    assert not root.exists()


class Expiring(LocalStore):
    """Its keys are good for so many writes more."""

    left = 0

    def put(self, key, data):
        self._use(key)
        super().put(key, data)

    def put_new(self, key, data):
        self._use(key)
        return super().put_new(key, data)

    def _use(self, key):
        self.left -= not key.startswith(PROBES)
        if self.left < 0:
            raise StorageRefused("PutObject answered 400 ExpiredToken")


@pytest.mark.parametrize(("writes", "code"), [(0, 2), (1, 3), (4, 3), (6, 3)])
@pytest.mark.parametrize("stage", STAGES)
def test_keys_that_expire_end_it_with_2_only_before_anything_was_written(
    tmp_path, stage, writes, code
):
    subject, store = small(stage, units=5), Expiring(tmp_path / "run")
    store.left = writes
    # What it is made of may be made, too.
    assert subject.recipe
    deeds.anew()
    with pytest.raises(StorageRefused, match="ExpiredToken") as raised:
        subject.start(store, subject.here(deaf))
    assert deeds.exit_code(raised.value) == code
    again = subject.start(LocalStore(store.folder), subject.here(deaf))
    assert (again.exit_code, again.sealed.partial) == (0, False)


class Cut(LocalStore):
    """Its server cuts listings and gives no token, from the first commit on."""

    def list(self, prefix=""):
        whole = super().list
        if any(True for _ in whole(keys.COMMITS)) and prefix.startswith(keys.COMMITS):
            raise StorageRefused("ListObjectsV2 cut the listing and gave no token")
        yield from whole(prefix)


@pytest.mark.parametrize("stage", STAGES)
def test_a_listing_that_is_cut_after_units_were_made_ends_it_with_3(tmp_path, stage):
    subject, store = small(stage, units=5), Cut(tmp_path / "run")
    assert subject.recipe
    deeds.anew()
    with pytest.raises(StorageRefused, match="cut the listing") as raised:
        subject.start(store, subject.here(deaf))
    assert deeds.exit_code(raised.value) == 3
    assert newest_manifest(open_run(LocalStore(store.folder))) is None
    again = subject.start(LocalStore(store.folder), subject.here(deaf))
    assert (again.exit_code, again.sealed.partial) == (0, False)
