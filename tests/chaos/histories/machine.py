"""What may happen to the ledger: drivers, workers, sealers and zombies, one store call at a time."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from factory.errors import RunMismatch
from factory.ledger import keys
from factory.ledger.collect import LEAST_HOURS, collect
from factory.ledger.plan import write_plan
from factory.ledger.run import Commits, Run, create_run
from factory.ledger.seal import Incomplete, seal
from factory.ledger.units.commits import record_of
from factory.storage.protocol import ObjectStore
from factory.work.job import NOTHING_KEPT, run_job
from factory.work.plain_loop import run_here
from factory.work.unit import fail_unit, make_unit
from schemas.ledger.commit import CommitRecord
from tests.chaos.histories.actors import Task, WeakStore
from tests.chaos.histories.model import Model
from tests.chaos.stores.stepped import Stepped
from tests.chaos.subjects.subject import Own

OUTCOMES = st.sampled_from(
    ["ok"] * 5 + ["lost before", "lost after", "die", "late", "late and die"]
)
MOST_AT_WORK = 4


class LedgerMachine(Model):
    """The store takes one conditional write of a key; of many writers exactly one wins."""

    commits: Commits = "conditional"

    @initialize(count=st.integers(2, 5))
    def plan_it(self, count: int) -> None:
        self.count = count
        self.subject.surround(self.store)
        self.run = create_run(self.store, self.subject.recipe, self.commits, self.subject.layout)
        items = self.subject.items(count)
        self.plan = write_plan(self.run, items, self.subject.unit_items)
        self.look()

    # What may happen.

    @precondition(lambda self: len(self.at_work) < MOST_AT_WORK)
    @rule(data=st.data())
    def assign(self, data: Any) -> None:
        """A worker begins a unit, be it open, in work or committed."""
        still_open = [unit for unit in self.plan.units if unit not in self.committed]
        unit = data.draw(st.sampled_from([*still_open, *still_open, *self.plan.units]))
        maker, plan = Own(self.subject, next(self.numbers)), self.plan

        def act(store: ObjectStore) -> Any:
            run = self.run_on(store)
            return make_unit(run, replace(plan, store=store), unit, maker.load(run))

        task = self.begin("make", act)
        task.maker, task.unit = maker, unit

    @precondition(lambda self: len(self.at_work) < MOST_AT_WORK)
    @rule(partial=st.booleans())
    def seal(self, partial: bool) -> None:
        """A sealer begins; it rolls finished segments up."""
        plan = self.plan

        def act(store: ObjectStore) -> Any:
            run, finish = self.run_on(store), self.subject.stage.sealing.finish
            return seal(run, replace(plan, store=store), partial=partial, finish=finish)

        self.begin("seal", act).partial = partial

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), outcomes=st.lists(OUTCOMES, min_size=1, max_size=6))
    def step(self, data: Any, outcomes: list[str]) -> None:
        """Some calls of one of them happen, or go wrong, or are the last that it does."""
        task = data.draw(st.sampled_from(self.at_work))
        for what in outcomes:
            call = task.stepped.call
            if call is None or task not in self.at_work:
                return
            if what.startswith("late") and call.writes:
                self.zombies.append(call)
            if what in ("die", "late and die"):
                task.stepped.step("die")
                self.at_work.remove(task)
                return
            task.stepped.step("lost before" if what == "late" else what)
            self.look()
            self.end_if_done(task)

    # The more often it is listed, the more often hypothesis tries it.
    step_on = step
    and_step = step

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def go_on_to_the_end(self, data: Any) -> None:
        """One of them meets no further trouble."""
        self.finish(data.draw(st.sampled_from(self.at_work)))

    def finish(self, task: Task) -> None:
        while task.stepped.call is not None:
            task.stepped.step("ok")
            self.look()
        self.end_if_done(task)

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def deliver(self, data: Any) -> None:
        """A write arrives whose writer has long been told that it failed."""
        call = data.draw(st.sampled_from(self.zombies))
        self.zombies.remove(call)
        call.do()
        self.look()

    @precondition(lambda self: self.count < 6)
    @rule(more=st.integers(1, 2))
    def extend(self, more: int) -> None:
        """A longer list; those at work know nothing of it."""
        self.count += more
        items, size = self.subject.items(self.count), self.subject.unit_items
        self.plan = write_plan(self.run, items, size, extend=True)
        self.look()

    @rule(what=st.sampled_from(["resume", "give up", "collect", "another list"]), data=st.data())
    def now_and_then(self, what: str, data: Any) -> None:
        """What would end most histories early if it were tried as often as the rest."""
        if what == "resume":
            self.resume()
        elif what == "give up":
            self.give_up(data.draw(st.sampled_from(self.plan.units)))
        elif what == "collect":
            self.collect(data.draw(st.sampled_from([1, 40])))
        else:
            self.refuse_another_list()

    def refuse_another_list(self) -> None:
        try:
            write_plan(self.run, self.subject.items(9)[1:], self.subject.unit_items, extend=True)
        except RunMismatch:
            return
        raise AssertionError("a list that lacks a planned item was taken")

    def give_up(self, unit: int) -> None:
        """A driver holds a unit for poison, while somebody may be making it."""
        fail_unit(self.subject.stage, self.run, self.plan, unit, "poison")
        self.look()

    def resume(self) -> None:
        """The command runs again, from plan to manifest, beside whoever is at work."""
        maker, before = Own(self.subject, next(self.numbers)), dict(self.committed)
        stage = replace(self.subject.stage, load=maker.load)
        result = run_job(stage, self.run, self.plan, self.subject.terms(), run_here(stage))
        self.look()
        # Where every unit was given up, a whole run kept nothing.
        assert result.sealed is not None
        kept = result.sealed.counts[self.subject.layout.counts[0]]
        assert result.exit_code == (0 if kept else NOTHING_KEPT)
        assert set(self.committed) == set(self.plan.units)
        self.assert_not_made_again(maker, before)
        self.assert_sealed(result.sealed, self.plan, before)
        self.assert_whole()

    def collect(self, hours: int) -> None:
        """Time goes by; what nothing names is removed."""
        self.store.clock += 3600 * hours
        before = set(self.store.objects)
        try:
            collect(self.run, self.plan, delete=True)
        except Incomplete:
            assert set(self.store.objects) == before
            return
        for key in before - set(self.store.objects):
            assert self.store.clock - self.store.modified[key] >= 3600 * LEAST_HOURS
            del self.seen[key]
        self.assert_whole()

    def begin(self, kind: str, act: Any) -> Task:
        task = Task(kind, Stepped(self.store, act), self.plan, self.committed)
        self.at_work.append(task)
        return task

    def run_on(self, store: ObjectStore) -> Run:
        return Run(store, self.run.recipe, self.run.commits, layout=self.run.layout)

    def teardown(self) -> None:
        """However it ends: the command runs again beside sealers who are slower, everybody else dies,
        the zombies come too late."""
        try:
            if hasattr(self, "run"):
                self.resume()
                for task in list(self.at_work):
                    if task.kind == "seal":
                        self.finish(task)
                    else:
                        task.stepped.step("die")
                self.manifests_agree_for_good()
                self.resume()
                for call in self.zombies:
                    call.do()
                    self.look()
                self.manifests_agree_for_good()
                self.collect(1)
                self.collect(40)
                self.assert_nothing_strays()
                self.resume()
        finally:
            for each in self.patches:
                each.stop()


class WeakLedgerMachine(LedgerMachine):
    """Every attempt commits under its own name, and which one counts is decided once."""

    commits = "sealed"

    def __init__(self) -> None:
        super().__init__()
        self.store = WeakStore()

    def take_in(self, unit: int, record: CommitRecord) -> None:
        self.committed.setdefault(unit, record.attempt)

    def assert_won(self, task: Task) -> None:
        """Its commit is one of those that may count."""
        prefix = keys.attempts(task.unit)
        records = [
            record_of(self.run, task.unit, key, data)
            for key, data in self.store.objects.items()
            if key.startswith(prefix)
        ]
        assert task.maker.device in {record.environment.get("device") for record in records}
