"""Runs of stages as Ray's own endpoint shows them, and what queries find there."""

import re
import threading
import time
from collections import defaultdict
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from factory.on_ray.metrics import ALL, METRICS
from factory.storage.patience import UNCLEAR
from tests.cluster.queries import OF_HISTOGRAMS, labels_of, metrics_of, queries
from tests.factory.on_ray.metered import BORDERLINE, OUTCOMES, SEEN, SUBJECTS, UNITS, runs_at
from tests.servers.processes import free_ports

pytestmark = pytest.mark.long
STAGES = ("generate", "edit", "captions")
"""With a stub, a device and a server; the others are counted by the same code."""
OF_RAY = re.compile("[A-Z]|otel_")


class Scrapes(threading.Thread):
    """Reads an endpoint again and again, since gauges of what has ended are gone."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.seen = defaultdict(dict)
        """Of each sample's name, its labels with the highest value."""
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.5):
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as reply:
                    text = reply.read().decode()
            except OSError:
                continue
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    of, labels = self.seen[sample.name], frozenset(sample.labels.items())
                    of[labels] = max(of.get(labels, sample.value), sample.value)

    def labels(self, name):
        return [dict(labels) for labels in self.seen.get(name, {})]

    def sum(self, name, **wanted):
        """Over all processes."""
        return sum(
            value
            for labels, value in self.seen.get(name, {}).items()
            if wanted.items() <= dict(labels).items()
        )


@pytest.fixture(scope="module")
def scrapes(tmp_path_factory):
    return scraped(tmp_path_factory.mktemp("metered"), STAGES)


def scraped(folder, stages):
    (port,) = free_ports(1)
    (folder / SEEN).touch()
    with runs_at(folder, port, stages) as process:
        found = Scrapes(port)
        try:
            ended = [process.stdout.readline().split() for _ in stages]
            # What is told last.
            time.sleep(4)
        finally:
            found.ended.set()
    assert ended == [[stage, "0", str(UNITS)] for stage in stages]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_did_is_what_is_shown(scrapes, stage):
    assert_shown(scrapes, stage)


@pytest.mark.slow
def test_so_it_is_of_those_that_are_shown_as_these_are(tmp_path):
    others = [stage for stage in SUBJECTS if stage not in STAGES]
    found = scraped(tmp_path, others)
    for stage in others:
        assert_shown(found, stage)


def assert_shown(scrapes, stage):
    of = {"stage": stage}
    assert scrapes.sum("ray_editmill_units_total", end="made", **of) == UNITS
    # A unit of an export is one file.
    outcomes = scrapes.sum("ray_editmill_outcomes_total", **of)
    assert outcomes == UNITS if stage == "export" else outcomes > UNITS
    items = UNITS * (1 if stage in ("generate", "encode", "export") else OUTCOMES)
    assert scrapes.sum("ray_editmill_items_total", **of) == items
    assert scrapes.sum("ray_editmill_unit_seconds_count", **of) == UNITS
    # Each commit was stored at the second attempt.
    assert scrapes.sum("ray_editmill_store_errors_total", kind=UNCLEAR, **of) == UNITS
    assert scrapes.sum("ray_editmill_store_errors_total", **of) == UNITS
    near = BORDERLINE if stage == "generate" else 0
    assert scrapes.sum("ray_editmill_borderline_total", **of) == near
    busy = [
        value
        for labels, value in scrapes.seen["ray_editmill_busy_share"].items()
        if of.items() <= dict(labels).items()
    ]
    assert max(busy) > 0
    assert scrapes.sum("ray_editmill_open_units", **of) == UNITS
    if stage in ("edit", "evaluate"):
        assert scrapes.sum("ray_editmill_rows_total", **of) > 0


def test_every_metric_is_there_with_its_labels_and_no_more(scrapes):
    endings = {"counter": "_total", "gauge": "", "histogram": "_count"}
    for name, metric in METRICS.items():
        found = scrapes.labels(f"ray_{name}{endings[metric.kind]}")
        assert {labels["stage"] for labels in found} == set(STAGES), name
        # Ray's own begin with a capital, or say which of its parts has passed it on.
        ours = {label for labels in found for label in labels if not OF_RAY.match(label)}
        assert ours == {*ALL, *metric.labels}, name


@pytest.mark.parametrize(("where", "query"), queries().items(), ids=queries())
def test_a_query_finds_its_metrics_and_labels(scrapes, where, query):
    for name, matchers in metrics_of(query):
        there = scrapes.labels(name)
        assert there, name
        for labels in there:
            assert {*matchers} <= {*labels}
            assert labels_of(query) - OF_HISTOGRAMS <= {*labels}
        for label, value in matchers.items():
            if value != ".*":
                assert {labels[label] for labels in there} & set(value.split("|"))
