"""What all activations have in common, whatever their layout: one record, and what follows from it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

from nonlin.definition.layout import ENTRIES, Layout
from nonlin.definition.parameter import Parameter, changed_parameters
from nonlin.definition.record import Definition
from nonlin.definition.registry import UnknownActivationError, activations, get
from nonlin.formula.expression import Expression
from nonlin.frameworks import FRAMEWORKS

#: Every activation that there is, by its key.
instances: WeakValueDictionary[str, Any] = WeakValueDictionary()
_serials = itertools.count()


class Activation:
    """An activation: a formula, its parameters and a layout, and everything that follows from them.

    Made by the decorator :func:`nonlin.activation`; the catalogue's stand in ``nonlin`` by name. The layout says of which kind
    it is: :class:`Elementwise`, :class:`Gated` (a pair, or the halves of an array) or :class:`AxisFunction`.

    Attributes
    ----------
    definition : Definition
        The record that all else comes from. Its fields are attributes, too.
    summary : str
        The first line of its author's documentation.
    root : Activation
        What this is with other defaults, or itself: all that is derived and compiled for one is so for the other.
    key : str
        By which it is found among all instances; no number, because Dynamo takes one that changes from call to call for one
        that varies.
    rooms : dict
        What the rooms of frameworks keep about it, by the framework's name.
    """

    name: str
    formula: Expression
    operands: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    layout: Layout
    masked: float | None
    source: str
    aliases: tuple[str, ...]
    family: str
    doc: str
    root: Self

    _of_layout: ClassVar[dict[type[Layout], type[Activation]]] = {}
    _layout: ClassVar[Layout] = ENTRIES
    _kind: ClassVar[str] = "activation"

    autograph_info__: ClassVar[None] = None
    """TensorFlow's AutoGraph calls what has such an attribute, and does not rewrite its source."""

    def __init_subclass__(cls, *, layout: Layout | None = None) -> None:
        for method in filter(inspect.isfunction, vars(cls).values()):
            vars(method).update(autograph_info__=None)
        if layout is not None:
            cls._layout = layout
            Activation._of_layout[type(layout)] = cls

    def __new__(cls, name: str, formula: Expression, **fields: Any) -> Self:
        """Make it of the class that its layout says."""
        kinds = type(fields.get("layout", cls._layout)).__mro__
        found = next(Activation._of_layout[kind] for kind in kinds if kind in Activation._of_layout)
        made: Any = super().__new__(found if cls is Activation else cls)
        return made  # type: ignore[no-any-return]

    def __init__(self, name: str, formula: Expression, **fields: Any) -> None:
        self.definition = definition = Definition(name, formula, **{"layout": self._layout, **fields})
        self.__dict__.update(vars(definition))
        self.parameters = MappingProxyType(dict(definition.parameters))
        self.doc = inspect.cleandoc(definition.doc)
        self.summary = self.doc.partition("\n")[0]
        self.__name__ = self.__qualname__ = name
        self.__module__ = definition.module
        self.__signature__ = self.layout.signature(self.operands, self.parameters, self.masked)
        self.__doc__ = _documentation(self)
        self.root = self  # type: ignore[assignment]
        self.rooms: dict[str, dict[Any, Any]] = {framework.name: {} for framework in FRAMEWORKS}
        self.key = str(next(_serials))
        instances[self.key] = self

    def with_(self, **defaults: float) -> Self:
        """Return this activation with other defaults.

        Examples
        --------
        >>> import nonlin as nl
        >>> steep = nl.leaky_relu.with_(negative_slope=0.2)
        >>> print(steep(-1.0), nl.softmax.with_(temperature=1e-3)([1.0, 2.0]))
        -0.2 [0. 1.]
        """
        self._check_known(defaults)
        changed = replace(self.definition, parameters=changed_parameters(self.parameters, defaults))
        self.check(**{name: p.default for name, p in changed.parameters.items() if p.default is not None})
        made = type(self)(**vars(changed))
        made.root = self.root
        return made

    def check(self, **values: Any) -> None:
        """Check parameter values against their bounds.

        Raises
        ------
        ValueError
            If one is out of bounds: the message names the activation, the parameter, what is allowed and what came.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves with a model: the name, and the defaults of the parameters.

        Examples
        --------
        >>> import nonlin as nl
        >>> nl.leaky_relu.with_(negative_slope=0.1).get_config()
        {'name': 'leaky_relu', 'parameters': {'negative_slope': 0.1}}
        """
        if "keras" in sys.modules:
            importlib.import_module("nonlin.keras")  # registers the class that Keras is about to write down
        return {"name": self.name, "parameters": {n: p.default for n, p in self.parameters.items() if p.default is not None}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Activation:
        """Return the activation of that name, with those defaults.

        Raises
        ------
        UnknownActivationError
            If there is none: one of your own has to be defined before a model is loaded that has it.
        """
        try:
            entry: Activation = get(config["name"])
        except UnknownActivationError as error:
            raise UnknownActivationError(f"{error}; one of your own is to be defined before it is loaded") from None
        changed = {name: value for name, value in config["parameters"].items() if value != entry.parameters[name].default}
        return entry.with_(**changed) if changed else entry

    def _check_known(self, names: Iterable[str]) -> None:
        """Raise a TypeError if one of the names is none of the parameters."""
        for name in names:
            if name not in self.parameters:
                raise TypeError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        """Say which parameters there are."""
        own = ", ".join(self.parameters) or "none"
        near = difflib.get_close_matches(name, self.parameters, 1)
        return f"{self.name} has no parameter {name!r} (it has: {own})" + (f"; did you mean {near[0]}?" if near else "")

    def __repr__(self) -> str:
        return f"<{self._kind} {self.name}{self.__signature__}>"

    def _repr_html_(self) -> str:
        """Return formula, curve and facts, for a notebook."""
        from nonlin.explanation.notebook import summary

        return summary(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle keeps: the name of one of the catalogue's, all that there is to know of any other."""
        if self.root is not self:
            return with_defaults, (self.root, {n: p.default for n, p in self.parameters.items() if p.default is not None})
        if self.family != "own" and activations.find(self.name) is self:
            return get, (self.name,)
        return restore, (self.definition,)


def with_defaults(root: Activation, defaults: Mapping[str, float]) -> Activation:
    """Return an activation with other defaults: what pickled ones come back by."""
    return root.with_(**defaults)


def restore(definition: Definition) -> Activation:
    """Return the activation of a definition: the registered one if it is the same."""
    registered: Any = activations.get(definition.name)
    return registered if getattr(registered, "definition", None) == definition else Activation(**vars(definition))


def _documentation(of: Activation) -> str:
    lines = [of.doc or of.name, "", f"    {of.name} = {of.formula}", "", "Parameters", "----------"]
    lines += [f"{name} : array_like" for name in of.operands]
    for name, parameter in of.parameters.items():
        default = "" if parameter.default is None else f", default {parameter.default}"
        allowed = f", {parameter.describe()}" if parameter.bounds else ""
        lines.append(f"{name} : {of.layout.parameters_are}{default}{allowed}")
    lines += of.layout.describe_keywords(of.masked)
    if of.source:
        lines += ["", "References", "----------", of.source]
    return "\n".join([*lines, *of.layout.notes()])
