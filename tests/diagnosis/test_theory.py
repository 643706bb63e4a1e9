"""Closed forms against one another and against Monte Carlo."""

import math

import numpy as np
import pytest

import nonlin as nl
from nonlin.diagnosis import born_dead_probability, correlation_map, edge_of_chaos, moment, safe_depth


@pytest.mark.parametrize("widths", [[2], [2, 2, 2], [3, 2, 4]])
def test_born_dead_probability_by_monte_carlo(widths: list[int]) -> None:
    random = np.random.default_rng(0)
    runs = 20_000
    h = np.ones((runs, 1, 1))  # one ray of inputs: each layer that it reaches ends it with probability 2^-N
    for width in widths:
        h = np.maximum(h @ random.standard_normal((runs, h.shape[2], width)), 0)
    assert (h == 0).all((1, 2)).mean() == pytest.approx(born_dead_probability(widths), abs=0.015)


def test_safe_depth_is_the_deepest() -> None:
    for width in (2, 5, 10):
        depth = safe_depth(width, 0.05)
        assert born_dead_probability([width] * depth) <= 0.05 < born_dead_probability([width] * (depth + 1))


@pytest.mark.parametrize("sigma_b", [0.1, 0.3, 1.0])
def test_edge_of_chaos_of_erf_has_a_closed_form(sigma_b: float) -> None:
    edge = edge_of_chaos("erf", sigma_b)
    q = edge.q
    slope = 4 / math.pi / math.sqrt(1 + 4 * q)
    assert edge.sigma_w == pytest.approx(slope**-0.5, rel=1e-6)
    assert sigma_b**2 + edge.sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) == pytest.approx(q, rel=1e-6)


def test_relu_has_one_edge() -> None:
    edge = edge_of_chaos("relu", 0.0)
    assert (edge.sigma_w, edge.chi) == (pytest.approx(math.sqrt(2), rel=1e-4), 1.0)
    with pytest.raises(ValueError, match="relu has no edge at sigma_b"):
        edge_of_chaos("relu", 0.5)


def test_selu_keeps_variance_one() -> None:
    assert moment("selu", 1.0) == pytest.approx(1, abs=1e-6)


def test_relu_correlation_map() -> None:
    for c in (-0.9, 0.0, 0.5, 0.99):
        exact = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
        assert correlation_map(nl.relu, c) == pytest.approx(exact, abs=2e-3)
