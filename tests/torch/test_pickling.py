"""Layers whose class no module holds: with other defaults, of a dialect, of one's own."""

import copy
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import nonlin as nl
import nonlin.torch as nt
from test_pickling import X, load_elsewhere

OWN = nl.activation(lambda x, a=2.0: x * nl.sigmoid(a * x), name="own_layer")
LAYERS = {
    "catalogue": lambda: nt.GELU(),
    "other defaults": lambda: nt.layer(nl.leaky_relu.with_(negative_slope=0.2))(),
    "dialect": lambda: nt.layer(nl.dialect("keras").leaky_relu)(),
    "own": lambda: nt.layer(OWN)(),
    "own with other defaults": lambda: nt.layer(OWN.with_(a=3.0))(),
    "learned": lambda: nt.layer(nl.swish.with_(beta=2.0))(learnable=True, channels=1),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_and_their_classes_are_pickled(kind: str) -> None:
    layer, x = LAYERS[kind](), torch.from_numpy(X[:, None])
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert torch.equal(again(x), layer(x))
        assert repr(again) == repr(layer)
    assert pickle.loads(pickle.dumps(type(layer))).__name__ == type(layer).__name__
    stream = io.BytesIO()
    torch.save(torch.nn.Sequential(layer), stream)
    stream.seek(0)
    assert torch.equal(torch.load(stream, weights_only=False)(x), layer(x))


def test_layers_are_loaded_in_another_process(tmp_path: Path) -> None:
    x = torch.from_numpy(X[:, None])
    items = [(make(), (x,), make()(x).detach().numpy()) for kind, make in LAYERS.items() if kind != "learned"]
    load_elsewhere(items, tmp_path)
    assert np.isfinite(items[0][2]).all()
