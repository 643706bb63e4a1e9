"""Looking at a network while it is trained: a few steps out of many, with the model's own calls and gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.diagnosis.diagnosing import report_of
from nonlin.diagnosis.evidence import Evidence, Stream, bare
from nonlin.diagnosis.report import Report
from nonlin.diagnosis.sites import Probe


class Monitor:
    """Watch a PyTorch model while it is trained, by any loop or trainer: every so many steps, and only while it is entered.

    What is looked at are the calls that training makes anyway, and the gradients of its own loss: nothing is run twice, no
    random number is drawn, nothing is stored of a batch. Counts go by windows of so many looks, so that "dead" means not
    active in any sample of a window. The run is never stopped, unless ``callback`` raises.

    Parameters
    ----------
    model : Module
        What is called in each step.
    every : int
        How many calls in training mode there are from one look to the next.
    window : int
        How many looks are judged together.
    optimizer : Optimizer, optional
        Its learning rate is looked at, too.
    callback : callable, optional
        Called with the report of each window: to log it, or to raise.

    Attributes
    ----------
    step : int
        How many calls in training mode there were.
    history : list of dict
        Of each window: ``step``, and the floats of :meth:`Report.as_floats`.
    report : Report or None
        Of the last window.

    Examples
    --------
    >>> import torch, nonlin.diagnosis
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> with nonlin.diagnosis.Monitor(model, every=10) as monitor:
    ...     for step in range(25):
    ...         model(torch.randn(8, 2)).sum().backward()
    >>> monitor.step, monitor.report.samples
    (25, 24)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 50,
        window: int = 16,
        optimizer: Any = None,
        callback: Callable[[Report], object] | None = None,
    ) -> None:
        for name, value in (("every", every), ("window", window)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Monitor: {name} must be an integer of at least 1, got {value!r}")
        self._called, self._model = model, bare(model)
        self._every, self._window, self._optimizer, self._callback = every, window, optimizer, callback
        self._handles: list[Any] = []
        self._watching: AbstractContextManager[Any] | None = None
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.report: Report | None = None
        self._begin()

    def __enter__(self) -> Monitor:
        if not self._handles:
            self._handles = [
                self._called.register_forward_pre_hook(_Hook(self._before), with_kwargs=True),
                self._called.register_forward_hook(_Hook(self._after), always_call=True),
            ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if error[0] is None and self._looks >= (self._window / 2 if self.history else 1):
            self._judge()

    def _begin(self) -> None:
        self._probe, self._inputs, self._looks, self._samples = Probe(self._model), Stream(), 0, 0

    def _before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        if not module.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return
        self.step += 1
        if (self.step - 1) % self._every:
            return
        if self._looks == self._window:
            self._judge()
        first = next((v for v in (*arguments, *keywords.values()) if isinstance(v, Tensor) and v.dim()), None)
        if first is None:
            return
        if first.is_floating_point():
            self._inputs.update(first)
        mask = keywords.get("attention_mask")
        self._probe.scale = float(len(first))
        self._looks, self._samples = self._looks + 1, self._samples + len(first)
        self._watching = ExitStack()
        if "torch._dynamo" in sys.modules:  # of compiled code there is nothing to be seen
            self._watching.enter_context(torch.compiler.set_stance("force_eager"))
        real = mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
        self._watching.enter_context(self._probe.watching(len(first), real, within=self._model))

    def _after(self, module: nn.Module, arguments: Any, output: Any) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.__exit__(None, None, None)

    def _judge(self) -> None:
        """Make the report of a window, whose gradients are there by now, and begin another one."""
        probe, inputs = self._probe, self._inputs
        evidence = Evidence.of(
            probe,
            model=self._model,
            inputs=inputs,
            numbers=inputs.samples > 0,
            optimizer=self._optimizer,
            samples=self._samples,
            trained=self.step > self._every,
        )
        self._begin()
        self.report = report = report_of(evidence)
        self.history.append({"step": float(self.step), **report.as_floats()})
        if self._callback is not None:
            self._callback(report)


class _Hook:
    """A hook that stays behind when the model is copied or pickled."""

    def __init__(self, hook: Callable[..., None]) -> None:
        self._hook = hook

    def __call__(self, *arguments: Any) -> None:
        self._hook(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, (_nothing,)


def _nothing(*arguments: Any) -> None:
    """Do nothing."""
