"""The room is loaded by the first call, whatever that is: also by one that torch traces."""

from torch_calls import in_a_process_of_its_own


def test_every_entry_point_as_the_first_call() -> None:
    in_a_process_of_its_own("torch_first_calls.py")
