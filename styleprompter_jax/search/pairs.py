"""Fits directions to pairs of images before and after an edit.

    smile = fit_direction(model, serious, smiling)

A difference of codes shows the change in W+. It does not show the result of the
generator, or the details that SMART copies from the unedited image. For this reason,
the fit compares the edited image itself with the target, and the gradient goes through
the generator and SMART.

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
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.values import real, whole
from styleprompter_jax.editing.directions import Direction, Response, check_layers
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.models import inverter
from styleprompter_jax.ops import descent
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.search.regression import principal, regressed

CHANGED = 0.1  # smallest difference of a changed pixel, on the scale of [-1, 1]
KEPT = 2**29  # largest size of the inversions that steps share, in bytes


class _How(NamedTuple):
    """The static arguments of a compiled step."""

    module: inverter.StylePrompter
    refine: tuple[bool, ...]
    size: tuple[int, int]  # height and width of the images
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
    """Fits a direction; a step of strength 1 along it leads from before to after.

    The fit starts from a linear regression of the change of the codes on the codes, and
    continues with Adam. The loss is the mean square and 1 - SSIM between the edited
    inversion and its target. The target is the wanted image where a pair differs, and
    the unedited inversion elsewhere. The loss has a term without the refiner and, if
    the model has a refiner, a term with it.

    Args:
        model: a model with an encoder.
        before: images (m, s, s, 3) in [-1, 1], s = model.image_size.
        after: the same images after the edit, of the same shape.
        both_ways: also fit strength -1, from after to before.
        steps: steps of gradient descent.
        batch_size: pairs in a step.
        learning_rate: learning rate of the first step; it falls to zero along a cosine.
        structure: weight of 1 - SSIM over several scales.
        keep: weight of the mean square of the worst pixels outside of the change.
        rank: rank of the direction's response to the codes; 0 gives the same edit for
            all images. The rank is at most one for every ten edited images.
        layers: indices of the codes to change; None for all.
        seed: seed of the order of the pairs.
        origin: a note that the direction stores.
        options: options of the refiner for the edit, which the direction stores; by
            default the refiner's own for edits: SMART's beta is (0.5, 0.5).

    Returns:
        A direction of (n, w_dim) with strength 1, and with a response if the rank is
        not 0.

    Raises:
        StylePrompterError: if the model has no encoder, if pairs are missing, differ in
            number, do not have the model's size or are not finite, or if a number is
            out of its range; if there are options, but no refiner.
    """
    before, after = (checked_images(model, images) for images in (before, after))
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
    options = calls.check_edit_options(model.config, options)
    start, goal = (
        in_batches(model.encode, images, batch_size) for images in (before, after)
    )
    # For each edit: latents and image before it, the wanted image, and the sign.
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
    how = _How(module, refine, model.config.input_shape[:2], structure, keep)
    invert = partial(_inverted, batch_size, how, model.variables)
    # The unedited inversions do not change. They are computed once for each pair if
    # this is not more work than in each step, and if the memory suffices.
    room = len(refine) * len(edits) * before.nbytes <= KEPT
    kept = [
        in_batches(invert, latents, batch_size)
        for latents, *_ in (edits if room and m <= steps * batch_size else ())
    ]
    state, rng = descent.start(fitted), np.random.default_rng(seed)
    rates = descent.rates(learning_rate, steps)
    with Progress(rates, total=steps, unit="step", leave=False) as bar:
        for rate in bar:
            rows = rng.choice(m, batch_size, replace=False)
            batch = []
            for k, (latents, image, wanted, sign) in enumerate(edits):
                chosen = latents[rows]
                inversions = [x[rows] for x in kept[k]] if kept else invert(chosen)
                pair = image[rows], wanted[rows]
                batch.append((chosen, reads[k][rows], *pair, inversions, sign))
            now = rate * mask
            fitted, state = _step(
                batch_size, how, model.variables, fitted, state, batch, options, now
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


def checked_images(model: StylePrompter, images: Any) -> np.ndarray:
    """Checks that images (m, s, s, 3) fit the encoder, and that they are finite."""
    calls.require(model.config, "encoder")
    checked = calls.check_pictures(model.config, images)
    return np.asarray(as_numbers(np.asarray(checked), "The images"))


def _regressed(
    codes: np.ndarray, change: np.ndarray, rank: int
) -> tuple[np.ndarray, Response]:
    """Computes the mean change of codes, and a response to the codes.

    It is a reduced-rank regression on the leading principal components of the codes.

    Args:
        codes: (m, n, w_dim).
        change: (m, n, w_dim).
        rank: largest rank of the response.
    """
    m, *shape = codes.shape
    components = principal(codes)
    vector, reads, offsets, writes = regressed(
        components.scores, change.reshape(m, -1).astype(np.float64), rank
    )
    response = components.response(reads, offsets, writes.reshape(-1, *shape))
    return vector.reshape(shape).astype(np.float32), response


def in_batches(function: Callable, inputs: Any, batch_size: int) -> Any:
    """Applies a function to inputs in batches of one shape; returns NumPy arrays."""
    parts = []
    for k in range(0, len(inputs), batch_size):
        part = inputs[k : k + batch_size]
        parts.append(take(function(pad(part, batch_size)), len(part)))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@by_size(static_argnums=0)
def _inverted(how: Any, variables: Mapping, latents: Latents) -> Any:
    """Renders latents for each of ``how.refine``, pooled to at most the pairs' size."""
    return [
        losses.pool_to(
            rendered(how, variables, latents, latents.w_plus, refine), how.size[0]
        )
        for refine in how.refine
    ]


def rendered(
    how: Any,
    variables: Mapping,
    latents: Latents,
    w_plus: jax.Array | np.ndarray,
    refine: bool,
    **options: Any,
) -> Any:
    """Renders codes with the features of latents, framed to ``how.size``."""
    images = how.module.apply(
        variables, w_plus, latents.features, refine=refine, **options, method="decode"
    )
    return framed(images, *how.size)


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
                edited = rendered(how, variables, latents, codes, refine, **options)
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
    """Returns (b, s, s, 1): whether a pixel, or a pixel near it, differs."""
    changed = jnp.max(jnp.abs(wanted - image), -1, keepdims=True) > CHANGED
    reach = 2 * (image.shape[1] // 20) + 1
    window = (1, reach, reach, 1)
    return jax.lax.reduce_window(
        changed, False, jax.lax.bitwise_or, window, (1,) * 4, "SAME"
    )
