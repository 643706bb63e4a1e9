"""What must work with NumPy and llvmlite alone: CI runs it against the built wheel, with newest and oldest promised versions.

The tests themselves need far more than the core, so that they see no framework that is imported by mistake, and no old NumPy.
"""

from __future__ import annotations

import sys

import numpy as np

import nonlin as nl

EXTRAS = {
    "torch",
    "jax",
    "tensorflow",
    "keras",
    "scipy",
    "mpmath",
    "rich",
    "typer",
    "pandas",
    "sklearn",
    "matplotlib",
    "jinja2",
}


def main() -> None:
    x = np.linspace(-4, 4, 1000, dtype=np.float32)
    for name, entry in nl.activations.items():
        given = {n: 2 for n, parameter in entry.parameters.items() if parameter.default is None}
        y = entry(x, **given)
        assert y.dtype == np.float32, name
        assert np.isfinite(y[y.size // 2 :]).any(), name
        if isinstance(entry, nl.Elementwise):
            assert np.isfinite(entry.derivative(x.astype(np.float64), **given)).all(), name
    np.testing.assert_allclose(nl.gelu([-1.0, 0.0, 1.0]), [-0.15865525393145707, 0, 0.8413447460685429], rtol=1e-15)

    @nl.activation
    def own(x, slope=0.1):  # type: ignore[no-untyped-def]
        return nl.where(x > 0, x, slope * nl.tanh(x))

    assert own.derivative(-1e-9) == 0.1
    loaded = sorted(EXTRAS & set(sys.modules))
    assert not loaded, f"the core has imported {loaded}"
    print(f"{len(nl.activations)} activations with NumPy {np.__version__}")


if __name__ == "__main__":
    main()
