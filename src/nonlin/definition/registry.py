"""The registry: every activation by its names."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Registry(Mapping[str, Any]):
    """Every activation by its name; a read-only mapping. Look one up by any of its names with :func:`get`."""

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        #: Called with each entry that is added: for rooms whose framework has a registry of its own.
        self.watchers: list[Callable[[Any], None]] = []

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{len(self)} activations: {', '.join(self)}>"

    def add(self, entry: Any) -> None:
        """Register an activation under its name and aliases; the user's own may be defined anew, the catalogue's may not."""
        with self._lock:
            for name in (entry.name, *entry.aliases):
                holder = self.find(name)
                if holder is not None and not (holder.family == "own" and holder.name == entry.name):
                    raise ValueError(f"{entry.name}: the name {name!r} belongs to {holder.name}; choose another one")
            # New dictionaries: another thread may be walking over the old ones.
            kept = {plain: name for plain, name in self._names.items() if name != entry.name}
            self._entries = self._entries | {entry.name: entry}
            self._names = kept | dict.fromkeys(map(_plain, (entry.name, *entry.aliases)), entry.name)
        for watcher in self.watchers:
            watcher(entry)

    def find(self, name: str) -> Any:
        """Return the entry of that name or alias, whatever its capitals and underscores, or None."""
        return self._entries.get(self._names.get(_plain(name), ""))

    def nearest(self, name: str) -> list[str]:
        """Return the names most like one that is unknown."""
        plain = difflib.get_close_matches(_plain(name), self._names, 3, 0.5)
        return list(dict.fromkeys(self._names[p] for p in plain))


#: How code spells the place of a torch function. Other libraries' are not among them: jax.nn.gelu is our gelu_tanh.
_TORCH_PLACES = ("torch.nn.functional.", "torch.nn.", "torch.", "nn.functional.", "nn.", "F.")


def _plain(name: str) -> str:
    for place in _TORCH_PLACES:
        name = name.removeprefix(place)
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


activations = Registry()


def get(name: Any) -> Any:
    """Return an activation by its name, an alias, or a name that a framework uses for it.

    Parameters
    ----------
    name : str or activation
        Capitals, underscores and hyphens do not matter: ``"LeakyReLU"``, ``"gelu_new"``, ``"hardswish"``. An activation is
        returned as it is.

    Raises
    ------
    KeyError
        If there is none; the message lists the nearest names.

    Examples
    --------
    >>> import nonlin as nl
    >>> nl.get("SiLU") is nl.silu
    True
    """
    if not isinstance(name, str):
        if hasattr(name, "formula") or hasattr(name, "family"):
            return name
        raise TypeError(f"get needs a name, got {name!r}")
    entry = activations.find(name)
    if entry is None:
        near = activations.nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "nonlin.activations has all names"
        raise UnknownActivationError(f"there is no activation {name!r}: {hint}")
    return entry


class UnknownActivationError(KeyError):
    """A KeyError whose message prints as it is, without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])
