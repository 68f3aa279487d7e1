"""Results say what they were measured with, also where a package is missing."""

from benchmarks import record


def test_a_package_that_is_not_here_costs_no_result(monkeypatch):
    monkeypatch.setattr(record, "PACKAGES", ("torch", "no-such-package"))
    versions = record.recorded({"a": 1}, {})["versions"]
    assert versions["torch"]
    assert versions["no-such-package"] is None
