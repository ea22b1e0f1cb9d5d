"""e4e's adversary, which tells the encoder's codes from the generator's own codes.

True codes are w of random z.  The adversary takes one of the encoder's training codes
for each image.  Half of its inputs are old: each kind has a pool of earlier codes.

Axes: b images of this device, B of all, n codes of an image, d their width, k codes of
a pool.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from styleprompter_jax.core.programs import call_once
from styleprompter_jax.models.discriminators.latent import LatentDiscriminator
from styleprompter_jax.models.registry import GeneratorBase
from styleprompter_jax.training.objectives.adversarial import r1_penalty
from styleprompter_jax.training.run.parallel import AXIS

KINDS = ("real", "fake")


class Critic:
    """The discriminator of codes, its optimiser and its pools.

    ``config.loss`` holds pool_size, r1_gamma and r1_every, and ``config.optimizer``
    discriminator_rate, the learning rate of its Adam.
    """

    def __init__(self, config: Any, generator: GeneratorBase):
        loss = config.loss
        self._generator = generator
        self._module = LatentDiscriminator(generator.w_dim)
        self._optimizer = optax.adam(config.optimizer.get("discriminator_rate", 2e-5))
        self._pool_size = loss.get("pool_size", 50)
        self._r1_every = loss.get("r1_every", 16)
        self._r1_weight = loss.get("r1_gamma", 10.0) / 2 * self._r1_every

    def init(self, rng: jax.Array) -> dict:
        """Returns the state at step 0."""
        d = self._generator.w_dim
        params = call_once(self._module.init, rng, jnp.zeros((1, d)))["params"]
        pools = {
            kind: {
                "codes": jnp.zeros((self._pool_size, d)),
                "count": jnp.zeros((), jnp.int32),
            }
            for kind in KINDS
        }
        return {"params": params, "opt": self._optimizer.init(params), "pools": pools}

    def draw(self, rng: jax.Array, count: int) -> dict:
        """Draws the random numbers of a step, for a batch of B images.

        Returns:
            "z" (B, z_dim) of true codes, and "code" (B,) from 0 to 1, which selects one
            of an image's codes; for each kind of pool "swap" (B,), whether an old code
            replaces the new one, and "slot" (B,), which old code.
        """
        z_rng, code_rng, *rngs = jax.random.split(rng, 6)
        pairs = zip(KINDS, (rngs[:2], rngs[2:]), strict=True)
        return {
            "z": jax.random.normal(z_rng, (count, self._generator.z_dim)),
            "code": jax.random.uniform(code_rng, (count,)),
            **{
                kind: {
                    "swap": jax.random.bernoulli(swap_rng, 0.5, (count,)),
                    "slot": jax.random.randint(
                        slot_rng, (count,), 0, max(1, self._pool_size)
                    ),
                }
                for kind, (swap_rng, slot_rng) in pairs
            },
        }

    def update(
        self,
        state: dict,
        real: jax.Array,
        w_plus: jax.Array,
        deltas: jax.typing.ArrayLike,
        draws: dict,
    ) -> tuple[dict, dict]:
        """Makes one step of the discriminator.

        Args:
            state: the state from `init` or from the previous step.
            real: true codes of the whole batch, (B, d).
            w_plus: the encoder's codes on this device, (b, n, d).
            deltas: number of codes after the first that train.
            draws: the result of `draw`.

        Returns:
            The new state, and metrics.
        """
        count = len(w_plus)
        everyone = lax.all_gather(w_plus, AXIS, tiled=True)
        index = jnp.floor(draws["code"] * (deltas + 1)).astype(jnp.int32)
        fake = jnp.take_along_axis(everyone, index[:, None, None], 1)[:, 0]
        pools, seen = {}, {}
        for kind, codes in zip(KINDS, (real, fake), strict=True):
            # All devices see the whole batch here, so that their pools stay equal.
            pools[kind], codes = exchange(state["pools"][kind], codes, draws[kind])
            start = lax.axis_index(AXIS) * count
            seen[kind] = lax.dynamic_slice_in_dim(codes, start, count)
        (loss, metrics), grads = jax.value_and_grad(self._loss, has_aux=True)(
            state["params"], seen["real"], seen["fake"]
        )
        # A conditional, and not a second compiled step: this network is small.
        penalty, more = lax.cond(
            state["opt"][0].count % self._r1_every == 0,
            jax.value_and_grad(self._r1),
            lambda params, w: (jnp.zeros((), w.dtype), optax.tree.zeros_like(params)),
            state["params"],
            seen["real"],
        )
        loss, grads = loss + penalty, optax.tree.add(grads, more)
        grads = lax.pmean(grads, AXIS)
        updates, opt = self._optimizer.update(grads, state["opt"])
        params = optax.apply_updates(state["params"], updates)
        metrics = lax.pmean({"loss_d": loss, **metrics}, AXIS)
        return {"params": params, "opt": opt, "pools": pools}, metrics

    def _loss(self, params: Any, real: jax.Array, fake: jax.Array) -> Any:
        of_real, of_fake = self._logits(params, real), self._logits(params, fake)
        loss = jnp.mean(jax.nn.softplus(-of_real) + jax.nn.softplus(of_fake))
        metrics = {"logits_real": jnp.mean(of_real), "logits_fake": jnp.mean(of_fake)}
        return loss, metrics

    def _r1(self, params: Any, real: jax.Array) -> jax.Array:
        """Returns R1, with the weight of all the steps since the last one."""
        return self._r1_weight * r1_penalty(partial(self._logits, params), real)

    def _logits(self, params: Any, w: jax.Array) -> Any:
        return self._module.apply({"params": params}, w)

    def deceive(
        self, params: Any, w_plus: jax.Array, deltas: jax.typing.ArrayLike
    ) -> jax.Array:
        """Computes the encoder's adversarial loss, the mean over its training codes.

        Args:
            params: of the discriminator.
            w_plus: (b, n, d).
            deltas: number of codes after the first that train.
        """
        losses = jnp.mean(jax.nn.softplus(-self._logits(params, w_plus)), 0)
        return jnp.sum(losses * (jnp.arange(len(losses)) <= deltas)) / (deltas + 1)


def exchange(pool: dict, codes: jax.Array, draws: dict) -> tuple[dict, jax.Array]:
    """Exchanges new codes for new or old ones, one after the other.

    While the pool is not full, it keeps each code and also returns it.  Later, a
    swapped code takes the place of an old code, and the pool returns the old one.

    Args:
        pool: "codes" (k, d), and "count" of them.
        codes: (B, d).
        draws: "swap" (B,) and "slot" (B,).

    Returns:
        The pool, and the codes for the discriminator, (B, d).
    """
    size = len(pool["codes"])
    if not size:
        return pool, codes

    def one(pool: dict, x: tuple) -> tuple[dict, jax.Array]:
        code, swap, slot = x
        filling = pool["count"] < size
        slot = jnp.where(filling, pool["count"], slot)
        old = pool["codes"][slot]
        kept = jnp.where(filling | swap, code, old)
        new = {
            "codes": pool["codes"].at[slot].set(kept),
            "count": pool["count"] + filling,
        }
        return new, jnp.where(filling | ~swap, code, old)

    return lax.scan(one, pool, (codes, draws["swap"], draws["slot"]))
