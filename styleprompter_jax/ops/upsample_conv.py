"""StyleGAN2's convolution to twice the size, in the form that suits the processor.

A transposed 3x3 convolution with stride 2, then the [1, 3, 3, 1] blur.  Accelerators
compute the transposed convolution as it is.  On CPUs its output is written in four
*phases*, one for each parity of row and column, each a small dense convolution of the
input; the blur reads the phases and interleaves them, in one pass over memory.

Axes: ``b`` batch, ``h w`` space, ``i o`` channels in and out.  Activations are NHWC
and kernels HWIO, in the orientation of a cross-correlation (not flipped).
"""

import functools
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from styleprompter_jax.ops.fir import blur

_NHWC = ("NHWC", "HWIO", "NHWC")
# Narrow maps have many channels, for which XLA:CPU's own transposed convolution is
# the faster one.
_PHASES_FROM = 96

_Inputs = tuple[jax.Array, jax.Array]


@jax.custom_vjp
def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 3x3 convolution with stride 2, then the blur with gain 4.

    (b, h, w, i) * (3, 3, i, o) -> (b, 2h, 2w, o).

    Its derivatives are written as those of :func:`strided_conv`, of which it is the
    transpose: what autodiff makes of a dilated convolution is the same sum in a form
    that XLA:CPU computes several times slower.
    """
    forms = dict(cuda=by_cudnn, default=by_dilation)
    if x.shape[2] >= _PHASES_FROM:
        forms["cpu"] = by_phases
    return lax.platform_dependent(x, kernel, **forms)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, _Inputs]:
    return upsample_conv(x, kernel), (x, kernel)


def _backward(inputs: _Inputs, g: jax.Array) -> _Inputs:
    x, kernel = inputs
    g = blur(g, ((2, 2), (2, 2)), gain=4.0)  # the filter is its own transpose
    turned = jnp.swapaxes(kernel, 2, 3)
    _, pull_back = jax.vjp(partial(strided_conv, g), turned)
    dx = lax.platform_dependent(
        g, turned, cpu=strided_conv_by_phases, default=strided_conv
    )
    return dx, jnp.swapaxes(pull_back(x)[0], 2, 3)


upsample_conv.defvjp(_forward, _backward)


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride 2 and no padding: (b, 2h+1, 2w+1, i) -> (b, h, w, o)."""
    return lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=_NHWC)


def by_dilation(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_conv` as a convolution of the input with zeros in between.

    ``out[2i + k] += x[i] @ kernel[k]``, and a border of zeros for the blur.
    """
    return blur(_dilated(x, kernel, border=1), ((0, 0), (0, 0)), gain=4.0)


def by_cudnn(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`by_dilation` in the form that XLA hands to cuDNN as a transposed convolution.

    XLA looks for a reversed kernel and for no padding beyond the kernel's own.  Else it
    writes the zeros out and multiplies them: four times the work.  The barrier keeps
    the reversal where XLA looks for it.
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
    """`upsample_conv` from the four phases of the transposed convolution.

    The even rows (columns) of its output take taps 0 and 2 of the kernel, the odd
    ones tap 1.
    """
    b, h, w, _ = x.shape
    kernel = jnp.flip(kernel, (0, 1))
    even, odd = slice(0, None, 2), slice(1, 2)
    rows = []
    for column in (even, odd):
        # Even rows 0 to h, odd ones from -1 to h: those at the border are zero.
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
    """The blur along an axis, from its even and odd inputs to its even and odd outputs.

    even: n + 1 inputs, odd: n + 2, the first and the last zero; n outputs of each.
    """
    n = even.shape[axis] - 1
    e0, e1 = (lax.slice_in_dim(even, k, k + n, axis=axis) for k in range(2))
    o0, o1, o2 = (lax.slice_in_dim(odd, k, k + n, axis=axis) for k in range(3))
    return (
        0.25 * (o0 + e1) + 0.75 * (e0 + o1),
        0.25 * (e0 + o2) + 0.75 * (o1 + e1),
    )


def strided_conv_by_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`strided_conv` as a sum over the four phases of its input."""
    h, w = (n // 2 for n in x.shape[1:3])
    parts = [
        # Padded, though the last row and column are not needed: XLA:CPU has a fast
        # convolution for padded inputs only.
        _conv(x[:, p::2, q::2], kernel[p::2, q::2], (0, 1), (0, 1))[:, :h, :w]
        for p in (0, 1)
        for q in (0, 1)
    ]
    return functools.reduce(operator.add, parts)


def _conv(x: jax.Array, kernel: jax.Array, *padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_NHWC)
