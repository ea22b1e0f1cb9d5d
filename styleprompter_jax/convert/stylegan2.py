"""Table for a generator in the layout of rosinality's StyleGAN2 (``g_ema``).

The target is what ``models.stylegan2.Generator`` holds, parameters and stored noise in
one tree.  Both sides store kernels N(0, 1), scaled at run time, and keep upsampling
kernels in the orientation of PyTorch's transposed convolution: axes change their
order, numbers stay as they are.
"""

from styleprompter_jax.convert.table import Ignored, Row, Rule
from styleprompter_jax.models.stylegan2 import GeneratorConfig

_BLUR = "the filter [1, 3, 3, 1], which the model has as a constant"


def generator_table(config: GeneratorConfig) -> tuple[Row, ...]:
    """The rows for a generator of that size.

    Keys count convolutions through all resolutions, parameters are sorted by
    resolution; so the rows are spelt out one by one.
    """
    rows = [
        Rule("synthesis/b4/const", "input.input", "1 c h w -> h w c"),
        *_conv("synthesis/b4/conv1", "conv1", "noises.noise_0"),
        *_rgb("synthesis/b4/torgb", "to_rgb1"),
    ]
    for k in range(config.mapping_layers):
        # style.0 is the pixel norm.
        rows += _linear(f"mapping/fc{k}", f"style.{k + 1}")
    for k, size in enumerate(config.resolutions[1:]):
        block, up, conv = f"synthesis/b{size}", 2 * k, 2 * k + 1
        rows += _conv(f"{block}/conv0", f"convs.{up}", f"noises.noise_{up + 1}")
        rows += _conv(f"{block}/conv1", f"convs.{conv}", f"noises.noise_{conv + 1}")
        rows += _rgb(f"{block}/torgb", f"to_rgbs.{k}")
        rows.append(Ignored(f"convs.{up}.conv.blur.kernel", _BLUR))
        rows.append(Ignored(f"to_rgbs.{k}.upsample.kernel", _BLUR))
    return tuple(rows)


def _linear(target, source):
    return (
        Rule(f"{target}/kernel", f"{source}.weight", "o i -> i o"),
        Rule(f"{target}/bias", f"{source}.bias"),
    )


def _conv(target, source, noise):
    """Modulated convolution, noise and activation."""
    return (
        Rule(f"{target}/kernel", f"{source}.conv.weight", "1 o i h w -> h w i o"),
        *_linear(f"{target}/affine", f"{source}.conv.modulation"),
        Rule(f"{target}/noise_strength", f"{source}.noise.weight", "1 ->"),
        Rule(f"{target}/noise_const", noise, "1 1 h w -> h w"),
        Rule(f"{target}/bias", f"{source}.activate.bias"),
    )


def _rgb(target, source):
    return (
        Rule(f"{target}/kernel", f"{source}.conv.weight", "1 o i h w -> h w i o"),
        *_linear(f"{target}/affine", f"{source}.conv.modulation"),
        Rule(f"{target}/bias", f"{source}.bias", "1 c 1 1 -> c"),
    )
