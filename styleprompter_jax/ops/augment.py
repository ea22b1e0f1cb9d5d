"""Augments the images that a discriminator sees, against overfitting.

This is the pipeline "bgc" of StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676):
pixel blits, general geometric transformations, colour. Each change happens with
probability p, drawn separately for each image. If p is below 1, unchanged images are
the most likely ones. So the generator learns unchanged images, although the
discriminator sees augmented ones.

    pixel blits   mirror; quarter turns; moves of up to an eighth of the side
    geometric     zoom, 2 to the power of N(0, 0.2); rotation; stretch, zooms of s and
                  1/s with s as before; another rotation; moves of N(0, 1/8) of the side
    colour        brightness, N(0, 0.2) added; contrast, 2 to the power of N(0, 0.5);
                  luma negated; hue rotated; saturation, 2 to the power of N(0, 1)

The probability of each rotation is such that at least one of them happens with p.

Axes: ``b`` batch, ``h w`` space, ``c`` the colours red, green, blue.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.ops.warp import affine_warp

ZOOM, MOVE, SHIFT = 0.2, 0.125, 0.125
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
_UNIFORMS, _NORMALS = 21, 7  # numbers for each image
# Exact (cos, sin) of quarter turns, so that blits keep the value of every pixel.
_QUARTERS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], np.float32)
# The cross product of a colour with the grey axis, for rotations about this axis.
_ACROSS = np.array([(0, -1, 1), (1, 0, -1), (-1, 1, 0)], np.float32) / np.sqrt(3.0)


class Augmentation(NamedTuple):
    """The random changes of each image.

    Attributes:
        geometry: (b, 2, 3), the matrix for `ops.warp.affine_warp`.
        colour: (b, 3, 4), from (red, green, blue, 1) to (red, green, blue).
    """

    geometry: jax.Array
    colour: jax.Array


def draw(rng: jax.Array, count: int, size: int, p: jax.Array | float) -> Augmentation:
    """Draws random augmentations for a batch of square images.

    Args:
        rng: the random key.
        count: the number of images, b.
        size: the side of the images in pixels; moves are proportional to it.
        p: the probability of each change, 0 to 1.
    """
    chance = _Chance(rng, count, p)
    return Augmentation(_draw_geometry(chance, size), _draw_colour(chance))


def apply(images: jax.Array, drawn: Augmentation) -> jax.Array:
    """Applies augmentations to images (b, h, w, 3) in [-1, 1]; differentiable.

    With p = 0, the images do not change.
    """
    x = affine_warp(images, drawn.geometry)
    colour = drawn.colour[:, None, None]
    parts = [x[..., k, None] * colour[..., k] for k in range(3)]
    return parts[0] + parts[1] + parts[2] + colour[..., 3]


class _Chance:
    """Random numbers of all kinds, from two draws: each draw takes time to compile."""

    def __init__(self, rng: jax.Array, count: int, p: jax.Array | float):
        uniform_rng, normal_rng = jax.random.split(rng)
        self._uniform = iter(jax.random.uniform(uniform_rng, (_UNIFORMS, count)))
        self._normal = iter(jax.random.normal(normal_rng, (_NORMALS, count)))
        self.p = jnp.asarray(p, jnp.float32)

    def gated(self, value: jax.Array, neutral: float, p: Any = None) -> jax.Array:
        """Returns each value (b,) or (b, k) with probability p, else the neutral."""
        chosen = next(self._uniform) < (self.p if p is None else p)
        chosen = chosen.reshape(chosen.shape + (1,) * (value.ndim - 1))
        return jnp.where(chosen, value, neutral)

    def whole(self, below: int) -> jax.Array:
        """Draws whole numbers (b,) from 0, as floats."""
        return jnp.floor(below * next(self._uniform))

    def between(self, bound: float) -> jax.Array:
        """Draws uniform numbers (b,) from -bound to bound."""
        return bound * (2 * next(self._uniform) - 1)

    def normal(self, deviation: float) -> jax.Array:
        """Draws normal numbers (b,) around 0."""
        return deviation * next(self._normal)


def _draw_geometry(chance: _Chance, size: int) -> jax.Array:
    """Returns the matrices (b, 2, 3) of pixel blits and general transformations."""
    once = 1 - jnp.sqrt(1 - chance.p)

    def zoom() -> jax.Array:
        return chance.gated(jnp.exp2(chance.normal(ZOOM)), 1.0)

    def turn() -> _Affine:
        angle = chance.gated(chance.between(np.pi), 0.0, once)
        return _turning(jnp.cos(angle), jnp.sin(angle))

    def pair(number: Callable, bound: float) -> jax.Array:
        return chance.gated(jnp.stack([number(bound), number(bound)], 1), 0.0) * size

    mirror = chance.gated(chance.whole(2), 0.0)
    quarter = chance.gated(chance.whole(4), 0.0).astype(jnp.int32)
    quarter = jnp.asarray(_QUARTERS)[quarter]
    blit = jnp.round(pair(chance.between, SHIFT))
    even, first, stretch, second = zoom(), turn(), zoom(), turn()
    move = pair(chance.normal, MOVE)
    # The matrices map places in the result back to the image: the last change is first.
    steps = (
        _scaling(1 - 2 * mirror, 1.0),
        _turning(quarter[:, 0], quarter[:, 1]),
        _moving(blit),
        _scaling(1 / even, 1 / even),
        first,
        _scaling(1 / stretch, stretch),
        second,
        _moving(move),
    )
    rows = functools.reduce(_product, steps)
    return jnp.stack([jnp.stack(row, -1) for row in rows], 1)


def _draw_colour(chance: _Chance) -> jax.Array:
    """Draws colour matrices; all five changes keep the grey axis.

    So the components along this axis and across it change separately.
    """
    brightness = chance.gated(chance.normal(BRIGHTNESS), 0.0)
    contrast = chance.gated(jnp.exp2(chance.normal(CONTRAST)), 1.0)
    sign = chance.gated(1 - 2 * chance.whole(2), 1.0)
    angle = chance.gated(chance.between(np.pi), 0.0)
    saturation = chance.gated(jnp.exp2(chance.normal(SATURATION)), 1.0)
    grey, across = contrast * sign, contrast * saturation
    turned = across * jnp.cos(angle)
    matrix = (
        turned[:, None, None] * jnp.eye(3)
        + ((grey - turned) / 3)[:, None, None]
        + (across * jnp.sin(angle))[:, None, None] * _ACROSS
    )
    offset = jnp.broadcast_to((grey * brightness)[:, None, None], (len(grey), 3, 1))
    return jnp.concatenate([matrix, offset], 2)


# The two rows of an affine matrix, of numbers or (b,) each.  XLA makes one loop of the
# products below; a chain of small matrix products takes much longer to compile.
_Affine = tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]


def _product(outer: _Affine, inner: _Affine) -> _Affine:
    """Returns a transformation that applies the inner one, then the outer one."""
    (a, b, c), (d, e, f) = inner
    first, second = ((x * a + y * d, x * b + y * e, x * c + y * f + z)
                     for x, y, z in outer)  # fmt: skip
    return first, second


def _scaling(x: Any, y: Any) -> _Affine:
    return (x, 0.0, 0.0), (0.0, y, 0.0)


def _turning(cos: jax.Array, sin: jax.Array) -> _Affine:
    return (cos, -sin, 0.0), (sin, cos, 0.0)


def _moving(by: jax.Array) -> _Affine:
    """Returns the translation back by an offset (b, 2)."""
    return (1.0, 0.0, -by[:, 0]), (0.0, 1.0, -by[:, 1])
