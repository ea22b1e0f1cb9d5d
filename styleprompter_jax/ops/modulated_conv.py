"""Convolutions of StyleGAN2 as dense convolutions with shared weights.

Axes: ``b`` batch, ``h w`` space, ``i o`` channels in and out.  Activations are NHWC
and kernels HWIO, in the orientation of a cross-correlation (not flipped).

Modulating the weights of each sample (Karras et al. 2020, eq. 1 and 3) equals
scaling the *input* channels by the style and the *output* channels by the
demodulation factor, around one convolution that the whole batch shares.
"""

import jax.numpy as jnp
from einops import rearrange
from jax import lax

from styleprompter_jax.ops.fir import blur

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv2d(x, kernel, padding="SAME"):
    """Plain convolution: (b, h, w, i) * (kh, kw, i, o) -> (b, h', w', o)."""
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_NHWC)


def modulated_conv(x, kernel, style, *, demodulate=True, up=False):
    """Style-modulated 3x3 or 1x1 convolution, optionally to twice the size.

    Args:
      x: (b, h, w, i).
      kernel: (k, k, i, o), already scaled by its equalised learning rate.
      style: (b, i) factors of the input channels.
      demodulate: scale each output channel to unit variance (eps 1e-8).
      up: stride-2 transposed convolution followed by the [1, 3, 3, 1] blur.

    Returns:
      (b, h, w, o), or (b, 2h, 2w, o) with ``up``.
    """
    x = x * style[:, None, None, :].astype(x.dtype)
    x = upsample_conv(x, kernel) if up else conv2d(x, kernel)
    if demodulate:
        power = jnp.einsum("bi,io->bo", style**2, jnp.sum(kernel**2, (0, 1)))
        x = x * lax.rsqrt(power + 1e-8)[:, None, None, :].astype(x.dtype)
    return x


def upsample_conv(x, kernel):
    """Transposed 3x3 convolution with stride 2, then the blur with gain 4.

    ``out[2i + k] += x[i] * kernel[k]``, the orientation of PyTorch's
    ``conv_transpose2d``.  (b, h, w, i) -> (b, 2h, 2w, o).
    """
    y = lax.platform_dependent(
        x, kernel, cpu=_transposed_packed, default=_transposed_dilated
    )
    # Both forms end in a row and a column of zeros: one side of the blur's padding.
    return blur(y, ((1, 0), (1, 0)), gain=4.0)


def _transposed_dilated(x, kernel):
    """The textbook form: least arithmetic, and what GPU and TPU compilers like."""
    return lax.conv_general_dilated(
        x,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        ((2, 3), (2, 3)),
        lhs_dilation=(2, 2),
        dimension_numbers=_NHWC,
    )


def _transposed_packed(x, kernel):
    """One 2x2-tap convolution to four phases, then depth to space.

    XLA:CPU computes the weight gradient of a dilated convolution 50 times slower;
    likewise when this one pads by itself, hence the explicit padding.
    """
    # Phase 0 reads taps 2 and 0 at x[m-1] and x[m]; phase 1 reads tap 1 at x[m].
    zero = jnp.zeros_like(kernel[:1])
    rows = jnp.stack(
        [
            jnp.concatenate([kernel[2:], kernel[:1]]),
            jnp.concatenate([zero, kernel[1:2]]),
        ]
    )
    zero = jnp.zeros_like(rows[:, :, :1])
    phases = jnp.stack(
        [
            jnp.concatenate([rows[:, :, 2:], rows[:, :, :1]], 2),
            jnp.concatenate([zero, rows[:, :, 1:2]], 2),
        ]
    )
    packed = rearrange(phases, "q p kh kw i o -> kh kw i (p q o)")
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = conv2d(x, packed, "VALID")
    return rearrange(y, "b h w (p q o) -> b (h p) (w q) o", p=2, q=2)


def downsample_conv(x, kernel):
    """The blur, then a 3x3 convolution with stride 2.  (b, h, w, i) -> (b, h/2, w/2, o).

    Written as a 2x2-tap convolution on four phases of the input, for the same
    reason as :func:`upsample_conv`.
    """
    x = blur(x, ((2, 2), (2, 2)))
    return lax.platform_dependent(x, kernel, cpu=_strided_packed, default=_strided)


def _strided(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=_NHWC)


def _strided_packed(x, kernel):
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    x = rearrange(x, "b (h p) (w q) i -> b h w (p q i)", p=2, q=2)
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    kernel = rearrange(kernel, "(kh p) (kw q) i o -> kh kw (p q i) o", p=2, q=2)
    return conv2d(x, kernel, "VALID")
