"""Registers the parts of this package, one line for each part."""

from styleprompter_jax.models.encoders.psp import PspConfig, PspEncoder
from styleprompter_jax.models.encoders.swin import SwinConfig, SwinEncoder
from styleprompter_jax.models.generators.stylegan2 import Generator, GeneratorConfig
from styleprompter_jax.models.refiners.conv import ConvConfig, ConvRefiner
from styleprompter_jax.models.refiners.smart import Smart, SmartConfig
from styleprompter_jax.models.registry import register

register(SwinConfig, SwinEncoder)
register(PspConfig, PspEncoder)
register(SmartConfig, Smart)
register(ConvConfig, ConvRefiner)
register(GeneratorConfig, Generator)
