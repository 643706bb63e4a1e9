"""What a user may say about how data are to be read."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nonlin.comparison.data import DataError


@dataclass(frozen=True)
class Options:
    r"""How data are to be read; everything left out is found out.

    Attributes
    ----------
    sep, decimal, encoding : str, optional
        Of a text file: what separates columns, ``.`` or ``,`` in numbers, and for example ``latin-1``.
    drop, features, categorical : tuple of str
        Columns to leave out; the only ones to learn from; those whose numbers are names.
    group, time : str, optional
        Columns that say how rows are split; nothing is learned from them.
    """

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    drop: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None

    def __post_init__(self) -> None:
        if self.sep is not None:
            known = {r"\t": "\t", "tab": "\t", "space": r"\s+", " ": r"\s+"}  # a shell hands \t over as two characters
            object.__setattr__(self, "sep", known.get(self.sep, self.sep))
            if self.sep != r"\s+" and (len(self.sep or "") != 1 or (self.sep or "").isalnum()):
                raise DataError(f"columns are separated by one character such as ; or by tab or space, got {self.sep!r}")
        if self.decimal not in (None, ".", ","):
            raise DataError(f"decimals come after a point or a comma, got {self.decimal!r}")
        if self.decimal is not None and self.decimal == self.sep:
            raise DataError(f"{self.sep} cannot separate both columns and decimals")

    @property
    def given(self) -> dict[str, object]:
        """What is not left to be found out."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) not in (None, ())}
