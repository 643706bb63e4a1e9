"""JAX: the functions under jit, grad and vmap, with parameters that are learned like any other."""

import jax
import jax.numpy as jnp

import nonlin as nl


def network(w, x):
    hidden = nl.swish(x @ w["first"], w["beta"])  # one beta for each channel
    return nl.log_softmax(hidden @ w["second"])


def loss(w, x, y):
    return -network(w, x)[jnp.arange(len(y)), y].mean()


keys = jax.random.split(jax.random.key(0), 3)
x = jax.random.normal(keys[0], (256, 2))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
w = {
    "first": jax.random.normal(keys[1], (2, 32)),
    "beta": jnp.ones(32),
    "second": jax.random.normal(keys[2], (32, 2)) / 32**0.5,
}
step = jax.jit(lambda w: jax.tree.map(lambda one, d: one - 0.5 * d, w, jax.grad(loss)(w, x, y)))
before = loss(w, x, y)
for _ in range(200):
    w = step(w)
print(f"loss {before:.3f}, after two hundred steps {loss(w, x, y):.3f}")
assert loss(w, x, y) < before / 2

# Derivatives of any order, in both modes; at a kink the slope is the convention's, as on every other framework.
print(jax.vmap(jax.hessian(nl.gelu))(jnp.array([-1.0, 0.0, 1.0])))
assert jax.grad(nl.leaky_relu)(0.0) == jnp.float32(0.01)
