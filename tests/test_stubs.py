"""The stubs that editors read, and what the doors offer, are what the registry says."""

import runpy
from pathlib import Path

import pytest

import nonlin as nl

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", ["__init__.pyi", "torch/__init__.pyi"])
def test_the_stub_is_up_to_date(path: str) -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_stubs.py"))["STUBS"][path]()
    assert made == (ROOT / "src" / "nonlin" / path).read_text(), "run python tools/make_stubs.py"


def test_activations_stand_in_the_package_by_name() -> None:
    own = {name: entry for name, entry in nl.activations.items() if entry.family != "own"}
    assert {name: getattr(nl, name) for name in own} == own
    # Nothing else of the package has such a name: its own functions and modules are none of the registry's.
    others = {name for name, value in vars(nl).items() if not isinstance(value, nl.Activation)}
    assert not others & own.keys()
