"""MoCo-v2's ResNet-50 for images without faces (Chen et al. 2020, arXiv 2003.04297)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.models.perceptual.layers import FrozenBatchNorm, conv, unit

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # inner channels and blocks
_SIZE = 224


class MoCo(nn.Module):
    """Network from images to unit vectors for `layers.cosine_distance`."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Computes the features after the average pooling.

        NOTE(reference): the published code resizes images without a filter, and does
        not normalise them with ImageNet's mean and deviation, although the training of
        the network did.

        Args:
            images: (b, h, w, 3) in [-1, 1].

        Returns:
            (b, 2048).
        """
        x = conv(64, 7, 2, 3, name="conv1")(_nearest(images))
        x = nn.relu(FrozenBatchNorm(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1)] * 2)
        for stage, (channels, count) in enumerate(_STAGES):
            for k in range(count):
                stride = 2 if stage and not k else 1
                x = _Bottleneck(channels, stride, name=f"layer{stage + 1}_{k}")(x)
        return unit(jnp.mean(x, (1, 2)))


class _Bottleneck(nn.Module):
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, s = self.channels, self.stride
        shortcut = x
        if x.shape[-1] != 4 * c:
            shortcut = conv(4 * c, 1, s, name="downsample_0")(x)
            shortcut = FrozenBatchNorm(name="downsample_1")(shortcut)
        x = nn.relu(FrozenBatchNorm(name="bn1")(conv(c, 1, name="conv1")(x)))
        x = conv(c, 3, s, 1, name="conv2")(x)
        x = nn.relu(FrozenBatchNorm(name="bn2")(x))
        x = FrozenBatchNorm(name="bn3")(conv(4 * c, 1, name="conv3")(x))
        return nn.relu(x + shortcut)


def _nearest(images: jax.Array) -> jax.Array:
    """Resizes to 224 px as PyTorch's "nearest": output i is input floor(i n / 224)."""
    _, h, w, _ = images.shape
    rows, columns = (np.arange(_SIZE) * n // _SIZE for n in (h, w))
    return images[:, rows][:, :, columns]
