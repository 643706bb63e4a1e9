"""From the text of a module to the address of a function, through llvmlite."""

from __future__ import annotations

import os
import weakref
from typing import Any

from nonlin.kernels.driver import Driver, DriverModule
from nonlin.kernels.kernel import Kernel, KernelModule
from nonlin.kernels.llvm import Target


class Compiler:
    """Compiles kernels for one processor.

    Parameters
    ----------
    target : Target, optional
        The processor; by default the one this runs on, or the one that the environment variable NONLIN_CPU names in LLVM's
        terms, for example ``x86-64-v3``.
    """

    def __init__(self, target: Target | None = None) -> None:
        from llvmlite import binding

        self._binding = binding
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        cpu = os.environ.get("NONLIN_CPU")
        if target is None and cpu:
            target = Target(binding.get_process_triple(), cpu)
        elif target is None:
            features = binding.get_host_cpu_features()
            # 512-bit registers where they are: LLVM avoids them by default for code that uses them only now and then.
            features["prefer-256-bit"] = False
            target = Target(binding.get_process_triple(), binding.get_host_cpu_name(), features.flatten())
        else:  # for another kind of processor
            binding.initialize_all_targets()
            binding.initialize_all_asmprinters()
        self.target = target
        self._engines: dict[int, Any] = {}
        self._loops: dict[Driver, int] = {}

    def _machine(self, *, jit: bool) -> Any:
        found = self._binding.Target.from_triple(self.target.triple)
        return found.create_target_machine(cpu=self.target.cpu, features=self.target.features, opt=2, jit=jit)

    def _parsed(self, source: str) -> Any:
        """Return a module in a context of its own, which goes with it: LLVM keeps the global one for good."""
        contexts = self._binding.context
        if hasattr(contexts, "opaque_pointers_enabled"):  # llvmlite 0.44, where pointers have types unless it is asked
            context = contexts.ContextRef(self._binding.ffi.lib.LLVMPY_ContextCreate(True))
        else:
            context = self._binding.create_context()
        return self._binding.parse_assembly(source, context)

    def assembly(self, kernel: Kernel) -> str:
        """Return the machine code of a kernel as text."""
        return self.assembly_of(KernelModule(kernel, self.target).run())

    def assembly_of(self, source: str) -> str:
        """Return the machine code of a module as text."""
        module = self._parsed(source)
        module.verify()
        return str(self._machine(jit=False).emit_assembly(module))

    def compile_run(self, kernel: Kernel, owner: object, *, streamed: bool = False) -> int:
        """Compile a kernel for whole vectors and return the address of its ``run``.

        A streamed one writes around the cache, to results that begin at a multiple of 64 bytes.
        """
        return self.compile_text(KernelModule(kernel, self.target).run(streamed=streamed), "run", owner)

    def compile_outside(self, kernel: Kernel, owner: object) -> int:
        """Compile a kernel for what another one's guard excludes and return the address of its ``outside``."""
        return self.compile_text(KernelModule(kernel, self.target).outside(), "outside", owner)

    def loop(self, driver: Driver) -> int:
        """Return the address of the loop that drives such kernels."""
        if driver not in self._loops:
            self._loops[driver] = self.compile_text(DriverModule(driver, self.target).loop(), "loop", self)
        return self._loops[driver]

    def compile_text(self, source: str, name: str, owner: object) -> int:
        """Compile a module and return the address of a function, which is valid as long as its owner lives."""
        module = self._parsed(source)
        engine = self._binding.create_mcjit_compiler(module, self._machine(jit=True))
        engine.finalize_object()
        address = int(engine.get_function_address(name))
        self._engines[address] = engine
        weakref.finalize(owner, self._engines.pop, address).atexit = False
        return address
