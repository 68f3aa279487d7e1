"""A stage of 52 lines, blank ones apart, has what the unit job promises: keys, a finish, retried rows."""

import json
import os
import time
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from factory.errors import RunMismatch
from factory.ledger import keys
from factory.ledger.collect import collect
from factory.ledger.named import intent_of
from factory.ledger.run import open_run
from factory.ledger.seal import Incomplete, seal
from factory.ledger.status import status
from factory.ledger.units.commits import Attempt, write_commit
from factory.ledger.verify.run import verify
from factory.storage.open import open_store
from factory.work.job import begin, run_job
from factory.work.plain_loop import run_here
from factory.work.unit import fail_unit
from schemas.config import Budget
from schemas.running.pool import Pool
from tests.factory.work.toy_stage import Line, Recipe, shout_stage


@dataclass
class Terms:
    compute: Pool
    budget: Budget = Budget()


class Shouted:
    """Seven lines in units of three, below `out`; what is hushed fails."""

    def __init__(self, folder, count=7):
        self.out, self.hushed = folder / "out", folder / "hushed"
        for made in (self.out, self.hushed):
            made.mkdir()
        self.stage = shout_stage(self.hushed)
        self.lines = [Line(item_id=f"line{n}", words=f"words {n}") for n in range(count)]

    def hush(self, *numbers):
        for number in numbers:
            (self.hushed / f"line{number}").touch()

    def begin(self, **options):
        store = open_store(f"{self.out}/{keys.BESIDE}")
        self.run, self.plan = begin(self.stage.layout, store, Recipe, self.lines, 3, **options)

    def start(self, **options):
        self.begin(**options)
        return self.end()

    def end(self, budget=None):
        terms = Terms(Pool(), budget or Budget())
        return run_job(self.stage, self.run, self.plan, terms, run_here(self.stage))

    @property
    def files(self):
        return {path.name: path.read_text() for path in self.out.iterdir() if path.is_file()}

    @property
    def index(self):
        (one,) = self.result.sealed.objects
        return json.loads(self.run.store.get(one.key))


@pytest.fixture(params=["conditional", "sealed"])
def shouted(request, tmp_path, monkeypatch):
    if request.param == "sealed":
        monkeypatch.setattr("factory.work.job.probe", lambda store: Weak())
    return Shouted(tmp_path)


class Weak:
    commits = "weak"


def test_every_line_lies_at_its_key_and_the_index_names_it(shouted):
    shouted.result = shouted.start()
    assert (shouted.result.exit_code, shouted.result.message) == (0, "sealed: 7 files")
    assert shouted.files == {f"line{n}.txt": f"WORDS {n}" for n in range(7)}
    assert set(shouted.index) == set(shouted.files)
    assert verify(open_run(str(shouted.out))).damages == []
    again = shouted.start()
    assert (again.units_made, again.manifest_hash) == (0, shouted.result.manifest_hash)


def test_one_is_told_as_one(tmp_path, capsys):
    assert Shouted(tmp_path, count=1).start().message == "sealed: 1 file"
    assert "1 unit to make; " in capsys.readouterr().err


def test_failed_rows_alone_are_made_again_and_the_newest_outcome_counts(shouted):
    shouted.hush(1, 2, 5)
    first = shouted.start()
    assert first.sealed.counts == {"done": 4, "failed": 3}
    (shouted.hushed / "line1").unlink()
    (shouted.hushed / "line5").unlink()
    made = []
    stage = shouted.stage

    def load(run, pool):
        maker = stage.load(run, pool)
        make = maker.make

        def watched(unit, items):
            made.extend(item["item_id"] for item in items)
            return make(unit, items)

        maker.make = watched
        return maker

    shouted.stage = type(stage)(**{**vars(stage), "load": load})
    second = shouted.start(retry_failed=True)
    assert sorted(made) == ["line1", "line2", "line5"]
    assert second.sealed.counts == {"done": 6, "failed": 1}
    state = status(shouted.run, shouted.plan)
    assert (state.counts, state.failed_units) == ({"done": 6, "failed": 1}, 1)
    (shouted.hushed / "line2").unlink()
    made.clear()
    shouted.result = shouted.start(retry_failed=True)
    assert made == ["line2"]
    assert shouted.result.sealed.counts == {"done": 7, "failed": 0}
    assert None not in shouted.index.values()
    assert verify(open_run(str(shouted.out))).damages == []
    assert collect(shouted.run, shouted.plan).found == []


def test_what_is_anothers_is_neither_overwritten_nor_removed(shouted):
    (shouted.out / "line4.txt").write_text("mine")
    (shouted.out / "line5.txt").write_text("WORDS 5")
    result = shouted.start()
    assert result.sealed.counts == {"done": 6, "failed": 1}
    assert shouted.files["line4.txt"] == "mine"
    assert verify(open_run(str(shouted.out))).damages == []
    age(shouted.out)
    collect(shouted.run, shouted.plan, delete=True)
    assert shouted.files["line4.txt"] == "mine"


def age(folder):
    old = time.time() - 48 * 3600
    for path in folder.rglob("*"):
        os.utime(path, (old, old))


def test_of_a_lost_attempt_only_what_it_meant_to_leave_is_garbage(shouted):
    """Another recipe of mind: an attempt that left a file at a key that no outcome names."""
    shouted.hush(0)
    shouted.start()
    run = shouted.run
    for name in ("line0.txt", "stray.txt"):
        (shouted.out / name).write_text("LOST")
    intent = intent_of({"line0.txt": b"LOST", "line1.txt": b"LOST", "gone.txt": b"LOST"})
    run.store.put(keys.data("shout", 0, "f" * 64, "json"), intent.bytes)
    age(shouted.out)
    found = collect(run, shouted.plan, delete=True)
    assert [one.key for one in found.found] == [
        "../line0.txt",
        "data/00000000-ffffffffffffffff.json",
    ]
    assert {"stray.txt", "line1.txt"} <= set(shouted.files)
    assert "line0.txt" not in shouted.files
    assert verify(open_run(str(shouted.out))).damages == []


def test_an_attempt_that_comes_second_names_what_stands(tmp_path):
    """Two environments make other bytes: the first one's object stays, whoever commits."""
    shouted = Shouted(tmp_path)
    store = open_store(f"{shouted.out}/{keys.BESIDE}")
    run, plan = begin(shouted.stage.layout, store, Recipe, shouted.lines, 3)
    first = shouted.stage.load(run, None).make(0, plan.items(0))
    other = {key: data + b"!" for key, data in first.objects.items()}
    # It stored its intent and its objects, and died.
    intent = intent_of(other)
    store.put(keys.data("shout", 0, "e" * 64, "json"), intent.bytes)
    for key, data in other.items():
        run.place.put_new(key, data)
    assert write_commit(run, 0, first, Attempt())
    shouted.run, shouted.plan = run, plan
    shouted.result = shouted.end()
    assert shouted.files["line0.txt"] == "WORDS 0!"
    assert shouted.result.sealed.counts == {"done": 7, "failed": 0}
    assert verify(open_run(str(shouted.out))).damages == []


def test_a_named_object_that_is_lost_or_changed_is_damage(shouted):
    shouted.start()
    (shouted.out / "line3.txt").write_text("changed")
    (shouted.out / "line6.txt").unlink()
    damages = verify(open_run(str(shouted.out))).damages
    assert any("'line3.txt'" in one for one in damages)
    assert any("names 'line6.txt', not there" in one for one in damages)
    assert len(damages) == 2


def test_verbs_know_such_a_run_by_its_place_and_leave_sealing_to_its_stage(shouted):
    shouted.hush(0)
    sealed = shouted.start()

    def call(code, *words):
        result = CliRunner().invoke(app, [*words, str(shouted.out), "--json"])
        assert result.exit_code == code, result.output
        return result

    state = json.loads(call(0, "status").stdout)
    assert (state["counts"], state["lines"]) == ({"done": 6, "failed": 1}, 7)
    assert json.loads(call(0, "verify").stdout)["damages"] == []
    assert json.loads(call(0, "gc").stdout)["objects"] == 0
    assert "sealed by the program that has this stage" in call(2, "seal").stderr
    with pytest.raises(RunMismatch, match="another recipe"):
        begin(
            shouted.stage.layout, shouted.run.store, lambda: Recipe(ending="md"), shouted.lines, 3
        )
    assert seal(shouted.run, shouted.plan, finish=shouted.stage.sealing.finish)[1] == sealed.sealed


def test_a_unit_that_is_given_up_is_retried_row_by_row(shouted):
    store = open_store(f"{shouted.out}/{keys.BESIDE}")
    shouted.run, shouted.plan = begin(shouted.stage.layout, store, Recipe, shouted.lines, 3)
    fail_unit(shouted.stage, shouted.run, shouted.plan, 1, "poison")
    assert shouted.end().sealed.counts == {"done": 4, "failed": 3}
    assert shouted.start(retry_failed=True).sealed.counts == {"done": 7, "failed": 0}
    assert verify(open_run(str(shouted.out))).damages == []


def test_a_finish_waits_for_all_units_and_a_snapshot_has_its_own(shouted):
    store = open_store(f"{shouted.out}/{keys.BESIDE}")
    shouted.run, shouted.plan = begin(shouted.stage.layout, store, Recipe, shouted.lines, 3)
    shouted.result = shouted.end(Budget(limit=3))
    assert shouted.result.sealed.partial
    assert set(shouted.index) == {"line0.txt", "line1.txt", "line2.txt"}
    with pytest.raises(Incomplete):
        seal(shouted.run, shouted.plan, finish=shouted.stage.sealing.finish)
    shouted.result = shouted.end()
    assert len(shouted.index) == 7
    assert collect(shouted.run, shouted.plan).found == []
