"""Results say what they were measured with, also where a package is missing."""

import json

from benchmarks import record


def test_a_package_that_is_not_here_costs_no_result(monkeypatch):
    monkeypatch.setattr(record, "PACKAGES", ("torch", "no-such-package"))
    versions = record.recorded({"a": 1}, {})["versions"]
    assert versions["torch"]
    assert versions["no-such-package"] is None


def test_a_result_that_is_not_there_is_written_and_places_elsewhere_are_not_named(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    words = ["benchmarks/some.py", "--cases", "../elsewhere/cases.jsonl", "--work", "/elsewhere"]
    monkeypatch.setattr("sys.argv", words)
    path = record.replace_results("some", "a", {"a_1": 1, "b": 2}, {})
    assert (
        json.loads(path.read_text())["command"]
        == "python benchmarks/some.py --cases DIR --work DIR"
    )
    record.replace_results("some", "a", {"a_2": 3}, {})
    assert json.loads(path.read_text())["figures"] == {"b": 2, "a_2": 3}
