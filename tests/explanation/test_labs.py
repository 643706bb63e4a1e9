"""What the labs compute is what theory and NumPy say."""

import math
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin.explanation.entries import Entry
from nonlin.explanation.javascript import language
from pages import needs_node, run, static

Vector = Any


def functions(*names: str) -> str:
    spelled = [f"{name}: [{', '.join(Entry(nl.get(name)).programs()[:2])}]" for name in names]
    return f"const made = {{{', '.join(spelled)}}}; const of = (n) => ({{f: made[n][0], slope: made[n][1]}});"


def uniform(seed: int) -> Any:
    """mulberry32, in Python."""
    state = seed

    def draw() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        mixed = ((state ^ (state >> 15)) * (state | 1)) & 0xFFFFFFFF
        mixed ^= (mixed + (((mixed ^ (mixed >> 7)) * (mixed | 61)) & 0xFFFFFFFF)) & 0xFFFFFFFF
        return ((mixed ^ (mixed >> 14)) & 0xFFFFFFFF) / 2**32

    return draw


def normals(seed: int, count: int) -> Vector:
    draw = uniform(seed)
    return np.array([math.sqrt(-2 * math.log(1 - draw())) * math.cos(2 * math.pi * draw()) for _ in range(count)])


@needs_node
@pytest.mark.parametrize(("name", "gain"), [("sigmoid", 1.0), ("relu", 2**0.5), ("tanh", 1.5)])
def test_a_signal_through_layers_is_numpys(name: str, gain: float) -> None:
    width, depth = 12, 15
    setting = f"{{width: {width}, depth: {depth}, gain: {gain!r}, seed: 7}}"
    got = run(f"{language()}{static('network.js')}{functions(name)} answer(throughLayers(of('{name}'), {setting}));")
    drawn = normals(7, width + depth * width**2 + width)
    values, weights = drawn[:width], drawn[width:-width].reshape(depth, width, width) * gain / math.sqrt(width)
    size = lambda v: float(np.sqrt(np.mean(v**2)))  # noqa: E731
    signal, sums = [size(values)], []
    for layer in weights:
        sums.append(layer @ values)
        values = nl.get(name)(sums[-1])
        signal.append(size(values))
    back = drawn[-width:]
    gradient = [size(back)]
    for layer, into in zip(weights[::-1], sums[::-1], strict=True):
        back = layer.T @ (back * nl.get(name).derivative(into))
        gradient.append(size(back))
    np.testing.assert_allclose(got["signal"], signal, rtol=1e-10)
    np.testing.assert_allclose(got["gradient"], gradient[::-1], rtol=1e-10)


@needs_node
def test_a_wide_network_is_what_the_mean_says() -> None:
    setting = "{width: 300, depth: 10, gain: Math.SQRT2, seed: 3}"
    script = f"answer([throughLayers(of('relu'), {setting}), inTheMean(of('relu'), {setting})]);"
    sample, mean = run(language() + static("network.js") + functions("relu") + script)
    np.testing.assert_allclose(mean["signal"], 1.0, rtol=1e-3)  # relu with He's gain keeps the size
    np.testing.assert_allclose(mean["gradient"], 1.0, rtol=1e-3)
    np.testing.assert_allclose(sample["gradient"], mean["gradient"], rtol=0.35)


@needs_node
def test_born_dead_by_the_formula_and_by_counting() -> None:
    script = """
    const draw = normal(11);
    const count = (width, depth, tries) => {
      let silent = 0;
      for (let t = 0; t < tries; t++) {
        let values = [draw(), draw()];
        for (let k = 0; k < depth; k++) {
          const sums = matrix(width, values.length, draw).map((row) => row.reduce((s, w, i) => s + w * values[i], 0));
          values = sums.map((sum) => Math.max(sum, 0));
        }
        silent += values.every((v) => v === 0);
      }
      return silent / tries;
    };
    answer([[2, 3], [3, 10], [4, 5]].map(([w, d]) => [bornDead(w, d), count(w, d, 4000)]));"""
    for chance, counted in run(language() + static("network.js") + script):
        assert abs(chance - counted) < 4 * math.sqrt(chance * (1 - chance) / 4000)


@needs_node
def test_a_large_step_kills_relu_and_not_leaky_relu() -> None:
    script = """
    answer(["relu", "leaky_relu"].map((name) => {
      const data = points("circles", 160, 1);
      const network = new Network([2, 8, 8, 1], [of(name), of(name)], { seed: 3 });
      for (let k = 0; k < 150; k++) network.step(data, 10 ** 0.8);
      return network.dead(data).flat().filter(Boolean).length;
    }));"""
    dead, healed = run(language() + static("network.js") + functions("relu", "leaky_relu") + script)
    assert dead >= 8
    assert healed == 0


@needs_node
def test_spikes_come_at_the_rate_of_the_closed_form() -> None:
    script = """
    answer([[1.01, 20, 0], [1.5, 20, 2], [3.7, 8, 5], [4, 5, 0]].map(([current, tau, rest]) => {
      const { spikes } = simulated(current, tau, rest, 5000);
      return [firingRate(current, tau, rest), (1000 * (spikes.length - 1)) / (spikes.at(-1) - spikes[0])];
    }).concat([[firingRate(0.99, 20, 2), simulated(0.99, 20, 2, 5000).spikes.length]]));"""
    for formula, counted in run(static("lab_spikes.js") + script):
        assert counted == pytest.approx(formula, rel=1e-9)


@needs_node
def test_shares_are_those_of_the_catalogue() -> None:
    scores = [[2.0, 1.0, 0.5, -1.0, -2.0], [0.1, 0.2, 0.15, 0.0, -0.1], [5.0, 5.0, -5.0, 0.0, 1.0]]
    got = run(static("lab_softmax.js") + f"answer({scores}.map(s => [softmax(s), entmax15(s), sparsemax(s)]));")
    for row, shares in zip(scores, got, strict=True):
        for function, found in zip((nl.softmax, nl.entmax15, nl.sparsemax), shares, strict=True):
            np.testing.assert_allclose(found, function(np.array(row)), atol=1e-12)
