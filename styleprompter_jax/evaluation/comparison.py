"""Compares models and procedures on the same images, with values for each image.

Axes: m images, b images in a batch, h w sides of an image.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.latents import Latents, concatenate
from styleprompter_jax.evaluation.classifier import Classifier
from styleprompter_jax.evaluation.editability import judge_edits
from styleprompter_jax.evaluation.evaluate import latents_of, scores
from styleprompter_jax.images.batches import batches
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.ops.metrics import resized

RESAMPLES = 2000
LEVEL = 0.95
SHARES = "flipped", "kept"  # of `edits_of_each`
_DRAWN = 2**20  # largest number of indices that `interval` holds at once


@dataclasses.dataclass(frozen=True)
class Procedure:
    """A way from images to latents.

    Attributes:
        iterations: passes of a ReStyle encoder; None for the model's own number.
        optimize: steps that fit the codes to their image; 0 keeps the encoder's codes.
        tune: most steps that then fit a generator to each image; 0 tunes none.
    """

    iterations: int | None = None
    optimize: int = 0
    tune: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether it needs many gradients for an image."""
        return bool(self.optimize or self.tune)

    def __call__(
        self, model: StylePrompter, batch: Mapping, size: int, **decoding: Any
    ) -> Latents:
        """Returns the latents of b images, as NumPy arrays.

        Args:
            model: a model with an encoder.
            batch: has an "image" (b, h, w, 3) in [-1, 1], and may have a
                "tuning_target" (b, t, t', 3), the image to which a generator is tuned
                instead.
            size: the compiled batch size, b or more.
            decoding: options of the later calls of `StylePrompter.decode`.
        """
        images = batch["image"]
        padded = pad(images, size)
        latents = model.encode(padded, self.iterations)
        if self.optimize:
            latents = model.optimize(padded, latents, self.optimize, **decoding)
        latents = take(latents, len(images))
        if not self.tune:
            return latents
        targets = batch.get("tuning_target", images)
        return concatenate([
            model.tune(targets[k : k + 1], one, self.tune, **decoding).latents
            for k, one in enumerate(latents)
        ])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measured:
    """Results for m images.

    Attributes:
        values: float32 (m,) by metric.
        edits: float32 (k,) by metric, for the first k images; {} without edits.
        w_plus: float32 (m, n, w_dim).
        shown: the first inversions (k, h, w, 3).
    """

    values: dict[str, np.ndarray]
    edits: dict[str, np.ndarray]
    w_plus: np.ndarray
    shown: np.ndarray


def measure(
    model: StylePrompter,
    procedure: Procedure,
    batches: Iterable[Mapping],
    *,
    shape: tuple[int, int],
    networks: Mapping,
    edits_of: Callable[[Latents], Mapping[str, np.ndarray]] | None = None,
    edited: int = 0,
    show: int,
    batch_size: int | None = None,
    **decoding: Any,
) -> Measured:
    """Inverts images with a procedure, and compares the inversions with the images.

    Args:
        model: a model with an encoder.
        procedure: the way from images to latents.
        batches: dicts as for `Procedure`, also with a "target" (b, h, w, 3). The last
            batch may be smaller. "latents", as for `latents_of`, replace the procedure,
            but for the passes of the encoder.
        shape: (h, w).
        networks: results of `network_folder.load_network` by kind.
        edits_of: returns float32 (b,) by metric for the latents of a batch, such as
            `edits_of_each`. It is called batch by batch, because latents that were
            tuned hold a generator for each image.
        edited: number of images that `edits_of` is called for.
        show: number of inversions in the result.
        batch_size: rows to which each batch is padded; None for those of the first.
        decoding: options of `StylePrompter.decode`.
    """
    values: list[dict] = []
    codes: list[np.ndarray] = []
    edits: list[Mapping] = []
    shown: list[np.ndarray] = []
    for batch in batches:
        count = len(batch["image"])
        batch_size = batch_size or count
        if "latents" in batch:
            own = latents_of(model, batch, batch_size, procedure.iterations)
            found = take(own, count)
        else:
            found = procedure(model, batch, batch_size, **decoding)
        # Latents of several generators are rendered one by one, in any number.
        inputs = pad(found, batch_size) if found.changes is None else found
        outputs = resized(model.shown(model.decode(inputs, **decoding)), shape)
        target = jnp.asarray(pad(batch["target"], len(outputs)))
        values.append(take(scores(outputs, target, networks), count))
        done = sum(len(part) for part in codes)
        codes.append(np.asarray(found.w_plus))
        if edits_of and done < edited:
            edits.append(take(edits_of(inputs), min(count, edited - done)))
        if done < show:
            shown.append(np.asarray(outputs)[: min(count, show - done)])
    return Measured(
        _joined(values), _joined(edits), np.concatenate(codes), np.concatenate(shown)
    )


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the values of all batches, by metric."""
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def edits_of_each(
    model: StylePrompter,
    classifier: Classifier,
    latents: Latents,
    directions: Mapping[str, Direction],
    **options: Any,
) -> dict[str, np.ndarray]:
    """Returns for each image the shares of good edits.

    Args:
        model: renders the edits.
        classifier: judges the edits.
        latents: the latents of m images.
        directions: see `editability`.
        options: see `editability`; they include the noise.

    Returns:
        "flipped" (m,): the share of directions that gave the wanted verdict; "kept"
        (m,): the share of other attributes that kept their verdict, over all
        directions; missing if the classifier knows only one attribute. NaN without
        any edit. {} if no direction changes an attribute.
    """
    found = judge_edits(model, classifier, latents, directions, **options).values()
    if not found:
        return {}
    flipped = [np.where(e.edited, e.flipped, np.nan) for e in found]
    kept = [values for e in found for values in e.kept.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an image without edits
        shares = {"flipped": flipped} | ({"kept": kept} if kept else {})
        return {name: np.nanmean(values, 0) for name, values in shares.items()}


def interval(values: np.ndarray, seed: int = 0) -> dict[str, float | None]:
    """Returns the mean over m images and its bootstrap interval.

    The function resamples the images. The same m and seed give the same resamples, so
    the intervals of differences are paired by image.

    Args:
        values: (m,); the function ignores NaN.
        seed: of the resamples.

    Returns:
        "mean", and the ends "low" and "high" of its 95 % interval; None instead of a
        number that is not finite. One value has no interval: its ends are None.
    """
    values = np.asarray(values, np.float64)
    rng, m = np.random.default_rng(seed), len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of resamples with only NaN
        means = np.concatenate([
            np.nanmean(values[rng.integers(0, m, (part.stop - part.start, m))], 1)
            for part in batches(RESAMPLES, max(_DRAWN // m, 1))
        ])  # fmt: skip
        ends = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if np.isfinite(values).sum() < 2:
            ends = np.full(2, np.nan)
        found = [np.nanmean(values), *ends]
    names = ("mean", "low", "high")
    numbers = (float(x) if np.isfinite(x) else None for x in found)
    return dict(zip(names, numbers, strict=True))
