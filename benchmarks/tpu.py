"""Prints the cost of decoding on one TPU chip, from its compiler; it needs no TPU.

python -m benchmarks.tpu [SIZE [BATCH]]       1024 px, batch 8 of v5e; extra "tpu"
"""

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store.model_folder import model_shapes
from styleprompter_jax.training.compile_only import _devices


def main(size: int = 1024, batch: int = 8):
    on_chip = SingleDeviceSharding(_devices("v5e:2x4")[0])
    generator = GeneratorConfig(size)
    encoder = SwinConfig(num_tokens=generator.num_codes)
    config = StylePrompterConfig(encoder, SmartConfig(), generator)
    model = StylePrompter(config, dtype=jnp.bfloat16)

    def abstract(tree):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_chip), tree
        )

    variables = model_shapes(config)
    images = jax.ShapeDtypeStruct((batch, 256, 256, 3), jnp.float32)
    latents = jax.eval_shape(
        lambda v, x: model.apply(v, x, method="encode"), variables, images
    )
    decode = jax.jit(lambda v, z: model.apply(v, *z, method="decode"))
    compiled = decode.lower(abstract(variables), abstract(latents)).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    print(
        f"decoding at {size} px, bfloat16, batch {batch} on one chip of v5e, an image: "
        f"{cost['flops'] / batch / 1e9:.1f} GFLOP, "
        f"{cost['bytes accessed'] / batch / 1e9:.2f} GB moved; "
        f"{memory.temp_size_in_bytes / 1e9:.2f} GB of temporary memory"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
