"""Directions fitted to pairs of images: before and after what they are to change.

    smile = fit_direction(model, serious, smiling)

A difference of codes says what an attribute adds to W+, and not what the generator
makes of it, nor what SMART then brings back from the image that is edited.  Here the
edited image itself is compared with the one wanted, and the gradient goes through both.

Axes: m pairs, s side of an image, n codes.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.latents import Latents
from styleprompter_jax.models import style_prompter
from styleprompter_jax.padding import pad, take
from styleprompter_jax.pipeline import StylePrompter
from styleprompter_jax.training import losses

_ADAM = optax.scale_by_adam()


class _How(NamedTuple):
    """What a step is compiled for."""

    module: style_prompter.StylePrompter
    refine: tuple[bool, ...]
    both_ways: bool
    structure: float


def fit_direction(
    model: StylePrompter,
    before,
    after,
    *,
    beta: tuple[float, float] = (0.5, 0.5),
    both_ways: bool = True,
    steps: int = 400,
    batch_size: int = 8,
    learning_rate: float = 0.03,
    structure: float = 0.3,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    origin: str = "pairs",
) -> Direction:
    """A direction along which a step of strength 1 leads from before to after.

    It starts as the mean difference of the codes and is fitted by Adam: the mean square
    and 1 - SSIM between the edited image and the wanted one, without SMART and, where
    the model has it, with SMART at ``beta``.

    Args:
        model: with an encoder.
        before, after: images (m, s, s, 3) in [-1, 1], s = model.image_size.
        beta: SMART's weights for such edits, kept with the direction.
        both_ways: strength -1 is to lead from after to before, too.
        steps: of gradient descent, each on ``batch_size`` pairs.
        learning_rate: of the first step; it falls to zero along a cosine.
        structure: weight of 1 - SSIM over several scales.
        layers: indices of the codes to change; None means all.
        seed: of the order of the pairs.
        origin: kept with the direction.

    Returns:
        A direction of (n, w_dim), with strength 1.

    Raises:
        StylePrompterError: if there are no pairs, or they are not equally many.
    """
    m = len(before)
    if not m or m != len(after):
        raise StylePrompterError(
            f"There are {m} images before and {len(after)} after an edit: give pairs."
        )
    batch_size = min(batch_size, m)
    start, goal = (_encode(model, images, batch_size) for images in (before, after))
    refine = (False,) if model.config.smart is None else (False, True)
    how = _How(style_prompter.StylePrompter(model.config), refine, both_ways, structure)
    variables = {"params": model.params, "const": model.const}
    n = model.config.generator.num_codes
    mask = np.isin(np.arange(n), range(n) if layers is None else layers)[:, None]
    direction = jnp.mean(goal.w_plus - start.w_plus, 0) * mask
    state, rng = _ADAM.init(direction), np.random.default_rng(seed)
    for k in range(steps):
        rows = rng.choice(m, batch_size, replace=False)
        edits = [(start, after), (goal, before)] if both_ways else [(start, after)]
        edits = [(latents[rows], wanted[rows]) for latents, wanted in edits]
        rate = learning_rate * (1 + np.cos(np.pi * k / steps)) / 2
        direction, state = _step(
            how, variables, direction, state, edits, beta, rate * mask
        )
    vector = np.asarray(direction)
    return Direction(vector, layers, range=(-1.5, 1.5), beta=beta, origin=origin)


def _encode(model: StylePrompter, images, batch_size: int) -> Latents:
    """The latents of all images as NumPy arrays; one shape is compiled."""
    parts = []
    for k in range(0, len(images), batch_size):
        part = images[k : k + batch_size]
        parts.append(take(model.encode(pad(part, batch_size)), len(part)))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@partial(jax.jit, static_argnums=0)
def _step(how, variables, direction, state, edits, beta, rate):
    def loss(direction):
        total = 0.0
        for sign, (latents, wanted) in zip((1, -1), edits, strict=False):
            for refine in how.refine:
                image = how.module.apply(
                    variables,
                    latents.w_plus + sign * direction,
                    latents.features,
                    beta=beta,
                    refine=refine,
                    method="decode",
                )
                size = min(image.shape[1], wanted.shape[1])
                pair = losses.pool_to(image, size), losses.pool_to(wanted, size)
                total += losses.l2(*pair) + how.structure * losses.structure(*pair)
        return total

    updates, state = _ADAM.update(jax.grad(loss)(direction), state)
    return direction - rate * updates, state
