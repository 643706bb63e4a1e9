"""Formulas as strings that are as long as the formula is large.

A formula is shared throughout: fifteen times ``y = y*y + x`` makes thirty nodes, and ``2**15`` of them if each is written out
wherever it is used. Formulas as people write them are written out; one that would become too long is written as assignments.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from nonlin.formula.expression import Application, Expression, postorder, symbols
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling

#: Nodes that a formula may be written out with; the second derivative of the longest activation has 1,907.
MOST_NODES = 4000


def shared_parts(root: Expression, repeats: Callable[[Application], Sequence[int]]) -> dict[Expression, str]:
    """Return a name for each part that occurs more than once; none if the formula is short enough as it is.

    Parameters
    ----------
    root : Expression
    repeats : callable
        How often the spelling of a node contains that of each of its arguments.

    Examples
    --------
    >>> from nonlin.formula import Symbol
    >>> y = Symbol("x")
    >>> for _ in range(14):
    ...     y = y * y
    >>> list(shared_parts(y, lambda node: (1, 1)).values())[:3]
    ['t1', 't2', 't3']
    """
    sizes: dict[Expression, int] = {}
    uses: Counter[Expression] = Counter()
    for node in postorder(root):
        times = repeats(node) if isinstance(node, Application) else ()
        sizes[node] = 1 + sum(count * sizes[part] for count, part in zip(times, node.arguments, strict=False))
        for count, part in zip(times, node.arguments, strict=False):
            uses[part] += count
    if sizes[root] <= MOST_NODES:
        return {}
    letter = next(c for c in "tuvwsabc" if not any(name.startswith(c) and name[1:].isdigit() for name in symbols(root)))
    named = [node for node in sizes if node.arguments and uses[node] > 1]
    return {node: f"{letter}{k}" for k, node in enumerate(named, 1)}


class Written(Spelling[tuple[str, int]]):
    """Spells each node as a string and the precedence with which that binds.

    Parameters
    ----------
    names : Mapping[Expression, str]
        Of the parts that are spelled by name: see :func:`shared_parts`.
    """

    def __init__(self, names: Mapping[Expression, str]) -> None:
        self.table = {}
        self.names = names
        self.assignments: list[str] = []
        """What the names stand for, each before it is used."""

    def application(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
        """Spell a primitive applied to spelled arguments, or the name of that."""
        spelled, binds = self.written_out(primitive, arguments, node)
        if node not in self.names:
            return spelled, binds
        name, assignment = self.assigned(self.names[node], spelled, node)
        self.assignments.append(assignment)
        return name, 100

    @abstractmethod
    def written_out(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
        """Spell a primitive applied to spelled arguments."""

    @abstractmethod
    def assigned(self, name: str, spelled: str, node: Application) -> tuple[str, str]:
        """Spell a name, and that a node has it."""
