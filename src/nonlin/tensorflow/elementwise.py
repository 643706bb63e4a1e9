"""Elementwise activations of tensors: values and derivatives of any order, each a program with its own gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import tensorflow as tf

from nonlin.definition import Elementwise
from nonlin.formula.arrays import ArraySpelling
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import substitute, symbols
from nonlin.formula.finish import DType, as_typed, finished, portable, with_nan
from nonlin.kernels.ufunc import is_integral
from nonlin.tensorflow.spelling import TENSORS

Function = Callable[..., tf.Tensor]
#: What integers become that do not stay what they are, as in TensorFlow.
DEFAULT = tf.float32
_FLOATING = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


def evaluate(entry: Elementwise, wrt: Sequence[str], operands: Sequence[Any]) -> tf.Tensor:
    """Compute a derivative of an activation.

    Parameters
    ----------
    entry : Elementwise
    wrt : sequence of str
        What it is differentiated with respect to, one after the other; none for the value.
    operands : sequence
        The arrays, then the parameters: tensors, variables, arrays or numbers.

    Raises
    ------
    TypeError
        If an operand is not real.
    """
    names, count = (*entry.operands, *entry.parameters), len(entry.operands)
    tensors = {name: as_tensor(entry.name, name, x) for name, x in zip(names, operands, strict=True)}
    result = _result_dtype(entry, operands[:count], list(tensors.values())[:count], operands[count:])
    if result not in _FLOATING:
        return _of_integers(entry, wrt, tensors, result)
    computes_in = working(result)
    fixed = tuple(
        (name, value)
        for name, value in zip(names[count:], operands[count:], strict=True)
        if isinstance(value, (int, float)) and value == entry.parameters[name].default
    )
    used = [
        typed(value if isinstance(value, (int, float)) else tensors[name], computes_in)
        for name, value in zip(names, operands, strict=True)
        if name not in dict(fixed)
    ]
    return tf.cast(program(entry, tuple(wrt), computes_in.name, fixed)(*used), result)


def as_tensor(owner: str, name: str, x: Any) -> tf.Tensor:
    """Return an operand as a tensor of real numbers.

    Raises
    ------
    TypeError
        If it is none.
    """
    if not tf.is_tensor(x) and not isinstance(x, (int, float)):
        x = np.asarray(x)
        if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
            raise TypeError(f"{owner}: {name} must be real floating-point or integer, got {x.dtype}")
    tensor = tf.convert_to_tensor(x)
    if tensor.dtype not in (*_FLOATING, *_INTEGERS, tf.bool):
        raise TypeError(f"{owner}: {name} must be real floating-point or integer, got {tensor.dtype.name}")
    return tensor


def typed(value: Any, dtype: tf.DType) -> tf.Tensor:
    """Return a parameter in a dtype: a number at once, which would be one of float32 on the way."""
    return tf.constant(value, dtype) if isinstance(value, (int, float)) else tf.cast(tf.convert_to_tensor(value), dtype)


def working(dtype: tf.DType) -> tf.DType:
    """Return the dtype that results of a dtype are computed in."""
    return tf.float64 if dtype == tf.float64 else tf.float32


def promoted(tensors: Sequence[tf.Tensor]) -> tf.DType:
    """Return the dtype of what is computed of floating-point tensors; it is the default if none is one."""
    floating = [t.dtype.as_numpy_dtype for t in tensors if t.dtype in _FLOATING]
    return tf.as_dtype(np.result_type(*floating)) if floating else DEFAULT


def _result_dtype(entry: Elementwise, given: Sequence[Any], arrays: Sequence[tf.Tensor], parameters: Sequence[Any]) -> tf.DType:
    """Return the dtype of a result: that of the arrays; numbers beside one and parameters take no part."""
    strong = [t for x, t in zip(given, arrays, strict=True) if not isinstance(x, (int, float))] or arrays
    dtypes = {t.dtype for t in strong}
    # TensorFlow has no arithmetic of tf.uint64.
    whole = dtypes <= {*_INTEGERS} - {tf.uint64} and all(type(v) is int for v in parameters)
    if whole and is_integral(canonical(entry.formula)):
        return tf.as_dtype(np.result_type(*(d.as_numpy_dtype for d in dtypes)))
    return promoted(strong)


def _of_integers(entry: Elementwise, wrt: Sequence[str], tensors: Mapping[str, tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    wide = {name: tf.cast(tensor, tf.int64) for name, tensor in tensors.items()}
    formula = portable(entry.partial_derivative(*wrt), TENSORS.functions)
    y = ArraySpelling(TENSORS, wide, np.dtype(np.int64))(formula)
    return tf.cast(tf.broadcast_to(y, _shape_of_all(list(wide.values()))), dtype)


def _shape_of_all(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return reduce(tf.broadcast_dynamic_shape, map(tf.shape, tensors))


def summed_like(g: tf.Tensor, operand: tf.Tensor) -> tf.Tensor:
    """Sum a gradient over the axes along which an operand was broadcast."""
    if g.shape.is_fully_defined() and g.shape == operand.shape:
        return g
    shape = tf.shape(operand)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(g))
    return tf.reshape(tf.reduce_sum(g, axes), shape)


def program(entry: Elementwise, wrt: tuple[str, ...], dtype: DType, fixed: tuple[tuple[str, float], ...]) -> Function:
    """Return a derivative as a function whose gradient is the formula's own next derivative; an entry keeps its own.

    Parameters
    ----------
    entry : Elementwise
    wrt : tuple of str
    dtype : {"float32", "float64"}
        What it computes in.
    fixed : tuple
        Names and values of parameters that are at their defaults. The others are operands, after the arrays.
    """
    programs = entry.root.rooms["tensorflow"]
    key = (tuple(sorted(wrt)), dtype, fixed)
    if key not in programs:
        programs[key] = _made(entry.root, key[0], dtype, fixed)
    return programs[key]  # type: ignore[no-any-return]


def _made(entry: Elementwise, wrt: tuple[str, ...], dtype: DType, fixed: tuple[tuple[str, float], ...]) -> Function:
    names = tuple(name for name in (*entry.operands, *entry.parameters) if name not in dict(fixed))
    numbers = {name: as_typed(value, dtype) for name, value in fixed}
    formula = substitute(with_nan(entry.partial_derivative(*wrt), entry.operands), numbers)
    form = finished(formula, dtype, TENSORS.functions, entry._typical(), flushes=True)
    depends = symbols(form)

    def spelled(*operands: tf.Tensor) -> tf.Tensor:
        y = ArraySpelling(TENSORS, dict(zip(names, operands, strict=True)), np.dtype(dtype))(form)
        return y if depends.issuperset(names) else tf.broadcast_to(y, _shape_of_all(operands))

    # TensorFlow counts how often a function is traced by its code, and warns of the fifth: each program has its own.
    spelled.__code__ = spelled.__code__.replace(co_name="_".join((entry.name, *wrt, dtype, *numbers)))
    # One graph for all shapes: an eager call would take as long as its hundred operations take one by one.
    compute = tf.function(spelled, autograph=False, input_signature=[tf.TensorSpec(None, dtype)] * len(names))

    @tf.custom_gradient
    def function(*operands: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Sequence[tf.Tensor]]]:
        y = compute(*map(tf.stop_gradient, operands))  # not recorded: the gradient is another program
        y.set_shape(reduce(tf.broadcast_static_shape, (operand.shape for operand in operands)))

        def gradient(dy: tf.Tensor) -> Sequence[tf.Tensor]:
            return [
                summed_like(dy * program(entry, (*wrt, name), dtype, fixed)(*operands), operand)
                if name in depends
                else tf.zeros_like(operand)
                for name, operand in zip(names, operands, strict=True)
            ]

        return y, gradient

    return function  # type: ignore[no-any-return]
