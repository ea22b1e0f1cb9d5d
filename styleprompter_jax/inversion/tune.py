"""Pivotal tuning: a generator fitted to images whose codes stay as they are.

Roich et al. 2021 (arXiv 2106.05744).  Axes: b images, s side of one, n codes.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax import losses
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.values import real, shown, whole
from styleprompter_jax.editing.directions import check_layers
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.changes import Deltas, changed, deltas_of
from styleprompter_jax.ops import descent
from styleprompter_jax.ops.framing import framed

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter

# As published, except for the rates of the steps, and for the loss without LPIPS.
STOP = 0.06  # of LPIPS
LOCAL_PSI, LOCAL_STEP = 0.5, 30.0  # truncation of samples, and how far towards them
STRUCTURE = 0.02  # weight of the structural loss


class _How(NamedTuple):
    """The static arguments of a step."""

    module: nn.Module
    refine: bool
    noise_mode: str
    network: nn.Module | None


def tune(
    model: "StylePrompter",
    images: Any,
    latents: Latents,
    steps: int,
    *,
    refine: bool | None,
    noise_mode: str,
    network: tuple[nn.Module, Mapping] | None,
    perceptual: float | None,
    locality: float,
    layers: Sequence[int] | None,
    stop: float | None,
    learning_rate: float,
    batch_size: int,
    seed: int,
    told: Callable[[int, float], None] | None,
    **options: Any,
) -> Latents:
    """Returns the latents with their change; see `StylePrompter.tune`."""
    images = calls.check_targets(model.config, images)
    pivot, refine, options = calls.check_fit(
        model.config, latents, len(images), refine, noise_mode, options
    )
    steps = whole(steps, "steps", 1)
    if not (learning_rate := real(learning_rate, "learning_rate", 0)):
        raise StylePrompterError("learning_rate is 0: it must be more than 0.")
    if not callable(told) and told is not None:
        raise StylePrompterError(
            f"told is {shown(told)}: give a function of the step and the loss, or None."
        )
    module, fixed = _network(network)
    weight = (1.0 if module else STRUCTURE) if perceptual is None else perceptual
    weight, locality = real(weight, "perceptual", 0), real(locality, "locality", 0)
    stop = real((STOP if module else 0.0) if stop is None else stop, "stop", 0)
    how = _How(model.module, refine, noise_mode, module)
    rng = np.random.default_rng(whole(seed, "seed"))
    size = min(whole(batch_size, "batch_size", 1), len(images))
    deltas, held = _start(model, latents, layers)
    state = descent.start(deltas)
    recent: collections.deque = collections.deque(maxlen=-(-len(images) // size))
    for k, rate in enumerate(descent.held_rates(learning_rate, steps)):
        rows = (k * size + np.arange(size)) % len(images)
        part = Latents(pivot.w_plus[rows], tuple(f[rows] for f in pivot.features))
        own = jax.tree.map(lambda x, rows=rows: x[rows] if x.ndim else x, options)
        drawn = (size, model.config.generator.z_dim)
        z = rng.standard_normal(drawn, np.float32) if locality else None
        inputs = part, images[rows], own, (weight, locality), rate, z
        found, state, loss, distance = _step(
            size, how, model.variables, fixed, held, deltas, state, *inputs
        )
        if not math.isfinite(float(loss)):
            raise StylePrompterError(
                f"The tuning diverged at step {k + 1}: choose a smaller learning_rate."
            )
        recent.append(float(distance))
        # As published, this test is of the generator before the step.
        if len(recent) == recent.maxlen and max(recent) <= stop:
            break
        deltas = found
        if told is not None:
            told(k + 1, float(loss))
    kept = {k: np.asarray(delta) for k, delta in {**held, **deltas}.items()}
    kept = {k: delta for k, delta in kept.items() if delta.any()}
    change = GeneratorChange(kept, model.sha256, model.source, refined=refine)
    return latents.changed(change)


def _network(given: Any) -> tuple[nn.Module | None, Mapping]:
    """Returns the network and its variables, or None and {}."""
    if given is None:
        return None, {}
    if not (isinstance(given, tuple) and isinstance(given[0], nn.Module)):
        raise StylePrompterError(
            f"network is {shown(given)}: give the result of "
            'load_network(folder, "lpips").'
        )
    module, variables = given
    return module, variables


def _start(
    model: "StylePrompter", latents: Latents, layers: Sequence[int] | None
) -> tuple[Deltas, Deltas]:
    """Returns the first deltas of the layers to tune, and those that do not change.

    The first deltas are those that the latents carry, or zeros. The latents may also
    carry deltas of other layers.
    """
    params = model.params["generator"]
    keys = model.config.generator.layer_keys(params)
    chosen = check_layers(layers, len(keys))
    if chosen == []:
        raise StylePrompterError(
            "layers is empty: give one index or more, or None for all layers."
        )
    if chosen is not None:
        keys = [keys[layer] for layer in chosen]
    shapes = {k: p.shape for k, p in flatten_dict(params, sep="/").items()}
    zeros = {k: np.zeros(shapes[k], np.float32) for part in keys for k in part}
    groups = latents.by_change()
    if len(groups) > 1:
        raise StylePrompterError(
            "The latents are of several tuned generators: tune the latents of one at "
            "a time."
        )
    before = deltas_of(model, groups[0][1])
    carried = {k: np.asarray(d, np.float32) for k, d in before.items()}
    found = {k: carried.pop(k, zero) for k, zero in zeros.items()}
    return found, carried


@by_size(static_argnums=0)
def _step(
    how: Any,
    variables: Mapping,
    fixed: Mapping,
    held: Deltas,
    deltas: Deltas,
    state: Any,
    pivot: Latents,
    images: jax.Array,
    options: Any,
    weights: tuple,
    rate: Any,
    z: jax.Array | None,
) -> tuple:
    """Returns deltas and state after a step, and loss and distance before it."""
    perceptual, locality = weights

    def compare(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the loss, and its perceptual distance."""
        a = framed(a, *b.shape[1:3])
        size = min(a.shape[1], b.shape[1])
        a, b = losses.pool_to(a, size), losses.pool_to(b, size)
        if how.network is None:
            distance = losses.structure(a, b)
        else:
            features = partial(how.network.apply, fixed)
            distance = jnp.mean(losses.distances("lpips", features, a, b))
        return losses.l2(a, b) + perceptual * distance, distance

    def loss(deltas: Deltas) -> tuple[jax.Array, jax.Array]:
        tuned = changed(variables, {**held, **deltas})
        outputs = how.module.apply(
            tuned,
            pivot.w_plus,
            pivot.features,
            **options,
            refine=how.refine,
            noise_mode=how.noise_mode,
            method="decode",
        )
        total, distance = compare(outputs, images)
        if z is not None:
            near = _near(how.module, variables, pivot.w_plus, z)
            pair = (
                how.module.apply(
                    own, near, noise_mode=how.noise_mode, method="synthesize"
                )
                for own in (tuned, variables)
            )
            total += locality * compare(*pair)[0]
        return total, distance

    (total, distance), gradient = jax.value_and_grad(loss, has_aux=True)(deltas)
    return *descent.descend(deltas, gradient, state, rate), total, distance


def _near(
    module: nn.Module, variables: Mapping, w_plus: Any, z: jax.Array
) -> jax.Array:
    """Moves codes (b, n, w_dim) towards those of z (b, z_dim), by the same length."""
    w: Any = module.apply(variables, z, method="mapping")
    mean = variables["const"]["latent_avg"]
    samples = mean + LOCAL_PSI * (w[:, None] - mean)
    way = samples - w_plus
    length = jnp.sqrt(jnp.sum(way**2, (1, 2), keepdims=True))
    return w_plus + LOCAL_STEP * way / length
