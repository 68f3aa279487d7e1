"""Runs of every stage, one after the other, on a Ray whose endpoint is quick.

    python -m tests.factory.on_ray.metered FOLDER PORT [STAGE ...]

Each worker makes its first unit; for further ones it waits until there is a file FOLDER/seen. Prints a line
for each stage that is done, and holds its Ray until stdin ends, so that what was counted can be read. The
endpoint is http://127.0.0.1:PORT/metrics.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from factory.errors import StorageUnavailable
from factory.ledger.keys import COMMITS
from factory.on_ray.ray_internals import keep_to_loopback
from factory.on_ray.units import run_on_ray
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.work.stage import Load
from tests.chaos.stores.passing_store import PassingStore
from tests.chaos.subjects.subject import Work, subject_of
from tests.environment import python_path, without_ray

SUBJECTS = {
    "generate": "stub",
    **{stage: stage for stage in ("encode", "edit", "evaluate", "captions", "export")},
}
"""Real makers with tiny models but for `generate`, whose engine is that of `edit`."""
UNITS, OUTCOMES = 6, 2
"""Of each run, and of a unit."""
NUMBER, BORDERLINE = 1, 1
"""A run of the stub in which so many outcomes lie close to a gate."""
SEEN = "seen"
"""A file, by which a run learns that its first units have been counted."""
REPORT_MS = 1000
"""Ray's least, in place of 10 s."""


@dataclass(frozen=True)
class Slowly:
    """Loads a maker that takes its time, so that Ray hears of it while it lives."""

    load: Load
    seconds: float
    seen: str

    def __call__(self, run: Any, pool: Any) -> Any:
        maker, seconds, seen = self.load(run, pool), self.seconds, self.seen

        class Slow:
            made = 0

            def make(self, unit, items):
                time.sleep(seconds)
                while self.made and not os.path.exists(seen):
                    time.sleep(0.1)
                self.made += 1
                return maker.make(unit, items)

            def __getattr__(self, name):
                return getattr(maker, name)

        return Slow()


class Unwell(PassingStore):
    """Gives no clear answer when a process stores a commit for the first time; everything else works."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.failed: set[str] = set()

    def put_new(self, key: str, data: bytes) -> bool:
        if key.startswith(COMMITS) and key not in self.failed:
            self.failed.add(key)
            raise StorageUnavailable("planted")
        return super().put_new(key, data)


@contextmanager
def runs_at(folder: Path, port: int, stages: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    """Such a process, which ends with what is inside."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.factory.on_ray.metered", folder, str(port), *stages]
    with subprocess.Popen(
        command,
        cwd=root,
        env=without_ray() | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
            process.communicate(timeout=60)
        finally:
            # Its Ray ends with it.
            process.kill()


def main() -> int:
    folder, port, *stages = sys.argv[1:]
    keep_to_loopback()
    ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
        _metrics_export_port=int(port),
        _system_config={"metrics_report_interval_ms": REPORT_MS},
    )
    for stage in stages or SUBJECTS:
        place = f"{folder}/{stage}"
        os.makedirs(f"{place}/data")
        work = Work(
            subject=SUBJECTS[stage],
            units=UNITS,
            outcomes=OUTCOMES,
            folder=f"{place}/data",
            number=NUMBER,
        )
        result = subject_of(work).start(
            Unwell(open_store(f"{place}/out/_editmill")),
            lambda stage: run_on_ray(
                replace(stage, load=Slowly(stage.load, 0.7, f"{folder}/{SEEN}"))
            ),
        )
        print(stage, result.exit_code, result.units_made, flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
