"""Evidence: one pass over the data, from which all rules judge."""

from __future__ import annotations

import sys
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.diagnosis.data import Batch, DiagnosisError, batches
from nonlin.diagnosis.sites import Origin, Probe, Site, Weighted, is_keras, parameters_of
from nonlin.diagnosis.unchanged import unchanged


@dataclass
class Stream:
    """Sums over what flows in or out, by feature."""

    samples: int = 0
    total: Any = 0.0
    square: Any = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    bad: int = 0
    one_sums: bool = True
    shape: tuple[int, ...] = ()

    @torch.no_grad()
    def update(self, tensor: Tensor) -> None:
        """Add a batch, the samples first."""
        flat = tensor.detach().reshape(len(tensor), -1).double()
        finite = torch.isfinite(flat)
        self.bad += int((~finite).sum())
        flat = torch.where(finite, flat, 0.0)
        self.samples += len(flat)
        if tensor.dim() > 1 and (not self.shape or self.shape == tuple(tensor.shape[1:])):
            self.total, self.square = self.total + flat.sum(0), self.square + flat.square().sum(0)
            self.shape = tuple(tensor.shape[1:])
        else:  # rows of another length than before: only the whole can be added up
            self.total = torch.as_tensor(self.total).sum() + flat.sum()
            self.square = torch.as_tensor(self.square).sum() + flat.square().sum()
        if flat.numel():
            self.least, self.most = min(self.least, float(flat.min())), max(self.most, float(flat.max()))
        last = tensor.detach().double().sum(-1)
        self.one_sums &= bool(tensor.shape[-1] > 1 and (last - 1).abs().max() < 1e-3)

    @property
    def mean(self) -> Tensor:
        """Of each feature."""
        return torch.as_tensor(self.total) / max(self.samples, 1)

    @property
    def deviation(self) -> Tensor:
        """Of each feature."""
        return (torch.as_tensor(self.square) / max(self.samples, 1) - self.mean.square()).clamp(min=0).sqrt()

    @property
    def rms(self) -> float:
        """Of all features."""
        return float((torch.as_tensor(self.square) / max(self.samples, 1)).mean().sqrt())


@dataclass
class Evidence:
    """What was seen of a model.

    Attributes
    ----------
    gradients : dict
        By parameter: the RMS over batches of the norm of the loss's gradient; None where the loss does not depend on it.
    """

    model: nn.Module
    sites: list[Site]
    weighted: list[Weighted]
    called: set[str]
    unseen: dict[str, str]
    inputs: Stream
    numbers: bool
    samples: int
    optimizer: Any = None
    trained: bool = False
    outputs: Stream = field(default_factory=Stream)
    output_origin: Origin | None = None
    dropouts: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float | None] = field(default_factory=dict)
    batch_norms: dict[str, tuple[float, float]] = field(default_factory=dict)
    loss: Any = None
    target: Tensor | None = None
    output: Tensor | None = None

    @classmethod
    def of(cls, probe: Probe, **more: Any) -> Evidence:
        """Return what a probe has seen, and what others have."""
        return cls(
            sites=[probe.sites[key] for key in probe.order],
            weighted=probe.weighted,
            called=probe.called,
            unseen=probe.unseen,
            dropouts=probe.dropouts,
            **more,
        )


def output_of(result: Any) -> Tensor | None:
    """Return the tensor that a model's result is about."""
    if isinstance(result, Tensor):
        return result
    for name in ("logits", "last_hidden_state"):
        if isinstance(getattr(result, name, None), Tensor):
            return getattr(result, name)  # type: ignore[no-any-return]
    values = list(result.values()) if isinstance(result, dict) else list(result) if isinstance(result, (tuple, list)) else []
    return next((value for value in values if isinstance(value, Tensor)), None)


def bare(model: Any) -> nn.Module:
    """Return the model itself: what torch.compile or data parallelism wrapped."""
    if not isinstance(model, nn.Module):
        raise DiagnosisError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    while True:
        inner: Any
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            found: nn.Module = model
            return found


def gather(
    model: nn.Module, data: Any, target: Any, loss: Any, optimizer: Any, mask: Any, most: int, group: Any = None
) -> Evidence:
    """Run a model over data and return what was seen; the model is left as it was."""
    model = bare(model)
    if any(nn.parameter.is_lazy(p) for p in model.parameters()):
        raise DiagnosisError("the model has lazy layers, whose shapes are not known yet: call it once before")
    if any(p.is_meta for p in model.parameters()):
        raise DiagnosisError("the model is on the meta device, where tensors have no values: move it with to_empty and load it")
    probe = Probe(model)
    inputs, outputs = Stream(), Stream()
    squares: dict[str, float | None] = {name: None for name, p in parameters_of(model) if p.requires_grad}
    generators = tuple(g for g in (getattr(data, "generator", None),) if isinstance(g, torch.Generator))
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    origin: Origin | None = None
    goal: Tensor | None = None
    output: Tensor | None = None
    numbers = True
    count = 0
    seen: dict[str, tuple[float, float]] = {}
    with ExitStack() as stack:
        stack.enter_context(unchanged(model, generators))
        if "torch._dynamo" in sys.modules:  # else nothing can have been compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        model.eval()
        for norm in norms:  # fresh statistics are no statistics: what training will see is the batch's own
            if norm.running_mean is not None and _is_fresh(norm):
                norm.training = True
        watched = _watch_batch_norms(norms, probe.names, seen)
        for handle in watched:
            stack.callback(handle.remove)
        for batch in batches(data, target, model, mask, most):
            n = len(batch)
            first = batch.first
            numbers = numbers and first.is_floating_point()
            if first.is_floating_point():
                inputs.update(first)
            probe.scale = float(n)
            with probe.watching(n, batch.mask):
                result = _run(model, batch)
                out = output_of(result)
                origin = origin if out is None or origin is not None else probe.origin_of(out)
            if out is None:
                raise DiagnosisError(f"the model returned a {type(result).__name__} without a tensor")
            if out.dim() and out.is_floating_point():
                outputs.update(out)
            goal, output = batch.target, out.detach()
            value = _loss(loss, out, batch.target)
            _backward(value, model, squares)
            count += n
    for name, square in squares.items():
        squares[name] = None if square is None else float(square) ** 0.5
    if output is not None and origin is not None and probe.order:
        _mark_final(probe, origin)
    if group is not None:
        for key in probe.order:
            probe.sites[key].health.pool(group)
    return Evidence.of(
        probe,
        model=model,
        inputs=inputs,
        outputs=outputs,
        numbers=numbers,
        output_origin=origin,
        gradients=squares,
        batch_norms=seen,
        loss=loss,
        target=goal,
        output=output,
        optimizer=optimizer,
        samples=count,
        trained=_is_trained(model, optimizer, probe.weighted),
    )


def _is_fresh(norm: Any) -> bool:
    count = norm.num_batches_tracked
    return count is not None and int(count) == 0 and not norm.running_mean.any() and bool((norm.running_var == 1).all())


def _watch_batch_norms(norms: Any, names: Any, seen: dict[str, tuple[float, float]]) -> list[Any]:
    """Compare running statistics with those of the first batch: the largest shift in deviations, and ratio of variances."""

    def look(module: Any, arguments: Any) -> None:
        name, x = names[module], arguments[0]
        if name in seen or module.running_mean is None or module.training or x.shape[0] < 8:
            return
        with torch._C.DisableTorchFunction(), torch.no_grad():
            axes = [i for i in range(x.dim()) if i != 1]
            mean, variance = x.mean(axes), x.var(axes, correction=0)
            shift = (mean - module.running_mean).abs() / (module.running_var + module.eps).sqrt()
            ratio = ((variance + module.eps) / (module.running_var + module.eps)).log().abs()
            seen[name] = (float(shift.median()), float(ratio.median().exp()))

    return [norm.register_forward_pre_hook(look) for norm in norms]


def _run(model: nn.Module, batch: Batch) -> Any:
    try:
        return model(*batch.arguments, **batch.keywords)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError, NotImplementedError) as error:
        shape = tuple(batch.first.shape)
        first = str(error).strip().partition("\n")[0]
        raise DiagnosisError(
            f"the model cannot run on data of shape {shape} and dtype {batch.first.dtype}: {type(error).__name__}: {first}"
        ) from error


def _loss(loss: Any, out: Tensor, target: Tensor | None) -> Tensor:
    """Return what to differentiate: the loss, or a stand-in that every output has a part in."""
    if loss is not None:
        if target is None:
            raise DiagnosisError("the loss needs a target: give target=, or batches of (inputs, target)")
        if isinstance(loss, (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)):
            target = target.to(out.dtype)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # shapes that broadcast are a finding, not a warning
                value = loss(target, out) if is_keras(loss) else loss(out, target)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            first = str(error).strip().partition("\n")[0]
            raise DiagnosisError(
                f"the loss cannot take an output of shape {tuple(out.shape)} and a target of shape {tuple(target.shape)} "
                f"and dtype {target.dtype}: {first}"
            ) from error
        if not isinstance(value, Tensor):
            raise DiagnosisError(f"the loss returned a {type(value).__name__}, not a tensor")
        return value.mean()
    if target is not None and not target.is_floating_point() and out.dim() == 2 and target.dim() == 1 and out.shape[1] > 1:
        if int(target.max()) < out.shape[1] and int(target.min()) >= 0:
            return F.cross_entropy(out.float(), target.long())
    elif target is not None and target.numel() == out.numel():
        return F.mse_loss(out.float(), target.reshape(out.shape).float())
    signs = torch.cos(torch.arange(out[0].numel() if out.dim() else 1, device=out.device) * 1.7).reshape(out.shape[1:])
    return (out.float() * signs).sum() / max(len(out) if out.dim() else 1, 1)


def _backward(value: Tensor, model: nn.Module, squares: dict[str, float | None]) -> None:
    """Differentiate without writing into the parameters' ``grad``, where hooks of others may wait for it."""
    named = [(name, p) for name, p in parameters_of(model) if p.requires_grad]
    if not value.requires_grad or not named:
        return
    try:
        found = torch.autograd.grad(value, [p for _, p in named], allow_unused=True)
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise DiagnosisError(f"the loss cannot be differentiated: {first}") from error
    norms = {name: torch.linalg.vector_norm(g).double() for (name, _), g in zip(named, found, strict=True) if g is not None}
    for name, norm in zip(norms, torch.stack(list(norms.values())).tolist() if norms else [], strict=True):
        squares[name] = (squares[name] or 0.0) + norm**2


def _mark_final(probe: Probe, origin: Origin) -> None:
    """Mark the activation that makes the output: what it does is the loss's affair."""
    last = probe.sites[probe.order[-1]]
    if origin.last == last.entry.name:
        last.final = True


def _is_trained(model: nn.Module, optimizer: Any, weighted: list[Weighted]) -> bool:
    """Whether the model has been trained, as far as can be told."""
    if optimizer is not None and getattr(optimizer, "state", None):
        return True
    for module in model.modules():
        count = getattr(module, "num_batches_tracked", None)
        if isinstance(count, Tensor) and int(count) > 0:
            return True
    for layer in weighted:
        bias, weight = layer.bias, layer.weight
        if isinstance(bias, Tensor) and isinstance(weight, Tensor) and weight.dim() > 1:
            most = float(bias.detach().abs().max())
            if most > 0 and most > 1.01 * weight[0].numel() ** -0.5:  # initial biases are 0, or within this
                return True
    return False
