"""What the fuzzer tries: a formula, what is asked of it, and checks that say what is wrong with the answers."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import reject, strategies as st
from mpmath import mp

import nonlin as nl
from fuzz.exact import Question, answer
from fuzz.formulas import DEFAULTS, SIGNED, Formula, Tree, X, formulas, number, read
from fuzz.judge import PROMISES, Judge, Wrong, points
from nonlin.facts import UnknownFactError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A derivative of a formula (order 0 is the value), in a dtype or "exact", at the points that a seed gives."""

    formula: Formula
    kind: str = "float32"
    order: int = 0
    variable: str = "x"
    given: tuple[tuple[str, str], ...] = ()
    """Parameters other than the defaults, as they are typed."""
    seed: int = 0
    at: tuple[float, ...] = ()
    """Points instead of those that the seed gives."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(PROMISES[self.kind].dtype)

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters that are given, in the dtype."""
        return {name: np.array(float(value), self.dtype) for name, value in self.given}

    @property
    def exact_parameters(self) -> dict[str, Fraction] | None:
        if not self.given:
            return None
        return self.formula.defaults | {name: Fraction(float(value)) for name, value in self.parameters.items()}

    def judge(self) -> Judge:
        return Judge(self.formula, self.kind, self.order, self.variable, self.exact_parameters)

    def points(self) -> Array:
        return np.array(self.at, self.dtype) if self.at else points(self.formula, self.dtype.name, self.seed)

    def code(self, x: float) -> str:
        """What a user would type to see it."""
        spelled = f"float('{x}')" if not math.isfinite(x) else repr(x)
        arguments = [f"np.{self.dtype}({spelled})", *(f"{name}=np.{self.dtype}({value})" for name, value in self.given)]
        call = f"fuzzed({', '.join(arguments)})"
        if self.order:
            wrt = "" if self.variable == "x" else f', wrt="{self.variable}"'
            call = f"fuzzed.derivative({', '.join(arguments)}, order={self.order}{wrt})"
        context = 'with nl.precision("exact"):\n    ' if self.kind == "exact" else ""
        return f"import numpy as np\n{self.formula.code}\n\n{context}print({call})"


class WrongError(AssertionError):
    """A case that fails."""

    def __init__(self, case: Case, what: str, x: float = 0.5) -> None:
        super().__init__(f"{what}\n\n{case.code(x)}\n")
        self.case, self.what = case, what


@contextmanager
def quiet(case: Case) -> Iterator[None]:
    """Compute as the case wants it; which warnings of NumPy are deserved is another test's matter.

    That a formula is announced to break the promise excuses nothing here: the result is judged all the same.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"), nl.precision("exact" if case.kind == "exact" else "fast"):
        warnings.simplefilter("ignore", nl.AccuracyWarning)
        yield


def defined(case: Case) -> nl.Activation:
    """Define the formula; gives up a case that is refused in a sentence, as a division by what may be 0 is."""
    try:
        return case.formula.define()
    except nl.FormulaError:
        reject()
    except Exception as error:
        raise WrongError(case, f"{type(error).__name__} when it is defined: {error}") from error


def called(case: Case, function: Callable[[], Any]) -> Any:
    """Call a function; gives up a case that is refused, each time."""
    with quiet(case):
        try:
            return function()
        except nl.FormulaError:
            try:
                result = function()
            except nl.FormulaError:
                reject()
            raise WrongError(case, f"the first call raises FormulaError, the second returns {result}") from None
        except Exception as error:
            raise WrongError(case, f"{type(error).__name__} when it is called: {error}") from error


def blame(case: Case, what: str, xs: Array, ys: Array, judge: Judge | None = None) -> None:
    """Raise if a result is not right: with the plainest input for which one is wrong."""
    judge = judge or case.judge()
    found = [wrong for x, y in zip(xs.tolist(), ys.tolist(), strict=True) if (wrong := judge.look(x, y)) is not None]
    if found:
        worst = min(found, key=_plainness)
        raise WrongError(case, f"{what} {worst}; {len(found)} of {len(xs)} points are wrong", worst.x)


def _plainness(wrong: Wrong) -> tuple[int, float]:
    return ["ordinary", "special", "extreme"].index(wrong.place), -wrong.ulps


# --- NumPy ------------------------------------------------------------------------------------------------------------


def check_numbers(case: Case) -> None:
    """Values and derivatives of a contiguous array."""
    f, xs = defined(case), case.points()
    ys = called(case, lambda: f.derivative(xs, order=case.order, wrt=case.variable, **case.parameters))
    if ys.dtype != case.dtype:
        raise WrongError(case, f"dtype {ys.dtype}")
    blame(case, case.kind, xs, ys)


def check_layouts(case: Case) -> None:
    """The same numbers to the bit however the array lies in memory and wherever the result goes."""
    f, xs = defined(case), case.points()
    xs = np.resize(xs, 2 * len(xs))

    def derivative(x: Any, **keywords: Any) -> Any:
        return called(case, lambda: f.derivative(x, order=case.order, wrt=case.variable, **case.parameters, **keywords))

    want = derivative(xs)

    def compare(what: str, x: Array, got: Any, want: Array = want) -> None:
        got = np.asarray(got)
        if got.dtype != want.dtype or got.shape != want.shape:
            raise WrongError(case, f"{what}: {got.dtype}{got.shape} for {want.dtype}{want.shape}")
        differs = ~((got == want) | (np.isnan(got) & np.isnan(want)))
        if differs.any():
            place = np.argwhere(differs)[0]
            at = tuple(place)
            raise WrongError(case, f"{what}: {got[at]!r}, contiguous: {want[at]!r}", float(x[at]))

    spread = np.zeros(3 * len(xs), xs.dtype)
    spread[::3] = xs
    compare("strided", xs, derivative(spread[::3]))
    compare("backwards", xs[::-1], derivative(xs[::-1]), want[::-1])
    table = xs.reshape(2, -1)
    compare("transposed", table.T, derivative(table.T), want.reshape(2, -1).T)
    compare(
        "broadcast", np.broadcast_to(xs, (2, len(xs))), derivative(np.broadcast_to(xs, (2, len(xs)))), np.stack([want, want])
    )
    compare("few", xs[:3], derivative(xs[:3]), want[:3])
    compare("scalar", xs[:1], derivative(xs[0]), want[0])
    out = np.full(2 * len(xs), 7, case.dtype)
    derivative(xs, out=out[::2])
    compare("out=", xs, out[::2])
    if not (out[1::2] == 7).all():
        raise WrongError(case, "out=: what lies between is overwritten")
    mask = np.arange(len(xs)) % 3 == 0
    masked = derivative(xs, out=np.full(len(xs), 7, case.dtype), where=mask)
    compare("where=", xs, masked, np.where(mask, want, case.dtype.type(7)))
    own = xs.copy()
    derivative(own, out=own)
    compare("in place", xs, own)


def check_broadcast_parameters(case: Case) -> None:
    """Parameters that are arrays: each row by the promise for its value."""
    if not case.given:
        reject()
    f, xs = defined(case), case.points()
    rows = [replace(case, given=given) for given in (tuple((n, d) for n, d, _ in case.formula.parameters), case.given)]
    columns = {name: np.array([[float(dict(row.given)[name])] for row in rows], case.dtype) for name, _ in case.given}
    ys = called(case, lambda: f.derivative(xs, order=case.order, wrt=case.variable, **columns))
    for row, y in zip(rows, ys, strict=True):
        blame(row, f"{case.kind}, parameters are an array,", xs, y)


def check_both_at_once(case: Case) -> None:
    """The value and the slope of `value_and_derivative`."""
    f, xs = defined(case), case.points()
    both = called(case, lambda: f.value_and_derivative(xs, wrt=case.variable, **case.parameters))
    for order, y in enumerate(both):
        blame(replace(case, order=order), f"{case.kind}, value_and_derivative,", xs, y)


# --- torch ------------------------------------------------------------------------------------------------------------


def _torch_numbers(case: Case, x: Any, *, compiled: bool) -> Any:
    """Return the derivative of a case on a tensor: the value's gradient, and the gradient's."""
    import torch

    f = defined(case)
    names = [name for name, _ in case.given] or ([case.variable] if case.variable != "x" else [])
    values = {name: torch.full_like(x, float(dict(case.given).get(name, case.formula.defaults[name]))) for name in names}

    def function(x: Any, **parameters: Any) -> Any:
        return f(x, **parameters)

    if compiled:
        torch.compiler.reset()
        function = torch.compile(function, backend="aot_eager", fullgraph=True)
    x.requires_grad_(case.variable == "x")
    for name, value in values.items():
        value.requires_grad_(case.variable == name)
    y = function(x, **values)
    variable = x if case.variable == "x" else values[case.variable]
    for order in range(case.order):
        (y,) = torch.autograd.grad(y.sum(), variable, create_graph=order + 1 < case.order, materialize_grads=True)
    return y.detach()


def check_torch(case: Case) -> None:
    """Tensors: values, backward, backward of backward."""
    import torch

    if case.kind == "exact":
        reject()
    if case.variable != "x" and not case.given:
        case = replace(case, given=tuple((name, default) for name, default, _ in case.formula.parameters))
    xs = case.points()
    ys = called(case, lambda: _torch_numbers(case, torch.from_numpy(xs.copy()), compiled=False))
    blame(case, f"torch, {case.kind},", xs, ys.numpy())


def check_vmap(case: Case) -> None:
    """Gradients of single elements under vmap are those of the whole tensor."""
    import torch

    if case.kind == "exact" or case.variable != "x":
        reject()
    f, xs = defined(case), case.points()
    function: Any = f
    for _ in range(case.order):
        function = torch.func.grad(function)
    parameters = {name: torch.from_numpy(value) for name, value in case.parameters.items()}
    ys = called(case, lambda: torch.vmap(lambda x: function(x, **parameters))(torch.from_numpy(xs)))
    blame(case, f"torch.vmap, {case.kind},", xs, ys.detach().numpy())


# --- facts ------------------------------------------------------------------------------------------------------------

_SLACK = 1e-7


def check_facts(case: Case) -> None:
    """Range, limits, monotony, Lipschitz constant and zeros against a dense evaluation at the default parameters."""
    f = defined(case)
    x = np.unique(np.concatenate([np.linspace(-8, 8, 4001), *(s * np.geomspace(1e-4, 1e3, 400) for s in (-1, 1))]))
    y = case.formula.rough(case.formula.tree, x)
    real = np.isfinite(y) & (np.abs(y) < 1e12)
    if not np.isfinite(y).all() and not real.any():
        reject()
    try:
        facts = f.facts
        span, monotone, steepest, limits, zeros = facts.range, facts.monotone, facts.lipschitz, facts.limits, facts.zeros
        jumps = [float(kink.x) for kink in facts.kinks]
    except UnknownFactError:
        reject()
    except Exception as error:
        if not any(_is_right(case, x[k], y[k], _SLACK) for k in np.flatnonzero(real)[:: max(1, real.sum() // 9)]):
            reject()  # what rounding makes a number is none
        raise WrongError(case, f"facts: {type(error).__name__}: {error}") from error
    slack = _SLACK * max(1, np.abs(y[real]).max())
    for place in (np.flatnonzero(real)[np.argmin(y[real])], np.flatnonzero(real)[np.argmax(y[real])]):
        outside = y[place] < span.infimum - slack or y[place] > span.supremum + slack
        if outside and _is_right(case, x[place], y[place], slack):
            raise WrongError(case, f"facts: range {span}, but it takes {y[place]}", float(x[place]))
    with np.errstate(invalid="ignore"):
        steps, rises = np.diff(x), np.diff(y)
    whole = real[:-1] & real[1:]
    if monotone is not None and real.all():
        wrong = (
            rises < -slack if "increasing" in monotone else rises > slack if "decreasing" in monotone else abs(rises) > slack
        )
        place = int(np.argmax(wrong))
        if wrong.any() and all(_is_right(case, x[k], y[k], slack / 4) for k in (place, place + 1)):
            raise WrongError(case, f"facts: {monotone}, but {y[place]} is followed by {y[place + 1]}", float(x[place]))
    if math.isfinite(steepest):
        slope = np.abs(rises / steps)
        wrong = whole & (slope > steepest * (1 + 1e-4) + 4 * slack / steps)
        place = int(np.argmax(wrong))
        if wrong.any() and real.all() and all(_is_right(case, x[k], y[k], slack) for k in (place, place + 1)):
            raise WrongError(case, f"facts: Lipschitz constant {steepest}, but the slope is {slope[place]}", float(x[place]))
    _check_limits(case, limits)
    _check_zeros(case, zeros, jumps, x, y)


def _is_right(case: Case, x: float, y: float, slack: float) -> bool:
    """Whether the rough value is right, which next to a cancellation or an underflow it is not."""
    right = answer(Question(case.formula.tree.expanded, float(x), tuple(case.formula.defaults.items()))).right
    return len(right) == 1 and mp.isfinite(right[0]) and abs(right[0] - y) <= slack


def _check_limits(case: Case, limits: Any) -> None:
    tree, parameters = case.formula.tree.expanded, tuple(case.formula.defaults.items())
    for x, said in ((-math.inf, limits.left), (math.inf, limits.right)):
        right = answer(Question(tree, x, parameters)).right
        if not right:
            continue
        want = None if mp.isnan(right[0]) else float(right[0])
        if (said is None) != (want is None) or (
            want is not None and not math.isclose(said, want, rel_tol=1e-9, abs_tol=1e-300)
        ):
            raise WrongError(case, f"facts: limit {said} at {x}, right is {want}", x)


def _check_zeros(case: Case, zeros: Any, jumps: list[float], x: Array, y: Array) -> None:
    if zeros.endless:
        return
    crossings = np.flatnonzero(np.isfinite(y[:-1]) & np.isfinite(y[1:]) & (np.sign(y[:-1]) * np.sign(y[1:]) < 0))
    known = [*map(float, zeros.points), *(float(end) for i in zeros.intervals for end in (i.low, i.high)), *jumps]
    for k in crossings:
        # A pole changes the sign, too.
        small = max(abs(y[k]), abs(y[k + 1])) > 1e-9
        smooth = abs(y[k] - y[k + 1]) < 0.2 * (1 + min(abs(y[k]), abs(y[k + 1])))
        if small and smooth and not any(x[k] - 1e-9 <= zero <= x[k + 1] + 1e-9 for zero in known):
            raise WrongError(case, f"facts: zeros {zeros}, but the sign changes", float(x[k]))


# --- text -------------------------------------------------------------------------------------------------------------


def check_text(case: Case) -> None:
    """The formula's text, read back, means the same."""
    f = defined(case)
    again = read(str(f.formula)).expanded
    parameters = tuple(case.formula.defaults.items())
    for x in (-2.3125, -0.4375, 0.0, 0.8125, 3.5625):
        right, got = (answer(Question(t, x, parameters)).right for t in (case.formula.tree.expanded, again))
        if right and got and not all(_same(a, b) for a, b in zip(right, got, strict=False)):
            raise WrongError(case, f"text {f.formula} is {got[0]} and not {right[0]}", x)


def _same(a: Any, b: Any) -> bool:
    return bool(a == b or (mp.isnan(a) and mp.isnan(b)) or abs(a - b) <= 1e-18 * abs(a))


# --- strategies -------------------------------------------------------------------------------------------------------

CHECKS: dict[str, Callable[[Case], None]] = {
    "numbers": check_numbers,
    "layouts": check_layouts,
    "broadcast_parameters": check_broadcast_parameters,
    "both_at_once": check_both_at_once,
    "torch": check_torch,
    "vmap": check_vmap,
    "facts": check_facts,
    "text": check_text,
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    formula = draw(formulas())
    order = draw(st.sampled_from([0, 1, 0, 2]))
    names = [name for name, _, _ in formula.parameters]
    variable = draw(st.sampled_from(["x", "x", *names])) if order else "x"
    given: tuple[tuple[str, str], ...] = ()
    if names and draw(st.booleans()):
        values = {
            bounds: DEFAULTS if bounds == "gt=0" else SIGNED[:-1] if bounds else SIGNED for _, _, bounds in formula.parameters
        }
        given = tuple((name, draw(st.sampled_from(values[bounds]))) for name, _, bounds in formula.parameters)
    return Case(
        formula,
        draw(st.sampled_from(["float32", "float64", "float16", "exact"])),
        order,
        variable,
        given,
        draw(st.integers(0, 2**16)),
    )


# --- minimising -------------------------------------------------------------------------------------------------------


def minimised(case: Case, check: Callable[[Case], None], *, tries: int = 60) -> WrongError | None:
    """Return the failure of the smallest case found that fails in the same check.

    A tree knows its parts, so this needs dozens of tries where shrinking what was drawn needs hundreds, and each compiles.
    """
    best: WrongError | None = _failure(case, check)
    if best is None:
        return None
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(best.case):
            tries -= 1
            failure = _failure(smaller, check) if tries >= 0 else None
            if failure is not None:
                best, progress = failure, True
                break
    return best


def _failure(case: Case, check: Callable[[Case], None]) -> WrongError | None:
    from hypothesis.errors import UnsatisfiedAssumption

    try:
        check(case)
    except WrongError as error:
        return error
    except UnsatisfiedAssumption:
        pass
    return None


def _smaller(case: Case) -> Iterator[Case]:
    """Yield simpler cases, the much simpler first."""
    for tree in sorted(set(_cut(case.formula.tree)), key=lambda t: sum(1 for _ in t.nodes())):
        if tree.has("x") and tree.operation not in _CONDITIONS:
            named = {node.value for node in tree.nodes() if node.operation == "parameter"}
            parameters = tuple(p for p in case.formula.parameters if p[0] in named)
            given = tuple(g for g in case.given if g[0] in named)
            if case.variable == "x" or case.variable in named:
                yield replace(case, formula=Formula(tree, parameters), given=given)
    if case.order > 1:
        yield replace(case, order=case.order - 1)
    if case.given:
        yield replace(case, given=())


_CONDITIONS = ("less", "less_equal", "greater", "greater_equal", "and", "or")


def _cut(tree: Tree) -> Iterator[Tree]:
    """Yield the trees with one part replaced by a part of its own or by a leaf."""
    condition = tree.operation in _CONDITIONS
    for part in tree.arguments:
        if (part.operation in _CONDITIONS) == condition and _varies(part):
            yield part
    if tree.arguments and not condition:
        yield X
        yield number(1)
    for k, part in enumerate(tree.arguments):
        for smaller in _cut(part):
            arguments = (*tree.arguments[:k], smaller, *tree.arguments[k + 1 :])
            if any(map(_varies, arguments)):
                yield Tree(tree.operation, arguments, tree.value)


def _varies(tree: Tree) -> bool:
    return tree.operation != "number"
