"""What follows the layers of a model that have weights: found out by running it on an example and watching what is called."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nonlin.definition import Activation, AxisFunction, activations
from nonlin.torch import symbolic
from nonlin.torch.recognition import Found, activation_of, activation_of_function

#: Functions whose result is still the layer's output, moved, scaled, added to or normalized; names as _plain has them.
_CARRIES = frozenset(
    "add sub rsub subtract neg mul multiply div truediv divide view viewas reshape permute transpose t movedim "
    "swapaxes flatten unflatten squeeze unsqueeze expand expandas broadcastto repeat repeatinterleave chunk split "
    "splitwithsizes tensorsplit unbind getitem select narrow indexselect gather cat concat stack hstack vstack "
    "contiguous clone detach to float half double bfloat16 typeas get mean sum cumsum roll flip pad interpolate "
    "upsample pixelshuffle unfold fold where maskedfill avgpool adaptiveavgpool maxpool adaptivemaxpool dropout "
    "alphadropout featurealphadropout featuredropout batchnorm layernorm groupnorm instancenorm rmsnorm normalize "
    "requiresgrad".split()
)
_PRODUCTS = frozenset({"mul", "multiply"})
#: Statistics: of them a normalization is made, which leaves only the scale another.
_STATISTICS = frozenset("mean sum var std norm vectornorm amax amin max min logsumexp".split())
#: Where other weights take over, or nothing is left of the scale.
_ENDS = frozenset(
    "linear bilinear matmul rmatmul mm bmm addmm baddbmm einsum tensordot conv convtranspose "
    "scaleddotproductattention multiheadattentionforward embedding embeddingbag lstm gru rnntanh rnnrelu crossentropy "
    "nllloss mseloss argmax argmin topk sort onehot".split()
)
_PASSED_OVER = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)


@dataclass
class Followed:
    """What was seen of one layer's output: activations that it goes into, and functions that are not understood."""

    activations: list[tuple[Activation, Any]] = field(default_factory=list)
    """Each with the layer that applies it, or the values of its parameters."""
    unknown: list[str] = field(default_factory=list)


def is_norm(module: nn.Module) -> bool:
    """Whether a module only normalizes, or drops: what follows it follows the layer before it."""
    return isinstance(module, _PASSED_OVER) or "Norm" in type(module).__name__


def watch(
    model: nn.Module, weighted: Mapping[nn.Module, str], arguments: tuple[Any, ...], keywords: Any
) -> dict[str, Followed]:
    """Run a model and return what followed each layer that was called.

    Parameters
    ----------
    model : Module
    weighted : Mapping
        Which layers, and their paths.
    arguments, keywords
        Of ``forward``.
    """
    watching = _Watching(weighted)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), watching.hooks(model), watching:
            model(*arguments, **keywords)
    finally:
        for module, was in training.items():
            module.training = was
    return watching.followed


@dataclass
class _Origin:
    """Where a tensor comes from: layers whose output it still is, that went through an activation, or that is mangled."""

    tensor: Tensor  # kept, so that its id stays its own
    carried: frozenset[str] = frozenset()
    activated: frozenset[str] = frozenset()
    mangled: tuple[tuple[str, frozenset[str]], ...] = ()
    gate_of: int = 0
    """The id of the tensor that this is the sigmoid of."""


class _Watching(TorchFunctionMode):
    def __init__(self, weighted: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.weighted = weighted
        self.followed: dict[str, Followed] = {}
        self.origins: dict[int, _Origin] = {}
        self.inside = 0
        """How many modules that are seen as a whole are being called."""

    # --- what is called -----------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.inside:
            self._called(func, args, kwargs or {}, result)
        return result

    @contextlib.contextmanager
    def hooks(self, model: nn.Module) -> Iterator[None]:
        """See layers, activations and normalizations as a whole."""
        handles = []
        for module in model.modules():
            after = self._after(module)
            if after is not None:
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(after, with_kwargs=True))
        symbolic.watchers.append(self._ours)
        try:
            yield
        finally:
            symbolic.watchers.remove(self._ours)
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, given: Any) -> None:
        self.inside += 1

    def _after(self, module: nn.Module) -> Callable[..., None] | None:
        path, found = self.weighted.get(module), activation_of(module)

        def after(module: nn.Module, arguments: Any, keywords: Any, result: Any) -> None:
            self.inside -= 1
            if self.inside:
                return
            given = list(_tensors((arguments, keywords)))
            if path is not None:
                self.followed.setdefault(path, Followed())
                self._end(given)
                self._set(result, carried=frozenset({path}))
            elif found is not None:
                self._activated(found[0], module, given, result)
            else:
                self._set(result, self._carried(given), self._all(given, "activated"))

        return after if path is not None or found is not None or is_norm(module) else None

    def _ours(self, entry: Activation, operands: Sequence[Any], compute: Callable[[], Any]) -> Any:
        self.inside += 1
        try:
            result = compute()
        finally:
            self.inside -= 1
        if not self.inside:
            values = dict(zip(entry.parameters, operands[len(entry.operands) :], strict=False))
            self._activated(entry, values, list(_tensors(operands)), result)
        return result

    def _called(self, function: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        given = list(_tensors((arguments, keywords)))
        carried, activated = self._carried(given), self._all(given, "activated")
        if not (carried or activated or self._mangled(given)):
            return
        name = _plain(function)
        found: Found | None = activation_of_function(function, arguments[1:], keywords)
        if found is not None:
            self._activated(*found, given, result)
        elif name == "setitem":
            self._set(arguments[0], carried, activated, self._mangled(given))
        elif name in _ENDS:
            self._end(given)
        elif name in _PRODUCTS:
            self._multiplied(given, result)
        elif name in _CARRIES or name in _STATISTICS:
            mangled = () if name in _STATISTICS else self._mangled(given)
            kept = frozenset[str]() if name in _STATISTICS - _CARRIES else carried
            self._set(result, kept, activated, mangled)
        else:
            self._set(result, mangled=((name, carried | activated), *self._mangled(given)))

    def _activated(self, entry: Activation, how: Any, given: list[Tensor], result: Any) -> None:
        sources = self._carried(given[:1])
        if not isinstance(entry, AxisFunction):
            for path in sources:
                self.followed[path].activations.append((entry, how))
        self._end(given)
        gate = id(given[0]) if given and entry.name == "sigmoid" else 0
        self._set(result, activated=sources, gate_of=gate)

    def _multiplied(self, given: list[Tensor], result: Any) -> None:
        """Look at a product: x*sigmoid(x) is silu, one with what comes from other layers, or none, only scales."""
        known = [self.origins[id(t)] for t in given if id(t) in self.origins]
        for origin in known:
            if origin.carried and any(gate.gate_of == id(origin.tensor) for gate in known):
                for path in origin.carried:
                    followed = self.followed[path]
                    followed.activations = [pair for pair in followed.activations if pair[0].name != "sigmoid"]
                    followed.activations.append((activations["silu"], {}))
                self._set(result, activated=origin.carried)
                return
        sources = [origin.carried | origin.activated for origin in known]
        common = sources[0] & sources[-1] if len(known) == 2 else frozenset[str]()
        if common:
            self._set(result, mangled=(("mul", common), *self._mangled(given)))
        else:
            carried = self._carried(given) if len(known) == 1 else frozenset[str]()
            self._set(result, carried, self._all(given, "activated"), self._mangled(given))

    # --- where tensors come from --------------------------------------------------------------------------------------------

    def _carried(self, given: Iterable[Tensor]) -> frozenset[str]:
        return self._all(given, "carried")

    def _all(self, given: Iterable[Tensor], which: str) -> frozenset[str]:
        return frozenset[str]().union(*(getattr(self.origins[id(t)], which) for t in given if id(t) in self.origins))

    def _mangled(self, given: Iterable[Tensor]) -> tuple[tuple[str, frozenset[str]], ...]:
        return tuple(one for t in given if id(t) in self.origins for one in self.origins[id(t)].mangled)

    def _end(self, given: Iterable[Tensor]) -> None:
        """What comes into other weights, or an activation, is what has been made of a layer's output."""
        for name, sources in self._mangled(given):
            for path in sources:
                if name not in self.followed[path].unknown:
                    self.followed[path].unknown.append(name)

    def _set(
        self,
        result: Any,
        carried: frozenset[str] = frozenset(),
        activated: frozenset[str] = frozenset(),
        mangled: tuple[tuple[str, frozenset[str]], ...] = (),
        gate_of: int = 0,
    ) -> None:
        for tensor in _tensors(result):
            if tensor.is_floating_point():
                self.origins[id(tensor)] = _Origin(tensor, carried, activated, mangled, gate_of)


def _plain(function: Any) -> str:
    """Return a function's name without underscores, the number of dimensions, and what marks it as in place."""
    name = str(getattr(function, "__name__", ""))
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        name = name.removeprefix("__i")
    return re.sub(r"_|[123]d$", "", name)


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, Mapping):
        yield from _tensors(list(held.values()))
    elif isinstance(held, (list, tuple)):
        for one in held:
            yield from _tensors(one)


# --- an example ---------------------------------------------------------------------------------------------------------------


def examples(model: nn.Module) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield what a model may take: its own example if it has one, else what its first layer could."""
    own = getattr(model, "dummy_inputs", None)
    if isinstance(own, Mapping):
        yield (), dict(own)
    required = [
        p
        for p in inspect.signature(model.forward).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    first: Any = next((m for m in model.modules() if isinstance(m, (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd))), None)
    if first is None or len(required) > 1:
        return
    like = first.weight
    if isinstance(first, nn.Embedding):
        yield (torch.zeros(2, 8, dtype=torch.long, device=like.device),), {}
    elif isinstance(first, nn.Linear):
        for shape in ((2, first.in_features), (2, 8, first.in_features)):
            yield (like.new_zeros(shape),), {}
    else:
        for size in (64, 32, 28, 224, 8):
            yield (like.new_zeros(2, first.in_channels, *[size] * len(first.kernel_size)),), {}
