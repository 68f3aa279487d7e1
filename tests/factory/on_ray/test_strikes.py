"""Units that kill their workers: three strikes, the last one alone, and the run ends."""

from dataclasses import replace
from functools import partial

import pytest
import ray

from factory.errors import InputError
from factory.ledger import keys
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run
from factory.ledger.status import status
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import commit_of
from factory.ledger.units.reopen import open_failed, repair
from factory.ledger.units.strikes import LIMIT, POISON, read_strikes, write_strike
from factory.on_ray import units, watch
from factory.on_ray.rows import ClusterFailed
from factory.pairs.generate import generate_stage
from factory.pairs.verify import candidates_of, verify
from factory.storage.local import LocalStore
from factory.work import job as work_job
from factory.work.reports import UnitProblem
from schemas.config import Config
from tests.factory.on_ray.deadly import Deadly, Hanging, Slow, Unloadable, Vanishing
from tests.making import loaded, run_here, run_job, run_on_ray
from tests.stub_source import StubSource, recipe, triplets

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.long]
UNITS = 6


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(watch, "SETTLE_S", 0.3)


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def start(tmp_path, commits="conditional"):
    run = create_run(LocalStore(str(tmp_path / "run")), recipe(unit_triplets=1), commits)
    return run, write_plan(run, triplets(UNITS), 1)


def finish(run, plan, source, **compute):
    defaults = {"device": "cpu", "gpus_per_worker": 0.0, "max_workers": 1}
    config = Config(recipe=run.recipe, compute=defaults | compute)
    return run_job(run, plan, config, partial(run_on_ray, make_source=source))


def undisturbed(tmp_path):
    run = create_run(LocalStore(str(tmp_path / "undisturbed")), recipe(unit_triplets=1))
    plan = write_plan(run, triplets(UNITS), 1)
    config = Config(recipe=run.recipe)
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def rows(run, plan, unit):
    found = find_commit(run, plan, unit)
    return candidates_of(commit_of(run, unit, found.key, found.data))


def poisonous(unit, marks, **fields):
    return Deadly((triplets(UNITS)[unit].triplet_id,), str(marks), **fields)


def test_poison_unit_is_committed_as_failed_and_opened_again_on_demand(tmp_path, marks):
    run, plan = start(tmp_path)
    result = finish(run, plan, poisonous(2, marks, seconds=0.02))
    assert result.exit_code == 0
    assert not result.sealed.partial
    assert {(row.verdict, row.reason) for row in rows(run, plan, 2)} == {("failed", POISON)}
    for unit in {*plan.units} - {2}:
        assert not any(row.reason == POISON for row in rows(run, plan, unit))
    strikes = read_strikes(run.store)
    assert [strike.alone for strike in strikes[2]] == [False, False, True]
    assert all(len(strikes[unit]) <= 2 for unit in strikes if unit != 2)
    assert len(list(marks.iterdir())) == 3
    assert status(run, plan).failed_units == 1
    assert verify(run).damages == []

    # The cause is mended, and the failed unit made: as if nothing had been.
    plan = open_failed(run, plan)
    assert plan.retries.generations == {2: 1}
    again = finish(run, plan, Deadly((), str(marks)))
    assert again.units_made == 1
    assert again.manifest_hash == undisturbed(tmp_path).manifest_hash
    assert verify(run).damages == []


def test_a_root_that_vanishes_ends_the_run_and_is_not_made_again(tmp_path, marks):
    run, plan = start(tmp_path)
    root = tmp_path / "run"
    first = tuple(triplet.triplet_id for triplet in triplets(1))
    source = Vanishing(first, str(marks), times=1, root=str(root))
    # By which of its two threads it is told first is chance: one looks, the other is writing.
    with pytest.raises(
        InputError, match=r"(RUN\.json|the folder) is gone: was (the run|it) deleted"
    ):
        finish(run, plan, source)
    assert not root.exists()


@pytest.mark.parametrize("commits", ["conditional", "sealed"])
def test_two_damaged_units_that_were_opened_again_are_made_by_its_workers(tmp_path, marks, commits):
    """In any store; in one process, and of both stages: `tests/factory/work/test_repair.py`."""
    run, plan = start(tmp_path, commits)
    whole = finish(run, plan, Deadly((), str(marks)))
    for unit in (1, 4):
        (data,) = (tmp_path / "run").glob(f"pairs/{unit:08d}-*")
        data.unlink()
    assert repair(run, verify(run)) == (1, 4)
    again = finish(run, read_plan(run), Deadly((), str(marks)))
    assert (again.exit_code, again.units_made) == (0, 2)
    assert again.manifest_hash == whole.manifest_hash
    assert verify(run).damages == []


def test_strikes_count_over_the_lives_of_drivers(tmp_path, marks):
    """Killed twice before: the third driver runs it alone at once."""
    run, plan = start(tmp_path)
    for _ in range(2):
        write_strike(run.store, 4, 0, alone=False, worker="w", node="n")
    result = finish(run, plan, poisonous(4, marks))
    assert result.exit_code == 0
    assert len(list(marks.iterdir())) == 1
    assert {row.reason for row in rows(run, plan, 4)} == {POISON}


def test_driver_killed_after_the_last_strike_gives_the_unit_up_without_running_it(tmp_path, marks):
    run, plan = start(tmp_path)
    for alone in (False, False, True):
        write_strike(run.store, 4, 0, alone=alone, worker="w", node="n")
    assert finish(run, plan, poisonous(4, marks)).exit_code == 0
    assert list(marks.iterdir()) == []
    assert {row.reason for row in rows(run, plan, 4)} == {POISON}


def test_deaths_on_a_node_that_leaves_are_no_strikes(tmp_path, marks, monkeypatch):
    monkeypatch.setattr(watch, "node_stays", lambda node: False)
    run, plan = start(tmp_path)
    # As many as would give it up.
    result = finish(run, plan, poisonous(1, marks, times=LIMIT))
    # A neighbour may have been committed when its worker died, and is made by nobody then.
    assert result.exit_code == 0
    assert len(list(marks.iterdir())) == LIMIT
    assert read_strikes(run.store) == {}
    assert result.manifest_hash == undisturbed(tmp_path).manifest_hash


def test_unit_that_dies_by_chance_is_made_alone(tmp_path, marks):
    run, plan = start(tmp_path)
    result = finish(run, plan, poisonous(3, marks, times=2))
    assert result.exit_code == 0
    assert [strike.alone for strike in read_strikes(run.store)[3]] == [False, False]
    assert result.manifest_hash == undisturbed(tmp_path).manifest_hash


def test_units_of_a_draining_node_are_given_back_and_made_elsewhere(tmp_path, marks, monkeypatch):
    """The node drains until units were given back; then it stands for another one."""
    run, plan = start(tmp_path)
    given_back = []
    settle = watch.Watch.settle

    def settled(self, should_stop):
        given_back.append(True)
        settle(self, should_stop)

    def draining():
        return set() if given_back else {ray.get_runtime_context().get_node_id()}

    monkeypatch.setattr(watch.Watch, "settle", settled)
    monkeypatch.setattr(watch, "draining_nodes", draining)
    result = finish(run, plan, Deadly((), str(marks), seconds=0.1))
    assert given_back
    assert (result.exit_code, result.units_made) == (0, UNITS)
    assert read_strikes(run.store) == {}
    assert result.manifest_hash == undisturbed(tmp_path).manifest_hash


@pytest.mark.long
def test_workers_that_die_while_they_load_are_given_up_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MOST_STILLBORN", 1)
    run, plan = start(tmp_path)
    with pytest.raises(ClusterFailed, match=r"processes died .* run the same command") as ended:
        finish(run, plan, Unloadable())
    assert ended.value.exit_code == 3
    assert read_strikes(run.store) == {}


def test_normal_run_writes_nothing_but_pairs_commits_and_what_sealing_makes(tmp_path, marks):
    run, plan = start(tmp_path)
    before = {info.key for info in run.store.list()}
    result = finish(run, plan, Deadly((), str(marks)))
    folders = {info.key.split("/")[0] for info in run.store.list() if info.key not in before}
    assert folders == {"pairs", "commits", "manifest", "scores", "README.md"}
    assert not any(isinstance(problem, UnitProblem) for problem in result.problems)
    assert replace(result, book=None).units_made == UNITS
    assert keys.commit(0) in {info.key for info in run.store.list("commits/")}


def watched(run, plan, source, silence_s):
    """A run by one worker that may be at a unit for so long."""
    stage = replace(generate_stage(loaded(source)), silence_s=silence_s)
    defaults = {"device": "cpu", "gpus_per_worker": 0.0, "max_workers": 1}
    config = Config(recipe=run.recipe, compute=defaults)
    result = work_job.run_job(stage, run, plan, config, units.run_on_ray(stage))
    assert result.exit_code == 0


def test_a_worker_whose_device_goes_on_is_not_ended_however_long_a_unit_takes(
    tmp_path, marks, monkeypatch
):
    monkeypatch.setattr(watch, "SILENCE", 0.0)
    run, plan = start(tmp_path)
    watched(run, plan, Slow((triplets(UNITS)[2].triplet_id,), str(marks)), 8.0)
    assert read_strikes(run.store) == {}
    # Each of its candidates once.
    assert len(list(marks.iterdir())) == run.recipe.candidates


def test_a_worker_that_hangs_is_ended_and_strikes_as_one_that_dies(tmp_path, marks, monkeypatch):
    """Once it is another one's turn: `tests/trainer/on_ray/test_encode.py`."""
    # On a busy machine the first unit takes long.
    monkeypatch.setattr(watch, "SILENCE", 2.0)
    run, plan = start(tmp_path)
    watched(run, plan, Hanging((triplets(UNITS)[2].triplet_id,), str(marks)), 4.0)
    assert {row.reason for row in rows(run, plan, 2)} == {POISON}
    assert [strike.alone for strike in read_strikes(run.store)[2]] == [False, False, True]
    assert verify(run).damages == []
