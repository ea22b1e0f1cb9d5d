"""Metrics against scikit-image and the literature's definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from styleprompter_jax.losses import structure
from styleprompter_jax.ops import metrics


def pair(height, width, seed=0):
    """A smooth batch of images and a noisy one."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(height)[:, None] / 9 + np.arange(width) / 5)
    x = waves[None, :, :, None] * rng.uniform(0.5, 1, (2, 1, 1, 3))
    y = (x + 0.2 * rng.normal(size=(2, height, width, 3))).clip(-1, 1)
    return x.astype(np.float32), y.astype(np.float32)


def reference_ssim(x, y, channel_axis=-1, **options):
    return structural_similarity(
        x.astype(np.float64),
        y.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=2.0,
        channel_axis=channel_axis,
        **options,
    )


def test_ssim_and_psnr_are_those_of_scikit_image():
    x, y = pair(40, 57)
    expected = [reference_ssim(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(jax.jit(metrics.ssim)(x, y), expected, atol=1e-5)
    expected = [
        peak_signal_noise_ratio(a, b, data_range=2) for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(x, y), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.mse(x, y), ((x - y) ** 2).mean((1, 2, 3)), 1e-5)


def test_one_scale_of_ms_ssim_is_ssim_of_each_channel():
    x, y = pair(32, 32)
    difference = jax.jit(lambda: metrics.ms_ssim(x, y, (1.0,)) - metrics.ssim(x, y))()
    np.testing.assert_allclose(difference, 0, atol=1e-6)


# Results of pytorch-msssim 1.0.0 in float64 for pair(192, 208), channels first, with
# ms_ssim(x, y, data_range=2, size_average=False) and these weights (None: its own).
MS_SSIM = {
    None: [0.9466031389, 0.9568290675],
    (0.2, 0.3, 0.5): [0.8475987097, 0.8758705791],
}


@pytest.mark.parametrize("weights", MS_SSIM)
def test_ms_ssim_is_that_of_pytorch_msssim(weights):
    x, y = pair(192, 208)
    options = {} if weights is None else {"weights": weights}
    found = jax.jit(lambda: metrics.ms_ssim(x, y, **options))()
    np.testing.assert_allclose(found, MS_SSIM[weights], atol=2e-6)
    # By Wang et al., the luminance counts only at the last scale. A huge K1 removes it
    # from scikit-image's result.
    own = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333) if weights is None else weights
    expected = np.ones((2, 3))
    for scale, weight in enumerate(own):
        if scale:
            shape = 2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3
            x, y = (a.reshape(shape).mean((2, 4)) for a in (x, y))
        constant = {} if scale == len(own) - 1 else {"K1": 1e6}
        for image, channel in np.ndindex(2, 3):
            planes = (a[image, ..., channel] for a in (x, y))
            similarity = reference_ssim(*planes, channel_axis=None, **constant)
            expected[image, channel] *= similarity**weight
    np.testing.assert_allclose(found, expected.mean(1), atol=1e-5)


def test_ms_ssim_orders_distortions_and_refuses_small_images():
    x, y = pair(176, 180)
    blends = np.concatenate([x[:1] + t * (y[:1] - x[:1]) for t in (0, 0.5, 1)])
    scores = jax.jit(metrics.ms_ssim)(np.tile(x[:1], (3, 1, 1, 1)), blends)
    np.testing.assert_allclose(scores[0], 1, atol=1e-5)
    assert scores[0] > scores[1] > scores[2]
    with pytest.raises(ValueError, match="176 pixels"):
        metrics.ms_ssim(x[:, :100], y[:, :100])


def test_gradients_are_finite_and_right():
    x, y = (jnp.asarray(a[:1, :, :, :1]) for a in pair(22, 24))

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        return metrics.ms_ssim(x, y, weights=(0.4, 0.6)).sum()

    direction = jax.random.normal(jax.random.key(0), x.shape)
    step = 1e-2 * direction
    slope = (loss(x + step)[0] - loss(x - step)[0]) / 2e-2
    np.testing.assert_allclose(jnp.vdot(loss(x)[1], direction), slope, rtol=2e-2)
    # Opposite images have negative similarity; equal ones a flat optimum.
    assert jnp.isfinite(loss(-y)[1]).all() and jnp.isfinite(loss(y)[1]).all()


def test_structure_drops_a_last_odd_row_or_column():
    x, y = jax.random.uniform(jax.random.key(0), (2, 1, 34, 37, 3), minval=-1)
    halves = (z[:, :, :36].reshape(1, 17, 2, 18, 2, 3).mean((2, 4)) for z in (x, y))
    # The next scale would have 8 rows, fewer than 16.
    scales = [1 - metrics.ssim(x, y)[0], 1 - metrics.ssim(*halves)[0]]
    np.testing.assert_allclose(structure(x, y), np.mean(scales), rtol=1e-6)
