"""What frameworks call the same functions, which defaults they give them, and where their numbers differ.

Two tables. The first spells each activation as a framework does. ``F.hardtanh(min_val=min_value)`` says that its
``min_val`` is our ``min_value``, ``LeakyReLU(negative_slope)`` that it has the parameter under our name, and
``gelu(approximate=True)`` that it needs this argument to be our function. The second lists the points at which a
framework's number is not ours. Both were read from the frameworks, in the versions given here; the tests compare them
with those that are installed.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, nan
from typing import Any

from nonlin.definition import activations


@dataclass(frozen=True)
class Call:
    """How a framework spells an activation.

    Parameters
    ----------
    text : str
        The function with the arguments that matter: ``"F.hardtanh(min_val=min_value, max_val=max_value)"``.

    Examples
    --------
    >>> from nonlin.dialects import Call
    >>> Call("LeakyRelu(alpha=negative_slope)").parameters
    {'negative_slope': 'alpha'}
    >>> Call("gelu(approximate=True)").fixed
    {'approximate': True}
    """

    text: str

    @cached_property
    def name(self) -> str:
        """The function, without arguments."""
        return self.text.partition("(")[0]

    @cached_property
    def _arguments(self) -> dict[str, ast.expr]:
        call = ast.parse(self.text, mode="eval").body
        if not isinstance(call, ast.Call):
            return {}
        named = {argument.id: argument for argument in call.args if isinstance(argument, ast.Name)}
        return {**named, **{str(keyword.arg): keyword.value for keyword in call.keywords}}

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The framework's name of each of our parameters that it takes."""
        return {value.id: theirs for theirs, value in self._arguments.items() if isinstance(value, ast.Name)}

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The arguments that make the framework's function ours."""
        fixed = {name: value for name, value in self._arguments.items() if not isinstance(value, ast.Name)}
        return {name: ast.literal_eval(value) for name, value in fixed.items()}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Difference:
    """A point at which a framework's number is not ours.

    Attributes
    ----------
    activation : str
    order : int
        0 for the value, 1 for the derivative.
    x, ours : float
    theirs : float or None
        None for numbers that depend on the backend or on parameters.
    backend : str
        The backend on which it is so, if it is not so on all.

    Examples
    --------
    >>> import nonlin as nl
    >>> print(nl.dialect("jax").differences("leaky_relu")[0])
    derivative at 0 is 1, here 0.01
    """

    activation: str
    order: int
    x: float
    ours: float
    theirs: float | None
    backend: str = ""

    def __str__(self) -> str:
        what = "derivative" if self.order else "value"
        theirs = "a number" if self.theirs is None else f"{self.theirs:.5g}"
        where = f" on {self.backend}" if self.backend else ""
        return f"{what} at {self.x:g} is {theirs}{where}, here {self.ours:.5g}"


@dataclass(frozen=True, eq=False)
class Dialect(Mapping[str, Any]):
    """A framework's activations: a read-only mapping from names to activations with that framework's defaults.

    It is iterated over in our names. Looked up, by key or by attribute, a name means what the framework means by it:
    JAX's ``gelu`` is the approximation by tanh. Our names for what it spells otherwise are known, too.

    Attributes
    ----------
    name : str
    title : str
        The framework and the version the table was read from.
    prefix : str
        What stands before the names of its functions in code.
    calls : Mapping[str, tuple of Call]
        The framework's spellings, by our name.
    defaults : Mapping[str, Mapping[str, float]]
        The defaults that are not ours, by our names.

    Examples
    --------
    >>> import nonlin as nl
    >>> keras = nl.dialect("keras")
    >>> print(nl.leaky_relu(-1.0), keras.leaky_relu(-1.0), nl.dialect("keras.layers").leaky_relu(-1.0))
    -0.01 -0.2 -0.3
    >>> nl.dialect("onnx")["HardSigmoid"]
    <activation hard_sigmoid(x, slope=0.2)>
    """

    name: str
    title: str
    prefix: str
    calls: Mapping[str, tuple[Call, ...]]
    defaults: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Our name for each name that can be looked up; of two that are the same, the framework's own counts."""
        theirs = ((call.name, ours) for ours, calls in self.calls.items() for call in calls if not call.fixed)
        names: dict[str, str] = {}
        for name, ours in (*theirs, *((ours, ours) for ours in self.calls)):
            names.setdefault(_plain(name), ours)
        return names

    @cached_property
    def _made(self) -> dict[str, Any]:
        return {}

    def __getitem__(self, name: str) -> Any:
        ours = self._names.get(_plain(name)) if isinstance(name, str) else None
        if ours is None:
            near = difflib.get_close_matches(_plain(str(name)), self._names, 1, 0.6)
            hint = f"; did you mean {self._names[near[0]]}?" if near else ""
            raise _UnknownError(f"{self.name} has no activation {name!r} that is known here{hint}")
        return self._entry(ours)

    def _entry(self, ours: str) -> Any:
        if ours not in self._made:
            entry, defaults = activations[ours], self.defaults.get(ours)
            self._made[ours] = entry.with_(**defaults) if defaults else entry
        return self._made[ours]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.calls]

    def __repr__(self) -> str:
        return f"<dialect {self.name} ({self.title}) of {len(self)} activations: {', '.join(self)}>"

    def spell(self, name: str) -> list[str]:
        """Return how the framework spells an activation, with its names of parameters and its defaults.

        Parameters
        ----------
        name : str
            Our name.

        Returns
        -------
        list of str
            Empty if the framework is not known to have it.

        Examples
        --------
        >>> import nonlin as nl
        >>> nl.dialect("onnx").spell("leaky_relu"), nl.dialect("jax").spell("gelu")
        (['LeakyRelu(alpha=0.01)'], ['jax.nn.gelu(approximate=False)'])
        """
        parameters = getattr(self._entry(name), "parameters", {}) if name in self.calls else {}
        spelled = []
        for call in self.calls.get(name, ()):
            given = [f"{theirs}={value!r}" for theirs, value in call.fixed.items()]
            for ours, theirs in call.parameters.items():
                default = parameters[ours].default if ours in parameters else None
                given.append(theirs if default is None else f"{theirs}={default:.6g}")
            spelled.append(self.prefix + call.name + (f"({', '.join(given)})" if given else ""))
        return spelled

    def differences(self, name: str | None = None) -> list[Difference]:
        """Return the points at which the framework's value or derivative is not ours, defaults apart.

        Parameters
        ----------
        name : str, optional
            Our name of an activation; all of them by default.
        """
        found = []
        for where, order, points, theirs, names, backend in _DIFFERENCES:
            for ours in names.split() if self.name in where.split() else ():
                if ours not in self.calls or name not in (None, ours):
                    continue
                # Where a parameter has no default, any value shows what happens.
                own = {p: 1 if q.default is None else q.default for p, q in activations[ours].parameters.items()}
                given = own | dict(self.defaults.get(ours, {}))
                for x in points:
                    number = float(activations[ours].derivative(x, order=order, **given))
                    found.append(Difference(ours, order, x, number, theirs, backend))
        return found


class _UnknownError(KeyError):
    """A KeyError whose message prints as it is, without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


def _plain(name: str) -> str:
    return name.rpartition(".")[2].replace("_", "").lower()


def _table(*same: str, **spelled: str) -> dict[str, tuple[Call, ...]]:
    """Make a table of spellings: those that are our own names, and the others, with | between several."""
    table = {name: name for names in same for name in names.split()} | spelled
    return {ours: tuple(Call(text.strip()) for text in texts.split("|")) for ours, texts in table.items()}


# --- what they are called ---------------------------------------------------------------------------------------------

# Where one function of a framework is several of ours, the first one here has its bare name.
_KERAS = _table(
    "relu relu6 selu sigmoid tanh softsign softplus sparse_plus sparse_sigmoid log_sigmoid hard_tanh tanh_shrink",
    elu="elu(alpha)",
    celu="celu(alpha)",
    leaky_relu="leaky_relu(negative_slope)",
    squareplus="squareplus(b)",
    silu="silu | swish",
    hard_sigmoid="hard_sigmoid",
    hard_swish="hard_silu | hard_swish",
    hard_shrink="hard_shrink(threshold=lambd)",
    soft_shrink="soft_shrink(threshold=lambd)",
    threshold="threshold(threshold, default_value=value)",
    glu="glu(axis)",
    softmax="softmax(axis)",
    log_softmax="log_softmax(axis)",
    sparsemax="sparsemax(axis)",
)

_DIALECTS = (
    Dialect(
        "torch",
        "PyTorch 2.13",
        "",
        _table(
            relu="F.relu | nn.ReLU",
            leaky_relu="F.leaky_relu(negative_slope) | nn.LeakyReLU(negative_slope)",
            prelu="nn.PReLU(init=negative_slope) | F.prelu(weight=negative_slope)",
            rrelu="F.rrelu(lower, upper) | nn.RReLU(lower, upper)",
            relu6="F.relu6 | nn.ReLU6",
            threshold="F.threshold(threshold, value) | nn.Threshold(threshold, value)",
            hard_tanh="F.hardtanh(min_val=min_value, max_val=max_value) | nn.Hardtanh(min_val=min_value, max_val=max_value)",
            abs="torch.abs",
            softplus="F.softplus(beta) | nn.Softplus(beta)",
            elu="F.elu(alpha) | nn.ELU(alpha)",
            celu="F.celu(alpha) | nn.CELU(alpha)",
            selu="F.selu | nn.SELU",
            log_sigmoid="F.logsigmoid | nn.LogSigmoid",
            gelu="F.gelu | nn.GELU",
            gelu_tanh="F.gelu(approximate='tanh') | nn.GELU(approximate='tanh')",
            silu="F.silu | nn.SiLU",
            mish="F.mish | nn.Mish",
            hard_swish="F.hardswish | nn.Hardswish",
            sigmoid="torch.sigmoid | nn.Sigmoid",
            hard_sigmoid="F.hardsigmoid | nn.Hardsigmoid",
            tanh="torch.tanh | nn.Tanh",
            arctan="torch.arctan",
            erf="torch.erf",
            sin="torch.sin",
            identity="nn.Identity",
            softsign="F.softsign | nn.Softsign",
            tanh_shrink="F.tanhshrink | nn.Tanhshrink",
            hard_shrink="F.hardshrink(lambd) | nn.Hardshrink(lambd)",
            soft_shrink="F.softshrink(lambd) | nn.Softshrink(lambd)",
            glu="F.glu(dim=axis) | nn.GLU(dim=axis)",
            softmax="F.softmax(dim=axis) | nn.Softmax(dim=axis)",
            log_softmax="F.log_softmax(dim=axis) | nn.LogSoftmax(dim=axis)",
            softmin="F.softmin(dim=axis) | nn.Softmin(dim=axis)",
        ),
    ),
    Dialect(
        "keras",
        "Keras 3.15, also the strings that its layers take",
        "keras.activations.",
        _KERAS | _table("mish", identity="linear", gelu="gelu", gelu_tanh="gelu(approximate=True)"),
        {"leaky_relu": {"negative_slope": 0.2}},
    ),
    Dialect(
        "keras.layers",
        "Keras 3.15",
        "keras.layers.",
        _table(
            relu="ReLU",
            leaky_relu="LeakyReLU(negative_slope)",
            prelu="PReLU(alpha_initializer=negative_slope)",
            elu="ELU(alpha)",
            softmax="Softmax(axis)",
        ),
        {"leaky_relu": {"negative_slope": 0.3}, "prelu": {"negative_slope": 0.0}},
    ),
    Dialect(
        "keras.ops",
        "Keras 3.15",
        "keras.ops.",
        _KERAS | _table("erf sin", abs="abs | absolute", arctan="arctan", gelu_tanh="gelu", gelu="gelu(approximate=False)"),
        {"leaky_relu": {"negative_slope": 0.2}},
    ),
    Dialect(
        "keras2",
        "Keras 2.15 and tf-keras",
        "keras.",
        _table(
            relu="activations.relu | layers.ReLU",
            leaky_relu="layers.LeakyReLU(alpha=negative_slope)",
            prelu="layers.PReLU(alpha_initializer=negative_slope)",
            thresholded_relu="layers.ThresholdedReLU(theta)",
            elu="activations.elu(alpha) | layers.ELU(alpha)",
            selu="activations.selu",
            softplus="activations.softplus",
            softsign="activations.softsign",
            gelu="activations.gelu",
            gelu_tanh="activations.gelu(approximate=True)",
            silu="activations.swish",
            mish="activations.mish",
            sigmoid="activations.sigmoid",
            hard_sigmoid="activations.hard_sigmoid",
            tanh="activations.tanh",
            identity="activations.linear",
            softmax="activations.softmax(axis) | layers.Softmax(axis)",
        ),
        {"leaky_relu": {"negative_slope": 0.3}, "prelu": {"negative_slope": 0.0}, "hard_sigmoid": {"slope": 0.2}},
    ),
    Dialect(
        "tensorflow",
        "TensorFlow 2.21",
        "tf.",
        _table(
            relu="nn.relu",
            relu6="nn.relu6",
            leaky_relu="nn.leaky_relu(alpha=negative_slope)",
            crelu="nn.crelu(axis)",
            elu="nn.elu",
            selu="nn.selu",
            softplus="nn.softplus",
            softsign="nn.softsign",
            gelu="nn.gelu",
            gelu_tanh="nn.gelu(approximate=True)",
            silu="nn.silu",
            swish="nn.swish(beta)",
            sigmoid="nn.sigmoid",
            log_sigmoid="math.log_sigmoid",
            tanh="nn.tanh",
            arctan="math.atan",
            erf="math.erf",
            sin="math.sin",
            abs="math.abs",
            identity="identity",
            softmax="nn.softmax(axis)",
            log_softmax="nn.log_softmax(axis)",
        ),
        {"leaky_relu": {"negative_slope": 0.2}},
    ),
    Dialect(
        "jax",
        "JAX 0.10, also Flax",
        "jax.nn.",
        _table(
            "relu relu6 selu softplus sparse_plus sparse_sigmoid log_sigmoid mish sigmoid hard_sigmoid hard_tanh tanh",
            identity="identity",
            elu="elu(alpha)",
            celu="celu(alpha)",
            leaky_relu="leaky_relu(negative_slope)",
            squareplus="squareplus(b)",
            gelu_tanh="gelu",
            gelu="gelu(approximate=False)",
            silu="silu | swish",
            hard_swish="hard_silu | hard_swish",
            softsign="soft_sign",
            glu="glu(axis)",
            softmax="softmax(axis, where)",
            log_softmax="log_softmax(axis, where)",
        ),
    ),
    Dialect(
        "onnx",
        "ONNX 1.23, opset 28; values of onnxruntime 1.31",
        "",
        _table(
            relu="Relu",
            leaky_relu="LeakyRelu(alpha=negative_slope)",
            prelu="PRelu(slope=negative_slope)",
            relu6="Clip(min=0, max=6)",
            hard_tanh="Clip(min=-1, max=1)",
            thresholded_relu="ThresholdedRelu(alpha=theta)",
            abs="Abs",
            softplus="Softplus",
            elu="Elu(alpha)",
            celu="Celu(alpha)",
            selu="Selu",
            gelu="Gelu",
            gelu_tanh="Gelu(approximate='tanh')",
            swish="Swish(alpha=beta)",
            silu="Swish(alpha=1.0)",
            mish="Mish",
            hard_swish="HardSwish",
            sigmoid="Sigmoid",
            hard_sigmoid="HardSigmoid(alpha=slope)",
            tanh="Tanh",
            arctan="Atan",
            erf="Erf",
            sin="Sin",
            identity="Identity",
            softsign="Softsign",
            hard_shrink="Shrink(lambd)",
            soft_shrink="Shrink(lambd=0.5, bias=0.5)",
            softmax="Softmax(axis)",
            log_softmax="LogSoftmax(axis)",
            hardmax="Hardmax(axis)",
            swiglu="SwiGLU",
        ),
        {"hard_sigmoid": {"slope": 0.2}},
    ),
    Dialect(
        "transformers",
        "transformers 5.23, the names in model configurations",
        "",
        _table(
            "relu relu6 sigmoid tanh mish quick_gelu laplace leaky_relu prelu xielu",
            silu="silu | swish",
            gelu="gelu | gelu_python",
            gelu_tanh="gelu_pytorch_tanh | gelu_new | gelu_fast | gelu_python_tanh | gelu_accurate",
            relu_squared="relu2",
            hard_swish="hardswish",
            sqrt_softplus="sqrtsoftplus",
            identity="linear",
        ),
    ),
)
_BY_NAME = {dialect.name: dialect for dialect in _DIALECTS}
_SHORT = {
    "torch.nn.functional.": "F.",
    "torch.nn.": "nn.",
    "tensorflow.": "tf.",
    "tf.keras.": "keras.",
    "tf_keras.": "keras.",
}
_ALSO = {"pytorch": "torch", "keras3": "keras", "keras.activations": "keras", "tf": "tensorflow", "jax.nn": "jax"}


def dialect(name: str) -> Dialect:
    """Return a framework's activations with its defaults, so that a ported model computes the same numbers.

    Parameters
    ----------
    name : str
        ``"torch"``, ``"keras"``, ``"keras.layers"``, ``"keras.ops"``, ``"keras2"``, ``"tensorflow"``, ``"jax"``,
        ``"onnx"`` or ``"transformers"``. In Keras, functions and layers of one name have different defaults.

    Returns
    -------
    Dialect
        A read-only mapping, with the names as attributes, too.

    Raises
    ------
    KeyError
        If there is none of that name; the message lists those that there are.

    Examples
    --------
    >>> import nonlin as nl
    >>> print(nl.dialect("keras").leaky_relu(-1.0))
    -0.2
    >>> nl.dialect("jax").gelu is nl.gelu_tanh
    True
    """
    plain = str(name).lower()
    found = _BY_NAME.get(_ALSO.get(plain, plain))
    if found is None:
        raise _UnknownError(f"there is no dialect {name!r}: nonlin knows {', '.join(_BY_NAME)}")
    return found


def dialects() -> tuple[Dialect, ...]:
    """Return all dialects.

    Examples
    --------
    >>> from nonlin.dialects import dialects
    >>> [d.name for d in dialects() if "snake" in d]
    []
    """
    return _DIALECTS


def find(spelled: str) -> Any:
    """Return what a framework's name in code means, with its defaults, or None if it is not in the table.

    Parameters
    ----------
    spelled : str
        The name with its module: ``"nn.Hardtanh"``, ``"torch.nn.functional.softplus"``, ``"keras.layers.LeakyReLU"``.
        Names that Keras 2 and 3 share mean what they do in Keras 3.

    Examples
    --------
    >>> from nonlin.dialects import find
    >>> find("keras.layers.LeakyReLU"), find("jax.nn.gelu").name
    (<activation leaky_relu(x, negative_slope=0.3)>, 'gelu_tanh')
    """
    for long, short in _SHORT.items():
        if spelled.startswith(long):
            spelled = short + spelled.removeprefix(long)
    if "." not in spelled:
        return None
    for one in _DIALECTS:
        for ours, calls in one.calls.items():
            if any(one.prefix + call.name == spelled and not call.fixed for call in calls):
                return one._entry(ours)
    return None


# --- where their numbers differ ---------------------------------------------------------------------------------------

# Dialects, order of the derivative, points, the framework's number (None: it depends), activations, and the backend if
# it is not so on all.
_DIFFERENCES: tuple[tuple[str, int, tuple[float, ...], float | None, str, str], ...] = (
    # inf - inf and 0 * inf are nan; the limits exist.
    (
        "torch jax keras keras.ops onnx transformers",
        0,
        (-inf,),
        nan,
        "gelu gelu_tanh quick_gelu silu mish hard_swish",
        "",
    ),
    ("keras2 tensorflow", 0, (-inf,), nan, "gelu gelu_tanh silu swish mish", ""),
    (
        "torch jax keras keras.ops keras2 tensorflow transformers",
        1,
        (-inf, inf),
        nan,
        "gelu gelu_tanh quick_gelu silu swish mish",
        "",
    ),
    ("keras keras.ops", 1, (-inf, inf), nan, "hard_swish", "TensorFlow"),
    ("torch jax keras keras.ops keras2 tensorflow onnx", 0, (-inf, inf), nan, "softsign", ""),
    ("torch jax", 1, (-inf, inf), nan, "softsign", ""),
    ("keras keras.ops", 1, (-inf, inf), nan, "softsign", "torch and JAX"),
    ("jax keras keras.ops", 0, (-inf,), nan, "squareplus", ""),
    ("jax keras keras.ops", 1, (-inf, inf), nan, "squareplus sparse_plus", ""),
    ("transformers", 0, (-inf,), nan, "xielu", ""),
    ("transformers", 1, (-inf,), nan, "sqrt_softplus xielu", ""),
    ("keras.layers keras2", 0, (-inf,), nan, "prelu", ""),
    ("keras2", 0, (-inf,), nan, "thresholded_relu", ""),
    # Kinks.
    ("jax", 1, (0.0,), 1.0, "leaky_relu", ""),
    ("keras keras.layers keras.ops", 1, (0.0,), 1.0, "leaky_relu abs", "JAX"),
    ("jax", 1, (-1.0, 1.0), 1.0, "hard_tanh", ""),
    ("keras keras.ops", 1, (-1.0, 1.0), 1.0, "hard_tanh", "JAX and TensorFlow"),
    ("jax", 1, (-1.0, 1.0), 0.25, "sparse_sigmoid", ""),
    ("keras keras.ops", 1, (-1.0, 1.0), 0.25, "sparse_sigmoid", "JAX"),
    ("keras2 tensorflow", 1, (0.0,), 1.0507009873554805, "selu", ""),
    ("keras keras.ops", 1, (0.0,), 1.0507009873554805, "selu", "TensorFlow"),
    ("keras keras.ops", 1, (0.0,), 2.0, "celu", "TensorFlow"),
    # nan does not come out where nan goes in.
    ("onnx", 0, (nan,), 0.0, "thresholded_relu hard_shrink soft_shrink", ""),
    ("keras keras.ops", 0, (nan,), 0.0, "hard_shrink soft_shrink", "JAX and TensorFlow"),
    ("keras keras.ops", 0, (nan,), None, "threshold", "JAX and TensorFlow"),
    (
        "torch jax keras keras.layers keras.ops keras2 tensorflow transformers",
        1,
        (nan,),
        None,
        (
            "relu leaky_relu prelu rrelu relu6 threshold thresholded_relu abs hard_tanh hard_sigmoid hard_shrink"
            " soft_shrink sparse_sigmoid identity"
        ),
        "",
    ),
    ("torch transformers", 1, (nan,), None, "elu selu celu hard_swish", ""),
    ("keras keras.ops", 1, (nan,), None, "hard_swish", "torch"),
    ("keras2 tensorflow", 1, (nan,), None, "elu selu", ""),
    ("keras keras.layers keras.ops", 1, (nan,), None, "elu selu celu", "torch and TensorFlow"),
)
