"""What is promised of an activation, what is measured, and the warning for formulas that cannot keep it."""

import warnings

import numpy as np
import pytest

import nonlin as nl
from nonlin.definition import Registry
from nonlin.definition.decorator import define
from nonlin.formula import Expression, exp


def gompertz(x: Expression) -> Expression:
    return x * exp(-exp(-2 * x))


@pytest.mark.parametrize("name", ["relu", "silu", "mish", "hard_sigmoid", "star_relu"])
def test_what_is_measured_is_as_promised(name: str) -> None:
    found = nl.activations[name].accuracy
    assert {dtype for dtype, _ in found} >= {"float16", "float32", "float64"}
    assert all(measurement.is_kept for measurement in found.values()), found
    assert found["float32", 0].promised == (2.5 if name == "mish" else 2)
    assert found["float16", 0].promised == 0.51
    assert all(measurement.cancelling <= 6e-8 for measurement in found.values())


def test_exact_precision_is_measured() -> None:
    with nl.precision("exact"):
        found = nl.silu.accuracy["float32", 1]
    assert found.promised == 0.5001
    assert found.is_kept


def test_what_is_beyond_the_promise_says_so() -> None:
    found = nl.golu.accuracy
    assert not found["float64", 0].is_kept
    assert "beyond the promise at x = " in found["float64", 0].excuse
    assert found["float32", 0].excuse == ""
    assert repr(found).splitlines()[0] == "accuracy of golu"
    assert "  float64 f " in repr(found)
    assert "ulp; beyond the promise at x = " in repr(found)


def test_there_is_nothing_to_measure_without_values_or_of_pairs() -> None:
    with pytest.raises(ValueError, match="threshold has no errors to measure before threshold, value is given: see with_"):
        _ = nl.activations["threshold"].accuracy
    assert nl.activations["threshold"].with_(threshold=1.0, value=0.0).accuracy["float32", 0].measured == 0
    with pytest.raises(ValueError, match="swiglu takes 2 arrays"):
        _ = nl.swiglu.accuracy


def test_a_formula_that_cannot_keep_the_promise_is_warned_of_once() -> None:
    made = define(gompertz)
    with pytest.warns(nl.AccuracyWarning, match=r"^gompertz: errors of [0-9.]+ ulp were seen in float64, at x = -"):
        made(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(2.0)
        made(np.float32(1))  # computed in float64 it keeps the promise
        define(gompertz)(1.0)  # the same formula


def test_the_catalogue_is_not_warned_of(registry: Registry) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nl.golu.derivative(1.0)
        nl.activation(name="own_gate")(lambda x: x * nl.sigmoid(3 * x))(1.0)
