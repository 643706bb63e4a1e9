"""Big arrays: which calls of a ufunc can be taken out of NumPy's hands, so that memory is reused and threads share the work."""

from __future__ import annotations

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
        Of one result; with operands of one floating dtype, its result has that dtype, too.
    operands : tuple
        The first one an array of exactly the type ``numpy.ndarray`` and of such a dtype.
    out : array or None

    Returns
    -------
    array or None
        The result as the ufunc would return it. None for all that needs NumPy's care: other dtypes or shapes beside the first
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
        out = memory.empty(shape, dtype)
    elif not _can_hold(out, shape, dtype) or any(_overlaps_in_part(operand, out) for operand in operands):
        return None
    threads.run(ufunc, operands, out)
    return out


def _can_hold(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return type(out) is np.ndarray and out.dtype == dtype and out.flags.writeable and _is_plain(out, shape)


def _is_plain(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bool:
    flags = array.flags
    return array.shape == shape and flags.c_contiguous and flags.aligned


def _overlaps_in_part(operand: Any, out: Any) -> bool:
    if not isinstance(operand, np.ndarray) or not np.may_share_memory(operand, out):
        return False
    return operand.ndim == 0 or operand.ctypes.data != out.ctypes.data
