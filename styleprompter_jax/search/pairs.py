"""Directions fitted to pairs of images: before and after what they are to change.

    smile = fit_direction(model, serious, smiling)

A difference of codes says what an attribute adds to W+, and not what the generator
makes of it, nor what SMART then brings back from the image that is edited.  Here the
edited image itself is compared with the one wanted, and the gradient goes through both.

Axes: m pairs, s side of an image, n codes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax import losses
from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.values import real, whole
from styleprompter_jax.editing.directions import Direction, Response, check_layers
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.models import inverter
from styleprompter_jax.ops import descent

COMPONENTS = 64  # of the codes, that a response is regressed on
CHANGED = 0.1  # of [-1, 1], the least difference of a pixel that counts as one
KEPT = 2**29  # bytes of inversions that are kept from step to step


class _How(NamedTuple):
    """What a step is compiled for."""

    module: inverter.StylePrompter
    refine: tuple[bool, ...]
    size: int
    structure: float
    keep: float


def fit_direction(
    model: StylePrompter,
    before: Any,
    after: Any,
    *,
    both_ways: bool = True,
    steps: int = 400,
    batch_size: int = 8,
    learning_rate: float = 0.01,
    structure: float = 0.3,
    keep: float = 0.2,
    rank: int = 16,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    origin: str = "pairs",
    **options: Any,
) -> Direction:
    """A direction along which a step of strength 1 leads from before to after.

    It starts as the linear regression of what the codes become on what they are, and is
    fitted by Adam: the mean square and 1 - SSIM between the edited inversion and the
    wanted image where a pair differs, and the inversion itself elsewhere; without SMART
    and, where the model has it, with its refiner.

    Args:
        model: with an encoder.
        before: images (m, s, s, 3) in [-1, 1], s = model.image_size.
        after: what each is to become, of the same shape.
        both_ways: strength -1 is to lead from after to before, too.
        steps: of gradient descent.
        batch_size: pairs in each of them.
        learning_rate: of the first step; it falls to zero along a cosine.
        structure: weight of 1 - SSIM over several scales.
        keep: weight of the mean square of the worst pixels among those to be kept.
        rank: of the direction's response to the codes; 0 for an edit that is the same
            for all images.  It is lower for few pairs: one for every ten images that
            are edited, at most.
        layers: indices of the codes to change; None means all.
        seed: of the order of the pairs.
        origin: kept with the direction.
        options: of the refiner for such edits, kept with the direction; by default
            what it has for edits: SMART's beta is (0.5, 0.5).

    Returns:
        A direction of (n, w_dim), with strength 1, and a response if there is a rank.

    Raises:
        StylePrompterError: if the model has no encoder; if there are no pairs, they are
            not equally many, not of the model's size or not finite; or if a number is
            out of its range.
    """
    before, after = (_images(model, images) for images in (before, after))
    m, n = len(before), model.config.generator.num_codes
    if m != len(after):
        raise StylePrompterError(
            f"There are {m} images before and {len(after)} after an edit: give pairs."
        )
    batch_size = min(whole(batch_size, "batch_size", 1), m)
    steps, rank = whole(steps, "steps"), whole(rank, "rank")
    seed, layers = whole(seed, "seed"), check_layers(layers, n)
    learning_rate = real(learning_rate, "learning_rate", 0)
    structure, keep = real(structure, "structure", 0), real(keep, "keep", 0)
    refiner = model.config.refiner
    options = {**(refiner.edit_options if refiner is not None else {}), **options}
    options = jax.tree.map(float, calls.check_options(model.config, options, 0))
    start, goal = (
        _in_batches(model.encode, images, batch_size) for images in (before, after)
    )
    # Of each edit: latents and image before it, the image wanted, and its sign.
    edits = [(start, before, after, 1), (goal, after, before, -1)][: 1 + both_ways]
    change = goal.w_plus - start.w_plus
    vector, response = _regressed(
        np.concatenate([latents.w_plus for latents, *_ in edits]),
        np.concatenate([change] * len(edits)),
        rank,
    )
    reads = [np.asarray(response.read(latents.w_plus)) for latents, *_ in edits]
    mask = np.isin(np.arange(n), range(n) if layers is None else layers)[:, None]
    fitted = {"vector": vector * mask, "writes": response.writes * mask}
    refine = (False,) if refiner is None else (False, True)
    module = inverter.StylePrompter(model.config)
    how = _How(module, refine, model.image_size, structure, keep)
    invert = partial(_inverted, batch_size, how, model.variables)
    # What is compared with stays the same: made once for each pair, where that is no
    # more than for each step, and there is room.
    room = len(refine) * len(edits) * before.nbytes <= KEPT
    kept = [
        _in_batches(invert, latents, batch_size)
        for latents, *_ in (edits if room and m <= steps * batch_size else ())
    ]
    state, rng = descent.start(fitted), np.random.default_rng(seed)
    for rate in descent.rates(learning_rate, steps):
        rows = rng.choice(m, batch_size, replace=False)
        batch = []
        for k, (latents, image, wanted, sign) in enumerate(edits):
            chosen = latents[rows]
            inversions = [x[rows] for x in kept[k]] if kept else invert(chosen)
            pair = image[rows], wanted[rows]
            batch.append((chosen, reads[k][rows], *pair, inversions, sign))
        fitted, state = _step(
            batch_size, how, model.variables, fitted, state, batch, options, rate * mask
        )
    response = dataclasses.replace(response, writes=fitted["writes"])
    return Direction(
        np.asarray(fitted["vector"]),
        None if layers is None else tuple(layers),
        range=(-1.5, 1.5),
        options=options,
        origin=origin,
        response=response if len(response.offsets) else None,
    )


def _images(model: StylePrompter, images: Any) -> np.ndarray:
    """Images (m, s, s, 3) that an encoder reads, found finite."""
    calls.require(model.config, "encoder")
    checked = calls.check_images(model.config, images)
    return np.asarray(as_numbers(np.asarray(checked), "The images"))


def _regressed(
    codes: np.ndarray, change: np.ndarray, rank: int
) -> tuple[np.ndarray, Response]:
    """The mean change of codes, and how it depends on them.

    Reduced-rank regression on the codes' leading principal components.

    Args:
        codes: (m, n, w_dim).
        change: (m, n, w_dim).
        rank: of the response, at most.
    """
    m, *shape = codes.shape
    codes, change = (x.reshape(m, -1).astype(np.float64) for x in (codes, change))
    center, vector = codes.mean(0), change.mean(0)
    scores, scales, components = np.linalg.svd(codes - center, full_matrices=False)
    # One for every ten samples at most, or it would learn them by heart.
    count = min(COMPONENTS, m // 10, np.sum(scales > 1e-6 * scales[0]))
    scores, scales, components = scores[:, :count], scales[:count], components[:count]
    left, weights, writes = np.linalg.svd(
        scores.T @ (change - vector), full_matrices=False
    )
    rank = min(rank, count)
    # What is read has a variance of 1.
    reads = np.sqrt(m) * left[:, :rank].T @ (components / scales[:, None])
    writes = writes[:rank] * weights[:rank, None] / np.sqrt(m)
    response = Response(
        reads.reshape(-1, *shape), reads @ center, writes.reshape(-1, *shape)
    )
    return vector.reshape(shape).astype(np.float32), response


def _in_batches(function: Callable, inputs: Any, batch_size: int) -> Any:
    """What a function makes of all inputs, as NumPy arrays; one shape is compiled."""
    parts = []
    for k in range(0, len(inputs), batch_size):
        part = inputs[k : k + batch_size]
        parts.append(take(function(pad(part, batch_size)), len(part)))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@by_size(static_argnums=0)
def _inverted(how: Any, variables: Mapping, latents: Latents) -> Any:
    """The images of latents, at the pairs' size at most, for each of ``how.refine``."""
    return [
        losses.pool_to(
            _decode(how, variables, latents, latents.w_plus, refine), how.size
        )
        for refine in how.refine
    ]


def _decode(
    how: Any,
    variables: Mapping,
    latents: Latents,
    w_plus: jax.Array | np.ndarray,
    refine: bool,
    **options: Any,
) -> Any:
    return how.module.apply(
        variables, w_plus, latents.features, refine=refine, **options, method="decode"
    )


@by_size(static_argnums=0)
def _step(
    how: Any,
    variables: Mapping,
    fitted: Any,
    state: Any,
    edits: Any,
    options: Any,
    rate: Any,
) -> tuple[Any, Any]:
    def loss(fitted: Any) -> Any:
        total: Any = 0.0
        for latents, read, image, wanted, inversions, sign in edits:
            step = fitted["vector"] + jnp.einsum("br,rnw->bnw", read, fitted["writes"])
            codes = latents.w_plus + sign * step
            for refine, inversion in zip(how.refine, inversions, strict=True):
                edited = _decode(how, variables, latents, codes, refine, **options)
                edited, *pair = (
                    losses.pool_to(x, inversion.shape[1])
                    for x in (edited, image, wanted)
                )
                changed = _changed(*pair)
                target = jnp.where(changed, pair[1], inversion)
                total += losses.l2(edited, target)
                total += how.structure * losses.structure(edited, target)
                kept = jnp.where(changed, inversion, edited)
                total += how.keep * losses.hardest(kept, inversion)
        return total

    return descent.descend(fitted, jax.grad(loss)(fitted), state, rate)


def _changed(image: jax.Array, wanted: jax.Array) -> jax.Array:
    """(b, s, s, 1), whether a pixel, or one near it, differs between two images."""
    changed = jnp.max(jnp.abs(wanted - image), -1, keepdims=True) > CHANGED
    reach = 2 * (image.shape[1] // 20) + 1
    window = (1, reach, reach, 1)
    return jax.lax.reduce_window(
        changed, False, jax.lax.bitwise_or, window, (1,) * 4, "SAME"
    )
