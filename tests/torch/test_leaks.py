"""What is called with ever new parameters compiles nothing, and keeps nothing."""

import sys

import pytest

from torch_calls import in_a_process_of_its_own


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_a_new_parameter_in_every_call() -> None:
    in_a_process_of_its_own("torch_leaks.py", "400")
