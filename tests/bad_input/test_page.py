"""The page of all cases: complete, and no row that is no longer true."""

from tests.bad_input.page import PAGE, accepted_rows, broken_rows, numbered, row, trained_rows


def test_the_page_lists_exactly_the_tables_cases() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    shown = [line for line in rows if not line.startswith("| # ")]
    expected = [row(number, case) for _, number, case in numbered()]
    expected += accepted_rows() + trained_rows() + broken_rows()
    assert len(shown) == len(expected), "run `python -m tests.bad_input.page`"
    for line, start in zip(shown, expected, strict=True):
        assert line.startswith(start), "run `python -m tests.bad_input.page`"


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.id for _, _, case in numbered()]
    assert len(names) == len({*names})
