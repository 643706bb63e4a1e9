"""Layers: a class for every entry, with the arguments, names and state that torch's users expect."""

import copy
import inspect
import io
import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
import nonlin.torch as nt
from nonlin.dialects import dialect

NAMES = [name for name, entry in nl.activations.items() if entry.family != "own"]
ARGUMENTS = {"threshold": (0.1, 0.2), "maxout": (2,)}
over_names = pytest.mark.parametrize("name", NAMES)
PARAMETERS = [n for n in NAMES if isinstance(nl.activations[n], nl.Elementwise) and nl.activations[n].parameters]


def make(name: str, **keywords: object) -> nn.Module:
    return nt.layer(name)(*ARGUMENTS.get(name, ()), **keywords)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))


@over_names
def test_a_layer_does_what_the_function_does(name: str, x: torch.Tensor) -> None:
    module = make(name).eval()
    entry = nl.activations[name]
    given = {"threshold": {"threshold": 0.1, "value": 0.2}, "maxout": {"groups": 2}}.get(name, {})
    assert torch.equal(module(x), entry(x, **given))
    assert module(x).dtype is torch.float32


@over_names
def test_copies_and_files(name: str, x: torch.Tensor) -> None:
    module = make(name).eval()
    y = module(x)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = make(name).eval()
    again.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), again):
        assert repr(other) == repr(module)
        assert torch.equal(other(x), y)


@over_names
def test_it_is_documented_and_found(name: str) -> None:
    cls = nt.layer(name)
    assert getattr(nt, cls.__name__) is cls
    assert cls.__module__ == "nonlin.torch"
    assert cls.__name__ in dir(nt)
    assert cls.__doc__
    for argument in inspect.signature(cls).parameters:
        assert argument in cls.__doc__, argument


def test_names_and_arguments_are_those_of_torch() -> None:
    for name, calls in dialect("torch").calls.items():
        for call in calls:
            if call.name.startswith("nn.") and not call.fixed:
                cls = nt.layer(name)
                assert cls.__name__ == call.name[3:]
                theirs = inspect.signature(getattr(nn, cls.__name__)).parameters
                ours = inspect.signature(cls).parameters
                for argument in call.parameters.values():
                    assert argument in ours
                    default, torchs = ours[argument].default, theirs[argument].default
                    if torchs is not None:  # the axis of softmax, which torch guesses with a warning
                        assert default == torchs or default == pytest.approx(torchs, rel=1e-15)


@pytest.mark.parametrize("name", PARAMETERS)
def test_learned_parameters(name: str, x: torch.Tensor) -> None:
    if name == "prelu":
        pytest.skip("torch's own arguments: below")
    x = x[:, :6] if not isinstance(nl.activations[name], nl.Gated) else torch.cat([x, x], -1)
    fixed, one, channels = make(name), make(name, learnable=True), make(name, learnable=True, channels=6)
    axis_last = make(name, learnable=True, channels=4, channel_axis=-1)
    names = nt.layer(name).parameter_names
    for module in (one, channels, axis_last):
        assert len(list(module.parameters())) == len(names)
        y = module.eval()(x)
        torch.testing.assert_close(y, fixed.eval()(x), rtol=1e-5, atol=1e-6)
        y.square().sum().backward()
        for parameter in module.parameters():
            assert parameter.grad is not None
            assert parameter.grad.shape == parameter.shape
    assert all(p.shape == (6,) for p in channels.parameters())
    assert len(make(name, learnable=[next(iter(names.values()))]).state_dict()) == 1


@pytest.mark.parametrize("name", PARAMETERS)
def test_constrained_parameters_stay_within_their_bounds(name: str) -> None:
    if name == "prelu":
        pytest.skip("it has no bounds")
    module = make(name, learnable=True)
    names = nt.layer(name).parameter_names
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 5)
    values = {ours: torch.as_tensor(module.parameter_value(theirs)).item() for ours, theirs in names.items()}
    nl.activations[name].check(**values)


def test_prelu_and_torch_exchange_state(x: torch.Tensor) -> None:
    for count in (1, 6):
        theirs, ours = nn.PReLU(count, init=0.1), nt.PReLU(count)
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours(x), theirs(x))
        nn.PReLU(count).load_state_dict(ours.state_dict())
        ours(x).sum().backward()
        theirs(x).sum().backward()
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_rrelu_draws_in_training(x: torch.Tensor) -> None:
    module = nt.RReLU(0.1, 0.3)
    x.requires_grad_()
    y = module(x)
    y.sum().backward()
    negative = x < 0
    ratio = (y / x).detach()
    assert torch.equal(ratio[~negative], torch.ones_like(ratio[~negative]))
    assert ratio[negative].min() >= 0.1 - 1e-6
    assert ratio[negative].max() <= 0.3 + 1e-6
    torch.testing.assert_close(x.grad, ratio)


@pytest.mark.parametrize("surrogate", ["sigmoid", "arctan", "identity", "hard_tanh"])
def test_step_with_a_surrogate_gradient(surrogate: str, x: torch.Tensor) -> None:
    x.requires_grad_()
    y = nt.Step(surrogate, scale=2.0)(x)
    assert torch.equal(y, (x > 0).float())
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * nl.get(surrogate).derivative(2 * x.detach()))


def test_rational_is_fitted() -> None:
    x = torch.linspace(-3, 3, 101)
    torch.testing.assert_close(nt.Rational.fitted("gelu")(x), nl.gelu(x), atol=1e-2, rtol=0)


def test_the_gated_block_is_the_plain_one() -> None:
    torch.manual_seed(0)
    block = nt.GatedFeedForward(8, 24, activation="swiglu", bias=True).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    y = block(x)
    plain = block.down_proj(torch.nn.functional.silu(block.gate_proj(x)) * block.up_proj(x))
    torch.testing.assert_close(y, plain)
    inputs = (x, *block.parameters())
    for a, b in zip(torch.autograd.grad(y.sin().sum(), inputs), torch.autograd.grad(plain.sin().sum(), inputs), strict=True):
        torch.testing.assert_close(a, b)

    def function(x: torch.Tensor) -> torch.Tensor:
        return block(x)

    small = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (small,))
    assert torch.autograd.gradgradcheck(function, (small,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block.float()(x.detach().float().requires_grad_())
    assert half.dtype is torch.bfloat16
    half.sum().backward()


def test_bad_arguments_and_input(x: torch.Tensor) -> None:
    for make_one, error, message in [
        (lambda: nt.Softplus(beta=0), ValueError, r"Softplus: beta must be > 0, got 0"),
        (lambda: nt.ELU("1"), TypeError, r"ELU: alpha must be a number, got '1'"),
        (lambda: nt.Hardtanh(2, 1), ValueError, r"Hardtanh: max_value must be >= min_value = 2, got 1"),
        (lambda: nt.GELU(memory="none"), ValueError, r"GELU: memory must be 'exact' or 'low', got 'none'"),
        (lambda: nt.Swish(gamma=1), TypeError, r"Swish: got an unexpected keyword argument 'gamma'; it takes \("),
        (lambda: nt.Swish(learnable="gamma"), ValueError, r"Swish has no parameter 'gamma' to learn \(it has: beta\)"),
        (lambda: nt.Swish(channels=3), ValueError, r"Swish: channels=3 needs learnable parameters"),
        (lambda: nt.Swish(learnable=True, channels=0), ValueError, r"Swish: channels must be at least 1, got 0"),
        (lambda: nt.ELU(0.0, learnable=True), ValueError, r"ELU: alpha cannot be learned from 0.0, the end of what is allowed"),
        (lambda: nt.PReLU(0), ValueError, r"PReLU: num_parameters must be a whole number of at least 1, got 0"),
        (lambda: nt.PReLU(3)(x), ValueError, r"PReLU: weight has 3 channels, but x of shape \(2, 6, 4, 4\) has 6 along axis 1"),
        (lambda: nt.PReLU(3)(x[0, 0, 0]), ValueError, r"PReLU: weight has 3 channels, but x of shape \(4,\) has no axis 1"),
        (lambda: nt.SwiGLU()(x[..., :3]), ValueError, r"SwiGLU: axis 3 of x of shape \(2, 6, 4, 3\) has odd length 3"),
        (
            lambda: nt.GELU()(x.to(torch.complex64)),
            TypeError,
            r"gelu: x must be real floating-point or integer, got",
        ),
        (lambda: nt.Softmax(7)(x), ValueError, r"Softmax: dim 7 is out of range for x of shape \(2, 6, 4, 4\)"),
        (
            lambda: nt.GatedFeedForward(2, 3, activation="gelu"),
            ValueError,
            r"GatedFeedForward: activation must be a gated",
        ),
        (lambda: nt.NoSuchLayer, AttributeError, r"module 'nonlin.torch' has no attribute 'NoSuchLayer'"),
    ]:
        with pytest.raises(error, match=message):
            make_one()


def test_integers_and_numbers() -> None:
    x = torch.tensor([-2, 0, 3])
    assert torch.equal(nl.relu(x), torch.tensor([0, 0, 3]))
    assert torch.equal(nl.leaky_relu(x, negative_slope=2), torch.tensor([-4, 0, 3]))
    assert nl.gelu(x).dtype is torch.float32
    assert nl.relu(torch.tensor([True])).dtype is torch.float32
    assert nl.elu(-1.0, alpha=torch.tensor(2.0)).dtype is torch.float32
    with pytest.raises(ValueError, match=r"elu: alpha must be >= 0, got -1"):
        nl.elu(torch.zeros(2), alpha=-1)
    with pytest.raises(TypeError, match="gelu: out= is for NumPy arrays, not for tensors"):
        nl.gelu(torch.zeros(2), out=torch.zeros(2))


@over_names
def test_empty_meta_and_scalars(name: str, x: torch.Tensor) -> None:
    module = make(name)
    y = module(x)
    meta = module.to("meta")(x.to("meta")) if list(module.parameters()) else module(x.to("meta"))
    assert meta.shape == y.shape
    assert meta.device.type == "meta"
    module = make(name)
    empty = module(torch.zeros(0, 6, 4, 4))
    assert empty.shape[0] == 0
    if isinstance(nl.activations[name], nl.Elementwise) and not isinstance(nl.activations[name], nl.Gated):
        assert module(torch.tensor(0.5)).shape == ()


def test_a_layer_of_your_own(registry: object) -> None:
    @nl.activation
    def shifted(x, shift=nl.Parameter(1.0, ge=0)):  # type: ignore[no-untyped-def]
        return nl.maximum(x, -shift)

    assert repr(nt.layer(shifted)(2.0)) == "Shifted(shift=2.0)"
    assert nt.Shifted is nt.layer("shifted")


INTEGRAL = "relu leaky_relu relu6 clipped_relu thresholded_relu hard_tanh hard_shrink soft_shrink identity abs".split()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
@pytest.mark.parametrize("name", [name for name in INTEGRAL if name in NAMES])
def test_integers_are_computed_as_integers(name: str, dtype: torch.dtype) -> None:
    entry = nl.activations[name]
    top = torch.iinfo(dtype).max
    x = torch.tensor([top, top - 2, 2**53 % top + 1, 3, 0, -3, 2 - top], dtype=dtype)
    given = {parameter: k + 1 for k, parameter in enumerate(entry.parameters)}
    if name == "leaky_relu":
        x = x.clamp(min=-(top // 2))
    y = entry(x, **given)
    assert y.dtype is dtype
    assert y.tolist() == entry(x.numpy(), **given).tolist()
    if not entry.parameters:
        assert nt.layer(name)()(x).tolist() == y.tolist()


def test_arrays_beside_tensors() -> None:
    x = torch.tensor([-1.0, -2.0])
    for slopes in (np.array([0.1, 0.2]), [0.1, 0.2], (0.1, 0.2), torch.tensor([0.1, 0.2], dtype=torch.float64)):
        for given in (x, x.clone().requires_grad_()):
            y = nl.leaky_relu(given, negative_slope=slopes)
            assert y.dtype is torch.float32
            torch.testing.assert_close(y.detach(), torch.tensor([-0.1, -0.4]))
    torch.testing.assert_close(nl.leaky_relu(x, negative_slope=np.array(0.1)), nl.leaky_relu(x, negative_slope=0.1))
    assert nl.swiglu(x, np.ones(2)).dtype is torch.float32
    with pytest.raises(ValueError, match=r"elu: alpha must be >= 0, got"):
        nl.elu(x, alpha=np.array([1.0, -1.0]))


def torchs_calls() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Calls of torch's activation layers: each argument by position and by keyword, at its default and at another value."""
    others = {"inplace": True, "approximate": "tanh", "dim": 0, "num_parameters": 6, "device": "cpu", "dtype": torch.float64}
    for name in torch.nn.modules.activation.__all__:
        cls = getattr(nn, name)
        if name in ("MultiheadAttention", "Softmax2d"):
            continue
        own = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        least = {p.name: 0.3 for p in own if p.default is p.empty}
        yield name, (), least
        for argument in own:
            value = others.get(argument.name, 0.4 if "max" in argument.name or argument.name in ("alpha", "upper") else 0.2)
            yield name, (), {**least, argument.name: value}
        for count in range(max(len(least), 1), len(own) + 1):
            defaults = [p.default if p.default is not p.empty else 0.3 for p in own[:count]]
            yield name, (*defaults[:-1], others.get(own[count - 1].name, defaults[-1])), {}


@pytest.mark.filterwarnings("ignore:keyword argument .(min|max)_value. is deprecated:FutureWarning")
def test_torchs_arguments_are_taken_or_refused_in_a_sentence(x: torch.Tensor) -> None:
    for name, arguments, keywords in torchs_calls():
        if name == "Softplus" and ("threshold" in keywords or len(arguments) > 1):
            with pytest.raises(TypeError, match=r"Softplus: threshold=.* is not taken: torch's is the identity above it"):
                nt.Softplus(*arguments, **keywords)
            continue
        if arguments == (None,):
            with pytest.raises(TypeError, match=rf"{name}: dim must be a whole number, the axis that it runs along, got None"):
                getattr(nt, name)(*arguments)
            continue
        theirs, ours = (getattr(module, name)(*arguments, **keywords).eval() for module in (nn, nt))
        assert "inplace" not in repr(ours)
        if name.startswith(("Softm", "LogSoftm")) and not arguments and not keywords:
            continue  # torch guesses the axis, with a warning
        given = x.double() if {torch.float64} & {*arguments, *keywords.values()} else x
        torch.testing.assert_close(ours(given), theirs(given.clone()), msg=lambda text, n=name, a=arguments: f"{n}{a}: {text}")


def test_arguments_that_torchs_layers_do_not_take_either() -> None:
    for make_one, message in [
        (lambda: nt.ReLU(inplace=3), r"ReLU: inplace must be True or False, got 3"),
        (lambda: nt.ELU(1.0, True, inplace=True), r"ELU: got inplace twice"),
        (lambda: nt.GELU(inplace=True), r"GELU: got an unexpected keyword argument 'inplace'; it takes \(approximate"),
        (lambda: nt.Tanh(inplace=True), r"Tanh: got an unexpected keyword argument 'inplace'; it takes \(\*, memory"),
        (lambda: nt.PReLU(1, channels=3), r"PReLU: got an unexpected keyword argument 'channels'; it takes \(num_parameters"),
        (lambda: nt.ReLU(True, 1), r"ReLU: too many positional arguments; it takes"),
        (lambda: nt.Softmax(1.5), r"Softmax: dim must be a whole number, the axis that it runs along, got 1.5"),
    ]:
        with pytest.raises(TypeError, match=message):
            make_one()
    assert repr(nt.Hardsigmoid(0.2)) == "Hardsigmoid(slope=0.2)"
    assert repr(nt.Hardtanh(min_value=-2.0)) == "Hardtanh(min_val=-2.0)"


def test_shrinking_by_less_than_nothing_is_the_identity() -> None:
    x = torch.tensor([0.2, -0.3, 0.0, torch.inf, torch.nan])
    for y in (nl.hard_shrink(x, lambd=-0.5), nt.Hardshrink(-0.5)(x)):
        assert torch.equal(y.nan_to_num(), torch.nn.functional.hardshrink(x, -0.5).nan_to_num())


def test_a_learned_parameter_stays_on_its_side_of_another_one(registry: object) -> None:
    @nl.activation
    def capped(x, top=nl.Parameter(2.0), level=nl.Parameter(1.0, gt=-math.inf, lt="top"), free=nl.Parameter(0.5, lt=math.inf)):  # type: ignore[no-untyped-def]
        return level * x + top + free

    layer = nt.layer(capped)(learnable=["level", "free"], top=3.0)

    def values() -> list[float]:
        return [float(torch.as_tensor(layer.parameter_value(name)).detach()) for name in ("top", "level", "free")]

    assert values() == pytest.approx([3, 1, 0.5])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(-4.0)
    top, level, free = values()
    assert 2.9 < level < top == 3
    assert free == -4
