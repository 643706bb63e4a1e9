"""Gated pairs: an activation of one array times another, or of the two halves of one array."""

from nonlin.catalogue import bounded, rectifiers, self_gated
from nonlin.definition import Parameter, gated
from nonlin.formula import maximum, minimum, sigmoid

_SHAZEER = "Shazeer 2020, arXiv:2002.05202"


@gated(source="Dauphin et al. 2016, arXiv:1612.08083", gate="second")  # as in PyTorch, Keras and JAX
def glu(gate, value):
    """Gated linear unit: the value times the sigmoid of the gate."""
    return bounded.sigmoid(gate) * value


@gated(source=_SHAZEER)
def bilinear(gate, value):
    """The product of two linear maps of the input: a gate without an activation."""
    return gate * value


@gated(source=_SHAZEER)
def reglu(gate, value):
    """Gated linear unit with ReLU."""
    return rectifiers.relu(gate) * value


@gated(source=_SHAZEER)
def geglu(gate, value):
    """Gated linear unit with GELU. Diffusers splits with gate="second"."""
    return self_gated.gelu(gate) * value


@gated(source=_SHAZEER)
def geglu_tanh(gate, value):
    """Gated linear unit with GELU approximated by tanh: T5 1.1, Gemma."""
    return self_gated.gelu_tanh(gate) * value


@gated(source=_SHAZEER)
def swiglu(gate, value):
    """Gated linear unit with SiLU: PaLM, Llama."""
    return self_gated.silu(gate) * value


@gated(source="Ma et al. 2025 (BitNet b1.58 2B4T), arXiv:2504.12285", aliases=("squared_reglu",))
def relu2_glu(gate, value):
    """Gated linear unit with squared ReLU: BitNet."""
    return rectifiers.relu_squared(gate) * value


# In minimum(limit, gate) the gate, being second, wins the tie: the slope at a limit is 1, as torch.clamp has it.
@gated(source="OpenAI 2025 (gpt-oss), arXiv:2508.10925", gate="even")
def swiglu_clamped(gate, value, limit=Parameter(7.0, ge=0), alpha=Parameter(1.702)):
    """SwiGLU whose gate is at most and whose value is within a limit, and whose value is raised by 1: gpt-oss."""
    clamped = minimum(limit, gate)
    return clamped * sigmoid(alpha * clamped) * (minimum(limit, maximum(-limit, value)) + 1)
