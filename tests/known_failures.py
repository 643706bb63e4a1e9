"""Tests that fail and should not, by reason: strict, so that whoever mends one has to delete its line."""

KNOWN_FAILURES: dict[str, list[str]] = {
    "golu: exp(-exp(-x)) is as wrong as its rounded inner result is large": [
        "test_values.py::test_float64_agrees_with_mpmath[golu-0]",
        "test_values.py::test_float64_agrees_with_mpmath[golu-1]",
        "test_values.py::test_float64_agrees_with_mpmath[golu-2]",
    ],
    "telu: sech(exp(x)) is as wrong as the rounded exp(x) is large": [
        "test_values.py::test_float64_agrees_with_mpmath[telu-2]",
    ],
    "snake: the slope 1 + sin(2*alpha*x) next to its double zeros, and alpha*x for huge x": [
        "test_values.py::test_float64_agrees_with_mpmath[snake-1]",
        "test_values.py::test_float64_agrees_with_mpmath[snake_beta-1]",
        "test_values.py::test_float64_agrees_with_mpmath_at_other_parameters[snake(alpha=-2)-1]",
    ],
    "snake: sine and cosine are known to 53 bits or a few more, fewer than their sum needs where it is small": [
        "test_parameters.py::test_every_value_of_the_parameters[snake-float64]",
    ],
    "rational: the slope by b4 at b4 = 0 overflows on the way where x is huge": [
        "test_parameters.py::test_every_value_of_the_parameters[rational-float64]",
    ],
    "rational: the second derivative cancels far out": [
        "test_values.py::test_float64_agrees_with_mpmath[rational-2]",
    ],
    "uint64 beside an integer parameter becomes float64": [
        f"test_conventions.py::test_integers_stay_integers_and_exact[{name}-uint64_{character}]"
        for name in ("leaky_relu", "prelu", "threshold", "hard_tanh", "hard_shrink", "soft_shrink")
        for character in "LQ"
    ],
    "the sample of inputs misses what is steep next to the edge of a domain": [
        "test_fuzz.py::test_formulas_that_failed_once[cosine of a logarithm next to its pole]",
    ],
    "an inner result is beyond the range of the dtype or the range that its rest has": [
        f"test_fuzz.py::test_formulas_that_failed_once[{name}]"
        for name in ("reciprocal of a subnormal number", "cosine of a huge power", "snake at the largest number")
    ],
    "a slope loses the domain of its function: NaN at an infinity where the function is none": [
        "test_fuzz.py::test_formulas_that_failed_once[slope outside the domain at infinity]",
    ],
    "the causes above and those in fuzz/failures.py": [
        f"test_fuzz.py::test_random_formulas[{check}]"
        for check in ("numbers", "broadcast_parameters", "both_at_once", "torch", "vmap")
    ],
}
