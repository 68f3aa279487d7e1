"""What Ray's metrics endpoints show of a run of any stage, under names that stay (`docs/watching.md`).

Whoever makes units counts in plain numbers; a thread tells them to Ray. So no call of Ray's stands
between a unit and its commit, and what goes wrong with metrics goes wrong there, without a word: the
ledger is what counts. A process that is killed takes its last seconds along.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ray.util import metrics as rays

from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.on_ray.ray_internals import count_nothing
from factory.storage.patience import REFUSED, SPOILT, UNCLEAR, troubles
from factory.work.reports import UnitProblem, UnitReport
from schemas.ledger.layout import Layout
from schemas.running.cluster import hide_secrets

EVERY_S = 5.0
"""Between two tellings, where there is no news. Ray itself passes on what it was told every 10 s."""
BORDERLINE = "borderline"
"""The mark of an outcome whose score lies close to a gate."""
MADE, FOUND, LOST = "made", "found", "lost"
"""Ends of a unit: made here, committed by somebody else before, made and not committed."""
PROCESS, NODE = "process", "node"
"""Why a worker died: its process ended, or its node was lost or about to leave."""
SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
"""Bounds of the histogram of a unit's seconds."""
ALL = ("run", "stage")
"""Labels of every metric."""


@dataclass(frozen=True)
class Metric:
    """A metric as Ray is told of it; Prometheus has it as `ray_<name>`, a counter as `ray_<name>_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    words: str
    labels: tuple[str, ...] = ()
    """Besides `ALL`."""


METRICS: Mapping[str, Metric] = {
    "editmill_open_units": Metric("gauge", "Units that this start has still to make."),
    "editmill_units": Metric("counter", "Units, by how they ended: made, found, lost.", ("end",)),
    "editmill_items": Metric("counter", "Items (triplets, edits, slices) whose units were made."),
    "editmill_outcomes": Metric("counter", "Outcomes, by what became of them.", ("outcome",)),
    "editmill_borderline": Metric("counter", "Outcomes whose score lies close to a gate."),
    "editmill_rows": Metric("counter", "UNet rows that carried a request."),
    "editmill_unit_seconds": Metric("histogram", "Seconds from a unit's start to its commit."),
    "editmill_busy_share": Metric("gauge", "Share of the last seconds in which a worker worked."),
    "editmill_store_errors": Metric(
        "counter",
        "Times that a store gave no clear answer, refused, or gave other bytes.",
        ("kind",),
    ),
    "editmill_worker_deaths": Metric("counter", "Workers that died, by what ended.", ("cause",)),
}
"""Few labels, each of few values, none of them a unit: what is shown does not grow with a run."""


@cache
def _rays(name: str) -> Any:
    metric = METRICS[name]
    labels = (*ALL, *metric.labels)
    if metric.kind == "counter":
        return rays.Counter(name, metric.words, labels)
    if metric.kind == "gauge":
        return rays.Gauge(name, metric.words, labels)
    return rays.Histogram(name, metric.words, list(SECONDS), labels)


class Meter:
    """What one process shows of a run."""

    def __init__(self, run: Run) -> None:
        self._tags = {"run": hide_secrets(run.uri)[:200], "stage": run.layout.stage}
        self._lock = threading.Lock()
        self._added: dict[tuple[str, str], float] = {}
        self._observed: dict[str, list[float]] = defaultdict(list)
        self._troubles: Counter[str] = Counter()
        self._news, self._closed = threading.Event(), False
        # At 0 from the beginning: of a counter that comes into being with its first event nobody sees that.
        for kind in (UNCLEAR, REFUSED, SPOILT):
            self.add("editmill_store_errors", 0, kind)
        self._thread = threading.Thread(target=self._go_on, name="editmill-metrics", daemon=True)

    def begin(self) -> None:
        """From now on Ray is told."""
        self._thread.start()

    def add(self, name: str, count: float, label: str = "") -> None:
        """To a counter; `label` is the value of its own label."""
        with self._lock:
            self._added[name, label] = self._added.get((name, label), 0.0) + count

    def observe(self, name: str, value: float) -> None:
        """For a histogram."""
        with self._lock:
            self._observed[name].append(value)

    def news(self) -> None:
        """Tell it now."""
        self._news.set()

    def close(self) -> None:
        """Tell what is left."""
        self._closed = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(2 * EVERY_S)

    def gauges(self) -> Mapping[str, float]:
        """What is measured at each telling; may add to counters."""
        return {}

    def _go_on(self) -> None:
        last = False
        while not last:
            last = self._closed
            with suppress(Exception):
                self._tell()
            if not last:
                self._news.wait(EVERY_S)
                self._news.clear()

    def _tell(self) -> None:
        now = Counter(troubles)
        for kind, times in (now - self._troubles).items():
            self.add("editmill_store_errors", times, kind)
        self._troubles = now
        gauges = self.gauges()
        with self._lock:
            added, self._added = self._added, {}
            observed, self._observed = self._observed, defaultdict(list)
        for name, value in gauges.items():
            _tell_rays("set", name, value, self._tags)
        for (name, label), count in added.items():
            tags = self._tags | dict.fromkeys(METRICS[name].labels, label)
            _tell_rays("inc", name, count, tags)
        for name, values in observed.items():
            for value in values:
                _tell_rays("observe", name, value, self._tags)


def _tell_rays(verb: str, name: str, value: float, tags: dict[str, str]) -> None:
    """One number; where Ray does not take it the others go on."""
    with suppress(Exception):
        metric = _rays(name)
        if verb == "inc" and value == 0:
            count_nothing(metric, tags)
        else:
            getattr(metric, verb)(value, tags)


class WorkerMeter(Meter):
    """A worker's: what it made, and how much of its time it worked."""

    def __init__(self, run: Run, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(run)
        self.plan = plan
        self.maker: Any = None
        """Asked for what `Metered` says, once there is one."""
        self.moves: Callable[[], object] = lambda: None
        """Called when rows were run since the last telling."""
        self._clock = clock
        self._hands, self._changed = 0, clock()
        self._worked = 0.0
        self._before = (clock(), 0.0, 0.0)
        self._rows = 0

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Inside, this worker has a unit."""
        self._hand(1)
        try:
            yield
        finally:
            self._hand(-1)

    def see(self, end: object) -> None:
        """How a unit ended: a report or a problem; whatever else is none of a unit's."""
        with suppress(Exception):
            if isinstance(end, UnitProblem):
                self.add("editmill_units", 1, LOST)
            elif isinstance(end, UnitReport):
                self.add("editmill_units", 1, MADE if end.made else FOUND)
                if end.made:
                    self._made(end)
            self.news()

    def _made(self, report: UnitReport) -> None:
        outcomes = sum(report.counts.values())
        # Of rows that were made anew alone there are as many outcomes as items.
        alone = self.plan.layout.retry == "row"
        self.add("editmill_items", outcomes if alone else self.plan.size(report.unit))
        for name, count in report.counts.items():
            self.add("editmill_outcomes", count, name)
        self.add("editmill_borderline", report.marks.get(BORDERLINE, 0))
        self.observe("editmill_unit_seconds", report.seconds)

    def gauges(self) -> Mapping[str, float]:
        with suppress(Exception):
            rows = int(getattr(self.maker, "rows_run", 0))
            if rows > self._rows:
                self.add("editmill_rows", rows - self._rows)
                self.moves()
            self._rows = rows
        return {"editmill_busy_share": self._share()}

    def _hand(self, by: int) -> None:
        with self._lock:
            now = self._clock()
            self._worked += now - self._changed if self._hands else 0.0
            self._changed = now
            self._hands += by

    def _share(self) -> float:
        """Of the time since the last telling, that with a unit; less what the device waited meanwhile."""
        self._hand(0)
        idle = 0.0
        with suppress(Exception):
            idle = float(getattr(self.maker, "idle_s", None) or 0.0)
        now = self._clock()
        then, worked_then, idle_then = self._before
        self._before = now, self._worked, idle
        took = now - then
        if took <= 0:
            return 0.0
        share = min(self._worked - worked_then, took - (idle - idle_then)) / took
        return max(0.0, min(1.0, share))


class DriverMeter(Meter):
    """The driver's: what is left to make, and the workers that died. All counters begin with it, so that
    they are there before there is a worker.
    """

    def __init__(self, run: Run, units: int, deaths: Mapping[str, int]) -> None:
        """`deaths` are those so far, by cause; it changes."""
        super().__init__(run)
        self.open_units = units
        self._deaths = deaths
        self._told: Counter[str] = Counter()
        for name, label in counters_of(run.layout):
            self.add(name, 0, label)

    def gauges(self) -> Mapping[str, float]:
        now = Counter(self._deaths)
        for cause, count in (now - self._told).items():
            self.add("editmill_worker_deaths", count, cause)
        self._told = now
        return {"editmill_open_units": float(self.open_units)}


def counters_of(layout: Layout) -> list[tuple[str, str]]:
    """Every counter of a stage's runs with each value of its own label."""
    values: Mapping[str, Sequence[str]] = {
        "end": (MADE, FOUND, LOST),
        "outcome": layout.counts,
        "kind": (UNCLEAR, REFUSED, SPOILT),
        "cause": (PROCESS, NODE),
    }
    return [
        (name, value)
        for name, metric in METRICS.items()
        if metric.kind == "counter"
        for value in (values[metric.labels[0]] if metric.labels else ("",))
    ]
