"""The stub that editors read is what the registry says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_stub_is_up_to_date() -> None:
    stub = runpy.run_path(str(ROOT / "tools" / "make_torch_stub.py"))["stub"]()
    written = (ROOT / "src" / "nonlin" / "torch" / "__init__.pyi").read_text()
    assert stub == written, "run python tools/make_torch_stub.py"
