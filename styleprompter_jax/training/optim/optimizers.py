"""Makes an optax transformation from ``config.optimizer``, which is checked before."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from styleprompter_jax.training.optim.layers import by_layer
from styleprompter_jax.training.optim.ranger import ranger


def make_schedule(config: Any) -> optax.Schedule:
    """Returns the learning rate by step: a linear warm-up, then constant or cosine.

    "cosine" falls to zero.  The function reads learning_rate, total_steps,
    optimizer.schedule and optimizer.warmup_steps (0 if missing).
    """
    opt = config.optimizer
    warmup_steps = opt.get("warmup_steps") or 0
    if opt.schedule == "constant":
        after = optax.constant_schedule(config.learning_rate)
    else:
        steps = max(1, config.total_steps - warmup_steps)
        after = optax.cosine_decay_schedule(config.learning_rate, steps)
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.learning_rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def make_optimizer(config: Any, codes: Mapping[str, np.ndarray] | None = None) -> Any:
    """Returns "adam", "adamw" or "ranger", after clipping of the gradient.

    optimizer.clip_norm is the largest norm of the gradient; 0, or no such key,
    does not clip.  With optimizer.accumulate = k above 1, the mean gradient of k steps
    makes one update, at the last of these steps.  The schedule still counts every step.

    Args:
        config: the configuration of the run.
        codes: the codes of an encoder's layers, for `by_layer`; None or {} to skip it.
    """
    opt, by_step = config.optimizer, make_schedule(config)
    every = opt.get("accumulate", 1)

    def schedule(count: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        return by_step(every * count)

    betas = dict(b1=opt.beta1, b2=opt.beta2, eps=opt.eps)
    if opt.name == "adam":
        optimizer = optax.adam(schedule, **betas)
    elif opt.name == "adamw":
        optimizer = optax.adamw(schedule, weight_decay=opt.weight_decay, **betas)
    else:
        switch = opt.get("centralize_logit_scale", False)
        optimizer = ranger(schedule, **betas, centralize_logit_scale=switch)
    if codes:
        optimizer = by_layer(optimizer, codes)
    if clip_norm := opt.get("clip_norm"):
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if every > 1:
        return optax.MultiSteps(optimizer, every).gradient_transformation()
    return optimizer


def ema_decay(
    half_life: float, seen: jax.typing.ArrayLike, batch_size: int
) -> jax.Array:
    """Returns the decay of a moving average of parameters for one step.

    Args:
        half_life: the half-life in images, above 0.  A twentieth of ``seen`` limits it,
            so the average soon forgets the initial values.
        seen: number of images seen so far, above 0.
        batch_size: number of images of the step.
    """
    return 0.5 ** (batch_size / jnp.minimum(half_life, 0.05 * seen))
