"""Inception-v3 (Szegedy et al., CVPR 2016), which defines the features of FID.

This is the network of 2015 with TensorFlow's weights, in the layout of pytorch-fid's
``pt_inception-2015-12-05-6726825d.pth``. It differs from torchvision's Inception-v3:
average pooling does not count padding, and the last block uses max pooling.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from styleprompter_jax.models.perceptual.layers import FrozenBatchNorm

SIZE = 299


class Inception(nn.Module):
    """Network from images to the 2048 features of the last average pooling."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Computes features (b, 2048) of images (b, h, w, 3) in [-1, 1].

        It resizes the images to 299 px, bilinearly and without antialiasing, as in
        pytorch-fid.
        """
        b, _, _, c = images.shape
        x = jax.image.resize(images, (b, SIZE, SIZE, c), "bilinear", antialias=False)
        x = _Conv(32, 3, 2, name="Conv2d_1a_3x3")(x)
        x = _Conv(32, 3, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, 3, name="Conv2d_2b_3x3")(x)
        x = _reduce(x)
        x = _Conv(80, 1, name="Conv2d_3b_1x1")(x)
        x = _Conv(192, 3, padding="VALID", name="Conv2d_4a_3x3")(x)
        x = _reduce(x)
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = _MixedA(pooled, name=f"Mixed_5{letter}")(x)
        x = _MixedB(name="Mixed_6a")(x)
        for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = _MixedC(inner, name=f"Mixed_6{letter}")(x)
        x = _MixedD(name="Mixed_7a")(x)
        x = _MixedE(_average, name="Mixed_7b")(x)
        x = _MixedE(_maximum, name="Mixed_7c")(x)
        return jnp.mean(x, (1, 2))


_average = partial(
    nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False
)
_maximum = partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
_reduce = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
_join = partial(jnp.concatenate, axis=-1)


class _Conv(nn.Module):
    """Convolution, BatchNorm, ReLU; a strided convolution has no padding."""

    features: int
    size: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = ""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = (self.size,) * 2 if isinstance(self.size, int) else self.size
        padding = self.padding or ("SAME" if self.stride == 1 else "VALID")
        strides = (self.stride, self.stride)
        x = nn.Conv(self.features, size, strides, padding, use_bias=False, name="conv")(
            x
        )
        return nn.relu(FrozenBatchNorm(1e-3, name="bn")(x))


class _MixedA(nn.Module):
    """35x35: 1x1, 5x5, two 3x3, pooling."""

    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        five = _Conv(48, name="branch5x5_1")(x)
        three = _Conv(64, name="branch3x3dbl_1")(x)
        three = _Conv(96, 3, name="branch3x3dbl_2")(three)
        return _join(
            [
                _Conv(64, name="branch1x1")(x),
                _Conv(64, 5, name="branch5x5_2")(five),
                _Conv(96, 3, name="branch3x3dbl_3")(three),
                _Conv(self.pooled, name="branch_pool")(_average(x)),
            ]
        )


class _MixedB(nn.Module):
    """35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _Conv(64, name="branch3x3dbl_1")(x)
        three = _Conv(96, 3, name="branch3x3dbl_2")(three)
        return _join(
            [
                _Conv(384, 3, 2, name="branch3x3")(x),
                _Conv(96, 3, 2, name="branch3x3dbl_3")(three),
                _reduce(x),
            ]
        )


class _MixedC(nn.Module):
    """17x17: 1x1, one and two factorised 7x7, pooling."""

    inner: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, row, column = self.inner, (1, 7), (7, 1)
        seven = _Conv(c, name="branch7x7_1")(x)
        seven = _Conv(c, row, name="branch7x7_2")(seven)
        double = _Conv(c, name="branch7x7dbl_1")(x)
        double = _Conv(c, column, name="branch7x7dbl_2")(double)
        double = _Conv(c, row, name="branch7x7dbl_3")(double)
        double = _Conv(c, column, name="branch7x7dbl_4")(double)
        return _join(
            [
                _Conv(192, name="branch1x1")(x),
                _Conv(192, column, name="branch7x7_3")(seven),
                _Conv(192, row, name="branch7x7dbl_5")(double),
                _Conv(192, name="branch_pool")(_average(x)),
            ]
        )


class _MixedD(nn.Module):
    """17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _Conv(192, name="branch3x3_1")(x)
        seven = _Conv(192, name="branch7x7x3_1")(x)
        seven = _Conv(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = _Conv(192, (7, 1), name="branch7x7x3_3")(seven)
        return _join(
            [
                _Conv(320, 3, 2, name="branch3x3_2")(three),
                _Conv(192, 3, 2, name="branch7x7x3_4")(seven),
                _reduce(x),
            ]
        )


class _MixedE(nn.Module):
    """8x8: 1x1, one and two 3x3 with a final 1x3 beside a 3x1, pooling."""

    pool: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _Conv(384, name="branch3x3_1")(x)
        double = _Conv(448, name="branch3x3dbl_1")(x)
        double = _Conv(384, 3, name="branch3x3dbl_2")(double)
        return _join(
            [
                _Conv(320, name="branch1x1")(x),
                _Conv(384, (1, 3), name="branch3x3_2a")(three),
                _Conv(384, (3, 1), name="branch3x3_2b")(three),
                _Conv(384, (1, 3), name="branch3x3dbl_3a")(double),
                _Conv(384, (3, 1), name="branch3x3dbl_3b")(double),
                _Conv(192, name="branch_pool")(self.pool(x)),
            ]
        )
