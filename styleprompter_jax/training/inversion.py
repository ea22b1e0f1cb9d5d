"""Stages "encoder" and "smart": learning to invert a given generator.

Stage "encoder" trains the SwinV2 encoder with the generator frozen; stage "smart"
trains SMART with generator and encoder frozen and deterministic.  Gradients are taken
with respect to the trained part only.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from styleprompter_jax.bundle import load_model, save_model
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.models.smart import SmartConfig
from styleprompter_jax.models.style_prompter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.swin import SwinConfig
from styleprompter_jax.networks import load_network
from styleprompter_jax.ops import metrics
from styleprompter_jax.training import losses
from styleprompter_jax.training.optimizers import make_optimizer
from styleprompter_jax.training.parallel import AXIS

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
EVAL_BATCH, EVAL_IMAGES, SHOWN = 32, 256, 8


class Inversion:
    """Encoder or SMART against a frozen generator.  See `training.loop`.

    ``config.init_from`` is a model folder (or bundled model): its generator for
    stage "encoder", and with ``config.init_encoder`` the encoder to go on from; its
    generator and encoder for stage "smart".  ``config.model`` holds the fields of the
    trained part's config under its name.  ``config.loss`` holds the weights l2,
    structure, align, lpips, id and moco; a loss of weight 0 is not computed.  The last
    three need a fixed network each, whose folder is named beside them: lpips_weights,
    id_weights, moco_weights.
    """

    def __init__(self, config):
        self.config = config
        self.part = config.stage
        self._networks, self._network_variables = _load_networks(config)
        start, self._start_variables = _load_start(config)
        self.model_config = _with_trained_part(start, config)
        self.model = StylePrompter(self.model_config, dtype=DTYPES[config.dtype])
        self.optimizer = make_optimizer(config)
        self._held_out = None
        self._reconstruct = jax.jit(self._outputs)

    def init(self, rng):
        """The state at step 0: trained and frozen parameters, optimiser."""
        size = self.model_config.encoder.image_size

        images = jnp.zeros((1, size, size, 3))
        # The trained part alone, or all the others would be compiled and drawn too.
        fresh = jax.jit(lambda rng: self.model.init(rng, images)["params"][self.part])
        start = self._start_variables
        goes_on = self.part == "encoder" and self.config.get("init_encoder")
        trained = jax.device_put(start["params"]["encoder"]) if goes_on else fresh(rng)
        state = {
            "trained": trained,
            "frozen": {
                part: start["params"][part]
                for part in ("encoder", "smart", "generator")
                if part != self.part and getattr(self.model_config, part) is not None
            },
            "const": start["const"],
            "opt": self.optimizer.init(trained),
        }
        # Without networks no such item, so that older checkpoints fit.
        networks = self._network_variables
        return state | {"networks": networks} if networks else state

    def variant(self, step: int) -> None:
        """One compiled form serves all steps."""
        return None

    def step(self, state, batch, rng, *, variant=None):
        """One update of the trained part, on one device."""
        images = batch["image"]
        rng = jax.random.fold_in(rng, lax.axis_index(AXIS))

        def loss(trained):
            networks = state.get("networks", {})
            return self._loss(self._variables(state, trained), networks, images, rng)

        (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(state["trained"])
        grads = lax.pmean(grads, AXIS)
        updates, opt = self.optimizer.update(grads, state["opt"], state["trained"])
        trained = optax.apply_updates(state["trained"], updates)
        metrics = lax.pmean(parts, AXIS) | {"grad_norm": optax.tree.norm(grads)}
        return state | {"trained": trained, "opt": opt}, metrics

    def _variables(self, state, trained=None):
        trained = state["trained"] if trained is None else trained
        return {
            "params": state["frozen"] | {self.part: trained},
            "const": state["const"],
        }

    def _loss(self, variables, networks, images, rng):
        def run(model, images):
            training_encoder = self.part == "encoder"
            w_plus, features = model.encode(images, deterministic=not training_encoder)
            output = model.decode(
                w_plus,
                features,
                refine=self.part == "smart",
                deterministic=training_encoder,
            )
            return output, w_plus

        output, w_plus = self.model.apply(
            variables, images, method=run, rngs={"dropout": rng, "drop_path": rng}
        )
        output = losses.pool_to(output, images.shape[1]).astype(jnp.float32)
        weights = self.config.loss

        def perceptual(name, module):
            features = partial(module.apply, networks[name])
            return losses.perceptual(name, features, output, images)

        terms = {
            "l2": lambda: losses.l2(output, images),
            "structure": lambda: losses.structure(output, images),
            "align": lambda: losses.align(w_plus - variables["const"]["latent_avg"]),
        }
        for name, module in self._networks.items():
            terms[name] = partial(perceptual, name, module)
        parts = {
            f"loss_{name}": term() for name, term in terms.items() if weights[name]
        }
        total = sum(weights[key.removeprefix("loss_")] * v for key, v in parts.items())
        return total, {"loss": total, **parts}

    def _outputs(self, state, images):
        """(W+ inversion, refined inversion); the first twice in stage "encoder"."""

        def run(model, images):
            w_plus, features = model.encode(images)
            plain = model.decode(w_plus, features, refine=False)
            refined = model.decode(w_plus, features) if self.part == "smart" else plain
            return plain, refined

        outputs = self.model.apply(self._variables(state), images, method=run)
        return tuple(losses.pool_to(y, images.shape[1]) for y in outputs)

    def evaluate(self, state, report, step):
        """MSE, PSNR and SSIM on fixed held-out images, and a grid of the first."""
        if self._held_out is None:
            self._held_out = self._load_held_out()
        results, grid = [], []
        for images in self._held_out:
            outputs = self._reconstruct(state, images)
            row = {}
            for name, output in zip(("w_plus", "refined"), outputs, strict=True):
                for metric in (metrics.mse, metrics.psnr, metrics.ssim):
                    row[f"{metric.__name__}_{name}"] = metric(output, images)
            results.append(row)
            grid.append((images, *outputs))
        shown = [np.concatenate(column)[:SHOWN] for column in zip(*grid, strict=True)]
        report.images(step, "inversions", np.concatenate(shown), columns=SHOWN)
        mean = {
            key: np.mean(np.concatenate([row[key] for row in results]))
            for key in results[0]
            if self.part == "smart" or not key.endswith("_refined")
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

    def export(self, state, folder):
        """The finished model: what it started from, and the trained part."""
        save_model(folder, self.model_config, self._variables(state))


def _load_networks(config):
    """Modules and variables of the perceptual losses that are on, by loss.

    The identity loss of stage "smart" has five levels, that of stage "encoder" one.
    """
    modules, variables, problems = {}, {}, []
    for name, (kind, _) in losses.PERCEPTUAL.items():
        if not config.loss.get(name):
            continue
        key = f"{name}_weights"
        try:
            if not config.loss.get(key):
                raise StylePrompterError(
                    f"config.loss.{key} is empty, and config.loss.{name} is "
                    f"{config.loss[name]}: name the folder that `styleprompter convert "
                    f"FILE FOLDER` made of the published weights, or set the loss to 0."
                )
            modules[name], variables[name] = load_network(config.loss[key], kind)
        except StylePrompterError as error:
            problems.append(str(error))
    if problems:
        raise StylePrompterError("\n".join(problems))
    if "id" in modules and config.stage == "smart":
        modules["id"] = modules["id"].clone(multi_level=True)
    return modules, variables


def _load_start(config):
    if not config.init_from:
        raise StylePrompterError(
            f"config.init_from is empty: stage {config.stage!r} needs a model folder "
            'with a generator, or the name of a bundled model such as "avatars64".'
        )
    model_config, variables, _ = load_model(config.init_from)
    if config.stage == "smart" and model_config.encoder is None:
        raise StylePrompterError(
            f"{config.init_from} has no encoder: train one first with stage "
            '"encoder", and set config.init_from to its WORKDIR/model.'
        )
    return model_config, variables


def _with_trained_part(start: StylePrompterConfig, config) -> StylePrompterConfig:
    fields = config.model.get(config.stage, {})
    fields = fields.to_dict() if fields else {}
    if config.stage == "smart":
        return StylePrompterConfig(
            start.encoder, SmartConfig(**fields), start.generator
        )
    encoder = SwinConfig(
        image_size=config.data.image_size,
        num_tokens=start.generator.num_codes,
        w_dim=start.generator.w_dim,
        **fields,
    )
    if config.get("init_encoder"):
        _check_start(start.encoder, encoder, config.init_from)
    return StylePrompterConfig(encoder, None, start.generator)


def _check_start(given: SwinConfig | None, wanted: SwinConfig, folder: str) -> None:
    """Refuses an encoder to start from that is not the one to train."""
    if given is None:
        raise StylePrompterError(
            f"config.init_encoder is true, but {folder} has no encoder: convert a "
            "SwinV2 file together with its generator, or set it to false."
        )
    for field in dataclasses.fields(SwinConfig):
        ours, theirs = (getattr(c, field.name) for c in (wanted, given))
        if field.name not in ("drop_path", "remat") and ours != theirs:
            raise StylePrompterError(
                f"The encoder of {folder} has {field.name} = {theirs}, and the one to "
                f"train {ours}: set config.model.encoder.{field.name}, or "
                "config.init_encoder to false."
            )
