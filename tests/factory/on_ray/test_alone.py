"""A unit alone in its process, and what counts as its death; Ray is played, as it would answer."""

from collections import Counter
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, TaskUnschedulableError

from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.units.strikes import read_strikes, write_strike
from factory.on_ray import alone, watch
from factory.on_ray.alone import run_alone
from factory.on_ray.watch import Watch, node_answers
from factory.on_ray.witness import Witness
from factory.work.reports import UnitProblem
from tests.chaos.stores.memory_store import MemoryStore
from tests.making import STAGE
from tests.stub_source import recipe, triplets

UNIT = 1
NODE = "ab" * 28
REPORT = {"unit": UNIT, "counts": {"accepted": 1}, "seconds": 1.0, "made": True, "worker": "w"}
DONE = {"unit": UNIT, "problem": "", "fatal": 0, "aside": False, "report": REPORT}
LOST = ActorUnavailableError("the connection is lost for a moment", None)
DIED = ActorDiedError()


class PlayedRay:
    """Answers every row as told, in turn; the last answer stays. A call is its own future."""

    def __init__(self, witness, answers):
        self.witness, self.answers = witness, list(answers)
        self.workers = 0

    def remote(self, _):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.worker))

    def worker(self, *, alone, **_):
        self.workers += 1
        self.witness.arrive(alone, "n")

        def row(unit):
            self.witness.begin(alone, unit, True)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        return SimpleNamespace(row=SimpleNamespace(remote=row))

    def wait(self, calls, timeout):
        return calls, []

    def get(self, call):
        if isinstance(call, Exception):
            raise call
        return call

    def kill(self, _): ...


@pytest.fixture
def stage(monkeypatch):
    """Runs a unit with two strikes alone; what came of it, its strikes, the workers begun."""
    store = MemoryStore()
    run = create_run(store, recipe(unit_triplets=1, candidates=3))
    plan = write_plan(run, triplets(2), 1)
    for _ in range(2):
        write_strike(store, UNIT, 0, alone=False, worker="w", node="n")
    monkeypatch.setattr(watch, "SETTLE_S", 0)
    monkeypatch.setattr(alone, "ASK_EVERY_S", 0)
    monkeypatch.setattr(watch, "node_stays", lambda node: True)

    class PlayedWatch(Watch):
        def __init__(self, witness):
            self.stage, self.run, self.plan, self.strikes = STAGE, run, plan, read_strikes(store)
            self.deaths = Counter()
            calls = ("bury", "forgive", "silent")
            self.witness = SimpleNamespace(
                **{name: SimpleNamespace(remote=getattr(witness, name)) for name in calls}
            )

    def play(answers, node_lives=True):
        monkeypatch.setattr(alone, "node_answers", lambda node, stop: node_lives)
        witness = Witness({UNIT: 2})
        played = PlayedRay(witness, answers)
        monkeypatch.setattr(alone, "ray", played)
        found = run_alone(UNIT, {}, {}, PlayedWatch(witness), lambda: False)
        return found, [strike.alone for strike in read_strikes(store)[UNIT]], played.workers

    return play


def test_worker_that_cannot_be_reached_for_a_moment_is_asked_again(stage):
    found, strikes, workers = stage([LOST, LOST, DONE])
    assert (found.counts["accepted"], strikes, workers) == (1, [False, False], 1)


def test_worker_of_which_nobody_knows_is_no_strike(stage, monkeypatch):
    monkeypatch.setattr(alone, "ASKS", 3)
    found, strikes, workers = stage([LOST])
    assert isinstance(found, UnitProblem)
    assert (strikes, workers) == ([False, False], alone.TURNS)


def test_worker_that_died_after_it_could_not_be_reached_is_the_last_strike(stage):
    found, strikes, workers = stage([LOST, DIED])
    assert (found.counts["failed"], strikes, workers) == (3, [False, False, True], 1)


def test_death_on_a_node_that_does_not_show_that_it_lives_is_no_strike(stage):
    found, strikes, workers = stage([DIED], node_lives=False)
    assert isinstance(found, UnitProblem)
    assert (strikes, workers) == ([False, False], alone.TURNS)


@pytest.mark.parametrize(
    ("answer", "lives"),
    [(NODE, True), ("another", False), (TaskUnschedulableError("dead"), False), (None, False)],
)
def test_node_lives_that_answers_a_task_of_its_own_in_time(monkeypatch, answer, lives):
    asked = []

    class Played(PlayedRay):
        def remote(self, _):
            def options(**given):
                asked.append(given)
                return SimpleNamespace(remote=lambda: answer)

            return SimpleNamespace(options=options)

        def wait(self, calls, timeout):
            return ([], calls) if calls == [None] else (calls, [])

        def cancel(self, call):
            assert call is None

    monkeypatch.setattr(watch, "ray", Played(None, [None]))
    monkeypatch.setattr(watch, "PROOF_S", 0.01)
    assert node_answers(NODE, lambda: False) is lives
    (given,) = asked
    assert (given["num_cpus"], given["max_retries"]) == (0, 0)
    where = given["scheduling_strategy"]
    assert (where.node_id, where.soft) == (NODE, False)
