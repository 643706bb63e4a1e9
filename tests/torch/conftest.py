"""Tests of torch run beside others: its threads, which wait by spinning, are kept to one."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
