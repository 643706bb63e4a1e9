"""Activations as modules of Equinox, for what a function alone has no place for: parameters that learn.

There is a class for every activation in the registry, ``PReLU``, ``SnakeBeta``, ``Softmax``..., whose learned parameters are
arrays, leaves of the module; :func:`layer` makes one of an activation of your own. An activation without parameters needs no
module: ``eqx.nn.Lambda(nonlin.gelu)``.

Examples
--------
>>> import equinox as eqx, jax
>>> from nonlin.jax import equinox as nonlin_eqx
>>> model = eqx.nn.Sequential([eqx.nn.Linear(4, 8, key=jax.random.key(0)), nonlin_eqx.PReLU(channels=8)])
>>> model(jax.numpy.ones(4)).shape
(8,)
>>> nonlin_eqx.PReLU()
PReLU(negative_slope=f32[], channel_axis=0)
"""

from __future__ import annotations

import inspect as _inspect
from types import new_class as _new_class
from typing import Any

import jax as _jax
import jax.numpy as _jnp

try:
    import equinox as _eqx
except ImportError as _error:
    raise ImportError(
        "nonlin.jax.equinox makes modules of Equinox, which is not installed: pip install 'nonlin[equinox]'"
    ) from _error

from nonlin.catalogue.rectifiers import rrelu as _rrelu
from nonlin.definition import Activation, get as _get
from nonlin.jax import modules as _modules
from nonlin.layers import Constraint as _Constraint, layer_name as _layer_name


class Bounded(_eqx.Module):
    """A learned parameter within bounds: what is learned is ``raw``, of which the value is a function."""

    raw: _jax.Array
    constraint: _Constraint = _eqx.field(static=True)


class Module(_modules.ActivationModule, _eqx.Module):
    """What all modules share."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        given = self._bound(arguments, keywords)
        for name, value in self._parameters(given, given.get("dtype")):
            if not isinstance(value, _modules.Learned):
                setattr(self, name, value)
            elif value.constraint is None:
                setattr(self, name, value.start)
            else:
                setattr(self, name, Bounded(value.start, value.constraint))
        for name in ("axis", "gate", "channel_axis", "inference"):
            if name in given:
                setattr(self, name, given[name])

    def value_of(self, name: str) -> Any:
        """Return the value of a parameter: a number, or an array if it is learned."""
        value = getattr(self, name)
        return self._within(value.raw, value.constraint) if isinstance(value, Bounded) else value


class ElementwiseModule(Module):
    """Applies an activation to every element."""

    def __call__(self, x: Any, *, key: Any = None) -> _jax.Array:
        return self._applied(x)


class GatedModule(Module):
    """Applies a gated pair to two arrays, or to the halves of one."""

    def __call__(self, x: Any, value: Any = None, *, key: Any = None) -> _jax.Array:
        return self._applied(x, value)


class AxisModule(Module):
    """Applies a function along an axis."""

    def __call__(self, x: Any, *, key: Any = None) -> _jax.Array:
        return self._applied(x)


class MaskedAxisModule(Module):
    """Applies a function along an axis; entries that ``where`` leaves out take no part."""

    def __call__(self, x: Any, where: Any = None, *, key: Any = None) -> _jax.Array:
        return self._applied(x, where)


class Randomized(Module):
    """Applies leaky ReLU with slopes drawn in training, their mean in inference; random as ``eqx.nn.Dropout`` is."""

    inference: bool

    def __call__(self, x: Any, *, key: Any = None, inference: bool | None = None) -> _jax.Array:
        if self.inference if inference is None else inference:
            return self._applied(x)
        if key is None:
            raise ValueError(f"{type(self).__name__}: slopes are drawn in training, which takes key=")
        return self._randomized(_jnp.asarray(x), key)


def layer(activation: str | Activation) -> Any:
    """Return the class of an activation's modules.

    Parameters
    ----------
    activation : activation or str
        Of the registry, of a dialect, or your own. Its defaults are those of the module.

    Examples
    --------
    >>> from nonlin.jax import equinox
    >>> equinox.layer("swish") is equinox.Swish
    True
    """
    return _modules.kept(_get(activation), "equinox", _made)


def _made(entry: Activation) -> type:
    base: Any = _modules.base_of(entry, ElementwiseModule, GatedModule, AxisModule, MaskedAxisModule)
    keyword = _inspect.Parameter.KEYWORD_ONLY
    more = [_inspect.Parameter("dtype", keyword, default=None, annotation=Any)]
    if entry.root is _rrelu:
        base = Randomized
        more.append(_inspect.Parameter("inference", keyword, default=False, annotation=bool))
    signature = _modules.signature(entry, 0, *more, _inspect.Parameter("key", keyword, default=None, annotation=Any))
    static = {name: str if name == "gate" else int for name in ("axis", "gate", "channel_axis") if name in signature.parameters}
    fields: dict[str, Any] = {"entry": entry, "__signature__": signature, "__doc__": _modules.documentation(entry, signature)}
    annotations = {**dict.fromkeys(entry.parameters, Any), **static}
    statics = {name: _eqx.field(static=True) for name in static}
    fields |= {**statics, "__annotations__": annotations, "__module__": __name__}
    return _new_class(_layer_name(entry.name), (base,), {}, lambda namespace: namespace.update(fields))


def __getattr__(name: str) -> Any:
    """Make the class of a module when it is first asked for."""
    return _modules.named(__name__, name, layer)


def __dir__() -> list[str]:
    return sorted({*globals(), *_modules.names()})
