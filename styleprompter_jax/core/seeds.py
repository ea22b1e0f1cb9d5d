"""Random keys from seeds of 63 bits."""

import jax


def key_of(seed: int) -> jax.Array:
    """Returns the key of a seed from 0 to 2^63 - 1; each seed has its own.

    `jax.random.key` reads only the low 32 bits unless JAX computes in 64 bits. The keys
    of smaller seeds are those of `jax.random.key`.
    """
    high, low = divmod(seed, 2**32)
    key = jax.random.key(low)
    return jax.random.fold_in(key, high) if high else key
