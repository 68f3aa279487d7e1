"""The workers of a run, as the notes of their makers show them: which hold what, which may die."""

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from factory.ledger import keys
from factory.ledger.plan import Item
from factory.ledger.units.strikes import COMPANY
from factory.storage.protocol import ObjectStore
from tests.chaos.findings import whole_lines
from tests.servers.fault_proxy import FaultProxy


class Victims:
    """Live workers."""

    def __init__(
        self,
        log: Path,
        store: ObjectStore,
        proxy: FaultProxy,
        uri: str,
        items: Sequence[Item],
        unit_items: int,
    ) -> None:
        self.log = log
        self.store = store
        self.proxy = proxy
        self.root = uri.removeprefix("s3:/") + "/"
        self.unit_of = {item.item_id: n // unit_items for n, item in enumerate(items)}
        self.deaths: Counter[int] = Counter()
        """Units that were in flight on a worker when it was killed, and how often."""

    def landed(self) -> dict[int, float]:
        """When each unit's first commit was stored."""
        found: dict[int, float] = {}
        for key, at in self.stored().items():
            name = keys.commit_name(key)
            if name is not None:
                found[name.unit] = min(at, found.get(name.unit, at))
        return found

    def stored(self) -> dict[str, float]:
        """When each object of the run was first stored."""
        return {path.removeprefix(self.root): at for path, at in self.proxy.landed.items()}

    def alive(self) -> list[int]:
        """Workers, by process id."""
        return [
            pid for file in sorted(self.log.glob("*.jsonl")) if is_worker(pid := int(file.stem))
        ]

    def held(self, pid: int) -> set[int]:
        """Units that a worker has begun and nobody has committed."""
        lines = whole_lines(self.log / f"{pid}.jsonl")
        begun = {self.unit_of[name] for line in lines for name in line.get("begin", [])}
        return begun - set(self.landed())

    def busy(self) -> list[int]:
        """Workers that have something in hand."""
        return [pid for pid in self.alive() if self.held(pid)]

    def kill(self, rng: random.Random) -> bool:
        """Kill a worker at work; False where there is none that may be killed.

        A unit's last trial, alone after two deaths, is spared: whoever dies then is given up, which
        is right for a poison unit and would be the killer's doing here.
        """
        workers = {pid: self.held(pid) for pid in self.alive()}
        spared = {
            unit
            for units in workers.values()
            for unit in units
            if max(self.deaths[unit], self._strikes(unit)) >= COMPANY
        }
        may_die = [pid for pid, units in workers.items() if units and not units & spared]
        if not may_die:
            return False
        pid = rng.choice(may_die)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.deaths.update(workers[pid])
        return True

    def _strikes(self, unit: int) -> int:
        return sum(1 for _ in self.store.list(keys.strikes(unit)))


def is_worker(pid: int) -> bool:
    """Whether the process lives and is a worker of Ray; an id may have been given away again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return words.startswith(b"ray::")
