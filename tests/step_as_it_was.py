"""Stage "generator" before there were augmentations: one step, as it was."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from styleprompter_jax.training.objectives.adversarial import Adversarial, r1_penalty
from styleprompter_jax.training.optim.optimizers import ema_decay
from styleprompter_jax.training.run.parallel import AXIS


class AsItWas(Adversarial):
    def step(self, state, batch, rng, *, variant):
        with_r1, with_path = variant
        images = batch["image"]
        d_rng, g_rng, path_rng = jax.random.split(rng, 3)
        seen = state["g_opt"][0].count * self.config.batch_size
        blur = self._blur(images.shape[1], seen)

        def discriminate(params, x):
            return self.discriminator.apply({"params": params}, blur(x))

        fakes = self._sample(state, state["generator"], d_rng, images.shape[0])
        (d_loss, d_metrics), grads = jax.value_and_grad(self._d_loss, has_aux=True)(
            state["discriminator"],
            discriminate,
            lax.stop_gradient(fakes),
            images,
            with_r1,
        )
        grads = lax.pmean(grads, AXIS)
        updates, d_opt = self.d_optimizer.update(grads, state["d_opt"])
        discriminator = optax.apply_updates(state["discriminator"], updates)

        def g_loss(params):
            fakes = self._sample(state, params, g_rng, images.shape[0])
            loss = jnp.mean(jax.nn.softplus(-discriminate(discriminator, fakes)))
            if not with_path:
                return loss, state["path_length"]
            penalty, mean = self._path_length(params, state, path_rng, images.shape[0])
            return loss + penalty, mean

        (loss, path_length), grads = jax.value_and_grad(g_loss, has_aux=True)(
            state["generator"]
        )
        grads = lax.pmean(grads, AXIS)
        grad_norm = optax.tree.norm(grads)
        updates, g_opt = self.g_optimizer.update(grads, state["g_opt"])
        generator = optax.apply_updates(state["generator"], updates)

        batch_size = self.config.batch_size
        decay = ema_decay(
            self.config.optimizer.ema_images, seen + batch_size, batch_size
        )
        state = state | {
            "generator": generator,
            "discriminator": discriminator,
            "ema": optax.incremental_update(generator, state["ema"], 1 - decay),
            "g_opt": g_opt,
            "d_opt": d_opt,
            "path_length": lax.pmean(path_length, AXIS),
        }
        metrics = lax.pmean({"loss": loss, "loss_d": d_loss, **d_metrics}, AXIS)
        return state, metrics | {"grad_norm": grad_norm}

    def _d_loss(self, params, discriminate, fakes, images, with_r1):
        def logits(x):
            return discriminate(params, x)

        real, fake = logits(images), logits(fakes)
        loss = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
        metrics = {"logits_real": jnp.mean(real), "logits_fake": jnp.mean(fake)}
        if with_r1:
            scale = self.config.loss.r1_gamma / 2 * self.config.loss.r1_every
            loss = loss + scale * r1_penalty(logits, images)
        return loss, metrics
