"""From ``config.optimizer`` to an optax transformation."""

import optax

from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training.ranger import ranger


def make_schedule(config) -> optax.Schedule:
    """Learning rate by step: "constant" or "cosine" (to zero), after a linear warm-up.

    Reads learning_rate, total_steps, optimizer.schedule and optimizer.warmup_steps.
    """
    opt = config.optimizer
    if opt.schedule == "constant":
        after = optax.constant_schedule(config.learning_rate)
    elif opt.schedule == "cosine":
        steps = max(1, config.total_steps - opt.warmup_steps)
        after = optax.cosine_decay_schedule(config.learning_rate, steps)
    else:
        raise StylePrompterError(
            f"config.optimizer.schedule is {opt.schedule!r}: it must be "
            '"constant" or "cosine".'
        )
    if not opt.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.learning_rate, opt.warmup_steps)
    return optax.join_schedules([warmup, after], [opt.warmup_steps])


def make_optimizer(config) -> optax.GradientTransformation:
    """ "adam", "adamw" or "ranger", after clipping to optimizer.clip_norm if not 0."""
    opt, schedule = config.optimizer, make_schedule(config)
    betas = dict(b1=opt.beta1, b2=opt.beta2, eps=opt.eps)
    if opt.name == "adam":
        optimizer = optax.adam(schedule, **betas)
    elif opt.name == "adamw":
        optimizer = optax.adamw(schedule, weight_decay=opt.weight_decay, **betas)
    elif opt.name == "ranger":
        switch = opt.get("centralize_logit_scale", False)
        optimizer = ranger(schedule, **betas, centralize_logit_scale=switch)
    else:
        raise StylePrompterError(
            f'config.optimizer.name is {opt.name!r}: it must be "adam", "adamw" or '
            '"ranger".'
        )
    if opt.clip_norm:
        return optax.chain(optax.clip_by_global_norm(opt.clip_norm), optimizer)
    return optimizer
