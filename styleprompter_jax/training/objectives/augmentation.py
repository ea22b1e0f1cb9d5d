"""The probability p of augmentations, which adapts to the discriminator.

An overfitted discriminator gives nearly all its training images a positive logit.
r_t, the mean sign of the logits of real images, is the earliest sign of overfitting.
Every 4 batches, p rises by a step if r_t is above its target, and falls by a step if
r_t is below it.  p stays in [0, 1] (Karras et al. 2020, arXiv 2006.06676).

``config.loss`` holds

    augment         "none"; "fixed", p stays; "adaptive", p follows r_t
    augment_p       initial p
    augment_target  target of r_t
    augment_images  least number of images in which p rises from 0 to 1
"""

from typing import Any

import jax
import jax.numpy as jnp

EVERY = 4  # batches
State = dict[str, jax.Array]


def beginning(loss: Any) -> State:
    """Returns the initial p, r_t, and sum of the mean signs of batches since r_t."""
    first = {"p": loss.augment_p, "r_t": 0.0, "signs": 0.0}
    # Each has its own buffer, because the step donates them all.
    return {name: jnp.array(value, jnp.float32) for name, value in first.items()}


def followed(
    state: State, signs: jax.Array, step: jax.Array, batch_size: int, loss: Any
) -> State:
    """Returns the state after a batch.

    Args:
        state: state before the batch.
        signs: mean sign of the logits of real images, over all devices.
        step: number of the batch, from 0.
        batch_size: number of images on all devices.
        loss: ``config.loss``.
    """
    total = state["signs"] + signs
    due = (step + 1) % EVERY == 0
    r_t = jnp.where(due, total / EVERY, state["r_t"])
    p = state["p"]
    if loss.augment == "adaptive":
        change = jnp.sign(r_t - loss.augment_target) * (
            EVERY * batch_size / loss.augment_images
        )
        p = jnp.where(due, jnp.clip(p + change, 0, 1), p)
    return {"p": p, "r_t": r_t, "signs": jnp.where(due, 0, total)}
