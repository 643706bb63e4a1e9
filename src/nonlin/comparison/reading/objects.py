"""Objects: tables and arrays of the libraries in use, and which of several arrays are features and target."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.comparison.data import DataError
from nonlin.comparison.reading.files import listed, sentence

_FEATURES = ("x", "data", "images", "features", "inputs")
_TARGETS = ("y", "target", "targets", "labels", "label", "outputs")
_PARTS = ("train", "val", "valid", "validation", "test")


def is_frame(source: Any) -> bool:
    """Whether it is a pandas DataFrame, or behaves like one."""
    return hasattr(source, "iloc") and hasattr(source, "columns")


def as_frame(source: Any) -> Any:
    """Return a table of another library as a pandas DataFrame, or None if it is no table.

    Those of polars, Arrow, Hugging Face and whoever else has ``to_pandas`` or speaks Arrow's protocol; rows that are records.
    """
    import pandas as pd

    if is_frame(source):
        return source
    if hasattr(source, "collect") and hasattr(source, "lazy"):  # polars' lazy frame
        source = source.collect()
    if hasattr(source, "to_pandas") and getattr(source, "ndim", 2) == 2 and not isinstance(source, type):
        return source.to_pandas()
    if hasattr(source, "__arrow_c_stream__"):
        import pyarrow as pa

        return pa.table(source).to_pandas()
    if isinstance(source, np.ndarray) and source.dtype.names:
        return pd.DataFrame({name: source[name].tolist() for name in source.dtype.names})
    if isinstance(source, list) and source and all(isinstance(row, Mapping) for row in source):
        return pd.DataFrame(source)
    return None


def as_array(values: Any, what: str) -> npt.NDArray[Any]:
    """Return values as an array: tensors from wherever they are, and what is masked as missing."""
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu()
    if hasattr(values, "tocsr"):  # a sparse matrix
        values = values.toarray()
    try:
        array = np.asanyarray(values)
    except ValueError as error:
        raise DataError(f"{what} is no array: {sentence(error)}") from None
    if isinstance(array, np.ma.MaskedArray):
        if not np.ma.is_masked(array):
            return np.asarray(array.data)
        filled = np.array(array.data, np.float64 if array.dtype.kind in "biuf" else object)
        filled[np.ma.getmaskarray(array)] = np.nan if filled.dtype.kind == "f" else None
        return filled
    return np.asarray(array)


def from_mapping(arrays: Mapping[str, Any], target: Any) -> tuple[Any, Any, list[str]]:
    """Tell features and target among arrays by their names, as in an NPZ file or a Bunch.

    Parameters
    ----------
    arrays : Mapping of str to array_like
    target : str or array_like, optional
        The name of the target's array, or the target.

    Returns
    -------
    tuple
        Features, target, and what is to be said.
    """
    keys, notes = _pairs(arrays, target)
    features = [arrays[x] for x, _ in keys]
    targets = [arrays[y] for _, y in keys] if target is None or isinstance(target, str) else [target]
    if len(keys) > 1:
        notes.append(f"{' and '.join(x for x, _ in keys)} are joined: the splits are drawn anew")
        return (
            np.concatenate([as_array(each, "X") for each in features]),
            np.concatenate([as_array(each, "y") for each in targets]),
            notes,
        )
    X, y = features[0], targets[0]
    names = arrays.get("feature_names")
    if names is not None and not is_frame(X) and np.ndim(X) == 2 and len(names) == np.shape(X)[1]:
        import pandas as pd

        X = pd.DataFrame(as_array(X, "X"), columns=list(map(str, names)))
    classes = arrays.get("target_names")
    if classes is not None:
        codes = as_array(y, "y")
        if codes.dtype.kind in "iu" and codes.ndim == 1 and set(np.unique(codes)) == set(range(len(classes))):
            y = np.asarray(classes)[codes]
    return X, y, notes


def _pairs(arrays: Mapping[str, Any], target: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the names of features and target: one pair, or one for each part."""
    named = target if isinstance(target, str) else None
    if named is not None and named not in arrays:
        raise DataError(f"it has no array {named}: it has {_shapes(arrays)}")
    found: dict[tuple[str, str], str] = {}
    for name in arrays:
        kind, part = _role(name)
        if kind:
            found.setdefault((kind, part), name)
    parts = [part for part in ("", *_PARTS) if ("features", part) in found and ("target", part) in found]
    if named is None and target is None:
        if parts:
            return [(found["features", part], found["target", part]) for part in (parts[:1] if parts[0] == "" else parts)], []
        raise DataError(f"which array is the target? It has {_shapes(arrays)}; X and y, or x_train and y_train, would be found")
    if ("features", "") in found and found["features", ""] != named:
        return [(found["features", ""], named or "")], []
    rows = np.shape(arrays[named] if named is not None else target)[:1]
    others = [name for name in arrays if name != named and np.shape(arrays[name])[:1] == rows and np.ndim(arrays[name]) > 0]
    if len(others) != 1:
        raise DataError(f"which array holds the features? It has {_shapes(arrays)}; one called X would be found")
    return [(others[0], named or "")], [f"the features are {others[0]}"]


def _role(name: str) -> tuple[str, str]:
    """Return what an array is by its name, features or target, and of which part.

    Examples
    --------
    >>> _role("X"), _role("y_train"), _role("test_images"), _role("weights")
    (('features', ''), ('target', 'train'), ('features', 'test'), ('', ''))
    """
    words = [word for word in re.split(r"[_\-. ]+", name.lower()) if word]
    if len(words) == 1:  # xtrain
        words = [word for word in re.split(rf"({'|'.join(_PARTS)})", words[0]) if word]
    part = next((word for word in words if word in _PARTS), "")
    rest = [word for word in words if word != part]
    if len(rest) != 1:
        return "", ""
    return ("features" if rest[0] in _FEATURES else "target" if rest[0] in _TARGETS else ""), part


def _shapes(arrays: Mapping[str, Any]) -> str:
    return listed(f"{name} {np.shape(array)}" for name, array in arrays.items()) or "no array"


def is_torch_dataset(source: Any) -> bool:
    """Whether it is a data set or loader of torch's."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(source, (data.Dataset, data.DataLoader))


def from_torch(source: Any) -> tuple[Any, Any]:
    """Return features and target of a torch data set, sample by sample as it gives them."""
    source = source.dataset if not hasattr(source, "__getitem__") and hasattr(source, "dataset") else source
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise DataError(
            "a data set that can only be gone through has no rows to split: give its features and target as tensors"
        )
    tensors = getattr(source, "tensors", None)
    if tensors is not None and len(tensors) == 2:
        return tensors[0], tensors[1]
    samples = [source[number] for number in range(len(source))]
    if not samples or not all(isinstance(sample, (tuple, list)) and len(sample) == 2 for sample in samples):
        raise DataError("each sample of a data set must be a pair of features and target")
    try:
        return tuple(np.stack([as_array(value, "a sample") for value in column]) for column in zip(*samples, strict=True))  # type: ignore[return-value]
    except ValueError as error:
        raise DataError(f"the samples do not fit together: {sentence(error)}") from None
