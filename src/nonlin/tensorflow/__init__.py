"""Activations of TensorFlow's tensors: ``nonlin.gelu(x)`` and its derivatives, eager, in ``tf.function`` and compiled by XLA.

Nothing here has to be imported for that: a ``tf.Tensor`` or a ``tf.Variable`` is enough.
"""
