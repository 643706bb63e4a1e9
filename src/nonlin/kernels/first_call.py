"""The way from machine code to Python and back: a first call has the code compiled that later calls find.

Whatever goes wrong while it is compiled (an error, Ctrl-C, no memory), the caller gets the exception and its results are NaN,
never what happened to lie in unwritten memory. NumPy looks for no exception after a loop over numbers, and ctypes would print
and forget it. So the thread is told to raise it as soon as it is back in Python, which is where the call returns.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import new_class
from typing import Any

from nonlin.kernels.kernel import LOOP, OUTSIDE, RESULTS
from nonlin.kernels.storage import BITS, Storage

#: In the cell RESULTS: the number of operands, and behind it a byte for each result, its size or this for one bit an element.
_BITS = 255


def describe_results(operands: int, results: tuple[Storage, ...]) -> int:
    """Return what the cell RESULTS holds, by which a failed first call finds the results."""
    sizes = [_BITS if storage is BITS else storage.size for storage in results]
    return sum(number << 8 * k for k, number in enumerate([operands, *sizes]))


def carrier_of(error: BaseException) -> type[BaseException]:
    """Return a class that a thread can be told to raise (it takes no other thing) and that turns into the error itself."""
    kind = type(error)
    return new_class(kind.__name__, (kind,), exec_body=lambda names: names.update(__new__=lambda *_: error))


class FirstCall:
    """Compiles at a first call; the machine code that leads to it.

    Parameters
    ----------
    compile_ : callable
        Takes the address of some cells and puts the address of code in one of them, or raises.
    """

    def __init__(self, compile_: Callable[[int], object]) -> None:
        def answer(data: int) -> type[BaseException] | None:
            try:
                compile_(data)
            except BaseException as error:  # noqa: BLE001 - the caller of the machine code gets it, whatever it is
                return carrier_of(error)
            return None

        self._answer = answer

    def loop(self) -> str:
        """Write ``loop``, for the cell LOOP of a slot of a ufunc."""
        return self._text(
            "define void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data)",
            "void %code(ptr %args, ptr %dims, ptr %steps, ptr %data)",
            LOOP,
            _SPOIL_STRIDED,
        )

    def outside(self) -> str:
        """Write ``outside``, for the cell OUTSIDE of a kernel."""
        return self._text(
            "define void @outside(ptr %places, ptr %data, i64 %count)",
            "void %code(ptr %places, ptr %data, i64 %count)",
            OUTSIDE,
            _SPOIL_WHOLE,
        )

    def _text(self, head: str, call: str, cell: int, spoil: str) -> str:
        values = {
            "head": head, "call": call, "cell": cell, "spoil": spoil.format(bits=_BITS), "results": RESULTS,
            "answer": id(self._answer), "none": id(None),
        }  # fmt: skip
        return _FIRST_CALL.format_map({**values, **_PYTHON})


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


_PYTHON = {
    name: _address(getattr(ctypes.pythonapi, name))
    for name in (
        "PyGILState_Ensure", "PyGILState_Release", "PyLong_FromVoidPtr", "PyObject_CallFunctionObjArgs", "PyErr_Fetch",
        "Py_DecRef", "PyThread_get_thread_ident", "PyThreadState_SetAsyncExc",
    )
}  # fmt: skip

_FIRST_CALL = """
{head} {{
  %error = call ptr @ask(ptr %data)
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %ready, label %failed
ready:
  %place = getelementptr ptr, ptr %data, i64 {cell}
  %code = load ptr, ptr %place
  tail call {call}
  ret void
failed:
  %kept = getelementptr i64, ptr %data, i64 {results}
  %described = load i64, ptr %kept
  %operands = and i64 %described, 255
  br label %next
next:
  %k = phi i64 [%operands, %failed], [%k1, %spoiled]
  %sizes.before = phi i64 [%described, %failed], [%sizes, %spoiled]
  %sizes = lshr i64 %sizes.before, 8
  %size = and i64 %sizes, 255
  %k1 = add i64 %k, 1
  %last = icmp eq i64 %size, 0
  br i1 %last, label %told, label %spoil
{spoil}
told:
  call void @tell(ptr %error)
  ret void
}}

; Have the code compiled. Returns null if it is, else a new reference to what is to be raised.
define internal ptr @ask(ptr %data) {{
  %type = alloca ptr
  %value = alloca ptr
  %trace = alloca ptr
  %state = call i32 inttoptr (i64 {PyGILState_Ensure} to ptr)()
  %number = call ptr inttoptr (i64 {PyLong_FromVoidPtr} to ptr)(ptr %data)
  %callable = inttoptr i64 {answer} to ptr
  %answer = call ptr (ptr, ...) inttoptr (i64 {PyObject_CallFunctionObjArgs} to ptr)(ptr %callable, ptr %number, ptr null)
  call void inttoptr (i64 {Py_DecRef} to ptr)(ptr %number)
  %raised = icmp eq ptr %answer, null
  br i1 %raised, label %fetch, label %look
fetch: ; an interrupt between two lines of ours: its class is enough
  call void inttoptr (i64 {PyErr_Fetch} to ptr)(ptr %type, ptr %value, ptr %trace)
  %v = load ptr, ptr %value
  call void inttoptr (i64 {Py_DecRef} to ptr)(ptr %v)
  %t = load ptr, ptr %trace
  call void inttoptr (i64 {Py_DecRef} to ptr)(ptr %t)
  %class = load ptr, ptr %type
  br label %done
look:
  %fine = icmp eq ptr %answer, inttoptr (i64 {none} to ptr)
  br i1 %fine, label %drop, label %done
drop:
  call void inttoptr (i64 {Py_DecRef} to ptr)(ptr %answer)
  br label %done
done:
  %error = phi ptr [%class, %fetch], [%answer, %look], [null, %drop]
  call void inttoptr (i64 {PyGILState_Release} to ptr)(i32 %state)
  ret ptr %error
}}

; Have this thread raise it.
define internal void @tell(ptr %error) {{
  %state = call i32 inttoptr (i64 {PyGILState_Ensure} to ptr)()
  %thread = call i64 inttoptr (i64 {PyThread_get_thread_ident} to ptr)()
  %set = call i32 inttoptr (i64 {PyThreadState_SetAsyncExc} to ptr)(i64 %thread, ptr %error)
  call void inttoptr (i64 {Py_DecRef} to ptr)(ptr %error)
  call void inttoptr (i64 {PyGILState_Release} to ptr)(i32 %state)
  ret void
}}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

# All bits set are NaN in every floating format. A result in place of an operand is left as it is.
_SPOIL_STRIDED = """
spoil:
  %arg = getelementptr ptr, ptr %args, i64 %k
  %start = load ptr, ptr %arg
  %pace = getelementptr i64, ptr %steps, i64 %k
  %step = load i64, ptr %pace
  %count = load i64, ptr %dims
  br label %compare
compare:
  %j = phi i64 [0, %spoil], [%j1, %other]
  %compared = icmp eq i64 %j, %operands
  br i1 %compared, label %item, label %other
other:
  %arg.other = getelementptr ptr, ptr %args, i64 %j
  %start.other = load ptr, ptr %arg.other
  %in.place = icmp eq ptr %start.other, %start
  %j1 = add i64 %j, 1
  br i1 %in.place, label %spoiled, label %compare
item:
  %i = phi i64 [0, %compare], [%i1, %fill]
  %all = icmp sge i64 %i, %count
  br i1 %all, label %spoiled, label %fill
fill:
  %offset = mul i64 %i, %step
  %at = getelementptr i8, ptr %start, i64 %offset
  call void @llvm.memset.p0.i64(ptr %at, i8 -1, i64 %size, i1 false)
  %i1 = add i64 %i, 1
  br label %item
spoiled:
  br label %next
"""
_SPOIL_WHOLE = """
spoil:
  %place.result = getelementptr ptr, ptr %places, i64 %k
  %start = load ptr, ptr %place.result
  %is.bits = icmp eq i64 %size, {bits}
  %bytes.whole = mul i64 %size, %count
  %bytes.bits = lshr i64 %count, 3
  %bytes = select i1 %is.bits, i64 %bytes.bits, i64 %bytes.whole
  call void @llvm.memset.p0.i64(ptr %start, i8 -1, i64 %bytes, i1 false)
  br label %spoiled
spoiled:
  br label %next
"""
