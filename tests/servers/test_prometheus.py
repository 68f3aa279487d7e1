"""The rules and the dashboard's queries on a real Prometheus that reads a real Ray's endpoint."""

import math
import os
import time
from dataclasses import replace

import pytest

from tests.cluster.queries import RULES, metrics_of, queries, rules, variables
from tests.factory.on_ray.metered import REPORT_MS, SEEN, UNITS, runs_at
from tests.servers import alerts
from tests.servers.alerts import CALM, CASES, alerts_file
from tests.servers.processes import ServerFailed, free_ports
from tests.servers.prometheus import prometheus

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not os.environ.get("EDITMILL_REQUIRE_SERVERS"):
        pytest.skip("start with make test-servers")
    folder = tmp_path_factory.mktemp("prometheus")
    (port,) = free_ports(1)
    try:
        with (
            prometheus(folder, RULES, f"127.0.0.1:{port}") as found,
            runs_at(folder, port, ["generate"]),
        ):
            # Of each counter two samples that differ, so that there is a rate.
            until_made(found, 1)
            (folder / SEEN).touch()
            until_made(found, UNITS)
            yield found
    except ServerFailed as error:
        pytest.fail(f"Prometheus could not be started: {error}")


def until_made(server, units):
    """Until it has read that so many have been made, and whatever is told together with that."""
    end = time.monotonic() + 120
    while not server.query(f'sum(ray_editmill_units_total{{end="made"}}) >= {units}'):
        assert time.monotonic() < end
        time.sleep(0.2)
    time.sleep(2 * REPORT_MS / 1000)


def test_promtool_finds_nothing_wrong_with_the_rules(server):
    assert f"{len(rules())} rules found" in server.check_rules(RULES)


def test_the_rules_are_loaded_and_evaluated(server):
    (group,) = server.get("/api/v1/rules")["data"]["groups"]
    found = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in group["rules"]}
    assert found == {rule["alert"]: ("ok", "") for rule in rules()}


def test_the_endpoint_is_read(server):
    (target,) = server.get("/api/v1/targets")["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


@pytest.mark.parametrize(("where", "query"), queries().items(), ids=queries())
def test_a_query_is_answered(server, where, query):
    """Without an error, each of its metrics found, and a panel with something to draw."""
    drawn = server.query_range(query)
    if where.startswith("panel"):
        assert any(math.isfinite(float(value)) for one in drawn for _, value in one["values"])
    for name, _ in metrics_of(query):
        assert server.query(f"count_over_time({name}[5m])"), name


def test_each_alert_is_raised_by_what_it_is_for_and_by_nothing_else(server, tmp_path):
    assert set(CASES) == {rule["alert"] for rule in rules()}
    server.test_rules(alerts_file(tmp_path, RULES))


def test_a_case_that_raises_nothing_is_told(server, tmp_path, monkeypatch):
    calm = {"EditmillStoreErrors": replace(CASES["EditmillStoreErrors"], bad=CALM)}
    monkeypatch.setattr(alerts, "CASES", calm)
    with pytest.raises(ServerFailed, match="EditmillStoreErrors"):
        server.test_rules(alerts_file(tmp_path, RULES))


def test_counters_say_what_was_made(server):
    made = server.query('sum by (run, stage) (ray_editmill_units_total{end="made"})')
    ((labels, value),) = [(one["metric"], one["value"][1]) for one in made]
    assert (labels["stage"], value) == ("generate", f"{UNITS}")
    assert labels["run"].endswith("/generate/out/_editmill")


def test_variables_find_their_values(server):
    for name, label in variables().values():
        found = server.get(f"/api/v1/label/{label}/values", **{"match[]": name})
        assert found["data"], label
