"""The measure of other gates counts what it was given."""

from benchmarks.dataset_selection import reselect


def test_all_candidates_of_a_made_up_run_are_counted(tmp_path):
    found = reselect(tmp_path, 50)
    assert found["reselect_candidates"] == 5000
    assert 0 < found["reselect_pairs"] <= 150
    assert found["reselect_s"] > 0
    assert "reselect_45m_s" not in found
