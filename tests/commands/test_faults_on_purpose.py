"""Some of the faults that tests/stress/faults_on_purpose.py tries, and its negative controls."""

import sys

import pytest
from helpers import REPOSITORY, run


@pytest.mark.slow
def test_no_fault_loses_anything_and_without_the_guards_they_are_found():
    result = run([sys.executable, REPOSITORY / "tests/stress/faults_on_purpose.py", "--quick"])
    assert result.code == 0, result.out + result.err
    assert "4 faults, 0 wrong" in result.out
    assert result.out.count("without its guard") == 2
    assert "NOT FOUND" not in result.out
