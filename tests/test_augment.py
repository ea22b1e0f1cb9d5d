"""Augmentations of what a discriminator sees: what they are, and where they are not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.ops import augment, warp

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (4, 16, 16, 3)), jnp.float32)
MANY = 40_000
warp_all, apply = jax.jit(warp.affine_warp), jax.jit(augment.apply)


@partial(jax.jit, static_argnums=1)
def draw(seed, count, p):
    return augment.draw(jax.random.key(seed), count, 64, p)


def warped(*rows):
    matrix = jnp.broadcast_to(jnp.asarray(rows, jnp.float32), (4, 2, 3))
    return np.asarray(warp_all(IMAGES, matrix))


def test_without_probability_nothing_changes():
    np.testing.assert_array_equal(apply(IMAGES, draw(0, 4, 0.0)), IMAGES)


def test_blits_keep_every_pixel():
    same = np.testing.assert_array_equal
    same(warped((-1, 0, 0), (0, 1, 0)), IMAGES[:, :, ::-1])
    same(warped((0, 1, 0), (-1, 0, 0)), np.rot90(IMAGES, 1, (2, 1)))
    moved = warped((1, 0, -2), (0, 1, 1))
    same(moved[:, :-1, 2:], IMAGES[:, 1:, :-2])
    same(moved[:, :-1, 1], IMAGES[:, 1:, 1])  # its mirror image beyond the edge
    same(moved[:, :-1, 0], IMAGES[:, 1:, 2])


def test_what_is_smooth_is_read_well_between_the_pixels():
    x = np.arange(16) - 7.5
    wave = np.sin(0.6 * x[:, None] + 0.8 * x + 1.0)
    images = jnp.broadcast_to(jnp.asarray(wave[..., None], jnp.float32), (1, 16, 16, 3))
    c, s = np.cos(0.4), np.sin(0.4)
    matrix = jnp.asarray([[[c, -s, 0.3], [s, c, -0.6]]], jnp.float32)
    u, v = c * x - s * x[:, None] + 0.3, s * x + c * x[:, None] - 0.6
    inside = np.maximum(abs(u), abs(v)) < 4.5
    found = np.asarray(warp_all(images, matrix))[0, :, :, 0]
    error = abs(found - np.sin(0.6 * v + 0.8 * u + 1.0))[inside]
    assert inside.sum() > 50 and error.max() < 0.035  # bilinear alone: 0.125


def test_gradients_are_those_of_finite_differences():
    """Of all augmentations at once; they are linear in the images, so any step does."""
    drawn = draw(2, 4, 1.0)
    weights = jnp.asarray(RNG.normal(size=IMAGES.shape), jnp.float32)

    def loss(images):
        return jnp.sum(weights * jnp.tanh(augment.apply(images, drawn)))

    gradient = jax.jit(jax.grad(loss))(IMAGES)
    run = jax.jit(loss)
    for seed in range(8):
        way = jax.random.normal(jax.random.key(seed), IMAGES.shape)
        way = way / jnp.sqrt(jnp.sum(way**2))
        step = 1e-2
        found = (run(IMAGES + step * way) - run(IMAGES - step * way)) / (2 * step)
        np.testing.assert_allclose(jnp.sum(gradient * way), found, atol=5e-3)
    assert float(jnp.abs(gradient).max()) > 0.1


def test_geometry_is_drawn_as_in_the_paper():
    p = 0.3
    matrix = np.asarray(draw(3, MANY, p).geometry)
    plain = np.abs(matrix - np.eye(2, 3)).max((1, 2)) < 1e-6
    # Half of the mirrors, a quarter of the turns and few of the moves are none; two of
    # the general turns count as one.
    moves = 1 - p * (1 - 1 / 17**2)
    expected = (1 - p / 2) * (1 - 0.75 * p) * moves * (1 - p) ** 4
    assert abs(plain.mean() - expected) < 0.006
    matrix = np.asarray(draw(4, MANY, 1.0).geometry)
    linear = matrix[:, :, :2]
    area = np.log2(np.abs(np.linalg.det(linear))) / 2  # of the zoom alone
    assert abs(area.mean()) < 0.005 and abs(area.std() - 0.2) < 0.005
    assert abs((np.linalg.det(linear) < 0).mean() - 0.5) < 0.01
    ratio = np.linalg.svd(linear, compute_uv=False)
    stretch = np.log2(ratio[:, 0] / ratio[:, 1]) / 2
    assert abs(np.sqrt((stretch**2).mean()) - 0.2) < 0.005
    # An eighth of the side either way, evenly, then a normal eighth: in pixels.
    spread = np.sqrt(64**2 * (0.125**2 + 0.125**2 / 3))
    assert abs(matrix[:, :, 2].std() / spread - 1) < 0.06


def test_colours_are_drawn_as_in_the_paper():
    colour = np.asarray(draw(5, MANY, 1.0).colour)
    matrix, offset = colour[:, :, :3], colour[:, :, 3]
    # Greys stay grey, by contrast and the sign of luma; brightness comes before.
    grey = matrix.sum(2)
    np.testing.assert_allclose(grey, grey[:, :1].repeat(3, 1), atol=1e-4)
    assert abs((grey[:, 0] < 0).mean() - 0.5) < 0.01
    contrast = np.log2(np.abs(grey[:, 0]))
    assert abs(contrast.mean()) < 0.01 and abs(contrast.std() - 0.5) < 0.01
    brightness = offset / grey
    assert abs(brightness.std() - 0.2) < 0.005
    # Across the greys it is a turn, times contrast and saturation.
    red_green = np.array([1, -1, 0]) / np.sqrt(2)
    turned = matrix @ red_green
    np.testing.assert_allclose(turned.sum(1), 0, atol=1e-3)
    saturation = np.log2(np.linalg.norm(turned, axis=1)) - contrast
    assert abs(saturation.mean()) < 0.02 and abs(saturation.std() - 1) < 0.02
    assert abs((turned @ red_green > 0).mean() - 0.5) < 0.01
    # A half of them, where each takes place with probability 0.3.
    few = np.asarray(draw(6, MANY, 0.3).colour)
    plain = np.abs(few - np.eye(3, 4)).max((1, 2)) < 1e-6
    assert abs(plain.mean() - 0.7**4 * 0.85) < 0.008
