"""Rounds of runs under a schedule of kills that is drawn from a seed; see `run.py`."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from factory.ledger.keys import BESIDE, REPLIES
from factory.ledger.run import create_run, open_run
from factory.storage.probe import probe
from tests.chaos.command import undisturbed_run
from tests.chaos.driver import Job
from tests.chaos.findings import Findings, examine
from tests.chaos.nodes import Nodes
from tests.chaos.noting import Habits
from tests.chaos.servers import direct_store
from tests.chaos.subjects.subject import Work, subject_of
from tests.chaos.victims import Victims
from tests.servers.fault_proxy import Fault, FaultProxy, favouring

ROOT = Path(__file__).parent.parent.parent
KILLED = -9
RESUMES = 3
"""Exit code of a start that ended early, and that the next one makes good."""


@dataclass(frozen=True)
class Amounts:
    """How much of everything."""

    worker_kills: int = 12
    driver_kills: int = 3
    node_kills: int = 1
    drain_notices: int = 3
    twins: int = 1
    """Second drivers that are started beside the first, on the same run."""
    store_faults: int = 10
    """Least number of each fault of the store."""
    units: int = 100
    """Units in a round."""
    nodes: int = 2
    workers: int = 4
    outcomes: int = 6
    """Of a unit: its candidates, or its rows."""
    pause: float = 0.02
    """Seconds that each takes."""
    gap: float = 1.5
    """Mean seconds between two events."""
    poison: int = 0
    """Units that kill their worker, in a round of their own at the end."""
    subject: str = "stub"
    """What the runs make; one of `subject.CLASSES`."""


@dataclass
class Chaos:
    """One series of rounds; everything that is drawn comes from the seed."""

    amounts: Amounts
    bucket: str
    upstream: str
    proxy: FaultProxy
    nodes: Nodes
    folder: Path
    seed: int = 0
    done: Counter[str] = field(default_factory=Counter)
    found: Findings = field(default_factory=Findings)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.events = Counter(
            worker=self.amounts.worker_kills,
            driver=self.amounts.driver_kills,
            node=self.amounts.node_kills,
            drain=self.amounts.drain_notices,
            twin=self.amounts.twins,
        )
        self.twins: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Rounds until there was enough of everything."""
        while self.events.total():
            self.round()
        odds = self.proxy.odds
        while self.least_fault < self.amounts.store_faults:
            self.proxy.odds = favouring(odds, min(self._awaited(), key=self._had))
            self.round()
        if self.amounts.poison:
            self.round(self.amounts.poison)

    @property
    def least_fault(self) -> int:
        """How often the rarest fault of the store was had."""
        return min(map(self._had, self._awaited()))

    def _had(self, fault: Fault) -> int:
        return self.proxy.counts[fault]

    def _awaited(self) -> list[Fault]:
        """With sealed commits only the few write-once records are conditional, so that conflicts are
        counted, and not waited for.
        """
        return [f for f in Fault if f != Fault.CONFLICT or not self.done["sealed_rounds"]]

    def round(self, planted: int = 0) -> None:
        """One run from its plan to its manifest; so many of its first units are poison."""
        self.done["rounds"] += 1
        number = self.done["rounds"]
        folder = self.folder / f"round-{number}"
        (folder / "log").mkdir(parents=True)
        work = Work(
            subject=self.amounts.subject,
            units=4 * planted or self.amounts.units,
            outcomes=self.amounts.outcomes,
            number=1000 + number,
            workers=self.amounts.workers,
            folder=str(self.folder),
        )
        subject = subject_of(work)
        subject.lay_out()
        items = subject.items()
        poison = frozenset(item.item_id for item in items[: planted * subject.unit_items])
        uri = f"{self.bucket}/chaos-{self.seed}-{os.getpid()}-{number}/{BESIDE}"
        habits = Habits(str(folder / "log"), self.amounts.pause, poison)
        job = Job(uri=uri, work=work, habits=habits)
        (folder / "job.json").write_text(job.model_dump_json())
        store = direct_store(uri, self.upstream)
        subject.surround(store)
        # A driver's proxy waits for whole requests and its store keeps none back, so that it may take a
        # weak server for a strong one; what a start does then is tested elsewhere.
        if probe(store).commits == "weak":
            create_run(store, subject.recipe, "sealed", subject.layout)
        given = subject.answers
        victims = Victims(folder / "log", store, self.proxy, uri, items, subject.unit_items)
        try:
            self._until_sealed(folder, victims, calm=bool(poison))
            self._end_twins(folder)
        finally:
            for twin in self.twins:
                twin.kill()
        self.proxy.settle()
        self.done["sealed_rounds"] += open_run(store).commits == "sealed"
        given = subject.answers - given
        peace = undisturbed_run(subject)
        log, stored = folder / "log", victims.stored()
        found = examine(subject, store, peace, log, victims.landed(), poison, stored)
        found.answers = given
        found.answers_lost = given - sum(1 for _ in store.list(REPLIES))
        self.found.add(found)
        self.say(f"round {number}: {found}")

    def _until_sealed(self, folder: Path, victims: Victims, *, calm: bool) -> None:
        """Start the driver, again and again, until it ends well; `calm` kills nothing."""
        due = time.monotonic() + self._gap()
        while True:
            driver, before = self._start(folder), len(victims.landed())
            try:
                while (code := driver.poll()) is None:
                    self.nodes.take_away()
                    working = len(victims.landed()) > before
                    if (
                        not calm
                        and time.monotonic() >= due
                        and self._event(driver, victims, folder, working)
                    ):
                        due = time.monotonic() + self._gap()
                    time.sleep(0.1)
            finally:
                driver.kill()
            if code == 0:
                return
            if code == RESUMES:
                self.done["driver_reruns"] += 1
            elif code != KILLED:
                raise RuntimeError(f"the driver ended with {code}: {_tail(folder)}")

    def _end_twins(self, folder: Path) -> None:
        """They come to the same end by themselves, whatever is left for them to do."""
        for twin in self.twins:
            while twin.poll() is None:
                self.nodes.take_away()
                time.sleep(0.1)
            if twin.returncode not in (0, RESUMES):
                raise RuntimeError(f"a twin ended with {twin.returncode}: {_tail(folder)}")
        self.twins.clear()

    def _event(
        self, driver: "subprocess.Popen[bytes]", victims: Victims, folder: Path, working: bool
    ) -> bool:
        """One of the events that are left, if it can be had just now."""
        if not self.events.total():
            return False
        event = self.rng.choices(list(self.events), list(self.events.values()))[0]
        # Mostly while there is work in flight; sometimes while it starts.
        if event in ("driver", "twin") and not working and self.rng.random() > 0.02:
            return False
        if not self._strike(event, driver, victims, folder):
            return False
        self.events[event] -= 1
        self.done[event] += 1
        return True

    def _strike(
        self, event: str, driver: "subprocess.Popen[bytes]", victims: Victims, folder: Path
    ) -> bool:
        """Whether it could be done just now."""
        if event == "twin":
            self.twins.append(self._start(folder))
            return True
        if event == "driver":
            driver.kill()
            driver.wait()
            return True
        if event == "worker":
            return victims.kill(self.rng)
        staying = self.nodes.staying()
        if not staying:
            self.nodes.refill()
            return False
        busy = set(victims.busy())
        at_work = [node for node in staying if busy & set(self.nodes.workers(node))] if busy else []
        # As with drivers; workers that load networks would else mostly be hit before they work.
        if not at_work and self.rng.random() > 0.002:
            return False
        node = self.rng.choice(at_work or staying)
        if event == "drain":
            self.nodes.give_notice(node, self.rng.uniform(1.0, 4.0))
        else:
            self.nodes.kill(node)
        self.nodes.refill()
        return True

    def _start(self, folder: Path) -> "subprocess.Popen[bytes]":
        self.done["driver_starts"] += 1
        with (folder / "driver.err").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.driver", str(folder / "job.json")],
                cwd=ROOT,
                env=os.environ | {"RAY_ADDRESS": self.nodes.address, "EDITMILL_OPEN_CLUSTER": "1"},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def _gap(self) -> float:
        return self.rng.expovariate(1 / self.amounts.gap)

    def say(self, words: str) -> None:
        """Where it stands, for whoever waits."""
        left = {name: count for name, count in self.events.items() if count}
        print(f"{words}; left {left}; least fault {self.least_fault}", file=sys.stderr, flush=True)


def _tail(folder: Path) -> str:
    return (folder / "driver.err").read_text(errors="replace")[-2000:]
