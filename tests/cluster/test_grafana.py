"""The dashboard and the rules: every query names metrics, labels and values that there are."""

import re
from pathlib import Path

import pytest

from factory.console import log
from factory.console.log import KEPT
from factory.ledger.looks import MOST_READS
from factory.on_ray.metrics import ALL, METRICS, counters_of
from schemas.captions import CAPTIONS
from schemas.edits import EDIT
from schemas.evaluation import EVALUATE
from schemas.export import EXPORT
from schemas.ledger.layout import GENERATE
from schemas.training.latents import ENCODE
from tests.cluster.queries import (
    OF_HISTOGRAMS,
    dashboard,
    labels_of,
    metrics_of,
    queries,
    rules,
    variables,
)

STAGES = (GENERATE, ENCODE, EDIT, EVALUATE, CAPTIONS, EXPORT)
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
EXPORTED = {
    f"ray_{name}{ending}": metric
    for name, metric in METRICS.items()
    for ending in ENDINGS[metric.kind]
}
"""As Prometheus has them."""


def values_of(label):
    return {
        value
        for layout in STAGES
        for name, value in counters_of(layout)
        if label in METRICS[name].labels
    }


@pytest.mark.parametrize(("where", "query"), queries().items(), ids=queries())
def test_a_query_names_what_is_exported(where, query):
    named = metrics_of(query)
    assert named, query
    for name, matchers in named:
        metric = EXPORTED[name]
        assert set(matchers) <= {*ALL, *metric.labels}, name
        for label, value in matchers.items():
            if label not in ALL:
                assert set(value.split("|")) <= values_of(label)
    known = {*ALL, *OF_HISTOGRAMS}.union(*(EXPORTED[name].labels for name, _ in named))
    assert labels_of(query) <= known


def test_every_metric_has_a_place_on_the_dashboard():
    shown = {
        name
        for panel in dashboard()["panels"]
        for one in panel["targets"]
        for name, _ in metrics_of(one["expr"])
    }
    assert {re.sub("_(total|bucket)$", "", name) for name in shown} == {
        f"ray_{name}" for name in METRICS
    }


def test_variables_take_their_values_from_labels_of_every_metric():
    assert variables() == {
        "run": ("ray_editmill_units_total", "run"),
        "stage": ("ray_editmill_units_total", "stage"),
    }


def test_panels_say_what_they_show_and_do_not_overlap():
    places = set()
    for panel in dashboard()["panels"]:
        assert panel["description"].endswith(".")
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= own


def test_there_is_an_alert_for_each_thing_that_goes_wrong_and_each_says_what_to_do():
    found = {rule["alert"]: rule for rule in rules()}
    assert set(found) == {
        *("EditmillNoProgress", "EditmillNoWorkers", "EditmillWorkersLost"),
        *("EditmillFewerWorkers", "EditmillManyFailures", "EditmillStoreErrors"),
        "EditmillIdleWorkers",
    }
    for rule in found.values():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "{{ $labels.run }}" in rule["annotations"]["summary"]


PAGE = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()


def test_the_page_lists_every_metric_with_its_kind_and_labels():
    rows = re.findall(
        r"^\| `ray_(editmill_\w+?)(_total)?` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE
    )
    listed = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, _, kind, labels in rows}
    assert listed == {name: (metric.kind, metric.labels) for name, metric in METRICS.items()}
    assert {name for name, total, *_ in rows if total} == {
        name for name, metric in METRICS.items() if metric.kind == "counter"
    }


def test_the_page_lists_every_value_of_labels_of_our_own_choice():
    for label in ("end", "kind", "cause"):
        row = next(line for line in PAGE.splitlines() if f"| `{label}` |" in line)
        assert all(f"`{value}`" in row for value in values_of(label)), label


def test_the_page_lists_every_alert_and_what_the_log_may_be_told():
    assert set(re.findall(r"^\| `(Editmill\w+)` \|", PAGE, re.MULTILINE)) == {
        rule["alert"] for rule in rules()
    }
    for name in (log.FORMAT, log.FILE, log.FOLDER):
        assert f"`{name}" in PAGE
    assert f"the newest {KEPT}." in PAGE
    assert f"at most\n  {MOST_READS} of them" in PAGE
