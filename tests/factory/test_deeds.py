"""Exit code 2 is only ever "nothing was started", also of a store that refuses in the middle."""

from functools import partial

import pytest

from factory import __main__ as program
from factory import deeds
from factory.console.command import command
from factory.deeds import PROBES
from factory.errors import Damaged, InputError, ModelError, StorageRefused
from factory.ledger import keys
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.on_ray.rows import report_of
from factory.storage.local import LocalStore
from tests.bad_input.materials import Grey, models
from tests.factory.ledger.test_collect import age, finish
from tests.making import STAGE, run_here
from tests.stub_source import recipe, triplets


class Expiring(LocalStore):
    """Keys that expire, or a mount that becomes read-only, after so many writes outside of `probe/`."""

    left = 0

    def put(self, key, data):
        self._write(key)
        super().put(key, data)

    def put_new(self, key, data):
        self._write(key)
        return super().put_new(key, data)

    def delete(self, key):
        self._write(key)
        super().delete(key)

    def _write(self, key):
        if not key.startswith(PROBES):
            if not self.left:
                raise StorageRefused(
                    f"{self.uri}/{key}: PutObject answered 400 ExpiredToken; renew"
                )
            self.left -= 1


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("factory.storage.probe.ROUNDS", 1)
    deeds.anew()


def ended(*words):
    with pytest.raises(SystemExit) as raised:
        program.app([str(word) for word in words])
    return raised.value.code


def generate(monkeypatch, left, source=Grey):
    store = Expiring("run")
    store.left = left
    monkeypatch.setattr("factory.pairs.generate.open_store", lambda _: store)
    monkeypatch.setattr(
        "factory.verbs.machine.generate", lambda _: (STAGE, run_here(lambda _: source()))
    )
    return ended("generate", "--triplets", "t.jsonl", "--config", "c.yaml", "--out", "run")


@pytest.mark.parametrize(
    ("left", "code", "there"),
    [
        (0, 2, None),
        (1, 3, keys.RUN),
        (3, 3, keys.plan_head(0)),
        (5, 3, keys.commit(0)),
        (7, 3, keys.commit(1)),
        (8, 3, keys.MANIFEST_PARTS),
        (9, 3, keys.manifest(0)),
        (10, 3, keys.SCORES),
        (11, 0, "README.md"),
    ],
)
def test_keys_that_expire_end_with_2_only_before_anything_was_written(
    monkeypatch, capsys, left, code, there
):
    models()
    assert generate(monkeypatch, left) == code
    written = [info.key for info in LocalStore("run").list()]
    assert any(key.startswith(there) for key in written) if there else not written
    said = capsys.readouterr().err
    assert ("ExpiredToken; renew" in said) == bool(code)
    assert generate(monkeypatch, 99) == 0


def test_a_rerun_that_made_a_unit_in_vain_ends_with_3(monkeypatch):
    models()
    assert generate(monkeypatch, 3) == 3
    assert generate(monkeypatch, 0) == 3
    assert generate(monkeypatch, 99) == 0


class Broken(Grey):
    """Weights that turn out to be wrong, at once or after a unit."""

    def __init__(self, units=0):
        self.units = units

    def pairs(self, draws):
        if not self.units:
            raise ModelError("weights: must be whole, got half")
        self.units -= 1
        yield from super().pairs(draws)


@pytest.mark.parametrize(("units", "code"), [(0, 2), (1, 3)])
def test_a_wrong_input_ends_with_3_once_a_unit_was_made(monkeypatch, units, code):
    models()
    assert generate(monkeypatch, 99, partial(Broken, units)) == code


def test_another_start_in_the_same_process_begins_anew(monkeypatch):
    models()
    assert generate(monkeypatch, 5) == 3
    assert ended("plan", "--triplets", "no.jsonl") == 2


@pytest.mark.parametrize(("left", "code"), [(0, 2), (1, 3), (9, 0)])
def test_gc_ends_with_3_once_it_removed_something(monkeypatch, tmp_path, left, code):
    run = create_run(LocalStore(tmp_path / "run"), recipe())
    finish(run, write_plan(run, triplets(4), 2))
    for number in range(3):
        run.store.put(f"pairs/00000001-{number:016x}.parquet", b"left behind")
    age(tmp_path, 99)
    store = Expiring(tmp_path / "run")
    store.left = left
    monkeypatch.setattr("factory.ledger.run.open_store", lambda _: store)
    assert ended("gc", "run", "--delete") == code


@pytest.mark.parametrize(("left", "code"), [(0, 2), (1, 3), (9, 0)])
def test_seal_ends_with_3_once_it_wrote_something(monkeypatch, tmp_path, left, code):
    run = create_run(LocalStore(tmp_path / "run"), recipe())
    finish(run, write_plan(run, triplets(4), 2))
    for info in list(run.store.list(keys.MANIFESTS)):
        run.store.delete(info.key)
    store = Expiring(tmp_path / "run")
    store.left = left
    monkeypatch.setattr("factory.ledger.run.open_store", lambda _: store)
    assert ended("seal", "run") == code


@pytest.mark.parametrize(
    ("act", "error", "code"),
    [
        (None, StorageRefused, 2),
        (None, InputError, 2),
        (lambda: deeds.wrote("probe/a"), StorageRefused, 2),
        (lambda: deeds.wrote("RUN.json"), StorageRefused, 3),
        (lambda: deeds.wrote("RUN.json"), ModelError, 2),
        (deeds.made, StorageRefused, 3),
        (deeds.made, ModelError, 3),
        (deeds.made, Damaged, 3),
    ],
)
def test_what_was_done_decides_between_2_and_3(act, error, code):
    def work():
        if act:
            act()
        raise error("no")

    with pytest.raises(SystemExit) as raised:
        command(work)()
    assert raised.value.code == code
    assert deeds.outward(error("no")).exit_code == code


@pytest.mark.parametrize(
    ("here", "there", "error", "code"),
    [
        (None, None, InputError, 2),
        (None, None, StorageRefused, 2),
        (None, lambda: deeds.wrote("pairs/a"), StorageRefused, 3),
        (None, deeds.made, ModelError, 3),
        (lambda: deeds.wrote("RUN.json"), None, StorageRefused, 3),
        (lambda: deeds.wrote("RUN.json"), None, ModelError, 2),
        (deeds.made, None, ModelError, 3),
    ],
)
def test_a_workers_refusal_ends_the_driver_by_what_either_has_done(here, there, error, code):
    deeds.anew()
    if there:
        there()
    row = {"unit": 0, "problem": "no", "fatal": 2} | deeds.standing(error("no"))

    def work():
        if here:
            here()
        report_of(row)

    with pytest.raises(SystemExit) as raised:
        command(work)()
    assert raised.value.code == code
