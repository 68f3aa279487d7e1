"""The queries of the dashboard and the rules, and what they name."""

import json
import re
from pathlib import Path

from ruamel.yaml import YAML

GRAFANA = Path(__file__).parents[2] / "cluster" / "grafana"
DASHBOARD, RULES = GRAFANA / "dashboard.json", GRAFANA / "rules.yaml"
SELECTOR = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!=|!~|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
FILLED = {"$__rate_interval": "1m", "$run": ".*", "$stage": ".*"}
"""What Grafana puts in."""
OF_HISTOGRAMS = {"le"}


def dashboard():
    return json.loads(DASHBOARD.read_text())


def rules():
    (group,) = YAML(typ="safe").load(RULES)["groups"]
    return group["rules"]


def filled(query: str) -> str:
    for name, value in FILLED.items():
        query = query.replace(name, value)
    return query


def queries() -> dict[str, str]:
    """Each by where it stands."""
    found = {
        f"panel {panel['title']!r} {target['refId']}": filled(target["expr"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    }
    return found | {f"alert {rule['alert']}": rule["expr"] for rule in rules()}


def variables() -> dict[str, tuple[str, str]]:
    """Metric and label of which a variable of the dashboard takes its values."""
    found = {}
    for one in dashboard()["templating"]["list"]:
        if one["type"] == "query":
            named = re.fullmatch(
                r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", one["query"]["query"]
            )
            found[one["name"]] = (named[1], named[2])
    return found


def metrics_of(query: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics that a query names, each time with what its labels are compared with."""
    return [
        (name, dict(MATCHER.findall(matchers or ""))) for name, matchers in SELECTOR.findall(query)
    ]


def labels_of(query: str) -> set[str]:
    """The labels that a query groups or joins by."""
    return {
        name.strip()
        for names in GROUPING.findall(query)
        for name in names.split(",")
        if name.strip()
    }
