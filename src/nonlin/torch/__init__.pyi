"""PyTorch: layers and what belongs to them. Made by tools/make_stubs.py: do not edit."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nonlin.definition.layout import Gate as Gate
from nonlin.torch.initialization import (
    Initialization as Initialization,
    Initialized as Initialized,
    gain as gain,
    init_ as init_,
)
from nonlin.torch.layers import ElementwiseLayer, GatedLayer
from nonlin.torch.making import layer as layer
from nonlin.torch.replacement import Change as Change, Replacement as Replacement, replace as replace
from nonlin.torch.report import Kept as Kept, MemoryReport as MemoryReport, memory_report as memory_report
from nonlin.torch.special import (
    AxisLayer,
    GatedFeedForward as GatedFeedForward,
    GELU as GELU,
    PReLU as PReLU,
    Rational as Rational,
    RReLU as RReLU,
    Step as Step,
)

class ReLU(ElementwiseLayer):
    """Rectified linear unit: the identity above zero, zero below."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class LeakyReLU(ElementwiseLayer):
    """Leaky ReLU: a small slope below zero keeps the gradient alive. Right for every slope, above 1 too."""

    negative_slope: Any
    def __init__(
        self,
        negative_slope: float = 0.01,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class ReLU6(ElementwiseLayer):
    """ReLU clipped at 6, for low-precision arithmetic."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ClippedReLU(ElementwiseLayer):
    """ReLU clipped at a value."""

    max_value: Any
    def __init__(
        self,
        max_value: float = 1,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class ThresholdedReLU(ElementwiseLayer):
    """The identity above a threshold, zero below."""

    theta: Any
    def __init__(
        self,
        theta: float = 1,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Threshold(ElementwiseLayer):
    """The identity above a threshold, a given value below."""

    threshold: Any
    value: Any
    def __init__(
        self,
        threshold: float,
        value: float,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class ReLUSquared(ElementwiseLayer):
    """The square of ReLU: Primer, Nemotron, BitNet, nanochat."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class StarReLU(ElementwiseLayer):
    """Squared ReLU scaled and shifted to mean 0 and variance 1 for normal inputs."""

    scale: Any
    bias: Any
    def __init__(
        self,
        scale: float = 0.8944,
        bias: float = -0.4472,
        *,
        learnable: bool | str | Sequence[str] | None = None,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Abs(ElementwiseLayer):
    """The absolute value."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Hardtanh(ElementwiseLayer):
    """The identity clipped to an interval."""

    min_val: Any
    max_val: Any
    def __init__(
        self,
        min_val: float = -1,
        max_val: float = 1,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Identity(ElementwiseLayer):
    """The input itself."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Softmax(AxisLayer):
    """Turns a row into probabilities, in proportion to the exponentials of its entries."""

    def __init__(
        self,
        dim: int = -1,
        temperature: float = 1.0,
    ) -> None: ...

class Softmin(AxisLayer):
    """Softmax of the negated row: the smallest entry becomes the most probable."""

    def __init__(
        self,
        dim: int = -1,
        temperature: float = 1.0,
    ) -> None: ...

class LogSoftmax(AxisLayer):
    """The logarithm of softmax, also where softmax itself underflows or is close to 1."""

    def __init__(
        self,
        dim: int = -1,
        temperature: float = 1.0,
    ) -> None: ...

class Sparsemax(AxisLayer):
    """The probabilities nearest to the row, its projection onto the simplex: small entries get exactly 0."""

    def __init__(
        self,
        dim: int = -1,
        temperature: float = 1.0,
    ) -> None: ...

class Entmax15(AxisLayer):
    """Half-way from softmax to sparsemax (alpha = 1.5): smooth where it is not 0."""

    def __init__(
        self,
        dim: int = -1,
        temperature: float = 1.0,
    ) -> None: ...

class Hardmax(AxisLayer):
    """The limit of softmax at temperature 0: everything to the largest entry, the first one of several."""

    def __init__(
        self,
        dim: int = -1,
    ) -> None: ...

class Maxout(AxisLayer):
    """The largest of every so many neighbours; the first one where several are, for the slope. As PaddlePaddle's."""

    def __init__(
        self,
        groups: float,
        dim: int = -1,
    ) -> None: ...

class CReLU(AxisLayer):
    """Concatenated ReLU: keeps what is negative, in entries of its own, so that the axis gets twice as long."""

    def __init__(
        self,
        dim: int = -1,
    ) -> None: ...

class Sigmoid(ElementwiseLayer):
    """The logistic function, from 0 to 1."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Hardsigmoid(ElementwiseLayer):
    """A piecewise linear sigmoid. PyTorch, Keras 3 and JAX take slope 1/6, Keras 2 and ONNX 0.2."""

    slope: Any
    def __init__(
        self,
        slope: float = 0.16666666666666666,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Tanh(ElementwiseLayer):
    """The hyperbolic tangent, from -1 to 1."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Arctan(ElementwiseLayer):
    """The inverse tangent, from -pi/2 to pi/2."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Erf(ElementwiseLayer):
    """The error function, from -1 to 1."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Gaussian(ElementwiseLayer):
    """The Gaussian bell."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Softsign(ElementwiseLayer):
    """An algebraic sigmoid from -1 to 1 with slow tails."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class SparseSigmoid(ElementwiseLayer):
    """The slope of sparse_plus: 0 below -1, 1 above 1, linear between."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class DyT(ElementwiseLayer):
    """Dynamic tanh: stands in for a normalization layer."""

    alpha: Any
    scale: Any
    shift: Any
    def __init__(
        self,
        alpha: float = 0.5,
        scale: float = 1.0,
        shift: float = 0.0,
        *,
        learnable: bool | str | Sequence[str] | None = None,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class GELUTanh(ElementwiseLayer):
    """GELU approximated with tanh: GPT-2, Gemma. At most 4.73e-4 from gelu."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class QuickGELU(ElementwiseLayer):
    """GELU approximated with a sigmoid: CLIP."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class SiLU(ElementwiseLayer):
    """Sigmoid linear unit, also called Swish-1: YOLO, EfficientNet."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Swish(ElementwiseLayer):
    """SiLU with an adjustable gate: x/2 at beta = 0, towards ReLU as beta grows."""

    beta: Any
    def __init__(
        self,
        beta: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Mish(ElementwiseLayer):
    """A self-regularized non-monotonic activation: YOLOv4."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Hardswish(ElementwiseLayer):
    """Swish with a piecewise linear gate: MobileNetV3."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class HardMish(ElementwiseLayer):
    """Mish with a piecewise linear gate."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class TeLU(ElementwiseLayer):
    """Hyperbolic tangent exponential linear unit; TanhExp is the same function."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class GoLU(ElementwiseLayer):
    """Gompertz linear unit: gated by the Gumbel distribution's function."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Serf(ElementwiseLayer):
    """Log-softplus error activation: gated by erf of softplus."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ELiSH(ElementwiseLayer):
    """SiLU above zero, ELU times the sigmoid below."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class LiSHT(ElementwiseLayer):
    """Linearly scaled hyperbolic tangent: even, never negative."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Laplace(ElementwiseLayer):
    """The distribution function of a normal, fitted to squared ReLU: Mega."""

    mu: Any
    sigma: Any
    def __init__(
        self,
        mu: float = 0.707107,
        sigma: float = 0.282095,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class XIELU(ElementwiseLayer):
    """Expanded integral of ELU: its slope grows linearly above zero. Apertus."""

    alpha_p: Any
    alpha_n: Any
    beta: Any
    eps: Any
    def __init__(
        self,
        alpha_p: float = 0.8,
        alpha_n: float = 0.8,
        beta: float = 0.5,
        eps: float = -1e-06,
        *,
        learnable: bool | str | Sequence[str] | None = None,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Softcap(ElementwiseLayer):
    """The identity, bent so that it stays within -cap and cap."""

    cap: Any
    def __init__(
        self,
        cap: float = 30.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class GLU(GatedLayer):
    """Gated linear unit: the value times the sigmoid of the gate."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "second",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class BilinearGLU(GatedLayer):
    """The product of two linear maps of the input: a gate without an activation."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ReGLU(GatedLayer):
    """Gated linear unit with ReLU."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class GEGLU(GatedLayer):
    """Gated linear unit with GELU. Diffusers splits with gate='second'."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class GEGLUTanh(GatedLayer):
    """Gated linear unit with GELU approximated by tanh: T5 1.1, Gemma."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class SwiGLU(GatedLayer):
    """Gated linear unit with SiLU: PaLM, Llama."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ReLU2GLU(GatedLayer):
    """Gated linear unit with squared ReLU: BitNet."""

    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "first",
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class SwiGLUClamped(GatedLayer):
    """SwiGLU whose gate is at most and whose value is within a limit, and whose value is raised by 1: gpt-oss."""

    limit: Any
    alpha: Any
    def __init__(
        self,
        dim: int = -1,
        gate: Gate = "even",
        limit: float = 7.0,
        alpha: float = 1.702,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Sin(ElementwiseLayer):
    """The sine."""

    omega: Any
    def __init__(
        self,
        omega: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Snake(ElementwiseLayer):
    """The identity with a wave: extrapolates periodic data. DAC."""

    alpha: Any
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = None,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class SnakeBeta(ElementwiseLayer):
    """Snake whose wave has a height of its own."""

    alpha: Any
    beta: Any
    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = None,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class GCU(ElementwiseLayer):
    """Growing cosine unit."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Tanhshrink(ElementwiseLayer):
    """The input less its hyperbolic tangent."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class Hardshrink(ElementwiseLayer):
    """Zero near zero, the identity elsewhere."""

    lambd: Any
    def __init__(
        self,
        lambd: float = 0.5,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Softshrink(ElementwiseLayer):
    """Pulls the input towards zero by lambd."""

    lambd: Any
    def __init__(
        self,
        lambd: float = 0.5,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Softplus(ElementwiseLayer):
    """A smooth ReLU: the integral of the sigmoid."""

    beta: Any
    def __init__(
        self,
        beta: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class Squareplus(ElementwiseLayer):
    """An algebraic softplus: no exponential."""

    b: Any
    def __init__(
        self,
        b: float = 4.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class SmeLU(ElementwiseLayer):
    """Smooth ReLU: a parabola joins zero and the identity between -beta and beta."""

    beta: Any
    def __init__(
        self,
        beta: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class SparsePlus(ElementwiseLayer):
    """Zero below -1, a parabola up to 1, the identity above."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ELU(ElementwiseLayer):
    """Exponential linear unit: the identity above zero, saturating to -alpha below."""

    alpha: Any
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class CELU(ElementwiseLayer):
    """Continuously differentiable ELU: its slope at zero is 1 for every alpha."""

    alpha: Any
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class SELU(ElementwiseLayer):
    """Scaled ELU: keeps activations at mean 0 and variance 1 through layers with LeCun-normal weights."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class ISRLU(ElementwiseLayer):
    """Inverse square root linear unit: an algebraic ELU."""

    alpha: Any
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        learnable: bool | str | Sequence[str] | None = False,
        channels: int | None = None,
        channel_axis: int = 1,
        memory: Literal["exact", "low"] = "exact",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

class LogSigmoid(ElementwiseLayer):
    """The logarithm of the sigmoid."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...

class SqrtSoftplus(ElementwiseLayer):
    """The square root of softplus."""

    def __init__(
        self,
        *,
        memory: Literal["exact", "low"] = "exact",
    ) -> None: ...
