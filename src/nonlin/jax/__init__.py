"""Activations of JAX arrays: ``nonlin.gelu(x)`` and its derivatives under jit, vmap, grad, jvp and scan.

Nothing here has to be imported for that: an array of JAX is enough. Learnable ones are modules: :mod:`nonlin.jax.nnx` for Flax,
:mod:`nonlin.jax.equinox` for Equinox.
"""
