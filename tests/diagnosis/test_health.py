"""Health statistics: planted faults are found exactly, blocks and stacks change nothing."""

import numpy as np
import pytest
import torch

import nonlin as nl
from nonlin.diagnosis.health import Health, LayerHealth
from nonlin.diagnosis.shape import shape_of


def seen(activation: nl.Elementwise, z: torch.Tensor, **keywords: object) -> LayerHealth:
    health = Health(activation)
    health.update(z, **keywords)  # type: ignore[arg-type]
    return health.result()


def planted(rows: int = 500, units: int = 8) -> torch.Tensor:
    z = torch.randn(rows, units, generator=torch.Generator().manual_seed(0))
    z[:, 0] = -z[:, 0].abs() - 0.1  # never above zero
    z[:, 1] = z[:, 1].abs() + 0.1  # always
    z[3, 2] = torch.nan
    return z


def test_planted_faults_are_found() -> None:
    found = seen(nl.relu, planted())
    assert (found.dead, found.always_on, found.non_finite, found.negative_only) == (1, 1, 1, 0)
    assert (found.samples, found.units) == (500, 8)


def test_a_leaky_unit_is_never_dead() -> None:
    found = seen(nl.leaky_relu, planted())
    assert (found.dead, found.negative_only) == (0, 1)


@pytest.mark.parametrize(("activation", "z"), [(nl.tanh, 2.178), (nl.sigmoid, 4.357)])
def test_saturation_starts_where_the_slope_is_five_percent(activation: nl.Elementwise, z: float) -> None:
    assert seen(activation, torch.full((100, 1), z + 0.001)).saturated == 1
    assert seen(activation, torch.full((100, 1), z - 0.001)).saturated == 0


def test_saturated_means_in_95_percent_of_the_samples() -> None:
    z = torch.full((100, 2), 9.0)
    z[:5, 0] = 0
    z[:6, 1] = 0
    assert seen(nl.tanh, z).saturated == 1


def test_unbounded_activations_do_not_saturate() -> None:
    assert seen(nl.relu, torch.full((50, 3), -9.0)).saturated == 0


@pytest.mark.parametrize("block", [1, 7, 500])
def test_blocks_change_nothing(block: int) -> None:
    z = planted()
    z[3, 2] = 0.5
    gradient = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    health = Health(nl.gelu)
    for rows, slopes in zip(z.split(block), gradient.split(block), strict=True):
        health.update(rows, slopes)
    found, whole = health.result(), seen(nl.gelu, z, gradient=gradient)
    for name in ("dead", "always_on", "samples", "rms_z", "variance_z", "rms_gradient"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name))
    assert found.rms_gradient == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-5)
    assert found.variance_z == pytest.approx(z.var(correction=0).item(), rel=1e-5)


def test_a_stack_is_its_models() -> None:
    z = torch.randn(3, 100, 5, generator=torch.Generator().manual_seed(0)) - torch.tensor([0.0, 3.0, 9.0])[:, None, None]
    stacked = Health(nl.relu, stack=1)
    stacked.update(z)
    for i, one in enumerate(z):
        for name in ("dead", "always_on", "rms_z"):
            assert getattr(stacked.result(), name)[i] == pytest.approx(getattr(seen(nl.relu, one), name))


def test_a_channel_is_a_unit() -> None:
    """It is alive in a sample if it is anywhere in the image; samples count, not pixels."""
    z = torch.full((40, 3, 4, 4), -1.0)
    z[5, 1, 2, 2] = 1.0
    z[:, 2] = 1.0
    z[0, 2, 0, 0] = -1.0
    found = seen(nl.relu, z, axis=1)
    assert (found.units, found.samples, found.dead, found.always_on) == (3, 40, 1, 0)


def test_the_certificate() -> None:
    for n, bound in ((299, 0.01), (2995, 0.001), (29956, 0.0001)):
        assert LayerHealth(n, 1, *[None] * 8).bound <= bound * 1.0001


def test_shapes_of_the_whole_catalogue() -> None:
    assert not shape_of(nl.leaky_relu).can_die
    assert not shape_of(nl.prelu).can_die
    for name in ("relu", "gelu", "elu", "tanh", "sigmoid", "softplus", "relu6", "hard_shrink"):
        assert shape_of(nl.get(name)).can_die, name
    assert [shape_of(nl.get(n)).bounded for n in ("tanh", "sigmoid", "softsign", "relu", "gelu")] == [True] * 3 + [False] * 2


def test_nothing_seen_is_said() -> None:
    with pytest.raises(ValueError, match="no samples were seen"):
        Health(nl.relu).result()


def test_only_slopes_of_zero_are_flat_where_there_is_no_steepest() -> None:
    assert not np.isfinite(shape_of(nl.relu_squared).steepest)
    assert seen(nl.relu_squared, torch.full((10, 1), 1e-3)).always_on == 1
