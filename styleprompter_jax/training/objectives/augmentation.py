"""How likely augmentations are: a probability p that follows the discriminator.

A discriminator that knows its images by heart gives nearly all of them a positive
logit.  r_t, the mean sign of the logits of real images, tells so before anything else
does: every 4 batches p rises by a step where r_t is above its target, and falls
otherwise, to 0 or to 1 at most (Karras et al. 2020, arXiv 2006.06676).

``config.loss`` holds

    augment         "none"; "fixed", p stays; "adaptive", p follows r_t
    augment_p       what p is at the beginning
    augment_target  of r_t
    augment_images  how many images p takes from 0 to 1 at the fastest
"""

from typing import Any

import jax
import jax.numpy as jnp

EVERY = 4  # batches
State = dict[str, jax.Array]


def beginning(loss: Any) -> State:
    """Returns p, the last r_t, and the sum of the batches' mean signs since."""
    first = {"p": loss.augment_p, "r_t": 0.0, "signs": 0.0}
    # Each has its own buffer, because the step donates them all.
    return {name: jnp.array(value, jnp.float32) for name, value in first.items()}


def followed(
    state: State, signs: jax.Array, step: jax.Array, batch_size: int, loss: Any
) -> State:
    """Returns the state after a batch.

    Args:
        state: before it.
        signs: mean sign of its logits, of all devices.
        step: its number, from 0.
        batch_size: of all devices.
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
