"""Formulas that are compiled, called and dropped leave nothing behind; run in a process of its own."""

import gc
import os
import warnings
from pathlib import Path

import numpy as np

import nonlin as nl
from nonlin.formula import absolute, exp, expression, tanh

WARM, FORMULAS = 40, 80
#: In bytes. It was 56,000 while passes remembered each node, and is 6,000 now.
LARGEST = 25_000
FORMS = (
    lambda x, c: x / (c + absolute(x)) + c * x * x / (2 + c + x * x),
    lambda x, c: x * tanh(c * x) + exp(-c * x * x),
    lambda x, c: nl.where(x > c, x, c * x * exp(x / c)),
    lambda x, c: tanh(x + c) / (x * x + c),
)


def compile_and_drop(k: int) -> None:
    def dropped(x):  # type: ignore[no-untyped-def]
        return FORMS[k % len(FORMS)](x, 1 + k / 1000)

    nl.activation(dropped)(np.ones(3, np.float32))


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    warnings.simplefilter("ignore")
    expression._MOST_REMEMBERED = 2**11  # so that the limit is met a few times
    for k in range(WARM):
        compile_and_drop(k)
    before = resident()
    for k in range(WARM, WARM + FORMULAS):
        compile_and_drop(k)
    each = (resident() - before) / FORMULAS
    assert each < LARGEST, f"{each:,.0f} bytes stay in memory for each formula that was compiled and dropped"


if __name__ == "__main__":
    main()
