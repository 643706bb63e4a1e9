"""What more than one test file needs from pytest: fixtures, and the marks of known failures."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from known_failures import KNOWN_FAILURES
from nonlin.definition import Registry, activations
from nonlin.kernels.precision import get_precision, set_precision

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {test: reason for reason, tests in KNOWN_FAILURES.items() for test in tests}
    for item in items:
        if reason := reasons.get(item.nodeid.removeprefix("tests/")):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def registry() -> Iterator[Registry]:
    """The registry, which forgets after the test what the test defines."""
    entries, names = dict(activations._entries), dict(activations._names)
    yield activations
    activations._entries, activations._names = entries, names


@pytest.fixture
def process_precision() -> Iterator[None]:
    """Puts the precision of the process back after a test that sets it."""
    before = get_precision()
    yield
    set_precision(before)
