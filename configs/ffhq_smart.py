"""The published SMART for the encoder of configs/ffhq_encoder.py.

    python train.py --config=configs/ffhq_smart.py --workdir=runs/ffhq_smart \
        --config.data.path=FOLDER

Memory: 12.3 GB on each chip of a TPU v5e:2x4 with --config.batch_size=64
--config.dtype=bfloat16, as --compile_only=v5e:2x4 prints. The slice trains at most 674
images per second.  On one NVIDIA H200 with --config.batch_size=16
--config.dtype=bfloat16, a step takes 6.1 GB, and training runs at 359 images per
second. (benchmarks/gpu.py gave these figures, without reading images.)

Nobody has made the whole run yet.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import ffhq_encoder


def get_config():
    return smart_after(ffhq_encoder.get_config(), "runs/ffhq_encoder/model")


def smart_after(config, init_from: str):
    """Returns the config of stage "smart" that follows a config of stage "encoder"."""
    config.stage = "smart"
    config.init_from = init_from
    config.init_encoder = False
    # The published code has False: its frozen encoder drops paths while SMART trains.
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
