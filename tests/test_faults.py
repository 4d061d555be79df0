"""The fault matrix: every row has a test, and the page of them is true."""

import pytest
from faults import PAGE, found, matrix, page


def test_every_marker_names_a_row_and_says_what_it_tries():
    rows = matrix()["rows"]
    for fault in found():
        assert fault.row in rows, f"{fault.test}: there is no row {fault.row}"
        assert len(fault.what) > 3, fault.test


@pytest.mark.parametrize("row", matrix()["rows"])
def test_every_row_has_a_test(row):
    has = any(fault.row == row for fault in found())
    assert has, f"no test has the marker fault({row!r}, …)"


def test_the_page_is_made_from_the_markers():
    assert PAGE.read_text() == page(), "run `python tests/faults.py` to write FAULTS.md again"


def test_every_guard_of_the_mutation_check_stands_in_its_module():
    from mutations import MUTATIONS, check

    assert len(MUTATIONS) >= 20
    check()
