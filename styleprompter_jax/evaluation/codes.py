"""Measures the distance between an encoder's codes and the codes in W.

A direction works near the codes of the mapping network, where it was found. Codes far
from them invert images well, but are hard to edit (Tov et al. 2021, arXiv 2102.02766).

Axes: m images, n codes of an image, d channels of a code.
"""

from typing import Any

import jax
import numpy as np

from styleprompter_jax.evaluation.evaluate import apply
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.ops.frechet import frechet_distance, gaussian
from styleprompter_jax.ops.metrics import mse, resized

SAMPLES = 10_000  # sampled codes of the mapping network, for its distribution
VARIANCE = 0.999  # share of the variance that the whitened channels keep
STEP = 1e-3  # length of a step, as a share of the way between two codes


def code_statistics(w_plus: np.ndarray, w: np.ndarray) -> dict:
    """Compares the codes of each layer with the codes of the mapping network.

    Args:
        w_plus: (m, n, d), predicted codes.
        w: (2 m or more, d), sampled codes. The function measures the first m against
            the others, as if an encoder had predicted them. These are the numbers of a
            perfect encoder.

    Returns:
        {"layers": one dict for each of n codes, "sampled": one dict}, with
            "spread": root mean square over images and channels of the distance from
                the layer's own mean;
            "offset": the same of the layer's mean from the mean w;
            "apart": the same of the code from the mean of its image's n codes; 0 in W;
            "mahalanobis": root mean square over channels, mean over images, of the
                distance from the mean w in standard deviations of w, in the principal
                components that hold 99.9 % of its variance; near 1 for w itself;
            "outside": share of the squared distance from the mean w that is not in
                those components;
            "frechet": Fréchet distance from the distribution of w.
    """
    w_plus, w = np.asarray(w_plus, np.float64), np.asarray(w, np.float64)
    m, n, _ = w_plus.shape
    fresh, reference = w[:m], w[m:]
    mean, covariance = gaussian(reference)
    deviations, components = _principal(covariance)

    def describe(codes: np.ndarray, apart: np.ndarray) -> dict:
        steps = codes - mean
        inside = steps @ components
        return {
            "spread": _rms(codes - codes.mean(0)),
            "offset": _rms(codes.mean(0) - mean),
            "apart": _rms(apart),
            "mahalanobis": float(
                np.sqrt(np.mean((inside / deviations) ** 2, 1)).mean()
            ),
            "outside": 1 - float((inside**2).sum() / (steps**2).sum()),
            "frechet": frechet_distance(gaussian(codes), (mean, covariance)),
        }

    apart = w_plus - w_plus.mean(1, keepdims=True)
    return {
        "layers": [describe(w_plus[:, k], apart[:, k]) for k in range(n)],
        "sampled": describe(fresh, np.zeros_like(fresh)),
    }


def distances_from_w(w_plus: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Returns "mahalanobis" of each image, a mean over codes; see `code_statistics`.

    Args:
        w_plus: (m, n, d), predicted.
        w: (k, d), sampled.

    Returns:
        (m,).
    """
    mean, covariance = gaussian(np.asarray(w, np.float64))
    deviations, components = _principal(covariance)
    steps = (np.asarray(w_plus, np.float64) - mean) @ components / deviations
    return np.sqrt(np.mean(steps**2, 2)).mean(1)


def _principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the components (d, c) with most variance, and their deviations (c,)."""
    variances, components = np.linalg.eigh(covariance)
    share = np.cumsum(variances[::-1]) / variances.sum()
    kept = slice(-1 - int(np.searchsorted(share, VARIANCE)), None)
    return np.sqrt(variances[kept]), components[:, kept]


def path_length(
    model: StylePrompter,
    a: np.ndarray,
    b: np.ndarray,
    *,
    size: int | tuple[int, int],
    network: tuple | None = None,
    noise_mode: str = "const",
    seed: int = 0,
    batch_size: int = 16,
) -> float:
    """Measures how fast the image changes between pairs of codes, without SMART.

    This is the perceptual path length (Karras et al. 2019), at uniformly random points
    of the way: the distance over a small step, divided by the square of the step,
    averaged over all pairs. The step is 1e-3 of the way instead of the published 1e-4,
    because float32 then loses less precision, and the image still changes almost
    linearly.

    Args:
        model: a model with a generator.
        a: codes (m, n, d), or (m, d) in W.
        b: the other code of each pair, in the same shape.
        size: side, or height and width, to which images are resized first.
        network: the result of `load_network` for LPIPS; with None, the distance is the
            mean square of pixels in [-1, 1].
        noise_mode: "const" or "none", as for `StylePrompter.decode`.
        seed: seed of the points.
        batch_size: pairs in a batch; a smaller last batch is compiled separately.
    """
    t = np.random.default_rng(seed).random((len(a), *[1] * (a.ndim - 1)), np.float32)

    def features(codes: np.ndarray) -> Any:
        images = resized(
            model.shown(model.synthesize(codes, noise_mode=noise_mode)), size
        )
        return images if network is None else apply(*network, images)

    distance = mse if network is None else PERCEPTUAL["lpips"].distance
    total = 0.0
    for k in range(0, len(a), batch_size):
        part = slice(k, k + batch_size)
        way = b[part] - a[part]
        # TF32 is too coarse for the differences of similar numbers.
        with jax.default_matmul_precision("highest"):
            ends = (
                features(a[part] + (t[part] + s) * way) for s in (-STEP / 2, STEP / 2)
            )
            total += float(distance(*ends).sum())
    return total / len(a) / STEP**2


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
