"""Cases for the alerts: series that raise one each, and those of a calm run; `promtool` plays them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.queries import rules

RUN = {"run": "s3://bucket/run/_editmill", "stage": "generate"}
MINUTES = 120
"""Long enough for each alert's range and its patience."""
Series = Mapping[str, str]
"""Values of each metric, one a minute, as promtool writes them: `first+step x times`."""

CALM: Series = {
    "editmill_open_units": f"1000-5x{MINUTES}",
    'editmill_units_total{end="made"}': f"0+5x{MINUTES}",
    "editmill_rows_total": f"0+5000x{MINUTES}",
    'editmill_busy_share{worker="a"}': f"0.9+0x{MINUTES}",
    'editmill_busy_share{worker="b"}': f"0.9+0x{MINUTES}",
    'editmill_worker_deaths_total{cause="process"}': f"0+0x{MINUTES}",
    'editmill_outcomes_total{outcome="accepted"}': f"0+20x{MINUTES}",
    'editmill_outcomes_total{outcome="failed"}': f"0+0x{MINUTES}",
    'editmill_store_errors_total{kind="unclear"}': f"0+0x{MINUTES}",
}


@dataclass(frozen=True)
class Case:
    """What goes wrong."""

    bad: Series
    """In place of the calm run's; empty values are a series that is not there."""
    labels: Mapping[str, str]
    """Of the alert, beside the run's."""


def alerts_file(folder: Path, rules_file: Path) -> Path:
    """All cases and the calm run as one file for `promtool test rules`, which reads JSON as YAML."""
    raised = [_asked({**CALM, **case.bad}, name, case.labels) for name, case in CASES.items()]
    file = folder / "alerts.json"
    asked = {"rule_files": [str(rules_file)], "evaluation_interval": "1m"}
    file.write_text(json.dumps({**asked, "tests": [_asked(CALM), *raised]}))
    return file


def _asked(
    series: Series, alert: str = "", labels: Mapping[str, str] | None = None
) -> dict[str, object]:
    """One of promtool's tests: these series, and all alerts that stand in the end: this one, or none."""
    firing = 'ALERTS{alertstate="firing"}'
    found = []
    if alert:
        (rule,) = [rule for rule in rules() if rule["alert"] == alert]
        named = {
            "alertname": alert,
            "alertstate": "firing",
            **RUN,
            **rule["labels"],
            **(labels or {}),
        }
        found = [{"labels": f"ALERTS{{{_matchers(named)}}}", "value": 1}]
    return {
        "interval": "1m",
        "input_series": [
            {"series": _named(metric), "values": values}
            for metric, values in series.items()
            if values
        ],
        "promql_expr_test": [{"expr": firing, "eval_time": f"{MINUTES}m", "exp_samples": found}],
    }


def _matchers(labels: Mapping[str, str]) -> str:
    return ",".join(f'{label}="{value}"' for label, value in labels.items())


def _named(metric: str) -> str:
    name, _, labels = metric.removesuffix("}").partition("{")
    return f"ray_{name}{{{','.join(filter(None, [_matchers(RUN), labels]))}}}"


CASES: Mapping[str, Case] = {
    "EditmillNoProgress": Case(
        {
            "editmill_open_units": f"1000+0x{MINUTES}",
            'editmill_units_total{end="made"}': f"5+0x{MINUTES}",
            "editmill_rows_total": f"5000+0x{MINUTES}",
        },
        {},
    ),
    "EditmillNoWorkers": Case(
        {'editmill_busy_share{worker="a"}': "", 'editmill_busy_share{worker="b"}': ""}, {}
    ),
    "EditmillWorkersLost": Case(
        {'editmill_worker_deaths_total{cause="process"}': f"0+1x{MINUTES}"}, {}
    ),
    "EditmillFewerWorkers": Case(
        {
            f'editmill_busy_share{{worker="{worker}"}}': f"0.9+0x{MINUTES - 30} _x30"
            for worker in ("b", "c")
        },
        {},
    ),
    "EditmillManyFailures": Case(
        {'editmill_outcomes_total{outcome="failed"}': f"0+5x{MINUTES}"}, {}
    ),
    "EditmillStoreErrors": Case(
        {'editmill_store_errors_total{kind="unclear"}': f"0+5x{MINUTES}"}, {"kind": "unclear"}
    ),
    "EditmillIdleWorkers": Case(
        {f'editmill_busy_share{{worker="{worker}"}}': f"0.3+0x{MINUTES}" for worker in ("a", "b")},
        {},
    ),
}
"""By the alert that each of them raises."""
