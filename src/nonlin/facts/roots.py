"""Roots: where functions and formulas are zero, to 50 digits or to all."""

from __future__ import annotations

from collections.abc import Callable

from nonlin.facts.evaluation import FAR_DIGITS, arithmetic, close, program
from nonlin.facts.records import Real
from nonlin.formula.calculus import differentiate
from nonlin.formula.expression import Expression

_HIGHEST_MULTIPLICITY = 8


def root_between(function: Callable[[Real], Real], low: Real, high: Real) -> Real:
    """Return the root between two points at which the signs differ; or the pole or jump, if there is one instead."""
    rising = function(high) > 0
    for _ in range(20):  # until a secant means something: in a tail one end may be a million digits below the other
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == rising else (middle, high)
    find = arithmetic().findroot
    try:
        return find(function, (low, high), solver="anderson", tol=1e-47, maxsteps=200, verify=False)
    except ZeroDivisionError:  # two equal values: there is no secant
        return (low + high) / 2


def roots_among(points: list[tuple[Real, Real]], function: Callable[[Real], Real]) -> tuple[list[Real], list[Real]]:
    """Return the roots among and between points, each given with its value, and the poles and jumps where signs change.

    Where the function stays zero there is no root.
    """
    roots: list[Real] = []
    breaks: list[Real] = []
    last: tuple[Real, Real] | None = None
    zeros: list[Real] = []
    for x, value in points:
        if value == 0:
            if not zeros or not close(x, zeros[-1]):  # a double root may be a point of the grid, too
                zeros.append(x)
        elif value != value:
            last, zeros = None, []
        else:
            if last is not None and len(zeros) == 1:
                roots += zeros
            elif last is not None and (last[1] > 0) != (value > 0):
                root = root_between(function, last[0], x)
                is_root = abs(function(root)) <= 1e-15 * max(abs(last[1]), abs(value))
                (roots if is_root else breaks).append(root)
            last, zeros = (x, value), []
    return roots, breaks


def with_all_digits(root: Real, formula: Expression) -> Real:
    """Return a root of a formula, known to 50 digits or to a part of them, to all digits that are ever computed with.

    What is next to a singularity is a matter of how exactly that is known: 1/(x - pi) has no limit at 3.14159.
    """
    mp = arithmetic(FAR_DIGITS)
    value, slope, bend = (program(differentiate(formula, order=k), FAR_DIGITS) for k in range(3))
    x = mp.mpf(root)
    if value(x) == 0:
        return root
    beside = x + (1 + abs(x)) * mp.mpf(10) ** -8
    try:
        multiplicity = int(mp.nint(1 / (1 - value(beside) * bend(beside) / slope(beside) ** 2)))
    except (ZeroDivisionError, ValueError):
        return root
    if not 1 <= multiplicity <= _HIGHEST_MULTIPLICITY:
        return root
    # Of a multiple root some derivative has a simple one.
    value, slope = (program(differentiate(formula, order=multiplicity - 1 + k), FAR_DIGITS) for k in range(2))
    for _ in range(12):
        try:
            step = value(x) / slope(x)
        except ZeroDivisionError:
            return root
        x -= step
        if abs(step) <= mp.mpf(10) ** -600 * max(1, abs(x)):
            break
    else:
        return root
    rounded = arithmetic().mpf(x)
    # A number that is simple is that number.
    exact = rounded if abs(x - rounded) <= mp.mpf(10) ** -600 * max(1, abs(x)) else x
    return arithmetic().make_mpf(exact._mpf_)
