"""Big arrays: which calls of a ufunc can be taken out of NumPy's hands, so that memory is reused and threads share the work."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from nonlin.kernels import memory, threads

#: Arrays with fewer elements go to NumPy as they are: their results are too small to be kept, and to be split.
MINIMUM = min(memory.MINIMUM // 8, threads.MINIMUM)


def evaluate(ufunc: np.ufunc, operands: tuple[Any, ...], out: Any) -> Any:
    """Evaluate a ufunc on big arrays if the call is a plain one; return None if it is not.

    Parameters
    ----------
    ufunc : numpy.ufunc
        With operands of one floating dtype, its results have that dtype, too.
    operands : tuple
        The first one an array of exactly the type ``numpy.ndarray`` and of such a dtype.
    out : array, tuple of arrays or None

    Returns
    -------
    array, tuple of arrays or None
        What the ufunc would return. None for all that needs NumPy's care: other dtypes or shapes beside the first
        array's, other orders of elements than C's, subclasses, operands that overlap with the result in part.
    """
    first = operands[0]
    shape, dtype = first.shape, first.dtype
    for operand in operands:
        kind = type(operand)
        if kind is np.ndarray:
            if operand.dtype != dtype or (operand.ndim and not _is_plain(operand, shape)):
                return None
        elif kind is not float and kind is not int and not (isinstance(operand, np.generic) and operand.dtype == dtype):
            return None
    if out is None:
        results = tuple(memory.empty(shape, dtype) for _ in range(ufunc.nout))
    else:
        results = out if type(out) is tuple else (out,)
        if len(results) != ufunc.nout or not all(_can_hold(result, shape, dtype) for result in results):
            return None
        if any(_overlaps_in_part(operand, result) for operand in operands for result in results):
            return None
        if any(np.may_share_memory(a, b) for a, b in combinations(results, 2)):
            return None
    threads.run(ufunc, operands, results)
    return results if ufunc.nout > 1 else results[0]


def _can_hold(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return type(out) is np.ndarray and out.dtype == dtype and out.flags.writeable and _is_plain(out, shape)


def _is_plain(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bool:
    flags = array.flags
    return array.shape == shape and flags.c_contiguous and flags.aligned


def _overlaps_in_part(operand: Any, out: Any) -> bool:
    if not isinstance(operand, np.ndarray) or not np.may_share_memory(operand, out):
        return False
    return operand.ndim == 0 or operand.ctypes.data != out.ctypes.data
