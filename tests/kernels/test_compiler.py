"""Machine code for other processors than this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nonlin as nl
from entries import ELEMENTWISE
from nonlin.kernels.compiler import Compiler
from nonlin.kernels.llvm import Target
from nonlin.kernels.ufunc import Loop

AARCH64 = Compiler(Target("aarch64-unknown-linux-gnu", "generic"))
OLDEST = Compiler(Target("x86_64-unknown-linux-gnu", "x86-64-v3"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_kernel_lowers_for_aarch64(name: str, dtype: str) -> None:
    function = nl.activations[name]._function("x", (1,))
    code = AARCH64.assembly(Loop(function, (dtype,) * (len(function.operands) + 1)).kernel())
    assert "\tret" in code


@pytest.mark.parametrize("name", ["relu", "gelu", "sin", "xielu"])
def test_the_oldest_x86_target_needs_no_avx512(name: str) -> None:
    function = nl.activations[name]._function("x", (0,))
    code = OLDEST.assembly(Loop(function, ("float32",) * (len(function.operands) + 1)).kernel())
    assert "ymm" in code
    assert "zmm" not in code


def test_the_oldest_x86_target_passes_the_accuracy_tests() -> None:
    tests = Path(__file__).parents[1] / "test_values.py"
    environment = {**os.environ, "NONLIN_CPU": "x86-64-v3", "PYTEST_ADDOPTS": ""}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "float64_agrees", str(tests)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
