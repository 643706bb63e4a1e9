"""Which room takes care of an array: the protocol that a framework's room keeps, and the search for it.

No framework is imported: an array of one can only come from a user who has, so its classes are found in ``sys.modules``. The
room is imported when the first of them comes. What no framework knows goes NumPy's way.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from nonlin.definition import AxisFunction, Elementwise
    from nonlin.definition.layout import Gate


class Room(Protocol):
    """What ``nonlin.<framework>.dispatch`` offers: where calls come to whose operands hold an array of the framework.

    Such an array may be any of the operands; the others are then arrays of it, too, or NumPy arrays, numbers and the like.
    Arguments are bound and numbers among the parameters checked; what an array holds, or what dtype it has, is not looked at.
    What a room keeps about an entry lies in ``entry.rooms[framework]``.
    """

    def evaluate(
        self, entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any], /
    ) -> Any:
        """Compute an elementwise activation or pair, or a derivative of some order, of its arrays and parameters.

        Keywords are those of ufuncs that were given, such as ``out``: a TypeError where the framework has no such thing.
        """

    def evaluate_along_axis(self, entry: AxisFunction, given: Mapping[str, Any], /) -> Any:
        """Compute a function along an axis.

        ``given`` has x, each parameter, axis, counted from the front, out, and where if the function has a mask.
        """

    def product_along_axis(self, entry: AxisFunction, given: Mapping[str, Any], which: Literal["dx", "dy"], /) -> Any:
        """Multiply the Jacobian by ``given["dx"]``, or ``given["dy"]`` by it."""

    def split(self, entry: Elementwise, x: Any, axis: int, gate: Gate, /) -> tuple[Any, Any]:
        """Return the gate and the value of a pair that one array holds; arrays that can be sliced use the layout's own."""


@dataclass(frozen=True)
class Framework:
    """A framework that has, or is to have, a room.

    Parameters
    ----------
    name : str
        Its package; the room is ``nonlin.<name>.dispatch``.
    arrays : tuple of str
        Where in it, or in a submodule that may not be loaded, the classes of its arrays are.
    packages : tuple of str
        Other packages whose classes are its own.
    method : str
        What other classes have which stand for arrays of it.
    hosts : tuple of str
        Frameworks whose arrays it takes beside its own.
    """

    name: str
    arrays: tuple[str, ...]
    packages: tuple[str, ...] = ()
    method: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """The name of the module that keeps the protocol."""
        return f"nonlin.{self.name}.dispatch"

    def owns(self, kind: type) -> bool:
        """Whether a class is one of its arrays', as far as it is loaded."""
        if self.name not in sys.modules:
            return False
        classes = tuple(found for path in self.arrays if (found := self._class(path)) is not None)
        return issubclass(kind, classes) or bool(self.method and hasattr(kind, self.method))

    def _class(self, path: str) -> Any:
        module, _, name = f"{self.name}.{path}".rpartition(".")
        # Half-loaded modules lack names: of a class that is not there yet there is no array.
        return getattr(sys.modules.get(module), name, None)

    def is_open(self) -> bool:
        """Whether this installation has the room."""
        spec = importlib.util.find_spec(f"nonlin.{self.name}")
        return spec is not None and spec.origin is not None


#: A class is that of the first which owns it: Keras's variables are TensorFlow's types, too, and JAX's by their method.
FRAMEWORKS: tuple[Framework, ...] = (
    Framework("keras", ("KerasTensor", "Variable"), hosts=("jax", "tensorflow", "torch")),
    Framework("tensorflow", ("Tensor", "Variable")),
    Framework("torch", ("Tensor", "fx.Proxy")),  # a proxy stands for a tensor while fx traces
    Framework("jax", ("Array", "core.Tracer"), packages=("jaxlib",), method="__jax_array__"),
)

#: Others whose arrays NumPy could read, or seems to: their users would silently lose device, gradient or dtype by it.
_WITHOUT_ROOM = frozenset("cupy cupyx dpctl dpnp jittor mindspore mlx mxnet ndonnx oneflow paddle tf_keras tinygrad".split())
_NUMPY = (np.ndarray, np.generic, int, float, complex)
_NUMPYS_PROTOCOLS = ("__array_ufunc__", "__array__", "__array_interface__")
_FOREIGN_PROTOCOLS = ("__dlpack__", "__array_namespace__", "__cuda_array_interface__")

#: The module that takes care of arrays of a class, "" if it is NumPy's. What most operands are is known from the start: Dynamo
#: looks again at what it has seen while it traced, and finds fault with what was noted meanwhile.
_room_of: dict[type, str] = dict.fromkeys((np.ndarray, float, int, bool, type(None)), "")


def room(name: str, operands: Iterable[Any]) -> Room | None:
    """Return the room that takes care of a call's operands, or None where all of them are NumPy's.

    Raises
    ------
    TypeError
        If one is an array that nobody here knows, or two are of frameworks that do not go together. The message begins with the
        name of what was called.
    """
    found = ""
    for operand in operands:
        kind = type(operand)
        # A class that is a framework's has its answer from the start: it cannot be older than the framework.
        other = _room_of[kind] if kind in _room_of else _find_room(name, kind)
        if other and other != found:
            found = _host(name, found, other) if found else other
    module: Any = sys.modules[found] if found else None
    return module  # type: ignore[no-any-return]


def _find_room(name: str, kind: type) -> str:
    """Import the module that takes care of a class, and note and return its name, or "" if it is NumPy's."""
    owner = next((framework for framework in FRAMEWORKS if framework.owns(kind)), None)
    if owner is not None and owner.is_open():
        importlib.import_module(owner.room)
        return _room_of.setdefault(kind, owner.room)
    if owner is None and issubclass(kind, _NUMPY):
        return _room_of.setdefault(kind, "")
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    known = owner or next((f for f in FRAMEWORKS if packages & {f.name, *f.packages}), None)
    if known is not None and known.is_open():
        arrays = " and ".join(f"{known.name}.{array}" for array in known.arrays)
        raise TypeError(f"{name}: of {known.name} it takes {arrays}, got its {kind.__name__}, which is none of them")
    foreign = known.name if known is not None else min(packages & _WITHOUT_ROOM, default="")
    follows = any(hasattr(kind, protocol) for protocol in _NUMPYS_PROTOCOLS)
    if not foreign and not follows and any(hasattr(kind, protocol) for protocol in _FOREIGN_PROTOCOLS):
        foreign = kind.__module__.partition(".")[0]
    if foreign:
        raise TypeError(
            f"{name}: nonlin has no room for {foreign} and got its {kind.__name__}: it takes arrays of {_rooms()}, NumPy "
            f"arrays and what follows their protocols; numpy.asarray(...) makes one of yours"
        )
    return _room_of.setdefault(kind, "")


# Dynamo calls it while it traces, and takes the result for a constant: in a program that it traces nothing can be imported.
_find_room._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _rooms() -> str:
    *others, last = sorted(framework.name for framework in FRAMEWORKS if framework.is_open())
    return f"{', '.join(others)} and {last}" if others else last


def _host(name: str, one: str, other: str) -> str:
    """Return which of two rooms takes the arrays of both."""
    first, second = (next(f for f in FRAMEWORKS if f.room == r) for r in (one, other))
    for host, guest in ((first, second), (second, first)):
        if guest.name in host.hosts:
            return host.room
    raise TypeError(f"{name}: its operands are arrays of {first.name} and of {second.name}; give it those of one framework")
