"""The loop that NumPy calls: whatever the strides, it hands whole vectors to a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from nonlin.kernels.kernel import FIXED, OTHER, RUN
from nonlin.kernels.llvm import Code, Module, Target
from nonlin.kernels.storage import LINE, STREAMED, Storage

#: Elements of a block that is gathered before it is computed, or moved on past the cache after.
_BLOCK = 256


@dataclass(frozen=True)
class Driver:
    """What a loop has to know of its kernel, whatever it computes: many kernels share one."""

    inputs: tuple[Storage, ...]
    outputs: tuple[Storage, ...]
    width: int
    fixed: tuple[bool, ...]
    """Of which operands the kernel takes the value for granted."""
    may_overflow: bool
    may_be_invalid: bool


class DriverModule(Module):
    """Writes the loop that NumPy calls: ``void loop(char **args, intp *dims, intp *steps, void *data)``.

    Contiguous and unmoving operands go to the kernel's ``run`` as they are. Strided ones, and what is left at the end, are
    gathered in buffers first and the results scattered.
    """

    def __init__(self, driver: Driver, target: Target) -> None:
        super().__init__(target, driver.inputs, driver.outputs)
        self.driver = driver

    def _call_run(self, places: list[str], count: str, steps: list[str]) -> None:
        pointers = [*places, "%status", "%data"]
        arguments = [*(f"ptr {pointer}" for pointer in pointers), *(f"i64 {number}" for number in [count, *steps])]
        self.code.do(f"call void %run({', '.join(arguments)})")

    def _leave_unless_fixed(self, count: str, steps: list[str]) -> None:
        """Write the call of another loop for operands that have not the values taken for granted."""
        code = self.code
        known, single = "true", code.emit(f"icmp eq i64 {count}, 1")
        for k, storage in enumerate(self.operands):
            if self.driver.fixed[k]:
                kind = f"i{8 * storage.size}"
                item = code.emit(f"load {kind}, ptr {self.inputs[k]}, align 1")
                same = code.emit(f"icmp eq {kind} {item}, {self.cell(FIXED + k, kind)}")
                still = code.emit(f"or i1 {single}, {code.emit(f'icmp eq i64 {steps[k]}, 0')}")
                known = code.emit(f"and i1 {known}, {code.emit(f'and i1 {same}, {still}')}")
        code.do(f"br i1 {known}, label %fixed, label %other")
        code.label("other")
        data = self.cell(OTHER)
        code.do(f"call void {code.emit(f'load ptr, ptr {data}')}(ptr %args, ptr %dims, ptr %steps, ptr {data})")
        code.do("ret void")

    def _pays_to_stream(self, whole: str) -> str:
        """Write the condition under which results go around the cache."""
        code, size = self.code, self.results[0].size
        pays = code.emit(f"icmp sge i64 {whole}, {STREAMED // size}")
        address = code.emit(f"ptrtoint ptr {self.outputs[0]} to i64")
        aligned = code.emit(f"icmp eq i64 {code.emit(f'and i64 {address}, {size - 1}')}, 0")
        pays = code.emit(f"and i1 {pays}, {aligned}")
        for name in self.inputs:
            # In place the lines are in the cache already, and what is computed twice below would be wrong.
            pays = code.emit(f"and i1 {pays}, {code.emit(f'icmp ne ptr {name}, {self.outputs[0]}')}")
        return pays

    def _stream(self, places: list[str], whole: str, steps: list[str], buffer: str) -> str:
        """Write blocks computed in a buffer and moved on with stores that do not read the lines they replace.

        Returns how many elements are done when control leaves for ``rest`` from ``streamed``.
        """
        code, size = self.code, self.results[0].size
        code.label("stream")
        self._call_run(places, str(max(self.driver.width, LINE // size)), steps)  # up to the first element that is aligned
        address = code.emit(f"ptrtoint ptr {self.outputs[0]} to i64")
        skipped = code.emit(f"and i64 {code.emit(f'sub i64 0, {address}')}, {LINE - 1}")
        first = code.emit(f"udiv i64 {skipped}, {size}")
        final = code.emit(f"sub i64 {whole}, {_BLOCK}")
        code.do("br label %ahead")
        code.label("ahead")
        code.do(f"%at = phi i64 [{first}, %stream], [%onward, %moved]")
        here = [self.place(place, "%at", step) for place, step in zip(places, [*steps, str(size)], strict=True)]
        self._call_run([*here[:-1], buffer], str(_BLOCK), steps)
        code.do("br label %move")
        code.label("move")
        code.do("%m = phi i64 [0, %ahead], [%m1, %move]")
        line = f"<{LINE // 4} x i32>"
        item = code.emit(f"load {line}, ptr {self.place(buffer, '%m', 1)}, align {LINE}")
        code.do(f"store {line} {item}, ptr {self.place(here[-1], '%m', 1)}, align {LINE}, !nontemporal !0")
        code.do(f"%m1 = add i64 %m, {LINE}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %m1, {_BLOCK * size}')}, label %move, label %moved")
        code.label("moved")
        code.do(f"%onward = add i64 %at, {_BLOCK}")
        code.do(f"br i1 {code.emit(f'icmp sle i64 %onward, {final}')}, label %ahead, label %streamed")
        code.label("streamed")
        code.do("fence seq_cst")  # such stores are ordered by nothing else
        code.do("br label %rest")
        return "%onward"

    def loop(self) -> str:
        """Write ``loop``."""
        code, width = self.code, self.driver.width
        buffers = [code.emit(f"alloca [{_BLOCK} x {storage.llvm}], align 64") for storage in self.storages]
        flags = save_flags(code, self.target)
        code.do("%status = alloca i32, align 4")
        code.do("store i32 0, ptr %status")
        count = code.emit("load i64, ptr %dims")
        code.do(f"%run = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %data, i64 {RUN}')}")
        steps, fits = [], []
        for k, (name, storage) in enumerate(zip(self.pointers, self.storages, strict=True)):
            code.do(f"{name} = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %args, i64 {k}')}")
            steps.append(code.emit(f"load i64, ptr {code.emit(f'getelementptr i64, ptr %steps, i64 {k}')}"))
            fits.append(code.emit(f"icmp eq i64 {steps[k]}, {storage.size}"))
        last = code.emit(f"sub i64 {count}, 1")
        code.do(f"br i1 {code.emit(f'icmp sgt i64 {count}, 0')}, label %spread, label %end")
        code.label("spread")
        if any(self.driver.fixed):
            self._leave_unless_fixed(count, steps)
        else:
            code.do("br label %fixed")
        code.label("fixed")
        # An operand that does not move is spread over a vector once.
        starts, paces = [], []
        for k, storage in enumerate(self.operands):
            constant = code.emit(f"icmp eq i64 {steps[k]}, 0")
            item = code.emit(f"load {storage.llvm}, ptr {self.inputs[k]}, align 1")
            vector = f"<{width} x {storage.llvm}>"
            spread = code.emit(f"insertelement {vector} poison, {storage.llvm} {item}, i32 0")
            spread = code.emit(f"shufflevector {vector} {spread}, {vector} poison, <{width} x i32> zeroinitializer")
            code.do(f"store {vector} {spread}, ptr {buffers[k]}, align {storage.size}")
            starts.append(code.emit(f"select i1 {constant}, ptr {buffers[k]}, ptr {self.inputs[k]}"))
            paces.append(code.emit(f"select i1 {constant}, i64 0, i64 {storage.size}"))
            fits[k] = code.emit(f"or i1 {fits[k]}, {constant}")
        direct = fits[0]
        for fit in fits[1:]:
            direct = code.emit(f"and i1 {direct}, {fit}")
        whole = code.emit(f"select i1 {direct}, i64 {code.emit(f'and i64 {count}, {-width}')}, i64 0")
        code.do(f"br i1 {code.emit(f'icmp sgt i64 {whole}, 0')}, label %direct, label %rest")
        code.label("direct")
        streams = len(self.results) == 1
        if streams:
            code.do(f"br i1 {self._pays_to_stream(whole)}, label %stream, label %plain")
            streamed = self._stream([*starts, *self.outputs], whole, paces, buffers[-1])
            code.label("plain")
        self._call_run([*starts, *self.outputs], whole, paces)
        code.do("br label %rest")
        code.label("rest")
        came = f", [{streamed}, %streamed]" if streams else ""
        done = code.emit(f"phi i64 [0, %fixed], [{whole}, %{'plain' if streams else 'direct'}]{came}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 {done}, {count}')}, label %block, label %end")
        self._blocks(buffers, steps, count, last, done)
        code.label("end")
        # Lanes that are computed and discarded, and comparisons with NaN, set status bits that NumPy would report.
        self.declarations |= restore_flags(code, self.target, flags)
        if self.driver.may_overflow:
            _raise_status(code, "%status", 1, "fmul", "0x7E37E43C8800759C", "0x7E37E43C8800759C")  # 1e300 * 1e300
        if self.driver.may_be_invalid:
            _raise_status(code, "%status", 2, "fsub", "0x7FF0000000000000", "0x7FF0000000000000")  # inf - inf
        return self.text("void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data)")

    def _blocks(self, buffers: list[str], steps: list[str], count: str, last: str, done: str) -> None:
        """Write the way of all other elements: gathered, the last block filled up, computed, scattered."""
        code, width, inputs = self.code, self.driver.width, len(self.operands)
        code.label("block")
        code.do(f"%start = phi i64 [{done}, %rest], [%after, %scattered]")
        left = code.emit(f"sub i64 {count}, %start")
        small = code.emit(f"icmp slt i64 {left}, {_BLOCK}")
        size = code.emit(f"select i1 {small}, i64 {left}, i64 {_BLOCK}")
        full = code.emit(f"and i64 {code.emit(f'add i64 {size}, {width - 1}')}, {-width}")
        code.do("br label %gather")
        code.label("gather")
        code.do("%j = phi i64 [0, %block], [%j1, %gather]")
        position = code.emit("add i64 %start, %j")
        inside = code.emit(f"icmp slt i64 {position}, {last}")
        position = code.emit(f"select i1 {inside}, i64 {position}, i64 {last}")
        for k, storage in enumerate(self.operands):
            item = code.emit(f"load {storage.llvm}, ptr {self.place(self.inputs[k], position, steps[k])}, align 1")
            code.do(f"store {storage.llvm} {item}, ptr {self.place(buffers[k], '%j', storage.size)}")
        code.do("%j1 = add i64 %j, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %j1, {full}')}, label %gather, label %gathered")
        code.label("gathered")
        self._call_run(buffers, full, [str(storage.size) for storage in self.operands])
        code.do("br label %scatter")
        code.label("scatter")
        code.do("%k = phi i64 [0, %gathered], [%k1, %scatter]")
        position = code.emit("add i64 %start, %k")
        for k, (name, storage) in enumerate(zip(self.outputs, self.results, strict=True), inputs):
            item = code.emit(f"load {storage.llvm}, ptr {self.place(buffers[k], '%k', storage.size)}")
            code.do(f"store {storage.llvm} {item}, ptr {self.place(name, position, steps[k])}, align 1")
        code.do("%k1 = add i64 %k, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %k1, {size}')}, label %scatter, label %scattered")
        code.label("scattered")
        code.do(f"%after = add i64 %start, {size}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %after, {count}')}, label %block, label %end")


def save_flags(code: Code, target: Target) -> str:
    """Write the saving of the floating-point status; return where it is."""
    if target.is_x86:
        flags = code.emit("alloca i32, align 4")
        code.do(f"call void @llvm.x86.sse.stmxcsr(ptr {flags})")
        return flags
    return code.emit("call i64 @llvm.aarch64.get.fpsr()") if target.is_arm64 else ""


def restore_flags(code: Code, target: Target, flags: str) -> set[str]:
    """Write the restoring of what was saved; return the declarations it needs."""
    if target.is_x86:
        code.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {flags})")
        return {"declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)"}
    if target.is_arm64:
        code.do(f"call void @llvm.aarch64.set.fpsr(i64 {flags})")
        return {"declare i64 @llvm.aarch64.get.fpsr()\ndeclare void @llvm.aarch64.set.fpsr(i64)"}
    return set()


def _raise_status(code: Code, status: str, bit: int, operation: str, a: str, b: str) -> None:
    """Do an operation that sets a status bit, if it was noted."""
    before = code.emit(f"load i32, ptr {status}")
    noted = code.emit(f"icmp ne i32 {code.emit(f'and i32 {before}, {bit}')}, 0")
    code.do(f"br i1 {noted}, label %raise{bit}, label %quiet{bit}")
    code.label(f"raise{bit}")
    slot = code.emit("alloca double")
    code.do(f"store volatile double {a}, ptr {slot}")
    value = code.emit(f"load volatile double, ptr {slot}")
    result = code.emit(f"{operation} double {value}, {b}")
    code.do(f"store volatile double {result}, ptr {slot}")
    code.do(f"br label %quiet{bit}")
    code.label(f"quiet{bit}")
