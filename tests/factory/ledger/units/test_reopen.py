"""Failed units and strikes: what is counted, and how a unit is opened again."""

import pytest

from factory.errors import Damaged
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.status import status
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import commit_of, read_commit
from factory.ledger.units.reopen import is_failed, open_failed
from factory.ledger.units.retries import open_again, read_retries
from factory.ledger.units.strikes import is_poison, read_strikes, runs_alone, write_strike
from factory.pairs.verify import candidates_of
from factory.storage.local import LocalStore
from schemas.config import Config
from schemas.ledger.run import RetryRecord
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture
def started(tmp_path):
    run = create_run(LocalStore(str(tmp_path)), recipe())
    return run, write_plan(run, triplets(7), 2)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def test_failed_commit_holds_every_candidate_with_its_draw_and_the_reason(started):
    run, plan = started
    commit_failed(run, plan, 1, "planted")
    made, failed = create_run(LocalStore(run.uri + "-made"), recipe()), read_commit(run, 1)
    generate_unit(made, write_plan(made, triplets(7), 2), 1, StubSource())
    fields = ("triplet_id", "index", "seed", "p2p_threshold", "cfg_scale")
    drawn = [[getattr(row, f) for f in fields] for row in candidates_of(read_commit(made, 1))]
    assert [[getattr(row, f) for f in fields] for row in candidates_of(failed)] == drawn
    assert {(row.verdict, row.reason, row.clip_sim_0) for row in candidates_of(failed)} == {
        ("failed", "planted", None)
    }


def test_commit_that_is_there_is_not_failed(started):
    run, plan = started
    generate_unit(run, plan, 1, StubSource())
    before = run.store.get(keys.commit(1))
    commit_failed(run, plan, 1, "planted")
    assert run.store.get(keys.commit(1)) == before


def test_only_units_without_one_made_candidate_are_opened_again(started):
    run, plan = started
    commit_failed(run, plan, 2, "planted")
    finish(run, plan)
    some = [
        line.unit
        for line in Book(run, plan).lines()
        if line.counts["failed"] and not is_failed(run.layout, line)
    ]
    assert some  # single candidates failed in other units
    assert status(run, plan).failed_units == 1
    assert open_failed(run, plan).retries.generations == {2: 1}
    assert read_retries(run.store).generations == {2: 1}


def test_nothing_is_written_where_nothing_failed(started):
    run, plan = started
    finish(run, plan)
    assert open_failed(run, plan) == plan
    assert list(run.store.list("retries/")) == []


def test_unit_that_fails_again_can_be_opened_again(started):
    run, plan = started
    for time in range(3):
        commit_failed(run, plan, 2, f"planted {time}")
        plan = open_failed(run, plan)
    assert plan.retries.generations == {2: 3}
    assert [key.key for key in run.store.list("retries/")] == [keys.retry(n) for n in range(3)]
    finish(run, plan)
    found = find_commit(run, read_plan(run), 2)
    assert found.key == "commits/000000/00000002-3.parquet"
    rows = candidates_of(commit_of(run, 2, found.key, found.data))
    assert any(row.verdict == "accepted" for row in rows)
    # The earlier ones stay as they were.
    assert candidates_of(read_commit(run, 2))[0].reason == "planted 0"


def test_unit_is_opened_once_where_two_drivers_ask_at_one_moment(started):
    run, plan = started
    commit_failed(run, plan, 0, "planted")
    commit_failed(run, plan, 2, "planted")

    class Late(LocalStore):
        def put_new(self, key, data):
            if key == keys.retry(0):
                open_again(
                    LocalStore(run.uri), 0, RetryRecord(units=(0,))
                )  # the other one saw only one of them
            return super().put_new(key, data)

    ours = open_failed(open_run(Late(run.uri)), plan)
    assert ours.retries.generations == {0: 1, 2: 1}


def test_strikes_are_numbered_and_counted_by_generation(started):
    run, plan = started
    for generation, alone in ((0, False), (0, False), (0, True), (1, False), (1, False)):
        write_strike(run.store, 1, generation, alone=alone, worker="w", node="n")
    strikes = read_strikes(run.store)[1]
    assert [info.key for info in run.store.list("strikes/")] == [
        keys.strike(1, k) for k in range(5)
    ]
    assert is_poison(strikes, 0)
    assert runs_alone(strikes, 1)
    assert not is_poison(strikes, 1)
    assert not runs_alone(strikes[:1], 0)


def test_three_strikes_beside_others_are_not_enough(started):
    run, plan = started
    for _ in range(4):
        write_strike(run.store, 1, 0, alone=False, worker="w", node="n")
    assert not is_poison(read_strikes(run.store)[1], 0)


def test_damaged_strike_is_named(started):
    run, plan = started
    run.store.put(keys.strike(1, 0), b"{}")
    with pytest.raises(Damaged, match=r"strikes/00000001/0\.json: not a strike"):
        read_strikes(run.store)
