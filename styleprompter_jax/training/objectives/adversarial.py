"""Stage "generator": StyleGAN2's recipe for a generator of your own domain.

The recipe (Karras et al. 2020) has a non-saturating logistic loss, style mixing and an
exponential moving average of the generator.  Two lazy regularisers run only every few
steps: R1 on the discriminator and, optionally, path length on the generator.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from styleprompter_jax.core.programs import call_once
from styleprompter_jax.data.inputs import Inputs
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.models.discriminators.stylegan2 import Discriminator
from styleprompter_jax.models.inverter import DTYPES, StylePrompterConfig
from styleprompter_jax.models.registry import make
from styleprompter_jax.ops import augment
from styleprompter_jax.ops.frechet import (
    Gaussian,
    frechet_distance,
    gaussian,
    layout_features,
)
from styleprompter_jax.store.discriminator_files import KeptDiscriminator
from styleprompter_jax.store.model_folder import save_model
from styleprompter_jax.training.objectives import augmentation, growing
from styleprompter_jax.training.objectives.networks import (
    constant_blocks,
    read_networks,
    without_noise,
)
from styleprompter_jax.training.optim.optimizers import ema_decay
from styleprompter_jax.training.run.parallel import AXIS, local_slice

EVAL_SAMPLES, LATENT_AVG_SAMPLES = 1_000, 10_000


class Views(NamedTuple):
    """Functions of images (b, s, s, 3) that make the discriminator's input.

    Attributes:
        real: for real images.
        fake: for generated images, in the discriminator's update.
        generated: for generated images, in the generator's update.
    """

    real: Callable
    fake: Callable
    generated: Callable


class Adversarial:
    """Trains a generator against a discriminator: an `Objective`.

    ``config.init_from`` may name a model folder that an earlier run of this stage
    wrote: fine-tuning continues from its generator and discriminator.  If that
    generator is smaller, this one grows from it (`objectives.growing`).

    ``config.loss`` holds r1_gamma, r1_every, path_length_weight, path_length_every,
    style_mixing (probability), noise_mode ("random", or "none" for domains without
    texture), blur_sigma, blur_images and the keys of `objectives.augmentation`.  A blur
    of all the discriminator's inputs falls from blur_sigma pixels to 0 after
    blur_images images, so that the networks learn layout before edges (as in StyleGAN3,
    Karras et al. 2021).
    ``config.optimizer`` holds beta1, beta2, eps; ema_images, the half-life of the
    moving average in images; and frozen_blocks, the number of the discriminator's
    largest blocks that stay as in ``init_from`` (FreezeD, Mo et al. 2020).
    """

    def __init__(self, config: Any):
        self.config = config
        self.inputs: Inputs | None = None  # only an encoder has inputs
        self.networks = read_networks(config)
        self.generator_config: Any = self.networks.generator
        dtype = DTYPES[config.dtype]
        self.generator = make(self.generator_config, dtype)
        self.discriminator = Discriminator(self.networks.discriminator, dtype)
        weight = config.loss.get("path_length_weight")
        every = config.loss.path_length_every if weight else 0
        self.g_optimizer = self._optimizer(every)
        self.d_optimizer = self._optimizer(config.loss.r1_every)
        self._z_dim = self.generator_config.z_dim
        self._held_out: Gaussian | None = None
        self._rendered = jax.jit(self._render)
        self._augments = config.loss.get("augment", "none") != "none"
        self._frozen = self.networks.frozen(config.optimizer.get("frozen_blocks", 0))

    def _optimizer(self, every: int):
        # A regulariser that runs every k steps adds the update of one step to k steps.
        # The paper scales the rates by k / (k + 1) to compensate.
        ratio = every / (every + 1) if every else 1.0
        opt = self.config.optimizer
        return optax.adam(
            self.config.learning_rate * ratio,
            b1=opt.beta1**ratio,
            b2=opt.beta2**ratio,
            eps=opt.eps,
        )

    def init(self, rng: jax.Array) -> Any:
        """Returns the state at step 0, a pytree."""
        start: Any = self.networks.given or self._fresh(rng)
        if self.networks.grows:
            start = map(growing.grow, self._fresh(rng), start)
        generator, const, discriminator = start
        if self.config.loss.noise_mode == "none":
            # Training would never change the start's strengths, and inference adds
            # the noise.
            generator = without_noise(generator)
        state = {
            "generator": generator,
            "discriminator": discriminator,
            "ema": jax.tree.map(jnp.array, generator),
            "const": const,
            "g_opt": self.g_optimizer.init(generator),
            "d_opt": self.d_optimizer.init(discriminator),
            "path_length": jnp.zeros(()),
        }
        if self._augments:
            state["augment"] = augmentation.beginning(self.config.loss)
        return state

    def _fresh(self, rng: jax.Array) -> Any:
        g_rng, d_rng = jax.random.split(rng)
        size = self.generator_config.image_size
        variables = call_once(self.generator.init, g_rng, jnp.zeros((1, self._z_dim)))
        discriminator = call_once(
            self.discriminator.init, d_rng, jnp.zeros((1, size, size, 3))
        )
        return variables["params"], variables["const"], discriminator["params"]

    # `step` has one compiled function for each variant.
    def variant(self, step: int) -> tuple[bool, bool]:
        """Returns (with R1, with path length) at this step."""
        loss = self.config.loss
        return (
            step % loss.r1_every == 0,
            bool(loss.get("path_length_weight")) and step % loss.path_length_every == 0,
        )

    def step(
        self, state: Any, batch: Any, rng: jax.Array, *, variant: Any
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Updates the discriminator, then the generator, on one device."""
        with_r1, with_path = variant
        images = batch["image"]
        d_rng, g_rng, path_rng = jax.random.split(rng, 3)
        step = state["g_opt"][0].count
        seen = step * self.config.batch_size
        views = self._views(state, images.shape, seen, rng)

        def discriminate(params: Any, x: jax.Array, view: Callable) -> Any:
            return self.discriminator.apply({"params": params}, view(x))

        fakes = self._sample(state, state["generator"], d_rng, images.shape[0])
        (d_loss, d_metrics), grads = jax.value_and_grad(self._d_loss, has_aux=True)(
            state["discriminator"],
            discriminate,
            views,
            lax.stop_gradient(fakes),
            images,
            with_r1,
        )
        grads = lax.pmean(grads, AXIS)
        updates, d_opt = self.d_optimizer.update(grads, state["d_opt"])
        discriminator = optax.apply_updates(state["discriminator"], updates)

        def g_loss(params: Any) -> Any:
            fakes = self._sample(state, params, g_rng, images.shape[0])
            logits = discriminate(discriminator, fakes, views.generated)
            loss = jnp.mean(jax.nn.softplus(-logits))
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
        if self._augments:
            state["augment"] = augmentation.followed(
                state["augment"],
                metrics.pop("signs_real"),
                step,
                batch_size,
                self.config.loss,
            )
            for name in ("p", "r_t"):
                metrics[f"augment_{name}"] = state["augment"][name]
        return state, metrics | {"grad_norm": grad_norm}

    def _sample(self, state: Any, params: Any, rng: jax.Array, count: int) -> Any:
        """Generates the images of this device, with style mixing."""
        z_rng, cut_rng, noise_rng = jax.random.split(rng, 3)
        cfg, n = self.generator_config, self.generator_config.num_codes
        z = local_slice(
            lambda r, b: jax.random.normal(r, (b, 2, cfg.z_dim)), z_rng, count
        )
        variables = {"params": params, "const": state["const"]}
        mixing = self.config.loss.style_mixing

        def cuts(rng: jax.Array, b: int) -> jax.Array:
            on, layer = jax.random.split(rng)
            layer = jax.random.randint(layer, (b, 1, 1), 1, n)
            return jnp.where(jax.random.bernoulli(on, mixing, (b, 1, 1)), layer, n)

        w: Any = self.generator.apply(
            variables, z.reshape(-1, cfg.z_dim), method=lambda g, z: g.mapping(z)
        )
        w = w.reshape(count, 2, cfg.w_dim)
        first = jnp.arange(n)[None, :, None] < local_slice(cuts, cut_rng, count)
        return self._synthesize(
            variables, jnp.where(first, w[:, :1], w[:, 1:]), noise_rng
        )

    def _synthesize(self, variables: Any, w_plus: jax.Array, noise_rng: Any) -> Any:
        noise_rng = jax.random.fold_in(noise_rng, lax.axis_index(AXIS))
        return self.generator.apply(
            variables,
            w_plus,
            method=lambda g, w: g.synthesis(w, noise_mode=self.config.loss.noise_mode),
            rngs={"noise": noise_rng},
        )

    def _views(self, state: Any, shape: tuple, seen: Any, rng: jax.Array) -> Views:
        """Returns the discriminator's views of the images of this device."""
        count, size = shape[:2]
        blur = self._blur(size, seen)
        if not self._augments:
            return Views(blur, blur, blur)
        views = len(Views._fields)

        def draw(rng: jax.Array, b: int) -> Any:
            drawn = augment.draw(rng, b * views, size, state["augment"]["p"])
            return jax.tree.map(lambda x: x.reshape(b, views, *x.shape[1:]), drawn)

        def view(k: int) -> Callable:
            own = jax.tree.map(lambda x: x[:, k], drawn)
            return lambda x: augment.apply(blur(x), own)

        drawn = local_slice(draw, jax.random.fold_in(rng, 3), count)
        return Views(*map(view, range(views)))

    def _blur(self, size: int, seen: Any) -> Any:
        """Returns the Gaussian blur for (b, size, size, c) after ``seen`` images."""
        loss = self.config.loss
        if not loss.get("blur_images"):
            return lambda x: x
        sigma = loss.blur_sigma * jnp.maximum(0.0, 1 - seen / loss.blur_images)
        offsets = jnp.arange(size) - jnp.arange(size)[:, None]
        band = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-2)) ** 2)
        band = band / jnp.sum(band, 1, keepdims=True)
        return lambda x: jnp.einsum("hy,wx,byxc->bhwc", band, band, x)

    def _d_loss(
        self,
        params: Any,
        discriminate: Callable,
        views: Views,
        fakes: jax.Array,
        images: jax.Array,
        with_r1: bool,
    ) -> Any:
        params = constant_blocks(params, self._frozen)

        def logits(x: jax.Array) -> Any:
            return discriminate(params, x, views.real)

        real, fake = logits(images), discriminate(params, fakes, views.fake)
        loss = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
        metrics = {"logits_real": jnp.mean(real), "logits_fake": jnp.mean(fake)}
        if self._augments:
            metrics["signs_real"] = jnp.mean(jnp.sign(real))
        if with_r1:
            scale = self.config.loss.r1_gamma / 2 * self.config.loss.r1_every
            loss = loss + scale * r1_penalty(logits, images)
        return loss, metrics

    def evaluate(self, state: Any, report: Any, step: int) -> Any:
        """Reports the Fréchet distance, and samples with truncation 1.0 and 0.7."""
        if self._held_out is None:
            self._held_out = gaussian(self._real_features())
        z = jax.random.normal(jax.random.key(0), (64, self._z_dim))
        for psi in (1.0, 0.7):
            grid = self._rendered(state, z, psi)
            report.images(step, f"samples_psi{psi}", grid, columns=8)
        fakes = []
        for k in range(-(-EVAL_SAMPLES // 64)):
            z = jax.random.normal(jax.random.key(k), z.shape)
            fakes.append(layout_features(self._rendered(state, z, 1.0)))
        distance = frechet_distance(
            self._held_out, gaussian(jnp.concatenate(fakes)[:EVAL_SAMPLES])
        )
        report.scalars(step, {"frechet_distance": distance}, split="validation")

    def _real_features(self):
        data = self.config.data
        source = make_source(data, data.eval_split, data.image_size)
        batches = eval_batches(source, batch_size=64, image_size=data.image_size)
        return np.concatenate([layout_features(batch["image"]) for batch in batches])

    def _render(self, state: Any, z: jax.Array, truncation_psi: float) -> Any:
        """Generates images with the moving average; no noise if training had none."""
        variables = {"params": state["ema"], "const": state["const"]}

        def run(generator: Any, z: jax.Array) -> Any:
            w = generator.mapping(z)
            many = jax.random.normal(jax.random.key(0), (4_096, self._z_dim))
            mean = jnp.mean(generator.mapping(many), 0)
            w = mean + truncation_psi * (w - mean)
            w_plus = jnp.repeat(w[:, None], self.generator_config.num_codes, 1)
            return generator.synthesis(w_plus)

        return self.generator.apply(variables, z, method=run)

    def export(self, state: Any, folder: Path) -> None:
        """Writes a model folder with the moving average and the discriminator."""
        z = jax.random.normal(jax.random.key(0), (LATENT_AVG_SAMPLES, self._z_dim))
        variables = {"params": state["ema"], "const": state["const"]}
        w: Any = self.generator.apply(variables, z, method=lambda g, z: g.mapping(z))
        save_model(
            folder,
            StylePrompterConfig(None, None, self.generator_config),
            {
                "params": {"generator": state["ema"]},
                "const": {"generator": state["const"], "latent_avg": jnp.mean(w, 0)},
            },
            discriminator=KeptDiscriminator(
                self.networks.discriminator, state["discriminator"]
            ),
            keep_directions=True,
        )

    def _path_length(self, params: Any, state: Any, rng: jax.Array, count: int) -> Any:
        """Returns (|J^T y| - a)^2 of half a batch, weighted, and the running mean a."""
        z_rng, y_rng, noise_rng = jax.random.split(rng, 3)
        cfg, count = self.generator_config, max(1, count // 2)
        variables = {"params": params, "const": state["const"]}
        shape = (cfg.image_size, cfg.image_size, 3)
        z = local_slice(lambda r, b: jax.random.normal(r, (b, cfg.z_dim)), z_rng, count)
        y = local_slice(lambda r, b: jax.random.normal(r, (b, *shape)), y_rng, count)
        w: Any = self.generator.apply(variables, z, method=lambda g, z: g.mapping(z))
        w_plus = jnp.repeat(w[:, None], cfg.num_codes, 1)

        def projected(w_plus: jax.Array) -> jax.Array:
            image = self._synthesize(variables, w_plus, noise_rng)
            return jnp.sum(image * y) / cfg.image_size

        pulled = jax.grad(projected)(w_plus)
        lengths = jnp.sqrt(jnp.mean(jnp.sum(pulled**2, -1), -1))
        mean = state["path_length"] + 0.01 * (
            lax.pmean(jnp.mean(lengths), AXIS) - state["path_length"]
        )
        scale = self.config.loss.path_length_weight * self.config.loss.path_length_every
        mean = lax.stop_gradient(mean)
        return scale * jnp.mean((lengths - mean) ** 2), mean


def r1_penalty(logits: Callable, images: jax.Array) -> jax.Array:
    """Computes the mean squared norm of d logits / d images, (b, h, w, 3) -> ().

    Its gradient with respect to the parameters equals the gradient of
    ``2 v . (d logits / d images)`` with the direction v = d logits / d images constant.
    A forward derivative along v computes this with first-order convolutions only, in
    half the time of differentiating twice.
    """
    batch = images.shape[0]

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(logits(x)) / batch**0.5

    v = lax.stop_gradient(jax.grad(total)(images))
    _, square = jax.jvp(total, (images,), (v,))
    return 2 * square - lax.stop_gradient(square)
