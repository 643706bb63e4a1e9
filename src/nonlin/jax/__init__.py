"""Activations of JAX arrays: ``nonlin.gelu(x)`` and its derivatives under jit, vmap, grad, jvp and scan.

Nothing here has to be imported for that: an array of JAX is enough. A parameter that learns is an argument like any other,
``nonlin.prelu(x, negative_slope=weights)``.
"""
