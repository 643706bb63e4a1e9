"""PyTorch: layers, gradients, memory for backward, initialization and replacement."""

from nonlin.torch.layers import all_layers as _all_layers

globals().update(_all_layers())
