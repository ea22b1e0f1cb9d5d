"""Filters, modulated convolutions, discriminator and Fréchet distance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, signal

from styleprompter_jax.models.discriminators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    minibatch_stddev,
)
from styleprompter_jax.ops import (
    fir,
    frechet,
    modulated_conv,
    product,
    upsample_conv,
)

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def upfirdn(x, taps, up=1, down=1):
    """Along both axes of (b, h, w, c), every sample that touches the input."""
    for axis in (1, 2):
        x = np.apply_along_axis(
            lambda v: signal.upfirdn(taps, v, up, down), axis, np.asarray(x)
        )
    return x


def test_blur_is_scipys_filter():
    x = normal(0, 2, 7, 6, 3)
    full = fir.blur(x, ((3, 3), (3, 3)), gain=4.0)
    np.testing.assert_allclose(full, 4 * upfirdn(x, TAPS), atol=1e-5)


@pytest.mark.parametrize("padding", [((2, 2), (2, 2)), ((0, 3), (1, 2))])
@pytest.mark.parametrize("stride", [1, 2])
def test_blur_of_tpus_is_the_same(padding, stride):
    x = normal(0, 2, 9, 8, 5)
    how = dict(padding=padding, taps=[0.25, 0.75, 0.75, 0.25], stride=stride)
    by_slices = partial(fir.by_slices, **how)
    by_convolutions = partial(fir.by_convolutions, **how)
    np.testing.assert_allclose(by_slices(x), by_convolutions(x), atol=1e-6)
    # Sums of both, weighted alike, have the same gradient.
    weights = normal(1, *by_slices(x).shape)
    gradients = (
        jax.grad(lambda x, f=f: jnp.sum(f(x) * weights))(x)
        for f in (by_slices, by_convolutions)
    )
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_rgb_of_tpus_is_the_same():
    x, kernel, style = normal(0, 2, 5, 4, 6), normal(1, 6, 3), normal(2, 2, 6)
    expected = modulated_conv.modulated_conv(
        x, kernel[None, None], style, demodulate=False
    )
    for rgb in (
        modulated_conv.modulated_rgb,
        modulated_conv.rgb_by_scaled_weights,
        modulated_conv.rgb_of_scaled_map,
    ):
        np.testing.assert_allclose(rgb(x, kernel, style), expected, atol=1e-5)


def test_upsampling_is_scipys():
    x = normal(0, 2, 5, 4, 3)
    expected = upfirdn(x, 2 * TAPS, up=2)
    # rosinality pads the zero-inserted image by (2, 1): all but the first sample.
    np.testing.assert_allclose(fir.upsample2(x), expected[:, 1:11, 1:9], atol=1e-6)


def test_downsampling_keeps_every_second_filtered_sample():
    x = normal(0, 2, 8, 6, 3)
    filtered = upfirdn(x, TAPS)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(fir.downsample2(x), filtered[:, ::2, ::2], atol=1e-6)


def test_upsample_conv_in_each_form_and_its_gradients():
    x, kernel = normal(0, 2, 4, 5, 3), normal(1, 3, 3, 3, 2)
    expected = np.zeros((2, 9, 11, 2))
    for i in range(3):
        for j in range(3):
            expected[:, i : i + 8 : 2, j : j + 10 : 2] += x @ kernel[i, j]
    expected = fir.blur(expected, ((1, 1), (1, 1)), gain=4.0)
    forms = (upsample_conv.upsample_conv, upsample_conv.by_dilation)
    for form in (*forms, upsample_conv.by_phases, upsample_conv.by_cudnn):
        np.testing.assert_allclose(form(x, kernel), expected, atol=1e-5)
    gradients = [
        jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1))(x, kernel)
        for f in forms
    ]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulating_activations_equals_modulating_weights(up, demodulate):
    x, kernel, style = normal(0, 3, 4, 4, 5), normal(1, 3, 3, 5, 6), normal(2, 3, 5)
    ours = modulated_conv.modulated_conv(x, kernel, style, demodulate=demodulate, up=up)
    for k in range(3):
        weights = kernel * style[k][:, None]
        if demodulate:
            weights /= jnp.sqrt(jnp.sum(weights**2, (0, 1, 2)) + 1e-8)
        conv = upsample_conv.upsample_conv if up else modulated_conv.conv2d
        np.testing.assert_allclose(
            ours[k : k + 1], conv(x[k : k + 1], weights), atol=1e-4
        )


def test_minibatch_stddev_is_of_groups():
    x = normal(0, 8, 4, 4, 3)
    y = minibatch_stddev(x, 4)[..., -1]
    # Sample i belongs to group i mod 2, as in the published code.
    for m in (0, 1):
        expected = np.sqrt(np.var(x[m::2], axis=0) + 1e-8).mean()
        np.testing.assert_allclose(y[m::2], expected, rtol=1e-5)


def test_discriminator_of_config_f_at_full_size():
    model = Discriminator(DiscriminatorConfig(1024))
    images = jax.ShapeDtypeStruct((4, 1024, 1024, 3), jnp.float32)
    logits, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), images
    )
    assert logits.shape == (4,)
    # The count that NVIDIA's stylegan2-ada-pytorch prints for this network.
    assert sum(x.size for x in jax.tree.leaves(variables)) == 29_012_513


def test_frechet_distance_is_the_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(40, 6)) * 1.5 + 0.3
    (mu_a, cov_a), (mu_b, cov_b) = frechet.gaussian(a), frechet.gaussian(b)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = np.sum((mu_a - mu_b) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    found = frechet.frechet_distance((mu_a, cov_a), (mu_b, cov_b))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    same = frechet.frechet_distance((mu_a, cov_a), (mu_a, cov_a))
    np.testing.assert_allclose(same, 0, atol=1e-9)


def test_layout_features_see_position_and_sharpness():
    x = normal(0, 4, 32, 32, 3)
    features = frechet.layout_features(x)
    assert features.shape == (4, 320)
    blurred = frechet.layout_features(fir.blur(x, ((1, 2), (1, 2))))
    assert np.all(blurred[:, 192:].mean(1) < features[:, 192:].mean(1))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_product_has_the_gradients_of_autodiff(shape):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 4, shape[0])), rng.standard_normal(shape)

    def total(function):
        return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel)))

    both = (
        jax.grad(total(function), (0, 1))(x, kernel)
        for function in (product.product, jnp.matmul)
    )
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
