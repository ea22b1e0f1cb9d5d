"""The published SMART, on top of configs/ffhq_encoder.py.

    python train.py --config=configs/ffhq_smart.py --workdir=runs/ffhq_smart \
        --config.data.path=FOLDER

Memory: 12.3 GB of each chip of a TPU v5e:2x4 with --config.batch_size=64
--config.dtype=bfloat16, as --compile_only=v5e:2x4 prints: at most 674 images a second
there.  On one NVIDIA H200 the step takes 6.1 GB and gives 359 images a second with
--config.batch_size=16 --config.dtype=bfloat16 (benchmarks/gpu.py, without reading
pictures).  The run itself was not yet made.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import ffhq_encoder


def get_config():
    return smart_after(ffhq_encoder.get_config(), "runs/ffhq_encoder/model")


def smart_after(config, init_from: str):
    """The config of stage "smart" that follows one of stage "encoder"."""
    config.stage = "smart"
    config.init_from = init_from
    config.init_encoder = False
    # False as published: the encoder, frozen, then drops paths while SMART trains.
    config.frozen_deterministic = True
    config.model.smart = ConfigDict(
        dict(
            # Layers 4, 6 and 8 are the maps at 16, 32 and 64 px.
            refined_layers=(4,),
            num_heads=4,
            ffn_dim=1024,
            dropout=0.1,
            attention="linear",
        )
    )
    config.loss.align = 0.0
    return config
