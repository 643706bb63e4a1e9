"""What the pages say of each activation: everything is asked of the catalogue, nothing is written down here."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from nonlin.charts import svg
from nonlin.charts.terminal import sample
from nonlin.definition import Elementwise, Parameter
from nonlin.dialects import dialects
from nonlin.explanation.javascript import program, tree
from nonlin.formula.expression import Application, postorder

ORDERS = (0, 1, 2)


def prime(order: int) -> str:
    """Return the usual name of a derivative."""
    return "f" + "\N{PRIME}" * order


#: Facts that the first look asks for, and what they are called there.
_FACTS = {
    "range": "range",
    "limits": "limits",
    "slope_limits": "limits of the slope",
    "minimum": "minimum",
    "maximum": "maximum",
    "zeros": "zero at",
    "monotone": "monotone",
    "convexity": "curvature",
    "symmetry": "symmetry",
    "kinks": "kinks",
    "smoothness": "smoothness",
    "steepest": "steepest slope",
    "saturates": "saturates",
    "gain": "gain for weights",
}


def _short(text: str) -> str:
    """Round the numbers of a fact that is one."""
    try:
        return f"{float(text):.5g}"
    except ValueError:
        return text


@dataclass(frozen=True)
class Entry:
    """An activation as the pages show it."""

    activation: Any
    everything: tuple[Any, ...] = field(repr=False, default=())
    """All that the site shows: relatives are found among them."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.activation.name)

    @property
    def is_curve(self) -> bool:
        """Whether it is a function of one number."""
        return isinstance(self.activation, Elementwise) and self.activation.operands == ("x",)

    @cached_property
    def defaults(self) -> dict[str, float]:
        """A value for each parameter; 1 where there is no default."""
        parameters: Mapping[str, Parameter] = self.activation.parameters
        return {name: 1.0 if p.default is None else float(p.default) for name, p in parameters.items()}

    @cached_property
    def at_defaults(self) -> Any:
        """The activation with a value for every parameter."""
        missing = {n: self.defaults[n] for n, p in self.activation.parameters.items() if p.default is None}
        return self.activation.with_(**missing) if missing else self.activation

    # --- formulas and facts

    @property
    def formulas(self) -> list[tuple[str, str, str]]:
        """Label, text and MathML of the function and its derivatives."""
        entry = self.activation
        found = [("f", str(entry.formula), _mathml(entry.latex()))]
        if self.is_curve:
            found += [(prime(n), str(entry.derivative_formula(n)), _mathml(entry.latex(n))) for n in ORDERS[1:]]
        return found

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Each parameter and what is to be known of it."""
        return [(name, _described(p)) for name, p in self.activation.parameters.items()]

    @cached_property
    def facts(self) -> list[tuple[str, str]]:
        """Facts at the defaults, in words."""
        if not self.is_curve:
            return []
        table = self.at_defaults.facts.table(*_FACTS)
        return [(shown, _short(fact)) for shown, fact in zip(_FACTS.values(), table.values(), strict=True) if fact != "none"]

    @property
    def accuracy(self) -> list[tuple[str, str]]:
        """Measured errors of the CPU kernels."""
        return list(self.at_defaults.accuracy.rows()) if self.is_curve else []

    @property
    def frameworks(self) -> list[tuple[str, list[str], list[str]]]:
        """Framework and version, its spellings, and where its numbers differ."""
        return [
            (dialect.title, dialect.spell(self.name), [str(difference) for difference in dialect.differences(self.name)])
            for dialect in dialects()
            if self.name in dialect.calls
        ]

    @property
    def relatives(self) -> list[str]:
        """The others of its family, those that use the same functions first."""
        own = self._primitives
        family = [e for e in self.everything if e.family == self.activation.family and e.name != self.name]
        return [e.name for e in sorted(family, key=lambda e: -len(own & _primitives(e)))[:8]]

    @cached_property
    def _primitives(self) -> frozenset[str]:
        return _primitives(self.activation)

    # --- code

    @cached_property
    def gain(self) -> float | None:
        """What weights have to be multiplied by, so that a layer keeps the size of a signal."""
        if not self.is_curve:
            return None
        gain = float(self.at_defaults.facts.gain)
        return gain if math.isfinite(gain) else None

    @cached_property
    def code(self) -> list[tuple[str, str]]:
        """Code for each framework, with the initialisation that fits."""
        slope = self._call(".derivative").partition("y = ")[2] if self.is_curve else ""
        found = [("NumPy", self._call() + (f"\nslope = {slope}" if slope else ""))]
        return found + [(title, code) for title, code in (self._torch(), self._keras(), self._jax()) if code]

    def _call(self, method: str = "") -> str:
        """Return a call of ours, which takes arrays of every framework that has a room."""
        missing = [f"{n}={self.defaults[n]:g}" for n, p in self.activation.parameters.items() if p.default is None]
        operands = ", ".join([*getattr(self.activation, "operands", ("x",)), *missing])
        own = self.activation.family == "own"
        return f"{'' if own else 'import nonlin as nl' + chr(10) * 2}y = {'' if own else 'nl.'}{self.name}{method}({operands})"

    def _spelled(self, name: str, *, layer: bool = False) -> str | None:
        """Return how a framework spells this very function, with our defaults, or None where it has no such spelling."""
        dialect = next(d for d in dialects() if d.name == name)
        for call in dialect.calls.get(self.name, ()):
            tacit = self.defaults.keys() - call.parameters.keys()
            theirs = dialect.defaults.get(self.name, {})
            if call.name.rpartition(".")[2][:1].isupper() != layer or any(p in theirs for p in tacit):
                continue
            given = [f"{theirs}={value!r}" for theirs, value in call.fixed.items()]
            given += [
                f"{theirs}={self.defaults[ours]:.10g}" for ours, theirs in call.parameters.items() if ours in self.defaults
            ]
            return f"{dialect.prefix}{call.name}({', '.join(given)})"
        return None

    def _torch(self) -> tuple[str, str]:
        layer = self._spelled("torch", layer=True)
        if layer is None:
            return "PyTorch", self._call() + "  # takes tensors and differentiates"
        lines = ["import torch.nn as nn", "", "layer = nn.Linear(inputs, outputs)"]
        if self.gain is not None:
            lines.append(f"nn.init.normal_(layer.weight, std={self.gain:.5g} / inputs**0.5)")
        lines.append(f"activation = {layer}")
        return "PyTorch", "\n".join(lines)

    def _keras(self) -> tuple[str, str]:
        spelled = self._spelled("keras")
        if spelled is None:
            return "Keras", self._call() if _has_room("keras") else ""
        start = ""
        if self.gain is not None:
            start = f"\nstart = keras.initializers.VarianceScaling({self.gain**2:.5g}, distribution='untruncated_normal')"
        given = ", kernel_initializer=start" if start else ""
        call, _, arguments = spelled.partition("(")
        function = call if arguments == ")" else f"lambda x: {call}(x, {arguments}"
        return "Keras", f"import keras\n{start}\nlayer = keras.layers.Dense(units, activation={function}{given})"

    def _jax(self) -> tuple[str, str]:
        spelled = self._spelled("jax")
        if spelled is None:
            return "JAX", self._call() if _has_room("jax") else ""
        call, _, arguments = spelled.partition("(")
        lines = ["import jax", ""]
        if self.gain is not None:
            lines.append(f"init = jax.nn.initializers.variance_scaling({self.gain**2:.5g}, 'fan_in', 'normal')")
        lines.append(f"y = {call}(x)" if arguments == ")" else f"y = {call}(x, {arguments}")
        return "JAX", "\n".join(lines)

    # --- drawings and data

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Around zero, with nine tenths of the bends; a small one of what never stops bending."""
        x = np.linspace(-64, 64, 8193)
        with np.errstate(all="ignore"):
            bends = np.abs(np.diff(np.nan_to_num(self.at_defaults.derivative(x))))
        for reach in (4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0):
            if bends[np.abs(x[1:]) <= reach / 1.3].sum() >= 0.9 * bends.sum():
                return -reach, reach
        return -6.0, 6.0

    @cached_property
    def kinks(self) -> list[tuple[float, int]]:
        """Where a derivative jumps, and the order of the first that does."""
        return [(float(kink.x), kink.order) for kink in self.at_defaults.facts.kinks]

    def drawing(self, orders: Iterable[int] = ORDERS, points: int = 300) -> str:
        """Draw the function and its derivatives."""
        low, high = self.interval
        series = {}
        for n in orders:
            breaks = [x for x, order in self.kinks if order <= n]
            with np.errstate(all="ignore"):
                x, y = sample(partial(self.at_defaults.derivative, order=n), low, high, count=points, breaks=breaks)
            series[prime(n)] = (x.tolist(), y.tolist())
        finite = [y for _, ys in series.values() for y in ys if math.isfinite(y)]
        # No more than what a square shows: steep functions run out of the frame.
        span = (max(min(finite), -1.2 * high), min(max(finite), 1.2 * high))
        return svg.curves(series, f"{self.name} and its derivatives, from {low:g} to {high:g}", span=span)

    def thumbnail(self) -> str:
        """Draw the function alone, small."""
        low, high = self.interval
        with np.errstate(all="ignore"):
            x, y = sample(self.at_defaults, low, high, count=80, breaks=[x for x, order in self.kinks if order == 0])
        return svg.thumbnail(x.tolist(), y.tolist())

    @property
    def sliders(self) -> list[dict[str, Any]]:
        """Each parameter as a slider."""
        return [_slider(name, p, self.defaults) for name, p in self.activation.parameters.items()]

    def script(self) -> dict[str, Any]:
        """Return what the explorer knows of a function of one number; the functions are spelled as code."""
        entry = self.activation
        record: dict[str, Any] = {
            "family": entry.family,
            "summary": entry.summary,
            "aliases": list(entry.aliases),
            "source": entry.source,
            "text": str(entry.formula),
            "tree": tree(entry.formula),
            "parameters": self.sliders,
            "interval": self.interval,
            "kinks": [x for x, _ in self.kinks],
            "gain": self.gain,
            "facts": dict(self.facts),
            "code": dict(self.code),
        }
        return record

    def programs(self) -> list[str]:
        """Return the function and its derivatives in JavaScript."""
        return [program(self.activation.derivative_formula(n), self.defaults) for n in ORDERS]


def _primitives(entry: Any) -> frozenset[str]:
    return frozenset(node.primitive.name for node in postorder(entry.formula) if isinstance(node, Application))


def _described(parameter: Parameter) -> str:
    default = "no default" if parameter.default is None else f"{parameter.default:.6g}"
    learned = "learned by default" if parameter.learnable else ""
    return ", ".join(filter(None, [default, parameter.describe(), learned]))


def _slider(name: str, parameter: Parameter, defaults: Mapping[str, float]) -> dict[str, Any]:
    """Return a parameter as a slider: from where to where, within its bounds."""
    default = defaults[name]
    # A bound may be another parameter's name: its default stands for it.
    bounds = {kind: defaults.get(b, 0.0) if isinstance(b, str) else float(b) for kind, b in parameter.bounds.items()}
    size = max(abs(default), 0.5)
    low, high = default - 3 * size, default + 3 * size
    if default > 0:
        low = min(0.0, default)
    step = 10.0 ** math.floor(math.log10(size / 10))
    low = max(low, bounds.get("ge", low), bounds["gt"] + step if "gt" in bounds else low)
    high = min(high, bounds.get("le", high), bounds["lt"] - step if "lt" in bounds else high)
    return {"name": name, "default": default, "low": low, "high": high, "step": step, "avoid": bounds.get("ne")}


def _has_room(framework: str) -> bool:
    return importlib.util.find_spec(f"nonlin.{framework}") is not None


def _mathml(latex: str) -> str:
    from latex2mathml.converter import convert

    return str(convert(latex, display="block"))


def family_title(family: str) -> str:
    """Return a family's name as a heading: what its module calls itself."""
    doc = getattr(sys.modules.get(f"nonlin.catalogue.{family}"), "__doc__", None) or family.replace("_", " ")
    return doc.partition("\n")[0].partition(":")[0].rstrip(".").strip().capitalize()
