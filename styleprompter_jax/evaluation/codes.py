"""Where an encoder's codes lie: how much W+ still means what W does.

A direction works where it was found, among the codes of the mapping network; codes far
from them invert well and edit badly (Tov et al. 2021, arXiv 2102.02766).

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

SAMPLES = 10_000  # codes of the mapping network that stand for its distribution
VARIANCE = 0.999  # share of it that the whitened channels keep
STEP = 1e-3  # of the way between two codes


def code_statistics(w_plus: np.ndarray, w: np.ndarray) -> dict:
    """Codes of each layer beside the mapping network's.

    Args:
        w_plus: (m, n, d), predicted.
        w: (2 m or more, d), sampled; the first m are measured as if they were
            predicted, against the others: what a perfect encoder would get.

    Returns:
        {"layers": one dict for each of n codes, "sampled": one dict}, with
            "spread": root mean square over images and channels of the distance from
                the layer's own mean;
            "offset": of the layer's mean from the mean w;
            "apart": of the code from the mean of its image's n codes; 0 in W;
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
    variances, components = np.linalg.eigh(covariance)
    share = np.cumsum(variances[::-1]) / variances.sum()
    kept = slice(-1 - int(np.searchsorted(share, VARIANCE)), None)
    deviations, components = np.sqrt(variances[kept]), components[:, kept]

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


def path_length(
    model: StylePrompter,
    a: np.ndarray,
    b: np.ndarray,
    *,
    size: int,
    network: tuple | None = None,
    seed: int = 0,
    batch_size: int = 16,
) -> float:
    """How fast the image changes on the way from codes to others, without SMART.

    Perceptual path length (Karras et al. 2019), at points drawn evenly from the way:
    the distance over a small step, divided by its square, averaged over all pairs. The
    step is 1e-3 of the way, where the published form takes 1e-4: float32 tells more of
    it, and the image is as good as linear.

    Args:
        model: with a generator.
        a: codes (m, n, d), or (m, d) in W.
        b: for each of them another.
        size: side to which images are resized first.
        network: for LPIPS, what `load_network` gives; without, the distance is
            the mean square of pixels in [-1, 1].
        seed: of the points.
        batch_size: pairs at once; a last, smaller batch is compiled anew.
    """
    t = np.random.default_rng(seed).random((len(a), *[1] * (a.ndim - 1)), np.float32)

    def features(codes: np.ndarray) -> Any:
        images = resized(model.synthesize(codes), size)
        return images if network is None else apply(*network, images)

    distance = mse if network is None else PERCEPTUAL["lpips"].distance
    total = 0.0
    for k in range(0, len(a), batch_size):
        part = slice(k, k + batch_size)
        way = b[part] - a[part]
        # Differences of near numbers: TF32 would drown them.
        with jax.default_matmul_precision("highest"):
            ends = (
                features(a[part] + (t[part] + s) * way) for s in (-STEP / 2, STEP / 2)
            )
            total += float(distance(*ends).sum())
    return total / len(a) / STEP**2


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
