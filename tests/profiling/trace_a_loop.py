"""Traces a small loop into the first folder, and something else into the second."""

import sys

import jax
import jax.numpy as jnp

from mnist_flax.profiling import profile

NUM_STEPS = 7


@jax.jit
def train(weights, inputs):
    def step(weights, _):
        with jax.named_scope('layer'):
            outputs = jnp.tanh(inputs @ weights)
        return weights - 0.01 * (inputs.T @ outputs), None

    return jax.lax.scan(step, weights, None, length=NUM_STEPS)[0]


def main():
    square = jax.jit(lambda matrix: matrix @ matrix)
    for folder, function, arguments in (
        (sys.argv[1], train, (jnp.eye(300), jnp.ones((600, 300)))),
        (sys.argv[2], square, (jnp.eye(300),)),
    ):
        jax.block_until_ready(function(*arguments))
        with profile.trace(folder):
            jax.block_until_ready(function(*arguments))


if __name__ == '__main__':
    main()
