"""StyleGAN2's convolution to twice the size, in the fastest form for the processor.

It is a transposed 3x3 convolution with stride 2, then the [1, 3, 3, 1] blur.
Accelerators compute the transposed convolution directly. On CPUs, its output is
computed in four *phases*, one for each parity of row and column. Each phase is a small
dense convolution of the input. The blur reads the phases and interleaves them, in one
pass over memory.

Axes: ``b`` batch, ``h w`` space, ``i o`` channels in and out. Activations are NHWC and
kernels HWIO, in the orientation of a cross-correlation (not flipped).
"""

import functools
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from styleprompter_jax.ops.fir import blur
from styleprompter_jax.ops.platforms import by_platform

_NHWC = ("NHWC", "HWIO", "NHWC")
# Narrower maps have many channels. For these, XLA:CPU's own transposed convolution is
# faster.
_PHASES_FROM = 96

_Inputs = tuple[jax.Array, jax.Array]


@jax.custom_vjp
def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes a transposed 3x3 convolution with stride 2, then the blur with gain 4.

    (b, h, w, i) * (3, 3, i, o) -> (b, 2h, 2w, o).

    It is the transpose of :func:`strided_conv`, so its derivatives use that function.
    Autodiff of a dilated convolution gives the same sum, but in a form that is several
    times slower on XLA:CPU.
    """
    forms = dict(cuda=by_cudnn, default=by_dilation)
    if x.shape[2] >= _PHASES_FROM:
        forms["cpu"] = by_phases
    return by_platform(x, kernel, **forms)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, _Inputs]:
    return upsample_conv(x, kernel), (x, kernel)


def _backward(inputs: _Inputs, g: jax.Array) -> _Inputs:
    x, kernel = inputs
    g = blur(g, ((2, 2), (2, 2)), gain=4.0)  # the filter equals its transpose
    turned = jnp.swapaxes(kernel, 2, 3)
    _, pull_back = jax.vjp(partial(strided_conv, g), turned)
    dx = by_platform(g, turned, cpu=strided_conv_by_phases, default=strided_conv)
    return dx, jnp.swapaxes(pull_back(x)[0], 2, 3)


upsample_conv.defvjp(_forward, _backward)


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with stride 2, unpadded: (b, 2h+1, 2w+1, i) -> (b, h, w, o)."""
    return lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=_NHWC)


def by_dilation(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `upsample_conv` as a convolution of the input with inserted zeros.

    ``out[2i + k] += x[i] @ kernel[k]``, and a border of zeros for the blur.
    """
    return blur(_dilated(x, kernel, border=1), ((0, 0), (0, 0)), gain=4.0)


def by_cudnn(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `by_dilation` in the form that XLA passes to cuDNN as transposed.

    XLA recognises a transposed convolution by a reversed kernel, without padding beyond
    the kernel's own. For other forms, XLA writes the zeros and multiplies them, which
    is four times the work. The barrier keeps the reversal in the place where XLA
    searches for it.
    """
    kernel = lax.optimization_barrier(kernel)
    return blur(_dilated(x, kernel, border=0), ((1, 1), (1, 1)), gain=4.0)


def _dilated(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        [(2 + border, 2 + border)] * 2,
        lhs_dilation=(2, 2),
        dimension_numbers=_NHWC,
    )


def by_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `upsample_conv` from the four phases of the transposed convolution.

    The even rows (columns) of its output use the taps 0 and 2 of the kernel; the odd
    ones use tap 1.
    """
    b, h, w, _ = x.shape
    kernel = jnp.flip(kernel, (0, 1))
    even, odd = slice(0, None, 2), slice(1, 2)
    rows = []
    for column in (even, odd):
        # Even rows go from 0 to h, odd rows from -1 to h. Odd border rows are zero.
        phases = (_conv(x, kernel[row, column], (1, 1), (1, 1)) for row in (even, odd))
        rows.append(_blur_phases(*phases, axis=1))
    lines = [
        jnp.stack(_blur_phases(*phases, axis=2), 3)
        for phases in zip(*rows, strict=True)
    ]
    return jnp.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1)


def _blur_phases(
    even: jax.Array, odd: jax.Array, *, axis: int
) -> tuple[jax.Array, jax.Array]:
    """Blurs along an axis, from even and odd inputs to even and odd outputs.

    Args:
        even: n + 1 inputs.
        odd: n + 2 inputs; the first and the last are zero.
        axis: the axis.

    Returns:
        n even and n odd outputs.
    """
    n = even.shape[axis] - 1
    e0, e1 = (lax.slice_in_dim(even, k, k + n, axis=axis) for k in range(2))
    o0, o1, o2 = (lax.slice_in_dim(odd, k, k + n, axis=axis) for k in range(3))
    return (
        0.25 * (o0 + e1) + 0.75 * (e0 + o1),
        0.25 * (e0 + o2) + 0.75 * (o1 + e1),
    )


def strided_conv_by_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `strided_conv` as a sum over the four phases of its input."""
    h, w = (n // 2 for n in x.shape[1:3])
    parts = [
        # The last row and column are not needed. The padding makes XLA:CPU use its fast
        # convolution, which only supports padded inputs.
        _conv(x[:, p::2, q::2], kernel[p::2, q::2], (0, 1), (0, 1))[:, :h, :w]
        for p in (0, 1)
        for q in (0, 1)
    ]
    return functools.reduce(operator.add, parts)


def _conv(x: jax.Array, kernel: jax.Array, *padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_NHWC)
