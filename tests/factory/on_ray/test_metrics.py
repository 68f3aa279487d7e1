"""What a run shows while it goes on: counted here without Ray, and read back from Ray's own endpoint."""

import re
import threading
import time

import pytest

from factory.errors import Damaged, StorageRefused, StorageUnavailable
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.on_ray import metrics
from factory.on_ray.metrics import METRICS, DriverMeter, WorkerMeter, counters_of
from factory.pairs.generate import PairMaker
from factory.storage import patience
from factory.storage.local import LocalStore
from factory.work.reports import UnitProblem, UnitReport
from factory.work.stage import Metered
from tests.factory.work.test_toy_stage import Shouted
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture
def told(monkeypatch):
    """What Ray would be told: each number with its name and labels."""
    found = []

    class Of:
        def __init__(self, name):
            self.name = name

        def inc(self, value, tags):
            assert value > 0, "as Ray's own refuses it"
            found.append((self.name, value, tags))

        def _record(self, value, tags):
            found.append((self.name, value, tags))

        def set(self, value, tags):
            found.append((self.name, value, tags))

        observe = set

    monkeypatch.setattr(metrics, "_rays", Of)
    monkeypatch.setattr(metrics, "troubles", patience.Counter())
    return found


def values(told, name, **labels):
    """Of a metric, in the order in which they were told."""
    return [value for said, value, tags in told if said == name and labels.items() <= tags.items()]


@pytest.fixture
def run(tmp_path):
    opened = create_run(LocalStore(str(tmp_path)), recipe())
    return opened, write_plan(opened, triplets(5), 2)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Device:
    rows_run, idle_s = 0, 0.0


def report(unit, made=True, **counts):
    of = {"accepted": 0, "rejected": 0, "failed": 0} | counts
    return UnitReport(unit, of, 2.5, made, marks={"borderline": 3, "truncated": 9})


def test_a_made_unit_is_counted_with_its_items_and_outcomes(run, told):
    meter = WorkerMeter(*run)
    meter.see(report(0, accepted=3, rejected=20, failed=1))
    meter.see(report(2, accepted=1))
    meter._tell()
    assert values(told, "editmill_units", end="made") == [2]
    # The last of three units holds one triplet.
    assert values(told, "editmill_items") == [3]
    assert values(told, "editmill_outcomes", outcome="accepted") == [4]
    assert values(told, "editmill_outcomes", outcome="rejected") == [20]
    assert values(told, "editmill_borderline") == [6]
    assert values(told, "editmill_unit_seconds") == [2.5, 2.5]
    assert all(tags["run"] == run[0].uri and tags["stage"] == "generate" for *_, tags in told)
    told.clear()
    meter._tell()
    assert [name for name, *_ in told] == ["editmill_busy_share"]


def test_what_somebody_else_made_or_nobody_could_commit_counts_as_that(run, told):
    meter = WorkerMeter(*run)
    meter.see(report(0, made=False, accepted=3))
    meter.see(UnitProblem(1, "no answer"))
    meter.see(None)
    meter.see(ValueError("worker"))
    meter._tell()
    assert values(told, "editmill_units") == [1, 1]
    assert values(told, "editmill_units", end="found") == [1]
    assert values(told, "editmill_units", end="lost") == [1]
    assert values(told, "editmill_items") == []


def test_of_rows_made_anew_those_alone_are_items(tmp_path, told):
    shouted = Shouted(tmp_path)
    shouted.begin()
    meter = WorkerMeter(shouted.run, shouted.plan)
    meter.see(UnitReport(0, {"done": 1, "failed": 0}, 1.0, True))
    meter._tell()
    assert values(told, "editmill_items", stage="shout") == [1]
    assert values(told, "editmill_outcomes", stage="shout", outcome="done") == [1]


def test_rows_of_the_device_are_told_as_they_come(run, told):
    meter = WorkerMeter(*run)
    meter.maker, moved = Device(), []
    meter.moves = lambda: moved.append(meter.maker.rows_run)
    for rows in (0, 40, 40, 100):
        meter.maker.rows_run = rows
        meter._tell()
    assert values(told, "editmill_rows") == [40, 60]
    # And so does the witness hear of it, for whom a worker that goes on does not hang.
    assert moved == [40, 100]


def test_the_busy_share_is_that_with_a_unit_less_what_the_device_waited(run, told):
    clock, meter = Clock(), None
    meter = WorkerMeter(*run, clock=clock)
    meter.maker = Device()

    def share_after(seconds):
        clock.now += seconds
        meter._tell()
        return values(told, "editmill_busy_share")[-1]

    assert share_after(10) == 0.0
    with meter.in_hand():
        assert share_after(10) == 1.0
        with meter.in_hand():
            assert share_after(10) == 1.0
        clock.now += 4
    assert share_after(6) == pytest.approx(0.4)
    with meter.in_hand():
        meter.maker.idle_s += 2.5
        assert share_after(10) == pytest.approx(0.75)
    # It hears of a long wait when that ends.
    meter.maker.idle_s += 60
    assert share_after(10) == 0.0


def test_makers_say_what_their_device_did_or_nothing(run):
    silent = PairMaker(recipe(), StubSource())
    assert isinstance(silent, Metered)
    assert (silent.rows_run, silent.idle_s) == (0, None)
    source = StubSource()
    source.rows_run, source.idle_s = 40, 1.5
    told = PairMaker(recipe(), source)
    assert (told.rows_run, told.idle_s) == (40, 1.5)


def test_troubles_of_the_store_are_counted_by_kind(run, told, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(patience, "troubles", metrics.troubles)
    meter = WorkerMeter(*run)
    meter._tell()
    errors = "editmill_store_errors"
    assert {kind: values(told, errors, kind=kind) for kind in ("unclear", "refused", "spoilt")} == {
        "unclear": [0],
        "refused": [0],
        "spoilt": [0],
    }

    def fails(error):
        raise error

    with pytest.raises(StorageUnavailable):
        patience.patiently(lambda: fails(StorageUnavailable("")))
    with pytest.raises(StorageRefused):
        patience.patiently(lambda: fails(StorageRefused("")))
    run[0].store.put("x", b"")
    with pytest.raises(Damaged):
        patience.read_whole(run[0].store, "x", lambda data: fails(Damaged("")))
    told.clear()
    meter._tell()
    assert values(told, errors, kind="unclear") == [patience.TRIES]
    assert values(told, errors, kind="refused") == [1]
    assert values(told, errors, kind="spoilt") == [1]


def test_the_driver_has_every_counter_at_0_before_there_is_a_worker(run, told):
    deaths = patience.Counter()
    meter = DriverMeter(run[0], 3, deaths)
    meter._tell()
    counters = [(name, value) for name, value, _ in told if name != "editmill_open_units"]
    assert {name for name, _ in counters} == {
        name for name, metric in METRICS.items() if metric.kind == "counter"
    }
    assert {value for _, value in counters} == {0}
    assert len(counters) == len(counters_of(run[0].layout)) == 14
    assert values(told, "editmill_open_units") == [3]
    meter.open_units -= 1
    deaths["process"] += 2
    told.clear()
    meter._tell()
    assert values(told, "editmill_open_units") == [2]
    assert values(told, "editmill_worker_deaths", cause="process") == [2]


def test_nothing_that_goes_wrong_with_metrics_reaches_a_unit(run, monkeypatch):
    def broken(name):
        raise RuntimeError("Ray is gone")

    class Broken:
        @property
        def rows_run(self):
            raise RuntimeError("no device")

        idle_s = rows_run

    monkeypatch.setattr(metrics, "_rays", broken)
    monkeypatch.setattr(metrics, "EVERY_S", 0.01)
    meter = WorkerMeter(*run)
    meter.maker = Broken()
    meter.begin()
    with meter.in_hand():
        meter.see(report(999_999, accepted=1))
        meter.see(UnitReport(0, {"accepted": "many"}, 1.0, True))
    time.sleep(0.05)
    assert meter._thread.is_alive()
    meter.close()
    assert not meter._thread.is_alive()


def test_one_number_that_is_not_taken_does_not_keep_the_others(run, told, monkeypatch):
    taken = metrics._rays

    def some(name):
        if name == "editmill_items":
            raise RuntimeError("not this one")
        return taken(name)

    monkeypatch.setattr(metrics, "_rays", some)
    meter = WorkerMeter(*run)
    meter.see(report(0, accepted=3))
    meter._tell()
    assert values(told, "editmill_outcomes", outcome="accepted") == [3]


def test_what_is_left_is_told_at_the_end(run, told):
    meter = WorkerMeter(*run)
    meter.begin()
    meter.see(report(0, accepted=3))
    meter.close()
    assert values(told, "editmill_units", end="made") == [1]
    assert threading.active_count() < 50


def test_no_label_holds_a_key_or_grows_with_a_run(run):
    assert {label for metric in METRICS.values() for label in metric.labels} == {
        *("end", "outcome", "kind", "cause")
    }
    assert all(re.fullmatch(r"editmill_[a-z_]+", name) for name in METRICS)
    run[0].store.uri = "s3://me:secretpassword@bucket/run"
    assert "secretpassword" not in WorkerMeter(*run)._tags["run"]
