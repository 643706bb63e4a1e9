"""Self-gated: the input times a function of itself that lets through what is large."""

from nonlin.definition import Parameter, activation
from nonlin.formula import erf, exp, expm1, maximum, minimum, normal_cdf, pi, sigmoid, softplus, sqrt, tanh, where


@activation(
    source="Hendrycks & Gimpel 2016, arXiv:1606.08415",
    aliases=("gelu_python", "gelu_exact", "gelu_erf"),
)
def gelu(x):
    """Gaussian error linear unit: the input times the chance that a standard normal is below it."""
    return x * normal_cdf(x)


@activation(
    source="Hendrycks & Gimpel 2016, arXiv:1606.08415",
    aliases=("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_approximate", "gelu_accurate"),
)
def gelu_tanh(x):
    """GELU approximated with tanh: GPT-2, Gemma. At most 4.73e-4 from gelu."""
    return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


@activation(source="Hendrycks & Gimpel 2016, arXiv:1606.08415", aliases=("gelu_sigmoid",))
def quick_gelu(x):
    """GELU approximated with a sigmoid: CLIP."""
    return x * sigmoid(1.702 * x)


@activation(source="Elfwing et al. 2017, arXiv:1702.03118", aliases=("swish_1",))
def silu(x):
    """Sigmoid linear unit, also called Swish-1: YOLO, EfficientNet."""
    return x * sigmoid(x)


@activation(source="Ramachandran et al. 2017, arXiv:1710.05941")
def swish(x, beta=Parameter(1.0)):
    """SiLU with an adjustable gate: x/2 at beta = 0, towards ReLU as beta grows."""
    return x * sigmoid(beta * x)


@activation(source="Misra 2019, arXiv:1908.08681")
def mish(x):
    """A self-regularized non-monotonic activation: YOLOv4."""
    return x * tanh(softplus(x))


@activation(source="Howard et al. 2019 (MobileNetV3), arXiv:1905.02244", aliases=("hard_silu", "h_swish"))
def hard_swish(x):
    """Swish with a piecewise linear gate: MobileNetV3."""
    return x * (minimum(maximum(x, -3), 3) + 3) / 6


@activation(source="timm")
def hard_mish(x):
    """Mish with a piecewise linear gate."""
    return x / 2 * (minimum(maximum(x, -2), 0) + 2)


@activation(source="Fernandez & Mali 2024, arXiv:2412.20269; Liu & Di 2020 (TanhExp), arXiv:2003.09855", aliases=("tanhexp",))
def telu(x):
    """Hyperbolic tangent exponential linear unit; TanhExp is the same function."""
    return x * tanh(exp(x))


@activation(source="arXiv:2502.03654")
def golu(x):
    """Gompertz linear unit: gated by the Gumbel distribution's function."""
    return x * exp(-exp(-x))


@activation(source="Nag & Bhattacharyya 2021, arXiv:2108.09598")
def serf(x):
    """Log-softplus error activation: gated by erf of softplus."""
    return x * erf(softplus(x))


@activation(source="Basirat & Roth 2018, arXiv:1808.00783")
def elish(x):
    """SiLU above zero, ELU times the sigmoid below."""
    return where(x >= 0, x, expm1(x)) * sigmoid(x)


@activation(source="Roy et al. 2019, arXiv:1901.05894")
def lisht(x):
    """Linearly scaled hyperbolic tangent: even, never negative."""
    return x * tanh(x)


@activation(source="Ma et al. 2022 (Mega), arXiv:2209.10655")
def laplace(x, mu=Parameter(0.707107), sigma=Parameter(0.282095, gt=0)):
    """The distribution function of a normal, fitted to squared ReLU: Mega."""
    return (1 + erf((x - mu) / (sigma * sqrt(2)))) / 2


@activation(source="Huang & Schlag 2024, arXiv:2411.13010")
def xielu(
    x,
    alpha_p=Parameter(0.8, learnable=True),
    alpha_n=Parameter(0.8, learnable=True),
    beta=Parameter(0.5),
    eps=Parameter(-1e-6, le=0),
):
    """Expanded integral of ELU: its slope grows linearly above zero. Apertus."""
    return where(x > 0, alpha_p * x**2 + beta * x, alpha_n * (expm1(minimum(x, eps)) - x) + beta * x)


@activation(source="Gemma 2")
def softcap(x, cap=Parameter(30.0, gt=0)):
    """The identity, bent so that it stays within -cap and cap."""
    return cap * tanh(x / cap)
