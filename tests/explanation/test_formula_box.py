"""The formula box: what is typed is parsed, differentiated and recognised, or refused with the column."""

import random
from typing import Any

import pytest

import nonlin as nl
from nonlin.explanation.entries import Entry
from nonlin.explanation.javascript import language
from nonlin.explanation.site import catalogue
from pages import literal, needs_node, run, static

POINTS = [-700.0, -40.0, -5.5, -1.0, -0.3, 0.2, 0.9, 3.0, 30.0]
KNOWN = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "tanh", "softplus", "snake", "softsign")


@pytest.fixture(scope="module")
def scripts() -> str:
    records = [Entry(nl.get(name)) for name in KNOWN]
    for record in records:  # facts take their time, and are not what is tried here
        vars(record).update(facts=[], code=[], gain=None)
    return "\n".join([language(), catalogue(records), static("numbers.js"), static("formula.js")])


def tried(scripts: str, texts: list[str]) -> Any:
    tail = f"""
    const tried = {texts!r}.map(text => {{
      try {{
        const {{ functions, recognised, parameters }} = analysed(text);
        return {{ recognised, values: functions.map(f => {[*POINTS]}.map(x => f(x, ...parameters.map(() => 1)))) }};
      }} catch (problem) {{
        if (!(problem instanceof FormulaProblem)) throw problem;
        return {{ problem: problem.message }};
      }}
    }});
    answer(tried);"""
    return run(scripts + tail)


@needs_node
def test_what_is_typed_is_what_python_says(scripts: str) -> None:
    written = {
        "x*tanh(log(1+exp(x)))": "mish",
        "x/(1+exp(-x))": "silu",
        "max(x, 0)": "relu",
        "x if x > 0 else 0": "relu",
        "x*(1+erf(x/sqrt(2)))/2": "gelu",
        "where(x > 0, x, exp(x) - 1)": "elu",
        "ln(1 + e^x)": "softplus",
        "x/(1+abs(x))": "softsign",
        "x + sin(x)**2": "snake",
        "gelu(x)": "gelu",
        "2*sigmoid(2*x) - 1": "tanh",
    }
    for (text, name), found in zip(written.items(), tried(scripts, list(written)), strict=True):
        assert "problem" not in found, (text, found)
        assert found["recognised"] == name, text
        for order in range(3):
            for x, got in zip(POINTS, found["values"][order], strict=True):
                want = float(nl.get(name).derivative(x, order=order))
                # The form as typed loses digits; the stable ones, which these lead to, do not.
                assert got == pytest.approx(want, rel=1e-9, abs=1e-14), (text, order, x)


@needs_node
def test_mish_as_typed_keeps_its_tail(scripts: str) -> None:
    (found,) = tried(scripts, ["x*tanh(log(1+exp(x)))"])
    for order in range(3):
        for x, got in zip(POINTS, found["values"][order], strict=True):
            assert got == pytest.approx(float(nl.mish.derivative(x, order=order)), rel=1e-13, abs=0), (order, x)


@needs_node
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: something is missing at the end"),
        ("x*", "column 3: something is missing at the end"),
        ("(x", "column 3: expected “)” for the bracket of column 1, found the end"),
        ("x x", "column 3: expected an operator, found “x”"),
        ("1 + § ", "column 5: “§” has no meaning here"),
        ("tanj(x)", "column 1: there is no function tanj; did you mean tanh?"),
        ("tanh", "column 1: tanh is a function: write tanh(x)"),
        ("exp(x, 2)", "column 1: exp takes 1 value, got 2"),
        ("x > 0", "column 1: a condition is no number: write where(condition, 1, 0)"),
        ("1 + (x > 0)", "column 3: a condition is no number: write where(condition, 1, 0)"),
        ("where(x, 1, 2)", "column 1: where needs a condition such as x > 0"),
        ("x**x", "column 2: an exponent that varies: write exp(exponent*log(base))"),
        ("x/0", "column 2: this divides by zero"),
        ("1e999", "column 1: 1e999 is larger than any number here"),
        ("0 < x < 1", "column 7: one comparison at a time: write (a < b) & (b < c)"),
        ("(" * 100 + "x", "column 81: too many brackets within brackets"),
    ],
)
def test_a_problem_is_said_with_its_column(text: str, message: str, scripts: str) -> None:
    assert tried(scripts, [text]) == [{"problem": message}]


@needs_node
def test_ten_thousand_random_inputs(scripts: str) -> None:
    """Nothing but a FormulaProblem is raised, and nothing takes a second."""
    generator = random.Random(7)
    pieces = (
        "x 1 2.5 -1 ( ) ( ) + - * / ** ^ , < > <= & | exp( tanh( log( sqrt( relu( mish( where( max( a beta pi e if else 0 §"
    )
    texts = [" ".join(generator.choices(pieces.split(), k=generator.randint(1, 25))) for _ in range(7000)]

    def grown(depth: int) -> str:
        if depth == 0:
            return generator.choice(["x", "1", "0.5", "a"])
        inner = [grown(generator.randrange(depth)) for _ in range(3)]
        return generator.choice(
            ["exp({})", "tanh({})", "({}+{})", "{}*{}", "({}/{})", "({})**3", "where({}>0,{},{})", "mish({})"]
        ).format(*inner)

    texts += [grown(generator.randint(1, 9)) for _ in range(2901)]
    texts += ["tanh(" * n + "x" + ")" * n for n in range(1, 79, 8)] + ["x" + "*exp(x)" * n for n in range(1, 90)][:90]
    assert len(texts) == 10_000
    slow = f"""
    let worst = 0;
    for (const text of {texts!r}) {{
      const start = performance.now();
      try {{ analysed(text).functions.forEach(f => f(0.5, 1, 1)); }}
      catch (problem) {{ if (!(problem instanceof FormulaProblem)) throw new Error(text + ": " + problem); }}
      worst = Math.max(worst, performance.now() - start);
    }}
    answer(worst);"""
    assert run(scripts + slow, timeout=300) < 1000


def test_numbers_are_spelled_for_javascript() -> None:
    assert [literal(x) for x in (1.5, float("inf"), float("nan"))] == ["1.5", "Infinity", "NaN"]
