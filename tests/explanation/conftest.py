"""A small site, and one of the browsers that it is tried in."""

from pathlib import Path

import pytest

import nonlin as nl
from nonlin.definition.decorator import define
from nonlin.explanation import site
from pages import tuesday

SHOWN = "relu leaky_relu elu softplus gelu silu mish sigmoid tanh step snake swiglu softmax".split()


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a few activations, of every kind, and one that is a user's own."""
    pytest.importorskip("jinja2", reason="the explore extra is not installed")
    pytest.importorskip("latex2mathml", reason="the explore extra is not installed")
    out = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "activations", {name: nl.get(name) for name in SHOWN})
        site.write_site(out, define(tuesday))
    return out
