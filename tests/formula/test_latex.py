"""Formulas as mathematics: spelled as a paper would, and meaning what they say when they are read again."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from mpmath import mp

import nonlin as nl
from entries import ELEMENTWISE, over_entries, over_orders, parameters
from expressions import expressions, points, value
from nonlin.formula import (
    Constant,
    Expression,
    Symbol,
    absolute,
    exp,
    latex,
    log1p,
    maximum,
    pi,
    sqrt,
    symbols,
    tanh,
    where,
)
from nonlin.formula.spelling import Reference

x, a, b = map(Symbol, "xab")


class Reader:
    """Evaluates the LaTeX that the library writes, by the rules of how mathematics is read."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {
        r"\sigma": lambda t: 1 / (1 + mp.exp(-t)),
        r"\Phi": lambda t: mp.erfc(-t / mp.sqrt(2)) / 2,
        r"\operatorname{softplus}": lambda t: mp.log1p(mp.exp(t)),
        r"\arctan": mp.atan,
        r"\max": max,
        r"\min": min,
        **{rf"\{name}": getattr(mp, name) for name in ("sin", "cos", "tanh", "log")},
        **{rf"\operatorname{{{name}}}": getattr(mp, name) for name in ("sech", "erf", "erfc", "sign")},
    }

    def __init__(self, text: str, values: dict[str, Any]) -> None:
        self.rest = text
        self.values = {latex(Symbol(name)): mp.mpf(value) for name, value in values.items()}

    def take(self, token: str) -> bool:
        """Skip a token if it stands next."""
        self.rest = self.rest.lstrip()
        if not self.rest.startswith(token):
            return False
        self.rest = self.rest[len(token) :]
        return True

    def need(self, token: str) -> None:
        assert self.take(token), f"{token} expected before {self.rest!r}"

    def group(self, opening: str = "{", closing: str = "}", read: str = "sum") -> Any:
        self.need(opening)
        result = getattr(self, read)()
        self.need(closing)
        return result

    def read(self) -> Any:
        result = self.sum()
        assert not self.rest.strip(), f"left over: {self.rest!r}"
        return result

    def disjunction(self) -> bool:
        result = self.conjunction()
        while self.take(r"\lor"):
            result = self.conjunction() or result
        return result

    def conjunction(self) -> bool:
        result = self.comparison()
        while self.take(r"\land"):
            result = self.comparison() and result
        return result

    def comparison(self) -> bool:
        before = self.rest
        if self.take(r"\left("):
            try:
                return self.group("", r"\right)", "disjunction")
            except AssertionError:  # the bracket is that of a number
                self.rest = before
        left = self.sum()
        if self.take(r"\le"):
            return bool(left <= self.sum())
        if self.take(r"\ge"):
            return bool(left >= self.sum())
        if self.take("<"):
            return bool(left < self.sum())
        self.need(">")
        return bool(left > self.sum())

    def sum(self) -> Any:
        total = self.product()
        while True:
            if self.take("+"):
                total += self.product()
            elif self.take("-"):
                total -= self.product()
            else:
                return total

    def product(self) -> Any:
        sign = -1 if self.take("-") else 1
        result = self.power()
        while self.take(r"\,") or self.take(r"\cdot") or self.rest.lstrip().startswith(r"\left("):
            result *= self.power()
        return sign * result

    def power(self) -> Any:
        whole = not self.rest.lstrip().startswith(("\\frac", "\\tfrac", "\\begin", "e^", "-"))
        base = self.atom()
        if not self.take("^"):
            return base
        assert whole, "a power of what needs brackets"
        exponent = self.group() if self.rest.startswith("{") else self.digit()
        assert not self.take("^"), "two exponents"
        return base**exponent

    def digit(self) -> Any:
        digit, self.rest = self.rest[0], self.rest[1:]
        return mp.mpf(digit)

    def atom(self) -> Any:
        for opening, closing in ((r"\left(", r"\right)"), ("(", ")")):
            if self.rest.lstrip().startswith(opening):
                return self.group(opening, closing)
        if self.rest.lstrip().startswith(r"\left|"):
            return abs(self.group(r"\left|", r"\right|"))
        if self.take(r"\frac") or self.take(r"\tfrac"):
            above, below = (self.group() if self.rest.startswith("{") else self.digit() for _ in range(2))
            return above / below
        if self.take(r"\sqrt"):
            return mp.sqrt(self.group())
        if self.take("e^"):
            return mp.exp(self.group())
        if self.take(r"\pi"):
            return +mp.pi
        if self.take(r"\begin{cases}"):
            return self.cases()
        for name, function in self.functions.items():
            if self.rest.lstrip().startswith(name + "("):
                self.take(name + "(")
                given = [self.sum()]
                while self.take(","):
                    given.append(self.sum())
                self.need(")")
                return function(*given)
        for name in sorted(self.values, key=len, reverse=True):
            if self.take(name):
                return self.values[name]
        number = re.match(r"\s*(\d+(?:\.\d+)?)", self.rest)
        assert number, f"nothing to read in {self.rest!r}"
        self.rest = self.rest[number.end() :]
        return mp.mpf(number[1])

    def cases(self) -> Any:
        chosen = self.sum()
        self.need("&")
        holds = self.disjunction()
        self.need(r"\\")
        otherwise = self.sum()
        self.need("&")
        self.need(r"\text{otherwise}")
        self.need(r"\end{cases}")
        return chosen if holds else otherwise


# --- meaning ----------------------------------------------------------------------------------------------------------


@over_orders
@over_entries
def test_latex_of_the_catalogue_means_the_formula(name: str, order: int) -> None:
    f = ELEMENTWISE[name]
    formula = f.derivative_formula(order) if order else f.formula
    with mp.workdps(60):
        for point in ("-2.3", "-0.71", "0.37", "1.9", "7.1"):
            values = {"x": mp.mpf(point), **parameters(name)}
            wanted = Reference(mp, values)(formula)
            # Constants of more digits than a float are rounded to one.
            assert abs(Reader(f.latex(order), values).read() - wanted) <= 1e-12 * max(1, abs(wanted))


@given(expressions, points)
@settings(max_examples=150)
def test_latex_of_random_formulas_means_the_formula(formula: Expression, values: dict[str, float]) -> None:
    with mp.workdps(350):
        wanted = value(formula, values)
        got = Reader(latex(formula), values).read()
        assert abs(got - wanted) <= 1e-12 * max(1, abs(wanted)), latex(formula)


# --- spelling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "spelled"),
    [
        (x + a - b, "x + a - b"),
        (x - (a - b), r"x - \left(a - b\right)"),
        (x * (a + b), r"x \, \left(a + b\right)"),
        (Constant(2) * 3 * x, r"6 \, x"),
        (x / (a + 1), r"\frac{x}{a + 1}"),
        (-(x + a), r"-\left(x + a\right)"),
        (-x * a, r"\left(-x\right) \, a"),
        ((x + 1) ** 2, r"\left(x + 1\right)^{2}"),
        (x**12, "x^{12}"),
        (tanh(x) ** 2, r"\tanh(x)^{2}"),
        (exp(-x), "e^{-x}"),
        (exp(x) ** 2, r"\left(e^{x}\right)^{2}"),
        (sqrt(2 / pi), r"\sqrt{\frac{2}{\pi}}"),
        (absolute(x), r"\left|x\right|"),
        (maximum(x, 0), r"\max(x, 0)"),
        (log1p(x), r"\log(1 + x)"),
        (where(x > 0, x, 0), r"\begin{cases} x & x > 0 \\ 0 & \text{otherwise} \end{cases}"),
        (
            where((x >= 0) & (x <= 1), x, 0),
            r"\begin{cases} x & \left(x \ge 0\right) \land \left(x \le 1\right) \\ 0 & \text{otherwise} \end{cases}",
        ),
        (x * Constant("1/3"), r"x \, \tfrac{1}{3}"),
    ],
    ids=str,
)
def test_spelling(formula: Expression, spelled: str) -> None:
    assert latex(formula) == spelled


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("x", "x"),
        ("alpha", r"\alpha"),
        ("alpha_p", r"\alpha_{p}"),
        ("lambd", r"\lambda"),
        ("eps", r"\varepsilon"),
        ("negative_slope", r"\mathrm{negative\_slope}"),
        ("a_b", "a_{b}"),
        ("x_alpha", r"x_{\alpha}"),
        ("scale", r"\mathrm{scale}"),
    ],
)
def test_names_are_spelled_as_mathematics(name: str, spelled: str) -> None:
    assert latex(Symbol(name)) == spelled


@over_orders
@over_entries
def test_latex_is_balanced(name: str, order: int) -> None:
    text = ELEMENTWISE[name].latex(order)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    assert text.count(r"\begin") == text.count(r"\end")
    assert "None" not in text


def test_activations_spell_their_formula() -> None:
    assert nl.gelu.latex() == r"x \, \Phi(x)"
    assert nl.silu.latex(1) == r"\sigma(x) \, \left(1 + x \, \sigma(-x)\right)"
    assert nl.leaky_relu.latex(1, "negative_slope") == r"\begin{cases} 0 & x > 0 \\ x & \text{otherwise} \end{cases}"


def test_the_reader_sees_wrong_brackets() -> None:
    values = {"x": 3, "a": 2}
    assert Reader(r"x - \left(a - x\right)", values).read() == 4
    assert Reader("x - a - x", values).read() == -2
    assert Reader(r"-x^{2} \, a", values).read() == -18
    for wrong in (r"\frac{1}{x}^{2}", "e^{x}^{2}", r"x \, -a", r"x^{2}^{3}"):
        with pytest.raises(AssertionError):
            Reader(wrong, values).read()
    assert symbols(x) == {"x"}
