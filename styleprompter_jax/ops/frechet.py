"""Fréchet distance between two sets of images, and features that need no weights."""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce
from numpy.typing import ArrayLike

from styleprompter_jax.core.errors import StylePrompterError

Gaussian = tuple[np.ndarray, np.ndarray]  # mean and covariance


def layout_features(images: jax.Array) -> jax.Array:
    """Computes features of the layout: (b, h, w, 3) in [-1, 1] -> (b, 320).

    The features are means over the cells of an 8x8 grid: the colour (192 numbers), and
    the absolute horizontal and vertical steps of the luminance between neighbouring
    pixels (64 each). The steps show whether edges are sharp or blurred.
    """
    _, h, w, _ = images.shape
    grid = dict(p=h // 8, q=w // 8)
    colour = reduce(images, "b (y p) (x q) c -> b y x c", "mean", **grid)
    luma = images @ jnp.array([0.299, 0.587, 0.114])
    steps = jnp.stack(
        [
            jnp.abs(jnp.diff(luma, axis=2, append=luma[:, :, -1:])),
            jnp.abs(jnp.diff(luma, axis=1, append=luma[:, -1:])),
        ],
        axis=-1,
    )
    steps = reduce(steps, "b (y p) (x q) c -> b y x c", "mean", **grid)
    return rearrange(jnp.concatenate([colour, steps], -1), "b y x c -> b (y x c)")


def gaussian(features: ArrayLike) -> Gaussian:
    """Computes mean (d,) and covariance (d, d) of features (n, d) in float64.

    Raises:
        StylePrompterError: if n is less than 2.
    """
    features = np.asarray(features, np.float64)
    if len(features) < 2:
        raise StylePrompterError(
            "A Fréchet distance needs at least two images in each set: give more."
        )
    return features.mean(0), np.cov(features, rowvar=False)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Computes |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) of results of `gaussian`."""
    (mu_a, cov_a), (mu_b, cov_b) = a, b
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # (A B)^(1/2) has the trace of (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    middle = np.linalg.eigvalsh(root @ cov_b @ root)
    trace = (
        np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.clip(middle, 0, None)).sum()
    )
    return float(np.sum((mu_a - mu_b) ** 2) + trace)
