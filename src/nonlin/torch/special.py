"""Layers with something of their own: randomness, surrogate gradients, a fit, channels as torch counts them, whole blocks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.fx.proxy import Proxy
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.catalogue.learnable import rational
from nonlin.catalogue.rectifiers import prelu, rrelu, step
from nonlin.catalogue.self_gated import gelu, gelu_tanh
from nonlin.definition import AxisFunction, Elementwise, Gated, get
from nonlin.fitting import fit_rational
from nonlin.torch import elementwise
from nonlin.torch.addresses import check_memory
from nonlin.torch.axis import along_axis
from nonlin.torch.layers import ElementwiseLayer, Layer, bound, class_name, make_layer
from nonlin.torch.memory import Memory

_RReLU: Any = make_layer(rrelu)
_Rational: Any = make_layer(rational)


class PReLU(ElementwiseLayer):
    """Parametric ReLU, with the arguments and the state of torch's: checkpoints load both ways.

    Parameters
    ----------
    num_parameters : int
        1 for one slope, or one for each channel.
    init : float
    channel_axis : int
        The axis of the channels: 1 as in images, -1 for channels last.
    memory : {"exact", "low"}
        Makes no difference here: a slope that learns needs the input.
    device, dtype
        Of the slopes.

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> layer = nonlin.torch.PReLU(3)
    >>> layer.load_state_dict(torch.nn.PReLU(3, init=0.1).state_dict())
    <All keys matched successfully>
    """

    entry = prelu
    parameter_names: ClassVar[dict[str, str]] = {"negative_slope": "weight"}

    @bound
    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        channel_axis: int = 1,
        memory: Memory = "exact",
    ) -> None:
        nn.Module.__init__(self)
        if isinstance(num_parameters, bool) or not isinstance(num_parameters, int) or num_parameters < 1:
            raise ValueError(f"PReLU: num_parameters must be a whole number of at least 1, got {num_parameters!r}")
        self._start({"num_parameters": num_parameters, "init": init, "channel_axis": channel_axis, "memory": memory})
        self.num_parameters, self.init, self.learnable = num_parameters, init, ("negative_slope",)
        self.channels, self.channel_axis = num_parameters, channel_axis
        self.weight = nn.Parameter(torch.full((num_parameters,), float(init), device=device, dtype=dtype))


class GELU(ElementwiseLayer):
    """Gaussian error linear unit, also that by tanh.

    Parameters
    ----------
    approximate : {"none", "tanh"}
    memory : {"exact", "low"}
        What is kept for backward: see :mod:`nonlin.torch.memory`.
    """

    entry = gelu
    parameter_names: ClassVar[dict[str, str]] = {}

    @bound
    def __init__(self, approximate: Literal["none", "tanh"] = "none", *, memory: Memory = "exact") -> None:
        nn.Module.__init__(self)
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self._start({"approximate": approximate, "memory": memory})
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.evaluate(gelu_tanh if self.approximate == "tanh" else gelu, "x", 0, (x,), self.memory)


class RReLU(_RReLU):  # type: ignore[misc]
    """Randomized leaky ReLU: in training a slope drawn for each element, their mean in evaluation.

    Parameters
    ----------
    lower, upper : float
        Between which slopes are drawn.
    learnable, channels, channel_axis, device, dtype
        As for every layer with parameters.
    memory : {"exact", "low"}
        What is kept for backward: see :mod:`nonlin.torch.memory`.

    References
    ----------
    Xu et al. 2015, arXiv:1505.00853
    """

    entry = rrelu

    def forward(self, x: Tensor) -> Tensor:
        """Apply a slope drawn for each element in training, their mean in evaluation."""
        if not self.training:
            result: Tensor = super().forward(x)
            return result
        if not x.is_floating_point():
            raise TypeError(f"RReLU: x must be floating-point in training, got {x.dtype}")
        if not torch.compiler.is_compiling():
            check_memory(x, "RReLU", "x")
        lower, upper = (self._operands(x)[k] for k in (0, 1))
        drawn = lower + (upper - lower) * torch.rand_like(x)
        return x * torch.where(x > 0, 1.0, drawn)  # a product with a constant keeps that and no more


class Step(ElementwiseLayer):
    """Heaviside's step, with the gradient of something smoother.

    Parameters
    ----------
    surrogate : activation or str, optional
        Backward takes the derivative of this activation: ``"sigmoid"``, ``"arctan"``, ``"hard_tanh"``, ``"identity"`` (the
        straight-through estimator)... Without it the gradient is 0, as that of a step is.
    scale : float
        How steep it is: the surrogate of ``scale*x``.
    memory : {"exact", "low"}
        Of the surrogate.

    References
    ----------
    Bengio et al. 2013 (straight-through), arXiv:1308.3432; Neftci et al. 2019 (surrogate gradients), arXiv:1901.09948
    """

    entry = step
    parameter_names: ClassVar[dict[str, str]] = {}

    def __init__(self, surrogate: str | Elementwise | None = None, scale: float = 1.0, *, memory: Memory = "exact") -> None:
        nn.Module.__init__(self)
        found = None if surrogate is None else get(surrogate)
        if found is not None and (not isinstance(found, Elementwise) or isinstance(found, Gated)):
            raise ValueError(f"Step: surrogate must be an elementwise activation, got {found.name}")
        if not scale > 0:
            raise ValueError(f"Step: scale must be > 0, got {scale}")
        self._start({"surrogate": None if found is None else found.name, "scale": scale, "memory": memory})
        self.surrogate, self.scale = found, scale

    def forward(self, x: Tensor) -> Tensor:
        y = elementwise.evaluate(step, "x", 0, (x,))  # which looks whether x is in memory
        if self.surrogate is None:
            return y
        defaults = (p.default for p in self.surrogate.parameters.values())
        smooth = elementwise.evaluate(self.surrogate, "x", 0, (self.scale * x, *defaults), self.memory)
        # The difference is 0, and NaN where the surrogate is infinite: nothing to be added there.
        return y.detach() + torch.nan_to_num(smooth - smooth.detach())


class Rational(_Rational):  # type: ignore[misc]
    """Safe Padé activation unit, whose ten coefficients are learned; they start as those of leaky ReLU.

    Parameters
    ----------
    a0, a1, a2, a3, a4, a5, b1, b2, b3, b4 : float
        Coefficients of the numerator and of the denominator.
    learnable, channels, channel_axis, device, dtype
        As for every layer with parameters.
    memory : {"exact", "low"}
        What is kept for backward: see :mod:`nonlin.torch.memory`.

    References
    ----------
    Molina et al. 2019, arXiv:1907.06732
    """

    entry = rational

    @classmethod
    def fitted(cls, activation: Any, interval: tuple[float, float] = (-3.0, 3.0), **arguments: Any) -> Rational:
        """Make a layer whose coefficients start as those that fit an activation on an interval.

        Parameters
        ----------
        activation : activation, callable or str
        interval : tuple of float
        **arguments
            As for the class.

        Examples
        --------
        >>> import torch, nonlin.torch
        >>> layer = nonlin.torch.Rational.fitted("tanh")
        >>> bool((layer(torch.tensor(1.0)) - 0.7616).abs() < 1e-3)
        True
        """
        return cls(**fit_rational(activation, interval), **arguments)


# --- functions along an axis ----------------------------------------------------------------------------------------------


class AxisLayer(Layer):
    """A layer that applies a function along an axis."""

    entry: ClassVar[AxisFunction]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__()
        given = self._bound(arguments, keywords)
        self._arguments = dict(given)
        self.dim: int = given.pop("dim")
        if isinstance(self.dim, bool) or not isinstance(self.dim, int):
            raise TypeError(f"{type(self).__name__}: dim must be a whole number, the axis that it runs along, got {self.dim!r}")
        for name, value in given.items():
            self.entry._check(name, self.entry.parameters[name], value)
            setattr(self, name, value)

    def forward(self, x: Tensor, where: Tensor | None = None) -> Tensor:
        """Apply the function; entries that ``where`` leaves out take no part."""
        if isinstance(x, Proxy):
            masks = {} if where is None or self.entry.masked is None else {"where": where}
            given = {name: getattr(self, name) for name in self.entry.parameters}
            return self.entry(x, axis=self.dim, **masks, **given)
        if not -x.dim() <= self.dim < x.dim():
            raise ValueError(f"{type(self).__name__}: dim {self.dim} is out of range for x of shape {tuple(x.shape)}")
        numbers = [getattr(self, name) for name in self.entry._checked]
        return along_axis(self.entry, x, self.dim % x.dim(), where, numbers)


def make_axis_layer(entry: AxisFunction) -> type[AxisLayer]:
    """Make the class of an axis function's layers."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    required = [n for n, p in entry.parameters.items() if p.default is None]
    arguments = [inspect.Parameter(n, kind, annotation=float) for n in required]
    arguments.append(inspect.Parameter("dim", kind, default=-1, annotation=int))
    arguments += [
        inspect.Parameter(n, kind, default=p.default, annotation=float)
        for n, p in entry.parameters.items()
        if n not in required
    ]
    lines = [entry.summary, "", f"    {entry.name} = {entry.formula}", "", "Parameters", "----------"]
    for argument in arguments:
        described = "int" if argument.name == "dim" else f"number, {entry.parameters[argument.name].describe()}"
        lines.append(f"{argument.name} : {described}")
    name = class_name(entry.name)
    return type(
        name, (AxisLayer,), {"entry": entry, "__signature__": inspect.Signature(arguments), "__doc__": "\n".join(lines)}
    )


# --- a block --------------------------------------------------------------------------------------------------------------


class GatedFeedForward(nn.Module):
    """A gated feed-forward block: ``down_proj(activation(gate_proj(x), up_proj(x)))``.

    Two hidden tensors are kept for backward, gate and value; torch keeps four. The product, which the last projection needs
    for its gradient, is computed again. Names and shapes of the parameters are those of Llama's block in transformers.

    Parameters
    ----------
    in_features, hidden_features : int
    out_features : int, optional
        By default ``in_features``.
    activation : gated pair or str
    bias : bool
    device, dtype
        Of the parameters.

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> block = nonlin.torch.GatedFeedForward(8, 24)
    >>> block(torch.zeros(2, 8)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int | None = None,
        activation: str | Gated = "swiglu",
        bias: bool = False,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        entry = get(activation)
        if not isinstance(entry, Gated):
            raise ValueError(f"GatedFeedForward: activation must be a gated pair such as 'swiglu', got {entry.name}")
        self.activation = entry
        self.gate_proj = nn.Linear(in_features, hidden_features, bias, device, dtype)
        self.up_proj = nn.Linear(in_features, hidden_features, bias, device, dtype)
        self.down_proj = nn.Linear(hidden_features, out_features or in_features, bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            for name, parameter in self.named_parameters():
                check_memory(parameter, "GatedFeedForward", name)
            check_memory(x, "GatedFeedForward", "x")
        gate, value = self.gate_proj(x), self.up_proj(x)
        numbers = tuple(p.default for p in self.activation.parameters.values())
        weight: Tensor = self.down_proj.weight
        bias: Tensor | None = self.down_proj.bias
        if not elementwise.is_recorded(gate, value, weight) or not _is_plain(self.down_proj):
            return self.down_proj(elementwise.evaluate(self.activation, "x", 0, (gate, value, *numbers)))  # type: ignore[no-any-return]
        if weight.dtype is not gate.dtype:  # under autocast
            weight, bias = weight.to(gate.dtype), None if bias is None else bias.to(gate.dtype)
        return _GatedDown.apply(self.activation, numbers, gate, value, weight, bias)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        return f"activation={self.activation.name!r}"


def _is_plain(linear: nn.Linear) -> bool:
    hooks = linear._forward_hooks or linear._forward_pre_hooks or linear._backward_hooks or linear._backward_pre_hooks
    return type(linear) is nn.Linear and not hooks and type(linear.weight) in (Tensor, nn.Parameter)


class _GatedDown(torch.autograd.Function):
    """A gated pair and the projection after it, which keeps gate and value and computes their product again."""

    @staticmethod
    def forward(ctx: Any, entry: Gated, numbers: Any, gate: Tensor, value: Tensor, weight: Tensor, bias: Any) -> Tensor:
        ctx.entry, ctx.numbers = entry, numbers
        ctx.save_for_backward(gate, value, weight)
        with torch.autocast(gate.device.type, enabled=False):
            return _gated_down(elementwise.operation(entry), gate, value, weight, bias, numbers)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        gate, value, weight = ctx.saved_tensors
        for name, tensor in (("the gradient", dy), ("gate", gate), ("value", value), ("weight", weight)):
            check_memory(tensor, ctx.entry.name, name)
        operation, operands = elementwise.operation(ctx.entry), (gate, value, *ctx.numbers)
        wanted = ctx.needs_input_grad
        if not torch.is_grad_enabled() and all(wanted[2:5]):
            return None, None, *_gated_down_gradients(operation, dy, gate, value, weight, ctx.numbers), _bias(dy, wanted[5])
        d_gate = d_value = d_weight = None
        if wanted[2] or wanted[3]:
            hidden = dy @ weight
            d_gate = operation.gradient(0, hidden, operands) if wanted[2] else None
            d_value = operation.gradient(1, hidden, operands) if wanted[3] else None
            del hidden
        if wanted[4]:
            product = operation(*operands)
            d_weight = dy.reshape(-1, dy.shape[-1]).mT @ product.reshape(-1, product.shape[-1])
        return None, None, d_gate, d_value, d_weight, _bias(dy, wanted[5])


def _gated_down(
    operation: elementwise.Operation, gate: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None, numbers: Any
) -> Tensor:
    """Return the projection of the product, of which only a few rows exist at a time."""
    shape = (*gate.shape[:-1], weight.shape[0])
    gate, value = (t.reshape(-1, t.shape[-1]) for t in (gate, value))
    y = gate.new_empty(len(gate), weight.shape[0])
    for part in _parts(len(gate)):
        y[part] = F.linear(operation.compute((gate[part], value[part], *numbers)), weight, bias)
    return y.reshape(shape)


def _parts(count: int) -> Iterator[slice]:
    rows = max(_ROWS, -(-count // 8))
    return (slice(start, start + rows) for start in range(0, count, rows))


def _bias(dy: Tensor, wanted: bool) -> Tensor | None:
    return dy.reshape(-1, dy.shape[-1]).sum(0) if wanted else None


def _gated_down_gradients(
    operation: elementwise.Operation, dy: Tensor, gate: Tensor, value: Tensor, weight: Tensor, numbers: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of gate, value and weight; of the two other hidden tensors that it takes only a few rows exist."""
    shape = gate.shape
    dy, gate, value = (t.reshape(-1, t.shape[-1]) for t in (dy, gate, value))
    d_gate, d_value = torch.empty_like(gate), torch.empty_like(value)
    d_weight = torch.zeros_like(weight)
    by_gate, by_value = operation.pull(0), operation.pull(1)
    for part in _parts(len(gate)):
        operands = (gate[part], value[part], *numbers)
        d_weight.addmm_(dy[part].mT, operation.compute(operands))
        hidden = dy[part] @ weight
        d_gate[part] = by_gate.compute((hidden, *operands))
        d_value[part] = by_value.compute((hidden, *operands))
    return d_gate.reshape(shape), d_value.reshape(shape), d_weight


_ROWS = 256  # fewer make products of matrices slow

SPECIAL: dict[str, type[nn.Module]] = {cls.__name__: cls for cls in (PReLU, GELU, RReLU, Step, Rational)}
