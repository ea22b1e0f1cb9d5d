"""Stages "encoder" and "refiner": learning to invert a given generator.

Stage "encoder" trains the SwinV2 encoder with the generator frozen; stage "smart"
trains SMART with generator and encoder frozen and deterministic.  Gradients are taken
with respect to the trained part only.
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
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.models.inverter import DTYPES, StylePrompter
from styleprompter_jax.ops import metrics
from styleprompter_jax.store.model_folder import save_model
from styleprompter_jax.training.optim.optimizers import ema_decay, make_optimizer
from styleprompter_jax.training.run.parallel import AXIS
from styleprompter_jax.training.start import Start, read_start

EVAL_BATCH, EVAL_IMAGES, SHOWN = 32, 256, 8


class Inversion:
    """Encoder or refiner against a frozen generator.  See `training.loop`.

    ``config.init_from`` is a model folder (or bundled model): its generator for
    stage "encoder", and with ``config.init_encoder`` the encoder to go on from; its
    generator and encoder for a refiner.  ``config.model`` holds the fields of the
    trained part's config under its name.  ``config.loss`` holds the weights of
    `losses.RECONSTRUCTION`, of "align" and of `losses.PERCEPTUAL` by their names; a
    loss of weight 0, or none, is not computed.  A perceptual loss needs a fixed
    network, whose folder is named beside it: lpips_weights for lpips.
    """

    def __init__(self, config: Any, start: Start | None = None):
        """``start``: `training.start.read_start` of the config where not given."""
        self.config = config
        given = start or read_start(config)
        self._start: Start | None = given
        self.model_config, self._networks = given.config, given.networks
        # What is trained, by what its parameters lie under.
        self._refines = config.stage != "encoder"
        refiner = self.model_config.refiner
        self.part = refiner.key if refiner and self._refines else "encoder"
        self.model = StylePrompter(self.model_config, dtype=DTYPES[config.dtype])
        self.optimizer = make_optimizer(config)
        self._half_life = config.optimizer.get("ema_images", 0)
        self._held_out: list[np.ndarray] | None = None
        self._measure = jax.jit(self._outputs)

    def init(self, rng: jax.Array) -> Any:
        """The state at step 0: trained and frozen parameters, optimiser.

        Once only: it hands over what was read, or memory would hold that twice.
        """
        given, self._start = self._start, None
        assert given  # once only
        images = jnp.zeros((1, *self.model_config.input_shape))
        # The trained part alone, or all the others would be compiled and drawn too.
        fresh = jax.jit(lambda rng: self.model.init(rng, images)["params"][self.part])
        start = given.variables
        goes_on = self.part == "encoder" and self.config.get("init_encoder")
        trained = jax.device_put(start["params"]["encoder"]) if goes_on else fresh(rng)
        state = {
            "trained": trained,
            "frozen": {
                part: start["params"][part]
                for part in self.model_config.parts
                if part != self.part
            },
            "const": start["const"],
            "opt": self.optimizer.init(trained),
        }
        if self._half_life:
            state["ema"] = jax.tree.map(jnp.array, trained)
            state["seen"] = jnp.zeros((), jnp.float32)
        # Parameters of networks are arguments of the step too, not constants in it.
        networks = given.network_variables
        return state | {"networks": networks} if networks else state

    def variant(self, step: int) -> None:
        """One compiled form serves all steps."""
        return None

    def step(
        self, state: Any, batch: Any, rng: jax.Array, *, variant: Any = None
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One update of the trained part, on one device."""
        images = batch["image"]
        rng = jax.random.fold_in(rng, lax.axis_index(AXIS))

        def loss(trained: Any) -> Any:
            networks = state.get("networks", {})
            return self._loss(self._variables(state, trained), networks, images, rng)

        (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(state["trained"])
        grads = lax.pmean(grads, AXIS)
        updates, opt = self.optimizer.update(grads, state["opt"], state["trained"])
        trained = optax.apply_updates(state["trained"], updates)
        metrics = lax.pmean(parts, AXIS) | {"grad_norm": optax.tree.norm(grads)}
        state = state | {"trained": trained, "opt": opt}
        return self._averaged(state) if self._half_life else state, metrics

    def _averaged(self, state: Any) -> Any:
        """The state with the moving average of the trained part one step on."""
        seen = state["seen"] + self.config.batch_size
        decay = ema_decay(self._half_life, seen, self.config.batch_size)
        ema = optax.incremental_update(state["trained"], state["ema"], 1 - decay)
        return state | {"seen": seen, "ema": ema}

    def _variables(self, state: Any, trained: Any = None) -> dict:
        """Of the model: with ``trained``, else with what is to be used of the state."""
        trained = state.get("ema", state["trained"]) if trained is None else trained
        return {
            "params": state["frozen"] | {self.part: trained},
            "const": state["const"],
        }

    def _loss(
        self, variables: Any, networks: Any, images: jax.Array, rng: jax.Array
    ) -> Any:
        training_encoder = not self._refines
        frozen = self.config.get("frozen_deterministic", True)

        def run(model: Any, images: jax.Array) -> Any:
            w_plus, features = model.encode(
                images, deterministic=frozen and not training_encoder
            )
            output = model.decode(
                w_plus,
                features,
                refine=self._refines,
                deterministic=training_encoder,
            )
            return output, w_plus

        output, w_plus = self.model.apply(
            variables, images, method=run, rngs={"dropout": rng, "drop_path": rng}
        )
        # Losses are computed in float32 whatever the model computes in, float64 aside.
        kind = jnp.promote_types(output.dtype, jnp.float32)
        output = losses.pool_to(output, images.shape[1]).astype(kind)
        weights = self.config.loss

        def perceptual(name: str, module: Any) -> Any:
            module = losses.PERCEPTUAL[name].trained_on(module, self.part)
            features = partial(module.apply, networks[name])
            return jnp.mean(losses.distances(name, features, output, images))

        terms = {
            name: partial(loss, output, images)
            for name, loss in losses.RECONSTRUCTION.items()
        }
        offsets = w_plus - variables["const"]["latent_avg"]
        terms["align"] = partial(losses.align, offsets)
        for name, module in self._networks.items():
            terms[name] = partial(perceptual, name, module)
        parts = {
            f"loss_{name}": term() for name, term in terms.items() if weights.get(name)
        }
        total = sum(weights[key.removeprefix("loss_")] * v for key, v in parts.items())
        return total, {"loss": total, **parts}

    def _outputs(self, state: Any, images: jax.Array) -> Any:
        """Inversions by name, "w_plus" and of a refiner "refined", and metrics.

        A metric has one number per image; its name ends with that of its inversion.
        """

        def run(model: Any, images: jax.Array) -> Any:
            w_plus, features = model.encode(images)
            outputs = {"w_plus": model.decode(w_plus, features, refine=False)}
            if self._refines:
                outputs["refined"] = model.decode(w_plus, features)
            return outputs

        made: Any = self.model.apply(self._variables(state), images, method=run)
        outputs = {
            name: metrics.resized(y.astype(jnp.float32), images.shape[1])
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

    def evaluate(self, state: Any, report: Any, step: int) -> Any:
        """Metrics of fixed held-out images (`_outputs`), and a grid of the first."""
        if self._held_out is None:
            self._held_out = self._load_held_out()
        rows, grid = [], []
        for images in self._held_out:
            outputs, scores = self._measure(state, images)
            rows.append(scores)
            grid.append((images, *outputs.values()))
        shown = [np.concatenate(column)[:SHOWN] for column in zip(*grid, strict=True)]
        report.images(step, "inversions", np.concatenate(shown), columns=SHOWN)
        mean = {
            key: np.mean(np.concatenate([row[key] for row in rows])) for key in rows[0]
        }
        report.scalars(step, mean, split="validation")

    def _load_held_out(self):
        data = self.config.data
        source = make_source(data, data.eval_split)
        batches = eval_batches(
            source, batch_size=EVAL_BATCH, image_size=data.image_size
        )
        count = -(-min(EVAL_IMAGES, len(source)) // EVAL_BATCH)
        return [batch["image"] for batch, _ in zip(batches, range(count), strict=False)]

    def export(self, state: Any, folder: Path) -> None:
        """The finished model: what it started from, and the trained part."""
        variables = self._variables(state)
        save_model(folder, self.model_config, variables, keep_directions=True)
