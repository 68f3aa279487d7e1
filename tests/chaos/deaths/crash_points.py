"""Every place where a run can die: before and after each call of the store, and while making.

The points are not listed anywhere: an undisturbed start is recorded, and each call that it makes is
two points, so that a new call is tried by itself.

    python -m tests.chaos.deaths.crash_points STAGE

reads `{"folder", "when", "call", "turn"}` line by line, for each forks a process that runs the command in
that folder and dies there, and answers with its exit code.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from factory.errors import ObjectMissing
from factory.ledger.keys import BESIDE
from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectInfo, ObjectStore
from tests.chaos.deaths.scenarios import FRESH, Scenario
from tests.chaos.stores.passing_store import PassingStore

DEAD = 137
"""Exit code of a process that died where it was told to."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
HASH = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True)
class Point:
    """A place in a run."""

    when: str
    """`before` or `after`."""
    call: str
    """Verb and key, hashes left out."""
    turn: int
    """Which of the calls of that name, from 1."""

    def __str__(self) -> str:
        return f"{self.when} {self.call}" + (f", {self.turn}" if self.turn > 1 else "")


class WatchedStore(PassingStore):
    """A store that says before and after each call where it is."""

    def __init__(self, inner: ObjectStore, at: Callable[[Point], None]) -> None:
        super().__init__(inner)
        self._at = at
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()

    def pass_by(self, call: str) -> int:
        """Say that a call is about to be made; returns its turn."""
        with self._lock:
            self._turns[call] += 1
            turn = self._turns[call]
        self._at(Point("before", call, turn))
        return turn

    @contextmanager
    def _around(self, verb: str, key: str) -> Iterator[None]:
        call = f"{verb} {HASH.sub('*', key)}"
        turn = self.pass_by(call)
        try:
            yield
        except ObjectMissing:
            # An answer as good as any.
            self._at(Point("after", call, turn))
            raise
        self._at(Point("after", call, turn))

    def put(self, key: str, data: bytes) -> None:
        with self._around("put", key):
            super().put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        with self._around("put_new", key):
            return super().put_new(key, data)

    def get(self, key: str) -> bytes:
        with self._around("get", key):
            return super().get(key)

    def find(self, key: str) -> ObjectInfo | None:
        with self._around("find", key):
            return super().find(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._around("list", prefix):
            yield from super().list(prefix)

    def delete(self, key: str) -> None:
        with self._around("delete", key):
            super().delete(key)


class Died(BaseException):
    """Not an error: nothing may catch it."""


class DyingStore(WatchedStore):
    """Its process dies at a point; whatever is unwound after that reaches the store no more."""

    def __init__(self, inner: ObjectStore, point: Point) -> None:
        super().__init__(inner, self._come_to)
        self.point = point
        self.dead = False

    def _come_to(self, here: Point) -> None:
        self.dead = self.dead or here == self.point
        if self.dead:
            raise Died


def watched_start(store: WatchedStore, scenario: Scenario) -> None:
    """Start on a store that says where the start is, the making of outcomes included."""
    call = f"make a {scenario.subject.layout.outcome}"

    def hear(item: str, index: int) -> None:
        store.pass_by(call)

    scenario.start(store, hear)


@cache
def recorded_points(scenario: Scenario) -> list[Point]:
    """Every point that an undisturbed start passes."""
    points: list[Point] = []
    watched_start(WatchedStore(scenario.store(), points.append), scenario)
    return points


def left_by_death(scenario: Scenario, point: Point) -> ObjectStore:
    """The store after a start that died at a point, by an exception: quick, and nearly as good."""
    store = DyingStore(scenario.store(), point)
    try:
        watched_start(store, scenario)
    except Died:
        return store.inner
    raise AssertionError(f"{scenario}: never came to {point}")


class Nursery:
    """A process that bears others quickly: it has imported everything, and forks."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def __enter__(self) -> "Nursery":
        root = Path(__file__).parent.parent.parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.deaths.crash_points", self.stage],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)} | dict.fromkeys(ONE_THREAD, "1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def die(self, folder: Path, point: Point) -> int:
        """Run the command in a folder until the point; the exit code of the process."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"folder": str(folder), **asdict(point)}), file=self._process.stdin)
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def run_in(folder: Path) -> LocalStore:
    """A store for a run that has a folder around it."""
    return LocalStore(folder / BESIDE)


def die_at(folder: str, point: Point, scenario: Scenario) -> None:
    """Run the command in this process, which ends at the point as if it were killed."""

    def at(here: Point) -> None:
        if here == point:
            os._exit(DEAD)

    store = run_in(Path(folder))
    scenario.subject.surround(store)
    watched_start(WatchedStore(store, at), scenario)


def main() -> None:
    """Answer requests until there are no more."""
    scenario = FRESH[sys.argv[1]]
    # What a run reads and imports is read and imported here, so that no child has to.
    watched_start(WatchedStore(scenario.store(), lambda point: None), scenario)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            code = 1
            try:
                die_at(request.pop("folder"), Point(**request), scenario)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
