"""LPIPS (Zhang et al., CVPR 2018, arXiv 1801.03924), version 0.1.

The trunks are those of torchvision, with layers numbered as in its ``features``.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.models.perceptual.layers import conv, unit

SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


class _Conv(NamedTuple):
    """Convolution and ReLU."""

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1


class _Pool(NamedTuple):
    """Max pooling; with ``ceil``, the last window may extend beyond the map."""

    size: int
    ceil: bool = False


class _Fire(NamedTuple):
    """SqueezeNet's module: 1x1 to few channels, then 1x1 and 3x3 side by side."""

    squeeze: int
    expand: int


_C64, _C128, _C256, _C512 = (_Conv(c) for c in (64, 128, 256, 512))
_P2, _P3, _P3_CEIL = _Pool(2), _Pool(3), _Pool(3, ceil=True)

# Layers by torchvision's index, and the indices of the compared outputs.
_TRUNKS = {
    "alex": (
        {0: _Conv(64, 11, 4, 2), 2: _P3, 3: _Conv(192, 5, 1, 2), 5: _P3}
        | {6: _Conv(384), 8: _C256, 10: _C256},
        (0, 3, 6, 8, 10),
    ),
    "vgg": (
        {0: _C64, 2: _C64, 4: _P2, 5: _C128, 7: _C128, 9: _P2}
        | {10: _C256, 12: _C256, 14: _C256, 16: _P2}
        | {17: _C512, 19: _C512, 21: _C512, 23: _P2}
        | {24: _C512, 26: _C512, 28: _C512},
        (2, 7, 14, 21, 28),
    ),
    "squeeze": (
        {0: _Conv(64, 3, 2, 0), 2: _P3_CEIL, 3: _Fire(16, 64), 4: _Fire(16, 64)}
        | {5: _P3_CEIL, 6: _Fire(32, 128), 7: _Fire(32, 128), 8: _P3_CEIL}
        | {9: _Fire(48, 192), 10: _Fire(48, 192), 11: _Fire(64, 256)}
        | {12: _Fire(64, 256)},
        (0, 4, 7, 9, 10, 11, 12),
    ),
}


class Lpips(nn.Module):
    """Network from images to features; their squared distance is LPIPS.

    Attributes:
        trunk: "alex", "vgg" (VGG-16) or "squeeze" (SqueezeNet 1.1).
    """

    trunk: str = "alex"

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Computes the weighted features of each compared layer.

        LPIPS trains channel weights of at least 0. The features contain the square root
        of these weights.

        Args:
            images: (b, h, w, 3) in [-1, 1], 32 px or more.

        Returns:
            Maps (b, h', w', c), from the first layer to the last; see `distance`.
        """
        layers, compared = _TRUNKS[self.trunk]
        x = (images - SHIFT) / SCALE
        features: list[jax.Array] = []
        for index, layer in layers.items():
            x = _apply(layer, x, f"features_{index}")
            if index in compared:
                name = f"lin{len(features)}"
                weight = self.param(name, nn.initializers.ones, (x.shape[-1],))
                features.append(unit(x) * jnp.sqrt(weight))
        return tuple(features)


def distance(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> jax.Array:
    """Computes LPIPS (b,) of each image from the features of two batches."""
    pairs = zip(a, b, strict=True)
    return functools.reduce(
        operator.add, (jnp.mean(jnp.sum((x - y) ** 2, -1), (1, 2)) for x, y in pairs)
    )


def _apply(layer: Any, x: jax.Array, name: str) -> jax.Array:
    match layer:
        case _Conv():
            x = conv(*layer, bias=True, name=name)(x)
        case _Fire(squeeze, expand):
            x = nn.relu(conv(squeeze, 1, bias=True, name=f"{name}_squeeze")(x))
            one = conv(expand, 1, bias=True, name=f"{name}_expand1x1")(x)
            three = conv(expand, 3, 1, 1, bias=True, name=f"{name}_expand3x3")(x)
            x = jnp.concatenate([one, three], -1)
        case _Pool(size, ceil):
            pad = [(0, (size - n) % 2 if ceil else 0) for n in x.shape[1:3]]
            return nn.max_pool(x, (size, size), (2, 2), pad)
    return nn.relu(x)
