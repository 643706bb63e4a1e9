"""Where a model applies activations, and to what: seen by running it, so that modules and calls in ``forward`` are one.

Calls are intercepted as torch functions. Each tensor's origin is followed from the layer with weights that made it to the
activation, so that a unit is a channel of a convolution or a feature of a linear layer, whatever stands in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from nonlin.definition import Activation, Elementwise, Gated
from nonlin.definition.layout import Halves
from nonlin.diagnosis.health import Health
from nonlin.diagnosis.shape import gate_of, shape_of
from nonlin.torch import symbolic
from nonlin.torch.layers import GatedLayer
from nonlin.torch.recognition import activation_of, activation_of_function

CONVOLUTIONS: tuple[Any, ...] = (
    torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
)  # fmt: skip
LINEAR: tuple[Any, ...] = (F.linear, torch.addmm)
#: Linear where the second operand is made of parameters, as Keras' layers write it, and many by hand.
PRODUCTS = ("matmul", "__matmul__", "mm")
SUMS = ("add", "__add__", "add_", "__iadd__", "__radd__")
NORMS: tuple[Any, ...] = (F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm, torch.layer_norm)
DROPOUTS: tuple[Any, ...] = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
POOLS = ("max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d")
SHAPES = frozenset(
    "view reshape flatten transpose permute squeeze unsqueeze contiguous movedim swapaxes unflatten to float half double "
    "__getitem__ chunk split mT T clone expand narrow select avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d "
    "mean cat index_select gather".split()
)
#: What leaves some units out.
PARTS = frozenset("__getitem__ chunk split narrow tensor_split".split())


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from.

    Attributes
    ----------
    layer : str
        The module with weights, or the input.
    axis : int
        Where its units are.
    units : int
    direct : bool
        Whether nothing but normalisation, dropout and changes of shape stand in between.
    bent : bool
        Whether a nonlinear function stands in between.
    normed, added : bool
        Whether a normalisation, or a sum with another tensor, stands in between.
    last : str
        The last thing done: the name of an activation, ``softmax``, ``log_softmax`` or ``""``.
    first, step : int
        Which of the layer's units these are, if they are a part: every ``step``-th from ``first`` on.
    part : bool
    """

    layer: str
    axis: int
    units: int
    direct: bool = True
    bent: bool = False
    normed: bool = False
    added: bool = False
    last: str = ""
    first: int = 0
    step: int = 1
    part: bool = False


@dataclass
class Site:
    """One place where an activation is applied.

    Attributes
    ----------
    layer : str
        The qualified name of the module whose units these are.
    place : str
        The module in which the activation is called.
    call : int
        Which call of it there, in one pass.
    """

    layer: str
    place: str
    call: int
    entry: Elementwise
    origin: Origin
    health: Health
    dtype: torch.dtype
    largest: list[Tensor] = field(default_factory=list)
    final: bool = False
    usual: bool = True
    """Whether the activation's parameters are its defaults, with which theory reckons."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.place if self.call == 0 else f"{self.place} (call {self.call + 1})"


@dataclass(frozen=True)
class Weighted:
    """One call of a layer with weights, and where its input came from."""

    layer: str
    before: Origin | None
    weight: Any
    bias: Any
    kind: str
    groups: int = 1


#: What bends, but is a plain operation rather than somebody's activation: not every use of it is a site.
_PLAIN = frozenset("sin cos abs sign erf exp identity square clamp heaviside threshold".split())


class Probe(TorchFunctionMode):
    """Sees what a model does while it is run, within :meth:`watching`.

    Attributes
    ----------
    sites : dict
        By place, activation and number of the call.
    weighted : list of Weighted
        The calls of layers with weights in the first pass, in order.
    called : set of str
        Modules that were called.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names: Mapping[nn.Module, str] = {m: name or type(m).__name__ for name, m in model.named_modules()}
        self.sites: dict[tuple[str, str, int], Site] = {}
        self.order: list[tuple[str, str, int]] = []
        self.weighted: list[Weighted] = []
        self.called: set[str] = set()
        self.unseen: dict[str, str] = {}
        self.dropouts: dict[str, float] = {}
        self.samples = 0
        self.scale = 1.0
        self.mask: Tensor | None = None
        #: Activations whose insides are theirs: ours, and those of transformers. torch's own are one call, which is seen.
        self._whole = {m for m in model.modules() if type(m) is not getattr(nn, type(m).__name__, None) and _is_whole(m)}
        self._owners = _owners(model)
        self._first = True

    def _name_of(self, module: nn.Module) -> str:
        return self.names[module]

    # --- running ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self, samples: int, mask: Tensor | None, within: nn.Module | None = None) -> Any:
        """Watch one pass over a batch, or what remains of one: within a module whose call has begun."""
        self.samples, self.mask = samples, mask
        self._origins: Any = WeakIdKeyDictionary()
        self._shaped: Any = WeakIdKeyDictionary()  # parameters that were transposed and the like: whose they are
        self._counts: dict[tuple[str, str], int] = {}
        self._stack: list[str] = []
        self._within = 0  # our own layers, whose insides are theirs
        with ExitStack() as stack:
            hooks = nn.modules.module
            for handle in (
                hooks.register_module_forward_pre_hook(self._enter),
                hooks.register_module_forward_hook(self._leave),
            ):
                stack.callback(handle.remove)
            stack.enter_context(self)
            symbolic.watchers.append(self._ours)
            stack.callback(symbolic.watchers.remove, self._ours)
            if within is not None:
                self._enter(within, ())
            yield
        self._first = False

    def origin_of(self, tensor: Tensor) -> Origin | None:
        """Return where a tensor of this pass comes from."""
        found: Origin | None = self._origins.get(tensor)
        return found

    def _enter(self, module: nn.Module, arguments: Any) -> None:
        if module not in self.names:
            return
        name = self._name_of(module)
        self._stack.append(name)
        self.called.add(name)
        if module in self._whole:
            self._within += 1
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            self.unseen[name] = f"{type(module).__name__} applies its own inside torch, where no call can be seen"

    def _leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if module not in self.names:
            return
        if module in self._whole:
            self._within -= 1
            found = activation_of(module)
            x = arguments[0] if arguments else None
            if found is not None and isinstance(x, Tensor) and isinstance(output, Tensor) and not self._within:
                self._seen(*found, x, output, module.forward)
        if self._stack and self._stack[-1] == self._name_of(module):
            self._stack.pop()

    # --- calls --------------------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and note what it means."""
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        called = getattr(function, "__name__", "")
        if not self._within and isinstance(x, Tensor) and called != "__get__" and called.strip("_") not in _PLAIN:
            found = activation_of_function(function, args[1:], kwargs)
            if found is not None and x.is_floating_point():
                entry, values = found
                if isinstance(entry, Gated):
                    return self._glu(entry, x, args[1] if len(args) > 1 else kwargs.get("dim", -1))
                if isinstance(entry, Elementwise):
                    return self._activate(entry, values, function, x, args, kwargs)
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            self._follow(function, args, kwargs, result)
        elif isinstance(result, (tuple, list)):
            for part in result:
                if isinstance(part, Tensor):
                    self._follow(function, args, kwargs, part)
        return result

    def _activate(
        self, entry: Elementwise, values: Mapping[str, Any], function: Any, x: Tensor, args: Any, kwargs: Mapping[str, Any]
    ) -> Tensor:
        plain = {key: value for key, value in kwargs.items() if key not in ("inplace", "input", "out")}
        rest = args[1:]
        again = function
        before = x.detach()
        if kwargs.get("inplace") or getattr(function, "__name__", "").endswith("_"):
            before, again, rest, plain = before.clone(), entry, (), dict(values)  # it is overwritten

        def apply(z: Tensor) -> Any:
            return again(z, *rest, **plain)

        site, axis, gradient = self._site(entry, values, x)
        if site is not None and x.requires_grad:
            x.register_hook(gradient)
        origin = self._origins.get(x)
        result: Tensor = function(*args, **kwargs)
        if site is not None:
            self._record(site, before, result, apply, axis)
        self._put(result, self._after(origin, entry))
        return result

    def _ours(self, entry: Activation, operands: Sequence[Any], compute: Callable[[], Any]) -> Any:
        """Make a call of a function of ours, whose insides are its own."""
        self._within += 1
        try:
            result = compute()
            x = operands[0]
            if self._within == 1 and isinstance(x, Tensor) and isinstance(result, Tensor) and x.is_floating_point():
                rest = operands[len(getattr(entry, "operands", "x")) :]
                values = dict(zip(entry.parameters, rest, strict=False))
                self._seen(entry, values, x, result, partial(_applied, entry, rest))
            return result
        finally:
            self._within -= 1

    def _glu(self, entry: Gated, x: Tensor, axis: int) -> Tensor:
        """Compute torch's function of one tensor as one of its halves, which are seen then."""
        gate, value = Halves.split(entry.name, x, axis, entry.gate)
        for half in (gate, value):
            self._follow(Tensor.__getitem__, (x,), {}, half)
        result: Tensor = value * torch.sigmoid(gate)
        self._seen(entry, {}, gate, result, torch.sigmoid)
        return result

    def _seen(
        self, entry: Activation, values: Mapping[str, Any], x: Tensor, output: Tensor, apply: Callable[[Tensor], Any]
    ) -> None:
        """Note an activation that has been applied; of a pair, what the gate goes through."""
        if not isinstance(entry, Elementwise):
            self._put(output, replace(self._origins.get(x) or Origin("input", -1, 0), bent=True, direct=False, last=entry.name))
            return
        judged = gate_of(entry) if isinstance(entry, Gated) else entry
        with torch._C.DisableTorchFunction():
            if judged is None:
                self.unseen.setdefault(self._place, f"{entry.name} is a pair whose gate is no activation with a name")
            else:
                site, axis, gradient = self._site(judged, values, x)
                if site is not None:
                    if x.requires_grad:
                        x.register_hook(gradient)
                    self._record(site, x.detach(), output, apply if judged is entry else judged, axis)
        self._put(output, self._after(self._origins.get(x), entry))

    @property
    def _place(self) -> str:
        return self._stack[-1] if self._stack else "model"

    def _after(self, origin: Origin | None, entry: Activation) -> Origin:
        return replace(origin or Origin("input", -1, 0), bent=True, last=entry.name)

    def _site(self, entry: Elementwise, values: Mapping[str, Any], x: Tensor) -> tuple[Site | None, int, Any]:
        place = self._place
        count = self._counts.get((place, entry.name), 0)
        self._counts[place, entry.name] = count + 1
        key = (place, entry.name, count)
        origin = self._origins.get(x)
        if x.dim() == 0 or any(p.default is None for p in entry.parameters.values()):
            self.unseen.setdefault(place, f"{entry.name} is applied to what has no units")
            return None, 0, None
        if origin is None:
            origin = Origin(place, -1, x.shape[-1], direct=False)
        axis = origin.axis if origin.axis >= 0 else x.dim() + origin.axis
        if axis == 0 or axis >= x.dim():
            axis = x.dim() - 1
        site = self.sites.get(key)
        if site is None:
            site = Site(origin.layer, place, count, entry, origin, Health(entry, shape=shape_of(entry)), x.dtype)
            site.usual = all(not isinstance(v, Tensor) and v == entry.parameters[n].default for n, v in values.items())
            self.sites[key] = site
            self.order.append(key)

        def gradient(g: Tensor) -> None:
            if g is not None:
                site.health.update_gradient(self._real(self._by_sample(g, axis)[0]) * self.scale, axis=-1)

        return site, axis, gradient

    def _by_sample(self, tensor: Tensor, axis: int) -> tuple[Tensor, int]:
        """Return a tensor with the samples first and the units last."""
        tensor = tensor.movedim(axis, -1)
        n = self.samples
        if tensor.dim() == 1:
            return tensor[None], -1
        if tensor.shape[0] != n:
            others = [i for i in range(tensor.dim() - 1) if tensor.shape[i] == n]
            if others:
                tensor = tensor.movedim(others[0], 0)
            elif n and tensor.shape[0] % n == 0:
                tensor = tensor.reshape(n, -1, *tensor.shape[1:])
            else:
                tensor = tensor.reshape(1, *tensor.shape)  # one joint sample: no count is claimed that is not there
        return tensor, -1

    def _real(self, tensor: Tensor) -> Tensor:
        """Put each row's first token in the place of those that only fill it: no unit is active or silent by them."""
        mask = self.mask
        if mask is None or tensor.dim() != 3 or mask.shape != tensor.shape[:2]:
            return tensor
        first = mask.int().argmax(1)
        return torch.where(mask[:, :, None], tensor, tensor[torch.arange(len(tensor)), first][:, None])

    def _record(self, site: Site, before: Tensor, output: Tensor, apply: Callable[[Tensor], Any], axis: int) -> None:
        with torch._C.DisableTorchFunction():
            z = self._real(self._by_sample(before, axis)[0])
            self._within += 1  # what is asked for its slope is not applied
            # Checkpoints count what is kept for backward: this is none of theirs.
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is):
                inner = before.detach().requires_grad_()
                slope = torch.autograd.grad(apply(inner).sum(), inner)[0]
            self._within -= 1
            slope = self._real(self._by_sample(slope, axis)[0])
            h = self._real(self._by_sample(output.detach(), axis)[0])
            site.health.update(z, slope=slope, output=h)
            if before.dtype is torch.float16 and before.numel():
                site.largest.append(before.abs().amax())
        if output.requires_grad and not output.is_leaf:
            output.register_hook(
                lambda g: site.health.update_gradient(self._real(self._by_sample(g, axis)[0]) * self.scale, of_output=True)
            )

    # --- origins ------------------------------------------------------------------------------------------------------------

    def _put(self, tensor: Tensor, origin: Origin) -> None:
        self._origins[tensor] = origin

    def _follow(self, function: Any, args: Any, kwargs: Mapping[str, Any], result: Tensor) -> None:
        name = getattr(function, "__name__", "")
        if name == "__get__" and result.is_leaf:
            return
        if function in LINEAR or function in CONVOLUTIONS:
            self._put(result, self._weighted(function, args, kwargs, result))
            return
        if function in DROPOUTS:
            self.dropouts[self._place] = float(args[1] if len(args) > 1 else kwargs.get("p", 0.5))
        operands = _tensors(args)
        if name in PRODUCTS and len(operands) == 2 and operands[1].dim() == 2 and self._owner(operands[1]) is not None:
            given = {"input": operands[0], "weight": operands[1].T}
            self._put(result, self._linear(self._owner(operands[1]) or "", given, result))
            return
        if operands and operands[0] not in self._origins and (owner := self._owner(operands[0])) is not None:
            if name in SHAPES or name == "__get__":
                self._shaped[result] = owner
            return
        if name in SUMS and len(operands) == 2 and self._is_bias(*operands):
            self._put(result, self._origins[operands[0]])
            return
        tensors = [t for t in _tensors(args) + _tensors(tuple(kwargs.values())) if t in self._origins]
        if not tensors:
            return
        origin: Origin = self._origins[tensors[0]]
        if function in NORMS:
            # A batch norm is linear in evaluation; the others divide by what depends on the sample.
            origin = replace(origin, normed=True, bent=origin.bent or function is not F.batch_norm, last="")
        elif name in PARTS and tensors[0].dim() == result.dim():
            origin = self._cut(origin, tensors[0], result)
        elif function in DROPOUTS or name in SHAPES:
            origin = self._moved(origin, result)
        elif name in ("softmax", "log_softmax", "softmin"):
            origin = replace(origin, bent=True, direct=False, last=name)
        elif any(name.startswith(pool) for pool in POOLS):
            origin = replace(self._moved(origin, result), bent=True)
        elif name in SUMS and len({self._origins[t] for t in tensors}) > 1:
            origin = replace(self._moved(origin, result), added=True, direct=False, last="")
        else:
            origin = replace(self._moved(origin, result), direct=False, bent=origin.bent or len(tensors) > 1, last="")
        self._put(result, origin)

    @staticmethod
    def _moved(origin: Origin, result: Tensor) -> Origin:
        """Return an origin after a change of shape: the axis that has as many entries as there are units."""
        if origin.units and result.dim():
            axis = origin.axis if -result.dim() <= origin.axis < result.dim() else -1
            if result.shape[axis] != origin.units:
                fitting = [i for i in range(1, result.dim()) if result.shape[i] == origin.units]
                axis = fitting[0] if len(fitting) == 1 else -1
            return replace(origin, axis=axis)
        return origin

    @staticmethod
    def _cut(origin: Origin, whole: Tensor, part: Tensor) -> Origin:
        """Return the origin of a part of a tensor, which is a view of it."""
        axis = origin.axis
        if not origin.units or part.shape[axis] == whole.shape[axis]:
            return origin
        if part.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
            return replace(origin, direct=False, part=True)
        stride = whole.stride(axis)
        first = (part.storage_offset() - whole.storage_offset()) % (stride * whole.shape[axis]) // stride
        step = max(part.stride(axis) // stride, 1)
        first, step = origin.first + origin.step * first, origin.step * step
        return replace(origin, units=part.shape[axis], first=first, step=step, part=True)

    def _weighted(self, function: Any, args: Any, kwargs: Mapping[str, Any], result: Tensor) -> Origin:
        names = ("input", "weight", "bias") if function is not torch.addmm else ("bias", "input", "weight")
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        given = {{"mat1": "input", "mat2": "weight"}.get(key, key): value for key, value in given.items()}
        weight = given.get("weight")
        layer = self._owner(weight) or self._place
        if function in LINEAR:
            return self._linear(layer, given, result)
        groups = kwargs.get("groups", args[6] if function in CONVOLUTIONS[:3] and len(args) > 6 else 1)
        axis = result.dim() - (weight.dim() - 1 if isinstance(weight, Tensor) else 1)
        return self._linear(layer, given, result, "convolution", axis, groups)

    def _linear(
        self, layer: str, given: Mapping[str, Any], result: Tensor, kind: str = "linear", axis: int = -1, groups: int = 1
    ) -> Origin:
        if self._first:
            before = self._origins.get(given.get("input"))
            self.weighted.append(Weighted(layer, before, given.get("weight"), given.get("bias"), kind, groups))
        return Origin(layer, axis, result.shape[axis])

    def _owner(self, tensor: Any) -> str | None:
        """Return the layer whose parameter a tensor is, or is made of by a change of shape."""
        found: str | None = self._owners.get(id(tensor)) or self._shaped.get(tensor)
        return found

    def _is_bias(self, tensor: Tensor, other: Tensor) -> bool:
        """Whether a sum only adds the bias of the layer that made a tensor."""
        origin = self._origins.get(tensor)
        if origin is None or not origin.direct or origin.bent or origin.normed or self._owner(other) is None:
            return False
        if other.numel() != origin.units:
            return False
        if self._first and self.weighted and self.weighted[-1].layer == origin.layer and self.weighted[-1].bias is None:
            self.weighted[-1] = replace(self.weighted[-1], bias=other.reshape(-1))
        return True


def _owners(model: nn.Module) -> dict[int, str]:
    """Return the layer whose each parameter is: its module, or itself where a module has several matrices."""
    named = [(name, name.rpartition(".")[0], p) for name, p in parameters_of(model)]
    matrices = Counter(module for _, module, p in named if p.dim() > 1)
    return {id(p): name if matrices[module] > 1 else module or type(model).__name__ for name, module, p in named}


def is_keras(held: Any) -> bool:
    """Whether a model, or a loss, is one of Keras, on whatever backend."""
    return any(cls.__module__.startswith("keras.") for cls in type(held).__mro__)


def parameters_of(model: Any) -> list[tuple[str, Tensor]]:
    """Return a model's parameters by name: layer and kind, with a dot between them."""
    if not is_keras(model):
        return list(model.named_parameters())
    return [(f"{layer.name}.{v.name}", v.value) for layer in model._flatten_layers() for v in layer._trainable_variables]


def _is_whole(module: nn.Module) -> bool:
    """Whether a module is an activation that is looked at as one; a pair is not, for its halves are what is seen."""
    return not isinstance(module, GatedLayer) and activation_of(module) is not None


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _applied(entry: Any, parameters: Sequence[Any], z: Tensor) -> Any:
    return entry(z, *parameters)


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += [item for item in value if isinstance(item, Tensor)]
    return found
