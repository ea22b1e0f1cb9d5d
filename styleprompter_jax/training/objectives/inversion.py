"""Stages "encoder" and "refiner": learning to invert a given generator.

Stage "encoder" trains an encoder with the generator frozen; stage "refiner" trains a
refiner, such as SMART, with generator and encoder frozen and deterministic.  Gradients
are taken with respect to the trained part only.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from styleprompter_jax import losses
from styleprompter_jax.core.programs import call_once
from styleprompter_jax.data.inputs import Inputs
from styleprompter_jax.data.loader import eval_batches, picture_size
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.images.inputs import as_pictures
from styleprompter_jax.models.inverter import DTYPES, StylePrompter
from styleprompter_jax.ops import metrics
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.store.model_folder import save_model
from styleprompter_jax.training.objectives import terms
from styleprompter_jax.training.objectives.critic import Critic
from styleprompter_jax.training.optim.optimizers import ema_decay, make_optimizer
from styleprompter_jax.training.run.parallel import AXIS
from styleprompter_jax.training.start import Start, read_start, with_trunk

EVAL_BATCH, EVAL_IMAGES, SHOWN = 32, 256, 8


class Inversion:
    """Trains an encoder or a refiner with a frozen generator: an `Objective`.

    ``config.init_from`` is a model folder (or bundled model): its generator for
    stage "encoder", and with ``config.init_encoder`` the encoder to continue from; its
    generator and encoder for a refiner.  ``config.model`` holds the fields of the
    trained part's config under its name.  ``config.loss`` holds the weights of
    `losses.RECONSTRUCTION`, of `losses.CODES`, of `losses.PERCEPTUAL`, and of
    "discriminator" by their names; a loss of weight 0, or none, is not computed.  A
    perceptual loss needs a fixed network, whose folder is named beside it:
    lpips_weights for lpips.

    An encoder with deltas may train them one after another: one from step
    ``loss.delta_start`` on, and one more every ``loss.delta_every`` steps.
    """

    def __init__(
        self, config: Any, start: Start | None = None, platform: str | None = None
    ):
        """Uses ``start``; None means `training.start.read_start` of the config.

        ``platform`` is that of the devices ("tpu", ...); None means JAX's default.
        """
        self.config = config
        given = start or read_start(config)
        self._start: Start | None = given
        self.model_config, self._networks = given.config, given.networks
        # The key of the trained parameters.
        self._refines = config.stage != "encoder"
        refiner = self.model_config.refiner
        self.part = refiner.key if refiner and self._refines else "encoder"
        self.model = StylePrompter(self.model_config, dtype=DTYPES[config.dtype])
        self.inputs: Inputs | None = None
        if config.data.get("input"):
            self.inputs = Inputs(config.data, self.model_config.input_shape)
        encoder: Any = self.model_config.encoder
        self._passes = encoder.passes if encoder else 0
        # In a loop, XLA:CPU computes gradients of convolutions many times as slowly.
        unroll = (platform or jax.default_backend()) == "cpu"
        self._scan = partial(lax.scan, unroll=unroll)
        layers: dict = {} if self._refines else encoder.codes_of_layers
        self.optimizer = make_optimizer(config, layers)
        # The step of the first delta; None if all train from the start.
        self._begins = None if self._refines else config.loss.get("delta_start")
        self._critic: Critic | None = None
        if config.loss.get("discriminator") and not self._refines:
            self._critic = Critic(config, self.model_config.generator)
        self._half_life = config.optimizer.get("ema_images", 0)
        self._held_out: list[dict] | None = None
        self._measure = jax.jit(self._outputs)

    def init(self, rng: jax.Array) -> Any:
        """Returns the state at step 0: trained and frozen parameters, optimiser.

        Call it once: it hands over the arrays of the start, so that memory does not
        hold them twice.
        """
        given, self._start = self._start, None
        assert given  # once only
        start = given.variables
        const = start["const"]
        if self.part == "encoder" and self.config.get("init_encoder"):
            trained = jax.device_put(start["params"]["encoder"])
        else:
            fresh = with_trunk(self._fresh(rng), given.trunk)
            trained = fresh["params"][self.part]
            const = {k: v for k, v in const.items() if k != self.part} | fresh["const"]
        state = {
            "trained": trained,
            "frozen": {
                part: start["params"][part]
                for part in self.model_config.parts
                if part != self.part
            },
            "const": const,
            "opt": self.optimizer.init(trained),
        }
        if self._critic:
            state["critic"] = self._critic.init(jax.random.fold_in(rng, 1))
        if self._begins is not None:
            state["steps"] = jnp.zeros((), jnp.int32)
        if self._half_life:
            state["ema"] = jax.tree.map(jnp.array, trained)
            state["seen"] = jnp.zeros((), jnp.float32)
        # Parameters of networks are arguments of the step too, not constants.
        networks = given.network_variables
        return state | {"networks": networks} if networks else state

    def _fresh(self, rng: jax.Array) -> dict:
        """Returns the initial values of the trained part, by collection."""
        images = jnp.zeros((1, *self.model_config.input_shape))

        # One program for that part alone: JAX would compile and draw the others too.
        def draw(rng: jax.Array) -> dict:
            made = self.model.init(rng, images)
            return {
                collection: {k: v for k, v in tree.items() if k == self.part}
                for collection, tree in made.items()
            }

        return call_once(draw, rng)

    def variant(self, step: int) -> None:
        """Returns None: all steps share one compiled program."""

    def step(
        self, state: Any, batch: Any, rng: jax.Array, *, variant: None = None
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Updates the discriminator, if any, then the trained part.

        It runs on one device.
        """
        metrics: dict = {}
        if self._critic:
            rng, draw_rng = jax.random.split(rng)
            draws = self._critic.draw(draw_rng, self.config.batch_size)
        rng = jax.random.fold_in(rng, lax.axis_index(AXIS))
        if self._critic:
            state, metrics = self._criticise(state, batch, rng, draws)

        grads, parts, const = self._gradients(state, batch, rng)
        grads = lax.pmean(grads, AXIS)
        begun = {"deltas": self._deltas(state)} if self._begins is not None else {}
        updates, opt = self.optimizer.update(
            grads, state["opt"], state["trained"], **begun
        )
        trained = optax.apply_updates(state["trained"], updates)
        metrics |= lax.pmean(parts, AXIS) | {"grad_norm": optax.tree.norm(grads)}
        state = state | {"trained": trained, "opt": opt, "const": const}
        if "steps" in state:
            metrics["deltas"] = self._deltas(state)
            state["steps"] += 1
        return self._averaged(state) if self._half_life else state, metrics

    def _gradients(self, state: Any, batch: Any, rng: jax.Array) -> tuple:
        """Returns gradients, the terms of the loss, and the constants after the step.

        For an encoder in passes, it adds up the gradients of all passes.  In each pass,
        the codes and the image of the previous pass are constants.  Losses are means
        over the passes.
        """
        trained = state["trained"]
        gradients = jax.value_and_grad(self._loss, argnums=1, has_aux=True)
        if not self._passes:
            (_, (parts, const, _)), grads = gradients(state, trained, batch, rng)
            return grads, parts, const

        def one(carry: tuple, rng: jax.Array) -> tuple:
            grads, const, before = carry
            (_, (parts, const, before)), new = gradients(
                state | {"const": const}, trained, batch, rng, before
            )
            return (jax.tree.map(jnp.add, grads, new), const, before), parts

        start = self._first(self._variables(state, trained), len(batch["image"]))
        carry = jax.tree.map(jnp.zeros_like, trained), state["const"], start
        rngs = jax.random.split(rng, self._passes)
        (grads, const, _), parts = self._scan(one, carry, rngs)
        return grads, jax.tree.map(jnp.mean, parts), const

    def _first(self, variables: Any, count: int) -> tuple[jax.Array, jax.Array]:
        """Repeats the mean code and its image, which a first pass sees."""
        generator = self.model_config.generator
        codes = (1, generator.num_codes, generator.w_dim)
        mean = jnp.broadcast_to(variables["const"]["latent_avg"], codes)
        seen: Any = self.model.apply(variables, mean, method=StylePrompter.show)
        return jnp.repeat(mean, count, 0), jnp.repeat(seen, count, 0)

    def _criticise(
        self, state: Any, batch: Any, rng: jax.Array, draws: dict
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Updates the discriminator with the codes that the encoder makes now."""
        apply = partial(self.model.apply, self._variables(state, state["trained"]))
        rngs = {"dropout": rng, "drop_path": rng}
        encode, mapping = StylePrompter.encode, StylePrompter.mapping
        fake: Any = apply(_seen(batch), method=encode, deterministic=False, rngs=rngs)
        real: Any = apply(draws["z"], method=mapping)
        assert self._critic
        critic, metrics = self._critic.update(
            state["critic"], real, fake[0], self._deltas(state), draws
        )
        return state | {"critic": critic}, metrics

    def _deltas(self, state: Any, after: int = 0) -> Any:
        """Returns how many codes after the first train, ``after`` steps from now."""
        last = self.model_config.generator.num_codes - 1
        if self._begins is None:
            return last
        since = state["steps"] + after - self._begins
        return jnp.clip(since // self.config.loss.get("delta_every", 1) + 1, 0, last)

    def _averaged(self, state: Any) -> Any:
        """Returns the state with the moving average of the trained part updated."""
        seen = state["seen"] + self.config.batch_size
        decay = ema_decay(self._half_life, seen, self.config.batch_size)
        ema = optax.incremental_update(state["trained"], state["ema"], 1 - decay)
        return state | {"seen": seen, "ema": ema}

    def _variables(self, state: Any, trained: Any = None) -> dict:
        """Returns the model's variables with ``trained``; None means the state's own.

        Deltas that do not train, or that have not trained yet, are zero.
        """
        training = trained is not None
        trained = trained if training else state.get("ema", state["trained"])
        if "steps" in state:
            encoder: Any = self.model_config.encoder
            deltas = self._deltas(state, 0 if training else -1)
            trained = encoder.with_deltas(trained, deltas)
        return {
            "params": state["frozen"] | {self.part: trained},
            "const": state["const"],
        }

    def _loss(
        self,
        state: Any,
        trained: Any,
        batch: Any,
        rng: jax.Array,
        before: tuple[jax.Array, ...] = (),
    ) -> Any:
        """Computes the loss, its terms, the constants, and the input of a next pass.

        Args:
            state: of the training.
            trained: the parameters to train.
            batch: images.
            rng: of this device.
            before: codes of the pass before, and their image.

        Returns:
            The loss, and (losses by name, "const" with new running means,
            ``before`` of the next pass).
        """
        images, variables = batch["image"], self._variables(state, trained)
        training_encoder = not self._refines
        frozen = self.config.get("frozen_deterministic", True)

        def run(model: Any, seen: jax.Array) -> Any:
            w_plus, features = model.encode(
                seen, *before, deterministic=frozen and not training_encoder
            )
            output = model.decode(
                w_plus,
                features,
                refine=self._refines,
                deterministic=training_encoder,
            )
            return output, w_plus

        (output, w_plus), moved = self.model.apply(
            variables,
            _seen(batch),
            method=run,
            rngs={"dropout": rng, "drop_path": rng},
            mutable=["const"] if training_encoder else [],
        )
        # Losses are float32, or float64 if the model computes in float64.
        kind = jnp.promote_types(output.dtype, jnp.float32)
        height, width = images.shape[1:3]
        output = losses.pool_to(framed(output, height, width), height).astype(kind)
        networks = self._networks, state.get("networks", {})
        found = terms.of_images(*networks, self.part, output, images)
        if training_encoder:
            offsets = w_plus - variables["const"]["latent_avg"]
            found |= terms.of_codes(offsets, self._deltas(state))
        if self._critic:
            params = state["critic"]["params"]
            found["discriminator"] = partial(
                self._critic.deceive, params, w_plus, self._deltas(state)
            )
        total, parts = terms.weighted(found, self.config.loss)
        const = {k: v for k, v in moved.get("const", {}).items() if k == self.part}
        return total, (parts, state["const"] | const, (w_plus, output))

    def _outputs(self, state: Any, batch: Any) -> Any:
        """Returns inversions by name, "w_plus" and a refiner's "refined", and metrics.

        A metric has one number per image; its name ends with that of its inversion.
        """
        variables, images, seen = self._variables(state), batch["image"], _seen(batch)
        before: tuple[jax.Array, ...] = ()
        if self._passes:
            # All passes but the last, which runs below.
            before, _ = self._scan(
                lambda before, _: (self._next(variables, seen, before), None),
                self._first(variables, len(images)),
                length=self._passes - 1,
            )

        def run(model: Any, seen: jax.Array) -> Any:
            w_plus, features = model.encode(seen, *before)
            outputs = {"w_plus": model.decode(w_plus, features, refine=False)}
            if self._refines:
                outputs["refined"] = model.decode(w_plus, features)
            return outputs

        made: Any = self.model.apply(variables, seen, method=run)
        height, width = images.shape[1:3]
        outputs = {
            name: metrics.resized(
                framed(y, height, width).astype(jnp.float32), (height, width)
            )
            for name, y in made.items()
        }
        scores: dict[str, jax.Array] = {}
        for inversion, output in outputs.items():
            found = metrics.compare(output, images)
            for name, module in self._networks.items():
                loss = losses.PERCEPTUAL[name]
                features = partial(module.apply, state["networks"][name])
                found[loss.metric] = loss.score(features(output), features(images))
            scores |= {f"{name}_{inversion}": v for name, v in found.items()}
        return outputs, scores

    def _next(self, variables: Any, seen: jax.Array, before: tuple) -> tuple:
        """Returns the codes after a pass, and their image."""
        apply = partial(self.model.apply, variables)
        w_plus, _ = apply(seen, *before, method=StylePrompter.encode)
        return w_plus, apply(w_plus, method=StylePrompter.show)

    def evaluate(self, state: Any, report: Any, step: int) -> Any:
        """Reports metrics of fixed held-out images (`_outputs`), and a first grid."""
        if self._held_out is None:
            self._held_out = self._load_held_out()
        rows, grid = [], []
        for batch in self._held_out:
            outputs, scores = self._measure(state, batch)
            rows.append(scores)
            seen = [as_pictures(batch["input"])] if self.inputs else []
            grid.append((*seen, batch["image"], *outputs.values()))
        shown = [np.concatenate(column)[:SHOWN] for column in zip(*grid, strict=True)]
        report.images(step, "inversions", np.concatenate(shown), columns=SHOWN)
        mean = {
            key: np.mean(np.concatenate([row[key] for row in rows])) for key in rows[0]
        }
        report.scalars(step, mean, split="validation")

    def _load_held_out(self):
        data = self.config.data
        source = make_source(data, data.eval_split, inputs=self.inputs)
        batches = eval_batches(
            source,
            batch_size=EVAL_BATCH,
            image_size=picture_size(data),
            inputs=self.inputs,
        )
        count = -(-min(EVAL_IMAGES, len(source)) // EVAL_BATCH)
        return [
            {name: batch[name] for name in ("image", "input") if name in batch}
            for batch, _ in zip(batches, range(count), strict=False)
        ]

    def export(self, state: Any, folder: Path) -> None:
        """Writes the finished model: the given parts, and the trained part."""
        variables = self._variables(state)
        save_model(folder, self.model_config, variables, keep_directions=True)


def _seen(batch: Any) -> Any:
    """Returns the encoder's inputs for the images of a batch."""
    return batch.get("input", batch["image"])
