"""Counts useful work in FLOP: the multiplications and additions that a network needs.

Only products of matrices and convolutions count. A transposed convolution counts its
inputs, not the zeros between them. Frozen weights have no gradient. A value that is the
same in all steps does not count. Each count is for one image.
"""

import jax
import numpy as np

from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.models.registry import make


def encoder(config: SwinConfig) -> float:
    """Counts the SwinV2 encoder with its latent tokens, forward."""
    c, n = config.embed_dim, config.num_tokens
    total = config.map_sizes[0] ** 2 * 3 * config.patch_size**2 * c
    for stage, (depth, size) in enumerate(
        zip(config.depths, config.map_sizes, strict=True)
    ):
        cells, window = size**2, min(size, config.window_size) ** 2
        linear = (cells + n) * 4 * c * c + cells * 2 * config.mlp_ratio * c * c
        attention = cells // window * 2 * (window + n) ** 2 * c
        total += depth * (linear + attention)
        if stage + 1 < len(config.depths):
            total += (cells // 4) * 4 * c * 2 * c + n * c * 2 * c
            c *= 2
    head = c * config.head_dim + config.head_dim**2 + config.head_dim * config.w_dim
    return 2.0 * (total + n * head)


def convolutional_encoder(config: PspConfig) -> float:
    """Counts one pass of an encoder of pSp, e4e or ReStyle, forward."""
    module, image = make(config), jax.ShapeDtypeStruct((1, *config.module_shape), "f4")
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)
    return counted(module.apply, shapes, image)


def generator(config: GeneratorConfig, above: int = -1) -> float:
    """Counts the synthesis, forward, of the layers after layer ``above``."""
    total = layer = 0
    below = config.channels[0]
    for size, c in zip(config.resolutions, config.channels, strict=True):
        convs = [] if size == 4 else [9 * below * c * size**2 // 4]
        for work in [*convs, 9 * c * c * size**2]:
            layer += 1
            total += work if layer > above + 1 else 0
        total += 3 * c * size**2 if layer > above else 0
        below = c
    return 2.0 * total


def smart(config: SmartConfig, given: GeneratorConfig, reads: SwinConfig) -> float:
    """Counts SMART, forward."""
    total = 0
    # The encoder's maps: each is after merging, except the last.
    sizes = [*reads.map_sizes[1:], reads.map_sizes[-1]]
    widths = [reads.embed_dim << k for k in range(1, len(reads.depths))]
    widths.append(widths[-1])
    for layer in config.refined_layers:
        size = 2 ** ((layer + 4) // 2)
        c = given.channels[(layer + 4) // 2 - 2]
        total += size**2 * (2 * c * c + 2 * c * config.ffn_dim)
        for s, width in zip(sizes, widths, strict=True):
            keys = max(1, s // size) ** 2
            total += s**2 * width * 2 * c + size**2 * keys * 2 * c
    return 2.0 * total


def counted(function, *shapes) -> float:
    """Counts the products in the jaxpr of a function, for plain convolutions."""
    return _count(jax.make_jaxpr(function)(*shapes).jaxpr)


def _count(jaxpr) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            a = eqn.invars[0].aval.shape
            inner = np.prod([a[k] for k in contracted])
            total += 2.0 * inner * np.prod(eqn.outvars[0].aval.shape)
        elif eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            out = eqn.params["dimension_numbers"].rhs_spec[0]
            inner = np.prod(kernel) / kernel[out]
            total += 2.0 * inner * np.prod(eqn.outvars[0].aval.shape)
        for value in eqn.params.values():
            for inner in jax.tree.leaves(
                value, is_leaf=lambda v: hasattr(v, "jaxpr") or hasattr(v, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                total += _count(inner) if hasattr(inner, "eqns") else 0.0
    return total
