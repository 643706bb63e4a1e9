"""Activations as modules of Flax NNX, for what a function alone has no place for: parameters that learn.

There is a class for every activation in the registry, ``PReLU``, ``SnakeBeta``, ``Softmax``..., whose learned parameters are
``nnx.Param``; :func:`layer` makes one of an activation of your own. An activation without parameters needs no module:
``nnx.Sequential(nnx.Linear(8, 16, rngs=rngs), nonlin.gelu)``.

Examples
--------
>>> import jax.numpy as jnp
>>> from flax import nnx
>>> from nonlin.jax import nnx as nonlin_nnx
>>> model = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nonlin_nnx.PReLU(channels=8))
>>> model(jnp.ones((2, 4))).shape
(2, 8)
>>> model.layers[1].negative_slope.shape
(8,)
"""

from __future__ import annotations

import inspect as _inspect
from types import new_class as _new_class
from typing import Any

import jax as _jax
import jax.numpy as _jnp

try:
    from flax import nnx as _nnx
except ImportError as _error:
    raise ImportError("nonlin.jax.nnx makes modules of Flax, which is not installed: pip install 'nonlin[flax]'") from _error

from nonlin.catalogue.rectifiers import rrelu as _rrelu
from nonlin.definition import Activation, get as _get
from nonlin.jax import modules as _modules
from nonlin.layers import layer_name as _layer_name


class Module(_modules.ActivationModule, _nnx.Module):
    """What all modules share."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        given = self._bound(arguments, keywords)
        for name, value in self._parameters(given, given.get("param_dtype")):
            if not isinstance(value, _modules.Learned):
                setattr(self, name, value)
            elif value.constraint is None:
                setattr(self, name, _nnx.Param(value.start))
            else:
                setattr(self, f"raw_{name}", _nnx.Param(value.start, constraint=value.constraint))
        for name in ("axis", "gate", "channel_axis", "deterministic"):
            if name in given:
                setattr(self, name, given[name])

    def value_of(self, name: str) -> Any:
        """Return the value of a parameter: a number, or an array if it is learned."""
        raw = getattr(self, f"raw_{name}", None)
        if raw is not None:
            return self._within(raw[...], raw.constraint)
        value = getattr(self, name)
        return value[...] if isinstance(value, _nnx.Variable) else value


class ElementwiseModule(Module):
    """Applies an activation to every element."""

    def __call__(self, x: Any) -> _jax.Array:
        return self._applied(x)


class GatedModule(Module):
    """Applies a gated pair to two arrays, or to the halves of one."""

    def __call__(self, x: Any, value: Any = None) -> _jax.Array:
        return self._applied(x, value)


class AxisModule(Module):
    """Applies a function along an axis."""

    def __call__(self, x: Any) -> _jax.Array:
        return self._applied(x)


class MaskedAxisModule(Module):
    """Applies a function along an axis; entries that ``where`` leaves out take no part."""

    def __call__(self, x: Any, where: Any = None) -> _jax.Array:
        return self._applied(x, where)


class Randomized(Module):
    """Applies leaky ReLU with slopes drawn in training, their mean in evaluation; random as ``nnx.Dropout`` is."""

    deterministic: bool

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        rngs = self._bound(arguments, keywords)["rngs"]
        self.rngs = _nnx.data(None) if rngs is None else rngs["dropout"].fork()

    def __call__(self, x: Any, *, deterministic: bool | None = None, rngs: Any = None) -> _jax.Array:
        if self.deterministic if deterministic is None else deterministic:
            return self._applied(x)
        stream = self.rngs if rngs is None else rngs["dropout"] if isinstance(rngs, _nnx.Rngs) else rngs
        if stream is None:
            raise ValueError(f"{type(self).__name__}: slopes are drawn in training, which takes rngs=, here or when it is made")
        return self._randomized(_jnp.asarray(x), stream() if isinstance(stream, _nnx.RngStream) else stream)


def layer(activation: str | Activation) -> Any:
    """Return the class of an activation's modules.

    Parameters
    ----------
    activation : activation or str
        Of the registry, of a dialect, or your own. Its defaults are those of the module.

    Examples
    --------
    >>> from nonlin.jax import nnx
    >>> nnx.layer("swish") is nnx.Swish
    True
    """
    return _modules.kept(_get(activation), "nnx", _made)


def _made(entry: Activation) -> type:
    base: Any = _modules.base_of(entry, ElementwiseModule, GatedModule, AxisModule, MaskedAxisModule)
    keyword = _inspect.Parameter.KEYWORD_ONLY
    more = [_inspect.Parameter("param_dtype", keyword, default=_jnp.float32, annotation=Any)]
    if entry.root is _rrelu:
        base = Randomized
        more.append(_inspect.Parameter("deterministic", keyword, default=False, annotation=bool))
    signature = _modules.signature(entry, -1, *more, _inspect.Parameter("rngs", keyword, default=None, annotation=Any))
    fields = {"entry": entry, "__signature__": signature, "__doc__": _modules.documentation(entry, signature)}
    return _new_class(_layer_name(entry.name), (base,), {}, lambda namespace: namespace.update(fields, __module__=__name__))


def __getattr__(name: str) -> Any:
    """Make the class of a module when it is first asked for."""
    return _modules.named(__name__, name, layer)


def __dir__() -> list[str]:
    return sorted({*globals(), *_modules.names()})
