"""Measures that fail, hang or come too late cost no other figure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.on_gpu.stages import STOPPED, Stage, Stages, merged

ROOT = Path(__file__).parents[2]


class Kept(list):
    """What a run stored, as it was at that moment."""

    def __call__(self, found):
        self.append(json.loads(json.dumps(found)))


def fails():
    raise ValueError(f"no such  kernel\nin {ROOT}/benchmarks")


def test_a_measure_that_fails_is_named_and_the_rest_goes_on():
    kept = Kept()
    stages = Stages(60, kept)
    stages.run(
        [
            Stage("first", lambda: {"a": 1, "by": {"8": 1}}),
            Stage("second", fails),
            Stage("third", lambda: {"b": 2, "by": {"16": 3}}),
        ]
    )
    assert stages.found["figures"] == {"a": 1, "b": 2, "by": {"8": 1, "16": 3}}
    assert list(stages.found["stages"]) == ["first", "third"]
    # Its kind, its words in one line, and where; no folder of this machine.
    assert stages.found["failed"] == {
        "second": "ValueError: no such kernel in benchmarks (at tests/benchmarks/test_stages.py:"
        f"{fails.__code__.co_firstlineno + 1})"
    }
    assert stages.found["not_reached"] == []
    assert kept[-1] == stages.found


def test_everything_known_is_stored_after_each_measure_and_the_running_one_before_it():
    kept = Kept()
    Stages(60, kept).run([Stage("first", lambda: {"a": 1}), Stage("second", fails)])
    states = [(one["running"], one["figures"], list(one["failed"])) for one in kept]
    assert states == [
        ("first", {}, []),
        ("first", {"a": 1}, []),
        ("second", {"a": 1}, []),
        ("second", {"a": 1}, ["second"]),
        (None, {"a": 1}, ["second"]),
    ]


def test_measures_are_dropped_from_the_end_when_the_time_is_short():
    ran = []

    def stage(name, needs_s):
        return Stage(name, lambda: ran.append(name) or {}, needs_s)

    stages = Stages(60, Kept())
    stages.run([stage("short", 1), stage("long", 100), stage("after it", 0)])
    assert ran == ["short"]
    assert stages.found["not_reached"] == ["long", "after it"]
    assert stages.found["running"] is None


def test_no_measure_begins_after_the_end():
    stages = Stages(-1, Kept())
    stages.run([Stage("only", lambda: {"a": 1})])
    assert (stages.found["figures"], stages.found["not_reached"]) == ({}, ["only"])


def test_memory_is_forgotten_before_a_measure_and_read_after_it():
    class Memory:
        said = []

        def forget(self):
            self.said.append("forget")

        def peak(self):
            self.said.append("peak")
            return {"peak_gib": 1.5}

    stages = Stages(60, Kept(), Memory())
    stages.run([Stage("one", lambda: Memory.said.append("measure") or {})])
    assert Memory.said == ["forget", "measure", "peak"]
    assert stages.found["stages"]["one"]["peak_gib"] == 1.5


HANGS = """
import json, sys, threading, time
from benchmarks.on_gpu.stages import Stage, Stages

file = sys.argv[1]
stages = Stages(60, lambda found: open(file, "w").write(json.dumps(found)))
watchdog = threading.Timer(0.5, stages.end_by_force, (lambda: print("cleaned"),))
watchdog.start()
hangs = Stage("hangs", lambda: time.sleep(600))
stages.run([Stage("first", lambda: {"a": 1}), hangs, Stage("last", dict)])
"""


def test_a_measure_that_hangs_is_ended_and_what_was_known_stays(tmp_path):
    file = tmp_path / "found.json"
    run = [sys.executable, "-c", HANGS, str(file)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (STOPPED, "cleaned\n"), ended.stderr
    found = json.loads(file.read_text())
    assert found["figures"] == {"a": 1}
    assert list(found["failed"]) == ["hangs"]
    assert found["not_reached"] == ["last"]
    assert found["running"] is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": 1}, {"a": {"c": 2}}, {"a": {"c": 2}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ("one", None, None),
    ],
)
def test_mappings_are_merged_and_all_else_is_replaced(old, new, expected):
    assert merged(old, new) == expected
